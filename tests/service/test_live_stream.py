"""The live stream: every client its own, none waits for another, an id goes on on any process."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Sequence
from contextlib import aclosing
from typing import Any

import orjson
import pytest

from schemas.filters.filter_expression import read_expression
from schemas.records import detection
from schemas.records.detection import Detection
from service.api.live_stream import MOST_WAITING, Entry, LiveStream, TooManyClientsError, id_of, places_in
from settings.model import Settings
from streams.kafka import topics
from tests.service.past_night import alert

D, P = (topics.DETECTIONS, 0), (topics.PRIVATE, 0)


class Fed(LiveStream):
    """A process's stream, fed by hand as its consumer feeds it."""

    def __init__(self, **settings: Any) -> None:
        super().__init__(Settings(**settings))
        self.heads, self._reach = {D: 0, (topics.DETECTIONS, 1): 0, P: 0}, {D: 0, (topics.DETECTIONS, 1): 0, P: 0}
        self._started.set()

    def feed(self, records: Sequence[Detection], *, first: int = 0) -> None:
        self.take([entry(a, first + i) for i, a in enumerate(records)])


def entry(a: Detection, offset: int) -> Entry:
    return Entry(D if a.programid == 1 else P, offset, detection.body(a, detection.coded(a)))


def events(data: bytes) -> list[tuple[str, str, Any]]:
    out = []
    for block in data.decode().split("\n\n"):
        fields = dict(line.split(": ", 1) for line in block.split("\n") if ": " in line)
        if "event" in fields:
            out.append((fields["event"], fields.get("id", ""), orjson.loads(fields["data"])))
    return out


async def listening(live: LiveStream, where: str = "true", **options: Any) -> tuple[AsyncIterator[bytes], str]:
    pieces = live.events(read_expression(where), **{"private": False, **options})
    [(event, name, _)] = events(await anext(pieces))
    assert event == "ready"
    return pieces, name


async def taken(pieces: AsyncIterator[bytes], count: int) -> list[tuple[str, str, Any]]:
    out: list[tuple[str, str, Any]] = []
    async with asyncio.timeout(5):
        while len(out) < count:
            out += events(await anext(pieces))
    return out


async def started(pieces: AsyncIterator[bytes]) -> asyncio.Task[bytes]:
    """Wait for the next piece: only then the client has joined."""
    task = asyncio.ensure_future(anext(pieces))  # type: ignore[arg-type]
    await asyncio.sleep(0)
    return task


async def test_each_client_gets_what_it_asks_for_and_may_see() -> None:
    live = Fed()
    night = [alert(i, programid=2 if i % 5 == 4 else 1) for i in range(30)]
    tde, _ = await listening(live, "class = 'tde'")
    all_of_it, _ = await listening(live, private=True)
    waits = [await started(pieces) for pieces in (tde, all_of_it)]
    live.feed(night)
    first, second = [events(await wait) for wait in waits]
    assert [e[2]["packet_id"] for e in second] == [a.packet_id for a in night]
    wanted = [a for a in night if a.programid == 1 and a.decision is not None and a.decision.class_name == "tde"]
    assert [e[2]["packet_id"] for e in first] == [a.packet_id for a in wanted]
    assert all("p0" not in e[1] for e in first)
    assert live.clients == 2
    for pieces in (tde, all_of_it):
        await pieces.aclose()  # type: ignore[attr-defined]
    assert live.clients == 0


async def test_an_id_goes_on_on_another_process_without_a_gap_or_a_duplicate() -> None:
    one, other = Fed(), Fed()
    night = [alert(i) for i in range(60)]
    pieces, _ = await listening(one)
    wait = await started(pieces)
    one.feed(night[:20])
    got = events(await wait)
    await pieces.aclose()  # type: ignore[attr-defined]
    last = got[11][1]  # the client was killed before it had read the rest
    other.feed(night[:35])
    again, _ = await listening(other, since=last)
    more = await taken(again, 23)
    wait = await started(again)
    other.feed(night[35:], first=35)
    more += events(await wait)
    assert [e[2]["packet_id"] for e in [*got[:12], *more]] == [a.packet_id for a in night]

    # A process that is behind: what the client has had does not come again.
    behind = Fed()
    behind.feed(night[:10])
    ahead, _ = await listening(behind, since=more[-11][1])  # it has had 49
    wait = await started(ahead)
    behind.feed(night[10:], first=10)
    assert [e[2]["packet_id"] for e in events(await wait)] == [a.packet_id for a in night[50:]]


async def test_a_client_that_does_not_read_is_cut_and_the_others_go_on() -> None:
    live = Fed()
    slow, _ = await listening(live)
    quick, _ = await listening(live)
    waits = [await started(pieces) for pieces in (slow, quick)]
    seen = 0
    for k in range(0, 3 * MOST_WAITING, 500):
        live.feed([alert(i) for i in range(k, k + 500)], first=k)
        seen += len(events(await waits[1]))
        waits[1] = await started(quick)
    assert seen == 3 * MOST_WAITING
    found = events(await waits[0])
    assert [e[0] for e in found] == ["detection"] * len(found)
    async with asyncio.timeout(5):
        rest = [event async for piece in slow for event in events(piece)]
    assert rest[-1][0] == "cut"
    assert live.cut == 1
    last = [e for e in [*found, *rest] if e[0] == "detection"][-1][1]
    back, _ = await listening(live, since=last)
    assert (await taken(back, 1))[0][2]["packet_id"] == alert(places_in(last, live.heads)[D]).packet_id
    waits[1].cancel()


async def test_there_is_room_for_so_many() -> None:
    live = Fed(stream_clients=2)
    held = [await listening(live) for _ in range(2)]
    with pytest.raises(TooManyClientsError):
        await listening(live)
    await held[0][0].aclose()  # type: ignore[attr-defined]
    async with aclosing((await listening(live))[0]):
        assert live.clients == 2


@pytest.mark.parametrize("text", ["x", "0:", ":5", "0:-1", "q0:5", "0:1,,", "0:" + "9" * 30, "0:1," * 2000, "p:1"])
def test_an_id_that_is_none_is_refused(text: str) -> None:
    with pytest.raises(ValueError):
        places_in(text, {D: 0})


def test_an_id_is_where_each_partition_goes_on() -> None:
    places = {D: 5, (topics.DETECTIONS, 1): 7, P: 9}
    assert id_of(places, private=True) == "0:5,1:7,p0:9"
    assert id_of(places, private=False) == "0:5,1:7"
    assert places_in("0:5,1:7,p0:9,44:3", places) == places
