"""What the loop did, from its topics: alarms, commands, challengers, gates, promotions, classes; and what scored an alert.

    drift.alarms, commands.retrain, loop.events ──► `Step`s in order, each with the steps that led to it
    detections, detections.private, detections.shadow ──► every score that an alert was given

Nothing else is asked: what these commands print can be had as long as the topics are kept.
"""

from __future__ import annotations

from collections.abc import AsyncIterator, Iterable, Sequence
from dataclasses import dataclass, field, fields, replace
from typing import TYPE_CHECKING, Any, NamedTuple, TypeAlias

from schemas.avro.wire import PacketError
from schemas.avro.writer import varint
from schemas.records import codec
from schemas.records.detection import Detection
from schemas.records.drift_alarm import DriftAlarm
from schemas.records.loop_event import ANNOUNCED, CHALLENGER_MADE, GATES_JUDGED, LABELS_WANTED, PROMOTED, ROLLED_BACK, LoopEvent
from schemas.records.retrain_command import RetrainCommand
from schemas.surveys.identity import packet_digest
from streams.kafka import topics
from streams.topic_scan import scan

if TYPE_CHECKING:
    from settings.model import Settings

LoopRecord: TypeAlias = DriftAlarm | RetrainCommand | LoopEvent
SHADOW = "detections.shadow"
LOOP = (topics.ALARMS, topics.RETRAIN, topics.LOOP_EVENTS)
CLOCK_MS = 60_000
"""A producer's clock and the broker's may differ by so much [ms]."""


@dataclass(frozen=True, slots=True)
class Step:
    """Something that happened in the loop."""

    at_ms: int
    kind: str
    """alarm, command, or the event's name."""
    subject: str
    """What it is about: a stratum, a model, a class."""
    text: str
    """One line."""
    author: str = ""
    id: str = ""
    """By which a later step names it: an alarm's or a command's id, a model."""
    because: str = ""
    """The id of the step that led to it; empty: nothing that is known."""
    record: Any = field(default=None, compare=False)
    """The record behind it."""


class Score(NamedTuple):
    """A score that an alert was given."""

    topic: str
    role: str
    """Of the model: champion, challenger or previous."""
    appended_ms: int
    ingested_ms: int
    """When the broker had appended the packet; 0: it is not said."""
    detection: Detection


async def read_loop(settings: Settings, *, since_ms: int | None = None) -> list[Step]:
    """Every step that the topics hold, in order."""
    records: AsyncIterator[LoopRecord] = scan(settings, LOOP, pick=_record, since_ms=since_ms)
    return steps_of([record async for record in records])


async def scores_of(settings: Settings, candid: int, *, survey: str | None = None, since_ms: int | None = None) -> list[Score]:
    """Every score that an alert was given, in order of time.

    Parameters
    ----------
    settings : Settings
        With a broker.
    candid : int
    survey : str, optional
        Only of this one; numbers of two surveys may coincide.
    since_ms : int, optional
        Appended since then [ms since 1970].
    """
    number, digits = bytes(varint(candid)), str(candid).encode()

    def pick(message: Any) -> Score | None:
        if not message.value or not (number in message.value or digits in message.value):  # decoded are the few that can be it
            return None
        try:
            detection = codec.decode_detection(message.value, message.key)
        except PacketError:
            return None
        if detection.candid != candid or survey not in (None, detection.survey):
            return None
        headers = dict(message.headers)
        role, ingested = headers.get("role", b"champion").decode("ascii", "replace"), headers.get("ingested_at") or b"0"
        return Score(message.topic, role, message.timestamp, int(ingested) if ingested.isdigit() else 0, detection)

    names = (topics.DETECTIONS, topics.PRIVATE, SHADOW)
    found = [score async for score in scan(settings, names, pick=pick, since_ms=since_ms)]
    return sorted(found, key=lambda score: (score.appended_ms, score.role))


async def packet_of(settings: Settings, score: Score) -> bytes | None:
    """The packet that was scored, as the alert topics hold it; None: they hold it no more."""
    wanted = score.detection.packet_id.rpartition(":")[2]

    def pick(message: Any) -> bytes | None:
        if not message.value or message.timestamp > score.ingested_ms or packet_digest(message.value) != wanted:
            return None
        return bytes(message.value)

    async for packet in scan(settings, topics.ALERTS, pick=pick, since_ms=score.ingested_ms or None):
        return packet
    return None


