"""TensorRT: the engine where there is an NVIDIA GPU.

bytes of an ONNX file; CuPy arrays → `Embedded` of CuPy arrays, without a copy to the host

Written against TensorRT 11.2 and CuPy 14 and checked only as far as a machine without a GPU goes: **in this release it has not run on
a device**. `gpu/choose.py` takes it only where both import and a device answers, and falls back to ONNX Runtime with the reason.

Each bucket is an optimisation profile of one fixed shape, so that an alert's numbers depend on its bucket at most. TF32 is off: results are
compared with the CPU's. A built engine fits one ONNX file, TensorRT version, GPU kind and set of profiles; it is cached under exactly that
key in the user's cache folder, never put into the registry, and built anew where the cached one does not load.
"""

from __future__ import annotations

import contextlib
import hashlib
import importlib
import os
import sys
import tempfile
import threading
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from gpu.buffers import BUCKETS, check, pad, plan
from gpu.session import Embedded, EngineError, one_line
from operators.types import N_TOKENS, Array

PRECISION = "f32"
WORKSPACE = 1 << 30
"""Device memory the builder may try tactics with [bytes]."""
INPUTS = ("tokens", "stamps", "context")
OUTPUTS = ("embedding", "logits")


def find() -> tuple[Any, Any]:
    """Import TensorRT and CuPy and ask the device.

    Returns
    -------
    (module, module)
        TensorRT and CuPy.

    Raises
    ------
    EngineError
        What is missing, in one line.
    """
    try:
        cupy = importlib.import_module("cupy")
    except ImportError:
        raise EngineError("CuPy is not installed (extra gpu)") from None
    try:
        devices = cupy.cuda.runtime.getDeviceCount()
    except Exception as error:  # CuPy raises the driver's own error types, and an ImportError where its libraries are not there
        raise EngineError(f"no CUDA device answers: {one_line(error)}") from None
    if not devices:
        raise EngineError("there is no CUDA device")
    for name in ("tensorrt", "tensorrt_bindings"):
        try:
            return importlib.import_module(name), cupy
        except (ImportError, OSError, RuntimeError):  # the bindings raise what the missing libnvinfer makes them raise
            continue
    raise EngineError("TensorRT is not installed, or its libraries are not on the path (tensorrt, or tensorrt_bindings with libnvinfer)")


