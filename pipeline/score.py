"""Every stage of the pipeline, in order.

packets (bytes), ScoringState → [Detection | Rejected], same length, same order

Pure (law 1): no clock, no network, no Kafka. The value of a detection is a function of its packet and the state alone; a packet's fault
becomes a `Rejected`, the engine's fault an `EngineError`.
"""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from operators.context import context
from operators.features import comparable, features
from operators.head import Judged, Views, judge
from operators.stamps import stamps
from operators.tokens import tokens
from operators.types import F32, AlertBatch, Array
from pipeline.assemble import assemble
from pipeline.state import ScoringState
from schemas.records.detection import Detection
from schemas.records.rejected import Rejected


def score(packets: Sequence[bytes], state: ScoringState) -> list[Detection | Rejected]:
    """Score packets.

    Parameters
    ----------
    packets : sequence of bytes
        As the survey sent them; any mix of surveys.
    state : ScoringState

    Returns
    -------
    list of Detection or Rejected, one a packet, in the packets' order.

    Raises
    ------
    gpu.session.EngineError
        The engine or its device failed; the packets are innocent.
    """
    decoded = state.decoder.decode(packets)  # 1. bytes → columns
    results: list[Detection | Rejected | None] = [None] * len(packets)
    for position, fault in decoded.rejected:
        results[position] = Rejected(error_class=fault.error_class, reason=fault.reason, survey=fault.survey)
    if decoded.index:
        judged, named, embedding = _judge(decoded.batch, state)
        detections = assemble(decoded.batch, judged, named, state, embedding=embedding)  # 7. → records
        for position, detection in zip(decoded.index, detections, strict=True):
            results[position] = detection
    missing = results.count(None)
    if missing:
        raise RuntimeError(f"{missing} of {len(packets)} packets ended neither scored nor rejected: a fault of the decoder")
    return [result for result in results if result is not None]


def _judge(batch: AlertBatch, state: ScoringState) -> tuple[Judged, F32, Array]:
    """Columns → what the head says, the named features, the embeddings."""
    batch = state.place(batch)  # 2. to the engine's device: nothing to do on a CPU
    inputs = tokens(batch), stamps(batch), context(batch)  # 3. light curve; images; surroundings, folded view
    named = features(batch)  # 4. named features of the light curve
    embedded = state.session.run(*inputs)  # 5. embeddings
    judged = judge(Views(embedded.embedding, embedded.logits, comparable(named)), state.head)  # 6. → probabilities, novelty, conformal set
    return judged, np.asarray(state.fetch(named)), embedded.embedding
