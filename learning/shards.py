"""A training step's batch in parts, each in a process of its own: the gradient of the whole batch, summed in the order of the parts.

`Trainee`, `Sets`, a step → its gradient in the trainee's parameters; cross-entropy and accuracy of every part

Processes, not threads: the many small steps of a recurrent net keep one interpreter busy. Every part draws with a generator of
(seed, step, part) and the sums are taken in one order, so that parts in processes and parts in turn give the same bits.
"""

from __future__ import annotations

import multiprocessing
from collections.abc import Callable
from multiprocessing.connection import Connection
from typing import TYPE_CHECKING

import numpy as np
import torch
from torch import Tensor
from torch.nn.utils import parameters_to_vector, vector_to_parameters

from learning.losses import Sets, loss

if TYPE_CHECKING:
    from learning.encoder import EncoderConfig
    from learning.fit import Recipe, Trainee

Result = tuple[float, float]


class WorkerError(RuntimeError):
    """A training process ended without an answer."""


class Shards:
    """Computes gradients; a context manager that owns the processes.

    Parameters
    ----------
    trainee : Trainee
        Whose weights are used and whose gradients are set.
    make : callable
        Config → another trainee, in the processes.
    apart : bool
        A process for every part after the first; otherwise one part after the other, here.
    """

    def __init__(
        self, trainee: Trainee, config: EncoderConfig, make: Callable[[EncoderConfig], Trainee], sets: Sets, recipe: Recipe, apart: bool
    ) -> None:
        self._trainee, self._sets, self._recipe = trainee, sets, recipe
        self._device = next(trainee.parameters()).device
        self._apart = apart and recipe.shards > 1
        self._lines: list[Connection] = []
        self._processes: list[multiprocessing.process.BaseProcess] = []
        if not self._apart:
            return
        size = sum(p.numel() for p in trainee.parameters())
        self._weights = torch.zeros(size).share_memory_()  # type: ignore[no-untyped-call]
        self._gradients = torch.zeros(recipe.shards - 1, size).share_memory_()  # type: ignore[no-untyped-call]
        context = multiprocessing.get_context("spawn")
        for k in range(1, recipe.shards):
            here, there = context.Pipe()
            work = (there, make, config, sets, recipe, k, self._weights, self._gradients[k - 1])
            process = context.Process(target=_work, args=work, daemon=True)
            process.start()
            there.close()
            self._lines.append(here)
            self._processes.append(process)

    def __enter__(self) -> Shards:
        return self

    def __exit__(self, *_: object) -> None:
        for line in self._lines:
            line.close()  # a process whose line ends, ends
        for process in self._processes:
            process.join(10)
            if process.is_alive():
                process.terminate()

    def gradient(self, step: int) -> list[Result]:
        """Set the gradient of a step's whole batch; cross-entropy and accuracy, a part."""
        if self._apart:
            with torch.no_grad():
                self._weights.copy_(parameters_to_vector(self._trainee.parameters()))
            for line in self._lines:
                self._talk(lambda line=line: line.send(step))  # type: ignore[misc]
        results = [self._part(step, 0)]
        total = _gathered(self._trainee)
        for k in range(1, self._recipe.shards):
            if self._apart:
                results.append(self._talk(self._lines[k - 1].recv))
                total = total + self._gradients[k - 1]
            else:
                results.append(self._part(step, k))
                total = total + _gathered(self._trainee)
        at = 0
        for p in self._trainee.parameters():
            p.grad = total[at : at + p.numel()].view_as(p).clone()
            at += p.numel()
        return results

    def _part(self, step: int, k: int) -> Result:
        return _backward(self._trainee, self._sets, self._recipe, step, k, self._device)

    def _talk(self, say: Callable[[], Result]) -> Result:
        try:
            return say()
        except (EOFError, OSError):
            raise WorkerError("a training process ended before its time; too little memory?") from None


def _backward(trainee: Trainee, sets: Sets, recipe: Recipe, step: int, k: int, device: torch.device) -> Result:
    trainee.zero_grad(set_to_none=True)
    entropy, accuracy, total = loss(trainee, sets, recipe, np.random.default_rng([recipe.seed, step, k]), device)
    (total / recipe.shards).backward()  # type: ignore[no-untyped-call]
    return entropy, accuracy


def _gathered(trainee: Trainee) -> Tensor:
    """All gradients one after the other; zeros where no loss asked for any."""
    return torch.cat([(torch.zeros_like(p) if p.grad is None else p.grad).flatten() for p in trainee.parameters()])


def _work(
    line: Connection, make: Callable[[EncoderConfig], Trainee], config: EncoderConfig, sets: Sets, recipe: Recipe, k: int,
    weights: Tensor, gradient: Tensor,
) -> None:  # fmt: skip
    """What a process does until its line ends."""
    torch.set_num_threads(1)
    trainee = make(config).train()
    device = torch.device("cpu")
    try:
        while True:
            step = line.recv()
            vector_to_parameters(weights.clone(), trainee.parameters())
            result = _backward(trainee, sets, recipe, step, k, device)
            gradient.copy_(_gathered(trainee))
            line.send(result)
    except (EOFError, OSError, KeyboardInterrupt):
        return
