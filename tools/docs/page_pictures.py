"""A real flow in six states → pictures of the status page on a phone and on a desk: ``python -m tools.docs.page_pictures --out F``.

Apache Kafka, a worker, drift and the page are started as `protonova run` starts them; the worker is one of our own, so that it can be
stopped. Ends with 1 where a state is not shown, a page is wider than its window, or a refresh moves what was scrolled.
"""

from __future__ import annotations

import argparse
import asyncio
import os
import signal
import struct
import sys
import tempfile
import threading
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import crc32c
import httpx
from aiokafka import AIOKafkaConsumer, AIOKafkaProducer, TopicPartition

from console.child import Child
from console.commands.run import Supervisor
from data.simulate.night import night
from settings.model import Settings
from streams.kafka.batches import COVERED_AT, CRC_AT
from tools.docs.browser import Browser

WIDTHS = (390, 1440)
TOPIC = "alerts.ztf"
DOCUMENTED = {"flowing": 1440, "loss": 390}
"""Those whose upper part docs/status.md shows: copied to docs/figures by hand, once they were looked at."""
TOP = 820
"""[px]"""
RATE = 40.0
"""Packets a second while it flows."""


class Stage:
    """A running flow, and what is done to it."""

    def __init__(self, folder: Path) -> None:
        self.supervisor = Supervisor(Settings(state=folder / "state", status_port=0, workers=0), fresh=True)
        self.supervisor.start()
        self.worker: Child | None = None
        try:
            self._start(folder)
        except BaseException:
            self.stop()
            raise

    def _start(self, folder: Path) -> None:
        self.settings = self.supervisor.settings
        self.page = self._wait(lambda: self.supervisor.status_page, "the status page").rstrip("/")
        self.log = folder / "worker.log"
        self.start_worker()
        self.until(lambda s: s["workers_alive"] == 1, "a worker")

    def start_worker(self) -> None:
        """Start the worker."""
        environment = {"OMP_NUM_THREADS": "1", "PYTHONUNBUFFERED": "1", **self.settings.environment()}
        self.worker = Child([sys.executable, "-m", "streams.worker", "--slot", "0"], self.log, environment=environment)

    def stop(self) -> None:
        """End everything."""
        if self.worker is not None:
            self.worker.stop()
        self.supervisor.stop()

    def _wait(self, found: Callable[[], Any], what: str, *, within: float = 120.0) -> Any:
        deadline = time.monotonic() + within
        while not (value := found()):
            if time.monotonic() > deadline:
                raise TimeoutError(f"{what} did not come within {within:.0f} s")
            time.sleep(0.1)
        return value

    def until(self, true: Callable[[dict[str, Any]], bool], what: str, *, within: float = 120.0) -> float:
        """Wait for a state of the page; how long it took [s]."""

        def holds() -> bool:
            try:
                return true(httpx.get(f"{self.page}/status.json", timeout=5, trust_env=False).json())
            except httpx.TransportError:
                return False

        began = time.monotonic()
        self._wait(holds, what, within=within)
        return time.monotonic() - began

    def publish(self, packets: list[bytes], rate: float) -> None:
        """Publish packets at a pace [1/s]."""

        async def send() -> None:
            producer = AIOKafkaProducer(**self.settings.client_options(), max_request_size=9_500_000)
            await producer.start()
            try:
                began = asyncio.get_running_loop().time()
                for i, value in enumerate(packets):
                    await producer.send(TOPIC, value)
                    await asyncio.sleep(max(0.0, began + (i + 1) / rate - asyncio.get_running_loop().time()))
            finally:
                await producer.stop()

        asyncio.run(send())

    def publish_unreadable(self, value: bytes) -> None:
        """Publish a record whose header's name is not UTF-8, as a broken producer does."""

        async def send() -> None:
            producer = AIOKafkaProducer(**self.settings.client_options(), max_request_size=9_500_000)
            await producer.start()
            try:
                batch = producer.create_batch()
                batch.append(key=None, value=value, timestamp=None, headers=[("hhhh", b"a value")])
                data = bytearray(batch._build())
                at = data.index(b"hhhh")
                data[at : at + 4] = b"\xff\xfe\xc3\x28"
                struct.pack_into(">I", data, CRC_AT, crc32c.crc32c(bytes(data[COVERED_AT:])))
                batch._buffer = data
                await (await producer.send_batch(batch, TOPIC, partition=0))
            finally:
                await producer.stop()

        asyncio.run(send())

    def move_group(self) -> None:
        """Set the group behind the packets that wait, as an administrator's tool does."""

        async def move() -> None:
            tool = AIOKafkaConsumer(**self.settings.client_options(), group_id=self.settings.app_id, enable_auto_commit=False)
            await tool.start()
            try:
                places = [TopicPartition(TOPIC, number) for number in range(self.settings.partitions)]
                tool.assign(places)
                await tool.commit(await tool.end_offsets(places))
            finally:
                await tool.stop()

        asyncio.run(move())

    def kafka_pid(self) -> int:
        """The broker's process."""
        node = self.supervisor._kafka
        assert node is not None
        assert node.pid is not None
        return node.pid


