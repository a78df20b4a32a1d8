"""Counts and labels → the tables a command prints and the JSON that ``--report FILE`` writes: the same figures in both.

Every report has the keys ``command``, ``packets``, ``detections``, ``duplicates``, ``skipped`` and ``rejected`` (by reason).
"""

from __future__ import annotations

import math
import os
import re
import sys
from collections import Counter
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import orjson
from rich import box
from rich.console import Console
from rich.table import Table
from rich.text import Text

from errors import UserError, one_line, usage

EXACT = 2**53
"""Up to here every whole number is one of JavaScript's, and of pandas' where a column has a null."""


def write(path: Path | None, figures: Mapping[str, Any]) -> None:
    """Write a report as JSON (None: nowhere)."""
    if path is None:
        return
    text = orjson.dumps(_plain(figures), option=orjson.OPT_INDENT_2 | orjson.OPT_APPEND_NEWLINE | orjson.OPT_SERIALIZE_NUMPY)
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(text)
    except OSError as error:
        raise UserError(f"the report could not be written to {path}: {error.strerror}") from error


def check_writable(path: Path | None) -> None:
    """Fail before the work rather than after it when a file to be written cannot be; nothing is written for it.

    Raises
    ------
    UserError
        It is a folder, or its folder is a file or cannot be written to; with exit status 2.
    """
    if path is None:
        return
    if path.is_dir():
        raise usage(f"{path} is a folder: name a file to write")
    folder = next(parent for parent in path.absolute().parents if parent.exists())
    if not folder.is_dir():
        raise usage(f"{path} cannot be written: {folder} is not a folder")
    closed = path if path.exists() else folder
    if not os.access(closed, os.W_OK):
        raise usage(f"{path} cannot be written: {closed} is read-only for us")


def _plain(value: Any) -> Any:
    """NaN → null, counters → dictionaries in order of size, an integer that readers of JSON would round (an id) → its digits as text."""
    if isinstance(value, Counter):
        return dict(value.most_common())
    if isinstance(value, Mapping):
        return {str(k): _plain(v) for k, v in value.items()}
    if isinstance(value, list | tuple):
        return [_plain(v) for v in value]
    if isinstance(value, float) and not math.isfinite(value):
        return None
    if isinstance(value, int) and abs(value) > EXACT:
        return str(value)
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
    """Alerts whose truth it is."""


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
        predicted = sum(n for (_, p), n in self.counts.items() if p == name)
        precision = right / predicted if predicted else math.nan
        recall = right / truth if truth else math.nan
        return ClassScore(precision, recall, 2 * right / (predicted + truth) if predicted + truth else math.nan, truth)

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


STRATA: Mapping[str, tuple[int, float]] = {"1": (0, 1), "2–4": (2, 4), "≥ 5": (5, math.inf)}
"""Alerts by the number of detections in their light curve."""


def strata_table(matrices: Mapping[str, Confusion]) -> Table:
    """Accuracy and macro recall by the number of detections."""
    shown = table()
    shown.add_column("detections")
    for name in ("alerts", "accuracy", "macro recall"):
        shown.add_column(name, justify="right")
    for name, m in matrices.items():
        shown.add_row(name, f"{m.total:,}", *(("–" if math.isnan(v) else f"{100 * v:.1f} %") for v in (m.accuracy, m.macro_recall)))
    return shown


@dataclass(slots=True)
class Comparison:
    """Detections beside the truth."""

    pairs: list[tuple[str, str, int]] = field(default_factory=list)
    """(truth, predicted, detections in the light curve)."""

    def matrix(self, least: float = 0, most: float = math.inf) -> Confusion:
        """Of the alerts with so many detections."""
        return confusion((truth, predicted) for truth, predicted, n in self.pairs if least <= n <= most)

    def strata(self) -> dict[str, Confusion]:
        """By the number of detections."""
        return {name: self.matrix(*limits) for name, limits in STRATA.items()}

    def figures(self) -> dict[str, Any]:
        """For the report."""
        return {"all": self.matrix().figures(), "by_detections": {name: m.figures() for name, m in self.strata().items()}}


def output() -> Console:
    """Standard output: as wide as the terminal, or wide enough for the tables where it is none."""
    return Console() if sys.stdout.isatty() else Console(width=140)


