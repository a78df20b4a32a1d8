"""Increments of a target → its whole light curve, the same for the same increments in any order and however often they come.

A light curve keeps one value a time: that of the highest rank (`Increment.rank`: revision, then how far its increment reached), of equal
ones a flux before none, clean quality before flagged, and then by their bits, which means nothing but is the same everywhere. So joining is
associative, commutative and idempotent; neither a redelivery nor a late increment can undo what is newer.
"""

from __future__ import annotations

import struct
from dataclasses import dataclass
from typing import Any

import numpy as np
import numpy.typing as npt

from schemas.avro.machine import MAX_ROWS
from schemas.avro.wire import PacketError
from schemas.surveys.history import SAME_TIME
from schemas.surveys.tess import KEPLER_SECTOR, catalogue
from schemas.surveys.tess_increment import Increment, encode_whole

MOST_POINTS = MAX_ROWS
"""The most cadences that a packet of the stream may have."""
LONGEST_D = {"TIC": 60.0, "KIC": 120.0, "EPIC": 120.0}
"""A sector, quarter or campaign at most, with room: 27, 93 and 80 d [d]. Times that lie further apart are not of one."""
NEAR_DEG = 1 / 60
"""How far two positions of one target lie apart at most [deg]."""
SEEN = ("time", "flux", "flux_err", "quality")
"""What a packet holds of a cadence."""


@dataclass(frozen=True, slots=True)
class WholeCurve:
    """The light curve of a target in a sector so far."""

    tic: int
    sector: int
    cadence: int
    """The last cadence's number, of all increments."""
    rank: int
    """Of the increment whose values the next four are."""
    ra: float
    dec: float
    tmag: float
    baseline: float
    points: npt.NDArray[Any]
    """(n,) of `schemas.surveys.tess_increment.POINT`, by time, no time twice."""

    @property
    def key(self) -> tuple[int, int]:
        """What it is kept under."""
        return self.tic, self.sector

    def _star(self) -> tuple[int, bytes]:
        """Orders two versions of what is said of the star."""
        return self.rank, struct.pack("<4d", self.ra, self.dec, self.tmag, self.baseline)


def curve_of(increment: Increment) -> WholeCurve:
    """An increment as a light curve."""
    i = increment
    return WholeCurve(i.tic, i.sector, i.cadence, i.rank, i.ra, i.dec, i.tmag, i.baseline, points=valid_points(i.points))


def joined(known: WholeCurve | None, increment: Increment) -> WholeCurve:
    """The light curve with an increment.

    Parameters
    ----------
    known : WholeCurve or None
        So far; None: this is the first.
    increment : Increment
        Of the same target and sector.

    Raises
    ------
    PacketError
        bad_value where it cannot be of this target and sector; too_large where no packet could hold the light curve.
    """
    new = curve_of(increment)
    _check_span(new.points["time"], new, what="the increment")
    if known is None:
        return new
    name = f"{catalogue(known.sector)} {known.tic}, sector {known.sector}"
    # across a pole or the meridian too: the angle between two directions, for small ones
    east = ((new.ra - known.ra + 180) % 360 - 180) * np.cos(np.radians(0.5 * (new.dec + known.dec)))
    if np.hypot(east, new.dec - known.dec) > NEAR_DEG:
        raise PacketError(
            "bad_value", f"the increment is at {new.ra:.5f} {new.dec:.5f}, {name} at {known.ra:.5f} {known.dec:.5f}: another target?"
        )
    ends = np.array([min(new.points["time"][0], known.points["time"][0]), max(new.points["time"][-1], known.points["time"][-1])])
    _check_span(ends, new, what=f"with the increment {name}")
    begin, end = np.searchsorted(known.points["time"], new.points["time"][[0, -1]])
    end += 1  # what is outside of the increment's times stays as it is, in order
    points = np.concatenate((known.points[:begin], valid_points(known.points[begin:end], new.points), known.points[end:]))
    if len(points) > MOST_POINTS:
        raise PacketError("too_large", f"with the increment {name} would have {len(points):,} cadences; a packet holds {MOST_POINTS:,}")
    star = max(known, new, key=WholeCurve._star)
    return WholeCurve(
        known.tic, known.sector, max(known.cadence, new.cadence), star.rank, star.ra, star.dec, star.tmag, star.baseline, points=points
    )


def valid_points(*parts: npt.NDArray[Any]) -> npt.NDArray[Any]:
    """All points by time, of each time the valid one."""
    points = np.concatenate(parts)
    time = points["time"]
    if (time[1:] > time[:-1]).all():  # as they come: an increment after the other
        return points
    bits = [np.ascontiguousarray(points[name]).view(np.int32) for name in ("quality", "flux_err", "flux")]
    order = np.lexsort((*bits, points["quality"] == 0, np.isfinite(points["flux"]), points["rank"], time))
    points = points[order]
    last = np.append(points["time"][1:] != points["time"][:-1], True)
    valid: npt.NDArray[Any] = points[last]
    return valid


def shown_points(points: npt.NDArray[Any]) -> npt.NDArray[Any]:
    """The points that a packet gets: none that one of a higher rank lies nearer to than an exposure.

    A reprocessed light curve has slightly other times; what it was made to replace must not stand beside it.
    """
    while True:
        near = np.diff(points["time"]) < SAME_TIME
        step = np.diff(points["rank"].astype(np.int64))
        hidden = np.zeros(len(points), np.bool_)
        hidden[:-1] |= near & (step > 0)
        hidden[1:] |= near & (step < 0)
        if not hidden.any():
            return points
        points = points[~hidden]


def packet(curve: WholeCurve) -> bytes:
    """The whole packet: the same bytes for the same increments."""
    c = curve
    return encode_whole(
        c.tic, c.sector, cadence=c.cadence, ra=c.ra, dec=c.dec, tmag=c.tmag, baseline=c.baseline, points=shown_points(c.points)
    )


def differs(before: WholeCurve | None, after: WholeCurve) -> bool:
    """Whether the packets of two states of a light curve differ."""
    if before is None or before.cadence != after.cadence or before._star()[1] != after._star()[1]:
        return True
    if len(before.points) == len(after.points) and before.points.tobytes() == after.points.tobytes():
        return False
    old, new = shown_points(before.points), shown_points(after.points)
    return len(old) != len(new) or any(old[name].tobytes() != new[name].tobytes() for name in SEEN)


def _check_span(time: npt.NDArray[np.float64], curve: WholeCurve, *, what: str) -> None:
    longest = LONGEST_D[catalogue(curve.sector)]
    span = float(time[-1] - time[0])
    if span > longest:
        unit = "sector" if curve.sector < KEPLER_SECTOR else "quarter or campaign"
        raise PacketError("bad_value", f"{what} would span {span:,.1f} d; a {unit} has {longest:.0f} d at most: another sector?")
