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


def explain(
    settings: Settings, candid: int, *, survey: str | None, scoring_id: str | None, class_name: str | None, since_ms: int | None,
    report: Path | None,
) -> int:  # fmt: skip
    """Run the command; returns the exit status."""
    from streams.loop_history import packet_of, read_loop, scores_of
    from streams.score_explanation import chosen, origin
    from streams.worker import configure_logging

    configure_logging("error")
    reports.check_writable(report)
    console = reports.output()
    scores = asyncio.run(scores_of(settings, candid, survey=survey, since_ms=since_ms))
    if not scores:
        raise UserError(f"no detection of candid {candid} is on the topics{'' if since_ms is None else ' since then'}")
    _show_scores(console, scores)
    score = chosen(scores, scoring_id)
    packet = asyncio.run(packet_of(settings, score))
    found: dict[str, Any] = {}
    if packet is None:
        say("the packet is not on the alert topics any more: why it was scored so cannot be found out")
    else:
        explanation = asyncio.run(_explained(settings, packet, detection=score.detection, class_name=class_name))
        if explanation is not None:
            _show_explanation(console, explanation)
            found = _figures(explanation)
    led = origin(asyncio.run(read_loop(settings)), score.detection)
    if led:
        reports.show(console, f"How model {score.detection.model} came to score it", steps_table(led))
    else:
        console.print(f"model {score.detection.model} is in no step of the loop: it was there when the workers started", highlight=False)
    reports.write(
        report,
        {
            "command": "explain", "candid": candid, "object_id": score.detection.object_id,
            "scores": [_score_figures(one) for one in scores], "explanation": found,
            "steps": [{"at_ms": s.at_ms, "kind": s.kind, "subject": s.subject, "text": s.text} for s in led],
        },
    )  # fmt: skip
    return 0


async def _explained(settings: Settings, packet: bytes, *, detection: Detection, class_name: str | None) -> Explanation | None:
    """The explanation of a score; None: the state that gave it cannot be had, and why is said."""
    from streams.score_explanation import NotAtHandError, explained

    try:
        found = await explained(settings, packet, detection=detection, class_name=class_name)
    except (NotAtHandError, RetryableError) as error:
        say(str(error))
        return None
    if not found.same:
        say("the packet scores otherwise now than it did: its operators changed since")
    return found.explanation


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
