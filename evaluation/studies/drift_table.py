"""Every table of the drift panel: simulated nights, River's detectors beside it, real packets resampled by field and night.

a bundle, its session, a folder of real packets → JSON
"""

from __future__ import annotations

import os
import platform
from collections.abc import Callable
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

from evaluation.studies import drift_study as study
from evaluation.studies.drift_real import real_sky
from evaluation.studies.drift_streams import simulated_pool
from gpu.session import Session
from registry.bundle import Bundle

ON_REAL: tuple[str, ...] = ("zero point", "seeing", "schema: real/bogus", "cadence")
"""Changes that are made to real packets too."""
FEW = 5
"""Seeds of River's defaults: what they do needs no more."""

Progress = Callable[[int], None]


def table(
    bundle: Bundle,
    session: Session,
    *,
    alerts: int,
    seeds: int,
    seed: int = 0,
    real: Path | None = None,
    keep: Path | None = None,
    progress: Progress = lambda n: None,
) -> dict[str, Any]:
    """All of it.

    Parameters
    ----------
    bundle, session
    alerts : int
        Simulated, to draw streams from.
    seeds : int
        Streams of each scenario.
    seed : int
        Of the simulation (700 more), and the first of the streams.
    real : Path, optional
        Folder of real packets; None, or one without any: they are left out.
    keep : Path, optional
        Folder for scored alerts.
    progress : callable
        Is given how many steps more are done.
    """
    pool = simulated_pool(bundle, session, alerts=alerts, new=max(20, 3 * alerts // 64), seed=700 + seed, keep=keep, progress=progress)
    one, other = study.simulated(pool)
    thresholds = study.thresholds_of(one)
    parameters: dict[str, float | None] = {}
    panels: dict[str, study.Detectors] = {study.PANEL: dict}
    for kind in study.KINDS:
        streams = study.SLOW_SEEDS if kind == "kswin" else seeds
        parameters[kind], panels[kind] = study.calibrated_detectors(one, kind, streams=streams)
    found = study.study(other, thresholds=thresholds, seeds=seeds, first=seed, panels=panels, progress=progress)
    out: dict[str, Any] = {
        "date": datetime.now(UTC).date().isoformat(),
        "machine": f"{os.cpu_count()} cores {platform.machine()}, Python {platform.python_version()}",
        "alerts": alerts,
        "run_length": study.RUN_LENGTH,
        "thresholds": thresholds,
        "panel": found[study.PANEL],
        "river_calibrated": {kind: {"parameter": parameters[kind], **found[kind]} for kind in study.KINDS},
        "river_defaults": study.defaults(other, seeds=min(seeds, FEW), first=seed, progress=progress),
    }
    sky = None if real is None else real_sky(real, bundle, session=session, scenarios=ON_REAL)
    if sky is not None:
        halves = [sky.half(which) for which in (0, 1)]
        own = study.thresholds_of(halves[0].sky)
        out["real"] = {
            "packets": len(sky.sky.pool.stable),
            "fields_of_a_night": sky.groups,
            "thresholds": own,
            **study.study(halves[1].sky, thresholds=own, seeds=seeds, first=seed, scenarios=ON_REAL, progress=progress)[study.PANEL],
        }
    return out
