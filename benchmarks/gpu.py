"""What a GPU gives, in one short run: every figure is written when it is made, the most valuable first.

`python -m benchmarks.gpu [--out FILE] [--seconds 240] [--dry-run]`

A GPU is lent for minutes. So the stages stand in the order of their worth, what fails or finds no time left is noted and the rest goes on,
and a run that is killed leaves all that it had. `--dry-run` runs the same stages on the processor, on little
data: array-api-strict stands in CuPy's place where operators are compared, NumPy where they are timed. It shows that the script works, and
its figures say nothing of a GPU.
"""

from __future__ import annotations

import argparse
import datetime
import os
import re
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
import orjson

from benchmarks.machine import describe
from benchmarks.packets import take
from errors import one_line
from gpu.buffers import BUCKETS
from gpu.libraries import find_cupy
from gpu.ort import OrtSession
from gpu.ort_cuda import BoundSession
from gpu.session import EngineError, Session
from gpu.trt import TrtSession
from operators.context import context
from operators.decision import Decided, decide
from operators.features import features
from operators.head import Judged, judge
from operators.images.calibrate import calibrate
from operators.images.planes import Masters, RawFrame, Readout
from operators.namespace import to_host
from operators.stamps import stamps
from operators.tokens import tokens
from operators.types import AlertBatch
from pipeline.embed import embed, inputs_of, place
from pipeline.score import score
from pipeline.state import ScoringState, make_state
from pipeline.verify import TOLERANCE, verify
from registry.bundle import Bundle
from registry.bundle import load as load_bundle
from schemas.avro.schema_store import SchemaStore
from schemas.records.detection import Detection
from schemas.surveys.decode import Decoder

ROOT = Path(__file__).parents[1]
RESULTS = ROOT / "benchmarks" / "results"
SECONDS = 240.0
PARITY = {"tokens": 2e-5, "stamps": 1e-4, "context": 1e-4, "features": 1e-4, "embedding": 1e-3, "probability": 1e-3, "science": 1e-2}
"""Most that a stage may differ between CPU and GPU, of values that are near 1; features relative."""
BYTES_A_PIXEL = 2 + 3 * 4 + 1 + 2 * 4 + 1
"""Of a calibration: raw value, three masters and the bad pixels read; science, variance and mask written."""


class NoTimeError(Exception):
    """The run's time is used up."""


@dataclass
class Run:
    """One run: its time, its place, and the report that grows."""

    out: Path
    seconds: float
    dry: bool
    report: dict[str, Any] = field(default_factory=dict)
    begun: float = field(default_factory=time.perf_counter)

    @property
    def left(self) -> float:
        """Seconds until the run is to end."""
        return self.seconds - (time.perf_counter() - self.begun)

    def save(self, stage: str, name: str, *, value: Any) -> None:
        """Add a figure, and write everything there is: a run may be killed at any time."""
        self.report.setdefault("stages", {}).setdefault(stage, {})[name] = value
        self.report["seconds"] = round(time.perf_counter() - self.begun, 2)
        print(f"{self.report['seconds']:7.1f} s  {stage}: {name} = {value}", flush=True)
        part = self.out.with_suffix(".part")
        part.write_bytes(orjson.dumps(self.report, option=orjson.OPT_INDENT_2))
        part.replace(self.out)


@dataclass(frozen=True)
class Ground:
    """What all stages need."""

    run: Run
    xp: Any
    """CuPy; NumPy in a dry run."""
    arrays: Any
    """CuPy; array-api-strict in a dry run: what the arrays' forms of the operators are compared in."""
    bundle: Bundle
    packets: tuple[bytes, ...]
    host: ScoringState
    side: int
    """Of a frame [pixel]."""

    @property
    def batch(self) -> AlertBatch:
        """The packets, decoded."""
        return Decoder(SchemaStore()).decode(self.packets).batch

    def state(self, session: Session) -> ScoringState:
        """The published state on an engine."""
        return make_state(self.bundle, session, why="benchmarks.gpu", decoder=Decoder(SchemaStore()))

    def wait(self) -> None:
        """Until the device has done what was queued."""
        if self.xp is not np:
            self.xp.cuda.Device().synchronize()

    def timed(self, work: Callable[[], Any], *, repeats: int = 5, seconds: float = 3.0) -> float:
        """Median seconds of a piece of work, after one that warms up."""
        work()
        self.wait()
        taken: list[float] = []
        while len(taken) < repeats and sum(taken) < seconds:
            start = time.perf_counter()
            work()
            self.wait()
            taken.append(time.perf_counter() - start)
        return statistics.median(taken)


