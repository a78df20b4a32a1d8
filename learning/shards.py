"""A training step's batch in parts, each in a process of its own: the gradient of the whole batch, summed in the order of the parts.

`Trainee`, `Sets`, a step → its gradient in the trainee's parameters; cross-entropy and accuracy of every part

Processes, not threads: the many small steps of a recurrent net keep one interpreter busy. Every part draws with a generator of
(seed, step, part) and the sums are taken in one order, so that parts in processes and parts in turn give the same bits.
"""

from __future__ import annotations

import multiprocessing
import signal
from collections.abc import Callable
from multiprocessing.connection import Connection

import numpy as np
import torch
from torch import Tensor
from torch.nn.utils import parameters_to_vector

from errors import RetryableError
from learning.hyperparameters import EncoderConfig, Hyperparameters
from learning.losses import Sets, loss
from learning.trainee import Trainee

Result = tuple[float, float]
ENDED = "a training process ended before its time; too little memory?"


class WorkerError(RetryableError):
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
        self,
        trainee: Trainee,
        config: EncoderConfig,
        *,
        make: Callable[[EncoderConfig], Trainee],
        sets: Sets,
        hyper: Hyperparameters,
        apart: bool,
    ) -> None:
        self._trainee, self._sets, self._hyper = trainee, sets, hyper
        self._device = next(trainee.parameters()).device
        self._apart = apart and hyper.shards > 1
        self._lines: list[Connection] = []
        self._processes: list[multiprocessing.process.BaseProcess] = []
        if not self._apart:
            return
        size = sum(p.numel() for p in trainee.parameters())
        self._weights = torch.zeros(size).share_memory_()  # type: ignore[no-untyped-call]
        self._gradients = torch.zeros(hyper.shards - 1, size).share_memory_()  # type: ignore[no-untyped-call]
        try:
            for k in range(1, hyper.shards):
                self._start((make, config, hyper, k, self._weights, self._gradients[k - 1]))
            for line in self._lines:  # not as arguments: a process that ends while it is started would go unnoticed
                self._tell(line, sets)
        except BaseException:
            self.__exit__()
            raise

    def _start(self, work: tuple[object, ...]) -> None:
        context = multiprocessing.get_context("spawn")
        here, there = context.Pipe()
        process = context.Process(target=_work, args=(there, *work), daemon=True)
        # Ctrl-C is for the one who reads it: a process inherits the mask, and ends when its line does.
        before = signal.pthread_sigmask(signal.SIG_BLOCK, {signal.SIGINT})
        try:
            process.start()
        finally:
            signal.pthread_sigmask(signal.SIG_SETMASK, before)
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
                self._tell(line, step)
        results = [self._part(step, 0)]
        total = _gathered(self._trainee)
        for k in range(1, self._hyper.shards):
            if self._apart:
                results.append(self._hear(self._lines[k - 1]))
                total = total + self._gradients[k - 1]
            else:
                results.append(self._part(step, k))
                total = total + _gathered(self._trainee)
        for p, part in _pieces(self._trainee, total):
            if p.requires_grad:
                p.grad = part.clone()
        return results

    def _part(self, step: int, k: int) -> Result:
        return _backward(self._trainee, self._sets, hyper=self._hyper, step=step, k=k, device=self._device)

    def _tell(self, line: Connection, what: object) -> None:
        try:
            line.send(what)
        except OSError:
            raise WorkerError(ENDED) from None

    def _hear(self, line: Connection) -> Result:
        try:
            heard: Result | str = line.recv()
        except (EOFError, OSError):
            raise WorkerError(ENDED) from None
        if isinstance(heard, str):
            raise WorkerError(heard)
        return heard


def _backward(trainee: Trainee, sets: Sets, *, hyper: Hyperparameters, step: int, k: int, device: torch.device) -> Result:
    trainee.zero_grad(set_to_none=True)
    entropy, accuracy, total = loss(trainee, sets, hyper=hyper, rng=np.random.default_rng([hyper.seed, step, k]), device=device)
    (total / hyper.shards).backward()  # type: ignore[no-untyped-call]
    return entropy, accuracy


def _gathered(trainee: Trainee) -> Tensor:
    """All gradients one after the other; zeros where no loss asked for any."""
    return torch.cat([(torch.zeros_like(p) if p.grad is None else p.grad).flatten() for p in trainee.parameters()])


def _work(
    line: Connection, make: Callable[[EncoderConfig], Trainee], config: EncoderConfig, hyper: Hyperparameters, k: int,
    weights: Tensor, gradient: Tensor,
) -> None:  # fmt: skip
    """What a process does until its line ends."""
    torch.set_num_threads(1)
    trainee = make(config).train()
    try:
        sets = line.recv()
        while True:
            step = line.recv()
            try:
                _assign(trainee, weights)
                result = _backward(trainee, sets, hyper=hyper, step=step, k=k, device=torch.device("cpu"))
                gradient.copy_(_gathered(trainee))
            except Exception as error:  # whatever it is, it is reported where it can be read
                line.send(f"a training process failed: {type(error).__name__}: {error}")
                return
            line.send(result)
    except (EOFError, OSError):
        return


def _assign(trainee: Trainee, weights: Tensor) -> None:
    """Copies, not views of one vector: its rows are not aligned, and then products in float32 round differently."""
    with torch.no_grad():
        for p, part in _pieces(trainee, weights):
            p.copy_(part)


def _pieces(trainee: Trainee, vector: Tensor) -> list[tuple[Tensor, Tensor]]:
    """Each parameter, and its part of a vector of all of them, in its shape."""
    parameters = list(trainee.parameters())
    parts = vector.split([p.numel() for p in parameters])  # type: ignore[no-untyped-call]
    return [(p, part.view_as(p)) for p, part in zip(parameters, parts, strict=True)]
