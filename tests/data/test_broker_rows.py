"""Fink's JSON about an object gives the survey's alerts back; what lacks a field is named and not made up."""

from __future__ import annotations

import gzip
import io
import json
from pathlib import Path
from typing import Any

import fastavro
import numpy as np
import pytest

from data.connectors.archives import Packet, Skipped, packets_of
from data.connectors.broker_rows import MOST_BYTES
from data.simulate.night import alert_at
from data.simulate.observe import Alert
from data.simulate.survey_packets import packet
from schemas.surveys.decode import Decoder


def alerts() -> list[dict[str, Any]]:
    """Records of the alerts of one simulated object."""
    for k in range(200):
        alert = alert_at(5, k)
        detected = [int(n) for n in np.flatnonzero(alert.observed.detected) if alert.first <= n <= alert.now]
        if len(detected) >= 4:
            break
    found = []
    for now in detected:
        record: Any = next(fastavro.reader(io.BytesIO(packet(Alert(alert.observed, now, alert.first)))))
        found.append(record)
    return found


def rows(records: list[dict[str, Any]]) -> list[dict[str, Any]]:
    """As Fink answers: the newest first, ZTF's fields under i:, its own beside them."""
    return [
        {"b:x": None, "d:cdsxmatch": "Unknown", "i:objectId": r["objectId"], "i:schemavsn": r["schemavsn"], "i:publisher": "Fink",
         **{f"i:{k}": v for k, v in r["candidate"].items()}}
        for r in reversed(records)
    ]  # fmt: skip


def items(folder: Path, answer: Any, name: str = "fink_ZTF.json") -> list[Packet | Skipped]:
    data = answer if isinstance(answer, bytes) else json.dumps(answer).encode()
    (folder / name).write_bytes(gzip.compress(data) if name.endswith(".gz") else data)
    return list(packets_of([folder / name]))


@pytest.mark.parametrize("name", ["fink_ZTF.json", "x.json.gz"])
@pytest.mark.parametrize("text", [False, True])
def test_each_row_is_the_surveys_alert_with_the_earlier_ones_as_its_history(tmp_path: Path, name: str, text: bool) -> None:
    records = alerts()
    answer = rows(records)
    if text:
        answer = [{**row, "i:candid": str(row["i:candid"])} for row in answer]
    found = items(tmp_path, answer, name)
    assert all(isinstance(item, Packet) for item in found)
    assert len(found) == len(records) >= 4
    decoded = Decoder().decode([item.packet for item in found if isinstance(item, Packet)])
    assert not decoded.rejected
    batch = decoded.batch
    assert list(batch.candid) == [record["candid"] for record in records]
    assert {*batch.object_id} == {records[0]["objectId"]}
    for k, record in enumerate(records):
        past = [r["candidate"] for r in records[: k + 1] if record["candidate"]["jd"] - r["candidate"]["jd"] <= 30]
        assert batch.valid[k].sum() == len(past)
    written: Any = next(fastavro.reader(io.BytesIO(found[-1].packet)))  # type: ignore[union-attr]
    for name_, value in records[-1]["candidate"].items():
        assert written["candidate"][name_] == pytest.approx(value), name_


@pytest.mark.parametrize(
    ("change", "why"),
    [
        (lambda row: row.pop("i:ndethist"), "i:ndethist"),
        (lambda row: row.update({"i:magpsf": None}), "i:magpsf"),
        (lambda row: row.update({"i:jd": "soon"}), "a time"),
        (lambda row: row.update({"i:candid": 1.5e18 + 300}), "candid"),
        (lambda row: row.update({"i:magpsf": "bright"}), "does not fit"),
        (lambda row: row.update({"i:fid": [1]}), "candidate.fid is '[1]'"),
    ],
)
def test_a_row_that_lacks_or_twists_a_field_is_named_and_the_others_come(tmp_path: Path, change: Any, why: str) -> None:
    answer = rows(alerts())
    change(answer[0])
    found = items(tmp_path, answer)
    bad = [item for item in found if isinstance(item, Skipped)]
    assert len(bad) == 1
    assert bad[0].kind == "unusable row"
    assert why in bad[0].reason
    assert bad[0].reason.isprintable()
    assert len(found) == len(answer)


@pytest.mark.parametrize(
    ("data", "kind"),
    [
        (json.dumps(rows(alerts())).encode()[:-9], "unreadable"),
        (b'["i:objectId"]', "unreadable"),
        (b'[{"i:objectId": "ZTF18abbuksn"}]', "unusable row"),
        (b'{"detections": [], "i:objectId": 3}', "JSON"),
        (b'[{"objectId": "ZTF18abbuksn"}]', "JSON"),
        (b"[" + b" " * 100 + b'"i:objectId",' + b" " * MOST_BYTES, "too large"),
    ],
)
def test_other_json_is_a_line(tmp_path: Path, data: bytes, kind: str) -> None:
    (item,) = items(tmp_path, data)
    assert isinstance(item, Skipped)
    assert item.kind == kind