_sessions: dict[str, Session | str] = {}


def sessions(ground: Ground) -> Iterator[tuple[str, Session]]:
    """The engines of this run, each made once; one that is not there is noted."""
    for name, make in _makers(ground).items():
        if name not in _sessions:
            start = time.perf_counter()
            try:
                _sessions[name] = make()
                ground.run.save("engine", f"{name} made [s]", value=round(time.perf_counter() - start, 2))
            except EngineError as error:
                _sessions[name] = str(error)
                ground.run.save("engine", f"{name} is not there", value=str(error))
        session = _sessions[name]
        if not isinstance(session, str):
            yield name, session


def _makers(ground: Ground) -> dict[str, Callable[[], Session]]:
    model = ground.bundle.encoder
    if ground.run.dry:
        return {"onnxruntime bound, cpu": lambda: BoundSession(model, BUCKETS, provider="CPUExecutionProvider")}
    cache = Path(tempfile.mkdtemp(prefix="protonova-engines-"))
    return {
        "tensorrt f32": lambda: TrtSession(model, cache=cache),
        "tensorrt f16": lambda: TrtSession(model, cache=cache, precision="f16"),
        "onnxruntime-cuda f32": lambda: BoundSession(model),
    }


def engine(ground: Ground) -> None:
    """The engines are made (TensorRT: built), and give the golden batch."""
    for name, session in sessions(ground):
        ground.run.save("engine", f"{name} engine", value=session.engine)
        ground.run.save("engine", f"{name} golden batch off by", value=float(f"{verify(ground.bundle, session):.3g}"))
        ground.run.save("engine", f"{name} allowed", value=TOLERANCE[session.precision])


def parity(ground: Ground) -> None:
    """Every stage on the device beside the host, on the same alerts and a frame."""
    batch = ground.batch
    there = place(batch, ground.arrays)
    for stage, of in (("tokens", tokens), ("stamps", stamps), ("context", context), ("features", features)):
        _compare(ground, stage, there=of(there), here=of(batch))
    for name, session in sessions(ground):
        state = ground.state(session)
        pair = [embed(batch, of.session) for of in (state, ground.host)]
        for column in ("embedding", "logits"):
            ours, host = (getattr(one, column) for one in pair)
            _compare(ground, "embedding", there=ours, here=host, label=f"{column}, {name}", precision=session.precision)
        judged = [judge(one.views, of.head.weights) for one, of in zip(pair, (state, ground.host), strict=True)]
        for column in Judged._fields[:3]:
            ours, host = (getattr(one, column) for one in judged)
            _compare(ground, "probability", there=ours, here=host, label=f"{column}, {name}", precision=session.precision)
        scores = np.asarray(batch.survey_scores)
        decided = [
            decide(one, of.namespace.asarray(scores), rule=of.head.rule)
            for one, of in zip(judged, (state, ground.host), strict=True)
        ]  # fmt: skip
        for column in Decided._fields[:1]:
            a, b = (np.asarray(to_host(getattr(one, column))) for one in decided)
            ground.run.save("parity", f"same decision, {name} [share]", value=float((a == b).mean()))
    raw, masters = _frame(ground.side)
    for plane in ("science", "variance", "mask"):
        found = [getattr(calibrate(*_moved(raw, masters, xp=xp), cosmic_rays=False), plane) for xp in (ground.arrays, np)]
        _compare(ground, "science", there=found[0], here=found[1], label=plane)


def _compare(ground: Ground, stage: str, *, there: Any, here: Any, label: str | None = None, precision: str = "f32") -> None:
    a, b = (np.asarray(to_host(x)).astype(np.float64) for x in (there, here))
    both = np.isfinite(a) & np.isfinite(b)
    scale = np.maximum(np.abs(b[both]), 1.0)
    off = float((np.abs(a[both] - b[both]) / scale).max(initial=0.0))
    missing = int((np.isfinite(a) != np.isfinite(b)).sum())
    within = PARITY[stage] * (50 if precision == "f16" else 1)
    ground.run.save(
        "parity",
        label or stage,
        value={"off": float(f"{off:.3g}"), "within": within, "missing": missing, "ok": off <= within and not missing},
    )


