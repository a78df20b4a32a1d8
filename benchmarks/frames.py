"""Raw frames beside the field's libraries, in one process: `python -m benchmarks.frames [ROW …] [--out FILE]`.

made-up frames → a row each: milliseconds of CPU (medians of runs in turn), their ratio, the goal, how far the values lie apart

CPU time of the process, so that threads of the others count in full; one core, `OMP_NUM_THREADS=1` is set before anything is loaded. A
copy of the same bytes moves as many as calibration reads and writes, half of them in each direction. Needs the tests' environment.
"""

from __future__ import annotations

import argparse
import json
import os
import resource
import sys
import time
import warnings
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from importlib.metadata import version
from pathlib import Path
from typing import Any

for _name in ("OMP_NUM_THREADS", "OPENBLAS_NUM_THREADS", "MKL_NUM_THREADS"):
    os.environ.setdefault(_name, "1")

import numpy as np  # noqa: E402 - after the number of threads

from benchmarks.machine import describe  # noqa: E402
from operators.images.calibrate import calibrated_planes, calibrated_planes_array  # noqa: E402
from operators.images.combine import combine, masters_of  # noqa: E402
from operators.images.cosmic_rays import cosmic_rays, cosmic_rays_array  # noqa: E402
from operators.images.frame_quality import bleeding, trail  # noqa: E402
from operators.images.planes import Masters, RawFrame, Readout  # noqa: E402

SIDE = 2048
LIBRARIES = ("ccdproc", "astroscrappy", "astropy", "numpy", "numba")
Calls = dict[str, Callable[[], Any]]


@dataclass(frozen=True, slots=True)
class Row:
    """One line of the table."""

    name: str
    make: Callable[[], tuple[Calls, Callable[[Mapping[str, Any]], dict[str, Any]]]]
    """→ what is run in turn, the first of them ours, and figures of the results."""
    goals: Mapping[str, float]
    """Name of a call → how many times as long as ours it shall take, at least."""
    most_ms: float | None = None
    """Ours, at most [ms]."""
    rounds: int = 7


def timed(calls: Calls, *, rounds: int) -> tuple[dict[str, float], dict[str, Any]]:
    """Median milliseconds of CPU of each, run in turn after one run that compiles, and their last results."""
    results = {name: call() for name, call in calls.items()}
    spent: dict[str, list[float]] = {name: [] for name in calls}
    for _ in range(rounds):
        for name, call in calls.items():
            began = time.process_time()
            results[name] = call()
            spent[name].append(1e3 * (time.process_time() - began))
    return {name: float(np.median(values)) for name, values in spent.items()}, results


