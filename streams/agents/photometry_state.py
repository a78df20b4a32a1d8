"""What the differencer knows of earlier frames: positions, what was measured at them, which frames covered what.

records of `photometry.positions`, `photometry.measured` and `frames.calibrated` → what an alert's history is made of

What is not public is among it: `pipeline.frames` keeps it out of public packets. All of it follows from the topics. Memory is bounded: so
many measurements together (each position keeps its latest), so many frames.
"""

from __future__ import annotations

import math
import struct
from collections.abc import Iterable, Sequence
from typing import Any

import numpy as np

from operators.types import F64, MAX_POINTS
from schemas.records.calibrated_frame import CalibratedFrame
from schemas.records.photometry_measured import PhotometryMeasured
from schemas.records.photometry_position import PhotometryPosition

MOST_MEASURED = 2_000_000
"""Measurements that are kept; of each position `MAX_POINTS` at most, and at least `LEAST_KEPT`: 40 bytes each."""
LEAST_KEPT = 8
MOST_POSITIONS = 200_000
"""Beyond it the positions found longest ago are no longer measured."""
MOST_FRAMES = 30_000
"""Frames whose footprint is kept: 1 kB each."""
COVERAGE = 200
"""Frames that one frame's coverage is of at most, the latest."""
_ROW = struct.Struct("<dfffIBBB")
_DETECTED, _PUBLIC = 1, 2


