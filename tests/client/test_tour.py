"""The tour of docs/ runs to its end against a service in a process of its own."""

from __future__ import annotations

import re
import sys
import time
from collections.abc import Iterator
from pathlib import Path

import nbformat
import pytest
from nbclient import NotebookClient

from console.child import Child
from settings.model import Settings
from tests.service.past_night import alert, write

TOUR = Path(__file__).parents[2] / "docs" / "tour.ipynb"
WITHIN_S = 150


@pytest.fixture
def service(tmp_path: Path) -> Iterator[tuple[str, str]]:
    """Address and key of `protonova api` without a broker, with a history made here."""
    settings = Settings(state=tmp_path / "state")
    write(settings.history_path(), [*(alert(i) for i in range(30)), alert(40, "313888627133333333", survey="lsst", ra=150.0001)]).close()
    log = tmp_path / "api.log"
    environment = {"PYTHONPATH": str(TOUR.parents[1]), **settings.environment()}
    child = Child([sys.executable, "-m", "console.cli", "api", "--port", "0"], log, environment=environment)
    try:
        deadline = time.monotonic() + WITHIN_S
        while (found := re.search(r"once: (\S+)[\s\S]*HTTP API: (\S+)", log.read_text())) is None:
            assert child.poll() is None, log.read_text()
            assert time.monotonic() < deadline, log.read_text()
            time.sleep(0.1)
        yield found[2], found[1]
    finally:
        child.stop()


@pytest.mark.slow
@pytest.mark.timeout(400)
@pytest.mark.filterwarnings("ignore::DeprecationWarning", "ignore::ResourceWarning", "ignore::FutureWarning")
def test_the_tour_runs_to_its_end(service: tuple[str, str], monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setenv("PN_ADDRESS", service[0])
    monkeypatch.setenv("PN_KEY", service[1])
    monkeypatch.setenv("PYTHONPATH", str(TOUR.parents[1]))
    tour = nbformat.read(TOUR, as_version=4)
    NotebookClient(tour, timeout=WITHIN_S, kernel_name="python3", resources={"metadata": {"path": str(tmp_path)}}).execute()
    cells = [cell for cell in tour.cells if cell.cell_type == "code"]
    assert all(cell.outputs for cell in cells if not cell.source.endswith("close()"))
    said = "".join(str(output.get("data", {})) for cell in cells for output in cell.outputs)
    assert "ZTF25aaaaaaa" in said
    assert "313888627133333333" in said  # the counterpart
    assert service[1] not in str(tour)


def test_the_tour_is_kept_without_what_a_run_of_it_gave() -> None:
    for cell in nbformat.read(TOUR, as_version=4).cells:
        assert not cell.get("outputs")
        assert cell.get("execution_count") is None
