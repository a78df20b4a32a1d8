"""A golden batch before a bundle is used: the engine here must give what the engine that made the bundle gave.

Bundle, Session → nothing, or an `EngineError` that says how far off it is

A miscompiled engine or a broken library shows here and not in a night of wrong scores.
"""

from __future__ import annotations

from collections.abc import Mapping

import numpy as np

from gpu.session import EngineError, Session
from operators.head import Views, judge
from operators.namespace import to_host
from pipeline.embed import Inputs, run
from registry.bundle import Bundle

TOLERANCE: Mapping[str, float] = {"f32": 1e-3, "f16": 1e-2}
"""Precision → most that a probability may be off: float32 engines differ by 1e-6; the 16-bit model gave 9e-4 on the CPU."""


def verify(bundle: Bundle, session: Session) -> float:
    """Run the golden batch and compare.

    Returns
    -------
    float
        Largest difference of a probability.

    Raises
    ------
    gpu.session.EngineError
        It is above `TOLERANCE` of the session's precision, or the engine failed.
    """
    xp, golden = session.namespace, bundle.golden
    embedded = run(Inputs(golden.tokens, golden.stamps, golden.context), session)
    views = Views(embedded.embedding, embedded.logits, xp.asarray(golden.named))
    probability = judge(views, bundle.head.map(xp.asarray)).probability
    off = float(np.max(np.abs(to_host(probability) - golden.probability)))
    allowed = TOLERANCE[session.precision]
    if not off <= allowed:
        raise EngineError(
            f"{session.engine} gives the golden batch of {bundle.path} probabilities that are off by {off:.2g} (allowed {allowed:g}): "
            "choose another engine with PROTONOVA_ENGINE, or make the bundle anew"
        )
    return off
