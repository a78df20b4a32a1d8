"""What an injection study found → a picture: recall by depth and period, a row of panels a star."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np

INK, GRID = "#222222", "#dddddd"
COLOURS = ("#1f6fb4", "#2c9c69", "#d9822b", "#b23a48")


def draw(found: Mapping[str, Any], path: Path) -> None:
    """Draw recall by depth, one line a range of periods, a panel a star and way; the thick line is all periods.

    Parameters
    ----------
    found : mapping
        What `evaluation.studies.injection.inject` gave.
    path : Path
        PNG to write.
    """
    import matplotlib as mpl

    mpl.use("Agg")
    from matplotlib import pyplot as plt

    stars = found["stars"]
    columns = min(len(stars), 3)
    rows = -(-len(stars) // columns)
    with plt.rc_context({"font.size": 8, "axes.edgecolor": INK, "figure.constrained_layout.use": True}):
        figure, axes = plt.subplots(rows, columns, figsize=(3.7 * columns, 3.0 * rows), squeeze=False, sharey=True)
        for axis in axes.ravel()[len(stars) :]:
            axis.set_axis_off()
        for axis, star in zip(axes.ravel(), stars, strict=False):
            _panel(axis, star)
        for axis in axes[:, 0]:
            axis.set_ylabel("recovered")
        handles, labels = axes[0, 0].get_legend_handles_labels()
        figure.legend(handles, labels, fontsize=7, frameon=False, loc="outside lower center", ncols=5 if columns > 1 else 3)
        path.parent.mkdir(parents=True, exist_ok=True)
        figure.savefig(path, dpi=90, metadata={"Software": None})
        plt.close(figure)


def _panel(axis: Any, star: Mapping[str, Any]) -> None:
    depth = np.array([row["depth_ppm"] for row in star["depths"]], float)
    for k, colour in enumerate(COLOURS[: len(star["depths"][0]["bins"])]):
        bins = [row["bins"][k] for row in star["depths"]]
        low, high = bins[0]["periods"]
        shift = depth * (1 + 0.035 * (k - 1.5))  # so that intervals do not lie on each other
        share = np.array([b["recall"]["share"] for b in bins])
        interval = np.array([b["recall"]["interval"] for b in bins])
        axis.errorbar(
            shift, share, np.abs(interval.T - share), color=colour, lw=1, marker="o", ms=2.5, elinewidth=0.7, label=f"{low:g} to {high:g} d"
        )
    axis.plot(depth, [row["recall"]["share"] for row in star["depths"]], color=INK, lw=2, label="all periods")
    for bar in star.get("bars", ()):
        axis.plot(bar["depth_ppm"], bar["bar"], marker="_", ms=14, mew=2, color="#b23a48", zorder=5)
    axis.set_xscale("log")
    axis.set_xticks(depth, [f"{d:g}" for d in depth])
    axis.minorticks_off()
    axis.set_ylim(-0.03, 1.03)
    axis.grid(color=GRID, lw=0.5)
    axis.set_xlabel("depth [ppm]")
    axis.set_title(f"{star['object']}, {star['observed']}, {star['way']} settings\n{star['noise_ppm_1h']:.0f} ppm an hour", fontsize=8)
