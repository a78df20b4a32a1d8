"""Whole light curves of several targets, of any length, in one set of arrays.

time [d], flux, error, quality bits a target → `Curves`
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import NamedTuple, TypeAlias

import numpy as np
import numpy.typing as npt

F64: TypeAlias = npt.NDArray[np.float64]
I64: TypeAlias = npt.NDArray[np.int64]

LEAST_SPAN = 2.0
"""[d]: a light curve of that length and more is one of its whole: it is searched, and a row holds points from all of it."""


class Curve(NamedTuple):
    """One target: time [d], flux and 1 σ error in the same unit, quality bits; each (N,)."""

    time: F64
    flux: F64
    flux_err: F64
    quality: I64


@dataclass(frozen=True, slots=True)
class Curves:
    """Light curves of n targets one behind the other; those of target i are at offsets[i] … offsets[i + 1]."""

    offsets: I64
    """(n + 1,)"""
    time: F64
    """(P,) [d], in any order; NaN where there is none."""
    flux: F64
    """(P,)"""
    flux_err: F64
    """(P,) 1 σ; NaN where it is not known."""
    quality: I64
    """(P,) bits."""

    @classmethod
    def of(cls, curves: Sequence[Curve]) -> Curves:
        """Join single light curves.

        Raises
        ------
        ValueError
            Columns of different length.
        """
        for i, curve in enumerate(curves):
            if len({np.shape(column) for column in curve}) != 1 or np.ndim(curve.time) != 1:
                raise ValueError(f"light curve {i}: time, flux, flux_err and quality must be as long as each other")
        offsets = np.concatenate([[0], np.cumsum([len(curve.time) for curve in curves])]).astype(np.int64)
        times, fluxes, errors = (np.concatenate([np.empty(0), *(curve[k] for curve in curves)]).astype(np.float64) for k in range(3))
        quality = np.concatenate([np.empty(0, np.int64), *(curve.quality for curve in curves)]).astype(np.int64)
        return cls(offsets, times, fluxes, errors, quality)

    def __len__(self) -> int:
        """Number of targets."""
        return len(self.offsets) - 1

    def __getitem__(self, i: int) -> Curve:
        """Light curve of target i."""
        rows = slice(int(self.offsets[i]), int(self.offsets[i + 1]))
        return Curve(self.time[rows], self.flux[rows], self.flux_err[rows], self.quality[rows])
