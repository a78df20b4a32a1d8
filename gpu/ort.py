"""ONNX Runtime on the CPU: the engine that is always there.

bytes of an ONNX file; NumPy arrays → `Embedded` of NumPy arrays

One thread a session: a worker is one process a core, and more threads would only contend. Measured with the published encoder
(AVX2 and AVX-512, one core): the same bits in all our buckets, so a detection does not depend on its neighbours (a test holds it); a
single row would not do, it takes another path. The time goes with the rows, 0.17 ms each from four on.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np
import onnxruntime

from gpu.buffers import check, frugal_plan, pad
from gpu.session import Embedded, EngineError, one_line
from operators.types import Array

PROVIDER = "CPUExecutionProvider"
BUCKETS = (4, 8, 16, 32, 64)
"""More than a GPU's: here a padded row costs as much as an alert."""


class OrtSession:
    """A `Session` on ONNX Runtime. Threads may share it.

    Parameters
    ----------
    model : bytes
        The ONNX file.
    buckets : sequence of int
    threads : int
        Of one run.

    Raises
    ------
    EngineError
        The file cannot be loaded.
    """

    def __init__(self, model: bytes, buckets: Sequence[int] = BUCKETS, threads: int = 1) -> None:
        options = onnxruntime.SessionOptions()
        options.intra_op_num_threads = threads
        options.inter_op_num_threads = 1
        options.execution_mode = onnxruntime.ExecutionMode.ORT_SEQUENTIAL
        options.graph_optimization_level = onnxruntime.GraphOptimizationLevel.ORT_ENABLE_ALL
        options.use_deterministic_compute = True
        options.log_severity_level = 3
        try:
            self._session = onnxruntime.InferenceSession(model, options, providers=[PROVIDER])
        except Exception as error:  # the runtime raises its own hierarchy, which is not one
            raise EngineError(f"onnxruntime could not load the encoder: {one_line(error)}") from error
        # It falls back to other providers without a word.
        if self._session.get_providers() != [PROVIDER]:
            raise EngineError(f"onnxruntime runs on {self._session.get_providers()}, asked for {PROVIDER}")
        names = tuple(i.name for i in self._session.get_inputs()), tuple(o.name for o in self._session.get_outputs())
        if names != (("tokens", "stamps", "context"), ("embedding", "logits")):
            raise EngineError(f"the model file has inputs {names[0]} and outputs {names[1]}: it is no encoder of ours")
        self._widths = [o.shape[1] for o in self._session.get_outputs()]
        self._buckets = tuple(sorted(buckets))

    @property
    def engine(self) -> str:
        return f"onnxruntime {onnxruntime.__version__} cpu f32"

    @property
    def namespace(self) -> Any:
        return np

    @property
    def buckets(self) -> tuple[int, ...]:
        return self._buckets

    def run(self, tokens: Array, stamps: Array, context: Array) -> Embedded:
        for name, array in (("tokens", tokens), ("stamps", stamps), ("context", context)):
            if not isinstance(array, np.ndarray):
                raise EngineError(f"{name} is a {type(array).__name__}: this engine takes NumPy arrays")
        n = check(tokens, stamps, context)
        embedding = np.empty((n, self._widths[0]), dtype=np.float32)
        logits = np.empty((n, self._widths[1]), dtype=np.float32)
        for part, rows in frugal_plan(n, self._buckets):
            inputs = {"tokens": pad(tokens[part], rows), "stamps": pad(stamps[part], rows), "context": pad(context[part], rows)}
            try:
                answer = self._session.run(None, inputs)
            except Exception as error:
                raise EngineError(f"onnxruntime failed on {rows} alerts: {one_line(error)}") from error
            size = part.stop - part.start
            embedding[part] = answer[0][:size]
            logits[part] = answer[1][:size]
        return Embedded(embedding, logits)
