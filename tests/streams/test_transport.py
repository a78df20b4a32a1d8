"""The hand-over of a message: at once where it need not wait, raced against the end of the flow where it does. No broker is needed."""

from __future__ import annotations

import asyncio
from pathlib import Path
from typing import Any

import faust
import pytest

from streams.kafka.transport import PromptTransport


def run(tmp_path: Path, scenario: Any) -> Any:
    """Run a scenario with a consumer that is not started."""

    async def body() -> Any:
        app = faust.App("handover", broker="kafka://127.0.0.1:1", datadir=str(tmp_path), autodiscover=False, web_enabled=False)
        app.transport = PromptTransport(app.conf.broker_consumer, app)
        consumer: Any = app.consumer
        try:
            return await scenario(consumer)
        finally:
            consumer._thread.thread_loop.close()

    return asyncio.run(body())


def hand_over(consumer: Any, coro: Any) -> Any:
    """As `Consumer._drain_messages` does it."""
    return consumer.wait_first(coro, consumer.suspend_flow.wait())


def test_one_that_need_not_wait_is_done_without_a_task(tmp_path: Path) -> None:
    async def scenario(consumer: Any) -> None:
        seen = []

        async def put() -> str:
            seen.append(asyncio.all_tasks())
            return "put"

        got = await hand_over(consumer, put())
        assert got.results == ["put"]
        assert not got.stopped
        assert seen == [{asyncio.current_task()}]

    run(tmp_path, scenario)


def test_one_that_waits_goes_on_where_it_stood(tmp_path: Path) -> None:
    async def scenario(consumer: Any) -> None:
        room, steps = asyncio.Event(), []

        async def put() -> str:
            steps.append("before")
            await room.wait()
            steps.append("between")
            await asyncio.sleep(0)
            await asyncio.sleep(0.001)
            steps.append("after")
            return "put"

        asyncio.get_running_loop().call_later(0.01, room.set)
        got = await hand_over(consumer, put())
        assert got.results == ["put"]
        assert steps == ["before", "between", "after"]

    run(tmp_path, scenario)


def test_a_suspended_flow_ends_one_that_waits(tmp_path: Path) -> None:
    async def scenario(consumer: Any) -> None:
        ends = []

        async def put() -> None:
            try:
                await asyncio.Event().wait()
            except asyncio.CancelledError:
                ends.append("cancelled")
                raise

        asyncio.get_running_loop().call_later(0.01, consumer.suspend_flow.set)
        await asyncio.wait_for(hand_over(consumer, put()), 10)
        await asyncio.sleep(0)
        assert ends == ["cancelled"]

    run(tmp_path, scenario)


def test_a_stopped_consumer_says_so(tmp_path: Path) -> None:
    async def scenario(consumer: Any) -> None:
        async def put() -> str:
            return "put"

        consumer._stopped.set()
        assert (await asyncio.wait_for(hand_over(consumer, put()), 10)).stopped

    run(tmp_path, scenario)


@pytest.mark.parametrize("late", [False, True])
def test_an_error_comes_through(tmp_path: Path, late: bool) -> None:
    async def scenario(consumer: Any) -> None:
        async def put() -> None:
            if late:
                await asyncio.sleep(0.001)
            raise LookupError("no such partition")

        with pytest.raises(LookupError, match="no such partition"):
            await hand_over(consumer, put())

    run(tmp_path, scenario)


def test_a_wait_may_be_caught_and_another_begun(tmp_path: Path) -> None:
    async def scenario(consumer: Any) -> None:
        async def put() -> str:
            failed: asyncio.Future[None] = asyncio.get_running_loop().create_future()
            asyncio.get_running_loop().call_soon(failed.set_exception, OSError("first"))
            try:
                await failed
            except OSError:
                await asyncio.sleep(0.001)
            return "second"

        assert (await hand_over(consumer, put())).results == ["second"]

    run(tmp_path, scenario)