def cell(value: object, style: str = "", *, limit: int = 200) -> Text:
    """A table's cell of text from a packet, a record or a file: nothing in it drives the terminal or is read as markup."""
    return Text(one_line(value, limit), style)


_NOT_PRINTED = re.compile(r"[\x7f-\x9f\u061c\u200b-\u200f\u2028-\u202e\u2060-\u206f\ufeff]")


def printable_json(text: bytes) -> bytes:
    """The same JSON with everything escaped that a terminal would act on (JSON itself escapes only what lies below a space)."""
    found = text.decode()
    return _NOT_PRINTED.sub(lambda match: f"\\u{ord(match[0]):04x}", found).encode() if _NOT_PRINTED.search(found) else text


def table(*, footer: bool = False) -> Table:
    """An empty table in the one style there is."""
    return Table(box=box.SIMPLE_HEAD, pad_edge=False, show_edge=False, show_footer=footer)


def show(console: Console, title: str, *parts: Table) -> None:
    """A title and the tables under it."""
    console.print()
    console.print(title, style="bold", highlight=False, soft_wrap=True)
    for part in parts:
        console.print(part)


def _share(value: float) -> str:
    return "–" if math.isnan(value) else f"{100 * value:.0f} %"


def class_table(matrix: Confusion) -> Table:
    """Precision, recall and F1 by class, with the macro recall below."""
    shown = table(footer=True)
    shown.add_column("class", footer="all")
    shown.add_column("alerts", justify="right", footer=f"{matrix.total:,}")
    shown.add_column("precision", justify="right")
    shown.add_column("recall", justify="right", footer=f"macro {_share(matrix.macro_recall)}")
    shown.add_column("F1", justify="right")
    shown.add_column("most taken for", footer=f"accuracy {_share(matrix.accuracy)}")
    for name in matrix.classes:
        s = matrix.score(name)
        wrong = Counter({p: n for (t, p), n in matrix.counts.items() if t == name and p != name}).most_common(2)
        often = cell(", ".join(f"{p} {n}" for p, n in wrong))
        shown.add_row(cell(name), f"{s.count:,}", _share(s.precision), _share(s.recall), _share(s.f1), often)
    return shown


def show_confusion(console: Console, matrix: Confusion, *, title: str) -> None:
    """Rows: truth; columns: the prediction, by their first four letters. Never narrower than it is: numbers must not be cut off."""
    columns = [*matrix.classes, *sorted({p for _, p in matrix.counts}.difference(matrix.classes))]
    shown = table()
    shown.padding = (0, 1, 0, 0)
    shown.add_column("truth", no_wrap=True, min_width=max(map(len, matrix.classes), default=5))
    for name in columns:
        shown.add_column(cell(_short(name)), justify="right", no_wrap=True, min_width=4)
    for truth in matrix.classes:
        cells = []
        for predicted in columns:
            n = matrix.counts.get((truth, predicted), 0)
            cells.append("·" if not n else f"[bold]{n}[/bold]" if predicted == truth else str(n))
        shown.add_row(cell(truth), *cells)
    show(console, title)
    console.print(shown, width=max(console.width, 20 + 5 * len(columns)), crop=False, no_wrap=True)


def _short(name: str) -> str:
    """sn-ibc → ibc, rr-lyrae → rrly, eclipsing-binary → ecli."""
    return name.removeprefix("sn-").replace("-", "")[:4]


def decision_table(classes: Mapping[str, int], published: Mapping[str, int]) -> Table:
    """Detections by the class of their decision: how many reached its threshold, and how many did not; the most published first."""
    shown = table()
    shown.add_column("class")
    for name in ("on its topic", "below threshold"):
        shown.add_column(name, justify="right")
    for name, n in sorted(classes.items(), key=lambda kv: (-published.get(kv[0], 0), -kv[1], kv[0])):
        shown.add_row(cell(name), f"{(reached := published.get(name, 0)):,}", f"{n - reached:,}")
    return shown


def count_table(rows: Mapping[str, int], first: str = "reason", *, second: str = "packets") -> Table:
    """What and how many, largest first."""
    shown = table()
    shown.add_column(first)
    shown.add_column(second, justify="right")
    for name, n in sorted(rows.items(), key=lambda kv: (-kv[1], kv[0])):
        shown.add_row(cell(name), f"{n:,}")
    return shown