def steps_of(records: Iterable[LoopRecord]) -> list[Step]:
    """Records of the loop → steps in order of time, each with the one that led to it."""
    commands: dict[str, Step] = {}
    steps: list[Step] = []
    for record in records:
        if isinstance(record, DriftAlarm):
            steps.append(_alarm(record))
        elif isinstance(record, RetrainCommand):
            commands.setdefault(record.command_id, _command(record))
        else:
            steps.append(_event(record))
    steps += commands.values()
    steps.sort(key=lambda step: (step.at_ms, step.kind))
    return _linked(steps)


def _linked(steps: list[Step]) -> list[Step]:
    """The same, a promotion behind the gates that were passed, a rollback behind the promotion that it takes back."""
    passed: dict[str, str] = {}
    promoted, linked = "", []
    for step in steps:
        if step.kind == GATES_JUDGED and getattr(step.record, "verdict", "") == "passed":
            passed[step.subject] = step.id
        elif step.kind == PROMOTED:
            step = replace(step, id=f"{PROMOTED}/{step.subject}/{step.at_ms}", because=passed.get(step.subject, step.subject))
            promoted = step.id
        elif step.kind == ROLLED_BACK:
            step = replace(step, because=promoted)
        linked.append(step)
    return linked


def led_to(steps: Sequence[Step], last: Step) -> list[Step]:
    """The steps that led to one, the first cause first, itself last."""
    by_id: dict[str, Step] = {}
    for step in steps:
        if step.id and step.at_ms <= last.at_ms + CLOCK_MS:
            by_id.setdefault(step.id, step)
    chain, seen = [last], {id(last)}
    while (cause := by_id.get(chain[0].because)) is not None and id(cause) not in seen:
        seen.add(id(cause))
        chain.insert(0, cause)
    return chain


def of_model(steps: Sequence[Step], model: str) -> list[Step]:
    """Steps about a model, by the beginning of its sha256."""
    return [step for step in steps if step.subject and model and (step.subject.startswith(model) or model.startswith(step.subject))]


def _record(message: Any) -> LoopRecord | None:
    if not message.value:
        return None
    found = codec.decode(message.value)
    return found if isinstance(found, DriftAlarm | RetrainCommand | LoopEvent) else None


def _alarm(alarm: DriftAlarm) -> Step:
    diagnosis = getattr(alarm, "diagnosis", "") or "drift"
    text = f"{diagnosis}: {alarm.statistic} of {alarm.stratum} moved from {alarm.before:.3g} to {alarm.after:.3g}"
    return Step(alarm.raised_ms, "alarm", alarm.stratum, text, id=alarm.alarm_id, record=alarm)


def _command(command: RetrainCommand) -> Step:
    recipe = getattr(command, "recipe", "")
    text = f"retrain{f' ({recipe})' if recipe else ''}: {command.reason}"
    at_ms = getattr(command, "until_ms", 0) or command.since_ms
    return Step(
        at_ms, "command", command.model, text, author=getattr(command, "author", ""), id=command.command_id, because=command.alarm_id,
        record=command,
    )  # fmt: skip


def _event(event: LoopEvent) -> Step:
    held = codec.decode(event.record) if event.record else None
    text, because, name = event.note or event.event.replace("_", " "), "", ""
    if isinstance(held, RetrainCommand):
        because = held.command_id
    if event.event == CHALLENGER_MADE:
        name = event.subject
    elif event.event == ANNOUNCED:
        name = because = event.subject
    elif event.event in (GATES_JUDGED, LABELS_WANTED):
        because = event.subject
        if (gates := getattr(held, "gates", None)) is not None:
            name = f"{event.event}/{event.subject}/{event.revision}"
            text = f"{getattr(held, 'verdict', '')}: {event.note}; {figures_of(gates)}"
    return Step(
        event.made_ms, event.event, event.subject, text, author=event.author, id=name, because=because,
        record=event if held is None or isinstance(held, codec.BadRecord) else held,
    )  # fmt: skip


def figures_of(gates: Iterable[Any]) -> str:
    """Gates of a report in one line: each figure, its interval, and the threshold that it is held against."""
    parts = []
    for gate in gates:
        figure = "–" if gate.figure is None else f"{gate.figure:.3g}"
        interval = "" if gate.low is None or gate.high is None else f" [{gate.low:.3g}, {gate.high:.3g}]"
        mark = "" if gate.passed else " FAILED" if getattr(gate, "failed", True) else " open"
        parts.append(f"{gate.name} {figure}{interval} ({gate.threshold:.3g}){mark}")
    return ", ".join(parts)


def plain(record: Any) -> dict[str, Any]:
    """A record's fields as JSON holds them; bytes as their length."""
    if record is None or isinstance(record, codec.BadRecord):
        return {}
    found = {f.name: getattr(record, f.name) for f in fields(record)}
    return {name: f"{len(value)} bytes" if isinstance(value, bytes) else value for name, value in found.items()}
