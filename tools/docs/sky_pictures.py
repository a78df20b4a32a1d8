"""Pictures of simulated beside real light curves, for `tools/docs/compare.py`: nothing here measures anything that is printed."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path

import matplotlib as mpl
import numpy as np
import numpy.typing as npt
from matplotlib import pyplot as plt

F64 = npt.NDArray[np.float64]
mpl.use("Agg")
plt.rcParams.update({"font.size": 8, "axes.grid": True, "grid.alpha": 0.25, "axes.spines.top": False, "axes.spines.right": False})
COLOURS = {"red": "#c0392b", "blue": "#2a6fb0"}


def band_of(x: F64, y: F64, *, edges: F64, least: int) -> tuple[F64, F64]:
    """Bin centres (b,) and the 16th, 50th and 84th percentile in each bin (3, b); NaN under `least` points."""
    index = np.digitize(x, edges) - 1
    out = np.full((3, len(edges) - 1), np.nan)
    for k in range(len(edges) - 1):
        inside = y[index == k]
        if len(inside) >= least:
            out[:, k] = np.percentile(inside, [16, 50, 84])
    return (edges[1:] + edges[:-1]) / 2, out


def class_picture(
    path: Path, title: str, *, real: dict[str, tuple[F64, F64]], made: dict[str, tuple[F64, F64]], span: tuple[float, float]
) -> None:
    """A panel a band: points and dashed 68 % of the real curves, median and 68 % of their simulated twins in colour.

    `real`, `made` : band → (days from peak, magnitudes below the peak of the red band)
    """
    bands = [b for b in ("red", "blue") if b in real and len(real[b][0]) >= 20]
    figure, axes = plt.subplots(1, len(bands), figsize=(4.2 * len(bands), 2.9), sharey=True, squeeze=False)
    low, high = span
    edges = np.concatenate([np.arange(low, 0, (high - low) / 40), np.arange(0, high + 1, (high - low) / 40)])
    for axis, band in zip(axes[0], bands, strict=True):
        t, m = real[band]
        axis.plot(t, m, ".", color="0.55", ms=1.6, alpha=0.5, rasterized=True)
        least = 4 if len(t) < 600 else 8
        x, y = band_of(t, m, edges=edges, least=least)
        axis.plot(x, y[1], color="0.1", lw=1.4, label="real")
        for k in (0, 2):
            axis.plot(x, y[k], color="0.1", lw=0.8, ls="--")
        x, y = band_of(*made[band], edges=edges, least=4 * least)
        axis.fill_between(x, y[0], y[2], color=COLOURS[band], alpha=0.28, lw=0)
        axis.plot(x, y[1], color=COLOURS[band], lw=1.6, label="simulated")
        axis.set(xlim=span, ylim=(4.6, -0.9), xlabel="days from peak, as observed", title=f"{title}, {'r' if band == 'red' else 'g'}")
        axis.legend(frameon=False, loc="lower left")
    axes[0][0].set_ylabel("mag below peak in r")
    save(figure, path)


Curves = Sequence[tuple[F64, F64]]


def curves_picture(path: Path, panels: Sequence[tuple[str, Curves, Curves]], *, axes_of: Mapping[str, object]) -> None:
    """A panel each: simulated curves as thin coloured lines, real ones black, as points or, where they are sorted in x and dense, lines.

    `panels` : (title, real curves (x, y), simulated curves (x, y))
    """
    figure, axes = plt.subplots(1, len(panels), figsize=(2.6 * len(panels), 2.6), squeeze=False, sharex=True, sharey=True)
    for axis, (title, real, made) in zip(axes[0], panels, strict=True):
        for x, y in made:
            axis.plot(x, y, color=COLOURS["red"], lw=0.6, alpha=0.35)
        for x, y in real:
            line = len(x) == len(made[0][0]) and np.array_equal(x, made[0][0])
            axis.plot(x, y, "-" if line else ".", color="0.1", lw=0.7, ms=2.0, alpha=0.7)
        axis.set(title=title, **axes_of)
    axes[0][0].set_ylabel(str(axes_of.get("ylabel", "mag")))
    save(figure, path)


def save(figure: object, path: Path) -> None:
    """Write a figure, without the name of the software, so that its bytes stay equal."""
    path.parent.mkdir(exist_ok=True)
    figure.tight_layout()  # type: ignore[attr-defined]
    figure.savefig(path, dpi=80, metadata={"Software": None})  # type: ignore[attr-defined]
    plt.close(figure)  # type: ignore[arg-type]
