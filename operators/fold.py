"""Light curve of a star → its folded view: period, shape against phase, amplitude. What tokens cannot show of a periodic signal.

columns of an `AlertBatch`, (n, T) → (n, V) float32; all zeros where there is nothing to fold

Forty tokens of a variable star say little, because the order of its phases is lost between the nights. So long curves are folded: a
Lomb–Scargle periodogram by spreading and FFT (Press & Rybicki 1989, ApJ 338, 277), its peaks and those of its harmonic sum with
their multiples tried by analysis of variance (Schwarzenberg-Czerny 1989) and refined by a fit of eight harmonics. A curve is
folded at the shortest period that explains it and, beside that, at twice it: a close binary's two minima look alike.

Work is done on magnitudes of the total flux, difference + reference. It runs on the host whatever the namespace: few alerts pass the
gate, and a periodogram an alert is not a batch. Everything is causal: the packet's points only. Scales are fixed; nothing is learned here.
"""

from __future__ import annotations

from functools import cache
from typing import NamedTuple

import numpy as np
import numpy.typing as npt

from operators.kernels.fold import extirpolate, lomb_scargle, search
from operators.kernels.folded_view import BINS, LEAST_POINTS, LEAST_SPAN, LOG_PERIODS, brought_together, describe
from operators.namespace import array_namespace, to_host
from operators.types import CONTEXT, F32, F64, AlertBatch, Array

REFERENCE_WITHIN = 1.5
"""[arcsec]: a nearer source of the reference image is the star itself."""
FASTEST = 20.0
"""Highest frequency searched [1/d]; less where the curve is so long that the grid would grow beyond `_GRID`."""
_GRID = 2**18
_FINE = 256
_OVER = 1.8
"""Frequencies a 1/span."""
_SLOWEST = 1000.0
"""Longest period [d]; also at most the span over 1.3."""
FOLD: tuple[str, ...] = (
    *(f"curve {k}/32" for k in range(BINS)),
    *(f"curve at 2 P {k}/32" for k in range(BINS)),
    *(f"log P near {x:g}" for x in LOG_PERIODS),
    "log P",
    "log amplitude",
    "log residual / amplitude",
    "explained",
    "peak power",
    "power at slow frequencies",
    *(f"log a{h} / a1" for h in range(2, 6)),
    *(f"{wave} phase {h}1" for h in range(2, 5) for wave in ("cos", "sin")),
    "odd / even harmonics at 2 P",
    "gain from 2 P",
    "depth at half phase",
    "faint share of phase",
    "skewness",
    "kurtosis",
    *(f"percentile {q}" for q in (2, 10, 25, 75, 90, 98)),
    "log spread",
    "log spread / error",
    "change from night to night",
    "residual change from night to night",
    "reference",
    "scaled by range",
    "folded",
)
"""Names of the channels. The last one is 1 where there is a folded view; elsewhere all are 0."""


class Magnitudes(NamedTuple):
    """One star, in one band or brought to one band: what is folded."""

    t: F64  # (N,) [d], from 0
    m: F64  # (N,) [mag], weighted mean 0
    w: F64  # (N,) weights, mean 1
    error: float  # median error [mag]
    scaled: bool  # no total flux is known: m is flux over its own range


def fold(batch: AlertBatch) -> Array:
    """Fold the light curves that are long enough.

    Returns
    -------
    (n, V) float32 array of the batch's namespace; channels as in `FOLD`.
    """
    return array_namespace(batch.flux).asarray(fold_on_host(batch))


def fold_on_host(batch: AlertBatch) -> F32:
    """The same on the host: (n, len(FOLD)).

    Whatever the namespace, a batch is fetched once: which alerts pass the gate, and then the columns of all of these.
    """
    out = np.zeros((len(batch), len(FOLD)), dtype=np.float32)
    rows = np.flatnonzero(_host(gate(batch)))
    if len(rows):
        points = _points(batch, rows)
        for k, i in enumerate(rows):
            star = _magnitudes(points, k)
            if star is not None:
                out[i] = view(star)
    return out


def gate(batch: AlertBatch) -> Array:
    """(n,) bool: enough points that show the source, over a long enough time.

    A point shows it if the survey detected it, or, with a reference, if difference + reference does at 5 σ.
    """
    xp = array_namespace(batch.flux)
    if batch.flux.shape[1] < LEAST_POINTS:
        return xp.zeros(len(batch), dtype=xp.bool)
    if xp is np and not (np.count_nonzero(batch.valid, axis=1) >= LEAST_POINTS).any():
        return np.zeros(len(batch), dtype=np.bool_)  # half of all batches of a few alerts
    measured = batch.valid & xp.isfinite(batch.flux) & (batch.flux_err > 0)
    shown = measured & (batch.detected | (batch.flux + _reference(batch)[:, None] > 5 * batch.flux_err))
    time = batch.time
    span = xp.max(xp.where(shown, time, -xp.inf), axis=1) - xp.min(xp.where(shown, time, xp.inf), axis=1)
    return (xp.sum(xp.astype(shown, xp.int32), axis=1) >= LEAST_POINTS) & (span >= LEAST_SPAN)


def _reference(batch: AlertBatch) -> Array:
    """(n,) flux of the star in the reference image [µJy]; NaN where there is none."""
    xp = array_namespace(batch.context)
    flux = batch.context[:, CONTEXT.index("reference_flux")]
    near = batch.context[:, CONTEXT.index("reference_distance")] < REFERENCE_WITHIN
    return xp.where(near & (flux > 0), flux, xp.asarray(xp.nan, dtype=flux.dtype))


