"""A demo of the closed loop → a picture: what drift watches, what is called the new class, and the loop's steps on one axis."""

from __future__ import annotations

import importlib
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from console.drift_packets import NEWCOMER
from console.loop_counts import Called

if TYPE_CHECKING:
    from console.commands.demo_drift import Act
    from console.night_file import Made
    from streams.loop_history import Step

WINDOW = 400
"""Alerts of a point."""
MARKED = {
    "alarm": "tab:red", "command": "tab:orange", "announced": "tab:blue", "promoted": "tab:green", "rolled_back": "tab:purple",
}  # fmt: skip
"""Steps that are drawn, and in which colour."""


def draw(rows: Sequence[Called], truth: Mapping[int, Made], *, acts: Sequence[Act], steps: Sequence[Step], path: Path) -> Path | None:
    """Draw it; None: matplotlib is not installed."""
    try:
        pyplot: Any = importlib.import_module("matplotlib.pyplot")
    except ImportError:
        return None
    pyplot.switch_backend("Agg")
    known = [row for row in rows if row.candid in truth]
    figure, (above, below) = pyplot.subplots(2, 1, figsize=(13, 7), sharex=True, layout="constrained")
    at, entropy = _windows([row.entropy for row in known])
    above.plot(at, entropy, color="black", lw=1)
    above.set_ylabel(f"entropy of the classes,\nmean of {WINDOW} alerts [nat]")
    new = [truth[row.candid].label == NEWCOMER for row in known]
    called = [row.name == NEWCOMER for row in known]
    for values, label, style in ((new, "of the new class", "--"), (called, "called so", "-")):
        at, share = _windows(values)
        below.plot(at, 100 * share, style, color="tab:green", label=label, lw=1.2)
    false = [c and not n for c, n in zip(called, new, strict=True)]
    at, share = _windows(false)
    below.plot(at, 100 * share, color="tab:red", label="called so falsely", lw=1.2)
    below.set_ylabel(f"share of {WINDOW} alerts [%]")
    below.set_xlabel("alerts")
    below.legend(loc="upper left", frameon=False)
    times = np.array([row.appended_ms for row in known])
    for axis in (above, below):
        for k, act in enumerate(acts):
            if k % 2:
                axis.axvspan(act.begun, act.begun + act.published, color="0.94", lw=0)
    top = above.get_ylim()[1]
    for k, act in enumerate(acts, 1):
        if act.published:
            above.text(act.begun + act.published / 2, top, f"act {k}", fontsize=9, ha="center", va="bottom")
    named: set[str] = set()
    for step in steps:
        if step.kind in MARKED:
            where = int(np.searchsorted(times, step.at_ms))
            for axis in (above, below):
                axis.axvline(where, color=MARKED[step.kind], lw=1, label=None if step.kind in named else step.kind.replace("_", " "))
            named.add(step.kind)
    above.legend(loc="lower left", frameon=False, ncols=5)
    path.parent.mkdir(parents=True, exist_ok=True)
    figure.savefig(path, dpi=110)
    pyplot.close(figure)
    return path


def _windows(values: Sequence[float] | Sequence[bool]) -> tuple[np.ndarray[Any, Any], np.ndarray[Any, Any]]:
    """The middle of each window, and the mean of it."""
    n = len(values) // WINDOW
    cut = np.asarray(values[: n * WINDOW], dtype=np.float64).reshape(n, WINDOW)
    return (np.arange(n) + 0.5) * WINDOW, cut.mean(axis=1)
