"""Every stage of the pipeline, in order.

packets (bytes), ScoringState → [Detection | Rejected], same length, same order

Pure (law 1): no clock, no network, no Kafka. The value of a detection is a function of its packet and the state alone; a packet's fault
becomes a `Rejected`, the engine's fault an `EngineError`.
"""

from __future__ import annotations

from collections.abc import Sequence

from operators.decision import decide
from operators.head import judge
from operators.namespace import to_host
from pipeline.assemble import assemble
from pipeline.embed import embed
from pipeline.monitored import monitored
from pipeline.select import select
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
        The engine or its device failed; the packets are not at fault.
    """
    decoded = state.decoder.decode(packets)  # 1. bytes → columns
    results: list[Detection | Rejected | None] = [None] * len(packets)
    for position, fault in decoded.rejected:
        results[position] = Rejected(error_class=fault.error_class, reason=fault.reason, survey=fault.survey)
    if decoded.index:
        selected = select(decoded.batch)  # 2. → what its survey's stages find: dips, flares, periods
        seen = embed(decoded.batch, state.session, selected=selected)  # 3. → tokens, stamps, context → embeddings, logits; named features
        judged = judge(seen.views, state.head.weights, star=selected.star)  # 4. → probabilities, novelty, conformal set
        scores = state.namespace.asarray(decoded.batch.survey_scores)
        decided = decide(judged, scores, rule=state.head.rule, star=selected.star)  # 5. → the class that is published
        rows = monitored(decoded.batch, seen.logits, judged=judged)  # 6. → what telemetry sums up
        detections = assemble(  # 7. → records
            decoded.batch, judged, decided=decided, selected=selected, named=to_host(seen.named), state=state, embedding=seen.embedding,
            monitored=rows,
        )  # fmt: skip
        for position, detection in zip(decoded.index, detections, strict=True):
            results[position] = detection
    missing = results.count(None)
    if missing:
        raise RuntimeError(f"{missing} of {len(packets)} packets ended neither scored nor rejected: a fault of the decoder")
    return [result for result in results if result is not None]
