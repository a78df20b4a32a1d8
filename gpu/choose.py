"""Which engine runs the encoder, and why.

bytes of an ONNX file, the wish ("auto" or a name) → a `Session` and one line a person can read

By worth: TensorRT, ONNX Runtime on the GPU, ONNX Runtime on the CPU. One that is not there, or that would not be on the GPU it is for, is
passed over with its reason; one that was asked for by name is an error then.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from pathlib import Path

from gpu.libraries import find_cupy, import_cupy
from gpu.ort import OrtSession
from gpu.ort_cuda import BoundSession
from gpu.owner import devices, own
from gpu.session import EngineError, Session
from gpu.trt import TrtSession
from gpu.trt_engine import PRECISIONS

ENGINES = ("auto", "onnxruntime", "onnxruntime-cuda", "tensorrt")
GPU_ENGINES: Mapping[str, Callable[[bytes, str], Session]] = {
    "tensorrt": lambda model, precision: TrtSession(model, precision=precision),
    "onnxruntime-cuda": lambda model, precision: BoundSession(model),
}
"""In the order in which they are tried."""


def choose(model: bytes, engine: str = "auto", *, state: Path | None = None, precision: str = "f32") -> tuple[Session, str]:
    """Make a session on the engine asked for, or on the best one that is there.

    Parameters
    ----------
    model : bytes
        The ONNX file.
    engine : str
        One of `ENGINES`.
    state : Path, optional
        State folder in which a GPU is claimed for this process (`gpu.owner`); None: a GPU is used without asking whose it is.
    precision : {"f32", "f16"}
        Of TensorRT; the others have 32 bits.

    Returns
    -------
    (Session, str)
        The session and the reason.

    Raises
    ------
    EngineError
        The engine asked for is not there, or none is.
    """
    if engine not in ENGINES:
        raise EngineError(f"there is no engine {engine!r}: choose one of {', '.join(ENGINES)}")
    if precision not in PRECISIONS or (precision != "f32" and engine != "tensorrt"):
        raise EngineError(f"precision {precision!r} of engine {engine}: {' or '.join(PRECISIONS)} is possible, and f16 with tensorrt only")
    if engine == "onnxruntime":
        return OrtSession(model), "onnxruntime, as asked for"
    wanted = [name for name in GPU_ENGINES if engine in ("auto", name)]
    missing = []
    for name in wanted:
        try:
            session = _on_gpu(name, model, state=state, precision=precision)
        except EngineError as error:
            missing.append((name, str(error)))
            continue
        others = "".join(f"; {other} is not there: {why}" for other, why in missing)
        return session, f"{name}, {'as asked for' if engine == name else 'for a GPU and its libraries are there'}{others}"
    if engine != "auto":
        raise EngineError(f"{engine} was asked for and is not there: {missing[0][1]}")
    reasons = list(dict.fromkeys(why for _, why in missing))  # what both lack is said once
    said = reasons[0] if len(reasons) == 1 else "; ".join(f"{name}: {why}" for name, why in missing)
    return OrtSession(model), f"onnxruntime on the CPU, for no GPU engine is there: {said}"


def _on_gpu(name: str, model: bytes, *, state: Path | None, precision: str) -> Session:
    import_cupy()
    if state is not None and devices():
        own(state)  # before CUDA is first called, as it decides which devices it sees
    find_cupy()
    return GPU_ENGINES[name](model, precision)
