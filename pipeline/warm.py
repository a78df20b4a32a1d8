"""A worker's first packet must not wait for a compiler.

ScoringState → the same, with every compiled loop in memory and the engine's buffers made
"""

from __future__ import annotations

import numpy as np

from operators.types import F64
from pipeline.score import score
from pipeline.state import ScoringState
from schemas.records.detection import Detection
from schemas.surveys import decode, tess

# Long enough that its period and its dips are looked for: those loops are compiled too.
_STAR = {"tic": 1, "sector": 1, "cadence": 512, "ra": 0.0, "dec": 0.0, "tmag": 10.0}
_N = 512
_DIPS: F64 = np.where(np.arange(_N) % 40 < 3, 0.97, 1.0)
_FLUX: F64 = np.asarray(15000.0 * (1 + 0.06 * np.sin(np.arange(_N))) * _DIPS, dtype=np.float64)


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
    whole, short = (
        tess.encode_columns(
            _STAR,
            np.arange(3000.0, 3000.0 + 0.08 * (n - 0.5), 0.08),
            flux=_FLUX[:n],
            flux_err=np.full(n, 10.0),
            quality=np.zeros(n, dtype=np.int64),
        )
        for n in (_N, 8)
    )
    for rows in state.session.buckets:
        first = score([whole, *[short] * (rows - 1)], state)[0]
        if not isinstance(first, Detection):
            raise RuntimeError(f"our own packet was rejected: {first.reason}")
