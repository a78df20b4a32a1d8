"""Light curve → tokens: what the encoder sees of an alert's history.

columns of an `AlertBatch`, (n, T) → tokens (n, L, F), float32

Upper limits are tokens too: a limit just before the first detection says how fast the source rose. The flux is divided by the
alert's own scale, so the encoder sees shapes and colours; how bright the source is reaches it through the context.
Everything here is causal: it uses the packet's points only, and none lies after the alert.
"""

from __future__ import annotations

import math
from typing import Any

import numpy as np

from operators.kernels.tokens import fill_tokens
from operators.namespace import array_namespace, stable_argsort
from operators.types import N_TOKENS, AlertBatch, Array

PERIODS = (1.0, 3.0, 8.0, 20.0, 50.0, 120.0, 300.0)
"""Of the sine and cosine view of the time since the brightest detection [d]."""
BAND_CENTRES = (3700.0, 4350.0, 4800.0, 5500.0, 6300.0, 7600.0, 8700.0, 9900.0)
"""Wavelengths of the soft band indicator [Å]; a filter between two lights up both."""
BAND_WIDTH = 0.10
"""Its width in ln(wavelength)."""

CHANNELS: tuple[str, ...] = (
    "log time since first detection",
    "log time before the alert",
    "time since first detection",
    "time before the alert",
    "log time since the brightest",
    "time since the brightest",
    "log gap to the token before",
    "log wavelength",
    "flux",
    "asinh flux",
    "log error",
    "asinh signal to noise",
    "detected",
    "is a limit",
    "asinh limit",
    *(f"{wave} {period:g} d" for wave in ("sin", "cos") for period in PERIODS),
    *(f"band {centre:.0f}" for centre in BAND_CENTRES),
    "valid",
)
N_FEATURES = len(CHANNELS)
"""F: channels of a token. The last one is 1 for a token and 0 for padding; a padded token is all zeros."""


def tokens(batch: AlertBatch, n_tokens: int = N_TOKENS) -> Array:
    """Turn light curves into tokens in time order, padding last.

    Where an alert has more points than tokens, detections stay before other measurements, these before limits, late before early.

    Parameters
    ----------
    batch : AlertBatch
    n_tokens : int
        L.

    Returns
    -------
    (n, L, F) float32 array of the batch's namespace; channels as in `CHANNELS`.
    """
    xp = array_namespace(batch.time, batch.flux)
    if xp is np:
        weighted = _weighted(xp, batch)
        scale, peak = np.asarray(_scale(xp, batch, weighted=weighted)), np.asarray(_peak_time(xp, batch, weighted=weighted))
        return fill_tokens(batch, scale, peak, n_tokens, N_FEATURES, PERIODS, BAND_CENTRES, BAND_WIDTH)
    return tokens_array(batch, n_tokens)


def tokens_array(batch: AlertBatch, n_tokens: int = N_TOKENS) -> Array:
    """The same for any namespace: the oracle of the kernel."""
    xp = array_namespace(batch.time, batch.flux)
    f32 = xp.float32
    pick = _choose(xp, batch, n_tokens=n_tokens)

    def take(column: Array) -> Array:
        return xp.take_along_axis(column, pick, axis=1)

    valid, detected = take(batch.valid), take(batch.detected)
    time, wavelength = take(batch.time), take(batch.wavelength)
    flux, flux_err, limit = take(batch.flux), take(batch.flux_err), take(batch.limit)

    zero = xp.asarray(0.0, dtype=f32)
    one = xp.asarray(1.0, dtype=f32)
    weighted = _weighted(xp, batch)
    scale = _scale(xp, batch, weighted=weighted)[:, None]
    measured = valid & xp.isfinite(flux) & xp.isfinite(flux_err)
    limited = valid & xp.isfinite(limit)

    since = _days(xp, time - batch.first_detection[:, None], valid=valid)
    before = _days(xp, time - batch.mjd[:, None], valid=valid)
    peak = _days(xp, time - _peak_time(xp, batch, weighted=weighted)[:, None], valid=valid)
    gap = xp.concat([xp.zeros_like(before[:, :1]), before[:, 1:] - before[:, :-1]], axis=1)
    log_wavelength = xp.log(xp.where(valid, wavelength, xp.asarray(5500.0, dtype=f32)))

    value = xp.where(measured, flux, zero) / scale
    error = xp.where(measured, flux_err / scale, one)
    error = xp.clip(error, 1e-4, 1e4)
    noise = xp.clip(value / error, -100.0, 300.0)

    columns = [
        _signed_log(xp, since) / 3,
        _signed_log(xp, before) / 3,
        xp.clip(since / 100, -1.0, 5.0),
        xp.clip(before / 30, -5.0, 1.0),
        _signed_log(xp, peak) / 3,
        xp.clip(peak / 100, -5.0, 5.0),
        xp.log1p(xp.clip(gap, 0.0, 1e3)) / 3,
        (log_wavelength - 8.6) * 2,
        xp.clip(value, -2.0, 2.0),
        xp.asinh(10 * xp.clip(value, -10.0, 10.0)) / 3,
        xp.where(measured, xp.log10(error) / 2 + 0.5, zero),
        xp.asinh(noise) / 4,
        xp.where(detected, one, zero),
        xp.where(limited, one, zero),
        xp.asinh(10 * xp.clip(xp.where(limited, limit, zero) / scale, 0.0, 100.0)) / 3,
    ]
    phases = [peak * (2 * math.pi / period) for period in PERIODS]
    columns += [xp.sin(p) for p in phases] + [xp.cos(p) for p in phases]
    columns += [xp.exp(-0.5 * ((log_wavelength - math.log(c)) / BAND_WIDTH) ** 2) for c in BAND_CENTRES]
    columns.append(xp.ones_like(before))

    stacked = xp.stack(columns, axis=-1)
    return xp.astype(xp.where(valid[..., None], stacked, zero), f32)


