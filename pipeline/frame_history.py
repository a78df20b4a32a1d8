"""What earlier frames say of a position: measured fluxes, and the depth of frames that covered it before anyone looked there.

[PhotometryMeasured], [CalibratedFrame], a place, a time → `History`: points of a packet of `frames.avsc`, counts, the first detection
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, TypeAlias

import numpy as np
import numpy.typing as npt

from operators.types import MAX_POINTS
from schemas.records.calibrated_frame import CalibratedFrame
from schemas.records.photometry_measured import PhotometryMeasured

Key: TypeAlias = tuple[str, str]
"""frame_id and detector of a frame."""
MOST_POINTS = 2 * MAX_POINTS
"""Of a packet's history; of more the latest."""


@dataclass(frozen=True, slots=True)
class History:
    """Of one position before a frame."""

    points: tuple[dict[str, Any], ...]
    """As `frames.avsc` has them, oldest first."""
    n_visits: int
    n_detections: int
    first_detection: float | None
    """[d]"""


@dataclass(frozen=True, slots=True)
class Covered:
    """A frame that covered a position."""

    key: Key
    mjd: float
    filter: str
    limit: float
    """[uJy]"""


class Coverage:
    """Frames that were calibrated before, where on the sky they lie, and how deep they are.

    Parameters
    ----------
    frames : sequence of CalibratedFrame
        Those without a footprint or a limit say nothing and are left out.
    limits : (frame_id, detector) → limit [uJy]
        Of frames that were subtracted (`limits_of`): it goes before the announced one, which knows no reference, and may be missing there.
    before : float
        Only frames before this time count [MJD].
    public : bool
        Only those that are public count.
    """

    def __init__(self, frames: Sequence[CalibratedFrame], *, limits: Mapping[Key, float], before: float, public: bool) -> None:
        found, footprints = [], []
        for f in frames:
            limit = limits.get((f.frame_id, f.detector), f.limit)
            if limit is not None and limit > 0 and len(f.footprint) == 8 and f.mjd < before and (f.public or not public):
                found.append(Covered((f.frame_id, f.detector), f.mjd, f.filter, limit))
                footprints.append(f.footprint)
        self.frames = tuple(found)
        corners = np.array(footprints, np.float64).reshape(-1, 4, 2)
        self._corners = _unit(corners[..., 0], corners[..., 1])

    def at(self, ra: float, dec: float) -> tuple[Covered, ...]:
        """The frames whose footprint holds a direction [deg]."""
        inside = covers(self._corners, ra=ra, dec=dec)
        return tuple(f for f, there in zip(self.frames, inside, strict=True) if there)


def limits_of(measured: Iterable[PhotometryMeasured]) -> dict[Key, float]:
    """Depth of the frames that some position was measured on [uJy]."""
    return {(m.frame_id, m.detector): m.limit for m in measured if m.limit is not None}


def covers(corners: npt.NDArray[np.float64], *, ra: float, dec: float) -> npt.NDArray[np.bool_]:
    """Which of n quadrangles hold a direction: it lies on one side of all four great circles, and not on the other half of the sky.

    Parameters
    ----------
    corners : (n, 4, 3) unit vectors, in turn round each
    ra, dec : float
        [deg]
    """
    place = _unit(np.array(ra), np.array(dec))
    sides = np.cross(corners, np.roll(corners, -1, axis=1)) @ place
    return np.asarray(((sides >= 0).all(1) | (sides <= 0).all(1)) & (corners.sum(1) @ place > 0))


def history(measured: Sequence[PhotometryMeasured], *, coverage: Sequence[Covered], frame: Key, mjd: float, public: bool) -> History:
    """The points before a frame.

    Parameters
    ----------
    measured : sequence of PhotometryMeasured
        At the position. Of several of one frame the last one counts.
    coverage : sequence of Covered
        Frames that hold the position; each gives a limit, unless it was measured on.
    frame : Key
        The frame itself: what was measured on it before (a frame that comes twice) is not its history.
    mjd : float
        Its time [d]; what is later is not known yet.
    public : bool
        Whether the packet is: then public measurements and frames alone are in it.
    """
    seen: dict[Key, PhotometryMeasured] = {}
    for m in measured:
        if m.mjd < mjd and (m.frame_id, m.detector) != frame and (m.public or not public):
            seen[m.frame_id, m.detector] = m
    points = [
        {"mjd": m.mjd, "filter": m.filter, "flux": m.flux, "flux_err": m.flux_err, "limit": m.limit, "detected": m.detected}
        for m in seen.values()
    ]
    visits = set(seen)
    for f in coverage:
        if f.key not in visits and f.key != frame:
            visits.add(f.key)
            points.append({"mjd": f.mjd, "filter": f.filter, "limit": f.limit})
    points.sort(key=lambda point: (point["mjd"], point["filter"]))
    detected = [m.mjd for m in seen.values() if m.detected]
    return History(tuple(points[-MOST_POINTS:]), len(visits), len(detected), min(detected, default=None))


def _unit(ra: npt.NDArray[np.float64], dec: npt.NDArray[np.float64]) -> npt.NDArray[np.float64]:
    a, d = np.radians(ra), np.radians(dec)
    return np.stack([np.cos(d) * np.cos(a), np.cos(d) * np.sin(a), np.sin(d)], axis=-1)
