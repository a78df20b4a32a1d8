"""Robust locations in a sliding window by their definitions: every window on its own, no running sums. Slow."""

from __future__ import annotations

import numpy as np


def biweight(x: np.ndarray, cut: float) -> float:
    """Tukey's biweight location, the fixed point of reweighting from the median (Hippke et al. 2019, eq. 3-5)."""
    centre = np.median(x)
    mad = np.median(np.abs(x - centre))
    if mad == 0:
        return float(centre)
    for _ in range(1000):
        d = x - centre
        w = np.where(np.abs(d) < cut * mad, (1 - (d / (cut * mad)) ** 2) ** 2, 0)
        step = (d * w).sum() / w.sum()
        centre += step
        if abs(step) < 1e-13 * mad:
            break
    return float(centre)


def sliding(t: np.ndarray, x: np.ndarray, window: float, cut: float = 5.0) -> np.ndarray:
    """At each time, of the points at t - window / 2 <= t' < t + window / 2; cut 0: the median."""
    windows = (x[(t >= at - window / 2) & (t < at + window / 2)] for at in t)
    return np.array([np.median(w) if cut == 0 else biweight(w, cut) for w in windows])
