"""Embeddings → three numbers each, to be drawn: the directions in which known classes lie farthest apart.

embeddings of known alerts, their classes → `Projection`; embeddings (n, E) → (n, 3)

The same known alerts give the same projection on every machine: no random start, signs by a rule. It is linear, so that a new alert lies
where it lies whatever else is drawn.
"""

from __future__ import annotations

from typing import NamedTuple

import numpy as np
import numpy.typing as npt

from operators.types import F64

DIMENSIONS = 3


class Projection(NamedTuple):
    """A centre and three directions."""

    centre: F64  # (E,) mean of the classes' means
    axes: F64  # (3, E) orthonormal
    share: F64  # (3,) of the spread between classes that each direction holds [1]

    def of(self, embedding: npt.NDArray[np.floating]) -> F64:
        """The places of embeddings.

        Parameters
        ----------
        embedding : (n, E) float

        Returns
        -------
        (n, 3) float64, between -2 and 2: embeddings count by their direction.
        """
        return (_unit(np.asarray(embedding, np.float64)) - self.centre) @ self.axes.T


def projection_of(embedding: npt.NDArray[np.floating], label: np.ndarray[tuple[int], np.dtype[np.int64]]) -> Projection:
    """The projection of known alerts; each class counts the same.

    Parameters
    ----------
    embedding : (n, E) float
    label : (n,) int64
        Class of each.

    Raises
    ------
    ValueError
        Three directions need four classes.
    """
    z = _unit(np.asarray(embedding, np.float64))
    means = np.stack([z[label == k].mean(axis=0) for k in np.unique(label)])
    if len(means) <= DIMENSIONS:
        raise ValueError(f"{len(means)} classes span fewer than {DIMENSIONS} directions")
    centre = means.mean(axis=0)
    _, spread, axes = np.linalg.svd(means - centre, full_matrices=False)
    axes = axes[:DIMENSIONS]
    largest = np.abs(axes).argmax(axis=1)
    axes = axes * np.sign(axes[np.arange(DIMENSIONS), largest])[:, None]  # a direction's sign is free: its largest part is positive
    return Projection(centre, axes, spread[:DIMENSIONS] ** 2 / np.sum(spread**2))


def _unit(z: F64) -> F64:
    """Vectors of unit length; zeros stay."""
    norm = np.linalg.norm(z, axis=1, keepdims=True)
    return np.asarray(z / np.where(norm > 0, norm, 1.0))
