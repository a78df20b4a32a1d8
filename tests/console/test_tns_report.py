"""`protonova tns report`: printed and nothing sent unless it is asked for; the key in no message."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest

from console.commands import report_to_tns
from data.history.sqlite_writer import SqliteWriter
from errors import UserError
from schemas.records import detection
from settings.model import Settings
from tests.data.archive_server import ArchiveServer
from tests.data.history_rows import portion, sky
from tests.streams.made_detections import detection as made

REPORTS = {"tns_group": 12, "tns_source": 34, "tns_reporter": "A. Lovelace"}
SENDS = {"tns_password": "s3cret", "tns_bot_id": 7, "tns_bot_name": "bot"}


@pytest.fixture
def state(tmp_path: Path) -> Path:
    one = made("ZTF1000003", 60_000.0)
    body = detection.body(one, detection.coded(one))
    rows = [row._replace(body=body, programid=1, flux=40.0, band="r") for row in sky(100)]
    with SqliteWriter(tmp_path / "state" / "history") as writer:
        writer.commit(portion(rows))
    return tmp_path / "state"


def test_a_dry_run_prints_the_report(state: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert report_to_tns.report(Settings(state=state, **REPORTS), "ZTF1000003", send=False, live=False, remarks="") == 0
    out, error = capsys.readouterr()
    assert json.loads(out)["at_report"]["0"]["internal_name"] == "ZTF1000003"
    assert "nothing was sent" in error


@pytest.mark.parametrize(
    ("changed", "how", "says"),
    [
        ({"tns_reporter": ""}, {}, "PROTONOVA_TNS_REPORTER"),
        ({}, {"live": True}, "--live goes with --send"),
        ({}, {"send": True}, "PROTONOVA_TNS_PASSWORD"),
    ],
)
def test_what_is_missing_is_said(state: Path, changed: dict[str, Any], how: dict[str, Any], says: str) -> None:
    with pytest.raises(UserError, match=says):
        report_to_tns.report(
            Settings(state=state, **{**REPORTS, **changed}), "ZTF1000003", **{"send": False, "live": False, "remarks": "", **how}
        )


def test_it_is_sent_as_a_bot_sends_and_a_refusal_shows_no_key(state: Path, capsys: pytest.CaptureFixture[str]) -> None:
    settings = Settings(state=state, **REPORTS, **SENDS)
    with ArchiveServer({"/set/bulk-report": b'{"id_code": 200, "data": {"report_id": 99}}', "/echo": lambda asked: asked.body}) as server:
        how = {"send": True, "live": False, "remarks": "a test"}
        assert report_to_tns.report(settings, "ZTF1000003", url=f"{server.url}/set/bulk-report", **how) == 0
        [asked] = server.asked
        assert b"api_key=s3cret" in asked.body
        assert {k.lower(): v for k, v in asked.headers.items()}["user-agent"].startswith('tns_marker{"tns_id": 7')
        assert "99" in capsys.readouterr().out
        with pytest.raises(UserError, match="answers 404") as caught:
            report_to_tns.report(settings, "ZTF1000003", url=f"{server.url}/none", **how)
        assert "s3cret" not in str(caught.value)
        with pytest.raises(UserError, match="no public object"):
            report_to_tns.report(settings, "ZTF-none", **how)
