"""Increments of TESS light curves → whole packets: a sector need not travel twice.

    tess.increments ──► join with the light curve so far (a file) ──► alerts.tess, alerts.rejected and sources.positions, in one transaction

Every increment ends as one of three: joined (a packet with its cadences is on `alerts.tess`), duplicate (all of it is there), rejected
(with its bytes and the reason). Packets and the position behind their increments are committed together, so a process killed at any
moment loses nothing and sends nothing twice. The light curves so far are written after that; they follow from the topic alone. Where the
file is behind (a kill in between) or gone (another machine), increments before the committed position are joined again and nothing is sent.
One process reads all partitions, and a second one fences the first: there is no rebalance, and a source need not choose partitions.
"""

from __future__ import annotations

import sqlite3
import time
from collections import Counter
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

import structlog

from data.joining.curve_store import CurveStore, Moved, is_passing, remove
from data.joining.whole_curve import WholeCurve, differs, joined, packet
from errors import RetryableError
from schemas.avro.wire import PacketError
from schemas.records.rejected import Rejected
from schemas.surveys.tess_increment import IncrementReader
from settings.private import private_folder
from streams import metrics
from streams.agents.detector import Incoming
from streams.agents.reject_limits import RejectLimitError, RejectLimits
from streams.kafka import topics
from streams.kafka.batches import Unreadable
from streams.kafka.exactly_once import FencedReader, fenced_reader, repeat
from streams.kafka.producer import Record, passed_on, rejected_record, trace

if TYPE_CHECKING:
    from settings.model import Settings

log = structlog.get_logger(__name__)

TARGET = "alerts.tess"
SOURCE = "(increments)"
"""Name of the positions on `sources.positions`; no source of the settings may have it."""
FETCH_WAIT_MS = 300
AT_ONCE = 200
"""Increments of a fetch at most."""
IN_HAND = 8 * 2**20
"""Increments that are gathered, and light curves and packets of a transaction, at most, and one more of each [bytes]."""
LOOK_EVERY = 5.0
"""How often topic, lag and store are looked at [s]."""
GB = 10**9


class StoreFullError(RetryableError):
    """The light curves so far need more room than they may have."""


@dataclass(slots=True)
class Portion:
    """What is committed at once."""

    curves: dict[tuple[int, int], WholeCurve] = field(default_factory=dict)
    changed_ms: dict[tuple[int, int], int] = field(default_factory=dict)
    packets: dict[Any, tuple[Incoming, WholeCurve, bytes]] = field(default_factory=dict)
    """What goes to `alerts.tess`, in order."""
    rejects: list[tuple[Incoming, Rejected]] = field(default_factory=list)
    outcomes: list[tuple[str, int, str | None]] = field(default_factory=list)
    """Of every increment that was not committed before: what became of it, how many records it stands for, its error class."""
    next: dict[int, int] = field(default_factory=dict)
    """Partition → the offset behind the last increment taken."""
    size: int = 0

    def counts(self) -> Counter[str]:
        """Increments by outcome."""
        out: Counter[str] = Counter()
        for outcome, count, _ in self.outcomes:
            out[outcome] += count
        return out


def portions(
    messages: Sequence[Any], find: Callable[[int, int], WholeCurve | None], *, committed: dict[int, int], each: bool,
    reader: IncrementReader,
) -> Iterator[Portion]:  # fmt: skip
    """Join increments, in portions that fit into memory; each must be committed before the next is asked for.

    Parameters
    ----------
    messages : sequence of aiokafka.ConsumerRecord
        Of `tess.increments`, each partition's in order.
    find : callable
        (tic, sector) → the light curve so far.
    committed : dict
        Partition → offset before which every increment has its outcome: joined again, and nothing is sent.
    each : bool
        A packet for each increment that adds something; else one a target and portion.
    reader : IncrementReader
    """
    portion = Portion()
    for number, message in enumerate(messages):
        value, live = message.value or b"", message.offset >= committed.get(message.partition, 0)
        headers = [(name, value) for name, value in message.headers or () if value is not None]
        try:
            if isinstance(value, Unreadable):
                raise PacketError(value.error_class, value.reason, survey="tess")
            increment = reader.read(value)
            key = increment.tic, increment.sector
            known = portion.curves.get(key) or find(*key)
            curve = joined(known, increment)
        except PacketError as error:
            if live:
                first, count = (value.first, value.records) if isinstance(value, Unreadable) else (message.offset, 1)
                origin = Incoming(value, message.topic, message.partition, first, int(message.timestamp), headers)
                portion.rejects.append((origin, Rejected(error.error_class, error.reason, error.survey or "tess")))
                portion.outcomes.append(("rejected", count, error.error_class))
                portion.size += len(value)
        else:
            portion.size += curve.points.nbytes - (portion.curves[key].points.nbytes if key in portion.curves else 0)
            portion.curves[key] = curve
            portion.changed_ms[key] = max(portion.changed_ms.get(key, 0), int(message.timestamp))
            if live:
                new = differs(known, curve)
                portion.outcomes.append(("joined" if new else "duplicate", 1, None))
                if new:
                    origin = Incoming(value, message.topic, message.partition, message.offset, int(message.timestamp), headers)
                    whole = packet(curve)
                    place = number if each else key
                    before = portion.packets.pop(place, None)  # the last increment's place in the order
                    portion.packets[place] = origin, curve, whole
                    portion.size += len(whole) - (len(before[2]) if before else 0)
        portion.next[message.partition] = message.offset + 1
        if portion.size > IN_HAND:
            yield portion
            portion = Portion()
    if portion.next:
        yield portion


