"""How the drift panel does: false alarms on stable nights, power and delay of each change, what it calls them; beside River's detectors.

scored alerts, stable and changed (`evaluation.studies.drift_streams`) → a table over seeds

Thresholds are set on one half of the stable alerts and everything is judged on the other. A seed draws a reference of `REFERENCE` alerts,
as many again that are stable, and `AFTER` alerts under each scenario. False alarms are counted on stable streams; power is the share of
seeds with an alarm, delay the alerts until the first one, and a diagnosis is that of the alarms of the first `EPISODE` alerts after it.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

from evaluation.measures import wilson
from evaluation.studies.drift_changes import EXPECTED
from evaluation.studies.drift_streams import A_NIGHT, STABLE, STRATA, Nights, Pool, Scored, windows
from operators.alert_statistics import STATISTICS
from operators.drift_detectors import GRID, make, plain
from operators.drift_panel import SUPPORTING, Alarm, Detector, Panel, Reference, diagnose, reference_of
from operators.drift_thresholds import Placed, bootstrap_thresholds, calibrated

REFERENCE, AFTER = 100_000, 40_000
"""Alerts of a lunation, and after a change."""
NIGHTS = REFERENCE // A_NIGHT
"""Of a lunation."""
CALIBRATION = 200_000
"""Stable alerts whose nights are resampled."""
RUN_LENGTH = 1e6
"""Alerts to a false alarm of the whole panel that thresholds are made for; 0.3 in 10⁵ are asked for."""
EPISODE = 3000
"""Alerts after a first alarm that belong to it."""
FALSE_ALARMS, RIGHT = 0.3, 0.95
"""Bars: a 10⁵ stable alerts at most; of diagnoses at least."""
SCENARIOS: tuple[str, ...] = tuple(EXPECTED)
PANEL = "panel"
DEFAULTS = {"adwin": 32, "page_hinkley": 32, "kswin": 32}
"""River's defaults are fed means of so many alerts of a stratum, of novelty and top probability, as the agent once was."""
WATCHED = ("novelty", "top_probability")
SLOW_SEEDS = 3
"""Seeds on which KSWIN is run, at a millisecond an update."""
CALIBRATED_ON = ("entropy", "energy", "novelty", "points", "zp", "log_snr")
"""Statistics on which a parameter of River's detectors must be rare."""

Progress = Callable[[int], None]
Raised = list[tuple[int, list[Alarm]]]
"""Position in the stream and what was raised there."""
Draw = Callable[[int, np.random.Generator], tuple[Any, Any]]


@dataclass(frozen=True, slots=True)
class Sky:
    """Alerts to draw from, and how streams are drawn."""

    pool: Pool
    draw: Draw
    strata: tuple[str, ...]

    def placed(self, stream: Scored, night: Any) -> list[tuple[int, Placed]]:
        """Windows of a stream by position."""
        return windows(stream, night, strata=self.strata)


def simulated(pool: Pool) -> tuple[Sky, Sky]:
    """One half of the alerts to set thresholds on, the other to judge with."""
    return whole(pool.half(0)), whole(pool.half(1))


def whole(pool: Pool) -> Sky:
    """All alerts."""
    return Sky(pool, Nights(pool.stable).draw, STRATA)


def thresholds_of(sky: Sky, *, run_length: float = RUN_LENGTH, alerts: int = CALIBRATION, seed: int = 0) -> dict[str, float]:
    """Thresholds of a panel, by the block bootstrap of stable nights."""
    return bootstrap_thresholds(stable_windows(sky, alerts=alerts, seed=seed), run_length=run_length, reference=NIGHTS, seed=seed)


def stable_windows(sky: Sky, *, alerts: int = CALIBRATION, seed: int = 0) -> list[Placed]:
    """Windows of stable nights, in order."""
    rows, night = sky.draw(alerts, np.random.default_rng([seed, 77]))
    return [placed for _, placed in sky.placed(sky.pool.stable.take(rows), night)]


Detectors = Callable[[], Mapping[str, Detector]]
"""Makes what takes the place of statistics' sums."""


