"""Ids in what `replay` writes and reads: they survive the programs that people read and write them with."""

from __future__ import annotations

import io
from pathlib import Path

import numpy as np
import orjson
import pandas as pd
import pytest
from rich.console import Console

from console import report
from console.commands.replay import Writer, row
from console.commands.watch import json_line
from console.labels import Judge, read_labels
from errors import UserError
from evaluation.real_alerts import real_alert
from schemas.records.detection import Detection
from schemas.records.rejected import Rejected
from tests.flow.stand_in import StandIn, packet

BIG = 3_161_416_363_009_222_017


def detection(candid: int) -> Detection:
    (found,) = StandIn()([packet(candid)])
    assert isinstance(found, Detection)
    return found


def test_candids_survive_pandas_beside_rejected_packets(tmp_path: Path) -> None:
    path = tmp_path / "scores.parquet"
    writer = Writer(path)
    writer.add([row("a", detection(BIG)), row("b", Rejected("truncated", "cut")), row("c", None), row("d", detection(-7))])
    writer.close()
    frame = pd.read_parquet(path)
    assert list(frame.candid[frame.kind == "detection"]) == [str(BIG), "-7"]
    ids = [name for name in frame.columns if name.endswith("_id") or name in ("candid", "model")]
    assert len(ids) >= 6
    assert not [name for name in ids if np.issubdtype(frame[name].dtype, np.floating)]


def test_a_report_keeps_ids(tmp_path: Path) -> None:
    path = tmp_path / "r.json"
    report.write(path, {"ids": [BIG, -BIG, 12], "nested": {"candid": BIG}, "flag": True, "packets": 2**53})
    assert orjson.loads(path.read_bytes()) == {
        "ids": [str(BIG), str(-BIG), 12],
        "nested": {"candid": str(BIG)},
        "flag": True,
        "packets": 2**53,
    }


def test_a_line_of_watch_keeps_the_candid() -> None:
    assert orjson.loads(json_line(detection(BIG)))["candid"] == str(BIG)
    assert orjson.loads(json_line(detection(5)))["candid"] == "5", "one type, whatever its size"


@pytest.mark.parametrize("column", ["candid", "objectId", "diaObjectId", "object_id"])
def test_labels_whose_ids_were_rounded_are_refused(tmp_path: Path, column: str) -> None:
    path = tmp_path / "labels.csv"
    path.write_text(f"{column},klass\n12.0,SN Ia\n{float(BIG)!r},SN Ia\n")
    with pytest.raises(UserError, match=f"line 3: {column}") as error:
        read_labels(path)
    assert error.value.code == 2
    path.write_text(f"{column},klass\n12.0,SN Ia\n{BIG},TDE\n")
    assert read_labels(path) == {"12": "SN Ia", str(BIG): "TDE"}


def test_labels_that_match_nothing_say_so_with_an_example_of_both() -> None:
    judge = Judge({"3161416363009222144": "SN Ia"})
    judge.alerts.append(real_alert(detection(BIG), "", catalogue_star=False))
    out = io.StringIO()
    judge.show(Console(file=out, width=400), "labels")
    said = out.getvalue()
    assert "3161416363009222144" in said
    assert str(BIG) in said
