"""Simulated nights of raw frames through the pure functions in one process: what the stream does with them, without Kafka.

in → an `ObservingRun`, folders of masters and references made of its own frames, a `ScoringState`
out → `Nights`: every candidate of every frame beside the truth, frames that were rejected and why, times by stage

Positions, histories and coverage are kept as the stream keeps them: what a frame finds is measured on every later one.
"""

from __future__ import annotations

import math
import time
from collections import Counter
from collections.abc import Iterable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from typing import Any

import numpy as np

from data.frames.fits_image import read_frame
from data.frames.frame_error import FrameError
from data.frames.masters_folder import MastersFolder
from data.frames.reference_file import ReferencesFolder
from data.frames.sky_positions import sky_map
from data.simulate.frames.observing_run import SimulatedFrame, TrueFlux
from evaluation.frame_truth import RADIUS, SAME_TIME, Found, FrameScores, distance
from operators.images.detect import REASON_NAMES
from operators.images.planes import Calibrated, Difference, Masters, Quality, RawFrame, Reference
from operators.images.subtract import Prepared, prepare
from pipeline.frames import FrameAlerts, alerts, calibrated
from pipeline.score import score
from pipeline.state import ScoringState
from schemas.records.calibrated_frame import CalibratedFrame
from schemas.records.detection import Detection
from schemas.records.photometry_measured import PhotometryMeasured
from schemas.records.photometry_position import PhotometryPosition


@dataclass(frozen=True, slots=True)
class FramePlanes:
    """One frame's images, for a picture."""

    raw: RawFrame
    planes: Calibrated
    quality: Quality
    difference: Difference | None
    to_reference: Any
    """(2, 6) map from the frame's pixels to the difference's."""


@dataclass(frozen=True, slots=True)
class Refused:
    """A candidate that was not made an alert."""

    mjd: float
    filter: str
    ra: float
    dec: float
    why: tuple[str, ...]
    """Names of `operators.images.detect.REASON_NAMES`."""


@dataclass(slots=True)
class Nights:
    """What came of the frames."""

    truth: list[TrueFlux] = field(default_factory=list)
    """Of the frames that were announced."""
    found: list[Found] = field(default_factory=list)
    measured: list[PhotometryMeasured] = field(default_factory=list)
    frames: int = 0
    announced: int = 0
    rejected: dict[str, list[str]] = field(default_factory=dict)
    """Reason → the frames and what was said."""
    seconds: dict[str, float] = field(default_factory=dict)
    """Processor time by stage."""
    refused: list[Refused] = field(default_factory=list)
    """Candidates that were not made alerts."""
    kept: dict[str, FramePlanes] = field(default_factory=dict)

    def scores(self) -> FrameScores:
        """Found beside true."""
        return FrameScores.of(self.truth, self.found)

    def missed(self, least: float = 10.0) -> dict[int, str]:
        """Index in `truth` of each measurable object of at least so much expected signal-to-noise that has no detection → why."""
        scores = self.scores()
        decided = {int(m): f.decided for m, f in zip(scores.matched, self.found, strict=True) if m >= 0}
        real = {int(m) for m, f in zip(scores.matched, self.found, strict=True) if m >= 0 and f.real}
        out = {}
        for k, t in enumerate(self.truth):
            if not t.measurable or abs(t.snr) < least or k in real:
                continue
            out[k] = "decided to be bogus" if k in decided else self._why(t)
        return out

    def _why(self, t: TrueFlux) -> str:
        near = [
            r.why
            for r in self.refused
            if r.filter == t.filter
            and abs(r.mjd - t.mjd) < SAME_TIME
            and distance(np.array([r.ra]), np.array([r.dec]), ra=t.ra, dec=t.dec)[0] < RADIUS
        ]
        return "refused: " + " ".join(near[0]) if near else "no candidate"

    def figures(self) -> dict[str, Any]:
        """For a report."""
        return {
            "frames": self.frames,
            "announced": self.announced,
            "rejected": {reason: len(said) for reason, said in self.rejected.items()},
            "refused": dict(Counter(why for r in self.refused for why in r.why)),
            "missed": dict(Counter(self.missed().values())),
            **self.scores().figures(),
            "seconds": {name: round(value, 3) for name, value in self.seconds.items()},
        }


def observe_nights(
    frames: Iterable[SimulatedFrame],
    state: ScoringState,
    *,
    masters: MastersFolder,
    references: ReferencesFolder,
    keep: Sequence[str] = (),
) -> Nights:
    """Put frames through calibration, subtraction and scoring.

    Parameters
    ----------
    frames : iterable of SimulatedFrame
        In the order of time.
    state : ScoringState
    masters, references
        Folders made of the run's own frames.
    keep : sequence of str
        Names of frames whose images are kept.
    """
    out = Nights()
    positions: dict[str, PhotometryPosition] = {}
    histories: dict[str, list[PhotometryMeasured]] = {}
    coverage: list[CalibratedFrame] = []
    prepared: dict[str, Prepared] = {}
    for frame in frames:
        out.frames += 1
        try:
            done = _one(
                frame, out, masters=masters, references=references, prepared=prepared,
                known=list(positions.values()), histories=histories, coverage=coverage, keep=frame.name in keep,
            )  # fmt: skip
        except FrameError as error:
            out.rejected.setdefault(error.reason, []).append(f"{frame.name}: {error}")
            continue
        out.announced += 1
        out.truth += frame.truth
        for position in done.new_positions:
            positions[position.name] = position
        of = {m.position: m for m in done.measured}
        with _timed(out, "score"):
            scored = score([p.data for p in done.packets], state) if done.packets else []
        for packet, result in zip(done.packets, scored, strict=True):
            out.found.append(_found(result, of[packet.object_id]))
        for m in done.measured:
            histories.setdefault(m.position, []).append(m)
        out.measured += done.measured
    return out