def study(
    sky: Sky,
    *,
    thresholds: Mapping[str, float],
    seeds: int,
    first: int = 0,
    scenarios: Sequence[str] = SCENARIOS,
    panels: Mapping[str, Detectors] | None = None,
    reference: int = REFERENCE,
    after: int = AFTER,
    progress: Progress = lambda n: None,
) -> dict[str, dict[str, Any]]:
    """The table of each of several panels, on the same streams.

    Parameters
    ----------
    sky : Sky
    thresholds : mapping
        Statistic → threshold of the sums.
    seeds, first : int
        How many, from which on.
    scenarios : sequence of str
    panels : mapping, optional
        Name → its detectors; `PANEL` alone, of sums, if None. KSWIN is run on the first `SLOW_SEEDS` seeds.
    reference, after : int
        Alerts of a reference and of a stable stream; of a changed one.
    progress : callable
        Is given how many seeds more are done.
    """
    panels = {PANEL: dict} if panels is None else panels
    raised: dict[str, dict[str, list[Raised]]] = {panel: {name: [] for name in (STABLE, *scenarios)} for panel in panels}
    for seed in range(first, first + seeds):
        known, streams = drawn(sky, seed, scenarios=scenarios, reference=reference, after=after)
        for panel, detectors in panels.items():
            if panel == "kswin" and seed >= first + SLOW_SEEDS:
                continue
            for name, placed in streams.items():
                raised[panel][name].append(_run(Panel(known, thresholds=thresholds, detectors=detectors()), placed))
        progress(1)
    return {panel: _table(found, scenarios=scenarios, reference=reference) for panel, found in raised.items()}


def _run(panel: Panel, placed: Sequence[tuple[int, Placed]]) -> Raised:
    found = ((at, panel.see(p.stratum, p.window, at_ms=at)) for at, p in placed)
    return [(at, alarms) for at, alarms in found if alarms]


def _table(found: Mapping[str, Sequence[Raised]], *, scenarios: Sequence[str], reference: int) -> dict[str, Any]:
    stable, changed = found[STABLE], {name: found[name] for name in scenarios}
    alerts = len(stable) * reference
    return {
        "seeds": len(stable),
        "stable alerts": alerts,
        "false": false_alarms(stable, alerts=alerts),
        "scenarios": {name: power(raised, expected=EXPECTED.get(name, "")) for name, raised in changed.items()},
        "diagnoses": _right(changed),
    }


def drawn(
    sky: Sky, seed: int, *, scenarios: Sequence[str] = SCENARIOS, reference: int = REFERENCE, after: int = AFTER
) -> tuple[Reference, dict[str, list[tuple[int, Placed]]]]:
    """A seed's reference, and windows of its streams by scenario, a stable one among them."""
    rng = np.random.default_rng([seed, 31])
    rows, night = sky.draw(reference, rng)
    known = reference_of([(p.stratum, p.window) for _, p in sky.placed(sky.pool.stable.take(rows), night)])
    rows, night = sky.draw(reference, rng)
    streams = {STABLE: sky.placed(sky.pool.stable.take(rows), night)}
    rows, night = sky.draw(after, rng)
    for name in scenarios:
        streams[name] = sky.placed(sky.pool.stream(rows, name, rng=rng), night)
    return known, streams


def false_alarms(stable: Sequence[Raised], *, alerts: int) -> dict[str, Any]:
    """Episodes of alarms on stable streams: a 10⁵ alerts, with a 95 % interval; and single alarms by statistic."""
    names = Counter(alarm.statistic for raised in stable for _, alarms in raised for alarm in alarms)
    count = sum(episodes(raised) for raised in stable)
    low, high = _poisson(count)
    scale = 1e5 / alerts
    return {
        "count": count,
        "per_1e5": round(count * scale, 3),
        "interval": [round(low * scale, 3), round(high * scale, 3)],
        "streams": sum(bool(raised) for raised in stable),
        "alarms": sum(names.values()),
        "by_statistic": dict(names.most_common()),
        "bar": FALSE_ALARMS,
        "met": count * scale <= FALSE_ALARMS,
    }


def episodes(raised: Raised) -> int:
    """How many times a person would be called: alarms within `EPISODE` alerts of an episode's first are part of it."""
    count, begun = 0, -EPISODE - 1
    for at, _ in raised:
        if at > begun + EPISODE:
            count, begun = count + 1, at
    return count


def _poisson(count: int) -> tuple[float, float]:
    """Exact 95 % interval of the mean of a count (Garwood 1936)."""
    from scipy.stats import chi2

    low = float(chi2.ppf(0.025, 2 * count)) / 2 if count else 0.0
    return low, float(chi2.ppf(0.975, 2 * count + 2)) / 2


def power(changed: Sequence[Raised], *, expected: str) -> dict[str, Any]:
    """Share of streams with an alarm, delay of the first one, what it was called, and which statistics spoke first."""
    first = [raised[0][0] if raised else None for raised in changed]
    there = [at for at in first if at is not None]
    called = [diagnosis(raised) for raised in changed]
    quantiles = [round(float(np.quantile(there, q))) for q in (0.1, 0.5, 0.9)] if there else None
    leading = Counter(alarm.statistic for raised in changed if raised for alarm in raised[0][1])
    return {
        "power": round(len(there) / max(1, len(changed)), 3),
        "delay_10_50_90": quantiles,
        "called": dict(Counter(name for name in called if name).most_common()),
        "expected": expected,
        "right": sum(name == expected for name in called),
        "first": dict(leading.most_common()),
    }


