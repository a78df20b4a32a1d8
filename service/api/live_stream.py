"""The latest detections of a process and who listens to them: a ring, cursors into it, events as they come.

    detections, detections.private ──► LiveStream: ring ──► each client's expression ──► server-sent events

An event's id is where each partition goes on behind it (``0:1042,1:998,p0:17``), so that any process goes on from there: out of its ring,
or out of the topics where the ring does not reach back. Nothing is missed or sent twice. The flow waits for no client: one whose events
pile up gets a notice and is cut, and comes back by its last id.
"""

from __future__ import annotations

import asyncio
import time
from collections import deque
from collections.abc import AsyncIterator, Mapping, Sequence
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, NamedTuple

import numpy as np
import orjson
import structlog
from aiokafka import TopicPartition
from aiokafka.errors import KafkaError

from errors import RetryableError, one_line
from operators.filters import Programs, matches
from schemas.avro.wire import PacketError
from schemas.filters.filter_columns import columns_of
from schemas.filters.filter_expression import Expression, bind
from schemas.filters.filter_fields import Columns
from schemas.records.key_fields import detection_fields
from streams.agents.filter_runner import body_of
from streams.kafka import topics
from streams.kafka.consumer import make_consumer

if TYPE_CHECKING:
    from settings.model import Settings

log = structlog.get_logger(__name__)

AT_ONCE = 2_000
PACE_S = 0.05
"""Clients are woken no more often [s]."""
QUIET_S = 15.0
"""A client that gets no event gets its place so often, for the id to go on and the connection to be seen alive [s]."""
MOST_WAITING = 2_000
"""Events that wait for a client before it is cut."""
CATCHING_UP = 16
"""Clients that are read topics for at the same time."""
PIECE = 500
"""Events sent at once while catching up."""
LONGEST_ID = 4_000
FIRST_PAUSE, LONGEST_PAUSE = 0.5, 15.0
"""Before a broker that failed is asked again [s]."""
_SIGN = {topics.DETECTIONS: "", topics.PRIVATE: "p"}

Place = tuple[str, int]
"""Topic and partition."""
Places = dict[Place, int]
"""Place → the offset that comes next."""


class Entry(NamedTuple):
    """A detection of the ring."""

    place: Place
    offset: int
    body: bytes


@dataclass(eq=False, slots=True)
class Client:
    """Who listens."""

    expression: Expression
    private: bool
    ahead: Places = field(default_factory=dict)
    """Where its events go on, of partitions in which it is ahead of this process."""
    waiting: list[bytes] = field(default_factory=list)
    wake: asyncio.Event = field(default_factory=asyncio.Event)
    cut: bool = False


class TooManyClientsError(Exception):
    """There is no place for another client."""


