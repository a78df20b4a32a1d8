"""The live stream over HTTP: events arrive, a client that leaves frees its place, what is asked wrongly is answered at once."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path

import httpx
import pytest

from service.status.serve import bound
from service.timed_httptools import TimedHttpTools, fast_server
from tests.service.api_client import Api
from tests.service.past_night import alert
from tests.service.test_live_stream import Fed, events


@asynccontextmanager
async def serving(api: Api) -> AsyncIterator[str]:
    listener = bound("127.0.0.1", 0)
    server = fast_server(api.app, log_level="critical", loop="none")
    task = asyncio.ensure_future(server.serve(sockets=[listener]))
    while not server.started:  # noqa: ASYNC110 - it has no event for it
        await asyncio.sleep(0.01)
    try:
        yield f"http://127.0.0.1:{listener.getsockname()[1]}"
    finally:
        server.should_exit = server.force_exit = True
        await task
        listener.close()


async def test_a_client_listens_for_longer_than_an_answer_may_take_and_frees_its_place(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(TimedHttpTools, "limits", {"head": 8.0, "body": 5.0, "answer": 0.5})
    live = Fed()
    api = Api(tmp_path, live=live)
    headers = {"Authorization": f"Bearer {api.key('read')}"}
    async with serving(api) as address, httpx.AsyncClient(base_url=address, headers=headers, timeout=10) as client:
        wrong = await client.get("/v1/stream", params={"where": "nvelty > 1"})
        assert (wrong.status_code, "column 1" in wrong.json()["detail"]) == (422, True)
        assert (await client.get("/v1/stream", headers={"Last-Event-ID": "x"})).status_code == 422
        assert (await client.get("/v1/stream", headers={"Authorization": "Bearer none"})).status_code == 401
        async with client.stream("GET", "/v1/stream", params={"where": "class = 'tde'"}) as answer:
            assert answer.headers["content-type"].startswith("text/event-stream")
            assert answer.headers["x-content-type-options"] == "nosniff"
            pieces = answer.aiter_bytes()
            data = await anext(pieces)
            await asyncio.sleep(1.2)  # longer than an answer's time
            live.feed([alert(i) for i in range(9)])
            async with asyncio.timeout(5):
                while len(events(data)) < 4:
                    data += await anext(pieces)
            assert [e[0] for e in events(data)] == ["ready", "detection", "detection", "detection"]
            last = events(data)[2][1]
            assert live.clients == 1
        async with asyncio.timeout(5):
            while live.clients:  # noqa: ASYNC110
                await asyncio.sleep(0.02)
        async with client.stream("GET", "/v1/stream", params={"where": "class = 'tde'"}, headers={"Last-Event-ID": last}) as answer:
            data = b""
            async with asyncio.timeout(5):
                async for piece in answer.aiter_bytes():
                    data += piece
                    if len(events(data)) > 1:
                        break
        assert [e[2]["packet_id"] for e in events(data)[1:]] == [alert(6).packet_id]
