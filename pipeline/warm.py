"""A worker's first packet must not wait for a compiler.

ScoringState → the same, with every compiled loop in memory and the engine's buffers made
"""

from __future__ import annotations

import math

from pipeline.score import score
from pipeline.state import ScoringState
from schemas.records.detection import Detection
from schemas.surveys import decode, tess

# Long enough that its period is looked for: those loops are compiled too.
_LIGHT_CURVE = [{"btjd": 3000.0 + 0.8 * k, "flux": 15000.0 + 900.0 * math.sin(k), "flux_err": 10.0, "quality": 0} for k in range(64)]
_PACKET = {"tic": 1, "sector": 1, "cadence": 64, "ra": 0.0, "dec": 0.0, "tmag": 10.0, "baseline": 14990.0, "light_curve": _LIGHT_CURVE}


def warm(state: ScoringState) -> None:
    """Compile or load what scoring needs, and score one packet of our own in every batch shape of the engine.

    Raises
    ------
    gpu.session.EngineError
        The engine failed.
    RuntimeError
        Our own packet was not scored.
    """
    decode.warm()
    packet = tess.encode(_PACKET)
    for rows in state.session.buckets:
        first = score([packet] * rows, state)[0]
        if not isinstance(first, Detection):
            raise RuntimeError(f"our own packet was rejected: {first.reason}")