def starlight(n: int, *, seed: int) -> Any:
    """(n, n) electrons: a sky of 200, stars, cosmic rays, noise of 5."""
    rng = np.random.default_rng(seed)
    image = np.full((n, n), 200.0)
    y, x = np.mgrid[-12:13, -12:13]
    for _ in range(n * n // 2000):
        at = rng.uniform(14, n - 14, 2)
        i, j = at.astype(int)
        psf = np.exp(-((y - at[0] + i) ** 2 + (x - at[1] + j) ** 2) / 2 / 1.3**2)
        image[i - 12 : i + 13, j - 12 : j + 13] += 10 ** rng.uniform(2.5, 5.3) * psf / psf.sum()
    for _ in range(n * n // 4000):
        at, angle, charge = rng.uniform(3, n - 3, 2), rng.uniform(0, np.pi), 10 ** rng.uniform(2.7, 4)
        for k in range(rng.integers(1, 12)):
            i, j = (at + k * np.array([np.sin(angle), np.cos(angle)])).astype(int)
            if 0 <= i < n and 0 <= j < n:
                image[i, j] += charge * rng.uniform(0.5, 1.5)
    return (rng.poisson(image) + rng.normal(0, 5, image.shape)).astype(np.float32)


def raw_frame(n: int) -> tuple[RawFrame, Masters]:
    """A frame of 16 bits with an overscan of 32 columns, and its masters."""
    rng = np.random.default_rng(1)
    data = np.empty((n, n + 32))
    data[:, :n] = starlight(n, seed=2) / 1.7
    data[:, n:] = rng.normal(0, 3, (n, 32))
    flat, dark = rng.normal(1, 0.02, (n, n)).astype(np.float32), rng.gamma(4, 0.02, (n, n)).astype(np.float32)
    flat[7, 7] = 0
    of = masters_of(bias=rng.normal(0, 1, (n, n)).astype(np.float32), dark=dark, flat=flat)
    readout = Readout(1.7, 5.0, 60_000.0, (0, n, 0, n), (0, n, n, n + 32), linear_to=50_000.0)
    return RawFrame(np.clip(data + 1000, 0, 65_535).astype(np.uint16), readout, "science", "f", "d", "r", 60.0, 60_000.0), of


def calibration() -> tuple[Calls, Callable[[Mapping[str, Any]], dict[str, Any]]]:
    """Ours beside ccdproc, a copy and the array version: bias, dark, flat, mask, variance; planes that are filled anew."""
    import ccdproc
    from astropy import units as u
    from astropy.nddata import CCDData

    raw, of = raw_frame(SIDE)
    out = calibrated_planes(raw, of)
    planes = (raw.data, of.bias, of.dark, of.inverse_flat, of.bad, out.science, out.variance, out.mask)
    n_bytes = sum(np.asarray(plane).nbytes for plane in planes)
    source, target = np.ones(n_bytes // 2, np.uint8), np.zeros(n_bytes // 2, np.uint8)
    usable = of.inverse_flat > 0
    flat = CCDData(np.where(usable, 1 / np.where(usable, of.inverse_flat, 1), 1), unit="", mask=~usable)
    bias, dark = CCDData(of.bias, unit="adu"), CCDData(of.dark * raw.readout.gain, unit="electron")
    gain, noise = raw.readout.gain * u.electron / u.adu, raw.readout.read_noise * u.electron

    def theirs() -> Any:
        made = CCDData(np.asarray(raw.data, np.float32), unit="adu")
        ccd = ccdproc.trim_image(ccdproc.subtract_overscan(made, overscan=made[:, SIDE:], overscan_axis=1, median=True)[:, :SIDE])
        ccd = ccdproc.create_deviation(ccdproc.subtract_bias(ccd, bias), gain=gain, readnoise=noise, disregard_nan=True)
        ccd = ccdproc.subtract_dark(
            ccdproc.gain_correct(ccd, gain), dark, dark_exposure=1 * u.s, data_exposure=raw.exposure * u.s, scale=True
        )
        return ccdproc.flat_correct(ccd, flat, norm_value=1.0)

    def apart(results: Mapping[str, Any]) -> dict[str, Any]:
        ours, other = results["ours"], results["ccdproc"]
        good = usable & (ours.mask == 0)
        off = np.abs(ours.science - np.asarray(other.data))[good] / np.sqrt(ours.variance[good])
        same = all(np.array_equal(getattr(ours, p), getattr(results["array version"], p)) for p in ("science", "variance", "mask"))
        return {"largest distance from ccdproc [sigma]": float(off.max()), "bits of the array version": same, "bytes moved": n_bytes}

    calls: Calls = {
        "ours": lambda: calibrated_planes(raw, of, out=out),
        "ccdproc": theirs,
        "a copy of the same bytes": lambda: np.copyto(target, source),
        "ours, new planes": lambda: calibrated_planes(raw, of),
        "array version": lambda: calibrated_planes_array(raw, of),
    }
    return calls, apart


def rays() -> tuple[Calls, Callable[[Mapping[str, Any]], dict[str, Any]]]:
    """L.A.Cosmic beside astroscrappy: its quick separable medians in time, its exact ones in the mask."""
    import astroscrappy

    image, mask = starlight(SIDE, seed=3), np.zeros((SIDE, SIDE), np.uint8)
    exact, _ = astroscrappy.detect_cosmics(image, readnoise=5.0, sepmed=False, satlevel=np.inf)

    def apart(results: Mapping[str, Any]) -> dict[str, Any]:
        found = results["ours"][0] != 0
        return {
            "pixels of cosmic rays": int(exact.sum()),
            "share that differs from sepmed=False": float((found != exact).sum() / exact.sum()),
            "share that sepmed=True differs from it": float((results["astroscrappy, sepmed=True"][0] != exact).sum() / exact.sum()),
        }

    calls: Calls = {
        "ours": lambda: cosmic_rays(image, mask, read_noise=5.0),
        "astroscrappy, sepmed=True": lambda: astroscrappy.detect_cosmics(image, readnoise=5.0, sepmed=True, satlevel=np.inf),
    }
    return calls, apart


def rays_array() -> tuple[Calls, Callable[[Mapping[str, Any]], dict[str, Any]]]:
    """The loop beside the array version, on a smaller image."""
    image, mask = starlight(512, seed=4), np.zeros((512, 512), np.uint8)
    limits = tuple(float(np.float32(x)) for x in (25.0, 4.5, 0.3 * 4.5, 5.0))

    def apart(results: Mapping[str, Any]) -> dict[str, Any]:
        return {"same bits": all(np.array_equal(a, b) for a, b in zip(results["ours"], results["array version"], strict=True))}

    calls: Calls = {
        "ours": lambda: cosmic_rays(image, mask, read_noise=5.0),
        "array version": lambda: cosmic_rays_array(image, mask, limits=limits, iterations=4),
    }
    return calls, apart


def faults() -> tuple[Calls, Callable[[Mapping[str, Any]], dict[str, Any]]]:
    """Trails and bleeding of a frame that has neither."""
    image, mask = starlight(1024, seed=5), np.zeros((1024, 1024), np.uint8)
    variance = np.abs(image) + 25
    calls: Calls = {
        "ours": lambda: trail(image, mask, noise=15.0, level=200.0),
        "bleeding": lambda: bleeding(image, variance, mask=mask),
    }
    return calls, lambda results: {"flagged": int((results["ours"] != 0).sum() + (results["bleeding"] != 0).sum())}


def combination() -> tuple[Calls, Callable[[Mapping[str, Any]], dict[str, Any]]]:
    """A master of nine frames of 1024 x 1024, clipped."""
    from astropy.nddata import CCDData
    from ccdproc import Combiner

    rng = np.random.default_rng(6)
    frames = [rng.normal(1000, 5, (1024, 1024)).astype(np.float32) for _ in range(9)]

    def theirs() -> Any:
        made = Combiner([CCDData(frame, unit="adu") for frame in frames])
        made.sigma_clipping(low_thresh=3, high_thresh=3, func="median", dev_func="mad_std")
        return made.average_combine()

    def apart(results: Mapping[str, Any]) -> dict[str, Any]:
        return {"left out": float(sum(results["ours"][2])) / (9 * 1024 * 1024)}

    return {"ours": lambda: combine(frames, kind="bias"), "ccdproc": theirs}, apart


ROWS: tuple[Row, ...] = (
    Row("calibrate 2048 x 2048", calibration, {"ccdproc": 20, "a copy of the same bytes": 0.6}, rounds=9),
    Row("cosmic rays 2048 x 2048", rays, {"astroscrappy, sepmed=True": 8}, rounds=3),
    Row("cosmic rays 512 x 512, loop and array version", rays_array, {"array version": 3}, rounds=3),
    Row("combine 9 of 1024 x 1024", combination, {}, rounds=3),
    Row("trails and bleeding 1024 x 1024", faults, {}),
)
"""The table; what is added here is run, and named on the command line."""


def measured(row: Row) -> dict[str, Any]:
    """One row's figures."""
    calls, apart = row.make()
    ms, results = timed(calls, rounds=row.rounds)
    ours = ms["ours"]
    out: dict[str, Any] = {"ms": {name: round(value, 3) for name, value in ms.items()}}
    out["ratio"] = {name: round(value / ours, 3) for name, value in ms.items() if name != "ours"}
    out["goal"] = dict(row.goals) | ({} if row.most_ms is None else {"ms": row.most_ms})
    out["reached"] = all(out["ratio"][name] >= goal for name, goal in row.goals.items()) and ours <= (row.most_ms or np.inf)
    return out | apart(results)


def table(rows: Mapping[str, Any]) -> str:
    """The rows for a person."""
    lines = []
    for name, row in rows.items():
        lines.append(f"{name}: {row['ms']['ours']:.1f} ms{'' if row['reached'] else '   GOAL MISSED'}")
        for other, ratio in row["ratio"].items():
            goal = f", goal {row['goal'][other]:g}" if other in row["goal"] else ""
            lines.append(f"    {other}: {row['ms'][other]:.1f} ms, {ratio:.2f} x{goal}")
        lines += [f"    {key}: {value}" for key, value in row.items() if key not in ("ms", "ratio", "goal", "reached")]
    return "\n".join(lines) + "\n"


def main(arguments: list[str] | None = None) -> int:
    """Run as a command."""
    parser = argparse.ArgumentParser(prog="python -m benchmarks.frames")
    parser.add_argument("rows", nargs="*", help="parts of the names of rows; default: all")
    parser.add_argument("--out", type=Path, help="a JSON file for the figures")
    given = parser.parse_args(arguments)
    warnings.simplefilter("ignore")
    wanted = [row for row in ROWS if not given.rows or any(part in row.name for part in given.rows)]
    figures = {row.name: measured(row) for row in wanted}
    sys.stdout.write(table(figures))
    if given.out:
        memory = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024
        whole = {"rows": figures, "peak resident memory [MB]": memory, "versions": {name: version(name) for name in LIBRARIES}}
        given.out.write_text(json.dumps(whole | {"date": time.strftime("%Y-%m-%d"), "machine": describe()}, indent=1) + "\n")
    return 0 if all(row["reached"] for row in figures.values()) else 1


if __name__ == "__main__":
    raise SystemExit(main())
