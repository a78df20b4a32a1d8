"""Alerts made of random numbers."""

from __future__ import annotations

import numpy as np

from operators.types import CONTEXT, MAX_POINTS, MEASURED, RAW_STAMP, SURVEY_SCORES, AlertBatch
from tests.namespaces import to_numpy

__all__ = ["random_batch", "to_numpy"]


def random_batch(n: int, seed: int = 0, points: int = 40) -> AlertBatch:
    """n alerts with up to `points` points: detections, forced measurements and limits, some stamps missing."""
    r = np.random.default_rng(seed)
    shape = (n, MAX_POINTS)
    count = r.integers(1, points + 1, n)
    valid = np.arange(MAX_POINTS) < count[:, None]
    mjd = 60000 + r.uniform(0, 100, n)
    time = np.sort(np.where(valid, mjd[:, None] - r.uniform(0, 30, shape), np.inf), axis=1)
    time[np.arange(n), count - 1] = mjd
    detected = valid & (r.uniform(size=shape) < 0.5)
    detected[np.arange(n), count - 1] = True
    measured = detected | (valid & (r.uniform(size=shape) < 0.3))
    stamps = r.normal(100, 5, (n, 3, RAW_STAMP, RAW_STAMP)).astype(np.float32)
    stamps[:, :, 20:24, 40:45] = np.nan
    scale = np.where(r.uniform(size=n) < 0.3, 0.2, 1.01)
    scale[r.uniform(size=n) < 0.2] = np.nan
    f32 = np.float32
    return AlertBatch(
        survey=("ztf",) * n,
        candid=tuple(range(n)),
        object_id=tuple(f"ZTF{i}" for i in range(n)),
        programid=(1,) * n,
        band=("r",) * n,
        ra=r.uniform(0, 360, n),
        dec=r.uniform(-30, 80, n),
        mjd=mjd,
        first_detection=np.min(np.where(detected, time, np.inf), axis=1),
        truncated=np.zeros(n, dtype=bool),
        time=np.where(valid, time, np.nan),
        wavelength=np.where(valid, np.where(r.uniform(size=shape) < 0.5, 4746.5, 6366.4), np.nan).astype(f32),
        flux=np.where(measured, r.normal(100, 30, shape), np.nan).astype(f32),
        flux_err=np.where(measured, r.uniform(3, 10, shape), np.nan).astype(f32),
        limit=np.where(valid & ~measured, r.uniform(20, 40, shape), np.nan).astype(f32),
        detected=detected,
        valid=valid,
        stamps=stamps,
        pixel_scale=scale.astype(f32),
        context=np.where(r.uniform(size=(n, len(CONTEXT))) < 0.2, np.nan, r.uniform(0, 5, (n, len(CONTEXT)))).astype(f32),
        measured=np.where(r.uniform(size=(n, len(MEASURED))) < 0.2, np.nan, r.uniform(0, 5, (n, len(MEASURED)))).astype(f32),
        survey_scores=np.where(r.uniform(size=(n, len(SURVEY_SCORES))) < 0.2, np.nan, r.uniform(0, 1, (n, len(SURVEY_SCORES)))).astype(f32),
    )
