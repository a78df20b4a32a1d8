"""What may happen to a stream, on columns of alerts: the instrument's zero point, seeing, cadence or schema.

AlertBatch → AlertBatch of the same alerts, simulated or real, as they would have come

A wrong calibration moves fluxes, errors and limits, and leaves the camera's counts as they are; the packet's history was measured before.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from typing import Any

import numpy as np
from scipy.ndimage import gaussian_filter

from operators.types import CONTEXT, RAW_STAMP, STAMP, AlertBatch

OWN_NIGHT = 0.6
"""[d] before an alert, what counts as its own night."""
ZERO_POINT = 0.1
"""[mag]"""
WORSE = 1.4
"""Seeing, as a factor; the limit loses as much, since noise adds up over the area of the image of a star."""
KEPT = 0.5
"""Share of nights that a sparser cadence keeps."""
FWHM_OF_SIGMA = 2.3548
_WINDOW = slice(RAW_STAMP // 2 - STAMP // 2, RAW_STAMP // 2 + STAMP // 2)
_C = {name: i for i, name in enumerate(CONTEXT)}


def own_night(batch: AlertBatch) -> Any:
    """(n, T) which points are of the alert's own night."""
    return batch.valid & (batch.time > batch.mjd[:, None] - OWN_NIGHT)


def zero_point(batch: AlertBatch, *, magnitudes: float = ZERO_POINT) -> AlertBatch:
    """Fluxes, errors and limits of the alert's night are measured too faint by some magnitudes; the packet does not say so."""
    factor = np.float32(10 ** (-0.4 * magnitudes))
    rows = own_night(batch)
    columns: dict[str, Any] = {
        name: np.where(rows, getattr(batch, name) * factor, getattr(batch, name)) for name in ("flux", "flux_err", "limit")
    }
    columns |= {name: None if (own := getattr(batch, name)) is None else own * factor for name in ("own_err", "own_limit")}
    context = np.array(batch.context)
    context[:, _C["flux"]] *= factor
    return replace(batch, context=context, **columns)


def seeing(batch: AlertBatch, *, worse: float = WORSE) -> AlertBatch:
    """Broader images of stars: science and difference are blurred, their noise stays; the night's depth falls."""
    context, factor = np.array(batch.context), np.float32(worse)
    width = context[:, _C["fwhm"]] / np.nan_to_num(batch.pixel_scale, nan=1.01)
    stamps = np.array(batch.stamps)
    if stamps.shape[-1] == RAW_STAMP:
        for i in range(len(batch)):
            sigma = float(np.sqrt(worse**2 - 1) * (width[i] if np.isfinite(width[i]) else 2.0) / FWHM_OF_SIGMA)
            for band in (0, 2):
                stamps[i, band, _WINDOW, _WINDOW] = _blurred(stamps[i, band, _WINDOW, _WINDOW], sigma, seed=i)
    context[:, _C["fwhm"]] *= factor
    context[:, _C["signal_to_noise"]] /= factor
    rows = own_night(batch)
    columns: dict[str, Any] = {name: np.where(rows, getattr(batch, name) * factor, getattr(batch, name)) for name in ("flux_err", "limit")}
    columns |= {name: None if (own := getattr(batch, name)) is None else own * factor for name in ("own_err", "own_limit")}
    return replace(batch, context=context, stamps=stamps, **columns)


def _blurred(image: Any, sigma: float, *, seed: int) -> Any:
    hole = ~np.isfinite(image)
    if hole.all():
        return image
    middle = float(np.median(image[~hole]))
    smooth = gaussian_filter(np.where(hole, middle, image), sigma)
    noise = _scatter(image)
    missing = max(noise**2 - _scatter(smooth) ** 2, 0.0)  # what the blur took of the pixels' own noise
    out = smooth + np.random.default_rng(seed).standard_normal(image.shape) * np.sqrt(missing)
    return np.where(hole, np.nan, out).astype(np.float32)


def _scatter(image: Any) -> float:
    """Noise of a pixel by neighbours, robustly."""
    step = np.abs(np.diff(image, axis=1))
    step = step[np.isfinite(step)]
    return float(1.0484 * np.median(step)) if len(step) else 0.0  # 1.4826 / sqrt(2)


def without(batch: AlertBatch, *, fields: tuple[str, ...]) -> AlertBatch:
    """Fields of the context that a new schema no longer fills."""
    context = np.array(batch.context)
    context[:, [_C[name] for name in fields]] = np.nan
    return replace(batch, context=context)


def sparse(batch: AlertBatch, *, keep: float = KEPT) -> AlertBatch:
    """A share of the earlier nights was not observed."""
    night = np.floor(np.where(batch.valid, batch.time, 0.0)).astype(np.int64)
    number = np.array(batch.candid, np.int64)[:, None] % 1_000_003
    chance = ((night * 2_654_435_761 + number) % 9973) / 9973
    valid = batch.valid & ((chance < keep) | own_night(batch))
    context = np.array(batch.context)
    context[:, _C["n_visits"]] *= np.float32(keep)
    context[:, _C["n_detections"]] = np.maximum(context[:, _C["n_detections"]] * np.float32(keep), 1)
    order = np.argsort(~valid, axis=1, kind="stable")
    columns: dict[str, Any] = {
        name: np.take_along_axis(np.asarray(getattr(batch, name)), order, axis=1)
        for name in ("time", "wavelength", "flux", "flux_err", "limit", "detected")
    }
    valid = np.take_along_axis(valid, order, axis=1)
    for name in ("time", "wavelength", "flux", "flux_err", "limit"):
        columns[name] = np.where(valid, columns[name], np.nan)
    return replace(batch, valid=valid, detected=columns.pop("detected") & valid, context=context, **columns)


Change = Callable[[AlertBatch], AlertBatch]
CHANGES: dict[str, Change] = {
    "zero point": zero_point,
    "seeing": seeing,
    "schema: real/bogus": lambda batch: without(batch, fields=("real_bogus",)),
    "schema: catalogue": lambda batch: without(batch, fields=("star_galaxy", "source_distance", "source_flux")),
    "cadence": sparse,
}
"""What an instrument or a schema does, by name."""
EXPECTED: dict[str, str] = {
    "zero point": "instrument: zero point",
    "seeing": "instrument: seeing",
    "schema: real/bogus": "instrument: schema",
    "schema: catalogue": "instrument: schema",
    "cadence": "instrument: cadence",
    "luminous-fast-cooler": "population",
    "fbot": "population",
}
"""What the panel should call it; the last two are new populations, at `evaluation.studies.drift_streams.NEW_SHARE` of the stream."""
