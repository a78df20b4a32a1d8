"""What was taught: written under a fence, read by every worker.

    teach, forget ──► change (fenced) ──► support.examples and loop.events, in one transaction
    support.examples ──► ClassFollower ──► class → `ClassRecord` ──► another head, swapped in between two batches

How a change is fenced, so that of two at once nothing is lost: `streams/kafka/fenced.py`.
"""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Iterable, Mapping
from dataclasses import replace
from typing import TYPE_CHECKING, Any, NamedTuple

import structlog

from schemas.avro.wire import PacketError
from schemas.records import codec
from schemas.records.class_record import ClassRecord, class_key, example_key
from schemas.records.loop_event import FORGOTTEN, TAUGHT, LoopEvent
from streams.kafka import topics
from streams.kafka.broadcast import Follower, read_whole
from streams.kafka.fenced import Commit, ConflictError, Entry, fenced

if TYPE_CHECKING:
    from settings.model import Settings

log = structlog.get_logger(__name__)

KIND = "support"
"""Of these changes: their transactional id, behind the app id."""

Records = dict[str, ClassRecord]


class ClassConflictError(ConflictError):
    """The class was changed meanwhile. One line."""

    hint = "`protonova classes` shows it; teach again with --replace or --merge"


class Change(NamedTuple):
    """What becomes of a class."""

    name: str
    author: str
    note: str
    record: ClassRecord | None
    """None: it is forgotten. Its revision is set when it is written."""
    packets: Mapping[str, bytes]
    """Packet id → packet of each new example that may lie on the topic."""
    based_on: int
    """Revision that the author saw; 0: the class was not there."""
    made_ms: int


class Outcome(NamedTuple):
    """What a change did."""

    revision: int
    records: Records
    """All classes that are taught now."""


async def read_records(settings: Settings) -> Records:
    """The classes that are taught, as the topic's end has them now; none where there is no such topic."""
    records: Records = {}
    async for message in read_whole(settings, topics.SUPPORT):
        _keep(records, message)
    return records


async def read_events(settings: Settings) -> list[LoopEvent]:
    """Every step of the loop that the topic holds, in order."""
    found = [_event_of(message) async for message in read_whole(settings, topics.LOOP_EVENTS)]
    return [event for event in found if event is not None]


async def read_packets(settings: Settings, wanted: Iterable[tuple[str, str]]) -> dict[tuple[str, str], bytes]:
    """Packets of examples, by class and packet id; those that the topic does not hold are left out."""
    keys = {example_key(*pair): pair for pair in wanted}
    found: dict[tuple[str, str], bytes] = {}
    async for message in read_whole(settings, topics.SUPPORT):
        if (pair := keys.get(message.key)) is None:
            continue
        if message.value is None:
            found.pop(pair, None)
        else:
            found[pair] = message.value
    return found


async def change(settings: Settings, wanted: Change) -> Outcome:
    """Write a change, or learn that the class is another one by now.

    Raises
    ------
    ClassConflictError
        The class has another revision than the one the change was based on.
    UserError
        Others keep changing what is taught, or the broker does not take it.
    """

    async def attempt(commit: Commit) -> Outcome:
        return await _change(settings, wanted, commit=commit)

    return await fenced(settings, KIND, attempt=attempt, what=f"{wanted.name} could not be changed")


async def _change(settings: Settings, wanted: Change, *, commit: Commit) -> Outcome:
    records = await read_records(settings)
    before = records.get(wanted.name)
    if before is not None and wanted.record is not None and before == replace(wanted.record, revision=before.revision):
        return Outcome(before.revision, records)  # a try whose answer was lost had written it
    if (before.revision if before else 0) != wanted.based_on:
        who = f"{before.author} taught it (revision {before.revision})" if before else "it was forgotten"
        raise ClassConflictError(f"{wanted.name} was changed meanwhile: {who}")
    last = max((event.revision for event in await read_events(settings) if event.subject == wanted.name), default=0)
    revision = max(last, wanted.based_on) + 1
    record = None if wanted.record is None else replace(wanted.record, revision=revision)
    value = b"" if record is None else codec.encode(record)
    event = LoopEvent(TAUGHT if record else FORGOTTEN, wanted.name, revision, wanted.author, wanted.note, value, wanted.made_ms)
    named = set(record.packet_ids) if record else set()
    gone = [packet_id for packet_id in (before.packet_ids if before else ()) if packet_id not in named]
    await commit(
        (
            *(Entry(topics.SUPPORT, example_key(wanted.name, packet_id), packet) for packet_id, packet in wanted.packets.items()),
            *(Entry(topics.SUPPORT, example_key(wanted.name, packet_id), None) for packet_id in gone),
            Entry(topics.SUPPORT, class_key(wanted.name), value or None),
            Entry(topics.LOOP_EVENTS, wanted.name.encode(), codec.encode(event)),
        )
    )
    records.pop(wanted.name, None)
    return Outcome(revision, records if record is None else {**records, wanted.name: record})


class ClassFollower:
    """Keeps up with what is taught.

    Parameters
    ----------
    settings : Settings
        With a broker.
    """

    def __init__(self, settings: Settings) -> None:
        self.records: Records = {}
        self._follower = Follower(settings, topics.SUPPORT, take=lambda message: _keep(self.records, message), what="what is taught")

    async def catch_up(self) -> Records:
        """Read to the end that the topic has now; returns the classes that are taught."""
        self.records.clear()
        await self._follower.catch_up()
        return dict(self.records)

    async def follow(self, on_change: Callable[[Records], Awaitable[None]]) -> None:
        """Call back with all classes after each change, until cancelled; where the broker fails it, it is called again."""

        async def changed() -> None:
            await on_change(dict(self.records))

        await self._follower.follow(changed)


def _keep(records: Records, message: Any) -> bool:
    """Take a message; returns whether it is about a class."""
    found = _class_of(message)
    if found is None:
        return False
    name, record = found
    if record is None:
        records.pop(name, None)
    else:
        records[name] = record
    return True


def _class_of(message: Any) -> tuple[str, ClassRecord | None] | None:
    """The class that a message is about, and its record; None: it is an example, or nothing of ours."""
    key = message.key or b""
    if not key.endswith(b"/") or key.count(b"/") != 1:
        return None
    if message.value is None:
        return key[:-1].decode("utf-8", "replace"), None
    try:
        record = codec.expect(message.value, ClassRecord)
    except PacketError as error:
        log.warning("a class's record cannot be read and is left out", key=repr(key[:80]), why=error.reason)
        return None
    if record.key != key:
        log.warning("a class's record stands under another class's key and is left out", key=repr(key[:80]), name=record.name)
        return None
    return record.name, record


def _event_of(message: Any) -> LoopEvent | None:
    try:
        return codec.expect(message.value, LoopEvent)
    except PacketError as error:
        log.warning("an event of the loop cannot be read and is left out", offset=message.offset, why=error.reason)
        return None
