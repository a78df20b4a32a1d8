"""Stable windows by stratum → what is usual: mean and spread of each statistic's windows, shares of nulls, histograms.

The form that travels is arrays by name (`Reference.arrays`), for a safetensors file.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from typing import Any

import numpy as np
import numpy.typing as npt

from operators.alert_statistics import ABSENT, BINS, HIGH, LOW, STATISTICS, Window
from operators.types import F64

LEAST_WINDOWS = 8
"""Of a stratum, below which nothing is said of it: the spread of fewer is not known."""
LEAST_SPREAD = 1e-3
"""Of a statistic's windows, relative to its range: what never varied has no unit otherwise."""
WIDTH: F64 = HIGH - LOW
COLUMNS = ("mean", "spread", "nulls", "nulls_spread", "histogram")


@dataclass(frozen=True, slots=True, eq=False)
class StratumReference:
    """What is usual in a stratum."""

    windows: int
    mean: F64  # (S,) of the windows' means; NaN: the stratum never has it
    spread: F64  # (S,) their standard deviation
    nulls: F64  # (C,) share of alerts that lack the field
    nulls_spread: F64  # (C,) of the windows' shares
    histogram: F64  # (S, BINS) shares of alerts


@dataclass(frozen=True, slots=True, eq=False)
class Reference:
    """What is usual, by stratum."""

    strata: Mapping[str, StratumReference]
    thresholds: Mapping[str, float] = field(default_factory=dict)
    """By statistic, for the run length they were made for; empty: the panel's own."""

    def arrays(self) -> dict[str, npt.NDArray[Any]]:
        """The reference as arrays by name."""
        out: dict[str, npt.NDArray[Any]] = {
            "statistics": _text(STATISTICS),
            "fields": _text(ABSENT),
            "strata": _text(tuple(self.strata)),
            "windows": np.array([s.windows for s in self.strata.values()], np.int64),
            "thresholds": np.array([self.thresholds.get(name, np.nan) for name in STATISTICS], np.float32),
        }
        for name in COLUMNS:
            out[name] = np.array([getattr(s, name) for s in self.strata.values()], np.float32)
        return out

    @classmethod
    def of_arrays(cls, arrays: Mapping[str, npt.NDArray[Any]]) -> Reference:
        """The reference of its arrays; statistics and fields that are not known here are left out.

        Raises
        ------
        ValueError
            An array is missing or of another shape.
        """
        try:
            names, fields, strata = (_names(arrays[key]) for key in ("statistics", "fields", "strata"))
            k, s, c = len(strata), len(names), len(fields)
            shapes = {"mean": (k, s), "spread": (k, s), "nulls": (k, c), "nulls_spread": (k, c), "histogram": (k, s, BINS)}
            for key, shape in {**shapes, "windows": (k,), "thresholds": (s,)}.items():
                if arrays[key].shape != shape:
                    raise ValueError(f"{key} has the shape {arrays[key].shape}, expected {shape}")
        except KeyError as error:
            raise ValueError(f"the array {error.args[0]} is missing") from None
        if len(set(strata)) < k:
            raise ValueError("a stratum stands twice")
        placed = {key: _placed(arrays[key], names) for key in ("mean", "spread", "histogram")}
        placed |= {key: _placed_fields(arrays[key], fields) for key in ("nulls", "nulls_spread")}
        made = {name: StratumReference(int(arrays["windows"][i]), *(placed[key][i] for key in COLUMNS)) for i, name in enumerate(strata)}
        given = zip(names, arrays["thresholds"].tolist(), strict=True)
        return cls(made, {name: value for name, value in given if name in STATISTICS and np.isfinite(value)})


def _text(names: tuple[str, ...]) -> npt.NDArray[np.uint8]:
    return np.frombuffer("\n".join(names).encode(), np.uint8)


def _names(array: npt.NDArray[Any]) -> tuple[str, ...]:
    text = bytes(np.asarray(array, np.uint8)).decode(errors="replace")
    return tuple(text.split("\n")) if text else ()


def _placed(array: npt.NDArray[Any], names: tuple[str, ...]) -> F64:
    """(k, s, …) in the order of `STATISTICS`."""
    fill = np.nan if array.ndim == 2 else 0.0
    out = np.full((len(array), len(STATISTICS), *array.shape[2:]), fill)
    for i, name in enumerate(names):
        if name in STATISTICS:
            out[:, STATISTICS.index(name)] = array[:, i]
    return out


def _placed_fields(array: npt.NDArray[Any], fields: tuple[str, ...]) -> F64:
    """(k, c) in the order of `ABSENT`; a field that was not known is never off."""
    out = np.full((len(array), len(ABSENT)), np.nan)
    for i, name in enumerate(fields):
        if name in ABSENT:
            out[:, ABSENT.index(name)] = array[:, i]
    return out


def reference_of(windows: Iterable[tuple[str, Window]], *, thresholds: Mapping[str, float] | None = None) -> Reference:
    """Make a reference of stable windows of about equal numbers of alerts.

    Parameters
    ----------
    windows : iterable of (stratum, window)
        A lunation's at least, or the moon will be an alarm; strata of fewer than `LEAST_WINDOWS` are left out.
    thresholds : mapping, optional
        By statistic.
    """
    held: dict[str, list[Window]] = {}
    for stratum, window in windows:
        held.setdefault(stratum, []).append(window)
    return Reference({stratum: _of(members) for stratum, members in held.items() if len(members) >= LEAST_WINDOWS}, dict(thresholds or {}))


def _of(members: list[Window]) -> StratumReference:
    means = np.stack([window.mean for window in members])
    shares = np.stack([window.null_share for window in members])
    there = np.isfinite(means)
    count = there.sum(axis=0)
    mean = np.where(count > 0, np.where(there, means, 0.0).sum(axis=0) / np.maximum(count, 1), np.nan)
    variance = np.where(there, (means - mean) ** 2, 0.0).sum(axis=0) / np.maximum(count - 1, 1)
    spread = np.where(count >= LEAST_WINDOWS, np.sqrt(variance), np.nan)
    whole = sum(members[1:], members[0])
    histogram = whole.histogram / np.maximum(whole.histogram.sum(axis=1, keepdims=True), 1)
    return StratumReference(
        len(members), mean, np.maximum(spread, LEAST_SPREAD * WIDTH), shares.mean(axis=0), shares.std(axis=0, ddof=1), histogram
    )
