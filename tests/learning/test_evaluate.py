"""Figures count what they say, and real labelled packets go through the operators of the stream."""

from __future__ import annotations

import io
from pathlib import Path

import numpy as np
import pytest
from rich.console import Console

pytest.importorskip("torch")

from console.commands.train import table_of
from data.label_table import PacketsError
from gpu.ort import OrtSession
from learning import assessment, real_sky
from operators.head import Judged
from registry.bundle import load

CLASSES = ("a", "b", "c")


def judged(best: list[int], sure: float = 0.9) -> Judged:
    n, k = len(best), len(CLASSES)
    probability = np.full((n, k + 1), (1 - sure) / k, dtype=np.float32)
    probability[np.arange(n), best] = sure
    inside = probability > 0.5
    return Judged(probability, probability, np.zeros(n, np.float32), np.array(best), np.zeros(n, np.float32), inside)


def test_figures_by_hand() -> None:
    label = np.array([0] * 10 + [1] * 10 + [2] * 10)
    best = [0] * 10 + [1] * 5 + [0] * 5 + [2] * 10
    number = np.array([1] * 10 + [9] * 20)
    found = assessment.figures(judged(best), label, number=number, classes=CLASSES)
    assert found["n"] == {"1": 10, "2-4": 0, "5+": 20}
    assert found["accuracy"] == {"1": 1.0, "5+": 0.75}
    assert found["recall"]["5+"] == {"b": 0.5, "c": 1.0}
    assert found["macro"] == {"1": 1.0, "5+": 0.75}
    assert found["confusion"] == [[0, 0, 0], [5, 5, 0], [0, 0, 10]]
    assert found["coverage"] == pytest.approx(25 / 30, abs=1e-4)
    assert found["set_size"] == 1.0
    assert found["called_new"] == 0.0


def test_a_class_with_few_alerts_has_no_recall() -> None:
    label = np.array([0] * 10 + [1] * 3)
    found = assessment.figures(judged([0] * 13), label, number=np.full(13, 7), classes=CLASSES)
    assert found["recall"]["5+"] == {"a": 1.0}
    assert found["macro"]["5+"] == 1.0


def test_the_table_shows_every_class() -> None:
    label = np.arange(30) % 3
    found = assessment.figures(judged(label.tolist()), label, number=np.full(30, 2), classes=CLASSES)
    console = Console(record=True, width=120, file=io.StringIO())
    console.print(table_of("title", found, classes=CLASSES))
    text = console.export_text()
    assert all(name in text for name in CLASSES)
    assert "100%" in text


def test_real_packets(shared: Path) -> None:
    """Moving objects, by far the most labelled packets, are recognised; the rest is few and only reported."""
    bundle = load()
    real = real_sky.read(shared / "ztf_alerts", OrtSession(bundle.encoder), classes=bundle.classes)
    assert real is not None
    known = real.label >= 0
    apart = real.judged(bundle.unseen)
    labelled = Judged(*(column[known] for column in apart))
    found = assessment.figures(labelled, real.label[known], number=real.number[known], classes=bundle.classes, least=1)
    assert sum(found["n"].values()) >= 160
    assert not (known & real.star).any()
    shares = real.stars(apart, bundle.classes)
    assert shares["star"] > 0.5 > 0.3 > shares["agn"]
    assert found["recall"]["1"]["asteroid"] > 0.9
    assert 0.8 < found["coverage"] <= 1


def test_a_table_of_labels_without_its_columns_is_one_line(tmp_path: Path) -> None:
    """And without a table there are none."""
    session = OrtSession(load().encoder)
    assert real_sky.read(tmp_path, session, classes=CLASSES) is None
    (tmp_path / "LABELS.csv").write_text("name,type\na,AGN\n")
    with pytest.raises(PacketsError, match="needs the columns objectId and klass"):
        real_sky.read(tmp_path, session, classes=CLASSES)
