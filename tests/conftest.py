"""What all tests share: where real data lie, and what the run really used."""

from __future__ import annotations

import os
from pathlib import Path

import pytest

SHARED = Path(os.environ.get("PROTONOVA_SHARED", Path(__file__).parents[1] / ".." / "shared")).resolve()
REAL = SHARED / "data" / "real"


def real_ztf_files() -> list[Path]:
    """Every Avro file of real ZTF packets, sorted."""
    return sorted((REAL / "ztf_alerts").rglob("*.avro"))


def pytest_report_header() -> str:
    files = real_ztf_files()
    return f"real packets: {len(files)}" if files else f"real packets: none (looked in {REAL}); set PROTONOVA_SHARED to where shared/ lies"


@pytest.fixture(scope="session")
def shared() -> Path:
    """The folder of real data; a test that needs it is skipped where there is none."""
    if not REAL.is_dir():
        pytest.skip(f"no real data under {REAL}")
    return REAL
