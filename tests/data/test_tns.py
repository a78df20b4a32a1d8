"""The Transient Name Server: its dumps become labels, and an object becomes a report of its form."""

from __future__ import annotations

import csv
import json
import zipfile
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import jsonschema
import pytest

from console.commands.import_tns import labels_of
from data.history.sqlite_reader import SqliteReader
from data.history.sqlite_writer import SqliteWriter
from data.history.store import ObjectRow, PointRow
from data.tns_objects import read_tns
from data.tns_report import AT_REPORT, Reporting, at_report, marker
from errors import UserError
from tests.data.history_rows import portion, sky

BY = Reporting(group_id=12, source_id=34, reporter="A. Lovelace, on behalf of an observatory")
HEADER = ["objid", "name_prefix", "name", "ra", "declination", "redshift", "type", "internal_names"]
ROWS = [
    ["1", "SN", "2024abc", "10.5", "-3.25", "0.05", "SN Ia", "ZTF24aaaaaaa, ATLAS24x"],
    ["2", "AT", "2024abd", "11.5", "4.25", "", "", "ZTF24aaaaaab"],
    ["3", "TDE", "2024abe", "359.99", "89.9", "", "TDE", ""],
    ["4", "SN", "2024abf", "nan", "4.25", "", "SN II", ""],
]


def _csv(path: Path, *, first: str = "") -> Path:
    with path.open("w", newline="") as file:
        if first:
            file.write(f'"{first}"\n')
        csv.writer(file).writerows([HEADER, *ROWS])
    return path


def test_a_dump_in_each_form(tmp_path: Path) -> None:
    plain = read_tns(_csv(tmp_path / "a.csv"))
    assert [(o.name, o.kind, o.ztf) for o in plain] == [("2024abc", "SN Ia", "ZTF24aaaaaaa"), ("2024abe", "TDE", None)]
    assert read_tns(_csv(tmp_path / "b.csv", first="2024-06-17 00:00:00")) == plain
    with zipfile.ZipFile(tmp_path / "b.csv.zip", "w") as archive:
        archive.write(tmp_path / "b.csv", "b.csv")
    assert read_tns(tmp_path / "b.csv.zip") == plain
    reply = {
        "objname": "2024abc",
        "ra": "00:42:00.0",
        "dec": "-03:15:00",
        "object_type": {"name": "SN Ia"},
        "internal_names": "ZTF24aaaaaaa",
    }
    (tmp_path / "c.json").write_text(json.dumps({"data": {"reply": reply}}))
    [one] = read_tns(tmp_path / "c.json")
    assert (one.ra, one.dec, one.kind) == (pytest.approx(10.5), -3.25, "SN Ia")


@pytest.mark.parametrize(
    ("content", "says"),
    [
        (b"", "no column|no classified"),
        (b"a,b\n1,2\n", "no column for name"),
        (b"name,ra,declination,type\n", "no classified object"),
        (b"\xff\xfe", "cannot be read"),
        (b"[" * 100_000, "cannot be read"),
        (b'{"data": 3}', "no classified object"),
        (b"PK\x03\x04", "no column|cannot be read"),
    ],
)
def test_what_is_not_a_dump_is_one_line(tmp_path: Path, content: bytes, says: str) -> None:
    (tmp_path / "x").write_bytes(content)
    with pytest.raises(UserError, match=says) as caught:
        read_tns(tmp_path / "x")
    assert "\n" not in str(caught.value)


@dataclass
class History:
    """Rows of a made-up stream in a real store."""

    reader: SqliteReader
    places: dict[str, tuple[float, float]] = field(default_factory=dict)


@pytest.fixture
def history(tmp_path: Path) -> Any:
    with SqliteWriter(tmp_path / "history") as writer:
        writer.commit(portion(sky(200)))
    reader = SqliteReader(tmp_path / "history")
    yield reader
    reader.close()


def test_classified_objects_label_the_latest_alert(tmp_path: Path, history: SqliteReader) -> None:
    from data.tns_objects import TnsObject

    name = "ZTF1000003"
    found = history.object(name, private={0, 2, 3})
    assert found is not None
    latest = history.records(name, private={0, 2, 3}, limit=1)[0].summary.candid
    by_place = TnsObject("2024a", found.ra, found.dec, "SN Ia", None, ())
    by_name = TnsObject("2024b", 0.0, 0.0, "TDE", None, (name,))
    nowhere = TnsObject("2024c", 123.0, 45.0, "SN II", None, ("ZTF24zzzzzzz",))
    wide = TnsObject("2024d", found.ra, found.dec, "Other", None, ())
    labels, left_out = labels_of([by_place, by_name, nowhere, wide], history, author="ada", now_ms=5)
    assert [(label.candid, label.object_id, label.label, label.source) for label in labels] == [
        (latest, name, "sn-ia", "tns"), (latest, name, "tde", "tns"),
    ]  # fmt: skip
    assert dict(left_out) == {"not in the history": 1, "of a type that is not a class here": 1}


def _point(mjd: float, band: str = "g", flux: float | None = 36.3, programid: int = 1) -> PointRow:
    return PointRow("ztf", int(mjd), 10.5, -3.25, mjd, band, flux, 3.63, "tde", 0.8, 0.1, programid)


OBJECT = ObjectRow("ZTF24aaaaaaa", "ztf", 10.5, -3.25, 3, 60_000.0, 60_005.0, "tde", 0.8, 0.1)


def test_a_report_is_of_tns_form() -> None:
    points = [_point(59_990.0, programid=2), _point(60_000.5), _point(60_002.0, "r"), _point(60_003.0, flux=-5.0), _point(60_005.0, "i")]
    made = at_report(OBJECT, points, by=BY, host="NGC 1", redshift=0.0151)
    jsonschema.validate(made, AT_REPORT)
    report = made["at_report"]["0"]
    assert report["discovery_datetime"] == "2023-02-25 11:59:23"  # 60000.5 TAI: 37 s before noon in UTC
    assert report["at_type"] == "4"
    assert (report["host_name"], report["host_redshift"], report["internal_name"]) == ("NGC 1", "0.01510", "ZTF24aaaaaaa")
    photometry = report["photometry"]["photometry_group"]
    assert photometry["0"]["flux"] == "20.000"
    assert photometry["0"]["flux_error"] == "0.109"
    assert [photometry[k]["filter_value"] for k in "01"] == ["110", "112"]
    for broken in (
        {**report, "ra": "10.5"},
        {**report, "discovery_datetime": "yesterday"},
        {k: v for k, v in report.items() if k != "reporter"},
    ):
        with pytest.raises(jsonschema.ValidationError):
            jsonschema.validate({"at_report": {"0": broken}}, AT_REPORT)


def test_what_may_not_or_cannot_be_reported_is_not() -> None:
    with pytest.raises(UserError, match="has 1 public detections"):
        at_report(OBJECT, [_point(60_000.0), _point(60_001.0, programid=2)], by=BY)
    with pytest.raises(UserError, match="reports of lsst are not made"):
        at_report(OBJECT._replace(survey="lsst"), [], by=BY)
    assert marker(7, "bot") == 'tns_marker{"tns_id": 7, "type": "bot", "name": "bot"}'
