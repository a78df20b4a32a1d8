"""Detections → the matches of users' filters, and past ones out of the history.

    filters.defined, filters.watchlists ──► `data.areas.filter_set`
    detections, detections.private ──► FilterRunner ──► filters.<user>.<name> and sources.positions, in one transaction
                                           └──◄ data/history: what a new filter, or a list that moved, would have matched

A process of its own, so that the default path feels nothing of it. Two fenced readers (`streams/kafka/exactly_once.py`): killed at any
moment, nothing is matched twice or missed. A filter looks at what came after its revision was made; what was before is for the history,
where `backfill_days` says so. A filter whose owner may not see private alerts is not asked of any.
"""

from __future__ import annotations

import asyncio
import hashlib
import time
from collections.abc import Iterator, Sequence
from contextlib import AsyncExitStack
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Any

import numpy as np
import structlog

from data.areas.filter_set import FilterSet, filter_set, positions_of
from data.history import engines
from data.history.nights import DAY_MS, night_of
from data.history.portion import HistoryError
from data.history.store import HistoryStore
from schemas.avro.wire import PacketError
from schemas.records import codec, detection
from schemas.records.codec import decode_detection
from schemas.records.filter_defined import FilterDefined, owned_key
from schemas.records.filter_match import FilterMatch
from schemas.records.parts import framing
from schemas.records.source_position import SourcePosition
from schemas.records.table import DETECTION
from schemas.records.watchlist import Watchlist
from streams import metrics
from streams.filter_definitions import DefinitionFollower
from streams.kafka import topics
from streams.kafka.exactly_once import FencedReader, fenced_reader, read_positions, repeat
from streams.kafka.producer import Record
from streams.last_records import last_records
from streams.webhooks import Webhooks

if TYPE_CHECKING:
    from settings.model import Settings

log = structlog.get_logger(__name__)

SOURCE, PRIVATE_SOURCE, BACKFILL_SOURCE = "filters", "filters.private", "filters.backfill"
AT_ONCE = 2_000
"""Records of a transaction at most."""
WAIT_MS = 50
LOOK_EVERY = 5.0
"""How often it is looked whether the topics are still the same, and how far behind it is [s]."""
OF_HISTORY = 2_000
"""Past alerts that are asked between two batches."""
EVERYTHING = frozenset({0, 2, 3})
"""Programids that are not public."""
_FRAME = framing(DETECTION)


@dataclass(slots=True)
class Backfill:
    """A filter that is asked of the past."""

    definition: FilterDefined
    watchlists: dict[bytes, Watchlist]
    name: str
    """Of its progress on `sources.positions`."""
    nights: list[int]
    """Still to be searched, the oldest first."""
    found: int = 0


