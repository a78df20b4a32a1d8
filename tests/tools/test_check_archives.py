"""The check of the live archives says ok, changed or not run, and is wrong about none of them."""

from __future__ import annotations

import json

import pytest

from tests.data.archive_server import ArchiveServer
from tools.check_archives import main, states

POINT = {"i:objectId": "ZTF21aaxtctv", "i:jd": 2459310.9, "i:fid": 2, "i:magpsf": 18.1, "i:sigmapsf": 0.1, "i:ra": 10.5, "i:dec": 20.5}


def test_an_archive_as_documented_is_ok_and_another_is_changed() -> None:
    sums = f"{'a' * 32}  ztf_public_20240617.tar.gz\n".encode()
    with ArchiveServer({"/api/v1/objects": json.dumps([POINT]).encode(), "/MD5SUMS": sums}) as server:
        assert [state for _, state, _ in states(["fink", "ztf-nights"], server.url)] == ["ok", "ok"]
        server.files |= {"/api/v1/objects": b'{"rows": []}', "/MD5SUMS": b"none"}
        assert [state for _, state, _ in states(["fink", "ztf-nights"], server.url)] == ["changed", "changed"]


def test_without_a_network_or_a_token_it_is_not_run(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("LASAIR_TOKEN", raising=False)
    with ArchiveServer({}) as server:
        gone = server.url
    assert [state for _, state, _ in states(["alerce", "lasair"], gone)] == ["not run", "not run"]


def test_a_source_that_is_none_is_refused(capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["nasa"]) == 2
    assert "ztf-nights" in capsys.readouterr().err
