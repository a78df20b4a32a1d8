"""torch as an engine: an independent second opinion, and the naive stack of the benchmark.

a torch module (`learning.export.restore` makes one of a model file); NumPy arrays → `Embedded` of NumPy arrays

Needs the extra `train`. Nothing on the path of the stream imports it.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np
import torch

from gpu.buffers import BUCKETS, SHAPES, Shapes, check, pad, plan
from gpu.session import Embedded, EngineError, one_line
from operators.types import Array


class EagerSession:
    """A `Session` that calls a torch module op by op.

    Parameters
    ----------
    module : torch.nn.Module
        tokens, stamps, context → embedding, logits.
    buckets : sequence of int
        ``(1,)`` runs alerts one at a time, as a service without batching would.
    device : str
    shapes : Shapes
        Of the module's inputs.
    """

    def __init__(self, module: torch.nn.Module, buckets: Sequence[int] = BUCKETS, *, device: str = "cpu", shapes: Shapes = SHAPES) -> None:
        try:
            self._module = module.eval().to(device)
        except RuntimeError as error:
            raise EngineError(f"torch cannot use the device {device}: {one_line(error)}") from error
        self._device, self._shapes = device, shapes
        self._buckets = tuple(sorted(buckets))

    @property
    def engine(self) -> str:
        """Name and version of torch, the device and the precision."""
        return f"torch {torch.__version__} {self._device} f32"

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
        answers = []
        try:
            with torch.inference_mode():
                for part, rows in plan(n, self._buckets):
                    inputs = (
                        torch.from_numpy(np.require(pad(a[part], rows), requirements=["C", "W"])).to(self._device)
                        for a in (tokens, stamps, context)
                    )
                    answers.append([x[: part.stop - part.start].cpu().numpy() for x in self._module(*inputs)])
                if not answers:  # the widths are the module's own: ask it with one row of zeros
                    blank = (torch.zeros((1, *a.shape[1:]), device=self._device) for a in (tokens, stamps, context))
                    answers.append([x[:0].cpu().numpy() for x in self._module(*blank)])
        except (RuntimeError, TypeError) as error:
            raise EngineError(f"torch failed: {one_line(error)}") from error
        return Embedded(*(np.concatenate(x) for x in zip(*answers, strict=True)))