def tests(ground: Ground) -> None:
    """All tests that need a device."""
    most = min(90.0, max(ground.run.left - 60.0, 20.0))
    where = ["tests/pipeline/test_device.py"] if ground.run.dry else ["tests/gpu", "tests/operators", "tests/pipeline/test_device.py"]
    command = [sys.executable, "-m", "pytest", "-q", "-m", "gpu", "-p", "no:cacheprovider", *where]
    start = time.perf_counter()
    try:
        ran = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, timeout=most, check=False)
    except subprocess.TimeoutExpired:
        ground.run.save("tests", "not finished within [s]", value=most)
        return
    last = (ran.stdout.strip().splitlines() or [""])[-1]
    counts = {kind: int(n) for n, kind in re.findall(r"(\d+) (passed|failed|skipped|error)", last)}
    ground.run.save("tests", "outcome", value={"passed": 0, "failed": 0, "skipped": 0, **counts})
    failed = [line for line in ran.stdout.splitlines() if line.startswith(("FAILED", "ERROR"))]
    if failed or ran.returncode:
        ground.run.save("tests", "failed", value=failed[:20] or one_line(ran.stdout[-300:] + ran.stderr[-300:], 400))
    ground.run.save("tests", "seconds", value=round(time.perf_counter() - start, 1))


def embeddings(ground: Ground) -> None:
    """Embeddings a second, arrays on the device, by batch size."""
    inputs = inputs_of(ground.batch)
    for name, session in sessions(ground):
        for rows in session.buckets:
            pick = np.arange(rows) % inputs.tokens.shape[0]
            arrays = [session.namespace.asarray(np.ascontiguousarray(np.asarray(part)[pick])) for part in inputs]
            seconds = ground.timed(lambda arrays=arrays, session=session: session.run(*arrays), repeats=20, seconds=1.5)  # type: ignore[misc]
            ground.run.save("embeddings", f"{name}, batches of {rows} [1/s]", value=round(rows / seconds))