class Joiner:
    """Joins increments.

    Parameters
    ----------
    settings : Settings
        With a broker.
    """

    def __init__(self, settings: Settings) -> None:
        self._settings = settings
        self._path = private_folder(settings.state / "increments") / "curves.sqlite"
        self._reader = IncrementReader()
        self._limits = RejectLimits(settings.reject_consecutive, settings.reject_ratio, window=settings.reject_window)
        self.counts: Counter[str] = Counter()
        """Increments by outcome, committed by this process."""

    async def run(self) -> None:
        """Join until cancelled; a broker or a disk that fails is tried again after a pause that grows.

        Raises
        ------
        RejectLimitError
            Too many increments are rejected; nothing of the last ones is committed.
        """
        await repeat(self._session, self.counts.total, what="increments are not joined", final=(RejectLimitError,))

    async def _session(self) -> None:
        try:
            await self._join()
        except sqlite3.DatabaseError as error:
            if not is_passing(error):
                remove(self._path)  # the topic has it all
            raise RetryableError(f"the light curves so far ({self._path}) cannot be read or written: {error!r}") from error

    async def _join(self) -> None:
        async with fenced_reader(self._settings, topics.INCREMENTS, source=SOURCE, name="increments") as reader:
            with CurveStore.open(self._path, str(reader.facts.identity)) as store:
                begins = self._begins(store, reader)
                reader.seek(begins)
                behind = sum(max(0, offset - begins[p]) for p, offset in reader.committed.items())
                log.info("increments are joined", partitions=len(begins), light_curves=store.count(), read_again=behind)
                due = 0.0
                while True:
                    if time.monotonic() >= due:
                        due = time.monotonic() + LOOK_EVERY
                        if not await reader.same_topic():
                            return
                        await self._look(reader, store)
                    for portion in portions(
                        await self._gather(reader),
                        store.get,
                        committed=reader.committed,
                        each=not self._settings.increments_wait_s,
                        reader=self._reader,
                    ):
                        await self._commit(reader, store, portion=portion)

    def _begins(self, store: CurveStore, reader: FencedReader) -> dict[int, int]:
        """Partition → from where it is read: where the light curves so far end."""
        held = store.positions()
        if any(offset > reader.committed.get(p, 0) for p, offset in held.items()):
            # What the broker knows is older, as of a backup: what was sent since then is gone and must be sent again.
            log.warning("the light curves so far are ahead of the broker; they are made anew")
            store.clear()
            held = {}
        for p, count in reader.lost().items():
            log.error("increments left the topic before they were joined", partition=p, increments=count)
            metrics.INCREMENTS_LOST.inc(count)
        return {p: max(held.get(p, 0), start) for p, start in reader.starts.items()}

    async def _gather(self, reader: FencedReader) -> list[Any]:
        """The next increments: those that are there, or those of the time that is waited for."""
        out: list[Any] = []
        size, deadline = 0, None
        left_ms: float = FETCH_WAIT_MS
        while left_ms > 0:
            found = await reader.next(AT_ONCE, wait_ms=int(left_ms) or 1)
            out += found
            size += sum(len(message.value or b"") for message in found)
            if not out or size > IN_HAND:
                break
            deadline = deadline or time.monotonic() + self._settings.increments_wait_s
            left_ms = 1000 * (deadline - time.monotonic())
        return out

    async def _commit(self, reader: FencedReader, store: CurveStore, *, portion: Portion) -> None:
        """Send a portion's packets with its positions, then keep its light curves."""
        self._limits.observe(error_class for _, count, error_class in portion.outcomes for _ in range(count))
        if portion.outcomes:
            await reader.commit(_records(portion), portion.next)
            counts = portion.counts()
            self.counts += counts
            for outcome, count in counts.items():
                metrics.INCREMENTS.labels(outcome).inc(count)
        held = store.positions()
        store.commit(
            [(curve, portion.changed_ms[key]) for key, curve in portion.curves.items()],
            {p: Moved(held.get(p), offset) for p, offset in portion.next.items()},
        )

    async def _look(self, reader: FencedReader, store: CurveStore) -> None:
        """Publish the lag, forget light curves as old as what the topic forgets, and see that there is room for more.

        Raises
        ------
        StoreFullError
            There is none.
        """
        metrics.INCREMENTS_LAG.set(await reader.lag())
        forgotten = store.forget(store.newest_ms() - topics.KEPT_INCREMENTS)
        if forgotten:
            log.info("light curves without an increment for as long as increments are kept are forgotten", light_curves=forgotten)
        used = store.used_bytes()
        metrics.CURVES_STORED.set(used)
        if used > self._settings.increments_store_gb * GB:
            raise StoreFullError(
                f"{store.count():,} light curves need {used / GB:.2f} GB; increments_store_gb is {self._settings.increments_store_gb:g}"
            )


def _records(portion: Portion) -> Iterator[Record]:
    """What is sent of a portion."""
    for origin, curve, whole in portion.packets.values():
        key = b"%d" % curve.tic
        sent = dict(origin.headers)
        yield Record(TARGET, key, whole, [("traceparent", trace(sent)), *passed_on(sent)], key)
    now_ms = int(time.time() * 1000)
    for origin, rejected in portion.rejects:
        yield rejected_record(origin, rejected, scored_ms=now_ms)


async def run(settings: Settings) -> None:
    """Join increments until cancelled."""
    await Joiner(settings).run()
