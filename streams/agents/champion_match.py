"""What the model in use said of alerts that another one scored too: found on `detections`, copied beside the other's.

packets that are waited for ──► detections, from the oldest of them on ──► the champion's detections, copies on detections.shadow

A detection is known by the headers of its message: only those that are waited for are decoded.
"""

from __future__ import annotations

from contextlib import AsyncExitStack
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from schemas.records import codec
from schemas.records.detection import Detection
from streams.agents.shadow import headers_of
from streams.kafka import topics
from streams.kafka.consumer import make_consumer, read_to

if TYPE_CHECKING:
    from aiokafka import AIOKafkaProducer

    from settings.model import Settings

CHAMPION = "champion"
GIVEN_UP_MS = 600_000
"""The champion has said nothing of an alert for so long: it is not waited for any more [ms]."""
MOST = 50_000
"""Alerts that are waited for; the oldest are given up."""
AT_ONCE = 2000
EARLIER_MS = 1000
"""Two brokers' clocks may differ: read from so much before [ms]."""


@dataclass(slots=True)
class Waited:
    """An alert that is waited for."""

    survey: bytes
    candid: bytes
    since_ms: int
    """When its packet came [ms since 1970]: the detection is not older."""
    asked_ms: int
    looked: bool = False
    """What was on the topic at the last look does not hold it."""


class ChampionMatch:
    """Finds the champion's detections.

    Parameters
    ----------
    settings : Settings
        With a broker.
    sender : aiokafka.AIOKafkaProducer
        Started.
    stack : AsyncExitStack
        That ends what is begun here.
    """

    def __init__(self, settings: Settings, *, sender: AIOKafkaProducer, stack: AsyncExitStack) -> None:
        self._settings, self._sender, self._stack = settings, sender, stack
        self._waited: dict[str, Waited] = {}
        self._next: dict[Any, int] = {}
        self._consumer: Any = None
        self._champion = ""

    def want(self, found: Detection, *, since_ms: int, now_ms: int) -> None:
        """Wait for what the champion says of an alert."""
        if found.packet_id not in self._waited:
            self._waited[found.packet_id] = Waited(found.survey.encode(), b"%d" % found.candid, since_ms, now_ms)
            if len(self._waited) > MOST:
                del self._waited[next(iter(self._waited))]

    def have(self, packet_id: str) -> None:
        """It has said something."""
        self._waited.pop(packet_id, None)

    async def find(self, champion: str, *, now_ms: int) -> list[Detection]:
        """What a model said of the alerts that are waited for, as far as it is there.

        Parameters
        ----------
        champion : str
            Its short id.
        now_ms : int
            [ms since 1970]

        Raises
        ------
        aiokafka.errors.KafkaError
        """
        if champion != self._champion:
            self._champion = champion
            for one in self._waited.values():
                one.looked = False
        for packet_id in [p for p, one in self._waited.items() if one.looked and now_ms - one.asked_ms > GIVEN_UP_MS]:
            del self._waited[packet_id]
        if not self._waited:
            return []
        ends = await self._begin()
        wanted: dict[tuple[bytes, bytes], list[str]] = {}
        for packet_id, one in self._waited.items():
            wanted.setdefault((one.survey, one.candid), []).append(packet_id)
        out = []
        async for message in read_to(self._consumer, ends, at_once=AT_ONCE):
            headers = dict(message.headers or ())
            names = wanted.get((headers.get("survey", b""), headers.get("candid", b"")))
            if names is None:
                continue
            found = codec.decode(message.value, message.key)
            if isinstance(found, Detection) and found.model == champion and found.packet_id in names and found.packet_id in self._waited:
                ingested = self._waited.pop(found.packet_id).since_ms
                await self._copy(found, ingested_ms=ingested)
                out.append(found)
        for one in self._waited.values():
            one.looked = True
        self._next.update(ends)
        return out

    async def _begin(self) -> dict[Any, int]:
        """Set the consumer where the oldest alert that was not looked for may be; where each partition ends now."""
        if self._consumer is None:
            self._consumer = make_consumer(self._settings, auto_offset_reset="earliest", fetch_max_wait_ms=50)
            self._stack.push_async_callback(self._consumer.stop)
            await self._consumer.start()
            async with topics.admin_client(self._settings) as admin:
                self._consumer.assign((await topics.places_of(admin, [topics.DETECTIONS])).get(topics.DETECTIONS, []))
        places = list(self._consumer.assignment())
        begins, ends = await self._consumer.beginning_offsets(places), await self._consumer.end_offsets(places)
        starts = {place: max(begins[place], self._next.get(place, begins[place])) for place in places}
        fresh = [one.since_ms for one in self._waited.values() if not one.looked]
        if fresh:
            found = await self._consumer.offsets_for_times(dict.fromkeys(places, max(0, min(fresh) - EARLIER_MS)))
            for place in places:
                at = ends[place] if found.get(place) is None else found[place].offset
                starts[place] = max(begins[place], min(at, self._next.get(place, at)))
        left = {place: ends[place] for place in places if starts[place] < ends[place]}
        for place in places:
            self._consumer.seek(place, starts[place])
            if place in left:
                self._consumer.resume(place)
            else:
                self._consumer.pause(place)
        return left

    async def _copy(self, found: Detection, *, ingested_ms: int) -> None:
        await self._sender.send(
            topics.SHADOW, codec.encode(found), key=found.object_id.encode(), headers=headers_of(CHAMPION, found, ingested_ms=ingested_ms)
        )
