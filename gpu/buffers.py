"""How a batch of any size meets an engine of few shapes.

n alerts → slices, each with the bucket it runs in; arrays → the same, checked against what the engine was built for, and padded with zeros

Few fixed shapes make a replayed night repeat the live one's numbers: the arithmetic of a bucket does not depend on what else is in it. An
engine is given addresses, not arrays: what is not of its shape and type would be read beyond its end, so every session checks first.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from typing import TypeAlias

import numpy as np

from gpu.session import EngineError
from operators.context import N_CONTEXT
from operators.namespace import array_namespace
from operators.tokens import N_FEATURES
from operators.types import N_TOKENS, STAMP, Array

BUCKETS = (8, 32, 64)
GPU_BUCKETS = (8, 32, 64, 256, 1024)
"""A GPU's time for 1,024 alerts is hardly more than for 64; the small ones are for a stream that trickles."""
INPUTS = ("tokens", "stamps", "context")
OUTPUTS = ("embedding", "logits")
Shapes: TypeAlias = Mapping[str, tuple[int | str | None, ...]]
"""Input → its axes behind the first; one that is not a number may be of any length."""
SHAPES: Shapes = {"tokens": (N_TOKENS, N_FEATURES), "stamps": (4, STAMP, STAMP), "context": (N_CONTEXT,)}
"""What the operators make."""


def plan(n: int, buckets: Sequence[int] = BUCKETS) -> Iterator[tuple[slice, int]]:
    """Split n alerts into slices of at most the largest bucket, each with the smallest bucket that holds it."""
    largest = max(buckets)
    for start in range(0, n, largest):
        size = min(largest, n - start)
        yield slice(start, start + size), min(b for b in buckets if b >= size)


def pad(array: Array, rows: int) -> Array:
    """Append rows of zeros; the array itself where it is already long enough, contiguous in both cases."""
    xp = array_namespace(array)
    missing = rows - array.shape[0]
    if missing <= 0:
        return xp.ascontiguousarray(array)
    return xp.concat([array, xp.zeros((missing, *array.shape[1:]), dtype=array.dtype)])


def check(tokens: Array, stamps: Array, context: Array, *, shapes: Shapes, kind: type = np.ndarray) -> int:
    """Number of alerts, if the three arrays are what an engine was made for.

    Parameters
    ----------
    tokens, stamps, context : arrays
    shapes : Shapes
        Of the engine.
    kind : type
        Its namespace's arrays.

    Raises
    ------
    EngineError
        One is of another namespace, type or shape, or they disagree on the number of alerts.
    """
    arrays = dict(zip(INPUTS, (tokens, stamps, context), strict=True))
    if all(type(a) is kind and a.dtype == np.float32 and a.ndim == len(shapes[name]) + 1 for name, a in arrays.items()) and all(
        a.shape[0] == tokens.shape[0] and all(x == y for x, y in zip(a.shape[1:], shapes[name], strict=True) if type(y) is int)
        for name, a in arrays.items()
    ):
        return int(tokens.shape[0])  # all is well; below it is said what is not
    for name, array in arrays.items():
        if not isinstance(array, kind):
            wanted = "NumPy" if kind is np.ndarray else kind.__module__.partition(".")[0]
            raise EngineError(f"{name} is a {type(array).__name__}: this engine takes {wanted} arrays")
        if str(array.dtype) != "float32":
            raise EngineError(f"{name} is {array.dtype}, the encoder takes float32")
        if array.ndim != len(shapes[name]) + 1 or any(
            a != b for a, b in zip(array.shape[1:], shapes[name], strict=True) if isinstance(b, int)
        ):
            raise EngineError(f"{name} are {tuple(array.shape)}, the encoder takes (n, {', '.join(map(str, shapes[name]))})")
    counts = [array.shape[0] for array in arrays.values()]
    if len(set(counts)) != 1:
        raise EngineError(f"tokens, stamps and context are of {counts[0]}, {counts[1]} and {counts[2]} alerts")
    return int(counts[0])
