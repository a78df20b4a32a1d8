"""Cut-outs → the images the encoder sees.

raw stamps (n, 3, S, S) of any pixel scale → (n, 4, P, P) float32: science, template, difference, and which pixels are real

Resampled to `STAMP_SCALE`, centred on the target, background and noise taken out by order statistics (a star in the stamp does not move
them), compressed. A missing stamp is all zeros with a mask of zeros.
"""

from __future__ import annotations

from typing import Any

import numpy as np

from operators.kernels.stamps import LATTICE, SANE, normalise_stamps
from operators.namespace import array_namespace, to_host
from operators.types import RAW_STAMP, STAMP, STAMP_SCALE, STAMP_SCALE_NEAR, AlertBatch, Array


def stamps(batch: AlertBatch) -> Array:
    """Resample, normalise and mask the cut-outs.

    Returns
    -------
    (n, 4, P, P) float32 array of the batch's namespace.
    """
    xp = array_namespace(batch.stamps)
    if not batch.stamps.size:  # no alerts, or a table of light curves
        return xp.zeros((len(batch), 4, STAMP, STAMP), dtype=xp.float32)
    return normalise(resample(batch.stamps, batch.pixel_scale))


def resample(raw: Array, pixel_scale: Array) -> Array:
    """Bring stamps to P x P pixels of `STAMP_SCALE`, the target at pixel P / 2.

    Parameters
    ----------
    raw : (n, 3, S, S) float32, NaN where there is no pixel
    pixel_scale : (n,) float32 [arcsec/pixel], NaN without stamps

    Returns
    -------
    (n, 3, P, P) float32, NaN where there is no pixel
    """
    xp = array_namespace(raw)
    start = RAW_STAMP // 2 - STAMP // 2
    cropped = raw[:, :, start : start + STAMP, start : start + STAMP]
    scales = {float(s) for s in np.asarray(to_host(pixel_scale)) if np.isfinite(s) and abs(s / STAMP_SCALE - 1) > STAMP_SCALE_NEAR}
    for scale in sorted(scales):
        weight = xp.asarray(_weights(scale), dtype=raw.dtype)
        real = xp.abs(raw) < SANE
        total = weight @ xp.where(real, raw, xp.asarray(0.0, dtype=raw.dtype)) @ weight.T
        share = weight @ xp.astype(real, raw.dtype) @ weight.T
        mean = xp.where(share > 0.5, total / xp.where(share > 0.5, share, xp.asarray(1.0, dtype=raw.dtype)), xp.nan)
        cropped = xp.where((pixel_scale == scale)[:, None, None, None], mean, cropped)
    return xp.where(xp.isfinite(pixel_scale)[:, None, None, None], cropped, xp.asarray(xp.nan, dtype=raw.dtype))


def normalise(image: Array) -> Array:
    """Take out background and noise, compress, and add the mask as a fourth channel.

    z = (pixel - median) / sigma, sigma being half the distance of the 16th and 84th percentile, both read off every second pixel of
    every second row (a quarter of the pixels gives them to a tenth of sigma); then sign(z) (⁴√(1 + |z|) - 1): linear at the noise,
    slow at a star.

    Parameters
    ----------
    image : (n, 3, P, P) float32, NaN where there is no pixel

    Returns
    -------
    (n, 4, P, P) float32, finite
    """
    xp = array_namespace(image)
    if xp is np:
        return normalise_stamps(np.asarray(image))
    return normalise_array(image)


def normalise_array(image: Array) -> Array:
    """The same for any namespace: the oracle of the kernel."""
    xp = array_namespace(image)
    n, channels = image.shape[:2]
    zero = xp.asarray(0.0, dtype=image.dtype)
    lattice = xp.reshape(image[:, :, ::LATTICE, ::LATTICE], (n, channels, -1))
    real = xp.abs(lattice) < SANE
    ordered = xp.sort(xp.where(real, lattice, xp.asarray(xp.inf, dtype=image.dtype)), axis=-1)
    last = xp.sum(xp.astype(real, xp.int64), axis=-1, keepdims=True) - 1

    def percentile(percent: int) -> Array:
        value = xp.take_along_axis(ordered, xp.clip(last, 0, None) * percent // 100, axis=-1)
        return xp.where(last >= 0, value, zero)[..., None]

    median = percentile(50)
    sigma = xp.clip((percentile(84) - percentile(16)) / 2, 1e-6, None)
    real = xp.abs(image) < SANE
    z = xp.clip((xp.where(real, image, median) - median) / sigma, -1e6, 1e6)
    size = xp.sqrt(xp.sqrt(1 + xp.abs(z))) - 1
    mask = xp.astype(xp.all(real, axis=1, keepdims=True), image.dtype)
    return xp.concat([xp.where(z < 0, -size, size), mask], axis=1)


def _weights(scale: float) -> np.ndarray[Any, np.dtype[np.float32]]:
    """(P, S) share of each raw pixel in each pixel seen, by overlap; rows sum to 1 where the raw stamp covers them."""
    edges_out = (np.arange(STAMP + 1) - STAMP / 2 - 0.5) * STAMP_SCALE
    edges_in = (np.arange(RAW_STAMP + 1) - RAW_STAMP / 2) * scale
    low = np.maximum(edges_out[:-1, None], edges_in[None, :-1])
    high = np.minimum(edges_out[1:, None], edges_in[None, 1:])
    share: np.ndarray[Any, np.dtype[np.float32]] = (np.clip(high - low, 0, None) / STAMP_SCALE).astype(np.float32)
    return share
