"""What all tests share: where real data lie, what the run really used, and that CI skips nothing it could have."""

from __future__ import annotations

import os
from pathlib import Path
from typing import Any

import pytest

from tests.namespaces import strict, xp
from tests.postgres_cluster import MISSING, postgres, postgres_server

__all__ = ["postgres", "postgres_server", "strict", "xp"]

SHARED = Path(os.environ.get("PROTONOVA_SHARED", Path(__file__).parents[1] / ".." / "shared")).resolve()
REAL = SHARED / "data" / "real"
EXCUSED = (
    "cupy",
    "cuda",
    "tensorrt",
    "gpu",
    "kcat is not installed",
    "no chromium is installed",
    "no valkey-server is installed",
    "no git repository is here",
    MISSING,
)
"""What CI may lack, as a skip's reason names it: a GPU, Debian's packages where it is not Debian, the history where it got files alone."""

_skipped: list[tuple[str, str]] = []


def real_ztf_files() -> list[Path]:
    """Every Avro file of real ZTF packets, sorted."""
    return sorted((REAL / "ztf_alerts").rglob("*.avro"))


def pytest_report_header() -> str:
    files = real_ztf_files()
    return f"real packets: {len(files)}" if files else f"real packets: none (looked in {REAL}); set PROTONOVA_SHARED to where shared/ lies"


def pytest_runtest_logreport(report: pytest.TestReport) -> None:
    if report.skipped and not hasattr(report, "wasxfail"):
        reason = str(report.longrepr[2] if isinstance(report.longrepr, tuple | list) else report.longrepr)
        excused = (*EXCUSED, "no real data") if os.environ.get("PROTONOVA_ALLOW_NO_REAL") == "1" else EXCUSED
        if not any(word in reason.lower() for word in excused):
            _skipped.append((report.nodeid, reason))


@pytest.hookimpl(trylast=True)
def pytest_sessionfinish(session: pytest.Session) -> None:
    if _skipped and os.environ.get("CI") and session.exitstatus == 0:
        session.exitstatus = 1


def pytest_terminal_summary(terminalreporter: Any) -> None:
    if _skipped and os.environ.get("CI"):
        terminalreporter.section("skipped, and CI skips nothing it could have")
        for name, reason in _skipped:
            terminalreporter.write_line(f"{name}: {reason}")


@pytest.fixture(scope="session")
def shared() -> Path:
    """The folder of real data; a test that needs it is skipped where there is none."""
    if not REAL.is_dir():
        pytest.skip(f"no real data under {REAL}")
    return REAL