def diagnosis(raised: Raised) -> str:
    """What the alarms of the first episode mean together; "" without any."""
    return diagnose([alarm for at, alarms in raised if at <= raised[0][0] + EPISODE for alarm in alarms]) if raised else ""


def _right(changed: Mapping[str, Sequence[Raised]]) -> dict[str, Any]:
    called = [(diagnosis(raised), EXPECTED.get(name, "")) for name, streams in changed.items() for raised in streams if raised]
    right = sum(a == b for a, b in called)
    low, high = wilson(right, len(called))
    share = right / max(1, len(called))
    return {"share": round(share, 4), "interval": [round(low, 4), round(high, 4)], "of": len(called), "bar": RIGHT, "met": share >= RIGHT}


def calibrated_detectors(
    sky: Sky, kind: str, *, run_length: float = RUN_LENGTH, streams: int = 20, seed: int = 0
) -> tuple[float | None, Callable[[], dict[str, Detector]]]:
    """The parameter with which one of River's detectors is as rare on `CALIBRATED_ON` as the panel's sums, and what makes them all."""
    stable = stable_windows(sky, alerts=CALIBRATION // 2, seed=seed)
    names = [name for name in STATISTICS if name not in SUPPORTING]
    length = run_length * len(names)
    parameter = calibrated(stable, CALIBRATED_ON, kind=kind, run_length=length, reference=NIGHTS, streams=streams, seed=seed)
    return parameter, lambda: {} if parameter is None else {name: make(kind, parameter) for name in names}


def defaults(
    sky: Sky, *, seeds: int, first: int = 0, scenarios: Sequence[str] = SCENARIOS, progress: Progress = lambda n: None
) -> dict[str, Any]:
    """River's detectors with their own defaults, on means of a few alerts of each stratum: false alarms and power."""
    out: dict[str, Any] = {}
    for kind, size in DEFAULTS.items():
        count = 0
        found: dict[str, list[int | None]] = {name: [] for name in scenarios}
        used = min(seeds, SLOW_SEEDS) if kind == "kswin" else seeds
        for seed in range(first, first + used):
            rng = np.random.default_rng([seed, 31])
            rows, _ = sky.draw(REFERENCE, rng)
            before = sky.pool.stable.take(rows)
            rows, _ = sky.draw(AFTER, rng)
            for number, name in enumerate((STABLE, *scenarios)):
                stream = before if name == STABLE else sky.pool.stream(rows, name, rng=rng)
                at = _plain(before, None if name == STABLE else stream, kind=kind, size=size, strata=len(sky.strata))
                if name == STABLE:
                    count += len(at)
                else:
                    found[name].append(min(at) if at else None)
                if kind == "kswin" and number >= 3:
                    break
            progress(1)
        out[kind] = {
            "seeds": used,
            "samples": f"means of {size} alerts of {' and '.join(WATCHED)}, by stratum",
            "false_per_1e5": round(count / used / REFERENCE * 1e5, 2),
            "scenarios": {
                name: {"power": round(np.mean([x is not None for x in at]), 2), "delay": _middle(at)} for name, at in found.items() if at
            },
        }
    return out


def _middle(at: Sequence[int | None]) -> int | None:
    there = [x for x in at if x is not None]
    return round(float(np.median(there))) if there else None


def _plain(before: Scored, after: Scored | None, *, kind: str, size: int, strata: int) -> list[int]:
    """Positions of alarms: on the stable alerts themselves, or after a change that follows them."""
    out = []
    for statistic in WATCHED:
        column = STATISTICS.index(statistic)
        for k in range(strata):
            detector = plain(kind)
            values, _ = _means(before, column, stratum=k, size=size)
            stable = [i for i, value in enumerate(values) if detector.update(value)]
            if after is None:
                out += stable
                continue
            values, at = _means(after, column, stratum=k, size=size)
            out += [position for value, position in zip(values, at, strict=True) if detector.update(value)]
    return out


def _means(stream: Scored, column: int, *, stratum: int, size: int) -> tuple[list[float], list[int]]:
    where = np.flatnonzero(stream.stratum == stratum)
    n = len(where) // size
    values = stream.values[where[: n * size], column].astype(np.float64).reshape(n, size)
    return values.mean(axis=1).tolist(), where[size - 1 : n * size : size].tolist()


KINDS: tuple[str, ...] = tuple(GRID)
