"""How many false alerts may be: quantiles that hold in a finite sample, thresholds that keep an alert budget.

scores of known alerts (n,) → a threshold
"""

from __future__ import annotations

import math
from typing import Any

import numpy as np
import numpy.typing as npt

COVERAGE = 0.9
"""Of the conformal sets."""
ALERTS_A_NIGHT = 100_000.0
BUDGET = 100.0
"""Alerts a night that a class's topic may carry that are not of the class."""
ANOMALY_BUDGET = 2_000.0
"""The same of the topic of anomalies: as many as the stated mix has alerts of no known class (`learning.head_calibration.STREAM_PRIOR`)."""
FLOOR = 1e-4
"""Least threshold of a class's topic: where the budget sets none, as for the very rarest. At 0.05 no simulated kilonova (two in a
million of the stream) was published, one afterglow in twelve, and TDE and SLSN half as often as their budgets allow."""

Values = npt.NDArray[np.floating[Any]]


def quantile(scores: Values, coverage: float = COVERAGE) -> float:
    """The conformal quantile.

    The ceil((n + 1) · coverage)-th smallest score (Romano, Sesia & Candès 2020); the largest where n is too small for it.
    """
    n = len(scores)
    rank = min(math.ceil((n + 1) * coverage), n)
    return float(np.sort(scores)[rank - 1])


def least_probability(
    probability: Values, stands_for: Values, *, budget: float = BUDGET, floor: float = FLOOR, ceiling: float = 0.5
) -> float:
    """Least probability a class's topic asks for: as low as the budget of false alerts allows, between floor and ceiling.

    Parameters
    ----------
    probability : (n,)
        Of the class, for n alerts that are not of it, under the stream's mix.
    stands_for : (n,)
        How many alerts a night each stands for.
    """
    order = np.argsort(-probability, kind="stable")
    falls = np.cumsum(stands_for[order])
    allowed = int(np.searchsorted(falls, budget, side="right"))  # the first false alert that would break the budget
    least = float(probability[order][allowed]) + 1e-6 if allowed < len(order) else 0.0
    return min(max(least, floor), ceiling)


def night(label: npt.NDArray[np.int64], shares: Values, *, alerts_a_night: float = ALERTS_A_NIGHT) -> Values:
    """How many alerts of a night each of a labelled sample stands for, (n,): as many as the stated mix has of its class.

    Parameters
    ----------
    label : (n,) int
    shares : (k,) of the mix
    """
    counts = np.bincount(label, minlength=len(shares))
    return np.asarray((shares / np.maximum(counts, 1))[label] * alerts_a_night)
