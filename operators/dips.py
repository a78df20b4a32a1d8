"""Whole light curve of a star → its dip view: what periodic and single dips, flares and the curve as a whole look like.

`Curves` of m targets → (m, D) float32, the channels of `DIPS`; `Found` a target: the figures behind it; the folded view, (m, V)

Forty tokens cannot show a planet: it takes from a star a thousandth of its light for two hours of thirteen days. So a light curve that was
watched without a break (TESS, Kepler) is detrended (`operators.detrend`) and searched (`operators.transits`), and the network is shown
the figures, the dip folded at its period as a whole and near (after Shallue & Vanderburg 2018, AJ 155, 94), the deepest single
event, and the whole curve in a few bins. Scales are fixed; nothing is learned here. Runs on the host, target by target: no result depends
on what else is in the batch.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from operators.detrend import Detrended, Detrending, detrend
from operators.fold import FASTEST, FOLD, Magnitudes, view
from operators.fold import period as period_of
from operators.transit_figures import Figures
from operators.transits import Points, Searching, figures_of
from operators.types import F32, F64
from operators.whole_curves import LEAST_SPAN, Curve, Curves

LEAST_POINTS = 200
"""Of a light curve that is searched."""
WHOLE, NEAR, SINGLE, CURVE = 32, 16, 16, 32
"""Bins of the folded curve, of the dip and of the deepest single event (each within `AROUND` durations), and of the curve."""
AROUND = 1.5
LEAST_RANGE = 0.05
"""[mag]: a curve of a smaller range has no amplitude in its folded view; the dip view has its range."""
BIN = 1200.0 / 86_400.0
"""[d] of the bins in which a pulsation's period is looked for: the shortest that is distinguished has two of them."""
DETRENDING = Detrending(step=5)
SEARCHING = Searching()
LEAST_SIGNIFICANCE = 10.0
"""From which a period is stated: noise is seldom white."""
DIPS: tuple[str, ...] = (
    *(f"folded {k}/{WHOLE}" for k in range(WHOLE)),
    *(f"dip {k}/{NEAR}" for k in range(NEAR)),
    *(f"single event {k}/{SINGLE}" for k in range(SINGLE)),
    *(f"curve {k}/{CURVE}" for k in range(CURVE)),
    "log signal to noise",
    "log signal to red noise",
    "log depth",
    "log period",
    "log duration",
    "log density",
    "log transits",
    "log odd-even",
    "secondary / depth",
    "log secondary signal to noise",
    "cos secondary phase",
    "asymmetry",
    "log depth scatter",
    "timing scatter / duration",
    "near gaps",
    "grazing",
    "periodic",
    "log single significance",
    "log single depth",
    "log single / depth",
    "log single duration",
    "single from transit",
    "log dip share",
    "log noise",
    "log trend",
    "log range",
    "log residual / noise",
    "skewness",
    "kurtosis",
    "log flares",
    "log flare amplitude",
    "log flare significance",
    "impulsive flares",
    "span",
    "log cadence",
    "searched",
)
"""Names of the channels. The last one is 1 where a light curve was searched; elsewhere all are 0."""
_SCALARS = WHOLE + NEAR + SINGLE + CURVE


@dataclass(frozen=True, slots=True)
class Found:
    """What was found in one target."""

    figures: Figures
    noise: float
    """Scatter of a point about the trend, in relative flux."""
    period: float | None
    """[d] of a pulsation or rotation: the period that explains the undetrended curve best; None: none is significant."""
    period_significance: float | None
    """Minus log10 of its false-alarm probability in white noise, the search's frequencies counted as independent."""


@dataclass(frozen=True, slots=True)
class Looked:
    """The same of m targets."""

    dips: F32
    """(m, len(DIPS))"""
    folded: F32
    """(m, len(FOLD)) the folded view (`operators.fold`), of the whole curve."""
    found: tuple[Found | None, ...]
    """None: too short to be searched."""


