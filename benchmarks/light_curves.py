"""Detrending and transit search beside wotan and astropy, in one process: `python -m benchmarks.light_curves`.

a made TESS target of 20,000 points → milliseconds of CPU, ratios of interleaved runs (medians), how far the values lie apart

CPU time of the process, so that threads of the others count in full. Needs the extra `astro`.
"""

from __future__ import annotations

import json
import resource
import sys
import warnings
from collections.abc import Callable
from typing import Any, Literal

import numpy as np

from benchmarks.frames import timed
from benchmarks.machine import describe
from operators.detrend import Detrending, detrend
from operators.transits import Points, Searching, figures, frequencies, signal_to_noise, transit
from operators.whole_curves import Curve, Curves

POINTS = 20_000
PERIODS = 20_000
NOISE = 1e-3
DURATIONS = np.array([0.08, 0.12, 0.2])


def target(seed: int, *, period: float = 3.288, depth: float = 1e-3) -> Curve:
    """A sector at two minutes, with a gap, rotation and a planet."""
    rng = np.random.default_rng(seed)
    t = 1325.3 + np.arange(POINTS) * 2 / 1440
    t[POINTS // 2 :] += 1.1
    flux = 1 + 2e-3 * np.sin(2 * np.pi * t / 3.1) + NOISE * rng.standard_normal(POINTS)
    inside = np.abs((t - 1326.0 + period / 2) % period - period / 2) < 0.06
    flux[inside] *= 1 - depth
    return Curve(t, 15_000 * flux, np.full(POINTS, 15_000 * NOISE), np.zeros(POINTS, np.int64))


def main() -> int:
    """Run as a command."""
    warnings.simplefilter("ignore")
    import astropy
    import numba
    import wotan
    from astropy.timeseries import BoxLeastSquares

    numba.set_num_threads(1)
    curve = target(1)
    curves = Curves.of([curve])
    out: dict[str, Any] = {"points": POINTS, "periods": PERIODS, "astropy": astropy.__version__, "wotan": "2.1"}
    methods: tuple[Literal["biweight", "median"], ...] = ("biweight", "median")
    for method in methods:
        for window in (0.5, 0.75):
            how = Detrending(method=method, window=window, threshold=0)

            def ours(how: Detrending = how) -> Any:
                return detrend(curves, how=how).trend

            def theirs(method: str = method, window: float = window) -> Any:
                return wotan.flatten(curve.time, curve.flux, window_length=window, method=method, return_trend=True)[1]

            ms, got = timed({"ours": ours, "wotan": theirs}, rounds=9)
            apart = float(np.nanmax(np.abs(got["ours"] - got["wotan"]))) / (15_000 * NOISE)
            out[f"{method} {window} d"] = {**ms, "wotan / ours": ms["wotan"] / ms["ours"], "apart [sigma]": apart}

    left = detrend(curves)
    points = Points(curve.time, left)
    periods = 1 / np.linspace(1 / 12, 1 / 0.6, PERIODS)
    model = BoxLeastSquares(points.t, points.r, 1 / np.sqrt(points.w))
    calls: dict[str, Callable[[], Any]] = {
        "ours": lambda: signal_to_noise(points, periods, durations=DURATIONS),
        "astropy": lambda: model.power(periods, DURATIONS, objective="snr", method="fast").depth_snr,
    }
    ms, got = timed(calls, rounds=3)
    out["box search"] = {
        **ms,
        "astropy / ours": ms["astropy"] / ms["ours"],
        "same best period": bool(got["ours"].argmax() == got["astropy"].argmax()),
        "peak, ours / astropy": float(got["ours"].max() / got["astropy"].max()),
    }

    searching = Searching()
    quick = Detrending(step=5)
    ms, _ = timed(
        {
            "detrend, events protected": lambda: detrend(curves),
            "detrend, each fifth point": lambda: detrend(curves, how=quick),
            "transit search": lambda: transit(points, how=searching),
            "detrend, each fifth point, and all figures": lambda: figures(curves, detrend(curves, how=quick), how=searching),
            "quick: detrend": lambda: detrend(curves, how=Detrending.quick()),
            "quick: detrend and all figures": lambda: figures(curves, detrend(curves, how=Detrending.quick()), how=Searching.quick()),
        },
        rounds=9,
    )
    out["a target"] = ms

    grid = frequencies(float(np.ptp(curve.time)), how=searching)
    out["coarse periods"] = len(grid)
    found = {"coarse": 0, "fine": 0, "quick": 0}
    rng = np.random.default_rng(5)
    for seed in range(30):
        period = float(rng.uniform(0.7, 9.0))
        made = Curves.of([target(100 + seed, period=period, depth=float(rng.uniform(4e-4, 1.2e-3)))])
        star = Points(made.time, detrend(made, how=quick))
        binned = Points(made.time, detrend(made, how=Detrending.quick()))
        for name, its, wanted in (
            ("coarse", star, searching),
            ("fine", star, Searching(drift=0.2, coarse=10)),
            ("quick", binned, Searching.quick()),
        ):
            got_transit = transit(its, how=wanted)
            found[name] += got_transit is not None and abs(got_transit.period / period - 1) < 5e-3
    out["recall of planets of 400 to 1,200 ppm"] = {
        **found,
        "coarse / fine": found["coarse"] / max(found["fine"], 1),
        "quick / fine": found["quick"] / max(found["fine"], 1),
    }
    out["peak resident memory [MB]"] = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024
    out["machine"] = describe()
    sys.stdout.write(json.dumps(out, indent=1) + "\n")
    return 0


if __name__ == "__main__":
    raise SystemExit(main())
