"""What the page says of losses and of a broker that is frozen or gone, against a real Kafka and a real worker."""

from __future__ import annotations

import asyncio
import os
import signal
import time
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from typing import Any

import httpx
import pytest
from aiokafka import AIOKafkaConsumer, AIOKafkaProducer, TopicPartition
from prometheus_client.parser import text_string_to_metric_families

from console.kafka_node.node import LocalKafka
from schemas.records.table import subjects
from service.connections import server
from service.status.app import make_app
from service.status.feed import Feed
from service.status.figures import Figures
from service.status.serve import bound
from streams.kafka import topics
from tests.flow.conftest import Bench
from tests.flow.stand_in import packet

WITHIN = 5.0
"""A frozen or killed broker is shown within this [s]."""


@asynccontextmanager
async def page(bench: Bench) -> AsyncIterator[httpx.AsyncClient]:
    """The status service on a port of its own, on this loop, as `protonova status --serve` has it."""
    figures = Figures(time.time, bench.settings.kafka or "")
    app = make_app(figures, subjects(), host="127.0.0.1", feed=Feed(bench.settings, figures).run)
    listener = bound("127.0.0.1", 0)
    running = server(app, log_level="critical")
    serving = asyncio.create_task(running.serve(sockets=[listener]))
    try:
        while not running.started:  # noqa: ASYNC110 - uvicorn has no event for it
            await asyncio.sleep(0.02)
        base = f"http://127.0.0.1:{listener.getsockname()[1]}"
        async with httpx.AsyncClient(base_url=base, timeout=10, trust_env=False) as client:
            yield client
    finally:
        running.should_exit = True
        await serving
        listener.close()


async def balance(client: httpx.AsyncClient, true: Any, within: float = 60.0) -> dict[str, Any]:
    """The balance, once something holds of it."""
    found: dict[str, Any] = {}
    deadline = time.monotonic() + within
    while time.monotonic() < deadline:
        found = (await client.get("/status.json")).json()["balance"]
        if true(found):
            return found
        await asyncio.sleep(0.2)
    raise AssertionError(found)


async def readiness(client: httpx.AsyncClient, wanted: int, within: float) -> float:
    """How long it takes until /readyz answers so [s]."""
    began = time.monotonic()
    while (status := (await client.get("/readyz")).status_code) != wanted:
        assert time.monotonic() - began < within, f"/readyz still answers {status}"
        await asyncio.sleep(0.1)
    return time.monotonic() - began


async def move(bench: Bench, place: TopicPartition, offset: int) -> None:
    """Set the group's offset, as `kafka-consumer-groups --reset-offsets` does for a group without members."""
    tool = AIOKafkaConsumer(**bench.settings.client_options(), group_id=bench.settings.app_id, enable_auto_commit=False)
    await tool.start()
    try:
        tool.assign([place])
        await tool.commit({place: offset})
    finally:
        await tool.stop()


async def test_every_packet_is_accounted_for_through_kills_and_transactions(bench: Bench) -> None:
    worker = bench.start(seconds_a_packet=0.002)
    await bench.ready()
    async with page(bench) as client:
        await bench.publish([packet(i) for i in range(300)] + [b"bad"] * 20 + [packet(i) for i in range(30)])
        await bench.read(50, topics.DETECTIONS)
        worker.kill()
        bench.start(seconds_a_packet=0.001)
        producer = AIOKafkaProducer(**bench.settings.client_options(), transactional_id="balance")
        await producer.start()
        try:
            for first, good in ((1000, True), (1100, False), (1200, True)):
                await producer.begin_transaction()
                for i in range(first, first + 40):
                    await producer.send("alerts.ztf", packet(i), partition=i % 3)
                await (producer.commit_transaction() if good else producer.abort_transaction())
        finally:
            await producer.stop()
        s = await balance(client, lambda b: b["detections"] + b["duplicates"] + b["rejected"] >= 430 and not b["in_hand"])
        assert (s["state"], s["in"], s["rejected"], s["unaccounted"]) == ("balanced", 430, 20, 0), s
        assert s["detections"] + s["duplicates"] == 410
        assert (s["aborted"], s["marks"]) == (40, 9)
        row = next(r for r in s["topics"] if r["topic"] == "alerts.ztf")
        assert (row["in"], row["state"]) == (430, "balanced")
        assert await bench.committed() == (479, 479), "marks and aborted records are committed too: no tool shows them as lag"


