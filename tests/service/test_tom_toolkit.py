"""The real TOM Toolkit, in a virtual environment of its own, reads an object, a cone and the candidates of a class."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

from data.history.sqlite_reader import SqliteReader
from tests.service.api_client import Api
from tests.service.conftest import serve
from tests.service.past_night import alert, write
from tests.service.test_api_follow_up import candidates_known

ROOT = Path(__file__).parents[2]
PACKAGE = ROOT / "integrations" / "tom_protonova"


@pytest.fixture
def tom_python(tmp_path: Path) -> Path:
    """An interpreter with tomtoolkit; PROTONOVA_TEST_TOM names one that is there already."""
    if (given := os.environ.get("PROTONOVA_TEST_TOM")) is not None:
        return Path(given)
    subprocess.run([sys.executable, "-m", "venv", tmp_path / "tom"], check=True, timeout=300)
    python = tmp_path / "tom" / "bin" / "python"
    subprocess.run([python, "-m", "pip", "-q", "install", PACKAGE], check=True, timeout=1500)
    return python


@pytest.fixture
def api(tmp_path: Path) -> Iterator[tuple[str, str]]:
    """An API with two objects of ten alerts each, and candidates."""
    writer = write(tmp_path / "history", [alert(i, f"ZTF25{'ab'[i % 2]}", ra=150.0 + i % 2 / 100) for i in range(20)])
    reader = SqliteReader(tmp_path / "history")
    made = Api(tmp_path, history=reader, candidates=candidates_known())
    with serve(made.app) as port:
        yield f"http://127.0.0.1:{port}", made.key("read")
    reader.close()
    writer.close()


@pytest.mark.nightly
@pytest.mark.timeout(1800)
def test_a_tom_reads_us(api: tuple[str, str], tom_python: Path) -> None:
    url, key = api
    environment = {**os.environ, "PYTHONPATH": str(PACKAGE)}
    command = [tom_python, PACKAGE / "read_by_tom.py", url, key, "ZTF25a", "150.0", "20.0"]
    done = subprocess.run(command, capture_output=True, text=True, timeout=300, env=environment, cwd=PACKAGE)
    assert done.returncode == 0, done.stderr[-3000:]
    found = json.loads(done.stdout.splitlines()[-1])
    assert found["by_name"] == ["ZTF25a"]
    assert found["nothing"] == []
    assert found["cone"] == ["ZTF25a"]
    assert found["class"] == ["Z3", "Z2"]
    assert found["target"][0] == "ZTF25a"
    assert len(found["photometry"]) == 8  # two of its ten alerts have no flux
    assert "Protonova answers 401" in found["wrong_key"]