class TrtSession:
    """A `Session` on TensorRT. One run at a time: the execution contexts are shared, a lock guards them.

    Parameters
    ----------
    model : bytes
        The ONNX file.
    buckets : sequence of int
    cache : Path, optional
        Where built engines are kept; the user's cache folder.

    Raises
    ------
    EngineError
        No TensorRT, no GPU, or the engine cannot be built.
    """

    def __init__(self, model: bytes, buckets: Sequence[int] = BUCKETS, *, cache: Path | None = None) -> None:
        self._trt, self._cupy = find()
        self._buckets = tuple(sorted(buckets))
        self._lock = threading.Lock()
        trt = self._trt
        self._logger = trt.Logger(trt.Logger.ERROR)
        self._runtime = trt.Runtime(self._logger)
        capability = str(self._cupy.cuda.Device().compute_capability)
        key = cache_key(model, trt.__version__, capability=capability, buckets=self._buckets)
        path = (cache or cache_folder()) / f"{key}.engine"
        try:
            self._engine = self._load(path)
            if self._engine is None:
                plan_bytes = self._build(model)
                _write(path, plan_bytes)
                self._engine = self._runtime.deserialize_cuda_engine(plan_bytes)
            if self._engine is None:
                raise EngineError("TensorRT built an engine that it cannot load")
            self._stream = self._cupy.cuda.Stream(non_blocking=True)
            self._contexts = {bucket: self._context(i) for i, bucket in enumerate(self._buckets)}
            self._widths = {name: int(self._engine.get_tensor_shape(name)[1]) for name in OUTPUTS}
        except EngineError:
            raise
        except Exception as error:
            raise EngineError(f"TensorRT could not prepare the encoder: {one_line(error)}") from error

    @property
    def engine(self) -> str:
        """Name and version of TensorRT, the device and the precision."""
        name = self._cupy.cuda.runtime.getDeviceProperties(self._cupy.cuda.Device().id)["name"].decode()
        return f"tensorrt {self._trt.__version__} {name} {PRECISION}"

    @property
    def namespace(self) -> Any:
        """CuPy: the module of the arrays that `run` takes and gives."""
        return self._cupy

    @property
    def buckets(self) -> tuple[int, ...]:
        """Batch sizes it runs at, ascending."""
        return self._buckets

    def run(self, tokens: Array, stamps: Array, context: Array) -> Embedded:
        """Embed a batch, as `gpu.session.Session.run`."""
        xp = self._cupy
        for name, array in zip(INPUTS, (tokens, stamps, context), strict=True):
            if not isinstance(array, xp.ndarray):
                raise EngineError(f"{name} is a {type(array).__name__}: this engine takes CuPy arrays")
        n = check(tokens, stamps, context)
        answer = {name: xp.empty((n, width), dtype=xp.float32) for name, width in self._widths.items()}
        caller = xp.cuda.get_current_stream()
        try:
            with self._lock:
                self._stream.wait_event(caller.record())  # what the caller queued for the inputs comes first
                with self._stream:
                    for part, rows in plan(n, self._buckets):
                        execution = self._contexts[rows]
                        held: list[Any] = [pad(array[part], rows) for array in (tokens, stamps, context)]
                        out = {name: xp.empty((rows, width), dtype=xp.float32) for name, width in self._widths.items()}
                        for name, array in zip(INPUTS, held, strict=True):
                            execution.set_tensor_address(name, array.data.ptr)
                        for name, array in out.items():
                            execution.set_tensor_address(name, array.data.ptr)
                        if not execution.execute_async_v3(self._stream.ptr):
                            raise EngineError(f"TensorRT refused a batch of {rows}")
                        for name, array in out.items():
                            answer[name][part] = array[: part.stop - part.start]
                # `held` and `out` go back to the memory pool of this stream only after it has passed them.
                self._stream.synchronize()
        except EngineError:
            raise
        except Exception as error:
            raise EngineError(f"TensorRT failed: {one_line(error)}") from error
        return Embedded(answer["embedding"], answer["logits"])

    def _load(self, path: Path) -> Any:
        """The cached engine, or None where there is none that loads."""
        try:
            blob = path.read_bytes()
        except OSError:
            return None
        return self._runtime.deserialize_cuda_engine(blob)

    def _build(self, model: bytes) -> bytes:
        trt = self._trt
        builder = trt.Builder(self._logger)
        network = builder.create_network(0)
        parser = trt.OnnxParser(network, self._logger)
        if not parser.parse(model):
            raise EngineError(f"TensorRT cannot read the encoder: {parser.get_error(0).desc() if parser.num_errors else 'no reason given'}")
        config = builder.create_builder_config()
        config.set_memory_pool_limit(trt.MemoryPoolType.WORKSPACE, WORKSPACE)
        config.clear_flag(trt.BuilderFlag.TF32)
        takes = {network.get_input(i).name: network.get_input(i) for i in range(network.num_inputs)}
        shapes = {name: tuple(tensor.shape)[1:] for name, tensor in takes.items()}
        if set(shapes) != set(INPUTS):
            raise EngineError(f"the model file has inputs {sorted(shapes)}: it is not an encoder of ours")
        # Light curves may be of any length in the file; here all are of the longest, a shape a bucket.
        shapes["tokens"] = (N_TOKENS, shapes["tokens"][1])
        takes["tokens"].shape = (-1, *shapes["tokens"])
        for bucket in self._buckets:
            profile = builder.create_optimization_profile()
            for name, shape in shapes.items():
                profile.set_shape(name, (bucket, *shape), (bucket, *shape), (bucket, *shape))
            config.add_optimization_profile(profile)
        built = builder.build_serialized_network(network, config)
        if built is None:
            raise EngineError("TensorRT could not build an engine of the encoder")
        return bytes(built)

    def _context(self, profile: int) -> Any:
        execution = self._engine.create_execution_context()
        execution.set_optimization_profile_async(profile, self._stream.ptr)
        for name in INPUTS:
            execution.set_input_shape(name, (self._buckets[profile], *tuple(self._engine.get_tensor_shape(name))[1:]))
        self._stream.synchronize()
        return execution


def cache_key(model: bytes, version: str, *, capability: str, buckets: Sequence[int]) -> str:
    """Name of a built engine: everything that it is specific to."""
    return f"{hashlib.sha256(model).hexdigest()[:32]}-trt{version}-sm{capability}-{PRECISION}-{'_'.join(map(str, buckets))}"


def cache_folder() -> Path:
    """Where this user's caches lie, by the custom of the system."""
    if sys.platform == "darwin":
        base = Path.home() / "Library" / "Caches"
    else:
        base = Path(os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache")
    return base / "protonova" / "tensorrt"


def _write(path: Path, blob: bytes) -> None:
    """Keep a built engine; a folder that cannot be written costs the next start a build, nothing more."""
    with contextlib.suppress(OSError):
        path.parent.mkdir(parents=True, exist_ok=True, mode=0o700)
        with tempfile.NamedTemporaryFile(dir=path.parent, delete=False) as part:
            part.write(blob)
        os.replace(part.name, path)
