"""Labels → episodes: K support objects and up to 15 queries a class, disjoint, the same for every method."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

I64 = npt.NDArray[np.int64]

QUERIES = 15
LEAST_QUERIES = 5
"""A class with fewer than K + 5 objects takes no part at this K; with fewer than K + 15 it has fewer queries, in every episode."""


@dataclass(frozen=True, slots=True)
class Episodes:
    """E episodes of N classes: indices of objects. Queries lie class after class; a class's number of queries is the same in each."""

    shots: int
    classes: tuple[str, ...]
    left_out: tuple[str, ...]
    """Classes too small for this K."""
    support: I64  # (E, N K), class after class
    support_class: I64  # (N K,)
    query: I64  # (E, Q)
    query_class: I64  # (Q,)

    def __len__(self) -> int:
        return len(self.support)


def make(labels: npt.NDArray[np.str_], shots: int, *, episodes: int, seed: int = 0, queries: int = QUERIES) -> Episodes | None:
    """Draw episodes; None if fewer than two classes are large enough.

    Parameters
    ----------
    labels : (n,) str
    shots : int
        K.
    episodes : int
        Episode e is the same however many are asked for.
    seed : int
    queries : int
        Most queries of a class.
    """
    names = sorted(set(labels.tolist()))
    members = {c: np.flatnonzero(labels == c) for c in names}
    classes = tuple(c for c in names if len(members[c]) >= shots + LEAST_QUERIES)
    if len(classes) < 2:
        return None
    number = [min(queries, len(members[c]) - shots) for c in classes]
    support = np.empty((episodes, len(classes) * shots), dtype=np.int64)
    query = np.empty((episodes, sum(number)), dtype=np.int64)
    for e in range(episodes):
        rng = np.random.default_rng([seed, shots, e])
        drawn = [rng.permutation(members[c])[: shots + q] for c, q in zip(classes, number, strict=True)]
        support[e] = np.concatenate([d[:shots] for d in drawn])
        query[e] = np.concatenate([d[shots:] for d in drawn])
    index = np.arange(len(classes))
    return Episodes(
        shots=shots,
        classes=classes,
        left_out=tuple(c for c in names if c not in classes),
        support=support,
        support_class=np.repeat(index, shots),
        query=query,
        query_class=np.repeat(index, number),
    )
