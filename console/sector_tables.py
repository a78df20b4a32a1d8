"""A simulated sector's detections → tables beside its truth: planets and their anomalies by depth and period, periods found, confusion."""

from __future__ import annotations

import math
from collections import Counter
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from rich.console import Console
from rich.table import Table

from console import report as reports
from console.outcome_counts import Arrival, Outcome

if TYPE_CHECKING:
    from console.night_file import Made

SOUGHT = ("exoplanet-transit", "transit-anomaly")
"""The classes that a sector is for."""
BINARIES = "eclipsing-binary"
DEPTHS: Mapping[str, float] = {"< 0.05 %": 0.0005, "0.05–0.1 %": 0.001, "0.1–0.3 %": 0.003, "0.3–1 %": 0.01, "≥ 1 %": math.inf}
"""Upper ends of the bins of true depth."""
PERIODS: Mapping[str, float] = {"< 1 d": 1.0, "1–3 d": 3.0, "3–7 d": 7.0, "7–13 d": 13.0, "≥ 13 d": math.inf}
STRENGTHS: Mapping[str, float] = {"< 10 σ": 10.0, "10–20 σ": 20.0, "20–50 σ": 50.0, "≥ 50 σ": math.inf}
WITHOUT = "without"
"""The bin of what has no such figure."""
SAME = 0.01
"""Relative difference of a found period from the true one, or from a simple multiple of it, at most."""
MULTIPLES = (0.5, 2.0, 1 / 3, 3.0)


@dataclass(frozen=True, slots=True)
class Judged:
    """A detection beside what its target is."""

    label: str
    kind: str
    figures: Mapping[str, float]
    decided: str
    """Class of the decision."""
    published: bool
    """Whether it reached the class's threshold."""
    period: float
    """Found period [d], NaN: none."""


@dataclass(slots=True)
class Bin:
    """Counts of one bin of one class."""

    true: int = 0
    decided: int = 0
    """Of the true ones: the decision names the class."""
    found: int = 0
    """Of the true ones: decided and published."""
    published: int = 0
    """Published as the class, right or wrong."""

    @property
    def completeness(self) -> float:
        """Published share of the true ones."""
        return self.found / self.true if self.true else math.nan

    @property
    def purity(self) -> float:
        """Share of the true ones in what is published."""
        return self.found / self.published if self.published else math.nan

    def figures(self) -> dict[str, Any]:
        """For the report."""
        return {
            "n": self.true, "decided": self.decided, "completeness": self.completeness, "published": self.published, "purity": self.purity,
        }  # fmt: skip


def judged(arrivals: Sequence[Arrival], made: Sequence[Made]) -> list[Judged]:
    """Detections of targets whose truth is known."""
    truth = {m.candid: m for m in made if m.kind == "alert"}
    out = []
    for arrival in arrivals:
        d = arrival.detection
        known = truth.get(d.candid)
        if known is None:
            continue
        period = d.transit.period if d.transit is not None and d.transit.period is not None else d.period
        published = d.decision is not None and d.decision.published
        out.append(Judged(known.label, known.detail, known.figures, d.shown_class[0], published, math.nan if period is None else period))
    return out


def bin_of(value: float | None, edges: Mapping[str, float]) -> str:
    """Which bin a figure is in."""
    if value is None or math.isnan(value):
        return WITHOUT
    return next(name for name, edge in edges.items() if value < edge or edge == math.inf)


def binned(rows: Sequence[Judged], name: str, *, figure: str, edges: Mapping[str, float]) -> dict[str, Bin]:
    """Counts of a class by a figure of the truth, whatever the truth is: a binary's depth counts against the planets of that depth."""
    bins = {label: Bin() for label in (*edges, WITHOUT)}
    for row in rows:
        own = bins[bin_of(row.figures.get(figure), edges)]
        decided = row.decided == name
        true = row.label == name
        own.true += true
        own.decided += true and decided
        own.published += decided and row.published
        own.found += true and decided and row.published
    return {label: counts for label, counts in bins.items() if counts.true or counts.published}


def agreement(found: float, true: float) -> str:
    """How a found period relates to the true one: same, multiple, other, none."""
    if math.isnan(found) or not found > 0:
        return "none"
    if abs(found / true - 1) < SAME:
        return "same"
    return "multiple" if any(abs(found / (true * m) - 1) < SAME for m in MULTIPLES) else "other"


def periods(rows: Sequence[Judged]) -> dict[str, Counter[str]]:
    """Class → how the found periods agree, of targets that have one."""
    out: dict[str, Counter[str]] = {}
    for row in rows:
        true = row.figures.get("period")
        if row.label and true:
            out.setdefault(row.label, Counter())[agreement(row.period, true)] += 1
    return dict(sorted(out.items()))


def finer(row: Judged) -> str:
    """The kind, of binaries with how they are seen."""
    how = next((name for name in ("grazing", "blended") if name in row.figures), "")
    return f"{row.kind} {how}".strip()


