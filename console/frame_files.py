"""A simulated run of raw frames → FITS files in a folder, and the truth about them.

``python -m console.frame_files FOLDER SEED [NIGHTS]``: a process of its own, so that frames are made on one core while Kafka starts on the
other. Folders `calibration`, `reference` and `nights`; `catalogue.csv`; `truth.json`, written last.
"""

from __future__ import annotations

import sys
from dataclasses import asdict, dataclass
from pathlib import Path

import orjson

from data.simulate.frames.exposure_plan import Plan
from data.simulate.frames.observing_run import ObservingRun, TrueFlux

TRUTH = "truth.json"
CATALOGUE = "catalogue.csv"


@dataclass(frozen=True, slots=True)
class MadeFrame:
    """A science frame of the nights and what it is."""

    path: Path
    frame_id: str
    detector: str
    night: int
    mishap: str
    truth: tuple[TrueFlux, ...]


def plan_of(seed: int, nights: int) -> Plan:
    """The demo's plan: two detectors, a crowded and a sparse field, two filters."""
    return Plan(seed=seed, nights=nights)


def make(folder: Path, plan: Plan) -> None:
    """Write a run; reports on standard output how many files are made."""
    run = ObservingRun(plan)
    for name in ("calibration", "reference", "nights"):
        (folder / name).mkdir(parents=True, exist_ok=True)
    run.write_catalogue(folder / CATALOGUE)
    made: list[dict[str, object]] = []
    for done, exposure in enumerate(run.exposures(), 1):
        frame = run.frame(exposure)
        kind = "calibration" if exposure.kind != "science" else "reference" if exposure.night < 0 else "nights"
        path = folder / kind / frame.name
        path.write_bytes(frame.file)
        if kind == "nights":
            made.append(
                {
                    "path": str(path),
                    "frame_id": exposure.frame_id,
                    "detector": frame.detector,
                    "night": exposure.night,
                    "mishap": exposure.mishap,
                    "truth": [asdict(row) for row in frame.truth],
                }
            )
        print(done, flush=True)
    part = folder / f"{TRUTH}.part"
    part.write_bytes(orjson.dumps(made, option=orjson.OPT_SERIALIZE_NUMPY))
    part.replace(folder / TRUTH)


def read(folder: Path) -> list[MadeFrame]:
    """The frames of the nights in the order of time."""
    rows = orjson.loads((folder / TRUTH).read_bytes())
    return [MadeFrame(Path(row["path"]), row["frame_id"], row["detector"], row["night"], row["mishap"],
                      tuple(TrueFlux(**each) for each in row["truth"])) for row in rows]  # fmt: skip


if __name__ == "__main__":
    make(Path(sys.argv[1]), plan_of(int(sys.argv[2]), int(sys.argv[3]) if sys.argv[3:] else Plan().nights))