class LiveStream:
    """Listens to the topics, and sends what comes to its clients.

    Parameters
    ----------
    settings : Settings
        With a broker.
    """

    def __init__(self, settings: Settings) -> None:
        self._settings = settings
        self._ring: deque[Entry] = deque(maxlen=settings.stream_kept)
        self.heads: Places = {}
        """Where the ring goes on."""
        self._reach: Places = {}
        """From where on the ring has everything."""
        self._clients: set[Client] = set()
        self._asked: tuple[Programs, Columns, list[list[Client]]] | None = None
        self._catching = asyncio.Semaphore(CATCHING_UP)
        self._slots = settings.stream_clients
        self.cut = 0
        """Clients that were too slow."""
        self._started = asyncio.Event()

    @property
    def clients(self) -> int:
        """Clients at present."""
        return self._settings.stream_clients - self._slots

    async def run(self) -> None:
        """Feed the ring until cancelled; a broker that fails is asked again after a pause that grows."""
        pause = FIRST_PAUSE
        while True:
            try:
                await self._feed()
                pause = FIRST_PAUSE
            except (KafkaError, RetryableError, OSError, TimeoutError) as error:
                log.warning("the live stream waits for the broker", why=one_line(f"{type(error).__name__}: {error}", 200))
            await asyncio.sleep(pause)
            pause = min(LONGEST_PAUSE, 2 * pause)

    async def _feed(self) -> None:
        consumer = make_consumer(self._settings, auto_offset_reset="latest", fetch_max_wait_ms=int(1000 * PACE_S), check_crcs=True)
        await consumer.start()
        try:
            places = await self._places()
            consumer.assign(places)
            ends = await consumer.end_offsets(places)
            for place in places:
                at = self.heads.setdefault((place.topic, place.partition), ends[place])
                self._reach.setdefault((place.topic, place.partition), at)
                consumer.seek(place, at)
            self._started.set()
            while True:
                begun = time.monotonic()
                found = await consumer.getmany(timeout_ms=1000, max_records=AT_ONCE)
                entries = [
                    Entry((place.topic, place.partition), message.offset, body)
                    for place, messages in found.items()
                    for message in messages
                    if (body := body_of(message)) is not None
                ]
                self.take(entries)
                for place, messages in found.items():
                    self.heads[place.topic, place.partition] = messages[-1].offset + 1
                await asyncio.sleep(max(0.0, PACE_S - (time.monotonic() - begun)))
        finally:
            await consumer.stop()

    async def _places(self) -> list[TopicPartition]:
        async with topics.admin_client(self._settings) as admin:
            found = await topics.places_of(admin, _SIGN)
        if missing := _SIGN.keys() - found.keys():
            raise RetryableError(f"the broker has no topic {min(missing)}")
        return [place for of in found.values() for place in of]

    def take(self, entries: Sequence[Entry]) -> None:
        """Put detections into the ring, and their events where clients wait for them."""
        if not entries:
            return
        programs, columns, groups = self._programs()
        read = columns_of([entry.body for entry in entries], columns)
        hits = np.asarray(matches(programs, read.columns), np.bool_) & read.fine if groups else np.zeros((0, len(entries)), np.bool_)
        wanted: list[bool] = np.any(hits, axis=0).tolist()
        woken: set[Client] = set()
        for i, entry in enumerate(entries):
            if len(self._ring) == self._ring.maxlen:
                gone = self._ring[0]
                self._reach[gone.place] = gone.offset + 1
            self._ring.append(entry)
            self.heads[entry.place] = entry.offset + 1
            if not wanted[i]:
                continue
            private = entry.place[0] == topics.PRIVATE
            events: dict[bool, bytes] = {}
            for g in np.flatnonzero(hits[:, i]).tolist():
                for client in groups[g]:
                    if (private and not client.private) or entry.offset < client.ahead.get(entry.place, 0):
                        continue
                    event = events.get(client.private)
                    if event is None:
                        event = events[client.private] = event_of(entry.body, self.heads, private=client.private)
                    self._put(client, event)
                    woken.add(client)
        for client in woken:
            client.wake.set()

    def _put(self, client: Client, event: bytes) -> None:
        if client.cut:
            return
        if len(client.waiting) >= MOST_WAITING:
            client.cut, client.waiting = True, client.waiting[:1]  # the rest comes again by its last id
            self.cut += 1
            self._leave(client)
            return
        client.waiting.append(event)

    def _programs(self) -> tuple[Programs, Columns, list[list[Client]]]:
        """The clients' expressions, each text once."""
        if self._asked is None:
            groups: dict[str, list[Client]] = {}
            for client in self._clients:
                groups.setdefault(client.expression.text, []).append(client)
            programs, columns = bind([group[0].expression for group in groups.values()])
            self._asked = programs, columns, list(groups.values())
        return self._asked

    def _join(self, client: Client) -> None:
        self._clients.add(client)
        self._asked = None

    def _leave(self, client: Client) -> None:
        if client in self._clients:
            self._clients.discard(client)
            self._asked = None

    async def events(self, expression: Expression, *, private: bool, since: str | None = None) -> AsyncIterator[bytes]:
        """What a client is sent, until it leaves or is cut.

        Parameters
        ----------
        expression : Expression
            What it asks for.
        private : bool
            Whether it may see what is not public.
        since : str, optional
            The id of its last event.

        Raises
        ------
        TooManyClientsError
            Before anything is sent.
        """
        if self._slots <= 0:
            raise TooManyClientsError
        self._slots -= 1
        client = Client(expression, private)
        try:
            await self._started.wait()
            begins = places_in(since, self.heads) if since else {}
            if not private:
                begins = {place: at for place, at in begins.items() if place[0] != topics.PRIVATE}
            nexts = {place: begins.get(place, at) for place, at in self.heads.items()}
            yield b"retry: 2000\n" + _frame(id_of(nexts, private=private), "ready", data=b"{}")
            while any(at < self._reach[place] for place, at in nexts.items()):  # again, where the ring moved on meanwhile
                async with self._catching:
                    async for piece in self._catch_up(client, nexts):
                        yield piece
            replayed = self._replay(client, nexts)  # without a pause between it and joining: nothing comes in between
            self._join(client)
            if replayed:
                yield replayed
            while True:
                try:
                    async with asyncio.timeout(QUIET_S):
                        await client.wake.wait()
                except TimeoutError:
                    yield _frame(id_of(self._at(client), private=private), "", data=b"")
                    continue
                client.wake.clear()
                if client.waiting:
                    piece, client.waiting = b"".join(client.waiting), []
                    yield piece
                if client.cut:
                    note = b'{"detail":"events piled up: the connection ends; it goes on from your last id"}'
                    yield b"event: cut\ndata: " + note + b"\n\n"
                    return
        finally:
            self._leave(client)
            self._slots += 1

    def _at(self, client: Client) -> Places:
        """Where a client's events go on that waits for none."""
        return {place: max(at, client.ahead.get(place, 0)) for place, at in self.heads.items()}

    async def _catch_up(self, client: Client, nexts: Places) -> AsyncIterator[bytes]:
        """Read the topics up to what the ring has; `nexts` moves on."""
        consumer = make_consumer(self._settings, auto_offset_reset="earliest", fetch_max_wait_ms=20, check_crcs=True)
        await consumer.start()
        try:
            behind = [place for place, at in nexts.items() if at < self._reach[place]]
            parts = [TopicPartition(*place) for place in behind]
            consumer.assign(parts)
            for part, start in (await consumer.beginning_offsets(parts)).items():
                nexts[part.topic, part.partition] = max(start, nexts[part.topic, part.partition])
                consumer.seek(part, nexts[part.topic, part.partition])
            while any(nexts[place] < self._reach[place] for place in behind):
                found = await consumer.getmany(timeout_ms=200, max_records=PIECE)
                entries = []
                for part, messages in found.items():
                    place = part.topic, part.partition
                    entries += [Entry(place, m.offset, body) for m in messages if (body := body_of(m)) is not None]
                if piece := _passing(client, entries, nexts=nexts):
                    yield piece
                for part in parts:
                    nexts[part.topic, part.partition] = await consumer.position(part)
        finally:
            await consumer.stop()

    def _replay(self, client: Client, nexts: Places) -> bytes:
        """The ring's events behind where a client is; it is at the head then, or ahead of it."""
        entries = [entry for entry in self._ring if entry.offset >= nexts[entry.place]]
        piece = _passing(client, entries, nexts=nexts)
        client.ahead = {place: at for place, at in nexts.items() if at > self.heads[place]}
        return piece


