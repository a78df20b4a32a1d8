"""`operators.tokens.tokens` as one loop an alert."""

from __future__ import annotations

import math

import numpy as np

from operators.kernels.compiled import compiled
from operators.types import F32, F64, AlertBatch


def fill_tokens(
    batch: AlertBatch,
    scale: F32,
    brightest: F64,
    n_tokens: int,
    n_features: int,
    periods: tuple[float, ...],
    centres: tuple[float, ...],
    width: float,
) -> F32:
    """Columns of a batch → (n, L, F) float32."""
    out = np.zeros((len(batch), n_tokens, n_features), dtype=np.float32)
    frequency = np.array([2 * math.pi / p for p in periods], dtype=np.float32)
    centre = np.array([math.log(c) for c in centres], dtype=np.float32)
    _fill(
        batch.time, batch.wavelength, batch.flux, batch.flux_err, batch.limit, batch.detected, batch.valid,
        batch.first_detection, batch.mjd, scale, brightest, frequency, centre, np.float32(width), out,
    )  # fmt: skip
    return out


@compiled
def _fill(time, wavelength, flux, flux_err, limit, detected, valid, first, mjd, scale, brightest, frequency, centre, width, out):  # type: ignore[no-untyped-def]
    n, points = time.shape
    length = out.shape[1]
    chosen = np.empty(points, dtype=np.bool_)
    for i in range(n):
        # Points are in time order already: latest first within each rank, until the tokens are full.
        left = length
        for rank in (2, 1, 0):
            for j in range(points - 1, -1, -1):
                if not valid[i, j]:
                    if rank == 2:
                        chosen[j] = False
                    continue
                own = (1 if np.isfinite(flux[i, j]) else 0) + (1 if detected[i, j] else 0)
                if own == rank:
                    chosen[j] = left > 0
                    if left > 0:
                        left -= 1
        slot = 0
        previous = np.float32(0.0)
        for j in range(points):
            if not chosen[j]:
                continue
            since = _days(time[i, j] - first[i])
            before = _days(time[i, j] - mjd[i])
            peak = _days(time[i, j] - brightest[i])
            gap = before - previous if slot > 0 else np.float32(0.0)
            previous = before
            colour = np.log(wavelength[i, j])
            measured = np.isfinite(flux[i, j]) and np.isfinite(flux_err[i, j])
            limited = np.isfinite(limit[i, j])
            value = flux[i, j] / scale[i] if measured else np.float32(0.0)
            error = flux_err[i, j] / scale[i] if measured else np.float32(1.0)
            error = min(max(error, np.float32(1e-4)), np.float32(1e4))
            noise = min(max(value / error, np.float32(-100.0)), np.float32(300.0))
            row = out[i, slot]
            row[0] = _signed_log(since) / 3
            row[1] = _signed_log(before) / 3
            row[2] = min(max(since / 100, np.float32(-1.0)), np.float32(5.0))
            row[3] = min(max(before / 30, np.float32(-5.0)), np.float32(1.0))
            row[4] = _signed_log(peak) / 3
            row[5] = min(max(peak / 100, np.float32(-5.0)), np.float32(5.0))
            row[6] = np.log1p(min(max(gap, np.float32(0.0)), np.float32(1e3))) / 3
            row[7] = (colour - np.float32(8.6)) * 2
            row[8] = min(max(value, np.float32(-2.0)), np.float32(2.0))
            row[9] = np.arcsinh(10 * min(max(value, np.float32(-10.0)), np.float32(10.0))) / 3
            row[10] = np.log10(error) / 2 + np.float32(0.5) if measured else np.float32(0.0)
            row[11] = np.arcsinh(noise) / 4
            row[12] = 1.0 if detected[i, j] else 0.0
            row[13] = 1.0 if limited else 0.0
            row[14] = np.arcsinh(10 * min(max(limit[i, j] / scale[i], np.float32(0.0)), np.float32(100.0))) / 3 if limited else 0.0
            column = 15
            for k in range(len(frequency)):
                phase = peak * frequency[k]
                row[column + k] = np.sin(phase)
                row[column + len(frequency) + k] = np.cos(phase)
            column += 2 * len(frequency)
            for k in range(len(centre)):
                off = (colour - centre[k]) / width
                # Beyond six widths the light is below 2e-8: not worth an exponential.
                row[column + k] = np.exp(np.float32(-0.5) * off * off) if abs(off) < 6 else np.float32(0.0)
            row[column + len(centre)] = 1.0
            slot += 1


@compiled
def _days(difference):  # type: ignore[no-untyped-def]
    return np.float32(min(max(difference, -2e4), 2e4)) if np.isfinite(difference) else np.float32(0.0)


@compiled
def _signed_log(x):  # type: ignore[no-untyped-def]
    return np.log1p(x) if x >= 0 else -np.log1p(-x)
