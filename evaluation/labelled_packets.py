"""Labelled packets through the stream's own function, `pipeline.score.score`.

packets, `ScoringState`, labels → [RealAlert]; a folder of packets with `LABELS.csv` → figures of `evaluation.real_alerts`
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from itertools import islice
from pathlib import Path
from typing import Any

from data.connectors.archives import only_packets
from data.label_table import labels_of
from evaluation.provenance import made_with
from evaluation.real_alerts import RealAlert, figures, real_alert
from gpu.session import Session
from operators.context import catalogue_star
from operators.namespace import to_host
from pipeline.score import score
from pipeline.state import ScoringState, make_state
from registry.bundle import Bundle, fold_of
from schemas.records.detection import Detection
from schemas.records.rejected import Rejected
from schemas.surveys.decode import Decoder

Outcome = Detection | Rejected | None
CHUNK = 256
STUDY = "real_alerts"


def label_of(detection: Detection, labels: Mapping[str, str]) -> str:
    """A detection's label, by its candid or else its object; empty: it has none."""
    return labels.get(str(detection.candid)) or labels.get(detection.object_id) or ""


def real_alerts(
    packets: Sequence[bytes], outcomes: Sequence[Outcome], *, labels: Mapping[str, str], state: ScoringState
) -> Iterator[RealAlert]:
    """Scored packets beside their labels and their catalogue; what is not a detection is passed over.

    What is judged is what the state would say of an object that its head had not been fitted on (`apart`).

    Parameters
    ----------
    packets, outcomes
        Of the same length; an outcome of None is a duplicate.
    state : ScoringState
        That scored them. A detection does not carry the catalogue source's distance: the packets are read once more for it.
    """
    yield from beside_labels(packets, apart(packets, outcomes, state=state), labels=labels, decoder=state.decoder)


def beside_labels(
    packets: Sequence[bytes], outcomes: Sequence[Outcome], *, labels: Mapping[str, str], decoder: Decoder
) -> Iterator[RealAlert]:
    """The same of outcomes as they are."""
    scored = [i for i, outcome in enumerate(outcomes) if isinstance(outcome, Detection)]
    decoded = decoder.decode([packets[i] for i in scored])
    stars = to_host(catalogue_star(decoded.batch.context)) if decoded.index else ()
    for row, place in enumerate(decoded.index):
        detection = outcomes[scored[place]]
        if isinstance(detection, Detection):
            yield real_alert(detection, label_of(detection, labels), catalogue_star=bool(stars[row]))


def apart(packets: Sequence[bytes], outcomes: Sequence[Outcome], *, state: ScoringState) -> list[Outcome]:
    """The outcomes, each detection by the head that was fitted without its object; the same where no head was fitted on real objects."""
    found = list(outcomes)
    fold = {i: fold_of(outcome.object_id) for i, outcome in enumerate(outcomes) if isinstance(outcome, Detection)}
    for number, head in enumerate(state.unseen):
        rows = [i for i in fold if fold[i] == number]
        for i, outcome in zip(rows, score([packets[i] for i in rows], state.with_head(head)), strict=True):
            found[i] = outcome
    return found


def scored_folder(folder: Path, state: ScoringState, *, progress: Callable[[int], None] = lambda n: None) -> list[RealAlert]:
    """Every packet of a folder with a table of labels, scored as the stream scores it.

    Parameters
    ----------
    progress : callable
        Is given how many packets more are done.
    """
    labels = labels_of(folder)
    found: list[RealAlert] = []
    packets = only_packets([folder])
    while group := list(islice(packets, CHUNK)):
        found += real_alerts(group, score(group, state), labels=labels, state=state)
        progress(len(group))
    return found


def report(folder: Path, bundle: Bundle, *, session: Session, progress: Callable[[int], None] = lambda n: None) -> dict[str, Any]:
    """The study's report: figures, and which bundle they are of."""
    state = make_state(bundle, session, why="", decoder=Decoder())
    found = figures(scored_folder(folder, state, progress=progress))
    return {
        "study": STUDY,
        "made_with": made_with(bundle),
        "scoring_id": state.scoring_id,
        "engine": state.engine,
        "cross_fitted": bool(state.unseen),
        **found,
    }
