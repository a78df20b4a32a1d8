"""Figures of a comparison with labels, by hand."""

from __future__ import annotations

import json
import math
from pathlib import Path

import pytest

from console import report as reports
from errors import UserError

PAIRS = [("tde", "tde")] * 3 + [("tde", "agn")] + [("agn", "agn")] * 8 + [("agn", "tde")] * 2 + [("kilonova", "other")] * 2


def test_confusion_by_hand() -> None:
    matrix = reports.confusion(PAIRS, order=("kilonova", "tde"))
    assert matrix.classes == ("kilonova", "tde", "agn")
    assert matrix.total == 16
    assert matrix.accuracy == pytest.approx(11 / 16)
    tde = matrix.score("tde")
    assert (tde.precision, tde.recall, tde.count) == (pytest.approx(3 / 5), pytest.approx(3 / 4), 4)
    assert tde.f1 == pytest.approx(2 * 0.6 * 0.75 / 1.35)
    kilonova = matrix.score("kilonova")
    assert math.isnan(kilonova.precision)
    assert kilonova.recall == kilonova.f1 == 0
    assert matrix.macro_recall == pytest.approx((0.75 + 0.8 + 0) / 3)


def test_of_nothing() -> None:
    matrix = reports.confusion([])
    assert matrix.total == 0
    assert math.isnan(matrix.accuracy)
    assert math.isnan(matrix.macro_recall)


def test_percentiles_are_nearest_rank() -> None:
    values = [float(i) for i in range(1, 101)]
    assert [reports.percentile(values, q) for q in (0.5, 0.99, 1.0, 0.0)] == [50, 99, 100, 1]
    assert math.isnan(reports.percentile([], 0.5))


def test_a_report_is_json_without_nan(tmp_path: Path) -> None:
    path = tmp_path / "new" / "report.json"
    reports.write(path, {"a": math.nan, "b": {1: (2.0, math.inf)}, "m": reports.confusion(PAIRS).figures()})
    read = json.loads(path.read_text())
    assert read["a"] is None
    assert read["b"] == {"1": [2.0, None]}
    assert read["m"]["confusion"]["tde"] == {"agn": 1, "tde": 3}


def test_a_report_that_cannot_be_written_is_said_before_the_work(tmp_path: Path) -> None:
    with pytest.raises(UserError, match="folder"):
        reports.check_writable(tmp_path)
    (tmp_path / "file").write_text("")
    with pytest.raises(UserError, match="cannot be written"):
        reports.check_writable(tmp_path / "file" / "report.json")
    reports.check_writable(tmp_path / "new" / "folder" / "report.json")
    assert [path.name for path in tmp_path.iterdir()] == ["file"], "nothing is written before there is something to write"