def _passing(client: Client, entries: Sequence[Entry], *, nexts: Places) -> bytes:
    """Events of the entries that a client asks for; `nexts` moves behind each."""
    seen = [entry for entry in entries if client.private or entry.place[0] != topics.PRIVATE]
    if not seen:
        return b""
    programs, columns = bind([client.expression])
    read = columns_of([entry.body for entry in seen], columns)
    hits = (matches(programs, read.columns)[0] & read.fine).tolist()
    out = []
    for entry, hit in zip(seen, hits, strict=True):
        nexts[entry.place] = max(nexts[entry.place], entry.offset + 1)
        if hit:
            out.append(event_of(entry.body, nexts, private=client.private))
    return b"".join(out)


def event_of(body: bytes, nexts: Mapping[Place, int], *, private: bool) -> bytes:
    """The event of a detection, behind which the partitions go on there."""
    try:
        f = detection_fields(body)
    except PacketError:
        return b""
    row = {
        "packet_id": f.packet_id, "survey": f.survey, "candid": str(f.candid), "object_id": f.object_id, "programid": f.programid,
        "ra": f.ra, "dec": f.dec, "mjd": f.mjd, "band": f.band, "flux": f.flux, "flux_err": f.flux_err, "class": f.class_name,
        "probability": f.probability, "published": f.published, "novelty": f.novelty,
    }  # fmt: skip
    return _frame(id_of(nexts, private=private), "detection", data=orjson.dumps(row))


def _frame(name: str, event: str, *, data: bytes) -> bytes:
    head = f"id: {name}\n" + (f"event: {event}\n" if event else "")
    return head.encode() + (b"data: " + data + b"\n" if data else b"") + b"\n"


def id_of(nexts: Mapping[Place, int], *, private: bool) -> str:
    """Where each partition goes on, as an event's id."""
    return ",".join(f"{_SIGN[topic]}{p}:{at}" for (topic, p), at in nexts.items() if private or topic != topics.PRIVATE)


def places_in(text: str, known: Mapping[Place, int]) -> Places:
    """The places that an id states, of those that are known.

    Raises
    ------
    ValueError
        It is not an id of ours.
    """
    if len(text) > LONGEST_ID:
        raise ValueError("too long")
    out: Places = {}
    for part in text.split(","):
        name, _, at = part.partition(":")
        topic = topics.PRIVATE if name.startswith("p") else topics.DETECTIONS
        number = name.removeprefix("p")
        if not (number.isascii() and number.isdigit() and at.isascii() and at.isdigit() and len(number) < 6 and len(at) < 19):
            raise ValueError("not an id")
        if (topic, int(number)) in known:
            out[topic, int(number)] = int(at)
    return out
