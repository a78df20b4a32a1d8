"""ONNX Runtime on an NVIDIA GPU: the second GPU engine, where TensorRT is not there.

bytes of an ONNX file; CuPy arrays → `Embedded` of CuPy arrays, without a copy to the host

Needs `onnxruntime-gpu[cuda,cudnn]` in the place of `onnxruntime` (both are one module, so in an environment of its own) and CuPy. **Not
yet run on a GPU**; the same class runs on the CPU's provider with NumPy arrays, which is what the tests do.

The runtime falls back to the processor without a word where CUDA's libraries are missing or too old. So the providers are read off the
session after it is made, and another one than was asked for is an error.
"""

from __future__ import annotations

import threading
from collections.abc import Sequence
from typing import Any

import numpy as np
import onnxruntime

from gpu.buffers import GPU_BUCKETS, INPUTS, OUTPUTS, Shapes, check, pad, plan
from gpu.libraries import find_cupy
from gpu.session import Embedded, EngineError, one_line
from operators.types import N_TOKENS, Array

CUDA = "CUDAExecutionProvider"
OPTIONS: dict[str, dict[str, str]] = {CUDA: {"use_tf32": "0", "cudnn_conv_algo_search": "HEURISTIC"}}
"""Provider → its options: without TF32, whose 10 bits would be the largest difference to the CPU."""
DEVICES = {CUDA: "cuda", "CPUExecutionProvider": "cpu"}


class BoundSession:
    """A `Session` on ONNX Runtime that reads and writes arrays where they lie. One run at a time.

    Parameters
    ----------
    model : bytes
        The ONNX file.
    buckets : sequence of int
    provider : str
        Key of `DEVICES`.

    Raises
    ------
    EngineError
        The provider is not in this build, or did not take the model; the file cannot be loaded.
    """

    def __init__(self, model: bytes, buckets: Sequence[int] = GPU_BUCKETS, *, provider: str = CUDA) -> None:
        if provider not in onnxruntime.get_available_providers():
            raise EngineError(
                f"this onnxruntime {onnxruntime.__version__} has no {provider}: install onnxruntime-gpu[cuda,cudnn] in its place"
            )
        self._xp: Any = np if DEVICES[provider] == "cpu" else find_cupy()
        if provider == CUDA:
            onnxruntime.preload_dlls()  # CUDA's libraries out of their wheels
        options = onnxruntime.SessionOptions()
        options.graph_optimization_level = onnxruntime.GraphOptimizationLevel.ORT_ENABLE_ALL
        options.intra_op_num_threads = options.inter_op_num_threads = 1
        options.use_deterministic_compute = True
        options.log_severity_level = 3
        try:
            self._session = onnxruntime.InferenceSession(model, options, providers=[(provider, OPTIONS.get(provider, {}))])
        except Exception as error:  # the runtime raises its own hierarchy, which is not one
            raise EngineError(f"onnxruntime could not load the encoder: {one_line(error)}") from error
        refuse_fallback(provider, self._session.get_providers())
        names = tuple(i.name for i in self._session.get_inputs()), tuple(o.name for o in self._session.get_outputs())
        if names != (INPUTS, OUTPUTS):
            raise EngineError(f"the model file has inputs {names[0]} and outputs {names[1]}: it is not an encoder of ours")
        self._provider, self._buckets = provider, tuple(sorted(buckets))
        tokens, *others = (tuple(i.shape[1:]) for i in self._session.get_inputs())
        self._shapes: Shapes = dict(zip(INPUTS, ((N_TOKENS, tokens[1]), *others), strict=True))
        self._widths = {o.name: int(o.shape[1]) for o in self._session.get_outputs()}
        self._lock = threading.Lock()

    @property
    def engine(self) -> str:
        """Name and version of ONNX Runtime, the device and the precision."""
        return f"onnxruntime {onnxruntime.__version__} {DEVICES[self._provider]} f32"

    @property
    def namespace(self) -> Any:
        """CuPy (on the CPU NumPy): the module of the arrays that `run` takes and gives."""
        return self._xp

    @property
    def precision(self) -> str:
        """Of the arithmetic."""
        return "f32"

    @property
    def buckets(self) -> tuple[int, ...]:
        """Batch sizes it runs at, ascending."""
        return self._buckets

    def run(self, tokens: Array, stamps: Array, context: Array) -> Embedded:
        """Embed a batch, as `gpu.session.Session.run`."""
        xp = self._xp
        n = check(tokens, stamps, context, shapes=self._shapes, kind=xp.ndarray)
        answer = {name: xp.empty((n, width), dtype=xp.float32) for name, width in self._widths.items()}
        with self._lock:
            for part, rows in plan(n, self._buckets):
                held = dict(zip(INPUTS, (pad(array[part], rows) for array in (tokens, stamps, context)), strict=True))
                for name, array in self._bound(held, rows).items():
                    answer[name][part] = array[: part.stop - part.start]
        return Embedded(answer["embedding"], answer["logits"])

    def _bound(self, held: dict[str, Any], rows: int) -> dict[str, Any]:
        """Run one bucket on the arrays' own memory."""
        device, binding = DEVICES[self._provider], self._session.io_binding()
        out = {name: self._xp.empty((rows, width), dtype=self._xp.float32) for name, width in self._widths.items()}
        try:
            for name, array in held.items():
                binding.bind_input(name, device, self._index, np.float32, tuple(array.shape), _address(array))
            for name, array in out.items():
                binding.bind_output(name, device, self._index, np.float32, tuple(array.shape), _address(array))
            if device == "cuda":  # the runtime's stream is not the caller's
                self._xp.cuda.get_current_stream().synchronize()
            self._session.run_with_iobinding(binding)
            binding.synchronize_outputs()
        except Exception as error:
            raise EngineError(f"onnxruntime failed on {rows} alerts: {one_line(error)}") from error
        return out

    @property
    def _index(self) -> int:
        return 0 if self._xp is np else int(self._xp.cuda.Device().id)


def refuse_fallback(asked: str, got: Sequence[str]) -> None:
    """Refuse a session that does not run where it was asked to.

    Raises
    ------
    EngineError
        The provider asked for is not the session's first.
    """
    if not got or got[0] != asked:
        raise EngineError(
            f"onnxruntime was asked for {asked} and fell back to {', '.join(got) or 'nothing'}: CUDA's or cuDNN's libraries are missing or "
            "of another release (pip install 'onnxruntime-gpu[cuda,cudnn]')"
        )


def _address(array: Any) -> int:
    """Where an array's numbers lie."""
    return int(array.ctypes.data if isinstance(array, np.ndarray) else array.data.ptr)
