"""Detections and labels → candidates: one record when an object first reaches a class's threshold, one when it no longer stands.

    detections ──► `Book` ──► candidates            labels.known ──┐ refute
    detections.private ──► `Book` ──► candidates.private  ◄────────┘

Candidates and the position behind the detections that made them are one transaction, by one fenced process a topic: killed at any moment it
sends nothing twice and leaves nothing out. All it remembers is what lies on its own topic, so an object that opened more than thirty days
ago, when its record has left the topic, is new again.

An object opens once for each class: what fell or was refuted does not open again while its record is there. Detections decided as `other`
open nothing (`detections.anomaly` has them), and neither does what lies on a known solar-system object, except as an asteroid.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Iterable, Iterator
from contextlib import AsyncExitStack
from dataclasses import replace
from typing import TYPE_CHECKING, Any

import structlog

from operators.context import ASTEROID_DISTANCE
from schemas.avro.wire import PacketError
from schemas.records import codec
from schemas.records.candidate import FELL, OPENED, REFUTED, Candidate
from schemas.records.detection import Detection
from schemas.records.key_fields import detection_fields
from schemas.records.parts import framing
from schemas.records.table import DETECTION
from schemas.taxonomy import OTHER
from streams.bad_records import BadRecords
from streams.kafka import topics
from streams.kafka.batches import Unreadable
from streams.kafka.broadcast import Follower
from streams.kafka.exactly_once import FencedReader, decided_records, fenced_reader, repeat
from streams.kafka.producer import Record
from streams.known_labels import Labels

if TYPE_CHECKING:
    from settings.model import Settings

log = structlog.get_logger(__name__)

NAME = "candidates"
OUTPUTS = {topics.DETECTIONS: topics.CANDIDATES, topics.PRIVATE: topics.CANDIDATES_PRIVATE}
AT_ONCE = 1_000
"""Detections of a transaction at most."""
WAIT_MS = 250
ASTEROID = "asteroid"
LEAST_SURE = 0.5
"""Confidence below which a label refutes nothing."""
_FRAMED = framing(DETECTION)


class Book:
    """Who is a candidate. What it gives has to be written, and given back to it where it is read again."""

    def __init__(self) -> None:
        self._steps: dict[tuple[str, str], dict[str, Candidate]] = {}
        """(survey, object) → class → its latest step."""
        self.labels = Labels()

    def restore(self, step: Candidate) -> None:
        """Take a step that was written."""
        self._steps.setdefault((step.survey, step.object_id), {})[step.class_name] = step

    def knows(self, survey: str, object_id: str) -> bool:
        """Whether an object was ever a candidate."""
        return (survey, object_id) in self._steps

    def open_candidates(self) -> Iterator[Candidate]:
        """Those that stand."""
        for steps in self._steps.values():
            yield from (step for step in steps.values() if step.event == OPENED)

    def take(self, found: Detection) -> list[Candidate]:
        """The steps that a detection makes."""
        decision = found.decision
        name = decision.class_name if decision is not None and decision.published else None
        steps = self._steps.get((found.survey, found.object_id))
        if name in (None, OTHER) and steps is None:
            return []
        moving = found.solar_system_distance is not None and found.solar_system_distance < ASTEROID_DISTANCE
        made = []
        for step in (steps or {}).values():
            if step.event != OPENED or found.mjd < step.mjd or (found.mjd == step.mjd and found.packet_id == step.packet_id):
                continue  # an older alert, or the same one again
            if moving and step.class_name != ASTEROID:
                why = f"a known solar-system object is {found.solar_system_distance:.1f} arcsec away"
                made.append(_step(found, step.class_name, event=REFUTED, why=why, opened_mjd=step.opened_mjd))
            elif step.class_name != name:
                made.append(_step(found, step.class_name, event=FELL, why=_instead(found), opened_mjd=step.opened_mjd))
        if name is not None and name != OTHER and not (moving and name != ASTEROID) and name not in (steps or {}):
            label = self.labels.of(found.survey, found.candid, object_id=found.object_id, least=LEAST_SURE)
            if label is None or label == name:  # what is known to be another thing is not opened
                made.append(_step(found, name, event=OPENED, why="", opened_mjd=found.mjd))
        for step in made:
            self.restore(step)
        return made

    def refute(self) -> list[Candidate]:
        """The steps that the labels make: of candidates whose object is known to be of another class."""
        made = []
        for step in list(self.open_candidates()):
            label = self.labels.of(step.survey, step.candid, object_id=step.object_id, least=LEAST_SURE)
            if label is not None and label != step.class_name:
                made.append(replace(step, event=REFUTED, why=f"it is labelled {label}"))
        for step in made:
            self.restore(step)
        return made


def _step(found: Detection, class_name: str, *, event: str, why: str, opened_mjd: float) -> Candidate:
    own = next((c for c in found.classes if c.name == class_name), None)
    decided = found.decision if found.decision is not None and found.decision.class_name == class_name else None
    host = found.host
    return Candidate(
        f"{found.survey}:{found.object_id}:{class_name}", event, why, found.survey, found.object_id, class_name, found.packet_id,
        found.detection_id, found.candid, found.programid, found.ra, found.dec, found.mjd, found.band, found.flux, found.flux_err,
        0.0 if own is None else own.prior_probability, None if decided is None else decided.threshold, found.first_detection,
        found.n_detections, found.redshift, None if host is None else f"{host.catalogue} {host.name}",
        None if host is None else host.separation, opened_mjd,
    )  # fmt: skip


def _instead(found: Detection) -> str:
    name, probability = found.shown_class
    return f"its latest alert is taken for {name} ({probability:.2f})" if name else "its latest alert is taken for nothing"


async def run(settings: Settings) -> None:
    """Keep the candidates until cancelled; a broker that fails is tried again."""
    await asyncio.gather(*(_keep(settings, source) for source in OUTPUTS))


async def _keep(settings: Settings, source: str) -> None:
    bad, done = BadRecords(), [0]

    def count(n: int) -> None:
        done[0] += n

    await repeat(
        lambda: _session(settings, source, bad=bad, count=count), lambda: done[0], what=f"the candidates of {source} are not kept", final=()
    )


async def _session(settings: Settings, source: str, *, bad: BadRecords, count: Callable[[int], None]) -> None:
    """Take the topic over, read what was written, and follow it."""
    output, book, news = OUTPUTS[source], Book(), asyncio.Event()

    def label(message: Any) -> bool:
        before = book.labels.taken
        book.labels.take(message)
        return book.labels.taken > before

    async def tell() -> None:
        news.set()

    async with AsyncExitStack() as stack:
        reader = await stack.enter_async_context(fenced_reader(settings, source, source=f"({NAME})", name=f"{NAME}.{source}"))
        async for message in decided_records(settings, output):
            if (step := bad.read(message, Candidate)) is not None:
                book.restore(step)
        labels = Follower(settings, topics.LABELS_KNOWN, take=label, what="labels")
        await labels.catch_up()
        following = asyncio.ensure_future(labels.follow(tell))
        stack.push_async_callback(_ended, following)
        if lost := sum(reader.lost().values()):
            log.error("detections left their topic before they were looked at for candidates", records=lost, topic=source)
        reader.seek({p: max(offset, reader.starts[p]) for p, offset in reader.committed.items()})
        await _write(reader, book.refute(), output=output, upto={})
        log.info("candidates are kept", topic=output, open=sum(1 for _ in book.open_candidates()), labels=len(book.labels))
        while await reader.same_topic():
            steps: list[Candidate] = []
            messages = await reader.next(AT_ONCE, wait_ms=WAIT_MS)
            for message in messages:
                if not isinstance(message.value, Unreadable) and (found := _wanted(message, book, bad=bad)) is not None:
                    steps += book.take(found)
            bad.report()
            if news.is_set():
                news.clear()
                steps += book.refute()
            if steps or messages:
                await _write(reader, steps, output=output, upto={message.partition: _behind(message) for message in messages})
                count(len(messages) + len(steps))


async def _ended(task: asyncio.Future[None]) -> None:
    task.cancel()
    await asyncio.gather(task, return_exceptions=True)


def _wanted(message: Any, book: Book, *, bad: BadRecords) -> Detection | None:
    """The detection, where it may make a step: nine in ten are of no class's topic and of no candidate, and are not read as a whole."""
    value = message.value or b""
    if value.startswith(_FRAMED):
        try:
            brief = detection_fields(value[len(_FRAMED) :])
        except PacketError:
            pass  # read as a whole, which counts it
        else:
            if not brief.published and not book.knows(brief.survey, brief.object_id):
                return None
    return bad.read(message, Detection)


def _behind(message: Any) -> int:
    value = message.value
    return int(value.first + value.records if isinstance(value, Unreadable) else message.offset + 1)


async def _write(reader: FencedReader, steps: Iterable[Candidate], *, output: str, upto: dict[int, int]) -> None:
    records = [
        Record(output, step.key, codec.encode(step), [("programid", str(step.programid).encode())], place=step.key) for step in steps
    ]
    if records or upto:
        await reader.commit(records, upto)