def show(console: Console, outcome: Outcome) -> dict[str, Any]:
    """Print the tables; the figures for the report."""
    rows = judged(outcome.counts.arrivals, outcome.made)
    known = {c.name for a in outcome.counts.arrivals[:1] for c in a.detection.classes}
    figures: dict[str, Any] = {}
    for name in SOUGHT:
        if rows and name not in known:
            console.print(f"the bundle has no class {name}: none of its targets can be found", style="yellow", highlight=False)
        by = {
            "depth": binned(rows, name, figure="depth", edges=DEPTHS),
            "period": binned(rows, name, figure="period", edges=PERIODS),
            "signal-to-noise": binned(rows, name, figure="signal_to_noise", edges=STRENGTHS),
        }
        whole = total(by["depth"].values())
        title = f"{name}: {whole.true} in the sector, completeness {_percent(whole.completeness)}, purity {_percent(whole.purity)}"
        reports.show(console, title, _bins_table(by))
        figures[name] = {
            "in_bundle": name in known,
            "all": whole.figures(),
            **{f"by_{what.replace('-', '_')}": {label: b.figures() for label, b in bins.items()} for what, bins in by.items()},
        }
    agreed = periods(rows)
    reports.show(console, f"Found periods beside the true ones (same: within {100 * SAME:.0f} %)", _periods_table(agreed))
    taken = confusion_with_binaries(rows)
    reports.show(console, "Planets, anomalies and eclipsing binaries: rows the truth, columns the decision", _binaries_table(taken))
    every = reports.confusion((finer(row), row.decided) for row in rows)
    reports.show(console, "All kinds and their most frequent decisions", _kinds_table(every))
    return {
        "truth": {
            **figures,
            "periods": {label: dict(counts) for label, counts in agreed.items()},
            "binaries": taken,
            "confusion": every.figures()["confusion"],
        }
    }


def total(bins: Any) -> Bin:
    """The sum of bins."""
    out = Bin()
    for b in bins:
        out.true, out.decided, out.found, out.published = (
            out.true + b.true, out.decided + b.decided, out.found + b.found, out.published + b.published,
        )  # fmt: skip
    return out


def confusion_with_binaries(rows: Sequence[Judged]) -> dict[str, dict[str, int]]:
    """Truth → decision, of the sought classes and eclipsing binaries; all other decisions together."""
    names = (*SOUGHT, BINARIES)
    out: dict[str, dict[str, int]] = {name: dict.fromkeys((*names, "another"), 0) for name in names}
    for row in rows:
        if row.label in out:
            out[row.label][row.decided if row.decided in names else "another"] += 1
    return out


def _percent(value: float) -> str:
    return "–" if math.isnan(value) else f"{100 * value:.0f} %"


def _bins_table(by: Mapping[str, Mapping[str, Bin]]) -> Table:
    shown = reports.table()
    shown.add_column("by true")
    shown.add_column("bin")
    for name in ("targets", "decided so", "published", "completeness", "published as it", "purity"):
        shown.add_column(name, justify="right")
    for what, bins in by.items():
        for k, (label, b) in enumerate(bins.items()):
            shown.add_row(
                what if k == 0 else "", label, str(b.true), str(b.decided), str(b.found), _percent(b.completeness), str(b.published),
                _percent(b.purity),
            )  # fmt: skip
    return shown


def _periods_table(agreed: Mapping[str, Counter[str]]) -> Table:
    shown = reports.table()
    shown.add_column("class")
    shown.add_column("with a period", justify="right")
    columns: dict[str, Callable[[Counter[str]], int]] = {
        "same": lambda c: c["same"], "half, double, third, triple": lambda c: c["multiple"], "other": lambda c: c["other"],
        "none found": lambda c: c["none"],
    }  # fmt: skip
    for name in columns:
        shown.add_column(name, justify="right")
    for label, counts in agreed.items():
        shown.add_row(label, str(counts.total()), *(str(count(counts)) for count in columns.values()))
    return shown


def _kinds_table(every: reports.Confusion) -> Table:
    shown = reports.table()
    shown.add_column("kind")
    shown.add_column("targets", justify="right")
    shown.add_column("decided as")
    for kind in every.classes:
        counts = Counter({decided: n for (truth, decided), n in every.counts.items() if truth == kind})
        shown.add_row(kind, str(counts.total()), ", ".join(f"{decided} {n}" for decided, n in counts.most_common(4)))
    return shown


def _binaries_table(taken: Mapping[str, Mapping[str, int]]) -> Table:
    shown = reports.table()
    shown.add_column("truth")
    for name in (*SOUGHT, BINARIES, "another"):
        shown.add_column(name, justify="right")
    for label, counts in taken.items():
        shown.add_row(label, *(str(n) for n in counts.values()))
    return shown