@pytest.mark.slow
async def test_a_group_that_is_moved_past_packets_is_a_loss(bench: Bench) -> None:
    place = TopicPartition("alerts.ztf", 1)
    worker = bench.start()
    await bench.ready()
    await bench.publish([packet(i) for i in range(10)], partition=1)
    async with page(bench) as client:
        s = await balance(client, lambda b: b["detections"] == 10 and not b["in_hand"])
        assert s["state"] == "balanced"
        worker.stop()
        await bench.publish([packet(i) for i in range(10, 50)], partition=1)
        await balance(client, lambda b: b["in_hand"] == 40)
        await move(bench, place, 45)
        lost = await balance(client, lambda b: b["state"] == "loss")
        assert (lost["unaccounted"], lost["in_hand"], lost["in"]) == (35, 5, 50)
        bench.start()
        lost = await balance(client, lambda b: b["detections"] == 15)
        assert (lost["state"], lost["unaccounted"], lost["in"]) == ("loss", 35, 50)
        assert [(x["first"], x["next"]) for x in lost["losses"]] == [(10, 45)]
        html = (await client.get("/")).text
        assert "35 packets of alerts.ztf passed without an outcome (partition 1: offsets 10 to 44)" in html
        families = {f.name: f for f in text_string_to_metric_families((await client.get("/metrics")).text)}
        states = {(s.labels["topic"], s.labels["state"]): s.value for s in families["protonova_balance"].samples}
        assert states["alerts.ztf", "loss"] == 1
        assert states["alerts.lsst", "balanced"] == 1
        bench.workers[0].stop()
        await move(bench, place, 0)  # what was lost is read again
        bench.start()
        found = await balance(client, lambda b: b["detections"] + b["duplicates"] == 50 and not b["in_hand"])
        assert (found["state"], found["losses"]) == ("balanced", [])


@pytest.mark.slow
async def test_a_worker_that_forgets_packets_is_seen_also_by_a_page_that_comes_later(bench: Bench) -> None:
    """The stand-in's worker acknowledges some packets without counting them: what a fault of ours would look like."""
    bench.start(PROTONOVA_TEST_FORGET="7")
    await bench.ready()
    await bench.publish([packet(i) for i in range(100)], partition=0)
    await bench.all_committed()
    bench.workers[0].stop()
    async with page(bench) as client:
        s = await balance(client, lambda b: b["topics"] != [])
        assert (s["state"], s["unaccounted"], s["detections"], s["in"]) == ("loss", 7, 93, 100)


@pytest.mark.slow
async def test_a_frozen_and_a_killed_broker_are_shown_and_so_is_their_return(bench: Bench, kafka: LocalKafka) -> None:
    bench.start()
    await bench.ready()
    await bench.publish([packet(i) for i in range(20)])
    async with page(bench) as client:
        await balance(client, lambda b: b["state"] == "balanced" and b["detections"] == 20)
        await readiness(client, 200, 10)
        assert kafka.pid is not None
        os.kill(kafka.pid, signal.SIGSTOP)
        try:
            took = await readiness(client, 503, WITHIN)
            s = (await client.get("/status.json")).json()
            html = (await client.get("/")).text
            print(f"frozen: shown after {took:.1f} s")
            assert (s["state"], s["broker_state"], s["balance"]["state"]) == ("down", "frozen", "unknown")
            assert "takes connections and does not answer" in html
            await asyncio.sleep(6)
            assert (await client.get("/readyz")).status_code == 503, "and it stays so"
        finally:
            os.kill(kafka.pid, signal.SIGCONT)
        print(f"thawed: shown after {await readiness(client, 200, 30):.1f} s")
        await asyncio.to_thread(kafka.kill)
        try:
            took = await readiness(client, 503, WITHIN)
            s = (await client.get("/status.json")).json()
            print(f"killed: shown after {took:.1f} s")
            assert (s["state"], s["broker_state"]) == ("down", "gone")
            assert "nothing listens at" in (await client.get("/")).text
        finally:
            await asyncio.to_thread(kafka.restart)
        print(f"back: shown after {await readiness(client, 200, 60):.1f} s")
        s = await balance(client, lambda b: b["state"] == "balanced")
        assert s["detections"] == 20


@pytest.mark.slow
@pytest.mark.parametrize("limits", [{"PROTONOVA_REJECT_CONSECUTIVE": "20"}])
async def test_a_halt_reaches_the_header(bench: Bench, limits: dict[str, str]) -> None:
    async with page(bench) as client:
        worker = bench.start(**limits)
        await bench.ready()
        await bench.publish([b"bad"] * 60, partition=0)
        await balance(client, lambda b: worker.poll() is not None)
        for _ in range(50):
            alarms = (await client.get("/status.json")).json()["active_alarms"]
            if alarms:
                break
            await asyncio.sleep(0.2)
        (alarm,) = alarms
        assert "halted: 20 packets in a row were rejected (unknown_survey)" in alarm["what"]
        assert alarm["command"] == "protonova rejects ls"
        assert "halted" in (await client.get("/")).text
    async with page(bench) as later:  # a page that starts afterwards knows of it
        for _ in range(50):
            if (await later.get("/status.json")).json()["active_alarms"]:
                break
            await asyncio.sleep(0.2)
        assert (await later.get("/status.json")).json()["active_alarms"]
        bench.start(PROTONOVA_REJECT_CONSECUTIVE="0")
        await bench.all_committed()
        for _ in range(100):
            if not (alarms := (await later.get("/status.json")).json()["active_alarms"]):
                break
            await asyncio.sleep(0.2)
        assert alarms == [], "the flow goes on"
