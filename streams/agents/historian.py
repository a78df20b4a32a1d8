"""Detections, embeddings and rejected packets → the history that the HTTP API reads.

    detections, detections.private, embeddings…, alerts.rejected ──► data/history: rows and offsets in one transaction

The topics are read from where the history ends, by one process without a group, so that a kill at any moment costs reading again and
nothing comes twice or is missing: after it the history is what the topics say, row for row. It also looks at what the workers commit, and
once all that they had sent is in the history compares their counts, the broker's offsets and the rows (`data.history.counting`).
"""

from __future__ import annotations

import asyncio
import time
from collections import Counter
from collections.abc import Mapping
from contextlib import AsyncExitStack
from typing import TYPE_CHECKING, Any

import structlog
from aiokafka import TopicPartition
from aiokafka.admin import AIOKafkaAdminClient

from data.history.counting import Sample
from data.history.engines import writing
from data.history.nights import DAY_MS, begin_of, night_of
from data.history.portion import Place
from data.history.sql_counts import survey_of
from data.history.sql_writer import SqlWriter
from errors import RetryableError
from streams import metrics
from streams.agents.history_rows import READ, WITH_EMBEDDINGS, portion_of
from streams.agents.history_scans import NightlyScans
from streams.kafka import topics
from streams.kafka.broker_requests import TopicFacts, describe_topics, mark_in
from streams.kafka.consumer import CheckedConsumer, make_consumer
from streams.kafka.exactly_once import repeat
from streams.kafka.offset_ledger import ledger_of

if TYPE_CHECKING:
    from settings.model import Settings

log = structlog.get_logger(__name__)

AT_ONCE = 8_000
"""Records of a transaction at most: behind the stream they come in so many, and a page that several change is written once."""
FETCH_WAIT_MS = 200
LOOK_EVERY = 1.0
"""How often offsets, commits and lag are looked at [s]."""
NIGHTS_BACK = 8
"""Nights of which the first offset is asked for: alerts are kept for seven days."""


class Historian:
    """Keeps a history.

    Parameters
    ----------
    settings : Settings
        With a broker.
    """

    def __init__(self, settings: Settings) -> None:
        self._settings = settings
        self._names = WITH_EMBEDDINGS if settings.history_embeddings else READ
        self.counts: Counter[str] = Counter()
        """Rows written by this process: new, again, rejected, embeddings."""
        self.bad: Counter[tuple[str, str]] = Counter()

    async def run(self, *, rebuild: bool = False) -> None:
        """Keep it until cancelled; a broker or a disk that fails is tried again after a pause that grows."""
        if rebuild:
            with writing(self._settings) as writer:
                await asyncio.to_thread(writer.clear)
        await repeat(self._session, self.counts.total, what="the history is not kept", final=())

    async def _session(self) -> None:
        with writing(self._settings) as writer:
            await self._keep(writer)

    async def _keep(self, writer: SqlWriter) -> None:
        async with AsyncExitStack() as stack:
            consumer = make_consumer(
                self._settings, auto_offset_reset="earliest", max_partition_fetch_bytes=4 << 20, fetch_max_wait_ms=100, check_crcs=True
            )
            stack.push_async_callback(consumer.stop)
            await consumer.start()
            admin = AIOKafkaAdminClient(**self._settings.client_options(), client_id="protonova-historian")
            stack.push_async_callback(admin.close)
            await admin.start()
            facts = await _facts(consumer, self._names)
            for name in writer.same_topics({name: fact.mark for name, fact in facts.items()}):
                log.warning("a topic was made anew; it is read from its start", topic=name)
            held = await self._assign(writer, consumer, facts=facts)
            balance = Balancing(self._settings, writer, consumer=consumer, admin=admin, names=self._names)
            log.info("the history is kept", where=writer.where, partitions=len(held))
            due = 0.0
            scans = NightlyScans(self._settings)
            stack.push_async_callback(scans.end)
            while True:
                found = await consumer.getmany(timeout_ms=FETCH_WAIT_MS, max_records=AT_ONCE)
                if found:
                    await asyncio.to_thread(self._write, writer, found, held=held)
                if time.monotonic() >= due:
                    due = time.monotonic() + LOOK_EVERY
                    if await _facts(consumer, self._names) != facts:
                        return
                    await balance.look(facts)
                    scans.look(time.time())

    async def _assign(self, writer: SqlWriter, consumer: CheckedConsumer, *, facts: Mapping[str, TopicFacts]) -> dict[Place, int | None]:
        """Read each partition from where the history ends."""
        places = [TopicPartition(name, p) for name in self._names for p in facts[name].partitions]
        consumer.assign(places)
        starts, ends = await consumer.beginning_offsets(places), await consumer.end_offsets(places)
        held: dict[Place, int | None] = {Place(*place): at for place, at in writer.positions().items()}
        moved = {}
        for tp in places:
            place = Place(tp.topic, tp.partition)
            at = held.setdefault(place, None)
            if at is not None and at > ends[tp]:  # what the broker knows is older, as of a backup; rows that come again change nothing
                log.warning("the history is ahead of the broker; the partition is read again", topic=tp.topic, partition=tp.partition)
                at = moved[place] = starts[tp]
            elif at is not None and at < starts[tp]:
                log.error(
                    "records left the topic before they came into the history",
                    topic=tp.topic,
                    partition=tp.partition,
                    records=starts[tp] - at,
                )
                metrics.HISTORY_LOST.inc(starts[tp] - at)
                at = moved[place] = starts[tp]
            consumer.seek(tp, starts[tp] if at is None else at)
        writer.seek(moved)
        held.update(moved)
        return held

    def _write(self, writer: SqlWriter, found: Mapping[Any, Any], *, held: dict[Place, int | None]) -> None:
        """In a thread of its own: what was fetched becomes rows."""
        before = self.bad.total()
        portion = portion_of(found, held, bad=self.bad)
        counts = writer.commit(portion)
        held.update({place: moved.next for place, moved in portion.moved.items()})
        self.counts += counts
        for kind, n in counts.items():
            metrics.HISTORY_ROWS.labels(kind).inc(n)
        if self.bad.total() > before:
            log.warning("messages that are not records of ours are passed over", so_far=dict(self.bad))
        writer.checkpoint()


