"""The reference of drift that ships with a bundle, made anew: ``python -m tools.remake_drift_reference [--bundle B]``.

simulated nights of the stream, scored by the bundle → `drift.safetensors` beside its manifest

Made anew whenever the bundle is: scores are the bundle's. The demo's sky in the stream's mix; a deployment whose first windows differ from
it learns its own (docs/drift.md).
"""

from __future__ import annotations

import argparse
import sys
from dataclasses import replace
from pathlib import Path

import numpy as np
import safetensors.numpy

from console.progress import progress
from errors import UserError
from evaluation.studies import drift_study
from evaluation.studies.drift_streams import STRATA, Scored, simulated_pool
from gpu.choose import choose
from operators.alert_statistics import windows_of
from operators.drift_reference import Reference, reference_of
from operators.drift_thresholds import STREAMS, bootstrap_thresholds
from registry.bundle import DRIFT, PUBLISHED, load

ALERTS, NEW = 16_000, 20
"""Simulated, to draw nights from; populations that the stream does not have are made for the study's sake only."""
NIGHTS = 300_000
"""Alerts of the nights that the reference is of: three lunations."""
MADE_FOR = "made_for"
"""Array with the sha256 of the bundle that scored."""


def main(arguments: list[str] | None = None) -> int:
    """Run the program; 0, or 1 with one line on standard error."""
    parser = argparse.ArgumentParser(prog="python -m tools.remake_drift_reference", description="A bundle's reference of drift made anew.")
    parser.add_argument("--bundle", type=Path, default=PUBLISHED, help="folder of the bundle (default: the one that ships)")
    parser.add_argument("--alerts", type=int, default=ALERTS, help="simulated alerts to draw nights from")
    parser.add_argument("--keep", type=Path, metavar="FOLDER", help="keep the scored alerts there, or read them")
    options = parser.parse_args(arguments)
    try:
        found = made(options.bundle, alerts=options.alerts, keep=options.keep)
        (options.bundle / DRIFT).write_bytes(found)
    except (UserError, OSError) as error:
        print(f"protonova: {error}", file=sys.stderr)
        return 1
    print(f"{len(found):,} bytes in {options.bundle / DRIFT}")
    return 0


def made(folder: Path, *, alerts: int, nights: int = NIGHTS, keep: Path | None = None, streams: int = STREAMS) -> bytes:
    """The file of a bundle.

    Parameters
    ----------
    folder : Path
        Of the bundle.
    alerts, nights : int
        Simulated ones, and those of the nights that are drawn from them.
    keep : Path, optional
        Folder for scored alerts.
    streams : int
        Of the bootstrap.
    """
    bundle = load(folder)
    session, _ = choose(bundle.encoder, "onnxruntime")
    with progress("drift", unit="alerts") as bar:
        pool = simulated_pool(bundle, session, alerts=alerts, new=NEW, seed=700, keep=keep, progress=bar.advance)
    sky = drift_study.whole(pool)
    windows = drift_study.stable_windows(sky, alerts=nights)
    thresholds = bootstrap_thresholds(windows, run_length=drift_study.RUN_LENGTH, streams=streams)
    of_nights = reference_of(((placed.stratum, placed.window) for placed in windows), thresholds=thresholds)
    reference = centred(of_nights, sky.pool.stable)
    arrays = reference.arrays() | {MADE_FOR: np.frombuffer(bundle.sha256.encode(), np.uint8)}
    return safetensors.numpy.save({name: np.ascontiguousarray(array) for name, array in sorted(arrays.items())})


def centred(of_nights: Reference, stable: Scored) -> Reference:
    """The nights' spreads about the sky's own means.

    Nights are drawn by moon and seeing, which say how far windows spread. Their means are those of the seeing that was drawn, and lie up to
    2.7 spreads beside those of the alerts themselves: sums over that end in an alarm, with nothing moved.
    """
    names, classes = [STRATA[k] for k in stable.stratum], [str(c) for c in stable.decided]
    whole = windows_of(stable.values, stable.context, strata=names, classes=classes)
    strata = {}
    for name, known in of_nights.strata.items():
        mean = np.where(np.isfinite(whole[name].mean), whole[name].mean, known.mean)
        histogram = whole[name].histogram / np.maximum(whole[name].histogram.sum(axis=1, keepdims=True), 1)
        strata[name] = replace(known, mean=mean, nulls=whole[name].null_share, histogram=histogram)
    return Reference(strata, of_nights.thresholds)


if __name__ == "__main__":
    sys.exit(main())
