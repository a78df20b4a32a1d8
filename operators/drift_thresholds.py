"""Stable nights → thresholds of the sums for a stated run length: a block bootstrap.

Windows of one night have moon, seeing and fields in common, and so have neighbouring nights: textbook quantiles of a sum of independent
numbers give several times the alarms that were asked for. So nights are drawn in blocks of consecutive ones, with replacement: once for a
reference, once for a stream after it, so that the error of the reference is in the thresholds too. A threshold is the quantile of the
largest sum a stream, at which alarms come as rarely as stated.

Source: moving-block bootstrap, Künsch 1989 (doi:10.1214/aos/1176347265), circular as in Politis & Romano 1992.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import Any, NamedTuple

import numpy as np
import numpy.typing as npt

from operators.alert_statistics import STATISTICS, Window
from operators.drift_panel import CLIP, SLACK, SUPPORTING, Detector
from operators.drift_reference import LEAST_SPREAD, WIDTH
from operators.types import F64

I64 = npt.NDArray[np.int64]
BLOCK_NIGHTS = 5
"""Consecutive nights that are drawn together."""
STREAMS = 400
"""Drawn in all."""
LEAST_NIGHTS = 10
"""Of which blocks are drawn."""


class Placed(NamedTuple):
    """A window and the night it was observed in."""

    night: int
    stratum: str
    window: Window


class _Table(NamedTuple):
    means: F64  # (m, S) in order of observation
    stratum: I64  # (m,)
    night: I64  # (m,) 0 … nights - 1
    alerts: int


def bootstrap_thresholds(
    windows: Sequence[Placed],
    *,
    run_length: float,
    reference: int | None = None,
    streams: int = STREAMS,
    block: int = BLOCK_NIGHTS,
    seed: int = 0,
) -> dict[str, float]:
    """Thresholds for a panel that alarms by chance once in so many stable alerts.

    Parameters
    ----------
    windows : sequence of Placed
        Stable ones of at least `LEAST_NIGHTS` nights, in order of observation: a lunation's or more.
    run_length : float
        Alerts to a false alarm of the whole panel; each statistic has an equal part.
    reference : int, optional
        Nights that the panel's reference will be of: the mean of fewer is further off, which a sum takes up in every window. As many as
        are given if None.
    streams : int
        Drawn, each as long as what is given.
    block : int
        Nights.
    seed : int

    Returns
    -------
    dict
        Statistic → threshold; those that no window has, or that only support, are left out. None is below the median one: a few dozen
        nights know the quantile of a single statistic poorly, and one that nights have in common, as seeing, stands out all the same.

    Raises
    ------
    ValueError
        There are fewer nights.
    """
    table = _table(windows)
    found = np.array([_largest(z) for z in drawn(table, reference=reference, streams=streams, block=block, seed=seed)])
    used = np.flatnonzero(np.isfinite(table.means).any(axis=0) & ~np.isin(STATISTICS, SUPPORTING))
    share = float(np.exp(-table.alerts / max(1, len(used)) / run_length))
    reached = np.maximum(np.quantile(found[:, used], share, axis=0), _gumbel(found[:, used], share))
    least = float(np.median(reached))
    return {STATISTICS[i]: round(max(float(value), least), 2) for i, value in zip(used.tolist(), reached, strict=True)}


def _gumbel(largest: F64, share: float) -> F64:
    """Quantile of largest sums by the law that they follow, beyond what so many streams show; (streams, s) → (s,)."""
    scale = largest.std(axis=0) * np.sqrt(6) / np.pi
    quantile: F64 = largest.mean(axis=0) - scale * (np.euler_gamma + np.log(-np.log(share)))
    return quantile


def drawn(table: _Table, *, reference: int | None = None, streams: int, block: int, seed: int) -> Iterator[F64]:
    """Streams of z (m, S), each against a reference of nights of its own, so many; None: as many as there are."""
    rng = np.random.default_rng(seed)
    nights = int(table.night.max()) + 1
    rows = [np.flatnonzero(table.night == night) for night in range(nights)]
    for _ in range(streams):
        known, stream = (
            np.concatenate([rows[k] for k in _nights(rng, nights, count=count, block=block)]) for count in (reference or nights, nights)
        )
        yield standardised(table.means, table.stratum, reference=known, stream=stream)


def _nights(rng: np.random.Generator, nights: int, *, count: int, block: int) -> list[int]:
    starts = rng.integers(0, nights, -(-count // block))
    return [int(start + k) % nights for start in starts for k in range(block)][:count]


def standardised(means: F64, stratum: I64, *, reference: I64, stream: I64) -> F64:
    """Z of some windows against others of their strata; (m, S) means, rows of both → (len(stream), S), NaN where there is nothing."""
    out = np.full((len(stream), means.shape[1]), np.nan)
    for k in np.unique(stratum):
        own, new = means[reference[stratum[reference] == k]], stratum[stream] == k
        there = np.isfinite(own)
        count = there.sum(axis=0)
        middle = np.where(there, own, 0).sum(axis=0) / np.maximum(count, 1)
        spread = np.sqrt(np.where(there, (own - middle) ** 2, 0).sum(axis=0) / np.maximum(count - 1, 1))
        z = (means[stream[new]] - middle) / np.maximum(spread, LEAST_SPREAD * WIDTH)
        out[new] = np.where(count > 1, z, np.nan)
    return np.clip(out, -CLIP, CLIP)


def _largest(z: F64) -> F64:
    """The largest sum of either direction, each statistic's; (m, S) → (S,). Nothing is reset: an alarm is the first crossing."""
    steps = np.nan_to_num(z)
    up, down, most = np.zeros((3, z.shape[1]))
    there = np.isfinite(z)
    for k in range(len(z)):
        up = np.where(there[k], np.maximum(0.0, up + steps[k] - SLACK), up)
        down = np.where(there[k], np.maximum(0.0, down - steps[k] - SLACK), down)
        most = np.maximum(most, np.maximum(up, down))
    return most


