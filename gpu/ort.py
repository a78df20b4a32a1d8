"""ONNX Runtime on the CPU: the engine that is always there.

bytes of an ONNX file; NumPy arrays → `Embedded` of NumPy arrays

One thread a session: a worker is one process a core, and more threads would only contend. Measured with the published encoder
(AVX2 and AVX-512, one core): the same bits in all our buckets, so a detection does not depend on its neighbours (a test holds it); a
single row would not do, it takes another path. The time goes with the rows and with the tokens of each: half of ZTF's alerts have twelve
or fewer of the 48 the network takes, so alerts are run by length, and what is padding in all of a run is cut off. That too gives the same
bits where a session finds, when it is made, that it does; elsewhere nothing is cut.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np
import onnxruntime

from gpu.buffers import INPUTS, OUTPUTS, Shapes, check, pad
from gpu.session import Embedded, EngineError, one_line
from operators.lengths import STEP, cheapest_pieces, lengths
from operators.types import N_TOKENS, Array

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

    def __init__(self, model: bytes, buckets: Sequence[int] = BUCKETS, *, threads: int = 1) -> None:
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
        if names != (INPUTS, OUTPUTS):
            raise EngineError(f"the model file has inputs {names[0]} and outputs {names[1]}: it is not an encoder of ours")
        self._widths = [o.shape[1] for o in self._session.get_outputs()]
        self._buckets = tuple(sorted(buckets))
        (length, features), *others = (i.shape[1:] for i in self._session.get_inputs())
        free = not isinstance(length, int)  # an older file's light curves are of one length
        self._longest = N_TOKENS if free else length
        self._shapes: Shapes = dict(zip(INPUTS, ((self._longest, features), *(tuple(shape) for shape in others)), strict=True))
        self._step = STEP if free and self._same_when_cut([(self._longest, features), *others]) else self._longest

    @property
    def engine(self) -> str:
        """Name and version of ONNX Runtime, the device and the precision."""
        return f"onnxruntime {onnxruntime.__version__} cpu f32"

    @property
    def namespace(self) -> Any:
        """NumPy: the module of the arrays that `run` takes and gives."""
        return np

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
        n = check(tokens, stamps, context, shapes=self._shapes)
        embedding = np.empty((n, self._widths[0]), dtype=np.float32)
        logits = np.empty((n, self._widths[1]), dtype=np.float32)
        length = lengths(tokens)
        order = np.argsort(length, kind="stable")
        for piece in cheapest_pieces(length[order].tolist(), self._buckets, longest=self._longest, step=self._step):
            index = order[piece.part]
            embedding[index], logits[index] = self._run(
                tokens[index, : piece.tokens], stamps[index], context=context[index], rows=piece.rows
            )
        return Embedded(embedding, logits)

    def _run(self, tokens: Array, stamps: Array, *, context: Array, rows: int) -> tuple[Array, Array]:
        inputs = {"tokens": pad(tokens, rows), "stamps": pad(stamps, rows), "context": pad(context, rows)}
        try:
            embedding, logits = self._session.run(None, inputs)
        except Exception as error:
            raise EngineError(f"onnxruntime failed on {rows} alerts: {one_line(error)}") from error
        return embedding[: tokens.shape[0]], logits[: tokens.shape[0]]

    def _same_when_cut(self, shapes: Sequence[Sequence[int]]) -> bool:
        """Whether light curves without their padding give the same bits here, in the smallest and the largest bucket."""
        if not all(isinstance(size, int) for shape in shapes for size in shape):
            return False
        random = np.random.default_rng(0)
        rows = self._buckets[-1]
        tokens, stamps, context = (random.normal(size=(rows, *shape)).astype(np.float32) for shape in shapes)
        for length in range(STEP, self._longest, STEP):
            tokens[:, length:] = 0.0
            tokens[..., -1] = np.arange(self._longest) < random.integers(0, length + 1, rows)[:, None]
            for n in (self._buckets[0], rows):
                whole = self._run(tokens[:n], stamps[:n], context=context[:n], rows=n)
                cut = self._run(tokens[:n, :length], stamps[:n], context=context[:n], rows=n)
                if not all(np.array_equal(a, b) for a, b in zip(whole, cut, strict=True)):
                    return False
            tokens[..., :-1] = random.normal(size=(rows, self._longest, shapes[0][1] - 1))
        return True
