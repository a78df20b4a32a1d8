"""The point-spread function over a frame, and how much of the light each pixel gets.

positions → Gaussians that together are a Moffat function; a detector → its flat

A Moffat function is an integral over Gaussians, (1 + r²/α²)^-β = 1/Γ(β) ∫ u^(β-1) exp(-u) exp(-u r²/α²) du, which a few nodes spaced evenly
in log u sum well: so stars and galaxies, themselves mixtures of Gaussians (Hogg & Lang 2013), are convolved exactly.
"""

from __future__ import annotations

from dataclasses import dataclass
from functools import lru_cache

import numpy as np

from data.simulate.images import add_gaussian
from operators.kernels.compiled import compiled
from operators.types import F32, F64

NODES = 9
"""Gaussians of a Moffat function."""
PIXEL_VARIANCE = 1 / 12
"""Of a square pixel's own width [pixel²]."""
DUST = 7
"""Grains on the window that throw rings."""


@dataclass(frozen=True, slots=True)
class PointSpread:
    """The point-spread function of one exposure of a detector of `shape` (h, w)."""

    shape: tuple[int, int]
    fwhm: float
    """Full width at half maximum in the middle [pixel]."""
    beta: float
    """Of the Moffat wings: 2.5 strong, 4.5 weak."""
    ellipticity: tuple[float, float]
    """e1, e2 in the middle: guiding and wind."""
    tilt: tuple[float, float] = (0.0, 0.0)
    """Growth of the width from the middle to an edge in y and x (relative)."""
    curvature: float = 0.06
    """Growth of the width from the middle to a corner (relative)."""
    radial: float = 0.05
    """Ellipticity along the radius at a corner."""

    def gaussians(self, y: F64, x: F64) -> tuple[F64, F64, F64, F64]:
        """Shares (m,) of the light, and the covariances xx, xy, yy (k, m) [pixel²] at k positions."""
        u = np.exp(np.linspace(np.log(0.015), np.log(14.0), NODES))
        share = u ** (self.beta - 1) * np.exp(-u)
        share /= share.sum()
        v, w = 2 * y / self.shape[0] - 1, 2 * x / self.shape[1] - 1
        r2 = (v * v + w * w) / 2
        width = 1 + self.curvature * r2 + self.tilt[0] * v + self.tilt[1] * w
        alpha = self.fwhm * width / (2 * np.sqrt(2 ** (1 / self.beta) - 1))
        e1 = self.ellipticity[0] + self.radial * (w * w - v * v) / 2
        e2 = self.ellipticity[1] + self.radial * v * w
        variance = 0.5 * (alpha**2)[:, None] / u
        return (
            share,
            variance * (1 + e1)[:, None] + PIXEL_VARIANCE,
            variance * e2[:, None],
            variance * (1 - e1)[:, None] + PIXEL_VARIANCE,
        )

    def stamp(self, y: float, x: float, *, half: int = 15) -> tuple[F32, int, int]:
        """A star of unit flux at (y, x): an image (2 half + 1)², and the frame's pixel (y0, x0) that its first one is."""
        y0, x0 = round(y) - half, round(x) - half
        image = np.zeros((2 * half + 1, 2 * half + 1), np.float32)
        share, xx, xy, yy = self.gaussians(np.array([y]), np.array([x]))
        add_all(image, np.full(NODES, x - x0), np.full(NODES, y - y0), share, xx[0], xy[0], yy[0], 1e-9)
        return image, y0, x0


@compiled
def add_all(image: F32, x: F64, y: F64, flux: F64, xx: F64, xy: F64, yy: F64, floor: float) -> None:
    """Add Gaussians (k,) to an image, each out to where it falls below `floor` a pixel."""
    for k in range(len(x)):
        add_gaussian(image, x[k], y[k], flux[k], xx[k], xy[k], yy[k], floor)


@lru_cache(maxsize=16)
def pixel_response(shape: tuple[int, int], *, seed: int, off_axis: float) -> F32:
    """Of each pixel, about 1: one per cent from pixel to pixel, a few dead pixels and one dead column; vignetting grows with `off_axis`."""
    rng = np.random.default_rng([4_001, seed])
    h, w = shape
    y, x = np.mgrid[:h, :w].astype(np.float32)
    # the axis of the telescope lies to the left of the detector
    r2 = ((y - h / 2) ** 2 + (x + off_axis * w) ** 2) / ((h / 2) ** 2 + ((1 + off_axis) * w) ** 2)
    response: F32 = (1.03 - 0.16 * r2).astype(np.float32)
    response *= 1 + 0.01 * rng.standard_normal((h, w), dtype=np.float32)
    dead = rng.integers(0, h * w, max(3, h * w // 20_000))
    response.reshape(-1)[dead] *= rng.uniform(0, 0.2, len(dead)).astype(np.float32)
    column, top = int(rng.integers(w // 8, w - w // 8)), int(rng.integers(h // 3, h))
    response[:top, column] *= 0.02
    response.setflags(write=False)
    return response


@lru_cache(maxsize=32)
def flat(shape: tuple[int, int], band: str, *, seed: int, off_axis: float = 0.1) -> F32:
    """Share of the light that each pixel registers in a filter: response, vignetting, and the rings that dust on that filter throws."""
    rng = np.random.default_rng([4_002, seed, *band.encode()])
    h, w = shape
    out: F32 = pixel_response(shape, seed=seed, off_axis=off_axis).copy()
    for _ in range(DUST):
        cy, cx, radius = rng.uniform(0, h), rng.uniform(0, w), rng.uniform(8, 22)
        y0, y1, x0, x1 = max(0, int(cy) - 40), min(h, int(cy) + 41), max(0, int(cx) - 40), min(w, int(cx) + 41)
        y, x = np.mgrid[y0:y1, x0:x1]
        ring = np.exp(-0.5 * ((np.hypot(y - cy, x - cx) - radius) / (0.25 * radius)) ** 2)
        out[y0:y1, x0:x1] *= (1 - rng.uniform(0.02, 0.07) * ring).astype(np.float32)
    out.setflags(write=False)
    return out