def frames(ground: Ground) -> None:
    """Frames calibrated a second, and the memory's speed that this is, beside a copy of as many bytes."""
    raw, masters = _moved(*_frame(ground.side), xp=ground.xp)
    seconds = ground.timed(lambda: calibrate(raw, masters, cosmic_rays=False), repeats=20)
    moved = BYTES_A_PIXEL * ground.side**2
    source = ground.xp.zeros(moved // 8, dtype=ground.xp.float32)  # half is read, half is written
    copied = ground.timed(source.copy, repeats=20)
    ground.run.save("frames", f"calibrated, {ground.side} x {ground.side} [1/s]", value=round(1 / seconds, 1))
    ground.run.save("frames", "of the copy's bandwidth [share]", value=round(copied / seconds, 3))
    ground.run.save("frames", "copy [GB/s]", value=round(moved / copied / 1e9, 1))
    seconds = ground.timed(lambda: calibrate(raw, masters), repeats=3, seconds=5.0)
    ground.run.save("frames", "calibrated, cosmic rays flagged [1/s]", value=round(1 / seconds, 2))


def packets(ground: Ground) -> None:
    """Packets a second from bytes to detections in one process, by engine; the processor beside it."""
    for name, session in (*sessions(ground), ("onnxruntime on the CPU", ground.host.session)):
        state = ground.state(session)
        size = max(session.buckets) if not ground.run.dry else len(ground.packets)
        batch = [ground.packets[i % len(ground.packets)] for i in range(size)]
        if not any(isinstance(found, Detection) for found in score(batch, state)):
            raise RuntimeError("no packet was scored")
        seconds = ground.timed(lambda batch=batch, state=state: score(batch, state), repeats=5, seconds=6.0)  # type: ignore[misc]
        ground.run.save("packets", f"{name}, batches of {size} [1/s]", value=round(size / seconds))


STAGES: tuple[Callable[[Ground], None], ...] = (engine, parity, tests, embeddings, frames, packets)
"""In order of worth."""


def _frame(side: int) -> tuple[RawFrame, Masters]:
    """A frame of sky with its masters; values only need to be possible ones."""
    rng = np.random.default_rng(0)
    shape = (side, side)
    masters = Masters(
        rng.normal(0, 2, shape).astype(np.float32), rng.gamma(4, 0.02, shape).astype(np.float32),
        (1 / rng.normal(1, 0.02, shape)).astype(np.float32), (rng.random(shape) < 1e-3).astype(np.uint8),
    )  # fmt: skip
    data = np.concatenate([rng.poisson(1300, shape), rng.poisson(1000, (side, 32))], axis=1).astype(np.uint16)
    readout = Readout(1.5, 6.0, 60_000.0, (0, side, 0, side), (0, side, side, side + 32))
    return RawFrame(data, readout, "science", "f", "ccd", "r", 30.0, 60_000.0), masters


def _moved(raw: RawFrame, masters: Masters, *, xp: Any) -> tuple[RawFrame, Masters]:
    from dataclasses import replace

    planes = {name: xp.asarray(getattr(masters, name)) for name in ("bias", "dark", "inverse_flat", "bad")}
    return replace(raw, data=xp.asarray(raw.data)), replace(masters, **planes)


def measure(run: Run) -> dict[str, Any]:
    """Run the stages; whatever happens in one, the next has its turn."""
    machine = describe()
    run.report |= {"command": "gpu", "date": datetime.datetime.now(datetime.UTC).isoformat(timespec="seconds"), "machine": machine,
                   "dry_run": run.dry, "stages": {}}  # fmt: skip
    run.save("machine", "device", value="none: a dry run on the processor" if run.dry else _device())
    xp = np if run.dry else find_cupy()
    bundle = load_bundle()
    host = make_state(bundle, OrtSession(bundle.encoder), why="the host's", decoder=Decoder(SchemaStore()))
    chosen = take(24 if run.dry else 256)
    run.save("machine", "packets", value=chosen.source)
    ground = Ground(run, xp, _strict() if run.dry else xp, bundle, chosen.values, host, 256 if run.dry else 2048)
    for stage in STAGES:
        try:
            if run.left < 5.0:
                raise NoTimeError(f"{run.left:.0f} s were left of {run.seconds:g}")
            stage(ground)
            run.save(stage.__name__, "done", value=True)
        except Exception as error:  # a stage that fails costs its own figures
            run.save(stage.__name__, "done", value=False)
            run.save(stage.__name__, "error", value=f"{type(error).__name__}: {one_line(error, 400)}")
    run.save("machine", "finished", value=True)
    return run.report


def _strict() -> Any:
    """array-api-strict, which is among the tests' packages; NumPy where they are not installed."""
    try:
        import array_api_strict
    except ImportError:
        return np
    return array_api_strict


def _device() -> str:
    cupy = find_cupy()
    properties = cupy.cuda.runtime.getDeviceProperties(cupy.cuda.Device().id)
    return f"{properties['name'].decode()}, {properties['totalGlobalMem'] / 2**30:.0f} GiB, driver {cupy.cuda.runtime.driverGetVersion()}"


def green(report: dict[str, Any]) -> bool:
    """Whether every stage was done, every comparison within its bound and no test failed."""
    stages = report["stages"]
    compared = [value for value in stages.get("parity", {}).values() if isinstance(value, dict)]
    ran = stages.get("tests", {}).get("outcome", {"failed": 1})
    return (
        all(stages.get(stage.__name__, {}).get("done") for stage in STAGES)
        and bool(compared)
        and all(value["ok"] for value in compared)
        and not ran.get("failed")
        and not ran.get("error")
        and bool(ran.get("passed") or (report["dry_run"] and ran.get("skipped")))
    )


def main(arguments: list[str] | None = None) -> int:
    """The command; 1 where something was not as it is to be."""
    parser = argparse.ArgumentParser(
        prog="python -m benchmarks.gpu", description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--out", type=Path, help="file of the figures (JSON)")
    parser.add_argument("--seconds", type=float, default=SECONDS, help="time of the whole run")
    parser.add_argument("--dry-run", action="store_true", help="on the processor, on little data")
    options = parser.parse_args(arguments)
    name = f"{datetime.datetime.now(datetime.UTC):%Y-%m-%d}-gpu{'-dry' if options.dry_run else ''}.json"
    out = options.out or (Path(tempfile.gettempdir()) if options.dry_run else RESULTS) / name
    if not options.dry_run:
        try:
            find_cupy()
        except EngineError as error:
            print(f"benchmarks.gpu: {error}; --dry-run runs the same stages on the processor", file=sys.stderr)
            return 2
    _sessions.clear()
    report = measure(Run(out, options.seconds, options.dry_run))
    print(f"written to {out}")
    return 0 if green(report) else 1


if __name__ == "__main__":
    for variable in ("OMP_NUM_THREADS", "OPENBLAS_NUM_THREADS", "MKL_NUM_THREADS"):
        os.environ.setdefault(variable, "1")
    sys.exit(main())
