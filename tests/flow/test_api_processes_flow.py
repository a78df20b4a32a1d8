"""Two processes of the HTTP API on one port: what one has answered, taken back or counted holds at the other."""

from __future__ import annotations

import asyncio
import os
import signal
import time
from contextlib import AsyncExitStack

import httpx
import psutil
import pytest

from data.simulate.night import night
from tests.flow.conftest import Bench
from tests.flow.test_api_flow import OCTETS, Running, serving


def processes(api: Running) -> list[psutil.Process]:
    """Those that serve."""
    return [child for child in psutil.Process(api.child.pid).children() if "--shared" in child.cmdline()]


async def each(api: Running, stack: AsyncExitStack, within: float = 120.0) -> dict[int, httpx.AsyncClient]:
    """A client of each process, by its id: the connection stays, and with it the process."""
    found: dict[int, httpx.AsyncClient] = {}
    deadline = time.monotonic() + within
    while len(found) < 2:
        assert time.monotonic() < deadline, api.child.log.read_text()
        client = await stack.enter_async_context(api.client())
        try:
            answer = await client.get("/readyz")
            port = answer.extensions["network_stream"].get_extra_info("client_addr")[1]
            [served] = [p.pid for p in processes(api) if any(c.raddr and c.raddr.port == port for c in p.net_connections("tcp"))]
        except (httpx.TransportError, ValueError, psutil.Error):
            await asyncio.sleep(0.1)
            continue
        if answer.status_code == 200:
            found.setdefault(served, client)
        else:
            await asyncio.sleep(0.1)
    return found


async def refused(client: httpx.AsyncClient, key: str, within: float = 10.0) -> float:
    """Ask until a key is refused; how long that took [s]."""
    begun = time.monotonic()
    while (await client.get("/v1/whoami", headers={"Authorization": f"Bearer {key}"})).status_code != 401:
        assert time.monotonic() < begun + within
    return time.monotonic() - begun


@pytest.mark.nightly
async def test_two_processes_on_one_port(bench: Bench) -> None:
    packets = [packet for packet, _ in night(seed=12, n=6, duplicates=0, broken=0)]
    with serving(bench, "--processes", "2") as api:
        async with AsyncExitStack() as stack:
            clients = await each(api, stack)
            (one, first), (_, second) = clients.items()

            # A repeat gets the first answer.
            named = {**OCTETS, "Idempotency-Key": "night"}
            pushed = await first.post("/v1/alerts/ztf", content=packets[0], headers=named)
            again = await second.post("/v1/alerts/ztf", content=packets[0], headers=named)
            other = await second.post("/v1/alerts/ztf", content=packets[1], headers=named)
            assert (pushed.status_code, again.status_code, other.status_code) == (202, 202, 422), pushed.text
            assert again.json()["data"] == [{**row, "repeated": True} for row in pushed.json()["data"]]
            assert not pushed.json()["data"][0]["repeated"]

            # Both score, the same to the bit.
            scored = [await client.post("/v1/score", content=packets[2], headers=OCTETS) for client in (first, second)]
            assert [answer.status_code for answer in scored] == [200, 200]
            assert scored[0].content == scored[1].content

            # A key that is taken back is gone on both.
            issued = (await first.post("/v1/tokens", json={"owner": "ada", "scopes": ["push"]})).json()["data"]
            for client in (first, second):
                deadline = time.monotonic() + 10
                while (await client.get("/v1/whoami", headers={"Authorization": f"Bearer {issued['key']}"})).status_code != 200:
                    assert time.monotonic() < deadline
                    await asyncio.sleep(0.25)
            assert (await second.delete(f"/v1/tokens/{issued['key_id']}")).status_code == 204
            gone = await asyncio.gather(*(refused(client, issued["key"]) for client in (first, second)))
            assert max(gone) < 2.0

            # Either counts for both.
            counted = (await first.get("/metrics")).text
            assert 'protonova_api_requests_total{method="POST",operation="push_alerts",status="202"} 2.0' in counted
            assert 'protonova_api_requests_total{method="POST",operation="score_packets",status="200"} 2.0' in counted

            # One that is killed is started again, and knows what was answered.
            os.kill(one, signal.SIGKILL)
            assert (await second.post("/v1/alerts/ztf", content=packets[3], headers=OCTETS)).status_code == 202
            renewed = await each(api, stack)
            assert one not in renewed
            for client in renewed.values():
                assert (await client.post("/v1/alerts/ztf", content=packets[0], headers=named)).json()["data"] == again.json()["data"]
    records = (await bench.everything("alerts.ztf"))["alerts.ztf"]
    assert sorted(record.value for record in records) == sorted([packets[0], packets[3]])
