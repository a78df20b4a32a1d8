"""Calibrated frames of a field → its reference image: on the pixels of the best of them, on its flux scale, outliers left out.

in → calibrated files of one field, filter and detector
out → `Built`: the `Reference`, and which frames were left out, each with why

Frames are registered by their stars, scaled by their stars' fluxes and weighted by the noise of their skies. A pixel of a frame is left out
where it differs from the median of all by more than its noise and the frames' different PSFs explain.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import numpy.typing as npt

from data.frames.calibrated_file import CalibratedFile
from data.frames.frame_error import FrameError
from data.frames.sky_positions import sky_map
from operators.images.background import background
from operators.images.planes import NO_DATA, UNUSABLE, Reference, Stars
from operators.images.psf import psf_of
from operators.images.register import aligned, apply, map_between, match, offset_between
from operators.images.stars import positions, stars
from operators.images.zero_point import flux_scale
from operators.types import F32, F64

LEAST_FRAMES = 3
"""Of a reference: with fewer a moving or new object cannot be distinguished from the field."""
LEAST_STARS = 5
"""In common with the best frame."""
LEAST_OF_PSF = 3
"""Isolated stars of a frame."""
BRIGHTEST = 20
"""Stars whose light, over the noise in their discs, says how good a frame is."""
FARTHEST = 300.0
"""How far a frame without world coordinates may be shifted [pixel]."""
NEAR = 3.0
"""Of a star that is the same in two frames [pixel]."""
MOST_SCATTER = 0.5
"""[pixel] of the stars that registered a frame."""
MOST_SEEING = 2.0
"""A frame whose stars are so many times as wide as the best frame's is left out."""
MOST_NOISE = 4.0
"""And one whose sky is so many times as noisy, at the same flux scale."""
CLIP = 4.0
"""[sigma] beyond which a pixel is left out."""
OF_LIGHT = 0.3
"""Share of a pixel's light by which frames of different seeing may differ too."""
ROWS = 1 << 21
"""Pixels that are combined at a time."""

I64 = npt.NDArray[np.int64]


@dataclass(frozen=True, slots=True)
class Built:
    """A reference, and what it was made of."""

    reference: Reference
    used: tuple[str, ...]
    """Names of the frames."""
    left_out: dict[str, str]
    """Frame → why."""
    clipped: dict[str, float]
    """Frame → share of its usable pixels that was left out."""

    def history(self) -> tuple[str, ...]:
        """Lines of HISTORY."""
        lines = [f"mean of {len(self.used)} frames, clipped at {CLIP:g} sigma"]
        lines += [f"of {name}: {self.clipped[name]:.2%} of its pixels left out" for name in self.used]
        return (*lines, *(f"left out {name}: {why}" for name, why in self.left_out.items()))


@dataclass(frozen=True, slots=True)
class _Frame:
    """A frame with its sky taken out."""

    file: CalibratedFile
    name: str
    image: F32
    mask: npt.NDArray[np.uint8]
    noise: float
    stars: Stars
    seeing: float
    psf: F32


def build_reference(frames: Sequence[CalibratedFile]) -> Reference:
    """The reference of calibrated frames, see `build`."""
    return build(frames).reference


def build(frames: Sequence[CalibratedFile], *, progress: Callable[[int, int], None] | None = None) -> Built:
    """Combine calibrated frames of one field, filter and detector.

    Parameters
    ----------
    frames : sequence of CalibratedFile
    progress : callable, optional
        Called with frames done and frames to do.

    Raises
    ------
    FrameError
        `wrong_shape`: they are not of one field, filter and detector. `bad_frame`: fewer than `LEAST_FRAMES` can be used, and why.
    """
    kinds = {(f.raw.field, f.raw.filter, f.raw.detector) for f in frames}
    if len(kinds) > 1:
        said = "; ".join(" ".join(part or "unnamed" for part in kind) for kind in sorted(kinds))
        raise FrameError("wrong_shape", f"a reference is of one field, filter and detector, not of {said}")
    left_out: dict[str, str] = {}
    usable: list[_Frame] = []
    for k, file in enumerate(frames):
        found = _measured(file)
        if isinstance(found, _Frame):
            usable.append(found)
        else:
            left_out[_name(file)] = found
        if progress:
            progress(k + 1, 2 * len(frames))
    if not usable:
        raise _too_few(usable, left_out)
    best = max(usable, key=lambda f: (float(np.median(f.stars.flux[:BRIGHTEST])) / (f.noise * f.seeing), f.name))
    planes: list[tuple[_Frame, F32, npt.NDArray[np.uint8], float]] = []
    for k, frame in enumerate(usable):
        placed = _placed(frame, best)
        if isinstance(placed, str):
            left_out[frame.name] = placed
        else:
            planes.append((frame, *placed))
        if progress:
            progress(len(frames) + k + 1, 2 * len(frames))
    if len(planes) < LEAST_FRAMES:
        raise _too_few([plane[0] for plane in planes], left_out)
    mean, mask, clipped, depth = _combined(planes, best)
    names = [plane[0].name for plane in planes]
    reference = _finished(mean, mask, best=best, depth=depth, public=all(plane[0].file.raw.public for plane in planes))
    return Built(reference, tuple(names), left_out, dict(zip(names, clipped, strict=True)))


