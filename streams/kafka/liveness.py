"""Committed and end offsets over time → the lag as a metric, and whether a worker that has work does none of it.

`Stall` decides, and is pure: the clock is handed in. `Liveness` asks the broker. One that does not answer stops no worker: what it said
last goes on counting, so a worker that waits for it with work in hand still ends, and one without work waits on.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Mapping, Sequence
from typing import TYPE_CHECKING, Any, TypeVar

import structlog
from aiokafka import TopicPartition
from aiokafka.errors import KafkaError

from streams import metrics
from streams.kafka import topics

if TYPE_CHECKING:
    import faust

    from streams.kafka.spans import Span

log = structlog.get_logger(__name__)

ANSWER_WITHIN = 3.0
"""How long the broker may take to say where the partitions begin and end [s]."""

Place = TypeVar("Place")


class Stall:
    """Watches the partitions a worker holds.

    Parameters
    ----------
    limit_s : float
        How long committed offsets may stand still while there is lag [s].
    """

    def __init__(self, limit_s: float) -> None:
        self._limit_s = limit_s
        self._moved: dict[object, tuple[int, float]] = {}

    def observe(self, now: float, offsets: Mapping[Place, tuple[int, int]]) -> Place | None:
        """A partition that stands still, if there is one.

        Parameters
        ----------
        now : float
            Monotonic time [s].
        offsets : mapping
            Partition → (up to where nothing is left to be done, end). A partition that is not named is not held: its clock starts anew
            when it comes back.
        """
        self._moved = {place: seen for place, seen in self._moved.items() if place in offsets}
        for place, (committed, end) in offsets.items():
            before, since = self._moved.get(place, (None, now))
            if committed != before or committed >= end:
                self._moved[place] = (committed, now)
            elif now - since > self._limit_s:
                return place
        return None


class Liveness:
    """Watches the partitions that a worker holds.

    Parameters
    ----------
    app : faust.App
        With `streams.kafka.transport.PromptTransport`.
    limit_s : float
        How long committed offsets may stand still while there is lag [s].
    on_stall : callable
        Called with the reason, when they did.
    waiting : callable
        What the worker waits for outside of itself (None: nothing). While it does, standing still is not a fault of its own.
    """

    def __init__(
        self, app: faust.App, limit_s: float, *, on_stall: Callable[[str], None], waiting: Callable[[], str | None] = lambda: None
    ) -> None:
        self._app, self._limit_s, self._on_stall, self._waiting = app, limit_s, on_stall, waiting
        self._stall = Stall(limit_s)
        self._spans: dict[Any, Span] = {}
        self._silent_since: float | None = None
        self._labelled: set[Any] = set()

    async def look(self) -> None:
        """Ask once; called on a timer."""
        consumer: Any = self._app.consumer
        held = [place for place in consumer.assignment() if place.topic in topics.ALERTS]
        asked = time.monotonic()
        unread: list[Any] = []
        try:
            held, unread = await self._there(consumer, held)
            self._spans = await consumer.spans([*held, *unread], ANSWER_WITHIN) if held or unread else {}
            self._silent_since = None
        except (KafkaError, TimeoutError) as error:
            if self._silent_since is None:
                self._silent_since = asked
                log.warning("the broker does not say how far the partitions are", why=repr(error))
        self._show([*held, *unread], consumer._committed_offset)
        waits = self._waiting() is not None
        metrics.WAITING.set(waits)
        if waits:
            self._stall = Stall(self._limit_s)
            return
        stuck = self._stall.observe(time.monotonic(), self._offsets(held, consumer._committed_offset))
        if stuck is not None:
            silent = (
                "" if self._silent_since is None else f"; the broker has not answered for {time.monotonic() - self._silent_since:.0f} s"
            )
            self._on_stall(
                f"{stuck.topic}/{stuck.partition} has lag and its committed offset has not moved for {self._limit_s:.0f} s{silent}"
            )

    async def _there(self, consumer: Any, held: list[Any]) -> tuple[list[Any], list[Any]]:
        """Those of the held partitions that the broker has, and those that no member of the group reads yet.

        The latter are shown by the member that shares the partitions out, so that they are counted once.
        """
        try:
            found = await consumer.topics(topics.ALERTS, ANSWER_WITHIN)
        except NotImplementedError:  # a broker before 3.0: partitions that are added are seen when the client's metadata are old
            return held, []
        there = {TopicPartition(topic, number) for topic, numbers in found.partitions.items() for number in numbers}
        return [place for place in held if place in there], sorted(there - found.shared) if found.leads else []

    def _show(self, places: Sequence[Any], confirmed: Mapping[Any, int | None]) -> None:
        """The lag of partitions as a metric; none of those that went to another worker, or are gone."""
        for place in self._labelled - set(places):
            metrics.LAG.remove(place.topic, str(place.partition))
        self._labelled &= set(places)
        for place, (committed, end) in self._offsets(places, confirmed).items():
            metrics.LAG.labels(place.topic, str(place.partition)).set(max(0, end - committed))
            self._labelled.add(place)

    def _offsets(self, places: Sequence[Any], confirmed: Mapping[Any, int | None]) -> dict[Any, tuple[int, int]]:
        """Partition → (done, end).

        `confirmed` is where Faust writes an offset down when the broker has confirmed its commit; it has no public name for it.
        """
        spans = {place: self._spans[place] for place in places if place in self._spans}
        return {place: (span.done(confirmed.get(place)), span.end) for place, span in spans.items()}
