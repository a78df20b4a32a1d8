"""``protonova explain``: every score of an alert, what speaks for it and against it, and how its model came to be."""

from __future__ import annotations

import asyncio
import datetime
from pathlib import Path
from typing import TYPE_CHECKING, Any

from rich.console import Console
from rich.text import Text

from console import report as reports
from errors import RetryableError, UserError, say

if TYPE_CHECKING:
    from evaluation.explanation import Effect, Explanation
    from schemas.records.detection import Detection
    from settings.model import Settings
    from streams.loop_history import Score, Step

SHOWN = 8
"""Effects of each side that are listed."""
SAME = 2e-3
"""A probability scored again may differ by so much: engines differ in their last bits, and records hold 32-bit numbers."""


def explain(
    settings: Settings, candid: int, *, survey: str | None, scoring_id: str | None, class_name: str | None, since_ms: int | None,
    report: Path | None,
) -> int:  # fmt: skip
    """Run the command; returns the exit status."""
    from streams.loop_history import packet_of, read_loop, scores_of
    from streams.worker import configure_logging

    configure_logging("error")
    reports.check_writable(report)
    console = reports.output()
    scores = asyncio.run(scores_of(settings, candid, survey=survey, since_ms=since_ms))
    if not scores:
        raise UserError(f"no detection of candid {candid} is on the topics{'' if since_ms is None else ' since then'}")
    _show_scores(console, scores)
    score = _chosen(scores, scoring_id)
    packet = asyncio.run(packet_of(settings, score))
    found: dict[str, Any] = {}
    if packet is None:
        say("the packet is not on the alert topics any more: why it was scored so cannot be found out")
    else:
        explanation = asyncio.run(_explained(settings, packet, detection=score.detection, class_name=class_name))
        if explanation is not None:
            _show_explanation(console, explanation)
            found = _figures(explanation)
    origin = _origin(asyncio.run(read_loop(settings)), score.detection)
    if origin:
        reports.show(console, f"How model {score.detection.model} came to score it", steps_table(origin))
    else:
        console.print(f"model {score.detection.model} is in no step of the loop: it was there when the workers started", highlight=False)
    reports.write(
        report,
        {
            "command": "explain", "candid": candid, "object_id": score.detection.object_id,
            "scores": [_score_figures(one) for one in scores], "explanation": found,
            "steps": [{"at_ms": s.at_ms, "kind": s.kind, "subject": s.subject, "text": s.text} for s in origin],
        },
    )  # fmt: skip
    return 0


async def _explained(settings: Settings, packet: bytes, *, detection: Detection, class_name: str | None) -> Explanation | None:
    """The explanation of a score; None: the state that gave it cannot be had, and why is said."""
    from evaluation.explanation import explain as explained
    from pipeline.reference import reference_of
    from pipeline.score import score as scored
    from pipeline.state import load as load_state
    from registry.bundle import load as load_bundle
    from registry.taught_classes import views_of
    from schemas.records.detection import Detection as Scored
    from streams.agents.teaching import read_records
    from streams.lessons import state_of

    reference = reference_of(settings.catalogue_path(), settings.catalogues, verify=False)
    base = load_state(settings.bundle, settings.engine, reference=reference)
    try:
        folder = await _folder_of(settings, detection.model)
        if folder is None:
            state = await state_of(settings, base, scoring_id=detection.scoring_id)
        else:
            # A challenger was never the champion: nothing was taught beside it.
            alone = load_state(folder, settings.engine, reference=reference)
            same = alone.scoring_id == detection.scoring_id
            state = alone if same else await state_of(settings, base, scoring_id=detection.scoring_id)
    except (UserError, RetryableError) as error:
        say(str(error))
        return None
    again = scored([packet], state)[0]
    if not isinstance(again, Scored) or abs(again.top_probability - detection.top_probability) > SAME:
        say("the packet scores otherwise now than it did: its operators changed since")
    bundle = load_bundle(settings.bundle if folder is None else folder)
    records = await read_records(settings)
    examples = {}
    for name in state.head.weights.taught:
        record = records.get(name)
        views = None if record is None or record.encoder_id != state.encoder.id else views_of(record, bundle.head)
        if record is not None and views is not None:
            public = tuple(i for i, private in zip(record.packet_ids, record.private, strict=True) if not private)
            examples[name] = (views, public)
    shown = class_name or detection.shown_class[0]
    return explained(packet, state, reference=bundle.reference, examples=examples, class_name=shown)


async def _folder_of(settings: Settings, model: str) -> Path | None:
    """The folder of a model that was announced; None: it is the bundle of the settings, or none of that name was."""
    from schemas.records.model_announced import ModelAnnounced
    from streams.loop_history import read_loop
    from streams.models import fetch

    named = [step.record for step in await read_loop(settings) if isinstance(step.record, ModelAnnounced)]
    found = [one for one in named if one.sha256.startswith(model)]
    return await fetch(settings, found[-1]) if found else None


