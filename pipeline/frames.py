"""Every stage from a raw frame to alert packets, in order: the pure function of frames.

RawFrame, Masters → `calibrated` → Calibrated, Quality
Calibrated, Quality, reference, listed positions, their histories → `alerts` → packets of `alerts.frames`, forced photometry, new positions

Pure (law 1): no clock, network, file or broker. The same frame, reference, positions and histories give the same bytes. What is wrong with
a frame is a reason by name (`data.frames.frame_error.REASONS`), what is unusual a flag of its quality; neither is an exception to a caller
of `alerts`. `pipeline.score` scores the packets as any survey's.
"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace

import numpy as np
import numpy.typing as npt

from data.frames.frame_error import FrameError
from operators.images.calibrate import calibrate
from operators.images.detect import detect, forced
from operators.images.frame_quality import share_of, trail
from operators.images.planes import TRAIL, Calibrated, Candidates, Masters, Quality, RawFrame, Reference
from operators.images.subtract import Prepared, prepare
from operators.namespace import to_host
from operators.types import F64, WAVELENGTH
from pipeline.frame_figures import SIGNIFICANCE, Catalogue, microjansky, quality_of
from pipeline.frame_history import Coverage, history, limits_of
from pipeline.frame_packets import Packet, Scene, mask_near, packets_of
from pipeline.frame_positions import SAME, MovedSky, Placed, Sky, associated, new_position, placed, refined
from pipeline.frame_sky import seen_in, sky_of
from pipeline.frame_subtraction import FEW_STARS, Subtracted, subtracted
from schemas.records.calibrated_frame import CalibratedFrame
from schemas.records.photometry_measured import PhotometryMeasured
from schemas.records.photometry_position import FOUND, PhotometryPosition

I64 = npt.NDArray[np.int64]

MOST_SATURATED = 0.2
"""Share of a frame's pixels, above which nothing of it is measured."""
THRESHOLD = 5.0
"""[sigma] of the difference's significance from which a source is a detection."""
MOST_ALERTS = 1_000
"""Alerts of a frame; of more the most significant, and the frame is flagged `many_candidates`."""


@dataclass(frozen=True, slots=True)
class FrameAlerts:
    """What became of a calibrated frame."""

    packets: tuple[Packet, ...]
    measured: tuple[PhotometryMeasured, ...]
    """At every listed and every new position whose pixels can be measured."""
    new_positions: tuple[PhotometryPosition, ...]
    """And those found on a private frame that a public one has found now, as public."""
    quality: Quality
    """With zero point and limit of the difference."""
    reason: str | None = None
    """Why nothing was measured; None: something could be."""
    text: str = ""
    """The reason in one line."""
    candidates: Candidates | None = None
    """All of them, the refused with their reasons; for figures and pictures."""
    subtracted: Subtracted | None = None


def calibrated(
    raw: RawFrame,
    masters: Masters,
    *,
    cosmic_rays: bool = True,
    catalogue: Catalogue | None = None,
    reference: Reference | None = None,
    flags: Sequence[str] = (),
) -> tuple[Calibrated, Quality]:
    """Calibrate a raw frame.

    Parameters
    ----------
    raw : RawFrame
    masters : Masters
        Of its detector, filter and binning.
    cosmic_rays : bool
        Whether they are looked for.
    catalogue : Catalogue, optional
        Stars whose magnitudes are known: the zero point.
    reference : Reference, optional
        Of the same field and filter: the zero point where no catalogue gives it.
    flags : sequence of str
        What is unusual of the masters, to go into the quality.

    Raises
    ------
    FrameError
        `wrong_shape`: the masters are of another readout.
    """
    try:
        planes = calibrate(raw, masters, cosmic_rays=cosmic_rays)  # 1. ADU → electrons, variance, mask, cosmic rays flagged
    except ValueError as error:
        raise FrameError("wrong_shape", str(error)) from None
    seen = seen_in(planes)  # 2. sky, noise, stars
    trails = None if seen.image is None else trail(seen.image, planes.mask, noise=seen.noise, level=0.0)  # once more without satellites
    if trails is not None and share_of(trails, TRAIL) > 0:
        planes, flags = replace(planes, mask=planes.mask | trails), (*flags, "trail")
        seen = seen_in(planes)
    return planes, quality_of(planes, seen, raw=raw, catalogue=catalogue, reference=reference, flags=flags)  # 3. → figures


