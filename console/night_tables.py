"""A simulated night's detections → tables beside its truth, and beside the labelled real packets where there are some."""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

from rich.console import Console
from rich.table import Table
from rich.text import Text

from console import report as reports
from console.night_file import Made
from console.outcome_counts import Arrival, Outcome
from console.progress import progress

if TYPE_CHECKING:
    from settings.model import Settings


def show(console: Console, outcome: Outcome) -> dict[str, Any]:
    """Print the classes found beside the truth; the figures for the report."""
    compared = against_truth(outcome.counts.arrivals, outcome.made)
    strata = compared.strata()
    reports.show(console, "Classes found against the simulated truth, by the number of detections", reports.strata_table(strata))
    many = strata["≥ 5"]
    reports.show(console, "Alerts with 5 detections or more, by class", reports.class_table(many))
    reports.show_confusion(console, many, title="Their confusion: rows the truth, columns the prediction")
    reports.show(console, "The simulated night beside the bars", bars_of_the_night(compared))
    return {"truth": compared.figures()}


def bars_of_the_night(compared: reports.Comparison) -> Table:
    """What a simulated night is to show, beside what this one does."""
    bogus, many = compared.matrix().score("bogus"), compared.strata()["≥ 5"]
    shown = reports.table()
    shown.add_column("figure")
    for name in ("bar", "this night"):
        shown.add_column(name, justify="right")
    for name, bar, value in (
        ("bogus recall, any number of detections", 0.95, bogus.recall),
        ("bogus precision, any number of detections", 0.97, bogus.precision),
        ("macro recall, 5 detections or more", 0.88, many.macro_recall),
    ):
        text = "–" if math.isnan(value) else f"{100 * value:.1f} %"
        shown.add_row(name, f"≥ {100 * bar:.0f} %", Text(text, "green" if value >= bar else "red"))
    return shown


def against_truth(arrivals: Sequence[Arrival], made: Sequence[Made]) -> reports.Comparison:
    """Detections beside the simulated truth."""
    truth = {m.candid: m for m in made if m.kind == "alert"}
    compared = reports.Comparison()
    for a in arrivals:
        known = truth.get(a.detection.candid)
        if known is not None:
            compared.pairs.append((known.label, a.detection.shown_class[0], known.n_detections))
    return compared


def real_packets(console: Console, settings: Settings) -> dict[str, Any] | None:
    """Score the labelled real packets by the same function and print them beside the simulated ones; None: there are none."""
    from console.labels import Judge
    from data.label_table import TABLE, labels_of
    from evaluation.labelled_packets import scored_folder
    from streams.worker import configure_logging, published

    folder = settings.shared / "data" / "real" / "ztf_alerts"
    if not (folder / TABLE).is_file():
        console.print(f"simulated packets only: no labelled real ones under {folder} (PROTONOVA_SHARED sets where to look)", soft_wrap=True)
        return None
    configure_logging("warning")
    judge = Judge(labels_of(folder))
    with progress("real packets", "packets") as bar:
        state = published(settings).state
        judge.alerts += scored_folder(folder, state, progress=bar.advance)
        judge.cross_fitted = bool(state.unseen)
    judge.show(console, f"Real ZTF packets ({len(judge.alerts):,} of {folder})", brief=True)
    return {"packets": len(judge.alerts), **judge.figures()}
