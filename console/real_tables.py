"""Figures of real labelled alerts (`evaluation.real_alerts.figures`) → the tables that replay, evaluate and the demo print."""

from __future__ import annotations

from collections.abc import Mapping
from typing import TYPE_CHECKING, Any

from rich.text import Text

from console import report as reports

if TYPE_CHECKING:
    from rich.console import Console

Figures = Mapping[str, Any]
NAMED = {"1": "1", "2-4": "2–4", "5+": "≥ 5", "all": "all"}
POPULATIONS = {"without_asteroids": "without asteroids", "all": "with asteroids"}


def percent(found: Figures, *, interval: bool = True) -> str:
    """A share and its 95 % interval, as in "60 [44, 75]"."""
    if found["share"] is None:
        return "–"
    text = f"{100 * found['share']:.0f}"
    low_high = found["interval"]
    return f"{text} [{100 * low_high[0]:.0f}, {100 * low_high[1]:.0f}]" if interval and low_high else text


def accuracy_table(view: Figures) -> Any:
    """Exact and coarse, by alert and by object, without asteroids and with them."""
    shown = reports.table()
    for name in ("labelled alerts", "detections"):
        shown.add_column(name)
    for name in ("alerts", "exact class", "coarse", "objects", "exact class", "coarse"):
        shown.add_column(name, justify="right")
    for key, title in POPULATIONS.items():
        for stratum, found in view["accuracy"][key].items():
            if found["exact"]["n"]:
                shown.add_row(
                    title, NAMED[stratum], f"{found['exact']['n']:,}", percent(found["exact"]), percent(found["coarse"]),
                    f"{found['exact_by_object']['n']:,}", percent(found["exact_by_object"]), percent(found["coarse_by_object"]),
                )  # fmt: skip
                title = ""
    return shown


def by_class_table(view: Figures) -> Any:
    """Recall of each class and precision of its calls, labels outside our classes against it."""
    shown = reports.table()
    shown.add_column("class")
    for name in ("alerts", "recall", "called so", "precision", "of them outside"):
        shown.add_column(name, justify="right")
    shown.add_column("taken for")
    for name, found in view["by_class"].items():
        often = ", ".join(f"{c} {n}" for c, n in list(found["taken_for"].items())[:3])
        recall, precision = found["recall"], found["precision"]
        shown.add_row(
            reports.cell(name), f"{recall['n']:,}", percent(recall), f"{precision['n']:,}", percent(precision), f"{found['outside']:,}",
            reports.cell(often),
        )  # fmt: skip
    return shown


def stars_table(view: Figures) -> Any:
    """What catalogue stars are called."""
    shown = reports.table()
    shown.add_column("detections")
    for name in ("alerts", "objects", "a star class", "AGN"):
        shown.add_column(name, justify="right")
    shown.add_column("called")
    for name, found in view["catalogue_stars"].items():
        often = ", ".join(f"{c} {n}" for c, n in list(found["called"].items())[:5])
        star = found["star"]
        shown.add_row(f"≥ {name.rstrip('+')}", f"{star['n']:,}", f"{star['objects']:,}", percent(star), percent(found["agn"]), often)
    return shown


def bars_table(figures: Figures) -> Any:
    """Each figure that is asked for, beside its bar."""
    shown = reports.table()
    shown.add_column("figure [%]")
    for name in ("bar", "decision", "met", "balanced classes", "when the bar was set", "alerts"):
        shown.add_column(name, justify="right")
    for bar in figures["bars"]:
        limit = f"≥ {100 * bar['least']:.0f}" if bar["least"] is not None else f"≤ {100 * bar['most']:.0f}"
        met = Text("–") if bar["met"] is None else Text("yes", "green") if bar["met"] else Text("no", "red")
        before = "–" if bar["before"] is None else f"{100 * bar['before']:.0f}"
        shown.add_row(bar["name"], limit, percent(bar["decision"]), met, percent(bar["balanced"]), before, f"{bar['decision']['n']:,}")
    return shown


def show(console: Console, figures: Figures, *, title: str, brief: bool = False) -> None:
    """Print the tables of the published decision, and the bars with the balanced view beside.

    Parameters
    ----------
    brief : bool
        Accuracy and bars only.
    """
    view = figures["decision"]
    note = "% of alerts and of objects, 95 % interval over objects"
    reports.show(console, f"{title}: published class against the label ({note})", accuracy_table(view))
    if not brief:
        reports.show(
            console, f"{title}: by class; precision counts labels outside our classes as wrong (docs/labels.md)", by_class_table(view)
        )
        if view["bogus"]["recall"]["n"] == 0:
            console.print(f"no label says bogus; {view['bogus']['called']:,} alerts are called so", highlight=False)
        outside = figures["outside"]
        if outside:
            some = ", ".join(f"{reports.cell(name)} ({n})" for name, n in list(outside.items())[:5])
            console.print(
                f"{sum(outside.values()):,} alerts have a label outside our classes, such as {some}", highlight=False, soft_wrap=True
            )
        reports.show(console, "Catalogue stars (star/galaxy score > .9 within 1″, no known asteroid within 5″)", stars_table(view))
    reports.show(console, "Beside the bars", bars_table(figures))
    if figures.get("cross_fitted"):
        console.print("real objects helped to fit this model's head: each is judged by a head that was fitted without it", soft_wrap=True)
