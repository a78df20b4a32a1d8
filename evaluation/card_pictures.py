"""The model card's pictures: confusions, reliability, accuracy over time, a map of the embedding.

reports by task, a folder → PNG files of at most 100 kB
"""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np

Report = Mapping[str, Any]
INK, GRID = "#222222", "#dddddd"
COLOURS = ("#4363d8", "#e6194b", "#3cb44b", "#f58231", "#911eb4", "#008080", "#9a6324", "#808000", "#f032e6")


def draw(tasks: Mapping[str, Report], folder: Path) -> dict[str, Path]:
    """Draw what the reports hold.

    Returns
    -------
    dict
        Title → file.
    """
    import matplotlib.pyplot as plt

    folder.mkdir(parents=True, exist_ok=True)
    out = {}
    with plt.rc_context({"font.size": 8, "axes.edgecolor": INK, "axes.grid": False, "figure.constrained_layout.use": True}):
        for title, name, figure in (
            ("Confusions at K = 5, % of the true class", "confusions", _confusions(plt, tasks)),
            ("Reliability: share correct against confidence", "reliability", _reliability(plt, tasks)),
            ("Accuracy over time", "over-time", _over_time(plt, tasks)),
            ("Embedding: objects (dots) and simulated prototypes (stars)", "embedding", _map(plt, tasks)),
        ):
            if figure is None:
                continue
            path = folder / f"{name}.png"
            figure.savefig(path, dpi=90, metadata={"Software": None})  # no date, no version: the same report, the same file
            plt.close(figure)
            out[title] = path
    return out


def _panels(plt: Any, n: int, *, width: float = 3.0, height: float = 2.7) -> tuple[Any, list[Any]]:
    columns = min(n, 3)
    rows = -(-n // columns)
    figure, axes = plt.subplots(rows, columns, figsize=(width * columns, height * rows), squeeze=False)
    flat = list(axes.ravel())
    for axis in flat[n:]:
        axis.set_axis_off()
    return figure, flat[:n]


def _key(report: Report) -> str:
    return "5" if "5" in report["confusion"] else str(next(iter(report["confusion"])))


def _confusions(plt: Any, tasks: Mapping[str, Report]) -> Any:
    figure, axes = _panels(plt, len(tasks))
    for axis, (name, r) in zip(axes, tasks.items(), strict=True):
        classes, shares = r["classes_by_k"][_key(r)], np.array(r["confusion"][_key(r)])
        axis.imshow(shares, cmap="Blues", vmin=0, vmax=1)
        short = [c.replace("Eclipsing ", "E. ") for c in classes]
        axis.set_xticks(range(len(short)), short, rotation=45, ha="right", fontsize=6)
        axis.set_yticks(range(len(short)), short, fontsize=6)
        for i, row in enumerate(shares):
            for j, share in enumerate(row):
                axis.text(j, i, f"{100 * share:.0f}", ha="center", va="center", fontsize=6, color="white" if share > 0.5 else INK)
        axis.set_title(name, fontsize=8)
    return figure


def _reliability(plt: Any, tasks: Mapping[str, Report]) -> Any:
    figure, axes = _panels(plt, len(tasks), width=2.4, height=2.2)
    for axis, (name, r) in zip(axes, tasks.items(), strict=True):
        axis.plot([0, 1], [0, 1], color=GRID)
        for colour, (k, bins) in zip(COLOURS, r["reliability"].items(), strict=False):
            axis.plot([b["confidence"] for b in bins], [b["correct"] for b in bins], marker=".", color=colour, label=f"K = {k}", lw=1)
        axis.set(xlim=(0, 1), ylim=(0, 1), xlabel="confidence", ylabel="correct")
        axis.set_title(name, fontsize=8)
    axes[0].legend(fontsize=6)
    return figure


def _over_time(plt: Any, tasks: Mapping[str, Report]) -> Any:
    timed = {name: r["over_time"] for name, r in tasks.items() if r["over_time"]}
    if not timed:
        return None
    figure, axes = _panels(plt, 2)
    for axis, unit in zip(axes, ("days", "detections"), strict=True):
        for colour, (name, found) in zip(COLOURS, timed.items(), strict=False):
            x = [float(v) for v in found[unit]]
            axis.plot(x, [100 * v["accuracy"] for v in found[unit].values()], marker=".", color=colour, label=name, lw=1)
        axis.set(xlabel=f"{unit} since the first detection" if unit == "days" else unit, ylabel="macro accuracy, %")
        axis.set_xscale("symlog" if unit == "days" else "linear")
    axes[0].legend(fontsize=6)
    return figure


def _map(plt: Any, tasks: Mapping[str, Report]) -> Any:
    figure, axes = _panels(plt, len(tasks))
    for axis, (name, r) in zip(axes, tasks.items(), strict=True):
        for colour, (c, points) in zip(COLOURS, r["map"]["objects"].items(), strict=False):
            xy = np.array(points).reshape(-1, 2)
            axis.scatter(xy[:, 0], xy[:, 1], s=4, color=colour, alpha=0.6, label=c, lw=0)
            anchor = r["map"]["prototypes"].get(c)
            if anchor:
                axis.scatter(*anchor, s=60, marker="*", color=colour, edgecolor=INK, lw=0.6)
        axis.set_xticks([])
        axis.set_yticks([])
        axis.set_title(name, fontsize=8)
        axis.legend(fontsize=5, markerscale=2)
    return figure
