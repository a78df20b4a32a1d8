"""A score of the past → why it was given: the state that gave it, made again, and what of the packet speaks for the class and against it.

packet, its detection → `Explanation`; steps of the loop → those that made the model and the classes taught beside it
"""

from __future__ import annotations

import asyncio
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, NamedTuple

from errors import UserError
from evaluation.explanation import Explanation, explain
from pipeline.reference import reference_of
from pipeline.score import score
from pipeline.state import ScoringState
from pipeline.state import load as load_state
from registry.bundle import load as load_bundle
from registry.taught_classes import views_of
from schemas.records.detection import Detection
from schemas.records.model_announced import ModelAnnounced
from streams.agents.teaching import read_records
from streams.lessons import state_of
from streams.loop_history import Score, Step, led_to, of_model, read_loop
from streams.models import fetch

if TYPE_CHECKING:
    from settings.model import Settings

SAME = 2e-3
"""A probability scored again may differ by so much: engines differ in their last bits, and records hold 32-bit numbers."""


class NotAtHandError(UserError):
    """The state that gave a score cannot be had any more. One line."""


class Explained(NamedTuple):
    """Why a score was given."""

    explanation: Explanation
    same: bool
    """Whether the packet scores now as it did: else its operators changed since."""


async def explained(
    settings: Settings, packet: bytes, *, detection: Detection, class_name: str | None = None, at_hand: ScoringState | None = None
) -> Explained:
    """Explain a score.

    Parameters
    ----------
    settings : Settings
        With a broker.
    packet : bytes
        That was scored.
    detection : Detection
        What came of it.
    class_name : str, optional
        The class to explain; the one that was shown if None.
    at_hand : ScoringState, optional
        A state that is loaded: it is taken where it gave the score.

    Raises
    ------
    NotAtHandError
        The state that gave the score cannot be had any more.
    UserError
        There is no such class.
    errors.RetryableError
        What it is made of cannot be had now.
    gpu.session.EngineError
        The engine failed.
    """
    folder = await _folder_of(settings, detection.model)
    state = at_hand if at_hand is not None and at_hand.scoring_id == detection.scoring_id else None
    if state is None:
        state = await _state_of(settings, folder, scoring_id=detection.scoring_id)
    records = await read_records(settings)

    def work() -> Explained:
        again = score([packet], state)[0]
        same = isinstance(again, Detection) and abs(again.top_probability - detection.top_probability) <= SAME
        bundle = load_bundle(settings.bundle if folder is None else folder)
        examples = {}
        for name in state.head.weights.taught:
            record = records.get(name)
            views = None if record is None or record.encoder_id != state.encoder.id else views_of(record, bundle.head)
            if record is not None and views is not None:
                public = tuple(i for i, private in zip(record.packet_ids, record.private, strict=True) if not private)
                examples[name] = (views, public)
        shown = class_name or detection.shown_class[0]
        return Explained(explain(packet, state, reference=bundle.reference, examples=examples, class_name=shown), same)

    return await asyncio.to_thread(work)


async def _state_of(settings: Settings, folder: Path | None, *, scoring_id: str) -> ScoringState:
    reference = await asyncio.to_thread(reference_of, settings.catalogue_path(), settings.catalogues, verify=False)
    base = await asyncio.to_thread(load_state, settings.bundle, settings.engine, reference=reference)
    if folder is not None:
        alone = await asyncio.to_thread(load_state, folder, settings.engine, reference=reference)
        if alone.scoring_id == scoring_id:  # a challenger was never the champion: nothing was taught beside it
            return alone
    try:
        return await state_of(settings, base, scoring_id=scoring_id)
    except UserError as error:
        raise NotAtHandError(str(error)) from None


async def _folder_of(settings: Settings, model: str) -> Path | None:
    """The folder of a model that was announced; None: it is the bundle of the settings, or none of that name was."""
    named = [step.record for step in await read_loop(settings) if isinstance(step.record, ModelAnnounced)]
    found = [one for one in named if one.sha256.startswith(model)]
    return await fetch(settings, found[-1]) if found else None


def chosen(scores: list[Score], scoring_id: str | None) -> Score:
    """The score that is explained: the one with the id, else the last one that was published.

    Raises
    ------
    UserError
        None has the id.
    """
    if scoring_id is not None:
        named = [score for score in scores if score.detection.scoring_id == scoring_id]
        if not named:
            known = ", ".join(dict.fromkeys(score.detection.scoring_id for score in scores))
            raise UserError(f"the alert was never scored by {scoring_id}, but by {known}")
        return named[-1]
    return next((score for score in reversed(scores) if score.role == "champion"), scores[-1])


def origin(steps: Sequence[Step], detection: Detection) -> list[Step]:
    """The steps that made a model, and those of the classes taught beside it."""
    wanted: dict[int, Step] = {}
    for step in of_model(steps, detection.model):
        wanted |= {id(one): one for one in led_to(steps, step)}
    taught = {(one.name, one.revision) for one in detection.taught}
    for step in steps:
        if (step.subject, getattr(step.record, "revision", None)) in taught:
            wanted[id(step)] = step
    return sorted(wanted.values(), key=lambda step: step.at_ms)