class FilterRunner:
    """Asks users' filters.

    Parameters
    ----------
    settings : Settings
        With a broker.
    """

    def __init__(self, settings: Settings) -> None:
        self._settings = settings
        self.matched = 0
        """Matches that this process sent."""
        self._done = 0
        self._definitions = DefinitionFollower(settings)

    async def run(self) -> None:
        """Work until cancelled; a broker that fails is tried again after a pause that grows."""
        await repeat(self._session, lambda: self._done, what="filters are not asked", final=())

    async def _session(self) -> None:
        settings = self._settings
        async with AsyncExitStack() as stack:
            await topics.ensure_filters(settings)
            self._definitions = definitions = DefinitionFollower(settings)
            await definitions.catch_up()
            self._counts: dict[bytes, tuple[int, int]] = {}
            self._known: set[str] = set()
            self._lists: dict[bytes, Watchlist] = dict(definitions.watchlists)
            self._jobs: list[Backfill] = []
            self._set = filter_set((), {})
            self._changed = asyncio.Event()
            public = await stack.enter_async_context(
                fenced_reader(settings, topics.DETECTIONS, source=SOURCE, name="filters", fetch_max_wait_ms=WAIT_MS)
            )
            private = await stack.enter_async_context(
                fenced_reader(settings, topics.PRIVATE, source=PRIVATE_SOURCE, name="filters-private", fetch_max_wait_ms=WAIT_MS)
            )
            self._progress = await read_positions(settings, BACKFILL_SOURCE)
            webhooks = Webhooks(settings)
            stack.push_async_callback(webhooks.stop)
            history = engines.reader(settings)
            stack.callback(history.close)
            readers = (public, private)
            for reader in readers:
                reader.seek(reader.committed)

            async def changed() -> None:
                self._changed.set()

            following = asyncio.ensure_future(definitions.follow(changed))
            stack.callback(following.cancel)
            self._changed.set()
            due = 0.0
            while True:
                if following.done():
                    following.result()
                if self._changed.is_set():
                    self._changed.clear()
                    await self._prepare()
                    webhooks.serve(self._set.filters)
                for reader in readers:
                    found = await reader.next(AT_ONCE, wait_ms=WAIT_MS)
                    if found:
                        await self._take(reader, found)
                if self._jobs:
                    await self._search(public, history)
                if time.monotonic() > due:
                    due = time.monotonic() + LOOK_EVERY
                    if not all([await reader.same_topic() for reader in readers]):
                        return
                    metrics.FILTER_LAG.set(sum([await reader.lag() for reader in readers]))

    async def _prepare(self) -> None:
        """Make the filters that are defined now ready, their topics too, and note what is to be looked for in the past."""
        active = [one for one in self._definitions.filters.values() if one.active]
        lists = dict(self._definitions.watchlists)
        made = await asyncio.to_thread(filter_set, active, lists)
        for one, why in made.faults:
            log.warning("a filter is not asked", owner=one.owner, filter=one.name, why=why)
        own = [topics.filter_topic(one.owner, one.name) for one in made.filters]
        new = [topic for topic in own if topic.name not in self._known]
        if new:
            await topics.ensure_filters(self._settings, new)
            latest = await last_records(self._settings, [topic.name for topic in new], kind=FilterMatch)
            for one in made.filters:
                last = next((m for m in latest.get(topics.filter_topic(one.owner, one.name).name, []) if not m.backfilled), None)
                if last is not None and one.key not in self._counts:
                    self._counts[one.key] = last.night, last.number
            self._known.update(topic.name for topic in new)
        before = {one.key: one for one in self._set.filters}
        for one in made.filters:
            self._plan(one, before.get(one.key), lists=lists)
        self._lists, self._set = lists, made
        metrics.FILTERS.set(len(made.filters))

    def _plan(self, one: FilterDefined, before: FilterDefined | None, *, lists: dict[bytes, Watchlist]) -> None:
        """Ask a filter of the past where its revision is new, or a list of it has new positions."""
        if not one.backfill_days:
            return
        own = {key: lists[key] for key in (owned_key(one.owner, name) for name in one.watchlists)}
        if before is not None and before.revision == one.revision:
            moved = {key: _new_positions(lists[key], self._lists.get(key)) for key in own if lists[key] is not self._lists.get(key)}
            if not any(len(record) for record in moved.values()):
                return
            own = {key: record for key, record in moved.items() if len(record)}
            one = replace(one, watchlists=tuple(record.name for record in own.values()))
        marks = ",".join(f"{record.name}@{record.revision}" for record in own.values())
        name = f"{hashlib.sha256(one.key).hexdigest()[:16]}@{one.revision}:{hashlib.sha256(marks.encode()).hexdigest()[:16]}"
        done = max((offset for (topic, _), offset in self._progress.items() if topic == name), default=0)
        now = int(1000 * time.time())
        nights = sorted({night_of(now - day * DAY_MS, "") for day in range(int(np.ceil(one.backfill_days)) + 1)})
        left = [night for night in nights if night > done]
        if left and done < night_of(one.made_ms, ""):
            self._jobs = [job for job in self._jobs if job.definition.key != one.key or job.definition.revision == one.revision]
            self._jobs.append(Backfill(one, own, name, left))

    async def _take(self, reader: FencedReader, found: Sequence[Any]) -> None:
        """Ask of records, and send what matched with the position behind them."""
        upto: dict[int, int] = {}
        for message in found:
            upto[message.partition] = message.offset + 1
        asked = self._set
        newest = min((one.made_ms for one in asked.filters), default=None)
        bodies, kept = [], []
        if newest is not None:
            for message in found:
                if message.timestamp >= newest:
                    body = body_of(message)
                    if body is not None:
                        bodies.append(body)
                        kept.append(message)
        records = list(self._records(asked, bodies, messages=kept, private=reader.topic == topics.PRIVATE)) if bodies else []
        await reader.commit(records, upto)
        self._done += len(found)
        self.matched += len(records)
        metrics.FILTER_MATCHES.inc(len(records))

    def _records(self, asked: FilterSet, bodies: list[bytes], *, messages: list[Any], private: bool) -> Iterator[Record]:
        looked = asked.look(bodies)
        now_ms = int(1000 * time.time())
        for r in np.flatnonzero(looked.hits.any(axis=0)).tolist():
            message, record = messages[r], decode_detection(_FRAME + bodies[r])
            for f in np.flatnonzero(looked.hits[:, r]).tolist():
                one = asked.filters[f]
                if (private or record.programid != 1) and not one.private_rights:
                    continue
                if message.timestamp < one.made_ms:
                    continue
                night = night_of(message.timestamp, "")
                last, number = self._counts.get(one.key, (0, 0))
                number = number + 1 if last == night else 1
                if number > one.budget or night < last:
                    continue
                self._counts[one.key] = night, number
                if number == one.budget:
                    log.warning("a filter has used up its budget of the night", owner=one.owner, filter=one.name, budget=one.budget)
                watched = asked.watched(looked, r, filter_at=f)
                match = FilterMatch(
                    one.owner, one.name, one.revision, record.detection_id, record.object_id, watched, False, night, number,
                    number == one.budget, now_ms, _FRAME + bodies[r],
                )  # fmt: skip
                yield record_of(match)

    async def _search(self, reader: FencedReader, history: HistoryStore) -> None:
        """One night of one filter's past."""
        job = self._jobs[0]
        one = job.definition
        if self._definitions.filters.get(one.key) is None or not job.nights or job.found >= one.budget:
            self._jobs.pop(0)
            log.info("the past was searched", owner=one.owner, filter=one.name, matches=job.found)
            return
        night = job.nights[0]
        try:
            matches = await asyncio.to_thread(_of_the_past, history, job, night=night)
        except HistoryError as error:
            log.warning("the past is not searched: is there a history?", owner=one.owner, filter=one.name, why=str(error))
            self._jobs.pop(0)
            return
        position = SourcePosition(BACKFILL_SOURCE, job.name, 0, night)
        records = [record_of(match) for match in matches]
        records.append(Record(topics.POSITIONS, position.key, codec.encode(position), [], position.key))
        await reader.commit(records, {})
        job.found += len(matches)
        job.nights.pop(0)
        self._progress[job.name, 0] = night
        self._done += 1
        self.matched += len(matches)


