"""The one protocol behind which every engine hides."""

from __future__ import annotations

from typing import Any, NamedTuple, Protocol

from errors import RetryableError
from operators.types import Array


class Embedded(NamedTuple):
    """What the encoder says of a batch."""

    embedding: Array  # (n, E) float32, not normalised
    logits: Array  # (n, K) float32: log-odds over the kinds of the simulation, the zero-shot view


class EngineError(RetryableError):
    """The engine or its device failed: never the packet's fault, so never a reject."""

    hint = "`protonova doctor` shows which model and engine would be used"


def one_line(error: Exception) -> str:
    """What a runtime's error says, short enough for a line of a log."""
    return (str(error).strip().splitlines() or [type(error).__name__])[0][:300]


class Session(Protocol):
    """A compiled encoder. Takes and returns arrays of the caller's namespace."""

    @property
    def engine(self) -> str:
        """Name and version, such as ``onnxruntime 1.32.0 cpu f32``."""

    @property
    def namespace(self) -> Any:
        """Module of the arrays that `run` takes and gives: numpy or cupy."""

    @property
    def precision(self) -> str:
        """Of the arithmetic: f32 or f16."""

    @property
    def buckets(self) -> tuple[int, ...]:
        """Batch sizes it runs at; a batch is padded to the next one, a larger one is split."""

    def run(self, tokens: Array, stamps: Array, context: Array) -> Embedded:
        """Embed a batch.

        Parameters
        ----------
        tokens : (n, L, F) float32
        stamps : (n, 4, P, P) float32
        context : (n, 2 C + V) float32

        Raises
        ------
        EngineError
            The engine failed.
        """
