"""Which position on the sky each candidate of a frame belongs to, and where the listed positions lie in it.

Positions (sky or pixels), candidates [pixel of the reference] → pixels of the listed ones, candidate → position, new positions

A candidate within `SAME` of a listed position belongs to it. One that is near no listed position makes a new one, which is named by its
place, so that the same frame gives the same names.
"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Protocol

import numpy as np
import numpy.typing as npt

from operators.images.planes import Candidates
from operators.images.register import apply
from operators.types import F64
from schemas.records.photometry_measured import PhotometryMeasured
from schemas.records.photometry_position import FOUND, PhotometryPosition

SAME = 1.5
"""[arcsec]: a candidate nearer than this to a position is the same source."""


class Sky(Protocol):
    """Where the pixels of an image lie on the sky, as `data.frames.sky_positions.SkyMap`."""

    @property
    def scale(self) -> float:
        """Of a pixel [arcsec]."""

    def to_sky(self, yx: F64) -> tuple[F64, F64]:
        """(k, 2) pixels → right ascension and declination [deg]."""

    def to_pixels(self, ra: F64, dec: F64) -> F64:
        """And back."""


@dataclass(frozen=True, slots=True)
class MovedSky:
    """The sky of a frame on the pixels of a reference whose own header says nothing of it."""

    sky: Sky
    """Of the frame's pixels."""
    to_frame: F64
    """From the reference's pixels to the frame's."""
    to_reference: F64

    @property
    def scale(self) -> float:
        """Of a pixel [arcsec]."""
        return self.sky.scale

    def to_sky(self, yx: F64) -> tuple[F64, F64]:
        """(k, 2) pixels → right ascension and declination [deg]."""
        return self.sky.to_sky(apply(self.to_frame, yx))

    def to_pixels(self, ra: F64, dec: F64) -> F64:
        """And back."""
        return apply(self.to_reference, self.sky.to_pixels(ra, dec))


@dataclass(frozen=True, slots=True)
class Placed:
    """Listed positions that lie on the reference's image."""

    positions: tuple[PhotometryPosition, ...]
    yx: F64
    """(k, 2) [pixel]"""

    def __len__(self) -> int:
        return len(self.positions)


def placed(positions: Sequence[PhotometryPosition], *, shape: tuple[int, ...], sky: Sky | None, detector: str, to_reference: F64) -> Placed:
    """Pixels of the positions that lie in an image.

    Parameters
    ----------
    positions : sequence of PhotometryPosition
    shape : (h, w) of the reference
    sky : Sky, optional
        Of the reference's pixels; None: only positions given in pixels have a place.
    detector : str
        Whose pixels the positions may be given in.
    to_reference : (2, 6)
        From the frame's pixels to the reference's.
    """
    on_sky = [k for k, p in enumerate(positions) if sky is not None and p.ra is not None and p.dec is not None]
    on_pixels = [k for k, p in enumerate(positions) if p.detector == detector and p.y is not None and p.x is not None]
    yx = np.full((len(positions), 2), np.nan)
    if on_sky and sky is not None:
        yx[on_sky] = sky.to_pixels(np.array([positions[k].ra for k in on_sky]), np.array([positions[k].dec for k in on_sky]))
    if on_pixels:
        yx[on_pixels] = apply(to_reference, np.array([(positions[k].y, positions[k].x) for k in on_pixels], np.float64))
    with np.errstate(invalid="ignore"):
        inside = np.asarray((yx > -0.5).all(1) & (yx < np.array(shape[:2]) - 0.5).all(1))
    return Placed(tuple(p for p, there in zip(positions, inside, strict=True) if there), yx[inside])


def associated(yx: F64, snr: F64, *, listed: F64, radius: float) -> tuple[npt.NDArray[np.int64], npt.NDArray[np.int64]]:
    """Which candidate belongs to which listed position, and which are new.

    Parameters
    ----------
    yx : (k, 2) candidates [pixel]
    snr : (k,)
    listed : (m, 2) positions
    radius : float
        [pixel]

    Returns
    -------
    of_listed : (m,) int64
        The most significant candidate near each position, -1 where there is none.
    new : (n,) int64
        Candidates near no position, the most significant of those that lie within the radius of each other.
    """
    of_listed = np.full(len(listed), -1, np.int64)
    new: list[int] = []
    for k in np.argsort(-np.abs(snr), kind="stable").tolist():
        distance = np.hypot(*(listed - yx[k]).T)
        if len(distance) and distance.min() <= radius:
            nearest = int(distance.argmin())
            if of_listed[nearest] < 0:
                of_listed[nearest] = k
        elif not new or np.hypot(*(yx[new] - yx[k]).T).min() > radius:
            new.append(k)
    return of_listed, np.array(sorted(new), np.int64)


def refined(
    every: Placed, found: Candidates, *, candidate: Mapping[int, int], histories: Mapping[str, Sequence[PhotometryMeasured]]
) -> F64:
    """Where each position is measured: what was found stands where its first detection stood, and that may have been a weak one.

    A flux taken half a PSF's σ beside its source lacks a twentieth. Where the source is detected again the place is the mean of both
    detections, each weighted by the square of its signal-to-noise; what was listed by hand stays where it was listed.

    Parameters
    ----------
    every : Placed
    found : Candidates
    candidate : row of `every` → row of `found`
    histories : name of a position → what was measured there before

    Returns
    -------
    (k, 2) [pixel]
    """
    yx = every.yx.copy()
    for row, c in candidate.items():
        position = every.positions[row]
        before = [m for m in histories.get(position.name, ()) if m.detected and m.flux_err > 0]
        if position.origin != FOUND or not before:
            continue
        first = min(before, key=lambda m: m.mjd)
        weight, own = (first.flux / first.flux_err) ** 2, float(found.snr[c]) ** 2
        yx[row] += own / (own + weight) * (np.array([found.y[c], found.x[c]]) - yx[row])
    return yx


def position_name(ra: float, dec: float) -> str:
    """`PN J` and the place, cut off and not rounded as the IAU's names are, without the space.

    Parameters
    ----------
    ra, dec : float
        [deg]
    """
    centiseconds = math.floor(ra % 360 * 24_000 + 1e-6) % 8_640_000
    tenths = math.floor(abs(dec) * 36_000 + 1e-6)
    hours, minutes, seconds = centiseconds // 360_000, centiseconds // 6_000 % 60, centiseconds % 6_000
    degrees, arcminutes, arcseconds = tenths // 36_000, tenths // 600 % 60, tenths % 600
    return (
        f"PNJ{hours:02d}{minutes:02d}{seconds // 100:02d}.{seconds % 100:02d}"
        f"{'-' if dec < 0 else '+'}{degrees:02d}{arcminutes:02d}{arcseconds // 10:02d}.{arcseconds % 10}"
    )


def new_position(ra: float, dec: float, *, field: str, frame_id: str, mjd: float, public: bool) -> PhotometryPosition:
    """A position that a frame found."""
    return PhotometryPosition(
        name=position_name(ra, dec), ra=ra, dec=dec, field=field, public=public, origin=FOUND, frame_id=frame_id, first_mjd=mjd
    )
