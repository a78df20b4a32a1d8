"""`operators.decision.decide` as one loop an alert: a third of a microsecond where its array version takes eighty for a batch."""

from __future__ import annotations

from typing import Any

import numpy as np
import numpy.typing as npt

from operators.kernels.compiled import compiled
from operators.types import Array


def decide_rows(
    judged: Any, survey_scores: Array, star: npt.NDArray[np.bool_], *, rule: Any, most_bogus: float, tiny: float
) -> tuple[Array, Array, Array, Array, Array]:
    """`Judged` of n alerts and their scores, float32 → the fields of `operators.decision.Decided`.

    Parameters
    ----------
    judged : operators.head.Judged
    survey_scores : (n, s) float32
    star : (n,) bool
    rule : operators.decision.Rule
        Of NumPy arrays.
    most_bogus, tiny : float
        `operators.decision.MOST_BOGUS` and `TINY`.
    """
    n = len(judged.novelty)
    chosen, evidence = np.empty(n, np.int64), np.empty(n, np.int64)
    probability, published, real = np.empty(n, np.float32), np.empty(n, np.bool_), np.empty(n, np.bool_)
    numbers = np.array((rule.novelty_threshold, most_bogus, tiny), np.float32)
    bogus = -1 if rule.bogus is None else rule.bogus
    _decide(
        judged.prior_probability, judged.novelty, survey_scores, np.ascontiguousarray(star), rule.thresholds, rule.rare, rule.least_score,
        numbers, bogus,
        chosen, probability, published, real, evidence,
    )  # fmt: skip
    return chosen, probability, published, real, evidence


@compiled
def _decide(  # type: ignore[no-untyped-def] # pragma: no cover
    prior, novelty, scores, star, thresholds, rare, least_score, numbers, bogus, chosen, probability, published, real, evidence
):
    n, k = len(prior), len(thresholds)
    novelty_threshold, most_bogus, tiny = numbers
    for i in range(n):
        is_real = bogus < 0 or prior[i, bogus] < most_bogus
        kind = scores.shape[1]
        for j in range(kind):
            if scores[i, j] == scores[i, j]:
                is_real, kind = scores[i, j] >= least_score[j], j
                break
        best, first = -1, -1
        factor, leading = np.float32(0), np.float32(0)
        for c in range(k):
            p = prior[i, c]
            if not is_real and rare[c] and not star[i]:
                continue
            if first < 0 or p > leading:
                first, leading = c, p
            if p >= thresholds[c]:
                over = (p + tiny) / (thresholds[c] + tiny)
                if best < 0 or over > factor:
                    best, factor = c, over
        new = is_real and novelty[i] >= novelty_threshold
        if new or first < 0:
            which = k
        else:
            which = best if best >= 0 else first
        chosen[i], probability[i], published[i] = which, prior[i, which], new or best >= 0
        real[i], evidence[i] = is_real, kind
