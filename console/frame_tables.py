"""Frames that were found beside their truth → tables."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence

from rich.console import Console
from rich.table import Table

from console import report as reports
from data.simulate.classes import SLUGS
from evaluation.frame_truth import AT_TEN, FrameScores, Row, Share


def show_frames(console: Console, published: int, *, announced: int, rejected: Mapping[str, Sequence[str]]) -> None:
    """How many frames came out as what, and why some were rejected."""
    lost = sum(map(len, rejected.values()))
    balanced = published == announced + lost
    console.print()
    console.print(f"{published} frames published {'=' if balanced else '≠'} {announced} announced and compared + {lost} rejected",
                  style="bold green" if balanced else "bold red", highlight=False, soft_wrap=True)  # fmt: skip
    if rejected:
        shown = reports.table()
        shown.add_column("reason")
        shown.add_column("frames", justify="right")
        shown.add_column("such as", overflow="fold")
        for reason, said in sorted(rejected.items()):
            shown.add_row(reports.cell(reason), str(len(said)), reports.cell(said[0], limit=140))
        reports.show(console, "Rejected frames by reason", shown)


def show_scores(console: Console, scores: FrameScores) -> None:
    """Completeness, purity, pulls and classes."""
    strength = scores.by_strength()
    ten = strength.get(AT_TEN)
    at_ten = "no object" if ten is None else _percent(ten.detections)
    title = f"Found against the simulated truth: completeness {at_ten} at S/N 10, purity {_percent(scores.purity())}"
    reports.show(console, title, _rows("expected S/N", strength))
    console.print(
        "purity of raw candidates, before the network's verdict: " + _percent(scores.purity(real_only=False)),
        highlight=False,
        soft_wrap=True,
    )
    reports.show(console, "By the magnitude of the difference, objects of S/N 10 and more", _rows("magnitude", scores.by_magnitude()))
    places = reports.table()
    places.add_column("where, S/N ≥ 10")
    places.add_column("objects", justify="right")
    places.add_column("found", justify="right")
    for name, share in scores.by_place().items():
        places.add_row(name, str(share.of), _percent(share))
    pulls = reports.table()
    pulls.add_column("fluxes of S/N")
    for name in ("n", "median pull", "spread of pulls", "measured / true"):
        pulls.add_column(name, justify="right")
    for name, low, high in (("5–20", 5.0, 20.0), ("≥ 20", 20.0, math.inf)):
        p = scores.pulls(low, high)
        pulls.add_row(name, str(p.n), f"{p.median:.2f}", f"{p.spread:.2f}", f"{p.flux_ratio:.3f}")
    reports.show(console, "By place, and the fluxes", places, pulls)
    matrix = reports.confusion(scores.classes().elements(), SLUGS)
    if matrix.total:
        reports.show(console, "Classes of what was found", reports.class_table(matrix))
        reports.show_confusion(console, matrix, title="Truth against decision")


def _rows(what: str, rows: Mapping[str, Row]) -> Table:
    shown = reports.table()
    shown.add_column(what)
    for name in ("objects", "candidates", "detections", "found there", "purity of candidates", "purity of detections"):
        shown.add_column(name, justify="right")
    for name, row in rows.items():
        shown.add_row(
            name, str(row.candidates.of), _percent(row.candidates), _percent(row.detections), str(row.purity_of_candidates.of),
            _percent(row.purity_of_candidates), _percent(row.purity_of_detections),
        )  # fmt: skip
    return shown


def _percent(share: Share) -> str:
    return "–" if not share.of else f"{100 * share.value:.0f} %"
