"""Compile every loop once, at install: `python -m tools.compile_kernels`.

Those of raw frames, which alerts do not need, only when asked for: `python -m tools.compile_kernels frames`.

the sources as they are → machine code in their cache (`operators.kernels.compiled`), so that no first start has to wait for a compiler

The compiler holds one lock a process, hence a process each for decoding, for the operators and for the simulated sky.
"""

from __future__ import annotations

import argparse
import gc
import multiprocessing
import os
import sys
import time
from collections.abc import Callable
from concurrent.futures import ProcessPoolExecutor

from operators.kernels.compiled import cache_folder
from tools import frame_loops


def decoding() -> None:
    """What makes columns of packets."""
    from schemas.surveys.decode import warm

    warm()


def operators() -> None:
    """What makes the network's inputs of columns: a long light curve, so that its period is looked for."""
    import numpy as np

    from operators.alert_statistics import alert_statistics, windows_of
    from operators.context import context
    from operators.decision import decide, rule_of
    from operators.features import features
    from operators.head import Judged, Views, judge
    from operators.stamps import stamps
    from operators.tokens import tokens
    from operators.types import MAX_POINTS, SURVEY_SCORES
    from registry.bundle import load
    from schemas.surveys.columns import Columns

    columns = Columns(1)
    t = np.arange(MAX_POINTS)
    for column, value in (
        (columns.time, 61_000.0 + 0.7 * t),
        (columns.wavelength, 6366.4),
        (columns.flux, 100.0 + 30.0 * np.sin(2.3 * t)),
        (columns.flux_err, 3.0),
        (columns.limit, np.nan),
        (columns.detected, True),
        (columns.valid, True),
        (columns.stamps, 1.0),
        (columns.pixel_scale, 1.01),
        (columns.context, 1.0),
        (columns.ra, 10.0),
        (columns.dec, 10.0),
        (columns.mjd, 61_000.0 + 0.7 * t[-1]),
        (columns.first_detection, 61_000.0),
        (columns.truncated, False),
    ):
        column[...] = value
    columns.identify("ztf", 1, object_id="ZTF20aaaaaaa", programid=1, band="r")
    batch = columns.batch()
    for operator in (tokens, stamps, context, features):
        operator(batch)
    known = load()
    judged = judge(Views(known.golden.embedding, known.golden.logits, known.golden.named), known.head)
    scores = np.full((len(known.golden.embedding), len(SURVEY_SCORES)), np.nan, np.float32)
    decide(judged, scores, rule=rule_of(known.head, known.classes))
    one = Judged(*(column[:1] for column in judged))
    values = alert_statistics(batch, known.golden.logits[:1], judged=one)
    windows_of(np.asarray(values), np.asarray(batch.context), strata=["ztf/r/sky"], classes=["agn"])


def filters() -> None:
    """What reads detections' columns and asks filters of them."""
    import numpy as np

    from data.areas.position_index import index_positions
    from operators.areas import areas_of, inside, near
    from operators.filters import matches
    from schemas.filters.filter_columns import columns_of
    from schemas.filters.filter_expression import bind, read_expression

    programs, columns = bind([read_expression("p_sn_ia > 0.5")])
    columns_of([b""], columns)
    matches(programs, np.zeros((len(columns), 1)))
    place, cell = np.zeros(1), np.zeros(1, np.int64)
    near(index_positions(place, place, radius=place + 1e-3), cell, ra=place, dec=place)
    inside(areas_of([np.array([[0, 1]])]), cell)


def stars() -> None:
    """What detrends and searches whole light curves, and what matches places; the folded view is compiled with the operators."""
    import numpy as np

    from operators.crossmatch import Layer, near
    from operators.detrend import detrend
    from operators.dips import DETRENDING, SEARCHING
    from operators.transits import figures
    from operators.whole_curves import Curve, Curves

    n = np.arange(300.0)
    curves = Curves.of([Curve(0.02 * n, 100.0 + np.sin(n * n), np.ones(300), np.zeros(300, np.int64))])
    figures(curves, detrend(curves, how=DETRENDING), how=SEARCHING)
    starts, places, numbers = np.zeros(13, np.int64), np.zeros(0), np.zeros(0, np.float32)
    for column in (starts, places, numbers):
        column.setflags(write=False)  # as those of a mapped file
    layer = Layer(0, starts, 0, places, places, numbers, numbers, numbers, 1.0, 0.0)
    near(np.zeros(1), np.zeros(1), mjd=np.zeros(1), layers=[layer], epoch=0.0, radius=1.0)


def sky() -> None:
    """What draws the demo's night."""
    from data.simulate.night import night

    for _ in night(1, 2, duplicates=0, broken=0):
        pass


JOBS: dict[str, tuple[Callable[[], None], ...]] = {
    "": (decoding, operators, filters, stars, sky),
    "frames": (frame_loops.calibration, frame_loops.subtraction, frame_loops.files_and_sky),
}
"""What is asked for → its jobs."""


def _alone(job: Callable[[], None]) -> None:
    """Do a job in a process that ends with it: the compiler's objects are many, and looking for unused ones is a tenth of its time."""
    gc.disable()
    job()


def main(arguments: list[str] | None = None) -> int:
    """Run as a command."""
    parser = argparse.ArgumentParser(prog="python -m tools.compile_kernels", description="Compile every loop once.")
    parser.add_argument("what", nargs="?", choices=[name for name in JOBS if name], help="the loops of raw frames; default: all others")
    jobs = JOBS[parser.parse_args(arguments).what or ""]
    folder = cache_folder()
    if folder is None:
        sys.stderr.write("no folder to keep machine code in, so every start compiles: set NUMBA_CACHE_DIR to one that is yours alone\n")
        return 0
    began = time.monotonic()
    with ProcessPoolExecutor(min(len(jobs), os.cpu_count() or 1), multiprocessing.get_context("spawn")) as pool:
        for job in [pool.submit(_alone, job) for job in jobs]:
            job.result()
    count = sum(1 for _ in folder.glob("*.code"))
    sys.stdout.write(f"compiled loops: {count} in {time.monotonic() - began:.1f} s, kept in {folder}\n")
    return 0


if __name__ == "__main__":
    raise SystemExit(main())
