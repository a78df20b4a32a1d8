"""Alerts a second that the drift process keeps up with, and its memory: `python -m benchmarks.drift_process [--alerts N] [--strata K]`

summaries of a stable sky, coded as on the topic → decoded, taken, and the state made as for each commit; one process, no broker
"""

from __future__ import annotations

import argparse
import dataclasses
import resource
import time
from collections.abc import Sequence

import numpy as np

from operators.alert_statistics import HIGH, LOW, STATISTICS
from operators.types import CONTEXT
from pipeline.monitored import Rows
from schemas.records import codec
from schemas.records.score_summary import Extreme, ScoreSummary
from streams.agents.drift_monitor import Limits, Monitor
from streams.score_sums import FULL, statistics_of, window_of_rows

LEAST_RATE, MOST_MIB = 20_000.0, 250.0
"""Targets: alerts a second, memory [MiB]."""
COMMIT_EVERY = 200
"""Summaries between two states: more often than the process writes them at this rate."""
BANDS = ("ztf/g", "ztf/r", "ztf/i", "lsst/u", "lsst/g", "lsst/r", "lsst/i", "lsst/z", "lsst/y", "frames/V")


def made(alerts: int, strata: int) -> list[bytes]:
    """Summaries of so many alerts, a night each hundred thousand."""
    rng, out, kept = np.random.default_rng(0), list[bytes](), list[ScoreSummary]()
    names = [(*band.split("/"), region) for band in BANDS for region in ("plane", "sky")][:strata]
    for survey, band, region in names:
        values = np.clip((LOW + HIGH) / 2 + (HIGH - LOW) / 10 * rng.standard_normal((FULL, len(STATISTICS))), LOW, HIGH)
        empty = np.zeros(FULL, np.uint32)
        rows = Rows(values.astype(np.float32), np.zeros((FULL, len(CONTEXT)), np.float32), np.zeros(FULL), empty, empty)
        ends = tuple(Extreme(name, edge, f"ztf:{i}:{'ab' * 16}") for i, name in enumerate(STATISTICS) for edge in (LOW[i], HIGH[i]))
        sums, nothing = statistics_of(window_of_rows(rows)), [FULL] + [0] * 19
        kept.append(
            ScoreSummary(
                "bench", "state", survey, band, region, 0.0, 0.0, FULL, {"agn": FULL}, 0, 0.0, 0.0, nothing, 0.0, nothing, 0.0, nothing,
                "model", 0, sums, {"redshift": FULL}, {"400": FULL}, ends,
            )
        )  # fmt: skip
    for k in range(alerts // FULL):
        mjd = 60_000.0 + k * FULL / 100_000
        out.append(codec.encode(dataclasses.replace(kept[k % len(kept)], mjd_first=mjd, mjd_last=mjd)))
    return out


def main(arguments: Sequence[str] | None = None) -> int:
    """Measure and print."""
    parser = argparse.ArgumentParser("python -m benchmarks.drift_process", description="How fast the drift process is.")
    parser.add_argument("--alerts", type=int, default=400_000)
    parser.add_argument("--strata", type=int, default=8)
    options = parser.parse_args(arguments)
    records = made(options.alerts, options.strata)
    monitor = Monitor(Limits(3000, 16, 3.6e6, 2, "head"), find=lambda model: None)
    raised = state_bytes = 0
    began, cpu = time.perf_counter(), time.process_time()
    for k, value in enumerate(records):
        record = codec.expect(value, ScoreSummary)
        raised += len(monitor.take(record, at_ms=100 * k, now_ms=100 * k))
        if k % COMMIT_EVERY == 0:
            state_bytes = sum(len(codec.encode(state)) for state in monitor.states(100 * k))
    wall, cpu = time.perf_counter() - began, time.process_time() - cpu
    alerts = len(records) * FULL
    memory = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024
    print(f"{alerts:,} alerts in {len(records):,} summaries of {len(records[0]):,} bytes, {options.strata} strata; {raised} alarms")
    print(f"{alerts / cpu:,.0f} alerts a second of CPU ({alerts / wall:,.0f} on the wall clock); asked: {LEAST_RATE:,.0f}")
    print(f"{memory:.0f} MiB at most; asked: {MOST_MIB:.0f}; a state has {state_bytes:,} bytes")
    return 0


if __name__ == "__main__":
    raise SystemExit(main())
