"""What monitoring costs on one core: `python -m benchmarks.drift`.

packets → CPU an alert of its statistics, of their sums and of the panel [µs]; beside River's detectors an update [µs]

CPU time of the process with one thread a library, medians of rounds in one run, so that ratios hold on a busy machine. Statistics are taken
in micro-batches of 64, as the stream does. Targets: statistics 3 µs an alert, telemetry 6 µs in all, the panel 20,000 alerts/s.
"""

from __future__ import annotations

import json
import os
import sys
import time
from collections.abc import Callable
from typing import Any

BATCH = 64
ROUNDS = 30
TARGETS = {"statistics": 3.0, "sums": 3.0, "panel": 50.0}
"""[µs] an alert at most; 50 µs are 20,000 alerts a second."""


def start() -> int:
    """One thread each; the libraries read these when they are imported."""
    for name in ("OMP_NUM_THREADS", "MKL_NUM_THREADS", "OPENBLAS_NUM_THREADS", "NUMBA_NUM_THREADS"):
        os.environ[name] = "1"
    sys.stdout.write(json.dumps(measure(), indent=1) + "\n")
    return 0


def measure(*, packets: int = 512, rounds: int = ROUNDS) -> dict[str, Any]:
    """The figures.

    Parameters
    ----------
    packets : int
        Different ones, real where there are.
    rounds : int
        Of each measurement.
    """
    import numpy as np

    from benchmarks.machine import describe
    from benchmarks.packets import take
    from operators.alert_statistics import alert_statistics, alert_statistics_array, windows_of
    from operators.drift_detectors import GRID, make
    from operators.drift_panel import WINDOW, Panel
    from operators.drift_reference import LEAST_WINDOWS, reference_of
    from operators.head import judge
    from pipeline.embed import embed
    from pipeline.state import load

    state, found = load(engine="onnxruntime"), take(packets)
    batch = state.decoder.decode(found.values[:BATCH]).batch
    n = len(batch)
    seen = embed(batch, state.session)
    judged = judge(seen.views, state.head.weights)
    values = np.asarray(alert_statistics(batch, seen.logits, judged=judged))
    context = np.asarray(batch.context)
    strata = [f"ztf/{'gr'[i % 2]}/{('sky', 'plane')[i // 2 % 2]}" for i in range(n)]
    classes = [state.classes[int(i)] if i < len(state.classes) else "other" for i in np.asarray(judged.nearest)]
    sums = windows_of(values, context, strata=strata, classes=classes)
    windows = {name: sum([window] * -(-WINDOW // window.n), type(window)(0)) for name, window in sums.items()}
    panel = Panel(reference_of([(name, window) for name, window in windows.items() for _ in range(LEAST_WINDOWS)]))

    def watch() -> None:
        for name, window in windows.items():
            panel.see(name, window, at_ms=0)

    watched = sum(window.n for window in windows.values())
    us = {
        "statistics": _us(lambda: alert_statistics(batch, seen.logits, judged=judged), rounds) / n,
        "statistics, array by array": _us(lambda: alert_statistics_array(batch, seen.logits, judged=judged), rounds) / n,
        "sums": _us(lambda: windows_of(values, context, strata=strata, classes=classes), rounds) / n,
        "panel": _us(watch, rounds) / watched,
    }
    rng = np.random.default_rng(0)
    river = {}
    for kind in GRID:
        detector = make(kind)
        few = rng.normal(size=200).tolist()
        river[kind] = _us(lambda detector=detector, few=few: [detector.update(z) for z in few], 3) / len(few)  # type: ignore[misc]
    return {
        "source": found.source,
        "batch": n,
        "CPU an alert [µs]": {name: round(value, 3) for name, value in us.items()},
        "River, CPU an update [µs]": {name: round(value, 2) for name, value in river.items()},
        "targets": [
            {"target": name, "reached": round(us[name], 3), "limit": limit, "unit": "µs", "passed": us[name] <= limit}
            for name, limit in TARGETS.items()
        ],
        "machine": describe(),
    }


def _us(function: Callable[[], object], rounds: int) -> float:
    """Median CPU time of a call [µs]; the first one compiles."""
    function()
    spent = []
    for _ in range(rounds):
        begun = time.process_time_ns()
        function()
        spent.append(time.process_time_ns() - begun)
    return sorted(spent)[len(spent) // 2] / 1e3


if __name__ == "__main__":
    raise SystemExit(start())