class _Points(NamedTuple):
    """Columns of m alerts on the host."""

    time: F64  # (m, T)
    flux: F32  # (m, T)
    flux_err: F32  # (m, T)
    wavelength: F32  # (m, T)
    valid: npt.NDArray[np.bool_]  # (m, T)
    reference: F32  # (m,)


def _points(batch: AlertBatch, rows: npt.NDArray[np.intp]) -> _Points:
    """The columns of some alerts; of another namespace in one transfer, as float64, which holds them all to the bit."""
    xp = array_namespace(batch.flux)
    reference = _reference(batch)
    columns = (batch.time, batch.flux, batch.flux_err, batch.wavelength, batch.valid)
    if xp is np:
        return _Points(*(np.asarray(column)[rows] for column in (*columns, reference)))
    pick = xp.asarray(rows)
    both = [xp.astype(xp.take(column, pick, axis=0), xp.float64) for column in columns]
    both.append(xp.broadcast_to(xp.astype(xp.take(reference, pick, axis=0), xp.float64)[:, None], both[0].shape))
    time, flux, flux_err, wavelength, valid, near = _host(xp.stack(both))
    f32 = np.float32
    return _Points(time, flux.astype(f32), flux_err.astype(f32), wavelength.astype(f32), valid != 0, near[:, 0].astype(f32))


def _host(array: Array) -> npt.NDArray[np.generic]:
    return np.asarray(to_host(array))


def magnitudes(batch: AlertBatch, i: int) -> Magnitudes | None:
    """The points of alert i as magnitudes of the total flux; None where too few are left.

    The band with most points; where that has fewer than 80, the others join it, each shifted by its median. Without a reference the flux
    itself is the total if it is positive throughout; else it is flux over its own range, which has a shape but no amplitude.
    """
    return _magnitudes(_points(batch, np.array([i])), 0)


def _magnitudes(points: _Points, k: int) -> Magnitudes | None:
    """`magnitudes` of row k of what was fetched."""
    star = Magnitudes(*brought_together(*(column[k] for column in points[:-1]), float(points.reference[k])))
    return star if len(star.t) else None


def periodogram(star: Magnitudes) -> tuple[F64, F64]:
    """Lomb–Scargle power on an even grid of frequencies.

    Returns
    -------
    (F,), (F,)
        Frequencies [1/d], from 0 on; power 0 … 1, the share of the variance that a sine explains.
    """
    length, power = _power(star)
    return np.arange(len(power)) / length, power


def _power(star: Magnitudes) -> tuple[float, F64]:
    """The power at k / length, and that length [d]. Sums and transforms are in single precision: 1e-6 of the power."""
    length = _OVER * max(float(star.t[-1]), LEAST_SPAN)
    size = _grid(int(np.ceil(2.4 * FASTEST * length)))
    count = int(min(FASTEST * length, size / 2.4))
    table, correction = _spreading(size)
    weight = star.w.sum()
    data, window = np.zeros((2, size), dtype=np.float32)
    extirpolate(star.t, star.w * star.m / weight, length, 1, table, _FINE, data)
    extirpolate(star.t, star.w / weight, length, 2, table, _FINE, window)
    power = np.empty(count)
    variance = float((star.w * star.m**2).sum() / weight)
    lomb_scargle(np.fft.rfft(data), np.fft.rfft(window), correction, variance, count, power)
    return length, power


def _grid(least: int) -> int:
    """Points of the grid: 4, 5 or 6 times a power of two, at least so many and at most `_GRID`."""
    if least >= _GRID:
        return _GRID
    octave = 1 << max((least - 1).bit_length() - 3, 0)
    return octave * next(k for k in (4, 5, 6, 8) if k * octave >= least)


@cache
def _spreading(size: int) -> tuple[F64, F64]:
    """The Kaiser–Bessel function on a fine grid, and 1 over its transform (Fessler & Sutton 2003).

    Good where a grid has only 1.2 times the points that its frequencies need, so that it stays small; Lagrange's weights would need four
    times.
    """
    width, beta = 8, np.pi * 8 * (1 - 1 / 2.4) * 0.98
    x = np.arange(width // 2 * _FINE + 2) / _FINE
    table = np.i0(beta * np.sqrt(np.maximum(1 - (2 * x / width) ** 2, 0)))
    table[2 * x > width] = 0
    root = np.sqrt(beta**2 - (np.pi * width * np.arange(size // 2 + 1) / size) ** 2 + 0j)
    return table, np.real(root / np.sinh(root)) / width


def period(star: Magnitudes) -> tuple[float, float, float]:
    """The frequency that folds the curve best, and the highest power of the search and of the slow end.

    Returns
    -------
    float, float, float
        [1/d]; 0 … 1; 0 … 1.
    """
    length, power = _power(star)
    span = max(float(star.t[-1]), LEAST_SPAN)
    f, peak, slowest = search(star.t, star.m, star.w, power, length, span, max(1 / _SLOWEST, 1.3 / span))
    return float(f), float(peak), float(slowest)


def view(star: Magnitudes, found: tuple[float, float, float] | None = None) -> F32:
    """(V,) channels of one star; `found` is what `period` gave, where it is at hand."""
    out = np.zeros(len(FOLD))
    describe(star.t, star.m, star.w, star.error, star.scaled, *(found or period(star)), out)
    scaled: F32 = np.clip(np.nan_to_num(out), -3, 3).astype(np.float32)
    return scaled