def alerts(
    frame: RawFrame,
    planes: Calibrated,
    quality: Quality,
    *,
    reference: Reference | Prepared,
    positions: Sequence[PhotometryPosition] = (),
    histories: Mapping[str, Sequence[PhotometryMeasured]] | None = None,
    coverage: Sequence[CalibratedFrame] = (),
    threshold: float = THRESHOLD,
) -> FrameAlerts:
    """Turn a calibrated frame into alert packets.

    Parameters
    ----------
    frame : RawFrame
        What the file said of it; its pixels are not used.
    planes, quality : Calibrated, Quality
        As `calibrated` gives them, or as they were read from a file.
    reference : Reference or Prepared
        Of the same field and filter; prepared once, it saves its transforms.
    positions : sequence of PhotometryPosition
        To measure at, wherever they lie; those outside the frame are passed over.
    histories : name of a position → what was measured there before
    coverage : sequence of CalibratedFrame
        Earlier frames: each gives a limit where a packet's object was not measured on it.
    threshold : float
        [sigma]
    """
    prepared = reference if isinstance(reference, Prepared) else prepare(reference)
    public = frame.public and prepared.reference.public  # the reference is in every packet's cut-outs
    try:
        return _alerts(
            replace(frame, public=public),
            planes,
            quality,
            prepared=prepared,
            positions=positions,
            histories=histories or {},
            coverage=coverage,
            threshold=threshold,
        )
    except FrameError as error:
        return FrameAlerts((), (), (), quality, error.reason, str(error))


def _alerts(
    frame: RawFrame,
    planes: Calibrated,
    quality: Quality,
    *,
    prepared: Prepared,
    positions: Sequence[PhotometryPosition],
    histories: Mapping[str, Sequence[PhotometryMeasured]],
    coverage: Sequence[CalibratedFrame],
    threshold: float,
) -> FrameAlerts:
    reference = prepared.reference
    _check(frame, quality, reference=reference)
    frame_map = sky_of(frame.wcs, planes.science.shape)
    reference_map = sky_of(reference.wcs, reference.image.shape)
    if frame_map is None and not any(p.detector == frame.detector and p.y is not None for p in positions):
        raise FrameError("no_wcs", "no usable world coordinates in the header, and no position in pixels of this detector is listed")
    seen = seen_in(planes)  # 1. sky, noise, stars
    # 2. registration, PSF, flux scale → difference and significance on the reference's pixels
    made = subtracted(planes, seen=seen, prepared=prepared, frame_map=frame_map, reference_map=reference_map)
    unit, quality = _calibrated_flux(quality, made, reference=reference, has_sky=frame_map is not None)  # 3. electrons → uJy
    # 4. where the reference's pixels lie: its own header's word, so that an object has one place in all frames
    sky: Sky | None = None if frame_map is None else reference_map or MovedSky(frame_map, made.to_frame, made.to_reference)
    found = detect(made.difference, threshold=threshold)  # 5. peaks of the significance, and which of them look like a source
    listed = placed(positions, shape=reference.image.shape, sky=sky, detector=frame.detector, to_reference=made.to_reference)
    belongs, new, quality = _associated(found, listed, sky=sky, quality=quality)  # 6. candidate → listed position, or a new one
    fresh = _new(found, new, sky=sky, frame=frame)
    every = Placed((*listed.positions, *fresh), np.concatenate([listed.yx, np.stack([found.y[new], found.x[new]], axis=1)]))
    candidate = belongs | {len(listed) + k: int(c) for k, c in enumerate(new.tolist())}  # row of `every` → candidate
    at = refined(every, found, candidate=candidate, histories=histories)
    measured = _photometry(
        frame, made, every=every, at=at, candidate=candidate, found=found, quality=quality, unit=unit
    )  # 7. forced fluxes
    packets: tuple[Packet, ...] = ()
    if sky is not None:  # 8. history, limits of earlier frames, cut-outs → packets
        scene = Scene(frame, made, found, quality, reference, round(sky.scale, 2))
        packets = _packets(scene, every, sky=sky, candidate=candidate, measured=measured, histories=histories, coverage=coverage)
    published = [
        replace(every.positions[k], public=True, first_mjd=frame.mjd) for k in belongs if _becomes_public(every.positions[k], frame)
    ]
    rows = tuple(measured[k] for k in sorted(measured))
    return FrameAlerts(packets, rows, (*fresh, *published), quality, candidates=found, subtracted=made)


def _check(frame: RawFrame, quality: Quality, *, reference: Reference) -> None:
    """What rules a frame out before anything is computed."""
    if frame.filter not in WAVELENGTH["frames"]:
        raise FrameError("no_filter", f"filter {frame.filter[:40]!r} is none of {', '.join(WAVELENGTH['frames'])}")
    if frame.filter != reference.filter:
        raise FrameError("no_reference", f"the frame is of filter {frame.filter}, the reference of {reference.filter[:40]}")
    if quality.saturated_share > MOST_SATURATED:
        raise FrameError("saturated_frame", f"{quality.saturated_share:.0%} of the frame are saturated")


def _calibrated_flux(quality: Quality, made: Subtracted, *, reference: Reference, has_sky: bool) -> tuple[float, Quality]:
    """Flux of one electron [uJy], by the reference's zero point where it has one; the quality with zero point, depth and flags."""
    zero, error = reference.zero_point + 2.5 * math.log10(made.scale), 2.5 / math.log(10) * made.scale_err / made.scale
    if not math.isfinite(zero):
        zero, error = quality.zero_point, quality.zero_point_err
    if not math.isfinite(zero):
        raise FrameError("no_zero_point", "neither the reference nor a catalogue gives the magnitude of an electron")
    unit = microjansky(zero)
    noise = np.asarray(to_host(made.difference.noise))[::8, ::8]
    flags = (*quality.flags, *(() if has_sky else ("no_wcs",)), *(("few_stars",) if made.in_common < FEW_STARS else ()))
    limit = SIGNIFICANCE * float(np.median(noise[np.isfinite(noise)])) * unit
    return unit, replace(quality, zero_point=zero, zero_point_err=error, limit=limit, flags=tuple(dict.fromkeys(flags)))


