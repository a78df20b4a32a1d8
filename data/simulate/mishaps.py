"""A stream of packets as it should be → as it comes: some packets twice, some broken, each with the truth about it."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from typing import TypeVar

import numpy as np

Truth = TypeVar("Truth")


def with_mishaps(
    alerts: Iterator[tuple[bytes, Truth]],
    n: int,
    *,
    duplicates: int,
    broken: int,
    seed: Sequence[int],
    again: Callable[[Truth], Truth],
    unreadable: Callable[[str], Truth],
) -> Iterator[tuple[bytes, Truth]]:
    """The first alerts of an endless stream, n packets in all.

    Parameters
    ----------
    duplicates, broken : how many of the n repeat the alert before them, or are a ruin of it
    seed : of their places
    again : the truth about a repetition
    unreadable : the truth about a broken packet, from the way it is broken

    Raises
    ------
    ValueError : more duplicates and broken packets than the stream can hold
    """
    if min(n, duplicates, broken) < 0 or (duplicates + broken >= max(n, 1) and duplicates + broken > 0):
        raise ValueError(f"{duplicates} duplicates and {broken} broken packets do not fit into {n} packets")
    places = 1 + np.random.default_rng(list(seed)).permutation(max(n - 1, 0))[: duplicates + broken]
    repeat, spoilt = set(places[:duplicates].tolist()), set(places[duplicates:].tolist())
    last: tuple[bytes, Truth] | None = None
    for place in range(n):
        if last is not None and place in repeat:
            yield last[0], again(last[1])
        elif last is not None and place in spoilt:
            data, how = _broken(last[0], place)
            yield data, unreadable(how)
        else:
            last = next(alerts)
            yield last


def _broken(whole: bytes, place: int) -> tuple[bytes, str]:
    """Three ways not to be a packet: cut short, another survey's bytes, and text."""
    how = ("truncated", "foreign", "text")[place % 3]
    if how == "truncated":
        data = whole[: len(whole) // 2]
    elif how == "foreign":
        data = b"\x00\x00\x00\x2b\x67" + bytes((place * k + 7) % 256 for k in range(400))  # Confluent framing, schema 11111
    else:
        data = b'{"alert": "a message for another topic", "number": %d}' % place
    return data, how