class PhotometryState:
    """Positions, histories and coverage."""

    def __init__(self) -> None:
        self.positions: dict[str, PhotometryPosition] = {}
        self._rows: dict[str, bytearray] = {}
        self._total = 0
        self._exposures: list[tuple[str, str, str]] = []
        self._exposure_index: dict[tuple[str, str, str], int] = {}
        self._frames: dict[tuple[str, str], tuple[CalibratedFrame, F64, float]] = {}
        """Frame, unit vector of its centre, radius [rad]."""
        self._directions: tuple[list[PhotometryPosition], F64] | None = None
        self._centres: tuple[list[CalibratedFrame], F64, F64] | None = None

    def counts(self) -> dict[str, int]:
        """How much is kept."""
        return {"positions": len(self.positions), "measured": self._total, "frames": len(self._frames)}

    def take_position(self, key: bytes | None, position: PhotometryPosition | None) -> None:
        """Know a position; None: the one of this key is no longer measured."""
        name = position.name if position is not None else (key or b"").decode("utf-8", "replace")
        if position is not None and self.positions.get(name) == position:  # our own, read again
            return
        self.positions.pop(name, None)
        self._directions = None
        if position is None:
            self._total -= len(self._rows.pop(name, b"")) // _ROW.size
            return
        self.positions[name] = position
        while len(self.positions) > MOST_POSITIONS:
            oldest = next(iter(self.positions))
            del self.positions[oldest]
            self._total -= len(self._rows.pop(oldest, b"")) // _ROW.size

    def take_measured(self, measured: PhotometryMeasured) -> None:
        """Know a measurement."""
        name = (measured.frame_id, measured.detector, measured.filter)
        exposure = self._exposure_index.get(name)
        if exposure is None:
            exposure = self._exposure_index[name] = len(self._exposures)
            self._exposures.append(name)
        rows = self._rows.setdefault(measured.position, bytearray())
        rows += _ROW.pack(
            measured.mjd, measured.flux, measured.flux_err, math.nan if measured.limit is None else measured.limit, exposure,
            _DETECTED * measured.detected | _PUBLIC * measured.public, measured.mask, 0,
        )  # fmt: skip
        self._total += 1
        self._cut(rows, self._most())
        if self._total > MOST_MEASURED:  # more positions than before: each keeps fewer
            most = max(LEAST_KEPT, self._most() * 3 // 4)
            for kept in self._rows.values():
                self._cut(kept, most)

    def take_frame(self, frame: CalibratedFrame) -> None:
        """Know which part of the sky a frame covered, and how deep."""
        if not frame.footprint or frame.limit is None:
            return
        name = (frame.frame_id, frame.detector)
        centre, cosine = circle(frame.footprint)
        self._frames.pop(name, None)
        self._frames[name] = frame, centre, math.acos(min(1.0, cosine))
        self._centres = None
        if len(self._frames) > MOST_FRAMES:
            for oldest in list(self._frames)[: MOST_FRAMES // 10]:
                del self._frames[oldest]

    def near(self, frame: CalibratedFrame) -> list[PhotometryPosition]:
        """Positions that a frame may cover: within its circle on the sky, or given in its detector's pixels; public or not."""
        found: list[PhotometryPosition] = []
        if self._directions is None:
            on_sky = [p for p in self.positions.values() if p.ra is not None and p.dec is not None]
            self._directions = on_sky, directions([p.ra for p in on_sky], [p.dec for p in on_sky])
        on_sky, vectors = self._directions
        if frame.footprint and on_sky:
            centre, cosine = circle(frame.footprint)
            found += [on_sky[k] for k in np.flatnonzero(vectors @ centre >= cosine)]
        found += [p for p in self.positions.values() if p.y is not None and p.detector == frame.detector and p.field in ("", frame.field)]
        return found

    def histories(self, frame: CalibratedFrame, names: Iterable[str]) -> dict[str, list[PhotometryMeasured]]:
        """What was measured at positions before a frame, oldest first; of one exposure what was measured last."""
        out: dict[str, list[PhotometryMeasured]] = {}
        for name in names:
            by_exposure: dict[int, PhotometryMeasured] = {}
            for mjd, flux, err, limit, exposure, bits, mask, _ in _ROW.iter_unpack(self._rows.get(name, b"")):
                frame_id, detector, band = self._exposures[exposure]
                public = bool(bits & _PUBLIC)
                same = (frame_id, detector) == (frame.frame_id, frame.detector)
                if mjd < frame.mjd and not same:
                    by_exposure[exposure] = PhotometryMeasured(
                        name, frame_id, detector, mjd, band, flux, err, None if math.isnan(limit) else limit, bool(bits & _DETECTED), mask,
                        (), public,
                    )  # fmt: skip
            if by_exposure:
                out[name] = sorted(by_exposure.values(), key=lambda m: (m.mjd, m.frame_id, m.detector))
        return out

    def coverage(self, frame: CalibratedFrame) -> list[CalibratedFrame]:
        """Earlier frames that overlap with one, oldest first."""
        if not frame.footprint or not self._frames:
            return []
        if self._centres is None:
            kept = list(self._frames.values())
            self._centres = [f for f, _, _ in kept], np.array([c for _, c, _ in kept]), np.array([r for _, _, r in kept])
        frames, centres, radii = self._centres
        centre, cosine = circle(frame.footprint)
        apart = np.arccos(np.clip(centres @ centre, -1, 1))
        near = (frames[k] for k in np.flatnonzero(apart <= radii + math.acos(min(1.0, cosine))))
        earlier = [f for f in near if f.mjd < frame.mjd and f.frame_id != frame.frame_id]
        return sorted(earlier, key=lambda f: (f.mjd, f.frame_id, f.detector))[-COVERAGE:]

    def _most(self) -> int:
        return max(LEAST_KEPT, min(MAX_POINTS, MOST_MEASURED // max(1, len(self._rows))))

    def _cut(self, rows: bytearray, most: int) -> None:
        """Keep the latest rows of a position."""
        over = len(rows) // _ROW.size - most
        if over > 0:
            del rows[: over * _ROW.size]
            self._total -= over


def directions(ra: Sequence[Any], dec: Sequence[Any]) -> F64:
    """Right ascension and declination [deg] → unit vectors (k, 3)."""
    a, d = np.deg2rad(np.asarray(ra, np.float64)), np.deg2rad(np.asarray(dec, np.float64))
    return np.stack([np.cos(d) * np.cos(a), np.cos(d) * np.sin(a), np.sin(d)], axis=-1)


def circle(footprint: Sequence[float]) -> tuple[F64, float]:
    """The circle round a footprint: unit vector of its centre, cosine of its radius."""
    corners = directions(footprint[::2], footprint[1::2])
    centre = corners.mean(axis=0)
    centre /= np.linalg.norm(centre)
    return centre, float((corners @ centre).min()) - 1e-9