def _table(windows: Sequence[Placed]) -> _Table:
    nights = {night: i for i, night in enumerate(sorted({placed.night for placed in windows}))}
    if len(nights) < LEAST_NIGHTS:
        raise ValueError(f"{len(nights)} stable nights: a bootstrap of nights needs {LEAST_NIGHTS}")
    strata = {name: i for i, name in enumerate(dict.fromkeys(placed.stratum for placed in windows))}
    return _Table(
        np.stack([placed.window.mean for placed in windows]),
        np.array([strata[placed.stratum] for placed in windows], np.int64),
        np.array([nights[placed.night] for placed in windows], np.int64),
        sum(placed.window.n for placed in windows),
    )


def calibrated(
    windows: Sequence[Placed],
    statistics: Sequence[str],
    *,
    kind: str,
    run_length: float,
    reference: int | None = None,
    streams: int = 20,
    seed: int = 0,
) -> float | None:
    """The most sensitive parameter of `operators.drift_detectors.GRID` that alarms no more often by chance than stated; None: none.

    Parameters
    ----------
    windows : sequence of Placed
        Stable ones.
    statistics : sequence of str
        Whose z the detectors are to take, one each.
    kind : str
        Of a detector.
    run_length : float
        Alerts to a false alarm of each.
    reference : int, optional
        As in `bootstrap_thresholds`.
    streams, seed : int
    """
    from operators.drift_detectors import GRID, make

    table = _table(windows)
    columns = [STATISTICS.index(name) for name in statistics]
    found = drawn(table, reference=reference, streams=streams, block=BLOCK_NIGHTS, seed=seed)
    series = [z[np.isfinite(z[:, i]), i].tolist() for z in found for i in columns]
    allowed = len(series) * table.alerts / run_length
    for parameter in GRID[kind]:  # the most sensitive first
        count = 0
        for values in series:
            count += alarms(make(kind, parameter), values)
            if count > allowed:
                break
        else:
            return parameter
    return None


def alarms(detector: Detector, values: Sequence[float]) -> int:
    """How often a detector alarms; it starts anew after each."""
    start: Any = detector.state()
    count = 0
    for value in values:
        if detector.update(value):
            count += 1
            detector.restore(start)
    return count
