"""Increments on a real broker where something fails: the disk after a transaction, room, a second joiner, the topic itself."""

from __future__ import annotations

import asyncio
import sqlite3
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from typing import Any

import pytest
from aiokafka.errors import ProducerFenced

from data.joining.curve_store import CurveStore
from schemas.surveys import tess
from settings.model import Settings
from streams.agents import increments
from streams.agents.increments import Joiner
from streams.agents.reject_limits import RejectLimitError
from streams.kafka import exactly_once, topics
from tests.data.curve_parts import encode, part, record
from tests.flow.conftest import Bench
from tests.flow.test_increments_flow import committed_records

STARS = [record(tic, n=300, ra=10.0 + tic) for tic in range(1, 5)]
PARTS = [encode(part(star, at, at + 50)) for at in range(0, 300, 50) for star in STARS]
WHOLE = {tess.encode(star) for star in STARS}

ERRORS = (sqlite3.OperationalError("disk I/O error"), sqlite3.DatabaseError("malformed"), OSError("no space left"))
"""Of a disk, of a file, of the system."""


@pytest.fixture(autouse=True)
def impatient(monkeypatch: pytest.MonkeyPatch) -> None:
    for name in ("FIRST_PAUSE", "LONGEST_PAUSE", "FENCED_PAUSE"):
        monkeypatch.setattr(exactly_once, name, 0.3)
    monkeypatch.setattr(increments, "LOOK_EVERY", 0.3)


@asynccontextmanager
async def joining(settings: Settings) -> AsyncIterator[Joiner]:
    """A joiner in this process."""
    joiner = Joiner(settings)
    task = asyncio.create_task(joiner.run())
    try:
        yield joiner
        assert not task.done(), task
    finally:
        task.cancel()
        await asyncio.wait([task])


async def sent(settings: Settings, enough: Callable[[list[bytes]], bool], within: float = 180.0) -> list[bytes]:
    """What is committed on `alerts.tess`, once it is enough; with what would be too much."""
    deadline = asyncio.get_running_loop().time() + within
    while True:
        found = [m.value for m in await committed_records(settings, "alerts.tess")]
        if enough(found):
            await asyncio.sleep(1.0)
            return [m.value for m in await committed_records(settings, "alerts.tess")]
        assert asyncio.get_running_loop().time() < deadline, f"{len(found)} packets"
        await asyncio.sleep(0.1)


def all_whole(found: list[bytes]) -> bool:
    return set(found) >= WHOLE


async def test_a_disk_that_fails_after_the_transaction_costs_reading_again(bench: Bench, monkeypatch: pytest.MonkeyPatch) -> None:
    real, failed = CurveStore.commit, []

    def commit(self: CurveStore, *args: Any, **options: Any) -> None:
        if len(failed) < 3:
            failed.append(None)
            raise ERRORS[len(failed) - 1]
        real(self, *args, **options)

    monkeypatch.setattr(CurveStore, "commit", commit)
    async with joining(bench.settings) as joiner:
        for k in range(4):  # each with a failure behind its first transaction
            await bench.publish(PARTS[k::4], topics.INCREMENTS)
            await sent(bench.settings, lambda found, wanted=k: len(found) > wanted)  # type: ignore[misc]
        found = await sent(bench.settings, all_whole)
        assert len(failed) == 3
        assert joiner.counts == {"joined": len(PARTS)}
    assert len(found) == len(set(found)) == len(PARTS)


async def test_without_room_increments_wait_on_the_topic(bench: Bench) -> None:
    await bench.publish(PARTS[:4], topics.INCREMENTS)
    async with joining(bench.settings.model_copy(update={"increments_store_gb": 1e-6})):  # an empty file is larger
        await bench.publish(PARTS[4:], topics.INCREMENTS)
        await asyncio.sleep(3)
        assert await committed_records(bench.settings, "alerts.tess") == []
    async with joining(bench.settings):
        assert len(await sent(bench.settings, all_whole)) == len(PARTS)


def without_fenced(loop: asyncio.AbstractEventLoop, context: dict[str, Any]) -> None:
    """asyncio's own handler, which says nothing of a fenced producer."""
    if not isinstance(context.get("exception"), ProducerFenced):
        loop.default_exception_handler(context)


async def test_a_second_joiner_takes_over_and_nothing_comes_twice(bench: Bench) -> None:
    # aiokafka never asks for some futures of a fenced producer. What asyncio says of them, whenever they are collected, has a traceback,
    # whose text takes ast.parse; in CPython 3.11 that breaks an ast.parse which the collection interrupted, and pytest's own is one.
    asyncio.get_running_loop().set_exception_handler(without_fenced)
    other = bench.settings.model_copy(update={"state": bench.settings.state / "other"})
    async with joining(bench.settings):
        await bench.publish(PARTS[:8], topics.INCREMENTS)
        await sent(bench.settings, lambda found: len(found) >= 8)
        async with joining(other):
            for k in range(8, len(PARTS), 4):
                await bench.publish(PARTS[k : k + 4], topics.INCREMENTS)
                await asyncio.sleep(0.7)  # they fence each other meanwhile
            found = await sent(bench.settings, all_whole)
    assert len(found) == len(set(found)) == len(PARTS)


async def test_a_topic_that_was_made_anew_is_another_one(bench: Bench) -> None:
    async with joining(bench.settings):
        await bench.publish(PARTS, topics.INCREMENTS)
        await sent(bench.settings, all_whole)
        async with topics.admin_client(bench.settings) as admin:
            await admin.delete_topics([topics.INCREMENTS])
            while topics.INCREMENTS in await admin.list_topics():  # noqa: ASYNC110 - the broker has no event for it
                await asyncio.sleep(0.05)
        await topics.declare(bench.settings, [])
        await bench.publish(PARTS, topics.INCREMENTS)
        found = await sent(bench.settings, lambda found: all(found.count(whole) > 1 for whole in WHOLE))
    assert len(found) == 2 * len(PARTS)


async def test_increments_that_come_together_give_one_packet_where_they_may_wait(bench: Bench) -> None:
    await bench.publish(PARTS, topics.INCREMENTS)
    async with joining(bench.settings.model_copy(update={"increments_wait_s": 1.0})) as joiner:
        found = await sent(bench.settings, all_whole)
        assert joiner.counts == {"joined": len(PARTS)}
    assert set(found) == WHOLE
    assert len(found) == len(STARS)


async def test_a_flood_of_rejects_halts_and_goes_on_where_it_stopped(bench: Bench) -> None:
    settings = bench.settings.model_copy(update={"reject_consecutive": 10})
    await bench.publish([b"bad"] * 12, topics.INCREMENTS, partition=0)
    with pytest.raises(RejectLimitError, match="10 packets in a row"):
        await asyncio.wait_for(Joiner(settings).run(), 60)
    assert await committed_records(settings, topics.REJECTED) == []
    async with joining(bench.settings) as joiner:
        await bench.publish(PARTS, topics.INCREMENTS)
        await sent(bench.settings, all_whole)
        assert joiner.counts == {"joined": len(PARTS), "rejected": 12}
    assert len(await committed_records(settings, topics.REJECTED)) == 12
