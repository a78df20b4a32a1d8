"""One object of a simulated run → a picture: the raw frame, calibrated, subtracted; the object near by; its light curve; completeness.

`Panels` → PNG
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt

from evaluation.frame_truth import STRENGTHS, FrameScores
from operators.images.planes import COSMIC_RAY, SATURATED, TRAIL
from operators.types import F64

INK, GRID = "#222222", "#e2e2e2"
TRUE, WRONG, MISSED = "#1f6fb4", "#b23a48", "#d9822b"
BANDS = {"g": "#2c9c69", "r": "#b23a48", "i": "#7a4ea3"}
NEAR = 31
"""Pixels on each side of the object that are shown near by."""


@dataclass(frozen=True, slots=True)
class Measurements:
    """A light curve in one filter."""

    filter: str
    mjd: F64
    flux: F64
    """[µJy]"""
    flux_err: F64
    true_mjd: F64
    true_flux: F64


@dataclass(frozen=True, slots=True)
class Panels:
    """What is drawn."""

    title: str
    raw: npt.NDArray[Any]
    """(H, W) [ADU]"""
    science: npt.NDArray[Any]
    """(h, w) [e-]"""
    mask: npt.NDArray[np.uint8]
    difference: npt.NDArray[Any]
    """On the reference's pixels."""
    template: npt.NDArray[Any]
    at: tuple[float, float]
    """The object in the difference (y, x)."""
    found: Sequence[tuple[float, float, bool]]
    """Detections in the difference: y, x, whether true."""
    missed: Sequence[tuple[float, float]]
    curves: Sequence[Measurements]
    scores: FrameScores


def draw(panels: Panels, path: Path) -> None:
    """Write the picture.

    Raises
    ------
    ImportError
        matplotlib is not installed (extra `plots`).
    """
    import matplotlib as mpl
    from matplotlib.figure import Figure

    with mpl.rc_context({"font.size": 8, "axes.edgecolor": INK}):
        figure = Figure(figsize=(13.5, 9.2), layout="constrained")
        parts: Any = figure.subfigures(2, 1, height_ratios=(1.25, 1))
        top, bottom = parts
        figure.suptitle(panels.title, fontsize=10, x=0.01, ha="left")
        raw, science, difference = top.subplots(1, 3)
        _image(raw, panels.raw, title="raw, with overscan [ADU]")
        _image(science, panels.science, title="calibrated [e-]: cosmic rays blue, saturated orange, trail red", mask=panels.mask)
        _image(difference, panels.difference, title="less the reference [e-]: true ○, false □, missed ×", wide=4.0)
        _marks(difference, panels)
        axes = bottom.subplots(1, 4, width_ratios=(1, 1, 1.6, 1.5))
        _near(axes[0], panels, image=panels.template, title="reference, near the object")
        _near(axes[1], panels, image=panels.difference, title="difference")
        _curve(axes[2], panels)
        _completeness(axes[3], panels.scores)
        path.parent.mkdir(parents=True, exist_ok=True)
        figure.savefig(path, dpi=85, metadata={"Software": None})


def _image(axis: Any, image: npt.NDArray[Any], *, title: str, mask: npt.NDArray[np.uint8] | None = None, wide: float = 6.0) -> None:
    values = np.asarray(image, np.float64)
    middle = float(np.nanmedian(values))
    sigma = 1.4826 * float(np.nanmedian(np.abs(values - middle)))
    axis.imshow(values, origin="lower", cmap="gray", vmin=middle - 2.5 * sigma, vmax=middle + 2 * wide * sigma, interpolation="nearest")
    if mask is not None:
        colour = np.zeros((*mask.shape, 4))
        for bit, shade in ((COSMIC_RAY, (0.2, 0.5, 1.0)), (SATURATED, (1.0, 0.55, 0.1)), (TRAIL, (0.9, 0.15, 0.2))):
            colour[mask & bit > 0] = (*shade, 1.0)
        axis.imshow(colour, origin="lower", interpolation="nearest")
    axis.set_title(title, fontsize=8)
    axis.set_xticks([])
    axis.set_yticks([])


def _marks(axis: Any, panels: Panels) -> None:
    for true, shape, colour in ((True, "o", TRUE), (False, "s", WRONG)):
        rows = np.array([(y, x) for y, x, right in panels.found if right == true]).reshape(-1, 2)
        axis.plot(rows[:, 1], rows[:, 0], shape, ms=9, mfc="none", mec=colour, mew=1.3)
    rows = np.array(panels.missed).reshape(-1, 2)
    axis.plot(rows[:, 1], rows[:, 0], "x", ms=8, mec=MISSED, mew=1.5)
    h, w = panels.difference.shape
    axis.set_xlim(-0.5, w - 0.5)
    axis.set_ylim(-0.5, h - 0.5)


def _near(axis: Any, panels: Panels, *, image: npt.NDArray[Any], title: str) -> None:
    y, x = round(panels.at[0]), round(panels.at[1])
    h, w = image.shape
    y0, x0 = int(np.clip(y - NEAR, 0, max(h - 2 * NEAR - 1, 0))), int(np.clip(x - NEAR, 0, max(w - 2 * NEAR - 1, 0)))
    part = np.asarray(image[y0 : y0 + 2 * NEAR + 1, x0 : x0 + 2 * NEAR + 1], np.float64)
    _image(axis, part, title=title, wide=8.0)
    axis.plot(panels.at[1] - x0, panels.at[0] - y0, "o", ms=22, mfc="none", mec=TRUE, mew=1.2)


def _curve(axis: Any, panels: Panels) -> None:
    start = min((c.true_mjd.min() for c in panels.curves), default=0.0)
    for c in panels.curves:
        shade = BANDS.get(c.filter, INK)
        axis.plot(c.true_mjd - start, c.true_flux, color=shade, lw=1, alpha=0.7)
        axis.errorbar(c.mjd - start, c.flux, c.flux_err, fmt="o", ms=4, color=shade, elinewidth=0.8, label=f"{c.filter}, measured")
    axis.axhline(0, color=GRID, lw=0.8, zorder=0)
    axis.set_xlabel(f"MJD - {start:.1f} [d]")
    axis.set_ylabel("difference [µJy]; the lines are the truth")
    axis.legend(fontsize=7, frameon=False)


def _completeness(axis: Any, scores: FrameScores) -> None:
    rows = scores.by_strength()
    names = [name for name in STRENGTHS if name in rows]
    at = np.arange(len(names))
    for name, colour in (("candidates", "#9aa5b1"), ("detections", TRUE)):
        axis.plot(at, [getattr(rows[n], name).value for n in names], "o-", ms=4, lw=1.2, color=colour, label=f"completeness of {name}")
    axis.plot(at, [rows[n].purity_of_detections.value for n in names], "s--", ms=4, lw=1, color=WRONG, label="purity of detections")
    axis.axhline(0.9, color=GRID, lw=1, zorder=0)
    axis.set_xticks(at, names)
    axis.set_ylim(-0.03, 1.05)
    axis.set_xlabel("signal-to-noise")
    axis.legend(fontsize=7, frameon=False, loc="lower right")