def flux_scale(batch: AlertBatch) -> Array:
    """Flux by which a light curve is divided: its brightest detection, each one weighted by how sure it is.

    weight = (S/N)² / ((S/N)² + 9), so that one noisy point does not set the scale. Without any detection the deepest limit serves.

    Returns
    -------
    (n,) float32 [µJy], > 0
    """
    xp = array_namespace(batch.flux)
    return _scale(xp, batch, weighted=_weighted(xp, batch))


def _scale(xp: Any, batch: AlertBatch, *, weighted: Array) -> Array:
    """`flux_scale` from what `_weighted` gives."""
    brightest = xp.max(weighted, axis=1)
    limited = batch.valid & xp.isfinite(batch.limit)
    deepest = xp.min(xp.where(limited, batch.limit, xp.asarray(1e6, dtype=xp.float32)), axis=1)
    scale = xp.where(brightest > 0, brightest, deepest)
    return xp.clip(scale, 1e-3, None)


def _weighted(xp: Any, batch: AlertBatch) -> Array:
    """(n, T) |flux| of the detections [µJy], shrunk by how unsure each is; 0 elsewhere."""
    sure = batch.detected & batch.valid & xp.isfinite(batch.flux) & (batch.flux_err > 0)
    flux = xp.abs(xp.where(sure, batch.flux, xp.asarray(0.0, dtype=xp.float32)))
    # Bounded, so that its square stays a number: beyond a million σ nothing is surer.
    ratio = xp.clip(flux / xp.where(sure, batch.flux_err, xp.asarray(1.0, dtype=xp.float32)), None, 1e6) ** 2
    return flux * ratio / (ratio + 9)


def _peak_time(xp: Any, batch: AlertBatch, *, weighted: Array) -> Array:
    """When the brightest detection so far was, each one weighted as in `flux_scale`; the alert's own time without any.

    Shapes are best compared around their maximum; this is the maximum that was known when the alert was sent.

    Returns
    -------
    (n,) float64 [d, TAI]
    """
    if xp is np:
        each, best = np.arange(weighted.shape[0]), weighted.argmax(axis=1)  # type: ignore[attr-defined]
        return np.where(weighted[each, best] > 0, np.where(batch.valid[each, best], batch.time[each, best], 0.0), batch.mjd)
    index = xp.argmax(weighted, axis=1)[:, None]
    found = xp.take_along_axis(weighted, index, axis=1)[:, 0] > 0
    at = xp.take_along_axis(xp.where(batch.valid, batch.time, 0.0), index, axis=1)[:, 0]
    return xp.where(found, at, batch.mjd)


def _choose(xp: Any, batch: AlertBatch, *, n_tokens: int) -> Array:
    """(n, L) indices of the points kept, in time order, padding last."""
    # Days before the alert are far fewer than a rank is worth, so one sort orders by rank, then by time.
    measured, detected = batch.valid & xp.isfinite(batch.flux), batch.valid & batch.detected
    rank = xp.astype(batch.valid, xp.float64) + xp.astype(measured, xp.float64) + xp.astype(detected, xp.float64)
    age = xp.clip(xp.where(batch.valid, batch.time - batch.mjd[:, None], 0.0), -4e5, 4e5)
    best = stable_argsort(-(rank * 1e6 + age))[:, :n_tokens]
    time = xp.where(batch.valid, batch.time, xp.inf)
    return xp.take_along_axis(best, stable_argsort(xp.take_along_axis(time, best, axis=1)), axis=1)


def _days(xp: Any, difference: Array, *, valid: Array) -> Array:
    """Time differences leave float64 here: [d] as float32, 0 at padding, bounded to a lifetime of surveys."""
    return xp.astype(xp.clip(xp.where(valid & xp.isfinite(difference), difference, 0.0), -2e4, 2e4), xp.float32)


def _signed_log(xp: Any, x: Array) -> Array:
    return xp.sign(x) * xp.log1p(xp.abs(x))
