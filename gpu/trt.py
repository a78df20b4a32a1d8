"""TensorRT: the engine where there is an NVIDIA GPU.

bytes of an ONNX file; CuPy arrays → `Embedded` of CuPy arrays, without a copy to the host

Written against TensorRT 11.2 and CuPy 14 and checked only as far as a machine without a GPU goes: **not yet run on a GPU**.
`gpu/choose.py` takes it only where both import, fit each other and a device answers, and falls back with the reason.

An alert's numbers depend on its bucket at most. TensorRT gets addresses and reads and writes as much as the engine's shapes say: whatever
is handed in is checked against the engine first. In 16 bits it runs a model of that type, beside the one of 32, with a tolerance of its
own (`pipeline.verify`).
"""

from __future__ import annotations

import threading
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from gpu.buffers import GPU_BUCKETS, INPUTS, Shapes, check, pad, plan
from gpu.libraries import find
from gpu.session import Embedded, EngineError, one_line
from gpu.trt_engine import PRECISIONS, cache_folder, checked, engine_of
from operators.types import Array


class TrtSession:
    """A `Session` on TensorRT. One run at a time: the execution contexts are shared, a lock guards them.

    Parameters
    ----------
    model : bytes
        The ONNX file.
    buckets : sequence of int
    cache : Path, optional
        Where built engines are kept; the user's cache folder.
    precision : {"f32", "f16"}

    Raises
    ------
    EngineError
        No TensorRT, no GPU, or the engine cannot be built.
    """

    def __init__(self, model: bytes, buckets: Sequence[int] = GPU_BUCKETS, *, cache: Path | None = None, precision: str = "f32") -> None:
        if precision not in PRECISIONS:
            raise EngineError(f"there is no precision {precision!r}: choose one of {', '.join(PRECISIONS)}")
        self._trt, self._cupy = find()
        self._buckets, self._precision = tuple(sorted(buckets)), precision
        self._lock = threading.Lock()
        try:
            device = self._cupy.cuda.Device()
            self._device = int(device.id)
            self._engine = engine_of(
                self._trt, model, capability=str(device.compute_capability), buckets=self._buckets, precision=precision,
                folder=cache or cache_folder(),
            )  # fmt: skip
            self._shapes: Shapes
            self._shapes, self._widths = checked(self._trt, self._engine, buckets=self._buckets)
            self._stream = self._cupy.cuda.Stream(non_blocking=True)
            self._contexts = {bucket: self._context(i) for i, bucket in enumerate(self._buckets)}
        except EngineError:
            raise
        except Exception as error:
            raise EngineError(f"TensorRT could not prepare the encoder: {one_line(error)}") from error

    @property
    def engine(self) -> str:
        """Name and version of TensorRT, the device and the precision."""
        name = self._cupy.cuda.runtime.getDeviceProperties(self._device)["name"].decode()
        return f"tensorrt {self._trt.__version__} {name} {self._precision}"

    @property
    def namespace(self) -> Any:
        """CuPy: the module of the arrays that `run` takes and gives."""
        return self._cupy

    @property
    def precision(self) -> str:
        """Of the arithmetic."""
        return self._precision

    @property
    def buckets(self) -> tuple[int, ...]:
        """Batch sizes it runs at, ascending."""
        return self._buckets

    def run(self, tokens: Array, stamps: Array, context: Array) -> Embedded:
        """Embed a batch, as `gpu.session.Session.run`."""
        xp = self._cupy
        n = check(tokens, stamps, context, shapes=self._shapes, kind=xp.ndarray)
        for name, array in zip(INPUTS, (tokens, stamps, context), strict=True):
            if (there := int(array.device.id)) != self._device:  # type: ignore[attr-defined]
                raise EngineError(f"{name} lie on GPU {there}, the engine on GPU {self._device}")
        answer = {name: xp.empty((n, width), dtype=xp.float32) for name, width in self._widths.items()}
        caller = xp.cuda.get_current_stream()
        try:
            with self._lock:
                self._stream.wait_event(caller.record())  # what the caller queued for the inputs comes first
                with self._stream:
                    kept: list[Any] = []  # goes back to the memory pool of this stream only after it has passed it
                    for part, rows in plan(n, self._buckets):
                        kept.append(
                            self._queue([pad(array[part], rows) for array in (tokens, stamps, context)], part, rows=rows, answer=answer)
                        )
                self._stream.synchronize()
        except EngineError:
            raise
        except Exception as error:
            raise EngineError(f"TensorRT failed: {one_line(error)}") from error
        return Embedded(answer["embedding"], answer["logits"])

    def _queue(self, held: list[Any], part: slice, *, rows: int, answer: dict[str, Any]) -> tuple[Any, ...]:
        """Queue one bucket on the stream; what must live until it has run."""
        xp, execution = self._cupy, self._contexts[rows]
        out = {name: xp.empty((rows, width), dtype=xp.float32) for name, width in self._widths.items()}
        for name, array in (*zip(INPUTS, held, strict=True), *out.items()):
            if not execution.set_tensor_address(name, array.data.ptr):
                raise EngineError(f"TensorRT refused the address of {name}")
        if not execution.execute_async_v3(self._stream.ptr):
            raise EngineError(f"TensorRT refused a batch of {rows}")
        for name, array in out.items():
            answer[name][part] = array[: part.stop - part.start]
        return held, out

    def _context(self, profile: int) -> Any:
        execution = self._engine.create_execution_context()
        if execution is None:
            raise EngineError(f"TensorRT has no memory for batches of {self._buckets[profile]}")
        execution.set_optimization_profile_async(profile, self._stream.ptr)
        for name in INPUTS:
            execution.set_input_shape(name, (self._buckets[profile], *self._shapes[name]))
        self._stream.synchronize()
        return execution
