"""Calibrated planes → what a frame has that is not light of the sky: charge that ran along columns, trails of satellites; shares of a mask.

science, variance, mask (h, w) → bits of the mask

A trail is sought as a straight line across the frame: significance in bins, clipped so that no star counts for more than a few of them,
summed along all lines by halves (Götz & Druck 1995; Brady 1998, SIAM J. Comput. 27, 107: N^2 log N additions). What stands out is looked at
once more in pixels: most parts of it must be bright against what lies beside them, so that a galaxy or a star's spike is not a trail, and
they say where it lies and how wide it is.
"""

from __future__ import annotations

import math
from functools import lru_cache
from typing import Any, NamedTuple

import numpy as np
import numpy.typing as npt

from operators.images.background import background
from operators.images.planes import SATURATED, TRAIL, UNUSABLE
from operators.kernels.bleeding import BESIDE, REACH, SIGMA, follow_columns
from operators.kernels.laplacian import RUN
from operators.namespace import array_namespace, to_host
from operators.types import F64, Array

MOST_BINS = 256
"""Of a frame's longer side."""
BRIGHTEST = 3.0
"""[sigma] that a bin counts for, at most."""
LEAST_SUM = 9.0
"""[sigma] of the sum along a line, from which it is looked at."""
LEAST_COVERED = 0.7
"""Share of a line's parts that are bright."""
EVEN = 0.15
"""Of the brightest parts, that a part must reach: a satellite shines evenly, a galaxy does not."""
TRIES = 4
HALF_WIDTH = 24
"""[pixel] around a line that are looked at."""
_PART = 64
"""[pixel] of a line's parts, along it."""


class _Line(NamedTuple):
    """Points (y, x) with y sin + x cos = at, in pixels."""

    sin: float
    cos: float
    at: float


def share_of(mask: Array, bit: int) -> float:
    """The share of pixels that have any of the bits."""
    xp = array_namespace(mask)
    return float(xp.sum(xp.astype((mask & bit) != 0, xp.int64))) / max(math.prod(mask.shape), 1)


def bleeding(science: Array, variance: Array, *, mask: Array) -> Array:
    """Grow SATURATED along columns by what charge ran into without filling it.

    Parameters
    ----------
    science, variance : (h, w) float32
        [e-], [e-^2]
    mask : (h, w) uint8

    Returns
    -------
    (h, w) uint8
        SATURATED beyond the ends of runs of saturated pixels in a column, as far as it is brighter than what lies beside it; else 0.
    """
    xp = array_namespace(science, variance, mask)
    if xp is not np:
        return bleeding_array(science, variance, mask=mask)
    planes = [np.ascontiguousarray(a, dtype).view() for a, dtype in ((science, np.float32), (variance, np.float32), (mask, np.uint8))]
    for plane in planes:
        plane.flags.writeable = False
    out = np.zeros(planes[2].shape, np.uint8)
    follow_columns(*planes, out)
    return out


def bleeding_array(science: Array, variance: Array, *, mask: Array) -> Array:
    """As `bleeding` in the array standard: the oracle of the kernel, and what other namespaces run."""
    xp = array_namespace(science)
    saturated = (mask & SATURATED) != 0
    run = saturated
    for step in range(1, RUN):
        run = run & _down(saturated, step)
    reached = run
    for step in range(1, RUN):
        reached = reached | _down(run, -step)
    beside = xp.full((science.shape[0], BESIDE), -math.inf, dtype=science.dtype)
    if science.shape[1] <= BESIDE or not bool(xp.any(reached)):
        return xp.zeros_like(mask)
    around = xp.maximum(xp.concat([beside, science[:, :-BESIDE]], axis=1), xp.concat([science[:, BESIDE:], beside], axis=1))
    bright = ~saturated & xp.isfinite(around) & (science - xp.where(xp.isfinite(around), around, science) > SIGMA * xp.sqrt(variance))
    grown = xp.zeros_like(saturated)
    for step in (1, -1):
        edge = reached
        for _ in range(REACH):
            edge = _down(edge, step) & bright
            if not bool(xp.any(edge)):
                break
            grown = grown | edge
    return xp.astype(grown, xp.uint8) * SATURATED


