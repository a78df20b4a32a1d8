"""How a batch of any size meets an engine of few shapes.

n alerts → slices, each with the bucket it runs in; arrays → the same, padded with zeros to the bucket

Few fixed shapes make a replayed night repeat the live one's numbers: the arithmetic of a bucket does not depend on what else is in it.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence

from gpu.session import EngineError
from operators.namespace import array_namespace
from operators.types import Array

BUCKETS = (8, 32, 64)


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
    return xp.concatenate([array, xp.zeros((missing, *array.shape[1:]), dtype=array.dtype)])


def check(tokens: Array, stamps: Array, context: Array) -> int:
    """Number of alerts, if the three arrays agree on it.

    Raises
    ------
    EngineError
        They do not, or one is not float32.
    """
    lengths = {array.shape[0] for array in (tokens, stamps, context)}
    if len(lengths) != 1:
        raise EngineError(f"tokens, stamps and context are of {tokens.shape[0]}, {stamps.shape[0]} and {context.shape[0]} alerts")
    for name, array in (("tokens", tokens), ("stamps", stamps), ("context", context)):
        if str(array.dtype) != "float32":
            raise EngineError(f"{name} is {array.dtype}, the encoder takes float32")
    return lengths.pop()