def _one(
    frame: SimulatedFrame,
    out: Nights,
    *,
    masters: MastersFolder,
    references: ReferencesFolder,
    prepared: dict[str, Prepared],
    known: list[PhotometryPosition],
    histories: dict[str, list[PhotometryMeasured]],
    coverage: list[CalibratedFrame],
    keep: bool,
) -> FrameAlerts:
    with _timed(out, "read"):
        raw = read_frame(frame.file, origin=frame.name)
    with _timed(out, "masters"):
        own, flags = select(masters, raw)
    with _timed(out, "calibrate"):
        planes, quality = calibrated(raw, own, flags=flags)
    with _timed(out, "reference"):
        reference = references.of(
            raw.field, raw.filter, detector=raw.detector, wcs=raw.wcs, shape=(planes.science.shape[0], planes.science.shape[1])
        )
        if reference.id not in prepared:
            prepared[reference.id] = prepare(reference)
    with _timed(out, "alerts"):
        done = alerts(raw, planes, quality, reference=prepared[reference.id], positions=known, histories=histories, coverage=coverage)
    if done.reason is not None:
        raise FrameError(done.reason, done.text)
    out.refused += _refused(raw, done, reference=reference)
    if keep:
        made = done.subtracted
        out.kept[frame.name] = FramePlanes(
            raw, planes, done.quality, None if made is None else made.difference, None if made is None else made.to_reference
        )
    coverage.append(covered(raw, planes, done.quality))
    return done


def _refused(raw: RawFrame, done: FrameAlerts, *, reference: Reference) -> list[Refused]:
    sky = sky_map(reference.wcs, reference.image.shape)
    if done.candidates is None or sky is None:
        return []
    c = done.candidates
    rows = np.flatnonzero(~c.accepted)
    ra, dec = sky.to_sky(np.stack([c.y[rows], c.x[rows]], axis=1))
    names = [tuple(name for bit, name in REASON_NAMES.items() if bits & bit) for bits in c.reasons[rows].tolist()]
    return [Refused(raw.mjd, raw.filter, float(a), float(d), why) for a, d, why in zip(ra, dec, names, strict=True)]


def select(masters: MastersFolder, raw: RawFrame) -> tuple[Masters, tuple[str, ...]]:
    """The masters of a frame."""
    y0, y1, x0, x1 = raw.readout.trim
    return masters.select(
        detector=raw.detector, filter=raw.filter, binning=raw.binning, mjd=raw.mjd, temperature=raw.temperature, exposure=raw.exposure,
        gain=raw.readout.gain, shape=(y1 - y0, x1 - x0), overscan=raw.readout.overscan is not None,
    )  # fmt: skip


def covered(raw: RawFrame, planes: Calibrated, quality: Quality) -> CalibratedFrame:
    """What later frames must know of this one: where it looked and how deep."""
    sky = sky_map(raw.wcs, planes.science.shape)
    corners: tuple[float, ...] = ()
    if sky is not None:
        ra, dec = sky.corners()
        corners = tuple(float(angle) for corner in zip(ra, dec, strict=True) for angle in corner)
    limit = quality.limit if math.isfinite(quality.limit) else None
    return CalibratedFrame(
        frame_id=raw.frame_id, detector=raw.detector, filter=raw.filter, field=raw.field, mjd=raw.mjd, exposure=raw.exposure,
        public=raw.public, uri="", length=0, sha256="", raw_sha256="", masters=(), footprint=corners,
        pixel_scale=None if sky is None else sky.scale, sky=None, noise=None, seeing=None, elongation=None, n_stars=quality.n_stars,
        saturated_share=None, cosmic_ray_share=None, bad_share=None, zero_point=None, zero_point_err=None, limit=limit, flags=(),
        calibrated_ms=0,
    )  # fmt: skip


def _found(result: Any, measured: PhotometryMeasured) -> Found:
    """A candidate and its decision; the flux is that of forced photometry, which every subscriber can read."""
    if not isinstance(result, Detection):
        return Found(measured.mjd, measured.filter, math.nan, math.nan, measured.flux, measured.flux_err, "", object_id=measured.position)
    decided, _ = result.shown_class
    published = result.decision is not None and result.decision.published
    return Found(
        measured.mjd, measured.filter, result.ra, result.dec, measured.flux, measured.flux_err, decided, published, measured.position
    )


@contextmanager
def _timed(out: Nights, name: str) -> Iterator[None]:
    began = time.process_time()
    yield
    out.seconds[name] = out.seconds.get(name, 0.0) + time.process_time() - began


def light_curve(nights: Nights, object_id: str) -> dict[str, np.ndarray]:
    """What was measured at an injected object's place: `mjd`, `filter`, `flux`, `flux_err`, sorted by time."""
    matched = nights.scores()
    names = {f.object_id for f, m in zip(nights.found, matched.matched, strict=True) if m >= 0 and nights.truth[m].object_id == object_id}
    rows = sorted((m for m in nights.measured if m.position in names), key=lambda m: m.mjd)
    return {name: np.array([getattr(m, name) for m in rows]) for name in ("mjd", "filter", "flux", "flux_err")}