def shots(browser: Browser, stage: Stage, *, out: Path, name: str) -> list[str]:
    """Pictures of the page as it is now; what is wrong with them."""
    wrong = []
    for width in WIDTHS:
        browser.open(stage.page + "/", width)
        time.sleep(1.5)
        wide = browser.run("document.documentElement.scrollWidth")
        if wide > width:
            wrong.append(f"{name}: the page is {wide} px wide in {width}")
        browser.picture(out / f"{name}-{width}.png")
        if DOCUMENTED.get(name) == width:
            browser.picture(out / f"status-{name}.png", height=TOP)
        moved = browser.run(SCROLLED)
        if moved:
            wrong.append(f"{name}: a refresh moved {moved} in {width}")
    browser.open(stage.page + "/", WIDTHS[-1], dark=True)
    time.sleep(0.5)
    browser.picture(out / f"{name}-{WIDTHS[-1]}-dark.png")
    return wrong


SCROLLED = """(async () => {
  const areas = [...document.querySelectorAll(".scroll")].filter((e) => e.scrollWidth > e.clientWidth + 1);
  areas.forEach((e) => { e.scrollLeft = 60; });
  const before = areas.map((e) => e.scrollLeft);
  if (areas.length) areas[0].focus();
  await new Promise((done) => setTimeout(done, 2500));
  const moved = areas.filter((e, i) => !e.isConnected || e.scrollLeft !== before[i] || before[i] === 0);
  if (areas.length && document.activeElement !== areas[0]) moved.push(areas[0]);
  return moved.map((e) => e.getAttribute("aria-label")).join(", ");
})()"""
"""Scroll what can be scrolled and focus the first, let two refreshes pass, and name what did not stay."""


def pictures(out: Path) -> list[str]:
    """Bring a flow into each state and take its pictures; what is wrong."""
    out.mkdir(parents=True, exist_ok=True)
    wrong: list[str] = []
    with tempfile.TemporaryDirectory(prefix="page-", ignore_cleanup_errors=True) as folder, Browser() as browser:
        stage = Stage(Path(folder))
        try:
            packets = [packet for packet, _ in night(11, 2400, duplicates=40, broken=25)]
            feeding = threading.Thread(target=stage.publish, args=(packets[:2000], RATE))
            feeding.start()
            stage.until(lambda s: s["totals"]["in"] > 800, "the flow")
            wrong += shots(browser, stage, out=out, name="flowing")
            feeding.join()
            stage.until(lambda s: s["state"] == "quiet" and s["balance"]["state"] == "balanced", "the quiet")
            wrong += shots(browser, stage, out=out, name="idle")
            stage.publish_unreadable(packets[0])
            stage.until(lambda s: bool(s["active_alarms"]), "the alarm")
            wrong += shots(browser, stage, out=out, name="alarm")
            os.kill(stage.kafka_pid(), signal.SIGSTOP)
            try:
                took = stage.until(lambda s: s["broker_state"] == "frozen", "the frozen broker", within=5)
                print(f"a frozen broker is shown after {took:.1f} s")
                wrong += shots(browser, stage, out=out, name="frozen")
            finally:
                os.kill(stage.kafka_pid(), signal.SIGCONT)
            stage.until(lambda s: s["state"] != "down", "the broker")
            assert stage.worker is not None
            stage.worker.stop()
            stage.publish(packets[2000:2040], 1000)
            stage.until(lambda s: s["balance"]["in_hand"] == 40, "what waits")
            stage.move_group()
            stage.until(lambda s: s["balance"]["state"] == "loss", "the loss", within=10)
            stage.start_worker()
            stage.until(lambda s: s["workers_alive"] == 1, "the worker")
            wrong += shots(browser, stage, out=out, name="loss")
            stage.supervisor._ending.set()  # else it starts the broker again at once
            if stage.supervisor._thread is not None:
                stage.supervisor._thread.join()
            os.kill(stage.kafka_pid(), signal.SIGKILL)
            took = stage.until(lambda s: s["broker_state"] == "gone", "the broker's end", within=5)
            print(f"a killed broker is shown after {took:.1f} s")
            wrong += shots(browser, stage, out=out, name="gone")
        finally:
            stage.stop()
    return wrong


def main() -> int:
    """The entry point."""
    parser = argparse.ArgumentParser(prog="python -m tools.docs.page_pictures", description=__doc__.splitlines()[0] if __doc__ else None)
    parser.add_argument("--out", type=Path, required=True, help="folder for the pictures")
    wrong = pictures(parser.parse_args().out)
    for line in wrong:
        print(line)
    return 1 if wrong else 0


if __name__ == "__main__":
    sys.exit(main())
