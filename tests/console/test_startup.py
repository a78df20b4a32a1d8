"""Where a start's time goes: measured in a process of its own, and what `protonova doctor` makes of it."""

from __future__ import annotations

import subprocess
from collections.abc import Iterator
from types import SimpleNamespace
from typing import Any

import orjson
import pytest

from console.commands import doctor
from settings.model import Settings


def findings(monkeypatch: pytest.MonkeyPatch, **ran: Any) -> list[doctor.Finding]:
    def run(*args: object, **options: object) -> SimpleNamespace:
        if "error" in ran:
            raise ran["error"]
        return SimpleNamespace(stdout=orjson.dumps(ran["figures"]))

    monkeypatch.setattr(subprocess, "run", run)
    found: Iterator[doctor.Finding] = doctor.startup(Settings())
    return list(found)


def test_a_start_is_measured_part_by_part() -> None:
    (finding,) = doctor.startup(Settings())
    assert finding.what == "start-up"
    assert finding.level in ("ok", "warn"), "warn: something had to be compiled first"
    for part in ("imports", "session", "kernels", "warm", "loops from disk"):
        assert part in finding.found


def test_loops_that_had_to_be_compiled_are_a_warning_with_what_to_do(monkeypatch: pytest.MonkeyPatch) -> None:
    seconds = {"imports": 1.0, "kernels": 12.0}
    (finding,) = findings(monkeypatch, figures={"seconds": seconds, "loops_read": 3, "loops_compiled": 4})
    assert finding.level == "warn"
    assert finding.found.startswith("13.0 s: imports 1.0, kernels 12.0; 3 loops from disk, 4 compiled")
    assert "tools.compile_kernels" in finding.todo
    (finding,) = findings(monkeypatch, figures={"seconds": seconds, "loops_read": 7, "loops_compiled": 0})
    assert (finding.level, finding.todo) == ("ok", "")


def test_a_start_that_fails_is_a_line(monkeypatch: pytest.MonkeyPatch) -> None:
    (finding,) = findings(monkeypatch, error=subprocess.CalledProcessError(1, "x", stderr="the bundle is\ndamaged"))
    assert finding.level == "warn"
    assert finding.found == "cannot be measured: the bundle is damaged"
