"""How a batch of any size meets an engine of few shapes.

n alerts → slices, each with the bucket it runs in; arrays → the same, padded with zeros to the bucket
lengths of n light curves → the order to run them in, and slices of it, each with its bucket and its tokens

Few fixed shapes make a replayed night repeat the live one's numbers: the arithmetic of a bucket does not depend on what else is in it.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import NamedTuple

from gpu.session import EngineError
from operators.namespace import array_namespace
from operators.types import Array

BUCKETS = (8, 32, 64)
STEP = 8
"""Lengths of light curves are cut to a multiple of it [tokens]."""
RUN, ROW, TOKEN = 400.0, 70.0, 5.0
"""What a run, a row and a token of it cost ONNX Runtime, roughly [µs of an AVX2 core]: only their ratios matter, and the time alone depends
on them."""


def plan(n: int, buckets: Sequence[int] = BUCKETS) -> Iterator[tuple[slice, int]]:
    """Split n alerts into slices of at most the largest bucket, each with the smallest bucket that holds it."""
    largest = max(buckets)
    for start in range(0, n, largest):
        size = min(largest, n - start)
        yield slice(start, start + size), min(b for b in buckets if b >= size)


class Piece(NamedTuple):
    """What runs at once: a slice of the sorted alerts."""

    part: slice
    rows: int
    """The bucket."""
    tokens: int
    """Tokens of each row that are run; what is behind them is padding in all of them."""


def thrifty_plan(lengths: Sequence[int], buckets: Sequence[int], longest: int, step: int = STEP) -> list[Piece]:
    """The same for an engine whose time goes with the rows and their tokens, padded ones too.

    Parameters
    ----------
    lengths : sequence of int
        Tokens of each alert, ascending.
    buckets : sequence of int
    longest : int
        Tokens that the network takes at most.
    step : int
        Tokens are cut to a multiple of it, for few shapes; `longest` where it cuts nothing.

    Returns
    -------
    list of Piece
        The cheapest way to cover all alerts in their order, by `RUN`, `ROW` and `TOKEN`.
    """
    # Cheapest way to cover the first i alerts: its cost, and the bucket that ends it. A piece is as long as its last alert.
    best: list[tuple[float, int]] = [(0.0, 0)]
    tokens = [min(longest, max(step, -(-length // step) * step)) for length in lengths]
    for i, run in enumerate(tokens, 1):
        row = ROW + TOKEN * run
        best.append(min((best[max(i - b, 0)][0] + RUN + b * row, b) for b in buckets))
    pieces, end = [], len(tokens)
    while end:
        rows = best[end][1]
        start = max(end - rows, 0)
        pieces.append(Piece(slice(start, end), rows, tokens[end - 1]))
        end = start
    return pieces[::-1]


def pad(array: Array, rows: int) -> Array:
    """Append rows of zeros; the array itself where it is already long enough, contiguous in both cases."""
    xp = array_namespace(array)
    missing = rows - array.shape[0]
    if missing <= 0:
        return xp.ascontiguousarray(array)
    return xp.concatenate([array, xp.zeros((missing, *array.shape[1:]), dtype=array.dtype)])


def check(tokens: Array, stamps: Array, context: Array) -> int:
    """Number of alerts, if the three arrays agree on it.

    Raises
    ------
    EngineError
        They do not, or one is not float32.
    """
    lengths = {len(tokens), len(stamps), len(context)}
    if len(lengths) != 1:
        raise EngineError(f"tokens, stamps and context are of {len(tokens)}, {len(stamps)} and {len(context)} alerts")
    for name, array in (("tokens", tokens), ("stamps", stamps), ("context", context)):
        if str(array.dtype) != "float32":
            raise EngineError(f"{name} is {array.dtype}, the encoder takes float32")
    return lengths.pop()
