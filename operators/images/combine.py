"""Frames of one kind → their clipped mean, its variance, and how much of each frame was left out; masters of such means.

frames n x (h, w), on one scale → mean, variance (h, w), counts (n,)

A pixel's values are clipped about their median. How far they may lie from it is a number of times their own spread, or the spread that such
pixels have in the whole image, whichever is larger: three or five values know their own badly, and would clip each other.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import Any

import numpy as np
import numpy.typing as npt

from operators.images.planes import BAD, FrameKind, Masters
from operators.kernels.clipped_mean import clipped, medians
from operators.namespace import array_namespace
from operators.types import Array

LEAST_FLAT = 0.05
"""Below it a flat (mean 1) cannot be divided by."""
_OF_FEW = {1: 1.0, 2: 1.196, 3: 1.495, 4: 1.363, 5: 1.206, 6: 1.200, 7: 1.140, 8: 1.129, 9: 1.107}
"""What the median deviation of so few values is multiplied by (Croux & Rousseeuw 1992, COMPSTAT 1, 411)."""


def combine(frames: Sequence[Array], *, kind: FrameKind, clip: float = 3.0) -> tuple[Array, Array, Array]:
    """Combine frames with clipping.

    Parameters
    ----------
    frames : n x (h, w)
        On one scale: biases without their level, darks as rates, flats over the level of their light. What is not finite takes no part.
    kind : {"bias", "dark", "flat", "science"}
        The spread that is usual goes with the square root of the light in flats and science frames, and is the same everywhere in others.
    clip : float
        [sigma] from the median.

    Returns
    -------
    (h, w) float32, (h, w) float32, (n,) int64
        Mean and its variance, NaN where no value is finite (variance: where one only is left); pixels that clipping left out of each frame.

    Raises
    ------
    ValueError
        No frames, or of different shapes.
    """
    if not len(frames):
        raise ValueError("nothing to combine")
    shapes = {tuple(frame.shape) for frame in frames}
    if len(shapes) > 1 or len(next(iter(shapes))) != 2:
        raise ValueError(f"frames of one shape of two axes are needed, not {sorted(shapes)}")
    if not clip > 0:
        raise ValueError(f"clip is {clip}, not a positive number")
    xp = array_namespace(*frames)
    light = kind in ("flat", "science")
    if xp is not np:
        return combine_array(frames, light=light, clip=clip)
    shape = next(iter(shapes))
    cube = np.stack([np.asarray(frame, np.float32) for frame in frames]).reshape(len(frames), -1)
    median, spread, mean, variance = (np.empty(cube.shape[1], np.float32) for _ in range(4))
    left_out = np.zeros(len(frames), np.int64)
    medians(cube, np.float32(_sigma_of_mad(len(frames))), median, spread)
    reach = _reach(median, spread, light=light, clip=clip)
    clipped(cube, median, reach, mean, variance, left_out)
    return mean.reshape(shape), variance.reshape(shape), left_out


def combine_array(frames: Sequence[Array], *, light: bool, clip: float) -> tuple[Array, Array, Array]:
    """As `combine` in the array standard: the oracle of the kernel, and what other namespaces run."""
    xp = array_namespace(*frames)
    cube = xp.stack([xp.astype(frame, xp.float32) for frame in frames])
    there = xp.isfinite(cube)
    zero, nan = xp.zeros_like(cube), xp.full_like(cube[0, ...], math.nan)
    median = _middle(cube, there)
    spread = _middle(xp.abs(xp.where(there, cube, zero) - median), there) * float(np.float32(_sigma_of_mad(len(frames))))
    reach = xp.reshape(_reach(xp.reshape(median, (-1,)), xp.reshape(spread, (-1,)), light=light, clip=clip), median.shape)
    kept = there & (xp.abs(xp.where(there, cube, zero) - median) <= reach)
    value = xp.astype(xp.where(kept, cube, zero), xp.float64)
    count = xp.sum(xp.astype(kept, xp.int64), axis=0)
    number = xp.astype(count, xp.float64)
    average = xp.sum(value, axis=0) / xp.clip(number, 1.0, None)
    off = xp.where(kept, value - average, xp.zeros_like(value))
    variance = xp.sum(off * off, axis=0) / xp.clip(number - 1.0, 1.0, None) / xp.clip(number, 1.0, None)
    left_out = xp.sum(xp.sum(xp.astype(there & ~kept, xp.int64), axis=2), axis=1)
    mean = xp.where(count > 0, xp.astype(average, xp.float32), nan)
    return mean, xp.where(count > 1, xp.astype(variance, xp.float32), nan), left_out


def masters_of(*, bias: Array, dark: Array, flat: Array, bad: Array | None = None, ids: tuple[str, ...] = ()) -> Masters:
    """Masters of images of one shape.

    Parameters
    ----------
    bias, dark, flat : (h, w)
        [ADU] without the overscan's level, [ADU/s], mean 1.
    bad : (h, w) uint8, optional
        Bits of the mask.

    Notes
    -----
    BAD is where the flat is not above `LEAST_FLAT`, and where an image is not finite, which is 0 then: a master never holds a NaN.
    """
    xp = array_namespace(bias, dark, flat)
    usable = xp.isfinite(flat) & (flat > LEAST_FLAT)
    there = usable & xp.isfinite(bias) & xp.isfinite(dark)
    images = []
    for image in (bias, dark):
        image = xp.astype(image, xp.float32)
        images.append(xp.where(xp.isfinite(image), image, xp.zeros_like(image)))
    flat = xp.astype(flat, xp.float32)
    inverse = xp.where(usable, 1.0 / xp.where(usable, flat, xp.ones_like(flat)), xp.zeros_like(flat))
    lost = xp.astype(~there, xp.uint8) * BAD
    return Masters(images[0], images[1], inverse, lost if bad is None else bad | lost, ids)


def _sigma_of_mad(n: int) -> float:
    return 1.4826 * _OF_FEW.get(n, n / (n - 0.8))


def _reach(median: Array, spread: Array, *, light: bool, clip: float) -> Array:
    """(p,) how far from the median a value may lie."""
    xp = array_namespace(median)
    usual = _finite_middle(xp, spread)
    floor = xp.zeros_like(spread) + usual
    level = _finite_middle(xp, median)
    if light and level > 0:
        relative = xp.where(xp.isfinite(median), median, xp.zeros_like(median)) / level
        floor = floor * xp.sqrt(xp.clip(relative, 0.0, None))
    return xp.where(spread > floor, spread, floor) * clip


def _finite_middle(xp: Any, values: Any) -> float:
    """The lower median of the finite values of (p,), 0 of none."""
    there = xp.isfinite(values)
    n = int(xp.sum(xp.astype(there, xp.int64)))
    if n == 0:
        return 0.0
    infinite = xp.full_like(values, math.inf)
    filled = xp.where(there, values, infinite)
    if xp is np:
        partitioned: npt.NDArray[Any] = np.partition(filled, (n - 1) // 2)
        return float(partitioned[(n - 1) // 2])
    return float(xp.sort(filled)[(n - 1) // 2])


def _middle(cube: Any, there: Any) -> Any:
    """(h, w) medians along the first axis of what is there, NaN of none."""
    xp = array_namespace(cube)
    count = xp.sum(xp.astype(there, xp.int64), axis=0)[None, ...]
    ordered = xp.sort(xp.where(there, cube, xp.full_like(cube, math.inf)), axis=0)
    lower = xp.take_along_axis(ordered, xp.clip((count - 1) // 2, 0, None), axis=0)
    upper = xp.take_along_axis(ordered, xp.clip(count // 2, None, cube.shape[0] - 1), axis=0)
    lower, upper = xp.where(count > 0, lower, xp.zeros_like(lower)), xp.where(count > 0, upper, xp.zeros_like(upper))
    return xp.where(count > 0, (lower + upper) * 0.5, xp.full_like(lower, math.nan))[0, ...]