def _chosen(scores: list[Score], scoring_id: str | None) -> Score:
    """The score that is explained: the one with the id, else the last one that was published."""
    if scoring_id is not None:
        named = [score for score in scores if score.detection.scoring_id == scoring_id]
        if not named:
            known = ", ".join(dict.fromkeys(score.detection.scoring_id for score in scores))
            raise UserError(f"the alert was never scored by {scoring_id}, but by {known}")
        return named[-1]
    return next((score for score in reversed(scores) if score.role == "champion"), scores[-1])


def _origin(steps: list[Step], detection: Detection) -> list[Step]:
    """The steps that made a model, and those of the classes taught beside it."""
    from streams.loop_history import led_to, of_model

    wanted: dict[int, Step] = {}
    for step in of_model(steps, detection.model):
        wanted |= {id(one): one for one in led_to(steps, step)}
    taught = {(one.name, one.revision) for one in detection.taught}
    for step in steps:
        if (step.subject, getattr(step.record, "revision", None)) in taught:
            wanted[id(step)] = step
    return sorted(wanted.values(), key=lambda step: step.at_ms)


def steps_table(steps: list[Step]) -> Any:
    """Steps of the loop as a table."""
    table = reports.table()
    for title in ("when (UTC)", "step", "of", "what", "by"):
        table.add_column(title)
    for step in steps:
        table.add_row(
            clock(step.at_ms), step.kind.replace("_", " "), reports.cell(step.subject, limit=20), reports.cell(step.text, limit=900),
            reports.cell(step.author, limit=16),
        )  # fmt: skip
    return table


def clock(at_ms: int) -> str:
    """A time as the tables show it, to the second, UTC."""
    return datetime.datetime.fromtimestamp(at_ms / 1000, datetime.UTC).strftime("%Y-%m-%d %H:%M:%S")


def _show_scores(console: Console, scores: list[Score]) -> None:
    table = reports.table()
    for title in ("scored (UTC)", "by", "class", "probability", "published", "balanced", "novelty", "model", "scoring id"):
        table.add_column(title)
    for score in scores:
        d = score.detection
        name, probability = d.shown_class
        on_topic = d.decision is not None and d.decision.published
        table.add_row(
            clock(score.appended_ms), score.role, name, f"{probability:.3f}", "yes" if on_topic else "–",
            f"{d.top_class} {d.top_probability:.2f}", f"{d.novelty:.2f}", d.model, d.scoring_id,
        )  # fmt: skip
    d = scores[-1].detection
    reports.show(console, f"{d.object_id}, candid {d.candid}: {d.n_detections} detections, {d.band} on MJD {d.mjd:.4f}", table)


def _show_explanation(console: Console, found: Explanation) -> None:
    console.print(
        Text.assemble(
            "explained: ", (found.class_name, "bold"), f" at a balanced probability of {found.probability:.3f}, before {found.second} "
            f"({found.second_probability:.3f}); novelty {found.novelty:.2f}",
        ), soft_wrap=True,
    )  # fmt: skip
    for title, effects in (("What speaks for it", found.supporting(SHOWN)), ("What speaks against it", found.opposing(SHOWN))):
        if effects:
            table = reports.table()
            for name in ("part", "of", "value", "log-odds of the class with it less without"):
                table.add_column(name, justify="right" if name in ("value", "log-odds of the class with it less without") else "left")
            for effect in effects:
                table.add_row(effect.name.replace("_", " "), effect.group, _value(effect), f"{effect.log_odds:+.2f}")
            reports.show(console, title, table)
    table = reports.table()
    for name in ("class", "cosine", "alert"):
        table.add_column(name)
    for one in found.neighbours:
        table.add_row(one.class_name, f"{one.cosine:.3f}", one.packet_id or "a simulated alert of the bundle")
    reports.show(console, "The known alerts that it resembles most", table)


def _value(effect: Effect) -> str:
    return "–" if effect.value is None else f"{effect.value:.4g}"


def _score_figures(score: Score) -> dict[str, Any]:
    d = score.detection
    name, probability = d.shown_class
    return {
        "topic": score.topic, "role": score.role, "appended_ms": score.appended_ms, "class": name, "prior_probability": probability,
        "top_class": d.top_class, "top_probability": d.top_probability, "novelty": d.novelty, "model": d.model, "scoring_id": d.scoring_id,
    }  # fmt: skip


def _figures(found: Explanation) -> dict[str, Any]:
    return {
        **{name: value for name, value in found._asdict().items() if name not in ("effects", "neighbours")},
        "effects": [effect._asdict() for effect in found.effects],
        "neighbours": [one._asdict() for one in found.neighbours],
    }