def _name(file: CalibratedFile) -> str:
    return f"{file.raw.frame_id} {file.digest[:12]}".strip()


def _too_few(usable: Sequence[_Frame], left_out: dict[str, str]) -> FrameError:
    why = "; ".join(f"{name}: {said}" for name, said in left_out.items()) or "no more were given"
    return FrameError("bad_frame", f"{len(usable)} frames can be combined, a reference needs {LEAST_FRAMES} ({why})")


def _measured(file: CalibratedFile) -> _Frame | str:
    """A frame without its sky, with its stars; or why it cannot be used."""
    image, mask = np.asarray(file.calibrated.science, np.float32), np.asarray(file.calibrated.mask, np.uint8)
    level, noise, _ = background(image, mask)
    if not noise > 0:
        return "no sky can be measured"
    image = np.asarray(image - level, np.float32)
    found = stars(image, noise, mask=mask)
    isolated = found.flags == 0
    if isolated.sum() < LEAST_OF_PSF:
        return f"{int(isolated.sum())} isolated stars"
    try:
        psf = np.asarray(psf_of(image, found), np.float32)
    except ValueError as error:
        return str(error)
    return _Frame(file, _name(file), image, mask, float(noise), found, float(np.median(found.fwhm[isolated])), psf)


def _start(frame: _Frame, best: _Frame) -> F64:
    """Where the best frame's stars are to be looked for in another frame, (k, 2)."""
    there = positions(best.stars)
    one, other = sky_map(best.file.raw.wcs, best.image.shape), sky_map(frame.file.raw.wcs, frame.image.shape)
    if one is not None and other is not None:
        there = np.asarray(other.to_pixels(*one.to_sky(there)), np.float64)
        there[~np.isfinite(there)] = -1e9
        near = offset_between(there, positions(frame.stars), within=30.0)  # what is left of a pointing's error
    else:
        near = offset_between(there, positions(frame.stars), within=FARTHEST)
    return np.asarray(there + near, np.float64)


def _placed(frame: _Frame, best: _Frame) -> tuple[F32, npt.NDArray[np.uint8], float] | str:
    """A frame on the best one's pixels, its mask, and its flux scale; or why not."""
    if frame is best:
        return frame.image, frame.mask, 1.0
    if frame.seeing > MOST_SEEING * best.seeing:
        return f"stars of {frame.seeing:.1f} pixel, the best frame's have {best.seeing:.1f}"
    start = _start(frame, best)
    i, j = match(start, positions(frame.stars), radius=NEAR)
    if len(i) < LEAST_STARS:
        return f"{len(i)} stars in common with {best.name}"
    to_frame = map_between(positions(best.stars)[i], positions(frame.stars)[j])
    i, j = match(apply(to_frame, positions(best.stars)), positions(frame.stars), radius=NEAR)
    if len(i) < LEAST_STARS:
        return f"{len(i)} stars in common with {best.name}"
    off = np.hypot(*(apply(to_frame, positions(best.stars)[i]) - positions(frame.stars)[j]).T)
    if float(np.median(off)) > MOST_SCATTER:
        return f"its stars lie {float(np.median(off)):.2f} pixel beside those of {best.name}"
    try:
        scale, _ = flux_scale(frame.stars, best.stars, pairs=(j, i), psf=frame.psf, reference_psf=best.psf)
    except ValueError as error:
        return str(error)
    if not 0.01 < scale < 100:
        return f"its flux scale is {scale:.3g} of {best.name}'s"
    if frame.noise / scale > MOST_NOISE * best.noise:
        return f"its sky is {frame.noise / scale / best.noise:.1f} times as noisy as {best.name}'s"
    image, mask = aligned(frame.image, frame.mask, affine=to_frame, shape=best.image.shape)
    return np.asarray(image, np.float32) / np.float32(scale), np.asarray(mask, np.uint8), scale


