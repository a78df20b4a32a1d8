"""`operators.head.judge` up to the shares of the known classes, as one loop an alert.

The sums run class by class side by side, number after number: an alert's bits do not depend on the batch.
"""

from __future__ import annotations

from typing import Any

import numpy as np

from operators.kernels.compiled import compiled
from operators.types import Array


def fill_known(views: Any, head: Any, least: float, lowest: float, named_weight: float) -> tuple[Array, Array, Array]:
    """`Views` of n alerts, `Head` → scores over the temperature (n, k), cosines (n, k + t), answers of the taught classes (n, t)."""
    n, (k, width) = len(views.embedding), head.prototypes.shape
    t, kinds = len(head.taught_weights), head.zero_shot.shape[0]
    columns = np.concatenate([head.ridge, head.taught_weights]).T
    score, cosine, answer = (np.empty((n, size), dtype=np.float32) for size in (k, k + t, t))
    prototypes = np.concatenate([head.prototypes, head.taught_prototypes]).T
    parts = columns[:width], columns[width : width + kinds] / head.kind_scale, columns[width + kinds :] * np.float32(named_weight)
    # Copies of the small ones, whole rows of the others: one signature, whether or not a head's arrays may be written to.
    _fill(
        *(np.ascontiguousarray(column) for column in views), head.centre.copy(), *map(np.ascontiguousarray, (prototypes, *parts)),
        head.zero_shot.copy(), head.offset.copy(), head.zero_shot_weight.copy(), np.float32(head.cosine_weight),
        np.float32(head.temperature), np.float32(least), np.float32(lowest), score, cosine, answer,
    )  # fmt: skip
    return score, cosine, answer


@compiled
def _fill(  # type: ignore[no-untyped-def]
    embedding, logits, named, centre, prototypes, on_unit, on_kinds, on_named, zero_shot, offset, zero_shot_weight, cosine_weight,
    temperature, least, lowest, score, cosine, answer,
):  # fmt: skip
    n, width = embedding.shape
    kinds, k = zero_shot.shape
    both = cosine.shape[1]
    near, ridge, share = np.empty(both, np.float32), np.empty(both, np.float32), np.empty(k, np.float32)
    odds = np.empty(kinds, np.float32)
    for i in range(n):
        near[:] = 0
        ridge[:] = 0
        share[:] = 0
        square = np.float32(0)
        for j in range(width):
            x = embedding[i, j] - centre[j]
            square += x * x
        length = max(np.sqrt(square), np.float32(1e-6))
        for j in range(width):
            x = (embedding[i, j] - centre[j]) / length
            for c in range(both):
                near[c] += x * prototypes[j, c]
                ridge[c] += x * on_unit[j, c]
        top = logits[i, 0]
        for j in range(kinds):
            top = max(top, logits[i, j])
        whole = np.float32(0)
        for j in range(kinds):
            odds[j] = np.exp(logits[i, j] - top)
            whole += odds[j]
        log = np.log(whole)
        for j in range(kinds):
            x = odds[j] / whole
            fine = max(logits[i, j] - top - log, lowest)
            for c in range(k):
                share[c] += x * zero_shot[j, c]
            for c in range(both):
                ridge[c] += fine * on_kinds[j, c]
        for j in range(named.shape[1]):
            x = named[i, j]
            for c in range(both):
                ridge[c] += x * on_named[j, c]
        for c in range(k):
            log_share = np.log(max(share[c], least))
            score[i, c] = (cosine_weight * near[c] + zero_shot_weight[c] * log_share + ridge[c] + offset[c]) / temperature
        for c in range(both):
            cosine[i, c] = near[c]
        for c in range(both - k):
            answer[i, c] = ridge[k + c]
