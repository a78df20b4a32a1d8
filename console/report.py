"""Counts and labels → the tables a command prints and the JSON that ``--report FILE`` writes: the same figures in both.

Every report has the keys ``command``, ``packets``, ``detections``, ``duplicates``, ``skipped`` and ``rejected`` (by reason).
"""

from __future__ import annotations

import math
from collections import Counter
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import orjson
from rich.table import Table

from console.errors import ConsoleError


def write(path: Path | None, figures: Mapping[str, Any]) -> None:
    """Write a report as JSON (None: nowhere)."""
    if path is None:
        return
    text = orjson.dumps(_plain(figures), option=orjson.OPT_INDENT_2 | orjson.OPT_APPEND_NEWLINE | orjson.OPT_SERIALIZE_NUMPY)
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(text)
    except OSError as error:
        raise ConsoleError(f"the report could not be written to {path}: {error.strerror}") from error


def check_writable(path: Path | None) -> None:
    """Fail before the work rather than after it when a file to be written cannot be.

    Raises
    ------
    ConsoleError
        It is a folder, or its folder cannot be made or written to.
    """
    if path is None:
        return
    if path.is_dir():
        raise ConsoleError(f"{path} is a folder: name a file to write", 2)
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        with path.open("ab"):
            pass
    except OSError as error:
        raise ConsoleError(f"{path} cannot be written: {error.strerror}") from error


def _plain(value: Any) -> Any:
    """NaN → null, counters → dictionaries, in order of size."""
    if isinstance(value, Counter):
        return dict(value.most_common())
    if isinstance(value, Mapping):
        return {str(k): _plain(v) for k, v in value.items()}
    if isinstance(value, list | tuple):
        return [_plain(v) for v in value]
    if isinstance(value, float) and not math.isfinite(value):
        return None
    return value


def percentile(values: Sequence[float], q: float) -> float:
    """The q-quantile (0 … 1) of a sorted sequence, nearest rank; NaN of none."""
    return values[max(0, math.ceil(q * len(values)) - 1)] if values else math.nan


@dataclass(frozen=True, slots=True)
class ClassScore:
    """How well one class was found."""

    precision: float
    recall: float
    f1: float
    count: int
    """Objects whose truth it is."""


@dataclass(frozen=True, slots=True)
class Confusion:
    """Truth against prediction.

    Attributes
    ----------
    classes : tuple of str
        Those that occur as truth, in the order given.
    counts : dict
        (truth, predicted) → how many.
    """

    classes: tuple[str, ...]
    counts: Mapping[tuple[str, str], int]

    @property
    def total(self) -> int:
        """How many were judged."""
        return sum(self.counts.values())

    @property
    def accuracy(self) -> float:
        """Share predicted right."""
        right = sum(n for (truth, predicted), n in self.counts.items() if truth == predicted)
        return right / self.total if self.total else math.nan

    def score(self, name: str) -> ClassScore:
        """Precision, recall and F1 of a class; NaN where nothing is there to divide by."""
        right = self.counts.get((name, name), 0)
        truth = sum(n for (t, _), n in self.counts.items() if t == name)
        said = sum(n for (_, p), n in self.counts.items() if p == name)
        precision = right / said if said else math.nan
        recall = right / truth if truth else math.nan
        return ClassScore(precision, recall, 2 * right / (said + truth) if said + truth else math.nan, truth)

    @property
    def macro_recall(self) -> float:
        """Mean recall over the classes that occur: rare ones count as much as common ones."""
        recalls = [self.score(c).recall for c in self.classes]
        return sum(recalls) / len(recalls) if recalls else math.nan

    def figures(self) -> dict[str, Any]:
        """For the report."""
        return {
            "n": self.total,
            "accuracy": self.accuracy,
            "macro_recall": self.macro_recall,
            "classes": {
                c: {"precision": s.precision, "recall": s.recall, "f1": s.f1, "n": s.count} for c in self.classes for s in (self.score(c),)
            },
            "confusion": {t: {p: n for (t2, p), n in sorted(self.counts.items()) if t2 == t} for t in self.classes},
        }


def confusion(pairs: Iterable[tuple[str, str]], order: Sequence[str] = ()) -> Confusion:
    """Count (truth, predicted) pairs; classes in the order given, others behind."""
    counts = Counter(pairs)
    present = {truth for truth, _ in counts}
    ordered = [c for c in order if c in present]
    return Confusion((*ordered, *sorted(present.difference(ordered))), counts)


def _share(value: float) -> str:
    return "–" if math.isnan(value) else f"{100 * value:.0f} %"


def class_table(matrix: Confusion, title: str) -> Table:
    """Precision, recall and F1 by class, with the macro recall below."""
    table = Table(title=title, title_justify="left", show_footer=True, pad_edge=False)
    table.add_column("class", footer="all")
    table.add_column("objects", justify="right", footer=f"{matrix.total:,}")
    table.add_column("precision", justify="right")
    table.add_column("recall", justify="right", footer=f"macro {_share(matrix.macro_recall)}")
    table.add_column("F1", justify="right")
    table.add_column("most taken for", footer=f"accuracy {_share(matrix.accuracy)}")
    for name in matrix.classes:
        s = matrix.score(name)
        wrong = Counter({p: n for (t, p), n in matrix.counts.items() if t == name and p != name}).most_common(2)
        table.add_row(name, f"{s.count:,}", _share(s.precision), _share(s.recall), _share(s.f1), ", ".join(f"{p} {n}" for p, n in wrong))
    return table


def confusion_table(matrix: Confusion, title: str) -> Table:
    """Rows: truth; columns: predicted, by their first four letters so that eighteen of them fit a terminal."""
    columns = [*matrix.classes, *sorted({p for _, p in matrix.counts}.difference(matrix.classes))]
    table = Table(title=title, title_justify="left", pad_edge=False, padding=(0, 0, 0, 1), collapse_padding=True)
    table.add_column("truth \\ said", no_wrap=True)
    for name in columns:
        table.add_column(_short(name), justify="right", no_wrap=True)
    for truth in matrix.classes:
        cells = []
        for said in columns:
            n = matrix.counts.get((truth, said), 0)
            cells.append("·" if not n else f"[bold]{n}[/bold]" if said == truth else str(n))
        table.add_row(truth, *cells)
    return table


def _short(name: str) -> str:
    """sn-ibc → ibc, rr-lyrae → rrly, eclipsing-binary → ecli."""
    return name.removeprefix("sn-").replace("-", "")[:4]


def count_table(title: str, rows: Mapping[str, int], first: str = "reason") -> Table:
    """What and how many, largest first."""
    table = Table(title=title, title_justify="left", pad_edge=False)
    table.add_column(first)
    table.add_column("packets", justify="right")
    for name, n in sorted(rows.items(), key=lambda kv: (-kv[1], kv[0])):
        table.add_row(name, f"{n:,}")
    return table