def _of_the_past(history: HistoryStore, job: Backfill, *, night: int) -> list[FilterMatch]:
    """Matches of a night in the history."""
    one = job.definition
    private = EVERYTHING if one.private_rights else frozenset[int]()
    asked = filter_set([one], job.watchlists)
    found: list[FilterMatch] = []
    if not asked.filters:
        return found
    now_ms = int(1000 * time.time())
    for part in history.parts(night, private=private, rows=OF_HISTORY):
        rows = history.bodies(night, private=private, first=part.first, last=part.last)
        bodies = [body for schema_id, body in rows if schema_id == DETECTION]
        looked = asked.look(bodies)
        for r in np.flatnonzero(looked.hits[0]).tolist():
            number = job.found + len(found) + 1
            if number > one.budget:
                return found
            record = decode_detection(_FRAME + bodies[r])
            watched = asked.watched(looked, r, filter_at=0)
            found.append(
                FilterMatch(
                    one.owner, one.name, one.revision, record.detection_id, record.object_id, watched, True, night, number,
                    number == one.budget, now_ms, _FRAME + bodies[r],
                )
            )  # fmt: skip
    return found


def record_of(match: FilterMatch) -> Record:
    """What is sent of a match."""
    place = match.object_id.encode()
    topic = topics.filter_topic(match.owner, match.filter).name
    headers = [("filter", match.filter.encode()), ("revision", b"%d" % match.revision)]
    return Record(topic, place, codec.encode(match), headers, place)


def body_of(message: Any) -> bytes | None:
    """A detection's record without framing, in the latest version; None: it is none."""
    value = message.value or b""
    if value.startswith(_FRAME):
        return bytes(value[len(_FRAME) :])
    try:
        record = decode_detection(value, message.key)
    except PacketError:
        return None
    return detection.body(record, detection.coded(record))


def _new_positions(record: Watchlist, before: Watchlist | None) -> Watchlist:
    """The positions of a list that it did not have before."""
    if before is None:
        return record
    now, held = positions_of(record.positions), {row.tobytes() for row in positions_of(before.positions)}
    new = [i for i, row in enumerate(now) if row.tobytes() not in held]
    names = record.names.decode().split("\n") if record.names else []
    packed = np.ascontiguousarray(now[new], "<f8").tobytes()
    return replace(record, positions=packed, names="\n".join(names[i] for i in new).encode() if names else b"")


async def run(settings: Settings) -> None:
    """Ask filters until cancelled."""
    await FilterRunner(settings).run()
