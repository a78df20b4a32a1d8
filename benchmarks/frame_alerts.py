"""From a raw frame of 1k × 1k pixels to alert packets on one core: `python -m benchmarks.frame_alerts`.

a simulated observatory → milliseconds of CPU of each stage and of all, packets, false alerts, changes that were missed

CPU time of the process with one thread a library, medians over the frames after one that compiles. Masters and reference are those that the
simulated observatory's own calibration frames give. A false alert is a packet further than 3 arcsec from every object that was injected;
known variability is injected, nothing else varies. Needs the extra `frames`.
"""

from __future__ import annotations

import json
import os
import sys
import time
from typing import Any

SIDE = 1024
SEED = 5
OBJECTS = 30
ALIKE = 3.0
"""[arcsec] from a packet to the object it is of."""
SURE = 10.0
"""Expected significance from which a change should be found."""


def start() -> int:
    """One thread each; the libraries read these when they are imported."""
    for name in ("OMP_NUM_THREADS", "MKL_NUM_THREADS", "OPENBLAS_NUM_THREADS", "NUMBA_NUM_THREADS"):
        os.environ[name] = "1"
    sys.stdout.write(json.dumps(measure(), indent=1) + "\n")
    return 0


def measure(*, side: int = SIDE, seed: int = SEED, rounds: int = 2) -> dict[str, Any]:
    """The figures.

    Parameters
    ----------
    side : int
        Of the detector [pixel].
    seed : int
        Of the simulated sky.
    rounds : int
        How often each frame is taken.
    """
    import numpy as np

    from benchmarks.machine import describe
    from data.frames.fits_image import read_frame
    from data.simulate.frames.exposure_plan import Plan
    from data.simulate.frames.observing_run import ObservingRun
    from operators.images.subtract import prepare
    from pipeline.frames import alerts, calibrated

    plan = Plan(seed=seed, side=side, fields=("sparse",), filters=("r",), nights=4, detectors=1, mishaps=(), objects=OBJECTS)
    run = ObservingRun(plan)
    masters, reference = observatory(run)
    began = time.process_time()
    prepared = prepare(reference)
    once = 1e3 * (time.process_time() - began)
    frames = [(read_frame(frame.file, origin=frame.name), frame.truth) for frame in run.science()]
    alerts(frames[0][0], *calibrated(frames[0][0], masters), reference=prepared)  # compiles
    spent: dict[str, list[float]] = {"calibrated": [], "alerts": [], "raw frame to packets": []}
    packets = false = sure = missed = 0
    for turn in range(rounds):
        for raw, truth in frames:
            one = time.process_time()
            planes, quality = calibrated(raw, masters)
            two = time.process_time()
            found = alerts(raw, planes, quality, reference=prepared)
            three = time.process_time()
            for name, duration in zip(spent, (two - one, three - two, three - one), strict=True):
                spent[name].append(1e3 * duration)
            if turn == 0:
                places = np.array([(p.ra, p.dec) for p in found.new_positions], np.float64).reshape(-1, 2)
                true = np.array([(t.ra, t.dec) for t in truth], np.float64).reshape(-1, 2)
                apart = _apart(places, true)
                wanted = np.array([t.measurable and abs(t.snr) >= SURE for t in truth], bool)
                packets += len(found.packets)
                false += int((apart.min(1, initial=np.inf) > ALIKE).sum())
                sure += int(wanted.sum())
                missed += int((apart.min(0, initial=np.inf)[wanted] > ALIKE).sum())
    return {
        "pixels": f"{side} x {side}",
        "frames": len(frames),
        "CPU [ms]": {name: float(np.median(values)) for name, values in spent.items()},
        "reference prepared, once a field [ms]": once,
        "packets": packets,
        "false alerts": false,
        f"changes of S/N >= {SURE:g} on usable pixels": sure,
        "of these missed": missed,
        "machine": describe(),
    }


def observatory(run: Any) -> tuple[Any, Any]:
    """Masters and reference of an `ObservingRun` of one detector, field and filter."""
    import numpy as np

    from data.frames.calibrated_file import CalibratedFile
    from data.frames.fits_image import read_frame
    from data.frames.reference_build import build_reference
    from operators.images.combine import combine, masters_of
    from pipeline.frame_figures import Catalogue
    from pipeline.frames import calibrated

    taken: dict[str, list[Any]] = {"bias": [], "dark": [], "flat": []}
    for frame in run.calibration():
        taken[frame.exposure.kind].append(read_frame(frame.file, origin=frame.name))
    bias = combine([_above(raw) for raw in taken["bias"]], kind="bias")[0]
    dark = combine([(_above(raw) - bias) / np.float32(raw.exposure) for raw in taken["dark"]], kind="dark")[0]
    flats = []
    for raw in taken["flat"]:
        light = _above(raw) - bias - dark * np.float32(raw.exposure)
        light = light * (1 + np.float32(raw.readout.nonlinearity) * light)
        flats.append(light / np.median(light))
    masters = masters_of(bias=bias, dark=dark, flat=combine(flats, kind="flat")[0])
    columns = run.catalogue()
    catalogue = Catalogue(columns["ra"], columns["dec"], columns["r"])
    files = []
    for frame in run.reference():
        raw = read_frame(frame.file, origin=frame.name)
        planes, quality = calibrated(raw, masters, catalogue=catalogue)
        files.append(CalibratedFile(planes, quality, raw, masters.ids, (), frame.name))
    return masters, build_reference(files)


def _above(raw: Any) -> Any:
    """(h, w) [ADU] of a frame above the level of its overscan."""
    import numpy as np

    y0, y1, x0, x1 = raw.readout.trim
    data = np.asarray(raw.data, np.float32)
    over = data[y0:y1, raw.readout.overscan[2] : raw.readout.overscan[3]]
    return data[y0:y1, x0:x1] - np.median(over, axis=1, keepdims=True)


def _apart(a: Any, b: Any) -> Any:
    """(n, m) distances of positions (n, 2) and (m, 2) ra, dec [arcsec]."""
    import numpy as np

    ra = (a[:, None, 0] - b[None, :, 0]) * np.cos(np.radians(b[None, :, 1]))
    return 3600 * np.hypot(ra, a[:, None, 1] - b[None, :, 1])


if __name__ == "__main__":
    raise SystemExit(start())