def look(curves: Curves) -> Looked:
    """Detrend and search whole light curves; those that are too short give zeros."""
    dips, folded = np.zeros((len(curves), len(DIPS)), np.float32), np.zeros((len(curves), len(FOLD)), np.float32)
    found: list[Found | None] = []
    for i in range(len(curves)):
        curve = curves[i]
        finite = np.isfinite(curve.time) & np.isfinite(curve.flux)
        if finite.sum() < LEAST_POINTS or np.ptp(curve.time[finite]) < LEAST_SPAN:
            found.append(None)
            continue
        left = detrend(Curves.of([curve]), how=DETRENDING)
        points = Points(curve.time, left)
        if not points.usable:
            found.append(None)
            continue
        figures = figures_of(points, how=SEARCHING)
        dips[i] = _view(curve, left, points=points, figures=figures)
        star = magnitudes(curve)
        period, significance = None, None
        if star is not None:
            best = period_of(star)
            folded[i] = view(star, best)
            significance = _significance(star, power=best[1])
            if significance > LEAST_SIGNIFICANCE:
                period = 1 / best[0]
        found.append(Found(figures, points.noise, period, significance if period is not None else None))
    return Looked(dips, folded, tuple(found))


def magnitudes(curve: Curve) -> Magnitudes | None:
    """A light curve in bins of `BIN`, as magnitudes about its mean; None where it is too short or its median is not positive."""
    good = np.isfinite(curve.time) & np.isfinite(curve.flux) & (curve.flux > 0)
    t, flux = curve.time[good], curve.flux[good]
    if len(t) < LEAST_POINTS:
        return None
    middle = float(np.median(flux))
    start = float(t.min())
    which = ((t - start) / BIN).astype(np.int64)
    _, place = np.unique(which, return_inverse=True)
    count = np.bincount(place)
    time, mean = np.bincount(place, t - start) / count, np.bincount(place, flux) / count
    m = -2.5 * np.log10(mean / middle)
    kept = np.abs(m - np.median(m)) < 10 * np.median(np.abs(m - np.median(m))) + 0.3
    time, m = time[kept], m[kept]
    if len(m) < 40 or not np.ptp(m) > 1e-6:
        return None
    known = curve.flux_err[good & np.isfinite(curve.flux_err)]
    error = 1.0857 * float(np.median(known)) / middle / float(np.median(count)) ** 0.5 if len(known) else 1e-4
    m = m - m.mean()
    low, high = (float(x) for x in np.percentile(m, (2, 98)))
    # What is fine beside the calibration of a survey from the ground is folded as a shape: the search's least variance is that of a survey.
    small = high - low < LEAST_RANGE
    per = max(high - low, 1e-9) if small else 1.0
    return Magnitudes(time - time[0], m / per, np.ones(len(m)), error / per, small)


def _significance(star: Magnitudes, *, power: float) -> float:
    """Minus log10 of the false-alarm probability of a peak of the periodogram."""
    frequencies = FASTEST * max(float(star.t[-1]), 1.0)
    return float(max(-(len(star.t) - 3) / 2 * np.log10(max(1 - power, 1e-12)) - np.log10(frequencies), 0.0))


