"""The HTTP API against a real broker: every push that was answered 202 lies on its topic, through the broker's end; keys count at once."""

from __future__ import annotations

import asyncio
import re
import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import httpx

from console.child import Child
from console.kafka_node.node import LocalKafka
from data.simulate.night import night
from schemas.surveys.identity import packet_digest
from service.auth.issuing import issue, revoked
from service.ingest.bodies import PACKETS
from streams.access_tokens import read_tokens, write_tokens
from tests.flow.conftest import Bench

OCTETS = {"Content-Type": "application/octet-stream"}


class Running:
    """An API in a process of its own."""

    def __init__(self, child: Child, address: str, key: str) -> None:
        self.child, self.address, self.key = child, address, key

    def client(self, key: str | None = None) -> httpx.AsyncClient:
        return httpx.AsyncClient(base_url=self.address, headers={"Authorization": f"Bearer {key or self.key}"}, timeout=60)


@contextmanager
def serving(bench: Bench, *options: str) -> Iterator[Running]:
    """`protonova api` on the bench's broker."""
    log = bench.settings.state / "logs" / "api.log"
    environment = {"PYTHONPATH": str(Path(__file__).parents[2]), **bench.settings.environment()}
    child = Child([sys.executable, "-m", "console.cli", "api", "--port", "0", *options], log, environment=environment)
    try:
        deadline = time.monotonic() + 120
        while (found := re.search(r"once: (\S+)[\s\S]*HTTP API: (\S+)", log.read_text())) is None:
            assert child.poll() is None, log.read_text()
            assert time.monotonic() < deadline, log.read_text()
            time.sleep(0.1)
        yield Running(child, found[2], found[1])
        assert child.stop() == 0
    finally:
        child.stop()


async def ready(client: httpx.AsyncClient) -> None:
    deadline = time.monotonic() + 60
    while True:
        try:
            if (await client.get("/readyz")).status_code == 200:
                return
        except httpx.TransportError:
            pass
        assert time.monotonic() < deadline
        await asyncio.sleep(0.1)


async def test_pushes_through_the_brokers_end_and_keys_that_are_revoked(kafka: LocalKafka, bench: Bench) -> None:
    packets = [packet for packet, _ in night(seed=9, n=160, duplicates=0, broken=0)]
    taken: dict[str, tuple[str, int, str]] = {}
    statuses: list[int] = []
    with serving(bench) as api:
        async with api.client() as client:
            await ready(client)

            # What a push says.
            first = await client.post("/v1/alerts/ztf", content=packets[0], headers=OCTETS)
            assert first.status_code == 202, first.text
            again = await client.post("/v1/alerts/ztf", content=packets[0], headers=OCTETS)
            named = [await client.post("/v1/alerts/ztf", content=packets[i], headers={**OCTETS, "Idempotency-Key": "k"}) for i in (1, 1, 2)]
            assert again.json()["data"] == [{**first.json()["data"][0], "repeated": True}]
            assert [answer.status_code for answer in named] == [202, 202, 422]
            assert named[0].json()["data"][0]["offset"] == named[1].json()["data"][0]["offset"]
            wrong = await client.post("/v1/alerts/lsst", content=packets[3], headers=OCTETS)
            body = b"".join(len(p).to_bytes(4, "big") + p for p in (packets[3], packets[4][:999], packets[5]))
            partly = await client.post("/v1/alerts/ztf", content=body, headers={"Content-Type": PACKETS})
            assert (wrong.status_code, partly.status_code) == (422, 422)
            assert partly.json()["errors"][0]["loc"] == ["body", 1]
            statuses += [202, 202]
            for answer, packet in ((first, packets[0]), (named[0], packets[1])):
                row = answer.json()["data"][0]
                taken[packet_digest(packet) or ""] = row["topic"], row["partition"], row["offset"]

            # A key that is made and taken back elsewhere.
            made, record = issue("ada", ["push"], now=time.time())
            await write_tokens(bench.settings, [record])
            async with api.client(made.key) as other:
                deadline = time.monotonic() + 30
                while (status := (await other.post("/v1/alerts/ztf", content=b"x", headers=OCTETS)).status_code) == 401:
                    assert time.monotonic() < deadline
                    await asyncio.sleep(0.25)  # wrong credentials have a limit of their own
                assert status == 422
                await write_tokens(bench.settings, [revoked(record)])
                await write_tokens(bench.settings, [record])  # a late writer does not bring it back
                while (await other.post("/v1/alerts/ztf", content=b"x", headers=OCTETS)).status_code != 401:
                    assert time.monotonic() < deadline
            assert (await read_tokens(bench.settings))[record.token_id].revoked
            issued = await client.post("/v1/tokens", json={"owner": "grace", "scopes": ["read"]})
            assert issued.status_code == 201
            async with api.client(issued.json()["data"]["key"]) as grace:
                assert (await grace.get("/v1/whoami")).json()["data"]["name"] == "grace"
                assert (await client.delete(f"/v1/tokens/{issued.json()['data']['key_id']}")).status_code == 204
                assert (await grace.get("/v1/whoami")).status_code == 401

            # The broker ends and comes back while packets are pushed.
            waiting = list(packets[6:])
            longest = 0.0
            refused = 0

            async def pusher() -> None:
                nonlocal longest, refused
                while waiting:
                    packet = waiting.pop(0)
                    begun = time.monotonic()
                    answer = await client.post("/v1/alerts/ztf", content=packet, headers=OCTETS)
                    longest = max(longest, time.monotonic() - begun)
                    statuses.append(answer.status_code)
                    if answer.status_code == 503:
                        refused += 1
                        assert int(answer.headers["retry-after"]) >= 1
                        waiting.append(packet)
                        await asyncio.sleep(0.3)
                    else:
                        row = answer.json()["data"][0]
                        taken[packet_digest(packet) or ""] = row["topic"], row["partition"], row["offset"]

            pushers = [asyncio.ensure_future(pusher()) for _ in range(4)]
            while len(taken) < 40:  # noqa: ASYNC110 - the pushers go on meanwhile
                await asyncio.sleep(0.02)
            kafka.kill()
            while not refused:  # noqa: ASYNC110
                await asyncio.sleep(0.05)
            scored = await client.post("/v1/score", content=packets[0], headers=OCTETS)
            assert scored.status_code == 200  # what needs no broker goes on
            await asyncio.to_thread(kafka.restart)
            await asyncio.gather(*pushers)
    assert set(statuses) == {202, 503}
    assert longest < 30
    assert len(taken) == 156
    on_topic: dict[str, list[tuple[str, int, str]]] = {}
    for record_ in (await bench.everything("alerts.ztf"))["alerts.ztf"]:
        on_topic.setdefault(packet_digest(record_.value) or "", []).append((record_.topic, record_.partition, str(record_.offset)))
    assert {digest for digest, place in taken.items() if place not in on_topic.get(digest, ())} == set()
    assert set(on_topic) == set(taken)
