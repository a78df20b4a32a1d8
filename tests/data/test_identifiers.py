"""Ids that a table holds as floating-point numbers are exact or refused, whatever column and width they have."""

from __future__ import annotations

import copy
import io
import json
import math
from pathlib import Path
from typing import Any

import fastavro
import numpy as np
import pandas as pd
import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from data.connectors.archives import Item, Packet, Skipped, packets_of
from data.identifiers import InexactIdError, text_id, whole
from data.tables import TableError, read, read_labels
from schemas.surveys.decode import Decoder
from tests.schemas.made import least_rubin, ztf_record

BIG = 3_161_416_363_009_222_017


@pytest.mark.parametrize(
    ("value", "found"),
    [
        (BIG, BIG),
        (str(BIG), BIG),
        (-5.0, -5),
        (float(2**53 - 1), 2**53 - 1),
        (None, None),
        (math.nan, None),
        (True, 1),
        (np.int64(BIG), BIG),
    ],
)
def test_what_is_exact_is_read(value: Any, found: int | None) -> None:
    assert whole(value, "candid") == found


@pytest.mark.parametrize("value", [float(BIG), float(2**53), -float(BIG), 1.5, math.inf, "1e3", "x", b"1x", []])
def test_what_is_not_is_refused_by_name(value: Any) -> None:
    with pytest.raises(InexactIdError, match=r"^candidate\.candid "):
        whole(value, "candidate.candid")


def test_a_narrow_column_holds_less() -> None:
    assert whole(float(2**24 - 1), "diaObjectId", bits=32) == 2**24 - 1
    with pytest.raises(InexactIdError, match="diaObjectId"):
        whole(float(2**24), "diaObjectId", bits=32)


@pytest.mark.parametrize(
    ("value", "text"),
    [("ZTF18abc", "ZTF18abc"), (f" {BIG} ", str(BIG)), ("123.0", "123"), ("1.2e1", "12"), (12.0, "12"), (BIG, str(BIG)), ("", ""),
     (None, ""),
     ("SN 2018.5", "SN 2018.5"), ("1.5", "1.5"), ("-7.", "-7"), (math.nan, "")],
)  # fmt: skip
def test_ids_as_text(value: Any, text: str) -> None:
    assert text_id(value, "id") == text


@pytest.mark.parametrize("value", ["3.161416363009222e+18", "3161416363009222144.0", "9e999", float(BIG)])
def test_ids_whose_digits_are_gone(value: Any) -> None:
    with pytest.raises(InexactIdError, match=r"^objectId "):
        text_id(value, "objectId")


def items(folder: Path, rows: list[dict[str, Any]], **types: pa.DataType) -> list[Item]:
    table = pa.Table.from_pylist(rows)
    for name, kind in types.items():
        table = table.set_column(table.schema.get_field_index(name), name, table[name].cast(kind))
    pq.write_table(table, folder / "t.parquet")
    return list(packets_of([folder / "t.parquet"]))


def ztf_row(candid: Any) -> dict[str, Any]:
    row = ztf_record()
    row["candid"] = candid
    row["candidate"] = {**row["candidate"], "candid": candid}
    row["prv_candidates"] = [{**earlier, "candid": None} for earlier in row["prv_candidates"]]
    return row


def test_one_null_makes_a_column_floating_and_only_its_small_ids_are_read(tmp_path: Path) -> None:
    rows = [ztf_row(12.0), ztf_row(float(BIG))]
    good, bad = items(tmp_path, rows)
    assert isinstance(good, Packet)
    assert Decoder().decode([good.packet]).batch.candid == (12,)
    assert isinstance(bad, Skipped)
    assert bad.kind == "unusable row"
    assert "candid" in bad.reason


def test_an_id_of_the_history_that_is_not_exact_is_left_out(tmp_path: Path) -> None:
    row = ztf_row(12)
    row["prv_candidates"][0]["candid"] = float(BIG)
    row["prv_candidates"][1]["candid"] = 13.0
    (item,) = items(tmp_path, [row])
    assert isinstance(item, Packet)
    record: Any = next(fastavro.reader(io.BytesIO(item.packet)))
    assert [earlier["candid"] for earlier in record["prv_candidates"]] == [None, 13]


def test_an_id_that_the_row_has_exactly_elsewhere_is_that(tmp_path: Path) -> None:
    row = ztf_row(BIG)
    row["candidate"]["candid"] = float(BIG)
    (item,) = items(tmp_path, [row])
    assert isinstance(item, Packet)
    record: Any = next(fastavro.reader(io.BytesIO(item.packet)))
    assert record["candidate"]["candid"] == BIG
    row["candidate"]["candid"] = float(BIG + 5000)  # of another alert
    assert isinstance(items(tmp_path, [row])[0], Skipped)


def test_a_float32_column_is_believed_up_to_its_24_bits(tmp_path: Path) -> None:
    row = {**ztf_row(12.0), "candid": float(2**24 + 2)}  # a float64 would hold it
    assert isinstance(items(tmp_path, [row], candid=pa.float64())[0], Packet)
    (item,) = items(tmp_path, [row], candid=pa.float32())
    assert isinstance(item, Skipped)
    assert "candid" in item.reason


@pytest.mark.parametrize("column", ["diaSourceId", "diaObjectId", "ssObjectId", "parentDiaSourceId", "visit"])
def test_every_id_of_rubin(tmp_path: Path, column: str) -> None:
    row = {**least_rubin(), "lsst_schema_version": "lsst.v9_0"}
    (good,) = items(tmp_path, [row])
    assert isinstance(good, Packet), good
    changed = copy.deepcopy(row)
    changed["diaSource"][column] = float(BIG)
    (item,) = items(tmp_path, [changed])
    assert isinstance(item, Skipped)
    assert f"diaSource.{column}" in item.reason


def test_tables_of_light_curves(tmp_path: Path) -> None:
    columns = {"mjd": [1.0, 2.0], "band": ["g", "r"], "flux": [1.0, 2.0], "flux_err": [0.1, 0.1]}
    path = tmp_path / "task.parquet"
    pd.DataFrame({"object_id": [17.0, 18.0], **columns}).to_parquet(path)
    assert read(path).object_id == ("17", "18")
    pd.DataFrame({"object_id": [float(BIG), 18.0], **columns}).to_parquet(path)
    with pytest.raises(TableError, match="object_id is a floating-point"):
        read(path)
    labels = tmp_path / "labels.csv"
    labels.write_text("object_id,coarse\n17.0,SNIa\nZTF1,TDE\n")
    assert read_labels(labels) == {"17": "SNIa", "ZTF1": "TDE"}
    labels.write_text(f"object_id,coarse\n17,SNIa\n{float(BIG)},TDE\n")
    with pytest.raises(TableError, match="line 3: object_id"):
        read_labels(labels)


def test_the_row_is_written_as_fastavro_would(tmp_path: Path) -> None:
    (item,) = items(tmp_path, [ztf_row(BIG)])
    assert isinstance(item, Packet)
    record: Any = next(fastavro.reader(io.BytesIO(item.packet)))
    assert (record["candid"], record["candidate"]["candid"]) == (BIG, BIG)
    assert json.dumps(record["prv_candidates"][0]["candid"]) == "null"
