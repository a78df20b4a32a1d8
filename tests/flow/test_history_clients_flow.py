"""A night as clients of other brokers read it from a running service, and a loss that only the records show, in the API and on the page."""

from __future__ import annotations

import asyncio
import re
import sys
import time
from pathlib import Path

import httpx
import pytest

from console.child import Child
from tests.flow.conftest import Bench, until
from tests.flow.stand_in import packet
from tests.flow.test_api_flow import Running, ready, serving
from tests.flow.test_history_flow import counted, start_historian
from tests.service.test_other_clients import read_by_alerce, read_by_lasair

LOST, SENT = 3, 200


def start_page(bench: Bench) -> Child:
    """The status page in a process of its own."""
    environment = {"PYTHONPATH": str(Path(__file__).parents[2]), **bench.settings.environment()}
    command = [sys.executable, "-m", "console.cli", "status", "--serve", "--port", "0"]
    return Child(command, bench.settings.state / "logs" / "page.log", environment=environment)


async def page_of(child: Child) -> str:
    """Its address."""
    await until(lambda: "status page: " in child.log.read_text(), 120, lambda: child.log.read_text())
    found = re.search(r"status page: (\S+)", child.log.read_text())
    assert found is not None
    return found[1]


@pytest.mark.nightly
async def test_clients_read_it_and_what_a_worker_only_claims_to_have_sent_is_a_loss(
    bench: Bench, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("ALERCE_CONFIG_PATH", str(tmp_path / "alerce.json"))
    historian, page = start_historian(bench), start_page(bench)
    try:
        swallow = tmp_path / "swallow"
        bench.start(PROTONOVA_TEST_SWALLOW=str(swallow))
        with serving(bench) as api:
            await bench.ready()
            packets = [packet(10**17 + i, size=300) for i in range(SENT)]
            await bench.publish(packets[: SENT // 2])  # of what was committed before the history's first look it could not tell a loss
            await bench.all_committed()
            assert (await counted(bench, SENT // 2))["state"] == "balanced"
            swallow.write_text(str(LOST))
            await bench.publish(packets[SENT // 2 :])
            await bench.all_committed()
            found = await counted(bench, SENT)
            assert (found["state"], found["lost"], found["detections"], found["worker"]["detections"]) == ("loss", LOST, SENT - LOST, SENT)
            async with api.client() as client:
                await ready(client)
            await asyncio.to_thread(read_as_skyportal, api, packets=packets)
            await asyncio.to_thread(read_by_lasair, api.address, api.key, ra=10.0, dec=20.0)
            objects = await asyncio.to_thread(read_by_alerce, api.address, api.key, configuration=tmp_path / "alerce.json")
            assert sum(objects.values()) == SENT - LOST
            await shown_as_lost(await page_of(page))
    finally:
        page.stop()
        historian.stop()


async def shown_as_lost(address: str, within: float = 60.0) -> None:
    """Wait until the page, its JSON and its metrics say it."""
    deadline = time.monotonic() + within
    async with httpx.AsyncClient(base_url=address, timeout=30) as client:
        while (status := (await client.get("/status.json")).json())["state"] != "loss":
            assert time.monotonic() < deadline, status["state_text"]
            await asyncio.sleep(0.5)
        assert status["balance"]["history_lost"] == LOST
        assert f"loss: {LOST} packets unaccounted for" in status["state_text"]
        shown = (await client.get("/")).text
    assert f"<strong>{LOST} lost by the history" in shown


def read_as_skyportal(api: Running, *, packets: list[bytes]) -> None:
    """The two calls of SkyPortal's generic broker, a packet as it came, an object with its light curve, a cone, and the night's counts."""
    with httpx.Client(base_url=f"{api.address}/v1", headers={"Authorization": f"Bearer {api.key}"}, timeout=30) as http:
        listed = http.get("/alerts", params={"limit": 5}).json()["data"]
        whole = http.get(f"/alerts/{listed[0]['id']}").json()["data"]
        assert whole["record"]["object_id"] == listed[0]["object_id"]
        assert http.get(f"/alerts/{listed[0]['id']}/packet").content in packets
        name = listed[0]["object_id"]
        curve = http.get(f"/objects/{name}/lightcurve").json()["data"]
        assert len(curve) == http.get(f"/objects/{name}").json()["data"]["n"]
        assert name in {
            row["object_id"] for row in http.get("/cone", params={"ra": 10.0, "dec": 20.0, "radius": 5, "limit": 100}).json()["data"]
        }
        counts = http.get("/counts", params={"night": time.strftime("%Y-%m-%d", time.gmtime())}).json()["data"]
        [row] = [row for row in counts["topics"] if row["topic"] == "alerts.ztf"]
        assert (counts["state"], row["lost"]) == ("loss", LOST)
