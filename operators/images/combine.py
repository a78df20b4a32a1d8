"""Several frames of the same → their mean without outliers; the means → masters.

n × (h, w) → mean (h, w), its variance (h, w), how many pixels of each frame were left out
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from types import MappingProxyType

from operators.images.planes import BAD, Masters
from operators.namespace import array_namespace
from operators.types import Array

LEAST_FLAT = 0.05
"""Of the flat's median: below it a pixel cannot be divided by."""
_SIGMA_OF_MAD = 1.4826
_QUANTUM: Mapping[str, float] = MappingProxyType({"bias": 0.3, "dark": 0.0, "flat": 0.0})
"""Least scatter of a pixel [ADU]: a bias is read in whole numbers, and many read the same one."""


def combine(frames: Sequence[Array], *, kind: str, clip: float = 3.0) -> tuple[Array, Array, list[int]]:
    """Combine frames with clipping.

    A value is left out where it lies further than `clip` from the pixel's median, in the scatter of the pixel (by the median deviation) or
    that of the typical pixel, whichever is larger: of few frames the one is a guess.

    Parameters
    ----------
    frames : sequence of (h, w) float32
        Values that are not finite take no part.
    kind : str
        bias, dark or flat.
    clip : float
        [sigma]

    Returns
    -------
    mean : (h, w) float32
        NaN where no frame has a value.
    variance : (h, w) float32
        Of the mean, by the scatter of what was kept.
    left out : list of int
        Pixels of each frame that clipping left out; those without a value are not counted.
    """
    xp = array_namespace(*frames)
    values = xp.stack([xp.astype(frame, xp.float32) for frame in frames])
    there = xp.isfinite(values)
    middle = _median(values, there)
    apart = xp.abs(values - middle)
    scatter = _median(apart, there) * _SIGMA_OF_MAD
    known = xp.isfinite(scatter)
    flat = xp.sort(xp.reshape(xp.where(known, scatter, xp.full_like(scatter, xp.inf)), (-1,)))
    count = int(xp.sum(xp.astype(known, xp.int64)))
    typical = max(float(flat[max(count // 2, 0)]) if count else 0.0, _QUANTUM.get(kind, 0.0))
    scatter = xp.where(scatter > typical, scatter, xp.full_like(scatter, typical))
    keep = there & (apart <= clip * scatter)
    n = xp.sum(xp.astype(keep, xp.float32), axis=0)
    some = xp.where(n > 0, n, xp.ones_like(n))
    zero = xp.zeros_like(values)
    mean = xp.sum(xp.where(keep, values, zero), axis=0) / some
    square = xp.sum(xp.where(keep, (values - mean) ** 2, zero), axis=0)
    more = xp.where(n > 1, n - 1, xp.ones_like(n))
    variance = xp.where(n > 1, square / more, scatter[0, ...] ** 2) / some
    nothing = xp.full_like(mean, xp.nan)
    left = [int(xp.sum(xp.astype(there[k, ...] & ~keep[k, ...], xp.int64))) for k in range(len(frames))]
    return xp.where(n > 0, mean, nothing), xp.where(n > 0, variance, nothing), left


def masters_of(*, bias: Array, dark: Array, flat: Array, bad: Array | None = None) -> Masters:
    """Masters of images of one shape; a pixel whose flat cannot be divided by is BAD.

    Parameters
    ----------
    bias, dark, flat : (h, w)
        [ADU without its overscan level], [ADU/s], [1, median 1].
    bad : (h, w) uint8, optional
        Bits of the mask.
    """
    xp = array_namespace(bias, dark, flat)
    flat = xp.astype(flat, xp.float32)
    usable = flat > LEAST_FLAT
    inverse = xp.where(usable, 1.0 / xp.where(usable, flat, xp.ones_like(flat)), xp.zeros_like(flat))
    mask = xp.astype(~usable, xp.uint8) * BAD
    return Masters(xp.astype(bias, xp.float32), xp.astype(dark, xp.float32), inverse, mask if bad is None else mask | bad)


def _median(values: Array, there: Array) -> Array:
    """(1, h, w) median over frames of what is there; NaN where nothing is."""
    xp = array_namespace(values)
    ordered = xp.sort(xp.where(there, values, xp.full_like(values, xp.inf)), axis=0)
    count = xp.sum(xp.astype(there, xp.int64), axis=0, keepdims=True)
    low = xp.take_along_axis(ordered, xp.clip((count - 1) // 2, min=0), axis=0)
    high = xp.take_along_axis(ordered, xp.clip(count // 2, max=ordered.shape[0] - 1), axis=0)
    return xp.where(count > 0, (low + high) / 2, xp.full_like(low, xp.nan))