def _associated(found: Candidates, listed: Placed, *, sky: Sky | None, quality: Quality) -> tuple[dict[int, int], I64, Quality]:
    """Row of a listed position → its candidate; candidates of new positions; the quality. Without a sky nothing is an alert."""
    if sky is None:
        return {}, np.zeros(0, np.int64), quality
    chosen = np.flatnonzero(found.accepted)
    if len(chosen) > MOST_ALERTS:
        chosen = np.sort(chosen[np.argsort(-np.abs(found.snr[chosen]), kind="stable")[:MOST_ALERTS]])
        quality = replace(quality, flags=(*quality.flags, "many_candidates"))
    yx = np.stack([found.y, found.x], axis=1)[chosen]
    of_listed, new = associated(yx, found.snr[chosen], listed=listed.yx, radius=SAME / sky.scale)
    return {k: int(chosen[c]) for k, c in enumerate(of_listed.tolist()) if c >= 0}, chosen[new], quality


def _new(found: Candidates, new: I64, *, sky: Sky | None, frame: RawFrame) -> tuple[PhotometryPosition, ...]:
    """The positions of new candidates."""
    if sky is None or not len(new):
        return ()
    ra, dec = sky.to_sky(np.stack([found.y[new], found.x[new]], axis=1))
    return tuple(
        new_position(float(a), float(d), field=frame.field, frame_id=frame.frame_id, mjd=frame.mjd, public=frame.public)
        for a, d in zip(ra, dec, strict=True)
    )


def _photometry(
    frame: RawFrame,
    made: Subtracted,
    *,
    every: Placed,
    at: F64,
    candidate: Mapping[int, int],
    found: Candidates,
    quality: Quality,
    unit: float,
) -> dict[int, PhotometryMeasured]:
    """Row of a position → its flux, where it can be measured. What differs from frame to frame is part of its error: the flux scale's."""
    flux, error = forced(made.difference, at)
    for row, c in candidate.items():  # a masked pixel at the listed place, and the source seen beside it
        if not math.isfinite(flux[row]):
            flux[row], error[row] = found.flux[c], found.flux_err[c]
    error = np.hypot(error, flux * made.scale_err / made.scale)
    bits = np.bitwise_or.reduce(mask_near(np.asarray(to_host(made.difference.mask)), at), axis=(1, 2)).tolist()
    return {
        k: PhotometryMeasured(
            position=position.name,
            frame_id=frame.frame_id,
            detector=frame.detector,
            mjd=frame.mjd,
            filter=frame.filter,
            flux=float(flux[k]) * unit,
            flux_err=float(error[k]) * unit,
            limit=quality.limit,
            detected=k in candidate,
            mask=bits[k],
            flags=quality.flags,
            public=frame.public and (position.public or (k in candidate and position.origin == FOUND)),
        )
        for k, position in enumerate(every.positions)
        if math.isfinite(flux[k]) and math.isfinite(error[k]) and error[k] > 0
    }


def _becomes_public(position: PhotometryPosition, frame: RawFrame) -> bool:
    """Whether a public frame now shows by itself what only private ones had: its packet is public, and holds nothing of those."""
    return frame.public and not position.public and position.origin == FOUND


def _packets(
    scene: Scene,
    every: Placed,
    *,
    sky: Sky,
    candidate: Mapping[int, int],
    measured: Mapping[int, PhotometryMeasured],
    histories: Mapping[str, Sequence[PhotometryMeasured]],
    coverage: Sequence[CalibratedFrame],
) -> tuple[Packet, ...]:
    frame = scene.frame
    rows = sorted(row for row in candidate if row in measured)
    if not rows:
        return ()
    yx = every.yx[rows]
    ra, dec = sky.to_sky(yx)
    limits = limits_of(row for rows_there in histories.values() for row in rows_there)
    earlier = {public: Coverage(coverage, limits=limits, before=frame.mjd, public=public) for public in (True, False)}
    objects, befores = [], []
    for k, row in enumerate(rows):
        position, own = every.positions[row], measured[row]
        if position.ra is not None and position.dec is not None:
            ra[k], dec[k] = position.ra, position.dec
        if _becomes_public(position, frame):
            position = replace(position, first_mjd=None)
        objects.append((position, own, candidate[row]))
        befores.append(
            history(
                histories.get(position.name, ()),
                coverage=earlier[own.public].at(float(ra[k]), float(dec[k])),
                frame=(frame.frame_id, frame.detector),
                mjd=frame.mjd,
                public=own.public,
            )
        )
    return packets_of(scene, objects, yx=yx, places=(ra, dec), histories=befores)
