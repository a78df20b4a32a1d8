"""A field and a point-spread function → the light that falls on a detector.

`Scene`, positions, `PointSpread` → (h, w) electrons, before the detector's flat
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from data.simulate.frames.optics import PointSpread, add_all
from data.simulate.images import DE_VAUCOULEURS, EXPONENTIAL
from data.simulate.scene import Scene
from operators.types import F32, F64


@dataclass(frozen=True, slots=True)
class Pointing:
    """How a detector lies on the sky: pixel = matrix · (ξ, η) + centre."""

    matrix: F64
    """(2, 2): rows y and x, columns ξ and η [pixel/arcsec]."""
    centre: tuple[float, float]
    """(y, x) of the field's centre [pixel]."""

    @classmethod
    def of(cls, centre: tuple[float, float], *, scale: float, turned: int, angle: float = 0.0) -> Pointing:
        """East to the left, north up, turned by quarters and a small angle [rad]; `scale` [arcsec/pixel]."""
        phi = turned * np.pi / 2 + angle
        turn = np.array([[np.cos(phi), np.sin(phi)], [-np.sin(phi), np.cos(phi)]])  # (y, x) → (y, x)
        return cls(turn @ np.array([[0.0, 1.0], [-1.0, 0.0]]) / scale, centre)

    def pixels(self, xi: F64, eta: F64) -> tuple[F64, F64]:
        """Return y and x of offsets."""
        y, x = self.matrix @ np.stack([np.atleast_1d(xi), np.atleast_1d(eta)])
        return y + self.centre[0], x + self.centre[1]


def add_points(image: F32, psf: PointSpread, *, y: F64, x: F64, flux: F64, floor: float) -> None:
    """Add stars (k,)."""
    share, xx, xy, yy = psf.gaussians(y, x)
    rows = (np.repeat(x, len(share)), np.repeat(y, len(share)), (flux[:, None] * share).ravel(), xx.ravel(), xy.ravel(), yy.ravel())
    add_all(image, *rows, floor)


def add_scene(image: F32, scene: Scene, *, pointing: Pointing, psf: PointSpread, flux: F64, floor: float) -> None:
    """Add stars and galaxies of a flux (k,) [e-] each; what falls below `floor` a pixel is left out."""
    y, x = pointing.pixels(scene.dx, scene.dy)
    star = ~scene.galaxy
    add_points(image, psf, y=y[star], x=x[star], flux=flux[star], floor=floor)
    for mixture, those in ((DE_VAUCOULEURS, scene.galaxy & scene.bulge), (EXPONENTIAL, scene.galaxy & ~scene.bulge)):
        if not those.any():
            continue
        share, pxx, pxy, pyy = psf.gaussians(y[those], x[those])
        gxx, gxy, gyy = _covariance(scene, those, matrix=pointing.matrix)
        size = mixture[1]  # variances in units of the radius squared
        shape = (int(those.sum()), len(size), len(share))
        part = flux[those][:, None, None] * mixture[0][None, :, None] * share
        cov = [(g[:, None, None] * size[None, :, None] + p[:, None, :]).ravel() for g, p in ((gxx, pxx), (gxy, pxy), (gyy, pyy))]
        at = [np.broadcast_to(v[those][:, None, None], shape).ravel() for v in (x, y)]
        add_all(image, at[0], at[1], part.ravel(), *cov, floor)


def _covariance(scene: Scene, those: npt.NDArray[np.bool_], *, matrix: F64) -> tuple[F64, F64, F64]:
    """xx, xy, yy (k,) in pixels of galaxies of half-light radius 1."""
    c, s = np.cos(scene.angle[those]), np.sin(scene.angle[those])
    long = scene.radius[those] ** 2
    short = long * scene.axis_ratio[those] ** 2
    sky = np.array([[long * c * c + short * s * s, (long - short) * c * s], [(long - short) * c * s, long * s * s + short * c * c]])
    pixels = np.einsum("ia,abk,jb->ijk", matrix, sky, matrix)
    return pixels[1, 1], pixels[0, 1], pixels[0, 0]