def _down(plane: Any, step: int) -> Any:
    """Each pixel gets what lies `step` rows below it, false beyond the border."""
    xp = array_namespace(plane)
    h, w = plane.shape
    step = max(min(step, h), -h)
    none = xp.zeros((abs(step), w), dtype=plane.dtype)
    return xp.concat([plane[step:, :], none], axis=0) if step >= 0 else xp.concat([none, plane[:step, :]], axis=0)


def trail(science: Array, mask: Array, *, noise: float, level: Array | float | None = None) -> Array:
    """Find the trails of satellites and aeroplanes.

    Parameters
    ----------
    science : (h, w) float32
        [e-]
    mask : (h, w) uint8
        Unusable pixels take no part.
    noise : float
        Of the background [e-/pixel].
    level : (h, w) or float, optional
        The background [e-]; None: measured.

    Returns
    -------
    (h, w) uint8
        TRAIL where one is, else 0.
    """
    xp = array_namespace(science, mask)
    h, w = science.shape
    found = xp.zeros(mask.shape, dtype=xp.uint8)
    if min(h, w) < 2 * _PART or not (noise > 0 and math.isfinite(noise)):
        return found
    sky: Any = background(science, mask)[0] if level is None else level
    good = ((mask & UNUSABLE) == 0) & xp.isfinite(science)
    image = xp.where(good, (science - sky) / noise, xp.zeros_like(science))
    side = -(-max(h, w) // MOST_BINS)
    bins = _binned(image, good, side=side)
    for _ in range(TRIES):
        line = _brightest_line(bins, side=side)
        if line is None:
            break
        measured = _measured(image, good, line=line)
        bins = xp.where(_near(bins.shape, line, reach=1.0 + 8 / side, side=side, like=bins), xp.zeros_like(bins), bins)
        if measured is not None:
            line, half = measured
            found = found | xp.astype(_near(science.shape, line, reach=half, side=1, like=science), xp.uint8) * TRAIL
    return found


def _binned(image: Any, good: Any, *, side: int) -> Any:
    """Significance of squares of pixels, clipped, with mean 0 and spread 1."""
    xp = array_namespace(image)
    h, w = image.shape[0] // side, image.shape[1] // side
    sums = _in_squares(image[: h * side, : w * side], side)
    count = _in_squares(xp.astype(good[: h * side, : w * side], xp.float32), side)
    q = xp.clip(sums / xp.sqrt(xp.clip(count, 1.0, None)), -BRIGHTEST, BRIGHTEST)
    valid = count > side * side / 4
    n = max(float(xp.sum(xp.astype(valid, xp.float32))), 1.0)
    zero = xp.zeros_like(q)
    mean = float(xp.sum(xp.where(valid, q, zero))) / n
    off = xp.where(valid, q - mean, zero)
    spread = math.sqrt(float(xp.sum(off * off)) / n)
    return off / max(spread, 1e-6)


def _in_squares(image: Any, side: int) -> Any:
    """Sums of squares of pixels; slices, for a sum along an axis of a few pixels takes five times as long."""
    rows = image[0::side, :]
    for k in range(1, side):
        rows = rows + image[k::side, :]
    out = rows[:, 0::side]
    for k in range(1, side):
        out = out + rows[:, k::side]
    return out


def _brightest_line(bins: Any, *, side: int) -> _Line | None:
    """The line with the largest sum over its noise, in pixels; None: none stands out."""
    xp = array_namespace(bins)
    best, line = LEAST_SUM, None
    for steep in (False, True):
        image = bins if steep else bins.T
        for flipped in (False, True):
            along, across = image.shape
            sums = _sums_of_lines(xp.flip(image, axis=1) if flipped else image)
            z = sums * xp.asarray(_weight_of_lines(along, across), dtype=sums.dtype)
            k = int(xp.argmax(xp.reshape(z, (-1,))))
            value = float(xp.reshape(z, (-1,))[k])
            if value > best:
                best = value
                slope, row = divmod(k, int(z.shape[1]))
                p = int(z.shape[0])
                start, rise = float(row - p), slope / max(p - 1, 1)
                if flipped:
                    start, rise = across - 1 - start, -rise
                centre = (start + 0.5) * side - 0.5 + rise * (0.5 - 0.5 * side)  # of a bin → of its middle pixel
                # across = centre + rise * along
                size = math.hypot(1.0, rise)
                line = _Line(-rise / size, 1 / size, centre / size) if steep else _Line(1 / size, -rise / size, centre / size)
    return line


def _sums_of_lines(image: Any) -> Any:
    """(along, across) → (P, P + across): sums along lines that rise 0 … P - 1 over P columns and begin at row - P; P is a power of two."""
    xp = array_namespace(image)
    along, across = image.shape
    p = 1 << max((along - 1).bit_length(), 0)
    rows = p + across
    padded = xp.concat([xp.zeros((along, p), dtype=image.dtype), image], axis=1)
    if p > along:
        padded = xp.concat([padded, xp.zeros((p - along, rows), dtype=image.dtype)], axis=0)
    parts = [padded]  # by rise: (blocks, rows)
    while parts[0].shape[0] > 1:
        longer = []
        for rise, part in enumerate(parts):
            left, right = part[::2, :], part[1::2, :]
            for step in (rise, rise + 1):
                none = xp.zeros((right.shape[0], step), dtype=right.dtype)
                longer.append(left + xp.concat([right[:, step:], none], axis=1))
        parts = longer
    return xp.concat(parts, axis=0)


@lru_cache(maxsize=8)
def _weight_of_lines(along: int, across: int) -> npt.NDArray[np.float32]:
    """1 over the noise of a line's sum of bins of unit noise; 0 where it crosses less than a quarter of the image."""
    n = np.asarray(_sums_of_lines(np.ones((along, across), np.float32)))
    weight: npt.NDArray[np.float32] = np.where(n >= 0.25 * min(along, across), 1 / np.sqrt(np.maximum(n, 1)), 0).astype(np.float32)
    return weight


def _near(shape: tuple[int, ...], line: _Line, *, reach: float, side: int, like: Any) -> Any:
    """Where the centres of bins of `side` lie within `reach` bins of a line in pixels."""
    xp = array_namespace(like)
    y = xp.arange(shape[0], dtype=xp.float32)[:, None] * side + (side - 1) / 2
    x = xp.arange(shape[1], dtype=xp.float32)[None, :] * side + (side - 1) / 2
    return xp.abs(y * line.sin + x * line.cos - line.at) <= reach * side


def _measured(image: Any, good: Any, *, line: _Line) -> tuple[_Line, float] | None:
    """Where a trail lies and half its width; None: it is not one."""
    strip = _strip(image, good, line=line)
    d = np.arange(-HALF_WIDTH, HALF_WIDTH + 1.0)
    parts = np.array_split(strip, max(len(strip) // _PART, 1))
    at: list[float] = []
    middle: list[float] = []
    peak: list[float] = []
    edge, first = 1.25 / math.sqrt(_PART), 0
    for part in parts:
        there = np.isfinite(part).sum(0) >= len(part) / 3
        if there.sum() > HALF_WIDTH:
            profile = np.full(len(d), np.nan)
            profile[there] = np.nanmedian(part[:, there], axis=0)
            smooth = np.convolve(np.nan_to_num(profile - np.nanmedian(profile)), np.ones(3) / 3, mode="same")
            top = int(np.argmax(smooth))
            bright = (np.abs(d - d[top]) <= 4) & (smooth > 0.5 * smooth[top])
            at.append(first + len(part) / 2)
            middle.append(float((d * smooth)[bright].sum() / max(smooth[bright].sum(), 1e-9)))
            peak.append(float(smooth[top]))
        first += len(part)
    if len(at) < 2:
        return None
    where, offset = np.array(at), np.array(middle)
    seen = np.array(peak) > max(4 * edge / math.sqrt(3), EVEN * float(np.percentile(peak, 90)))
    if seen.sum() < max(LEAST_COVERED * len(where), 2):
        return None
    fit = _robust_line(where[seen], offset[seen])
    near = seen & (np.abs(np.polyval(fit, where) - offset) < 4)
    if near.sum() < max(LEAST_COVERED * len(where), 2):
        return None
    shift = np.polyval(fit, np.arange(len(strip)))  # where the middle lies, from where the line enters the frame
    column = np.rint(d[None, :] + shift[:, None] + HALF_WIDTH).astype(np.int64)
    inside = (column >= 0) & (column < len(d))
    moved = np.where(inside, np.take_along_axis(strip, np.clip(column, 0, len(d) - 1), axis=1), np.nan)
    enough = np.isfinite(moved).sum(0) > _PART
    profile = np.zeros(len(d))
    profile[enough] = np.nanmedian(moved[:, enough], axis=0)
    profile -= np.median(profile[enough]) if enough.any() else 0
    limit = max(5 * 1.25 / math.sqrt(len(strip)), 0.02 * float(profile.max()))
    half = 0
    while half < HALF_WIDTH and max(profile[HALF_WIDTH - half], profile[HALF_WIDTH + half]) > limit:
        half += 1
    return _shifted_line(line, fit, enters=float(_along(line, image.shape)[0])), half + 1.5


def _strip(image: Any, good: Any, *, line: _Line) -> F64:
    """(along, across) values beside a line, NaN where there is none; on the host."""
    xp = array_namespace(image)
    h, w = image.shape
    t, d = _along(line, (h, w)), np.arange(-HALF_WIDTH, HALF_WIDTH + 1.0)
    y = np.rint(line.sin * (line.at + d[None, :]) + line.cos * t[:, None]).astype(np.int64)
    x = np.rint(line.cos * (line.at + d[None, :]) - line.sin * t[:, None]).astype(np.int64)
    inside = (y >= 0) & (y < h) & (x >= 0) & (x < w)
    index = xp.asarray(np.where(inside, y * w + x, 0).reshape(-1))
    values = np.asarray(to_host(xp.take(xp.reshape(image, (-1,)), index)), np.float64).reshape(inside.shape)
    usable = np.asarray(to_host(xp.take(xp.reshape(good, (-1,)), index))).reshape(inside.shape)
    return np.where(inside & usable, values, np.nan)


def _along(line: _Line, shape: tuple[int, ...]) -> F64:
    """Positions along a line, a pixel apart, from where it enters the frame to where it leaves."""
    h, w = shape
    low, high = -math.inf, math.inf
    for start, step, size in ((line.sin * line.at, line.cos, h), (line.cos * line.at, -line.sin, w)):
        if abs(step) > 1e-9:
            ends = sorted((-start / step, (size - 1 - start) / step))
            low, high = max(low, ends[0]), min(high, ends[1])
    return np.arange(low, high) if high - low > 1 else np.zeros(0)


def _robust_line(t: F64, values: F64) -> F64:
    """Slope and start of the line through most of the points: the median of the slopes between pairs (Theil 1950)."""
    i, j = np.triu_indices(len(t), 1)
    slope = float(np.median((values[j] - values[i]) / (t[j] - t[i])))
    return np.array([slope, float(np.median(values - slope * t))])


def _shifted_line(line: _Line, fit: F64, *, enters: float) -> _Line:
    """The line that lies fit[0] (t - enters) + fit[1] beside another."""
    slope, start = float(fit[0]), float(fit[1])
    size = math.hypot(1.0, slope)
    at = line.at + start - slope * enters
    return _Line((line.sin - slope * line.cos) / size, (line.cos + slope * line.sin) / size, at / size)
