"""A class added to a head without `operators.taught`: whatever is as near to the examples as they are to each other."""

from __future__ import annotations

import dataclasses

import numpy as np

from operators.head import Head, Views, centred, prototype

SHARE = 0.01
"""Of the stream."""


def by_hand(head: Head, name: str, examples: Views) -> Head:
    """Append a class of a few examples.

    Parameters
    ----------
    head : Head
    name : str
    examples : Views
        On the host.
    """
    f32 = np.float32
    mean = prototype(examples.embedding, head.centre)
    least = float((centred(examples.embedding, head.centre) @ mean).min())
    width = head.ridge.shape[1] if len(head.ridge) else mean.size + examples.logits.shape[1] + examples.named.shape[1]
    weight = np.concatenate([mean, np.zeros(width - mean.size)]).astype(f32)
    prior = np.concatenate([head.prior[:-1], [SHARE * head.prior[-1]], [(1 - SHARE) * head.prior[-1]]])
    return dataclasses.replace(
        head,
        taught=(*head.taught, name),
        taught_prototypes=np.concatenate([head.taught_prototypes, mean[None]]).astype(f32),
        taught_weights=np.concatenate([head.taught_weights.reshape(-1, width), weight[None]]).astype(f32),
        taught_location=np.append(head.taught_location, f32(least - 0.02)),
        taught_scale=np.append(head.taught_scale, f32(0.005)),
        prior=prior.astype(f32),
        thresholds=np.append(head.thresholds, f32(0.05)),
    )
