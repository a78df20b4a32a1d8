"""The shadow: which blocks it scores, what it sends of them, and what it keeps to itself."""

from __future__ import annotations

import asyncio
from collections.abc import Sequence
from dataclasses import dataclass, field, replace
from typing import Any

from gpu.session import EngineError
from schemas.records import codec
from schemas.records.detection import Detection
from schemas.records.parts import ClassProbability
from schemas.records.rejected import Rejected
from settings.model import Settings
from streams.agents.shadow import BLOCK, Cursor, Shadow, chosen, slowdown_of, usable
from tests.flow.stand_in import StandIn, packet


@dataclass
class Producer:
    """Keeps what is sent."""

    sent: list[tuple[str, bytes, dict[str, bytes]]] = field(default_factory=list)

    async def send(self, topic: str, value: bytes, *, key: bytes, headers: list[tuple[str, bytes]]) -> Any:
        self.sent.append((topic, value, dict(headers)))
        done: asyncio.Future[None] = asyncio.get_running_loop().create_future()
        done.set_result(None)
        return done


@dataclass
class Message:
    value: bytes
    timestamp: int = 1234


@dataclass(frozen=True)
class Place:
    topic: str = "alerts.ztf"
    partition: int = 0


class Broken(StandIn):
    """Says nonsense of odd alerts, and fails for one."""

    def __call__(self, packets: Sequence[bytes]) -> list[Detection | Rejected]:
        if any(b"999" in p[:20] for p in packets):
            raise EngineError("the device is gone")
        found = super().__call__(packets)
        odd = (ClassProbability("sn-ia", float("nan"), 0.5),)
        return [replace(d, classes=odd) if isinstance(d, Detection) and d.candid % 2 else d for d in found]


def shadow(scorer: StandIn, *, share: float = 0.1) -> tuple[Shadow, Producer]:
    producer = Producer()
    made = Shadow(Settings(shadow_share=share), producer)
    made.play("challenger", "ab" * 32, scorer=scorer, slowdown=1.25)
    return made, producer


def test_a_stated_share_of_the_blocks_is_scored_the_same_ones_each_time() -> None:
    places = [(topic, partition) for topic in ("alerts.ztf", "alerts.lsst") for partition in range(8)]
    hits = {(t, p, b) for t, p in places for b in range(500) if chosen(t, p, block=b, share=0.1)}
    assert 0.085 < len(hits) / 8000 < 0.115
    assert hits < {(t, p, b) for t, p in places for b in range(500) if chosen(t, p, block=b, share=0.2)}
    assert all(chosen(t, p, block=b, share=1.0) for t, p in places for b in range(10))


def test_a_cursor_moves_to_chosen_blocks_and_waits_for_the_rest_of_one() -> None:
    made, _ = shadow(StandIn())
    block = next(b for b in range(1000) if chosen("alerts.ztf", 0, block=b, share=0.1))
    cursor = Cursor(0, block * BLOCK + 5)
    assert made._advance(Place(), cursor) == block * BLOCK + 5
    assert cursor.offset == block * BLOCK
    cursor = Cursor(0, block * BLOCK)
    assert made._advance(Place(), cursor) is None
    assert cursor.offset == block * BLOCK
    cursor.end = 10_000
    assert made._advance(Place(), cursor) == (block + 1) * BLOCK


async def test_public_detections_are_sent_with_their_role_and_private_or_rejected_ones_are_not() -> None:
    made, producer = shadow(StandIn())
    await made.score([Message(packet(1)), Message(packet(2, programid=2)), Message(b"bad"), Message(b""), Message(packet(3))])
    assert {topic for topic, _, _ in producer.sent} == {"detections.shadow"}
    found = [codec.expect(value, Detection) for _, value, _ in producer.sent]
    assert [d.candid for d in found] == [1, 3]
    headers = producer.sent[0][2]
    assert {n: headers[n] for n in ("role", "ingested_at", "candid", "survey", "slowdown", "programid")} == {
        "role": b"challenger", "ingested_at": b"1234", "candid": b"1", "survey": b"ztf", "slowdown": b"1.250", "programid": b"1",
    }  # fmt: skip


async def test_what_a_broken_model_says_is_counted_and_nothing_stops() -> None:
    made, producer = shadow(Broken())
    await made.score([Message(packet(i)) for i in range(1, 5)])
    await made.score([Message(packet(999))])
    assert [int(h["faults"]) for _, value, h in producer.sent if not value] == [1, 1, 1]
    assert [codec.expect(value, Detection).candid for _, value, _ in producer.sent if value] == [2, 4]
    assert (made.roles["challenger"].offered, made.roles["challenger"].rejected) == (4, 3)


def test_probabilities_are_such() -> None:
    [found] = StandIn()([packet(1)])
    assert isinstance(found, Detection)
    assert usable(found)
    for p in (0.2, float("nan"), float("inf")):
        assert not usable(replace(found, classes=(ClassProbability("sn-ia", p, p),)))
    assert not usable(replace(found, classes=()))


def test_the_time_of_one_model_is_measured_by_that_of_another() -> None:
    ticks = iter(range(1000))
    spent = {"slow": 3, "fast": 1}
    now = [0.0]

    class Timed(StandIn):
        def __init__(self, name: str) -> None:
            super().__init__()
            self.name = name

        def __call__(self, packets: Sequence[bytes]) -> list[Detection | Rejected]:
            now[0] += spent[self.name] + (next(ticks) == 0)  # the first of all is slower
            return []

    assert slowdown_of(Timed("slow"), Timed("fast"), packets=[b""], clock=lambda: now[0]) == 3.0