class Balancing:
    """Compares the workers' commits with the history, once it has everything that was sent before them.

    Parameters
    ----------
    settings : Settings
    writer : SqlWriter
    consumer : CheckedConsumer
        The historian's.
    admin : aiokafka.admin.AIOKafkaAdminClient
    names : tuple of str
        The topics that the historian reads.
    """

    def __init__(
        self, settings: Settings, writer: SqlWriter, *, consumer: CheckedConsumer, admin: AIOKafkaAdminClient, names: tuple[str, ...]
    ) -> None:
        self._settings, self._writer, self._consumer, self._admin = settings, writer, consumer, admin
        self._places = [name for name in names if name in READ]
        self._waiting: tuple[list[Sample], dict[Any, int]] | None = None
        self._nights = writer.known_nights()

    async def look(self, facts: Mapping[str, TopicFacts]) -> None:
        """Look at offsets and commits, and compare those of the look before where everything has come."""
        inputs = await describe_topics(self._consumer._client, topics.ALERTS)
        if await asyncio.to_thread(self._writer.same_topics, {name: fact.mark for name, fact in inputs.items()}):
            self._nights, self._waiting = self._writer.known_nights(), None
        outputs = [TopicPartition(name, p) for name in self._places for p in facts[name].partitions]
        if self._waiting is not None:
            samples, ends = self._waiting
            if all([await self._consumer.position(place) >= end for place, end in ends.items()]):
                await asyncio.to_thread(self._writer.settle, samples)
                self._waiting = None
        if self._waiting is None:
            samples = await self._samples(inputs)
            self._waiting = samples, await self._consumer.end_offsets(outputs)  # in this order: what a commit counts was sent before it
        places = [TopicPartition(name, p) for name, fact in inputs.items() for p in fact.partitions]
        await self._look_at_nights(places)
        ends = await self._consumer.end_offsets(places)
        await asyncio.to_thread(self._writer.ends, {Place(*place): end for place, end in ends.items()}, int(1000 * time.time()))
        lag = await self._consumer.end_offsets(outputs)
        metrics.HISTORY_LAG.set(sum([max(0, end - await self._consumer.position(place)) for place, end in lag.items()]))
        metrics.HISTORY_BYTES.set(await asyncio.to_thread(self._writer.used_bytes))

    async def _samples(self, inputs: Mapping[str, TopicFacts]) -> list[Sample]:
        """The ledgers in the group's commits."""
        found = []
        now_ms = int(1000 * time.time())
        for place, commit in (await self._admin.list_consumer_group_offsets(self._settings.app_id)).items():
            fact = inputs.get(place.topic)
            if fact is None or commit.offset < 0 or mark_in(commit.metadata) not in ("", fact.mark):
                continue  # of no input, or of another topic of that name
            ledger = ledger_of(commit.metadata, commit.offset)
            if ledger is not None:
                night = night_of(now_ms, survey_of(place.topic))
                gone = ledger.compacted + ledger.absent
                found.append(
                    Sample(place.topic, place.partition, ledger.base, commit.offset, ledger.detections, ledger.rejected, ledger.duplicates,
                           ledger.control, ledger.aborted, gone, night)
                )  # fmt: skip
        return found

    async def _look_at_nights(self, places: list[TopicPartition]) -> None:
        """Ask where the latest nights begin, each once; what lies before the first record that is kept is not known."""
        now_ms = int(1000 * time.time())
        wanted: dict[int, list[tuple[int, TopicPartition]]] = {}
        for place in places:
            survey = survey_of(place.topic)
            for back in range(NIGHTS_BACK):
                night = night_of(now_ms - back * DAY_MS, survey)
                if (night, place.topic, place.partition) not in self._nights:
                    wanted.setdefault(begin_of(night, survey), []).append((night, place))
        firsts = []
        for begin, entries in sorted(wanted.items()):
            own = [place for _, place in entries]
            found, ends = await self._consumer.offsets_for_times(dict.fromkeys(own, begin)), await self._consumer.end_offsets(own)
            for night, place in entries:
                at = found.get(place)
                firsts.append((night, Place(*place), ends[place] if at is None else at.offset))
                self._nights.add((night, place.topic, place.partition))
        if firsts:
            await asyncio.to_thread(self._writer.nights, firsts)


async def _facts(consumer: CheckedConsumer, names: tuple[str, ...]) -> dict[str, TopicFacts]:
    """What the broker says of topics.

    Raises
    ------
    RetryableError
        One of them is not there.
    """
    found = await describe_topics(consumer._client, names)
    missing = [name for name in names if name not in found]
    if missing:
        raise RetryableError(f"the broker has no topic {missing[0]}: `protonova topics --repair` makes it")
    return found


async def run(settings: Settings, *, rebuild: bool = False) -> None:
    """Keep the history until cancelled."""
    await Historian(settings).run(rebuild=rebuild)