def _combined(
    planes: Sequence[tuple[_Frame, F32, npt.NDArray[np.uint8], float]], best: _Frame
) -> tuple[F32, npt.NDArray[np.uint8], list[float], float]:
    """The weighted mean without outliers, its mask, the share left out of each frame, and of how many exposures of the best it is worth."""
    noise = np.array([frame.noise / scale for frame, _, _, scale in planes], np.float32)
    gain = np.array([1 / scale for *_, scale in planes], np.float32)  # an electron of the frame in those of the best
    weight = (1 / noise**2)[:, None, None]
    h, width = best.image.shape
    mean, mask = np.zeros((h, width), np.float32), np.zeros((h, width), np.uint8)
    left, there = np.zeros(len(planes)), np.zeros(len(planes))
    step = max(ROWS // (width * len(planes)), 1)
    for y in range(0, h, step):
        rows = slice(y, min(y + step, h))
        values = np.stack([image[rows] for _, image, _, _ in planes])
        bits = np.stack([plane[rows] for _, _, plane, _ in planes])
        good = ((bits & UNUSABLE) == 0) & np.isfinite(values)
        middle = _median(values, good)
        light = np.maximum(middle, 0)
        sigma = np.sqrt(noise[:, None, None] ** 2 + light * gain[:, None, None])
        keep = good & (np.abs(values - middle) <= CLIP * sigma + np.float32(OF_LIGHT) * light)
        total = np.where(keep, weight, np.float32(0))
        sums = total.sum(0)
        some = sums > 0
        mean[rows] = np.divide((np.where(keep, values, 0) * total).sum(0), sums, out=np.zeros_like(sums), where=some)
        mask[rows] = np.where(some, 0, np.bitwise_or.reduce(bits, axis=0) & UNUSABLE | NO_DATA)
        left += (good & ~keep).sum((1, 2))
        there += good.sum((1, 2))
    shares = [float(n) for n in left / np.maximum(there, 1)]
    w = weight[:, 0, 0].astype(np.float64)
    return mean, mask, shares, float(w.sum() ** 2 / (w**2 * gain).sum())


def _median(values: F32, good: npt.NDArray[np.bool_]) -> F32:
    """The median of the good values along the first axis; 0 where there are none."""
    ordered = np.sort(np.where(good, values, np.float32(np.inf)), axis=0)
    count = good.sum(0)
    low = np.take_along_axis(ordered, np.maximum((count - 1) // 2, 0)[None], axis=0)[0]
    high = np.take_along_axis(ordered, np.minimum(count // 2, len(values) - 1)[None], axis=0)[0]
    high = np.where(count > 0, high, 0)
    low = np.where(count > 0, low, 0)
    return np.asarray((low + high) / 2, np.float32)


def _finished(mean: F32, mask: npt.NDArray[np.uint8], *, best: _Frame, depth: float, public: bool) -> Reference:
    """Stars, PSF and noise of the combined image."""
    level, noise, _ = background(mean, mask)
    image = np.asarray(mean - level, np.float32)
    image[(mask & UNUSABLE) != 0] = 0
    found = stars(image, noise, mask=mask)
    raw, quality = best.file.raw, best.file.quality
    try:
        psf: Any = psf_of(image, found)
    except ValueError as error:
        raise FrameError("bad_frame", f"the combined image has no PSF: {error}") from None
    zero = quality.zero_point if math.isfinite(quality.zero_point) else math.nan
    return Reference(
        image, mask, np.asarray(psf, np.float32), float(noise), zero, found, raw.wcs, raw.field, raw.filter, raw.detector, depth=depth,
        public=public,
    )  # fmt: skip
