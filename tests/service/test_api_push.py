"""Pushes: what is checked, what is remembered, what is bounded. The broker itself is asked in tests/flow/test_api_flow.py."""

from __future__ import annotations

import asyncio
from pathlib import Path
from typing import Any

import pytest
from aiokafka.errors import KafkaTimeoutError
from aiokafka.structs import RecordMetadata, TopicPartition

from data.simulate.night import night
from schemas.surveys.decode import Decoder
from service.api.resources import push_alerts
from service.ingest.bodies import PACKETS, packets_in
from service.ingest.breaker import Breaker
from service.ingest.intake import Intake
from service.ingest.remembered import Remembered
from settings.model import Settings
from tests.service.api_client import Api

OCTETS = {"Content-Type": "application/octet-stream"}


class Acks:
    """In the producer's place: acknowledgements come when the test says so."""

    def __init__(self) -> None:
        self.sent: list[tuple[str, bytes, bytes, asyncio.Future[Any]]] = []
        self.at_once = True

    async def send(self, topic: str, value: bytes, key: bytes) -> asyncio.Future[Any]:
        future = asyncio.get_running_loop().create_future()
        self.sent.append((topic, value, key, future))
        if self.at_once:
            self.acknowledge(len(self.sent) - 1)
        return future

    def acknowledge(self, n: int) -> None:
        self.sent[n][3].set_result(RecordMetadata(self.sent[n][0], 2, TopicPartition(self.sent[n][0], 2), n, 0, 1, 0))

    async def stop(self) -> None:
        for *_, future in self.sent:
            if not future.done():
                future.set_exception(KafkaTimeoutError())


@pytest.fixture(scope="module")
def packets() -> list[bytes]:
    return [packet for packet, _ in night(seed=6, n=8, duplicates=0, broken=0)]


@pytest.fixture
def acks() -> Acks:
    return Acks()


@pytest.fixture
def api(tmp_path: Path, acks: Acks) -> Api:
    api = Api(tmp_path, push_alerts.ROWS)
    api.services.intake = intake = Intake(Settings(kafka="127.0.0.1:1"), Decoder(), most_bytes=200_000)
    intake._producer = acks
    return api


async def test_a_push_says_where_each_packet_lies_and_a_repeat_the_same(api: Api, acks: Acks, packets: list[bytes]) -> None:
    body = b"".join(len(p).to_bytes(4, "big") + p for p in packets[:3])
    async with api.client(api.key("push")) as client:
        first = await client.post("/v1/alerts/ztf", content=body, headers={"Content-Type": PACKETS})
        again = await client.post("/v1/alerts/ztf", content=body, headers={"Content-Type": PACKETS})
    assert (first.status_code, again.status_code) == (202, 202), first.text
    rows = first.json()["data"]
    assert [(row["topic"], row["partition"], row["offset"], row["repeated"]) for row in rows] == [
        ("alerts.ztf", 2, str(i), False) for i in range(3)
    ]
    assert [{**row, "repeated": True} for row in rows] == again.json()["data"]
    assert [value for _, value, _, _ in acks.sent] == packets[:3]
    assert [row["object_id"].encode() for row in rows] == [key for _, _, key, _ in acks.sent]


async def test_an_idempotency_key_is_its_callers_and_for_its_bytes(api: Api, acks: Acks, packets: list[bytes]) -> None:
    named = {**OCTETS, "Idempotency-Key": "night 7"}
    one, other = api.key("push"), api.key("push")
    async with api.client(one) as client:
        assert (await client.post("/v1/alerts/ztf", content=packets[0], headers=named)).status_code == 202
        wrong = await client.post("/v1/alerts/ztf", content=packets[1], headers=named)
        long = await client.post("/v1/alerts/ztf", content=packets[1], headers={**OCTETS, "Idempotency-Key": "x" * 257})
    assert (wrong.status_code, long.status_code) == (422, 422)
    assert wrong.json()["errors"][0]["loc"] == ["header", "idempotency-key"]
    async with api.client(other) as client:
        assert (await client.post("/v1/alerts/ztf", content=packets[1], headers=named)).status_code == 202
    assert len(acks.sent) == 2


