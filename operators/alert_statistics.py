"""What is monitored of alerts: a few numbers of each, and windows of them that add up.

AlertBatch, logits, Judged → (n, S) float32, NaN where a number is absent → `Window` by stratum

Everything is at hand when an alert is scored, so it costs no second pass over packets. Each number is cut to its range in `RANGES`, so
that a mean over a window is finite whatever a packet holds, and one packet cannot move it far.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

import numpy as np
import numpy.typing as npt

from operators.head import Judged
from operators.kernels.alert_statistics import fill_statistics, fill_sums
from operators.namespace import array_namespace
from operators.types import CONTEXT, F32, F64, RAW_STAMP, STAMP, AlertBatch, Array

I64 = npt.NDArray[np.int64]

RANGES: dict[str, tuple[float, float]] = {
    "entropy": (0.0, 3.2),  # of the balanced probabilities [nat]
    "energy": (-10.0, 30.0),  # logarithm of the summed exponentials of the kinds' logits: low where no kind is likely
    "novelty": (0.0, 1.0),
    "log_snr": (-1.0, 4.0),  # log10 of the alert's signal-to-noise
    "points": (0.0, 160.0),  # of the light curve
    "gap": (-2.0, 2.0),  # log10 of the mean time between points [d]
    "visits": (0.0, 4.0),  # log10 of how often the survey covered the position
    "fwhm": (-0.5, 1.5),  # log10 of the source's width [arcsec]: the seeing
    "zp": (-1.0, 1.0),  # limit less what zero point, pixel noise and width of the source let expect [mag]
    "zero_point": (20.0, 32.0),  # stated [mag]
    "real_bogus": (0.0, 1.0),  # the survey's score
    "distance": (0.0, 2.0),  # cosine distance to the nearest prototype
    "limit": (14.0, 28.0),  # 5 σ limit of the alert's own exposure [mag]
    "top_probability": (0.0, 1.0),
}
"""Name of each statistic and the range it is cut to."""
STATISTICS: tuple[str, ...] = tuple(RANGES)
"""Order of the columns."""
LOW: F64 = np.array([low for low, _ in RANGES.values()])
HIGH: F64 = np.array([high for _, high in RANGES.values()])
BINS = 32
"""Equal bins of a range: the histogram of a statistic."""
ABSENT: tuple[str, ...] = CONTEXT
"""Fields whose share of nulls is monitored."""

NOISE_SLOPE, WIDTH_SLOPE, IMPLIED = 3.5, 0.7, 2.9
"""limit - zero point + 3.5 log10(noise [counts]) + 0.7 log10(width [arcsec]) + 2.9 [mag]. An ideal image has slopes of 2.5; least squares
over 803 public ZTF packets gives 2.3 and 0.33 (0.20 mag are left, 0.27 with these slopes, where limit less zero point scatters by 0.43;
with the zero point free, its coefficient is 0.99). These are steeper so that moon and clouds, which limits show more than the noise of
small cut-outs does, cancel from night to night: with 2.3 simulated nights of a lunation differ by as much as 0.1 mag of zero point."""
_BEGIN = RAW_STAMP // 2 - STAMP // 2
EDGE_ROWS = 4
"""Rows at the upper and at the lower edge of the window that the network sees, whose neighbouring pixels give the noise: the source lies in
the middle."""
OUTLIER = 4.0
"""Differences of neighbours beyond this many times their mean are left out of the noise: stars that do not subtract."""
_TO_SIGMA = float(np.sqrt(np.pi) / 2)
"""Mean absolute difference of two normal numbers → their standard deviation."""
_C = {name: CONTEXT.index(name) for name in ("signal_to_noise", "n_visits", "fwhm", "real_bogus")}
ZERO_MAGNITUDE = 23.9
"""AB magnitude of 1 µJy."""
_PLACES: I64 = np.array([_BEGIN, STAMP, EDGE_ROWS, *_C.values()], np.int64)
_NUMBERS: F64 = np.array([OUTLIER, _TO_SIGMA, ZERO_MAGNITUDE, NOISE_SLOPE, WIDTH_SLOPE, IMPLIED])


def alert_statistics(batch: AlertBatch, logits: Array, *, judged: Judged, out: F32 | None = None) -> Array:
    """Compute every statistic of `STATISTICS`.

    Parameters
    ----------
    batch : AlertBatch
        n alerts.
    logits : (n, K)
        Log-odds over the kinds.
    judged : Judged
        Of the same alerts.
    out : (n, S or more) float32, optional
        On the host: whose first columns they become.

    Returns
    -------
    (n, S) float32 array of the inputs' namespace, or `out`; NaN where the packet lacks what is needed.
    """
    if array_namespace(logits, judged.probability, batch.context) is not np:
        return alert_statistics_array(batch, logits, judged=judged)
    n = len(batch)
    if out is None:
        out = np.empty((n, len(STATISTICS)), np.float32)
    fill_statistics(
        np.ascontiguousarray(judged.probability),
        np.ascontiguousarray(logits),
        np.ascontiguousarray(judged.novelty),
        np.ascontiguousarray(judged.distance),
        batch.time,
        batch.valid,
        batch.mjd,
        batch.context,
        batch.stamps,
        _column(batch.own_limit, n),
        _column(batch.zero_point, n),
        _PLACES,
        _NUMBERS,
        LOW,
        HIGH,
        out,
    )
    return out


def _column(column: Array | None, n: int) -> Any:
    return np.full(n, np.nan, np.float32) if column is None else column


def alert_statistics_array(batch: AlertBatch, logits: Array, *, judged: Judged) -> Array:
    """`alert_statistics` in any namespace, array by array: the oracle of its kernel."""
    xp: Any = array_namespace(logits, judged.probability, batch.context)
    f64 = xp.float64
    p, kinds = xp.astype(judged.probability, f64), xp.astype(logits, f64)
    context = xp.astype(batch.context, f64)
    nothing = xp.full(context.shape[:1], xp.nan, dtype=f64)
    top = xp.max(kinds, axis=1)
    count = xp.sum(xp.astype(batch.valid, f64), axis=1)
    first = xp.min(xp.where(batch.valid, batch.time, xp.asarray(xp.inf, dtype=f64)), axis=1)
    width = context[:, _C["fwhm"]]
    limit, stated = (nothing if column is None else xp.astype(column, f64) for column in (batch.own_limit, batch.zero_point))
    noise = pixel_noise(batch.stamps)
    deep = ZERO_MAGNITUDE - 2.5 * _log10(xp, limit)
    columns = {
        "entropy": -xp.sum(p * xp.log(xp.clip(p, 1e-9, None)), axis=1),
        "energy": top + xp.log(xp.sum(xp.exp(kinds - top[:, None]), axis=1)),
        "novelty": xp.astype(judged.novelty, f64),
        "log_snr": _log10(xp, context[:, _C["signal_to_noise"]]),
        "points": count,
        "gap": _log10(xp, xp.where(count > 1, (batch.mjd - first) / count, nothing)),
        "visits": _log10(xp, context[:, _C["n_visits"]]),
        "fwhm": _log10(xp, width),
        "zp": deep - stated + NOISE_SLOPE * _log10(xp, noise) + WIDTH_SLOPE * _log10(xp, width) + IMPLIED,
        "zero_point": stated,
        "real_bogus": context[:, _C["real_bogus"]],
        "distance": xp.astype(judged.distance, f64),
        "limit": deep,
        "top_probability": xp.max(p, axis=1),
    }
    values = xp.stack([columns[name] for name in STATISTICS], axis=1)
    low, high = xp.asarray(LOW)[None, :], xp.asarray(HIGH)[None, :]
    cut = xp.where(values < low, low, xp.where(values > high, high, values))
    return xp.astype(xp.where(xp.isnan(values), xp.asarray(xp.nan, dtype=f64), cut), xp.float32)


def _log10(xp: Any, x: Array) -> Array:
    """NaN for what is not above 0."""
    one = xp.asarray(1.0, dtype=x.dtype)
    return xp.where(x > 0, xp.log10(xp.where(x > 0, x, one)), xp.asarray(xp.nan, dtype=x.dtype))


def pixel_noise(stamps: Array) -> Array:
    """Noise of a pixel of the difference image [its unit], by neighbours in rows far from the source; (n, 3, S, S) → (n,), NaN: no pixels.

    Mean absolute difference of neighbours, those beyond `OUTLIER` times their mean left out.
    """
    xp: Any = array_namespace(stamps)
    size = stamps.shape[-1]
    if size < RAW_STAMP:
        return xp.full(stamps.shape[:1], xp.nan, dtype=xp.float64)
    columns, last = slice(_BEGIN, _BEGIN + STAMP), _BEGIN + STAMP
    rows = [stamps[:, 2, y, columns] for y in (*range(_BEGIN, _BEGIN + EDGE_ROWS), *range(last - EDGE_ROWS, last))]
    edge = xp.astype(xp.stack(rows, axis=1), xp.float64)
    step = xp.abs(edge[:, :, 1:] - edge[:, :, :-1])
    step = xp.reshape(step, (step.shape[0], step.shape[1] * step.shape[2]))
    zero = xp.asarray(0.0, dtype=xp.float64)
    there = xp.isfinite(step)
    mean = _mean(xp, step, there=there)
    return _TO_SIGMA * _mean(xp, step, there=there & (xp.where(there, step, zero) <= OUTLIER * mean[:, None]))


def _mean(xp: Any, x: Array, *, there: Array) -> Array:
    """Along the last axis, of what is there; NaN: nothing is."""
    zero, one = xp.asarray(0.0, dtype=x.dtype), xp.asarray(1.0, dtype=x.dtype)
    count = xp.sum(xp.astype(there, x.dtype), axis=-1)
    mean = xp.sum(xp.where(there, x, zero), axis=-1) / xp.where(count > 0, count, one)
    return xp.where(count > 0, mean, xp.asarray(xp.nan, dtype=x.dtype))


@dataclass(frozen=True, slots=True, eq=False)
class Window:
    """Sums over alerts of a stratum; windows add up."""

    n: int
    """Alerts."""
    count: I64 = field(default_factory=lambda: np.zeros(len(STATISTICS), np.int64))  # (S,) numbers that are there
    sum: F64 = field(default_factory=lambda: np.zeros(len(STATISTICS)))  # (S,)
    squares: F64 = field(default_factory=lambda: np.zeros(len(STATISTICS)))  # (S,)
    histogram: I64 = field(default_factory=lambda: np.zeros((len(STATISTICS), BINS), np.int64))  # (S, BINS)
    nulls: I64 = field(default_factory=lambda: np.zeros(len(ABSENT), np.int64))  # (C,) alerts that lack the field
    classes: Mapping[str, int] = field(default_factory=dict)
    """Alerts by the class they are decided as."""

    def __add__(self, other: Window) -> Window:
        classes = dict(self.classes)
        for name, count in other.classes.items():
            classes[name] = classes.get(name, 0) + count
        arrays = {name: getattr(self, name) + getattr(other, name) for name in ("count", "sum", "squares", "histogram", "nulls")}
        return Window(self.n + other.n, classes=classes, **arrays)

    @property
    def mean(self) -> F64:
        """(S,) NaN where fewer than a quarter of the alerts have the number."""
        enough = self.count * 4 >= max(self.n, 1)
        return np.where(enough, self.sum / np.maximum(self.count, 1), np.nan)

    @property
    def null_share(self) -> F64:
        """(C,) of each field."""
        return self.nulls / max(self.n, 1)

    def record(self) -> dict[str, dict[str, Any]]:
        """What a summary carries: name of a statistic → n, sum, squares, histogram; what no alert has is left out."""
        return {
            name: {
                "n": int(self.count[i]),
                "sum": float(self.sum[i]),
                "squares": float(self.squares[i]),
                "histogram": self.histogram[i].tolist(),
            }
            for i, name in enumerate(STATISTICS)
            if self.count[i]
        }

    @classmethod
    def of_record(
        cls, n: int, statistics: Mapping[str, Mapping[str, Any]], *, nulls: Mapping[str, int], classes: Mapping[str, int]
    ) -> Window:
        """The window of a summary; what is not known here is left out, what is missing there has been seen in no alert.

        Parameters
        ----------
        n : int
            Alerts.
        statistics : mapping
            As `record` writes them.
        nulls : mapping
            Field of `ABSENT` → alerts that lack it.
        classes : mapping
            Class → alerts.
        """
        out = cls(n, classes=dict(classes))
        for i, name in enumerate(STATISTICS):
            found = statistics.get(name)
            if found is None:
                continue
            out.count[i], out.sum[i], out.squares[i] = found["n"], found["sum"], found["squares"]
            bins = found.get("histogram", ())
            if len(bins) == BINS:
                out.histogram[i] = bins
        for i, name in enumerate(ABSENT):
            out.nulls[i] = nulls.get(name, 0)
        return out


def windows_of(values: F32, context: F32, *, strata: Sequence[str], classes: Sequence[str]) -> dict[str, Window]:
    """Sum alerts up by stratum.

    Parameters
    ----------
    values : (n, S)
        As `alert_statistics` gives them.
    context : (n, C)
        Columns of the batch, for shares of nulls.
    strata, classes : sequences of n names

    Returns
    -------
    dict
        Stratum → window.
    """
    names = list(dict.fromkeys(strata))
    place = {name: i for i, name in enumerate(names)}
    k, s = len(names), len(STATISTICS)
    alerts, count, nulls = np.zeros(k, np.int64), np.zeros((k, s), np.int64), np.zeros((k, len(ABSENT)), np.int64)
    total, squares, histogram = np.zeros((k, s)), np.zeros((k, s)), np.zeros((k, s, BINS), np.int64)
    rows = np.array([place[name] for name in strata], np.int64)
    fill_sums(values, context, rows, LOW, HIGH, alerts, count, total, squares, histogram, nulls)
    decided: list[dict[str, int]] = [{} for _ in names]
    for i, name in zip(rows.tolist(), classes, strict=True):
        decided[i][name] = decided[i].get(name, 0) + 1
    return {name: Window(int(alerts[i]), count[i], total[i], squares[i], histogram[i], nulls[i], decided[i]) for name, i in place.items()}
