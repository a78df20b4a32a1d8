"""`operators.features.features` as one loop an alert."""

from __future__ import annotations

import numpy as np

from operators.kernels.compiled import compiled
from operators.types import F32, AlertBatch


def fill_features(batch: AlertBatch, split: float, n_names: int) -> F32:
    """Columns of a batch → (n, 2 n_names) float32: the blue view, then the red one."""
    out = np.full((len(batch), 2 * n_names), np.nan, dtype=np.float32)
    _fill(batch.time, batch.wavelength, batch.flux, batch.flux_err, batch.valid, batch.mjd, np.float32(split), out)
    return out


@compiled
def _fill(time, wavelength, flux, flux_err, valid, mjd, split, out):  # type: ignore[no-untyped-def]
    alerts, points = time.shape
    t, m, e = np.empty(points), np.empty(points), np.empty(points)
    for i in range(alerts):
        for view in range(2):
            n = 0
            for j in range(points):
                if valid[i, j] and np.isfinite(flux[i, j]) and flux_err[i, j] > 0 and (wavelength[i, j] < split) == (view == 0):
                    t[n], m[n], e[n] = time[i, j] - mjd[i], flux[i, j], flux_err[i, j]
                    n += 1
            half = out.shape[1] // 2
            _view(t[:n], m[:n], e[:n], out[i, view * half : (view + 1) * half])


@compiled
def _view(t, m, e, row):  # type: ignore[no-untyped-def]
    n = len(t)
    row[0] = n
    if n == 0:
        return
    mean = 0.0
    sum_w = 0.0
    sum_wm = 0.0
    sum_e2 = 0.0
    t_mean = 0.0
    for j in range(n):
        w = 1 / (e[j] * e[j])
        mean += m[j]
        sum_w += w
        sum_wm += w * m[j]
        sum_e2 += e[j] * e[j]
        t_mean += t[j]
    mean /= n
    t_mean /= n
    weighted = sum_wm / sum_w
    largest = 0
    smallest = 0
    s2 = 0.0
    s3 = 0.0
    s4 = 0.0
    chi2 = 0.0
    chi1 = 0.0
    tt = 0.0
    td = 0.0
    for j in range(n):
        d = m[j] - mean
        s2 += d * d
        s3 += d * d * d
        s4 += d * d * d * d
        chi = (m[j] - weighted) / e[j]
        chi2 += chi * chi
        chi1 += abs(chi)
        dt = t[j] - t_mean
        tt += dt * dt
        td += dt * d
        if m[j] > m[largest]:
            largest = j
        if m[j] < m[smallest]:
            smallest = j
    row[1] = mean
    row[2] = weighted
    row[4] = (m[largest] - m[smallest]) / 2
    row[15] = -t[largest]
    if n < 2:
        return
    variance = s2 / (n - 1)
    deviation = np.sqrt(variance)
    beyond = 0
    total = 0.0
    top = -np.inf
    bottom = np.inf
    step2 = 0.0
    slope = 0.0
    for j in range(n):
        d = m[j] - mean
        if abs(d) > deviation:
            beyond += 1
        total += d
        top = max(top, total)
        bottom = min(bottom, total)
        if j > 0:
            step = m[j] - m[j - 1]
            step2 += step * step
            rise = t[j] - t[j - 1]
            if rise > 0:
                slope = max(slope, abs(step) / rise)
    row[3] = deviation
    row[7] = chi2 / (n - 1)
    row[8] = beyond / n
    row[9] = (top - bottom) / (n * deviation) if deviation > 0 else np.nan
    row[10] = step2 / ((n - 1) * variance) if variance > 0 else np.nan
    row[11] = chi1 / np.sqrt(n * chi2) if chi2 > 0 else np.nan
    row[12] = (variance - sum_e2 / n) / (mean * mean) if mean != 0 else np.nan
    row[13] = slope
    row[14] = td / tt if tt > 0 else np.nan
    if n > 2 and s2 > 0:
        row[5] = n * np.sqrt(n - 1.0) / (n - 2) * s3 / s2**1.5
    if n > 3 and s2 > 0:
        lead = (n - 1.0) / ((n - 2) * (n - 3))
        row[6] = lead * n * (n + 1) * s4 / (s2 * s2) - 3 * lead * (n - 1)
