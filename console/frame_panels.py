"""The object of a run that shows most → what its picture is made of: the frame where it is brightest, and its light curve.

The difference is made anew from the calibrated file that the stream wrote, by the same pure function.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING
from urllib.parse import unquote, urlsplit

import numpy as np

from console.frame_files import MadeFrame
from console.frame_outcome import FrameCounts
from data.simulate.frames.exposure_plan import Exposure, Plan
from data.simulate.frames.observing_run import ObservingRun, TrueFlux, wavelength_of
from evaluation.frame_truth import SAME_TIME, FrameScores
from settings.raw_frames import references_folder

if TYPE_CHECKING:
    from evaluation.frame_picture import Measurements, Panels
    from settings.model import Settings

FULL = 8.0
"""Expected signal-to-noise from which an object that was not found is marked."""
STEPS = 400
"""Of the true light curve."""


def panels_of(counts: FrameCounts, scores: FrameScores, *, made: Sequence[MadeFrame], settings: Settings, plan: Plan) -> Panels | None:
    """What to draw; None where nothing was found."""
    from data.frames.calibrated_file import read
    from data.frames.fits_image import read_frame
    from data.frames.reference_file import ReferencesFolder
    from data.frames.sky_positions import sky_map
    from evaluation.frame_picture import Panels
    from operators.images.subtract import prepare
    from pipeline.frames import alerts

    best = _best(scores)
    if best is None:
        return None
    frame = next(m for m in made if (m.frame_id, m.detector) == (best.frame_id, best.detector))
    announced = counts.announced[best.frame_id, best.detector]
    file = read(Path(unquote(urlsplit(announced.uri).path)))
    raw, shape = file.raw, file.calibrated.science.shape
    reference = ReferencesFolder(references_folder(settings)).of(
        raw.field, raw.filter, detector=raw.detector, wcs=raw.wcs, shape=(shape[0], shape[1])
    )
    done = alerts(raw, file.calibrated, file.quality, reference=prepare(reference))
    sky = sky_map(reference.wcs, reference.image.shape)
    if done.subtracted is None or sky is None:
        return None
    here = [(f, m >= 0) for f, m in zip(scores.found, scores.matched, strict=True) if f.real and f.filter == best.filter
            and abs(f.mjd - best.mjd) < SAME_TIME]  # fmt: skip
    seen = scores.seen()
    missed = [t for k, t in enumerate(scores.truth) if (t.frame_id, t.detector) == (best.frame_id, best.detector) and k not in seen
              and t.measurable and abs(t.snr) >= FULL]  # fmt: skip
    yx = sky.to_pixels(np.array([f.ra for f, _ in here]), np.array([f.dec for f, _ in here]))
    inside = np.all((yx > 0) & (yx < np.array(reference.image.shape)), axis=1)
    at_missed = sky.to_pixels(np.array([t.ra for t in missed]), np.array([t.dec for t in missed]))
    own = sky.to_pixels(np.array([best.ra]), np.array([best.dec]))[0]
    kind = best.kind if best.kind.lower() in best.label else f"{best.label} ({best.kind})"
    return Panels(
        title=f"{best.object_id}, {kind}, in {frame.path.name}: expected S/N {best.snr:.0f}; all of it through Kafka",
        raw=np.asarray(read_frame(frame.path).data),
        science=np.asarray(file.calibrated.science),
        mask=np.asarray(file.calibrated.mask),
        difference=np.asarray(done.subtracted.difference.difference),
        template=np.asarray(reference.image),
        at=(float(own[0]), float(own[1])),
        found=[(float(y), float(x), true) for (y, x), (_, true), use in zip(yx, here, inside, strict=True) if use],
        missed=[(float(y), float(x)) for y, x in at_missed],
        curves=_curves(counts, scores, best=best, run=ObservingRun(plan)),
        scores=scores,
    )


def _best(scores: FrameScores) -> TrueFlux | None:
    """Of the hosted transients that were found most often the frame of the highest signal-to-noise that is not a star."""
    seen = [scores.truth[k] for k in sorted(scores.seen())]
    often = Counter(t.object_id for t in seen if t.hosted and t.flux > 0) or Counter(t.object_id for t in seen)
    if not often:
        return None
    most = max(often.values())
    wanted = [t for t in seen if often[t.object_id] >= 0.8 * most and abs(t.snr) < 150] or seen
    return max(wanted, key=lambda t: abs(t.snr))


def _curves(counts: FrameCounts, scores: FrameScores, *, best: TrueFlux, run: ObservingRun) -> list[Measurements]:
    from evaluation.frame_picture import Measurements

    names = {f.object_id for f, m in zip(scores.found, scores.matched, strict=True)
             if m >= 0 and scores.truth[m].object_id == best.object_id}  # fmt: skip
    injected = next(o for field in run.star_fields.values() for o in field.injected if o.object_id == best.object_id)
    planned = [e for e in run.exposures() if e.frame_id == best.frame_id]
    out = []
    for band in run.plan.filters:
        rows = sorted((m for m in counts.measured if m.position in names and m.filter == band), key=lambda m: m.mjd)
        if not rows:
            continue
        mjd = np.array([m.mjd for m in rows])
        fine = np.linspace(mjd.min() - 1, mjd.max() + 1, STEPS)
        base = float(np.median(injected.flux(_reference_times(run, planned[0], band=band), wavelength_of(band))))
        out.append(
            Measurements(
                band, mjd, np.array([m.flux for m in rows]), np.array([m.flux_err for m in rows]),
                fine, injected.flux(fine, wavelength_of(band)) - base,
            )
        )  # fmt: skip
    return out


def _reference_times(run: ObservingRun, exposure: Exposure, *, band: str) -> np.ndarray:
    from dataclasses import replace

    return run.reference_times(replace(exposure, filter=band))
