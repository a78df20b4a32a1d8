"""A golden batch before a bundle is used: the engine here must give what the engine that made the bundle gave.

Bundle, Session → nothing, or an `EngineError` that says how far off it is

A miscompiled engine or a broken library shows here and not in a night of wrong scores.
"""

from __future__ import annotations

import numpy as np

from gpu.session import EngineError, Session
from operators.head import Views, judge
from operators.namespace import to_host
from pipeline.embed import Inputs, run
from registry.bundle import Bundle

TOLERANCE = 1e-3
"""Of a probability: float32 engines differ by 1e-6, half precision by some 1e-4."""


def verify(bundle: Bundle, session: Session) -> float:
    """Run the golden batch and compare.

    Returns
    -------
    float
        Largest difference of a probability.

    Raises
    ------
    gpu.session.EngineError
        It is above `TOLERANCE`, or the engine failed.
    """
    xp, golden = session.namespace, bundle.golden
    embedded = run(Inputs(golden.tokens, golden.stamps, golden.context), session)
    views = Views(embedded.embedding, embedded.logits, xp.asarray(golden.named))
    probability = judge(views, bundle.head.map(xp.asarray)).probability
    off = float(np.max(np.abs(to_host(probability) - golden.probability)))
    if not off <= TOLERANCE:
        raise EngineError(
            f"{session.engine} gives the golden batch of {bundle.path} probabilities that are off by {off:.2g} (allowed {TOLERANCE:g}): "
            "choose another engine with PROTONOVA_ENGINE, or make the bundle anew"
        )
    return off
