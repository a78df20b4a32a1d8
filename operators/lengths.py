"""Light curves are run by length: padding costs what tokens do and changes nothing.

tokens (n, L, F) → how many each alert has; lengths (n,) ascending → pieces that are run at once, each cut to what its longest needs

One rule for training and for every engine: alerts are sorted by length, and a piece of them is run at the least multiple of a step that
holds its longest. Where the pieces end is a matter of cost: training takes equal parts, for few shapes; an engine of fixed batch sizes
takes the cheapest cover.
"""

from __future__ import annotations

from collections.abc import Sequence
from itertools import pairwise
from typing import NamedTuple

from operators.namespace import array_namespace
from operators.types import Array

STEP = 8
"""Of an engine [tokens]."""
TRAINING_STEP = 12
"""Of training, where the library compiles its products anew for every shape [tokens]."""
RUN, ROW, TOKEN = 400.0, 70.0, 5.0
"""What a run, a row and a token of it cost ONNX Runtime, roughly [µs of an AVX2 core]: only their ratios matter, and the time alone depends
on them."""


class Piece(NamedTuple):
    """What is run at once: a slice of the alerts sorted by length."""

    part: slice
    rows: int
    """Alerts it is padded to: those of the slice, or the batch size of an engine."""
    tokens: int
    """Tokens of each alert that are run; what is behind them is padding in all of them."""


def lengths(tokens: Array) -> Array:
    """Count the tokens of each alert up to the last that is not padding; (n, L, F) → (n,) int, 0 where there is none."""
    xp = array_namespace(tokens)
    return xp.max(xp.where(tokens[..., -1] != 0, xp.arange(1, tokens.shape[1] + 1), 0), axis=1)


def cut(length: int, step: int, *, longest: int) -> int:
    """Tokens that an alert of a length is run at: the least multiple of the step that holds it, `longest` at most."""
    return min(longest, max(step, -(-length // step) * step))


def equal_pieces(ascending: Sequence[int], parts: int, *, longest: int, step: int = TRAINING_STEP) -> list[Piece]:
    """Split alerts into so many parts of equal size; fewer where there are fewer alerts.

    Parameters
    ----------
    ascending : sequence of int
        Tokens of each alert.
    parts : int
    longest : int
        Tokens that the network takes at most.
    step : int
    """
    n = len(ascending)
    ends = [i * (n // parts) + min(i, n % parts) for i in range(parts + 1)]
    return [
        Piece(slice(start, end), end - start, cut(ascending[end - 1], step, longest=longest))
        for start, end in pairwise(ends)
        if end > start
    ]


def cheapest_pieces(ascending: Sequence[int], buckets: Sequence[int], *, longest: int, step: int = STEP) -> list[Piece]:
    """Cover alerts by batches of an engine's sizes, at the least cost by `RUN`, `ROW` and `TOKEN`.

    Parameters
    ----------
    ascending : sequence of int
        Tokens of each alert.
    buckets : sequence of int
        Batch sizes; a row costs the same whether an alert is in it or not.
    longest : int
        Tokens that the network takes at most.
    step : int
        `longest` where nothing is to be cut.
    """
    # Cheapest way to cover the first i alerts: its cost, and the bucket that ends it. A piece is as long as its last alert.
    best: list[tuple[float, int]] = [(0.0, 0)]
    tokens = [cut(length, step, longest=longest) for length in ascending]
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