def _view(curve: Curve, left: Detrended, *, points: Points, figures: Figures) -> F32:
    """(D,) channels of one target."""
    out = np.zeros(len(DIPS))
    t, r, noise = points.t, points.r, points.noise
    single, found = figures.single, figures.transit
    values: dict[str, float] = {}
    if found is not None:
        phase = (t - found.epoch) / found.period
        phase -= np.round(phase)
        depth = max(found.depth, 1e-7)
        out[:WHOLE] = _profile((phase + 0.5) * WHOLE, r / depth, bins=WHOLE)
        near = phase * found.period / (2 * AROUND * found.duration) + 0.5
        out[WHOLE : WHOLE + NEAR] = _profile(near * NEAR, r / depth, bins=NEAR)
        values |= {
            "log signal to noise": np.log10(max(found.signal_to_noise, 0.1)) - 1,
            "log signal to red noise": np.log10(max(found.red_signal_to_noise, 0.1)) - 1,
            "log depth": np.log10(depth) / 2 + 1.5,
            "log period": np.log10(found.period),
            "log duration": np.log10(found.duration) + 1,
            "log density": np.log10(max(found.density, 1e-3)),
            "log transits": np.log10(max(found.transits, 1)) - 0.5,
            "log odd-even": np.log1p(found.odd_even) / 3,
            "secondary / depth": min(found.secondary_depth / depth, 1.5),
            "log secondary signal to noise": np.log10(max(found.secondary_signal_to_noise, 0.1)),
            "cos secondary phase": np.cos(2 * np.pi * found.secondary_phase),
            "asymmetry": found.asymmetry,
            "log depth scatter": np.log10(max(found.depth_scatter, 0.01)) / 2,
            "timing scatter / duration": min(found.timing_scatter / found.duration, 2.0),
            "near gaps": found.near_gap,
            "grazing": found.grazing,
            "periodic": 1.0,
        }
    if single is not None:
        place = (t - single.time) / (2 * AROUND * single.duration) + 0.5
        at = WHOLE + NEAR
        out[at : at + SINGLE] = _profile(place * SINGLE, r / max(single.depth, 1e-7), bins=SINGLE)
        values |= {
            "log single significance": np.log10(max(single.significance, 0.1)) - 0.7,
            "log single depth": np.log10(max(single.depth, 1e-7)) / 2 + 1.5,
            "log single duration": np.log10(single.duration) + 1,
        }
        if found is not None:
            off = (single.time - found.epoch) / found.period
            off = abs(off - round(off)) * found.period / found.duration
            values |= {
                "log single / depth": np.log10(max(single.depth, 1e-7) / max(found.depth, 1e-7)),
                "single from transit": min(off, 3.0) / 3,
            }
    span = float(t[-1] - t[0])
    out[_SCALARS - CURVE : _SCALARS] = np.arcsinh(_whole(curve, noise)) / 4
    scaled = r / noise
    inside = np.clip(scaled, -50, 50)
    trend = left.trend[np.isfinite(left.trend)]
    middle = float(np.median(trend)) if len(trend) else 1.0
    spread = float(np.std(trend) / middle) if middle > 0 else 0.0
    deviation = float(inside.std())
    low, level, high = (float(x) for x in np.percentile(curve.flux[np.isfinite(curve.flux)], (2, 50, 98)))
    values |= {
        "log dip share": np.log10(float((scaled < -3).mean()) + 1e-4) / 2 + 1,
        "log noise": np.log10(noise * (points.cadence * 24) ** 0.5) / 2 + 1.5,
        "log trend": np.log10(max(spread, 1e-6)) / 2 + 1.5,
        "log range": np.log10(max((high - low) / (abs(level) or 1.0), 1e-6)) / 2 + 1.5,
        "log residual / noise": np.log10(max(deviation, 0.1)),
        "skewness": np.arcsinh(float(((inside - inside.mean()) ** 3).mean()) / max(deviation, 1e-3) ** 3) / 3,
        "kurtosis": np.arcsinh(float(((inside - inside.mean()) ** 4).mean()) / max(deviation, 1e-3) ** 4 - 3) / 4,
        "span": span / 30,
        "log cadence": np.log10(points.cadence * 1440) / 2,
    }
    if figures.flares:
        strongest = max(figures.flares, key=lambda flare: flare.significance)
        values |= {
            "log flares": np.log10(1 + len(figures.flares)),
            "log flare amplitude": np.log10(max(strongest.amplitude, 1e-6)) / 2 + 1,
            "log flare significance": np.log10(max(strongest.significance, 1.0)) / 2,
            "impulsive flares": float(np.mean([flare.impulsive for flare in figures.flares])),
        }
    for name, value in values.items():
        out[DIPS.index(name)] = value
    out[-1] = 1.0
    return np.asarray(np.clip(np.nan_to_num(out, posinf=0.0, neginf=0.0), -3, 3), dtype=np.float32)


def _profile(place: F64, value: F64, *, bins: int) -> F64:
    """Mean in each of the bins 0 … `bins`; 0 where no point falls."""
    where = np.floor(place)
    inside = (where >= 0) & (where < bins)
    which = where[inside].astype(np.int64)
    count = np.bincount(which, minlength=bins)
    return np.asarray(np.clip(np.bincount(which, value[inside], minlength=bins) / np.maximum(count, 1), -3, 3))


def _whole(curve: Curve, noise: float) -> F64:
    """(CURVE,) means of the undetrended curve about its median, in units of the scatter of a point."""
    good = np.isfinite(curve.time) & np.isfinite(curve.flux)
    t, flux = curve.time[good], curve.flux[good]
    middle = abs(float(np.median(flux))) or 1.0
    place = (t - t.min()) / max(float(np.ptp(t)), 1e-6) * (CURVE - 1e-6)
    which = place.astype(np.int64)
    count = np.maximum(np.bincount(which, minlength=CURVE), 1)
    mean = np.bincount(which, (flux - np.median(flux)) / middle, minlength=CURVE) / count
    return np.asarray(mean / noise)