async def test_one_bad_packet_and_none_of_the_request_is_taken(api: Api, acks: Acks, packets: list[bytes]) -> None:
    parts = [packets[0], packets[1][:999], b"", packets[2]]
    body = b"".join(len(p).to_bytes(4, "big") + p for p in parts)
    async with api.client(api.key("push")) as client:
        found = await client.post("/v1/alerts/ztf", content=body, headers={"Content-Type": PACKETS})
        other = await client.post("/v1/alerts/lsst", content=packets[0], headers=OCTETS)
        none = await client.post("/v1/alerts/panstarrs", content=packets[0], headers=OCTETS)
        right = await client.post("/v1/alerts/ztf", content=packets[0], headers=OCTETS)
    assert (found.status_code, other.status_code, none.status_code, right.status_code) == (422, 422, 404, 202)
    assert [error["loc"] for error in found.json()["errors"]] == [["body", 1], ["body", 2]]
    assert "wrong_survey" in other.json()["detail"]
    assert len(acks.sent) == 1


async def test_what_waits_for_the_broker_is_bounded_until_the_client_library_is_done_with_it(
    api: Api, acks: Acks, packets: list[bytes], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("service.ingest.intake.ACKNOWLEDGED_WITHIN", 0.3)
    intake = api.services.intake
    assert intake is not None
    acks.at_once = False
    async with api.client(api.key("push")) as client:
        waiting = [asyncio.ensure_future(client.post("/v1/alerts/ztf", content=packet, headers=OCTETS)) for packet in packets[:6]]
        found = await asyncio.gather(*waiting)
        assert {answer.status_code for answer in found} == {503}
        assert all(int(answer.headers["retry-after"]) >= 1 for answer in found)
        held = sum(len(value) for _, value, _, _ in acks.sent)
        assert intake.waiting_bytes == held > 0  # their callers gave up, the library has not
        acks.at_once = True
        while (wait := intake.breaker.wait()) > 0:  # noqa: ASYNC110
            await asyncio.sleep(wait)
        intake.breaker.gave_up()
        if held < 200_000:
            assert (await client.post("/v1/alerts/ztf", content=packets[0], headers=OCTETS)).status_code == 202
    for n, (*_, future) in enumerate(acks.sent):
        if not future.done():
            acks.acknowledge(n)
    await asyncio.sleep(0)
    assert intake.waiting_bytes == 0


async def test_a_broker_that_is_away_is_503_before_the_body_is_read(tmp_path: Path) -> None:
    api = Api(tmp_path, push_alerts.ROWS)
    api.services.intake = Intake(Settings(kafka="127.0.0.1:1"), Decoder())

    async def body() -> Any:
        raise AssertionError("the body was read")
        yield b""

    async with api.client(api.key("push")) as client:
        answer = await client.post("/v1/alerts/ztf", content=body(), headers=OCTETS)
    assert (answer.status_code, "retry-after" in answer.headers) == (503, True)


def test_the_breaker_lets_one_probe_pass_at_a_time() -> None:
    now = [0.0]
    breaker = Breaker(lambda: now[0])
    assert breaker.wait() == 0
    breaker.failed()
    breaker.failed()  # one that had begun before
    assert breaker.wait() == 1.0
    now[0] += 1.0
    assert breaker.wait() == 0  # the probe
    assert breaker.wait() > 0
    breaker.failed()
    assert breaker.wait() == 2.0
    now[0] += 2.0
    assert breaker.wait() == 0
    breaker.gave_up()
    assert breaker.wait() == 0
    breaker.succeeded()
    assert breaker.is_closed
    assert [breaker.wait() for _ in range(3)] == [0, 0, 0]
    for _ in range(20):
        breaker.failed()
        now[0] += 100
        breaker.wait()
    assert breaker.wait() <= 15


async def test_ten_thousand_keys_are_remembered_in_bounds_and_for_a_day() -> None:
    now = [0.0]
    held = Remembered(1_000, clock=lambda: now[0])
    for i in range(10_000):
        held.begin(b"%d" % i, b"x")
    assert len(held) == 1_000
    assert held.find(b"9999") is not None
    assert held.find(b"0") is None
    now[0] += 86_401
    assert held.find(b"9999") is None


def test_a_single_packet_is_recognised_without_walking_over_it(packets: list[bytes]) -> None:
    for packet in packets:
        assert packets_in(packet, "application/octet-stream") == [packet]
    assert packets_in(packets[0] + b"x", "application/octet-stream") == [packets[0] + b"x"]
