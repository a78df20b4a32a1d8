"""What reads the history on a real broker: clients, packets from their topic, and a loss that only the records show."""

from __future__ import annotations

import asyncio
import threading
import time
from collections.abc import Iterator
from pathlib import Path

import httpx
import pytest
import uvicorn

from data.history.sqlite_reader import SqliteReader
from service.api.broker_facts import BrokerFacts
from service.status.history_losses import HistoryLosses
from streams.kafka.packet_reader import PacketReader
from tests.flow.conftest import Bench
from tests.flow.stand_in import packet
from tests.flow.test_history_flow import counted, start_historian
from tests.service.api_client import Api
from tests.service.test_other_clients import read_by_lasair


@pytest.fixture
def service(bench: Bench, tmp_path: Path) -> Iterator[tuple[str, Api]]:
    """The HTTP API on a port, over the history of the test's broker; its keys are in it."""
    reader = SqliteReader(bench.settings.history_path())
    api = Api(tmp_path / "api", history=reader, packets=PacketReader(bench.settings), facts=BrokerFacts(bench.settings))
    server = uvicorn.Server(uvicorn.Config(api.app, port=0, log_level="error", lifespan="off"))
    thread = threading.Thread(target=server.run)
    thread.start()
    while not server.started:
        time.sleep(0.02)
    yield f"http://127.0.0.1:{server.servers[0].sockets[0].getsockname()[1]}", api
    server.should_exit = True
    thread.join()
    reader.close()


async def test_clients_read_it_and_what_a_worker_only_claims_to_have_sent_is_a_loss(bench: Bench, service: tuple[str, Api]) -> None:
    address, api = service
    historian = start_historian(bench)
    try:
        bench.start(PROTONOVA_TEST_SWALLOW="3")
        await bench.ready()
        packets = [packet(10**17 + i, size=300) for i in range(200)]
        await bench.publish(packets)
        await bench.all_committed()
        found = await counted(bench, len(packets))
        assert (found["state"], found["lost"], found["detections"], found["worker"]["detections"]) == ("loss", 3, 197, 200)
        assert HistoryLosses(bench.settings).lost() == {"alerts.ztf": 3}
        await asyncio.to_thread(read_as_clients, address, api.key("read"), packets=packets)
    finally:
        historian.stop()


def read_as_clients(address: str, key: str, *, packets: list[bytes]) -> None:
    """Lasair's own client, and the two calls of SkyPortal's generic broker; a packet as it came."""
    read_by_lasair(address, key, ra=10.0, dec=20.0)
    with httpx.Client(base_url=f"{address}/v1", headers={"Authorization": f"Bearer {key}"}, timeout=30) as http:
        listed = http.get("/alerts", params={"limit": 5}).json()["data"]
        whole = http.get(f"/alerts/{listed[0]['id']}").json()["data"]
        assert whole["record"]["objectId" if "objectId" in whole["record"] else "object_id"] == listed[0]["object_id"]
        assert http.get(f"/alerts/{listed[0]['id']}/packet").content in packets
        night = time.strftime("%Y-%m-%d", time.gmtime())
        counts = http.get("/counts", params={"night": night}).json()["data"]
        assert (counts["state"], counts["topics"][-1]["topic"]) == ("loss", "alerts.ztf")
        assert http.get("/classes").status_code == 200
        assert [m["alias"] for m in http.get("/models").json()["data"]] == ["bundle"]
