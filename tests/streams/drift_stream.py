"""Telemetry of an invented sky for the tests of drift: summaries whose statistics are drawn, by night and stratum, and may move."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from pathlib import Path

import numpy as np
import safetensors.numpy

from operators.alert_statistics import HIGH, LOW, STATISTICS, windows_of
from operators.drift_panel import WINDOW, Window
from operators.drift_reference import Reference, reference_of
from operators.types import CONTEXT, F32
from schemas.records.score_summary import Extreme, ScoreSummary
from streams.score_sums import statistics_of

STRATA = ("ztf/g/sky", "ztf/r/sky")
MANIFEST = b'{"of": "a test"}'
MIDDLE = LOW + 0.4 * (HIGH - LOW)
SIGMA = 0.05 * (HIGH - LOW)
"""Of an alert."""
NIGHTLY = 0.01
"""Of a night's mean, in `SIGMA`."""
MJD = 60_000.0


def values(rng: np.random.Generator, n: int, *, night: int, moved: Mapping[str, float]) -> F32:
    """Statistics of n alerts of a night; `moved` in `SIGMA`."""
    of_night = NIGHTLY * np.random.default_rng([night, 5]).standard_normal(len(STATISTICS))
    step = np.array([moved.get(name, 0.0) for name in STATISTICS])
    drawn = MIDDLE + SIGMA * (of_night + step + rng.standard_normal((n, len(STATISTICS))))
    return np.clip(drawn, LOW, HIGH).astype(np.float32)


def window(rng: np.random.Generator, n: int, *, night: int, moved: Mapping[str, float], nulls: tuple[str, ...] = ()) -> Window:
    context = np.zeros((n, len(CONTEXT)), np.float32)
    context[:, [CONTEXT.index(name) for name in nulls]] = np.nan
    (found,) = windows_of(values(rng, n, night=night, moved=moved), context, strata=["x"] * n, classes=["sn-ia"] * n).values()
    return found


def reference() -> Reference:
    """A lunation of the sky that does not move."""
    rng = np.random.default_rng(1)
    made = [(stratum, window(rng, WINDOW, night=night, moved={})) for night in range(30) for stratum in STRATA for _ in range(4)]
    return reference_of(made)


def ship(state: Path, model: str) -> None:
    """Lay the reference down where a fetched bundle has it."""
    folder = state / "models" / model
    folder.mkdir(parents=True)
    (folder / "manifest.json").write_bytes(MANIFEST)
    (folder / "drift.safetensors").write_bytes(safetensors.numpy.save(reference().arrays()))


def summaries(
    alerts: int,
    *,
    seed: int,
    model: str,
    moved: Mapping[str, float] | None = None,
    nulls: tuple[str, ...] = (),
    night: int = 40,
    size: int = 128,
    scoring_id: str = "state",
    schema: str = "400",
) -> Iterator[ScoreSummary]:
    """Summaries of so many alerts, the strata in turns, a night each 4,096."""
    rng = np.random.default_rng(seed)
    for k in range(alerts // size):
        at = night + k * size // 4096
        found = window(rng, size, night=at, moved=moved or {}, nulls=nulls)
        survey, band, region = STRATA[k % len(STRATA)].split("/")
        ends = tuple(Extreme(name, edge, f"ztf:{seed}{k}{i}:{edge:g}") for i, name in enumerate(STATISTICS) for edge in (LOW[i], HIGH[i]))
        mjd = MJD + at + 0.1 + 0.0001 * k
        yield ScoreSummary(
            "w", scoring_id, survey, band, region, mjd, mjd + 0.001, size, {"sn-ia": size}, 0, 0.1 * size, 0.01 * size,
            [size] + [0] * 19, 0.9 * size, [size] + [0] * 19, 0.1 * size, [size] + [0] * 19, model, 1_000 * k,
            statistics_of(found), dict.fromkeys(nulls, size), {schema: size}, ends,
        )  # fmt: skip
