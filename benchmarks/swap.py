"""Another model swapped in under a steady stream: `python -m benchmarks.swap [--rate N] [--report FILE]`.

packets at a steady rate through a worker → p99 of the latency over each swap, beside that of the quiet seconds of the same run

Three swaps: a bundle with another model file (a session is made, checked and warmed), one with another head alone, and a rollback (the
model before is in memory). A swap lasts from its announcement to half a second after the first detection that names the new model.
Latency is the output's append time minus the input's: one clock, the broker's. Only the ratios mean something on a shared machine.
"""

from __future__ import annotations

import argparse
import asyncio
import json
import statistics
import sys
import tempfile
import time
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import httpx
import numpy as np
import onnx

from benchmarks.bench_service import PARTITIONS, BenchError, Plan, Service
from benchmarks.broker import Bench
from benchmarks.packets import take
from console.kafka_node.node import LocalKafka
from console.report import percentile
from registry.bundle import Parts, load, save
from schemas.records.codec import decode_detection
from schemas.records.model_announced import CHAMPION, ModelAnnounced
from settings.model import Settings
from streams.kafka.topics import DETECTIONS, PRIVATE
from streams.models import announced, promote, rollback, submit

QUIET_S, APART_S, AFTER_S = 20.0, 8.0, 0.5
"""Before the first swap, between two, and behind the first detection of the new model [s]."""
ALLOWED = 1.5
"""p99 over a swap, in quiet ones."""


def bundles(folder: Path) -> tuple[Path, Path]:
    """A bundle with another model file that computes the same, and one with another head alone."""
    was = load()
    kept = was.manifest.model_dump(exclude={"format", "files"})
    model = onnx.load_from_string(was.encoder)
    model.producer_name = "another"
    head = replace(was.head, thresholds=np.clip(was.head.thresholds + np.float32(0.001), 0, 1).astype(np.float32))
    parts = Parts(kept, model.SerializeToString(), was.head, was.reference, was.golden)
    first = save(folder / "encoder", parts)
    return first.path, save(folder / "head", replace(parts, head=head)).path


class SwapBench(Bench):
    """A worker under a steady stream, and three swaps."""

    async def swaps(self, settings: Settings, folders: Sequence[Path]) -> dict[str, Any]:
        """Run it."""
        await self._declare(self._environment("swap"))
        made = [(await submit(settings, folder, author="bench")).sha256 for folder in folders]
        service = self._worker("swap")
        appended: dict[int, int] = {}
        steps: list[tuple[str, ModelAnnounced]] = []
        try:
            await self._ready(service)
            begin = await self._ends(service.sinks)
            sending = asyncio.create_task(self._send(service.source, appended))
            await asyncio.sleep(self.plan.warm_s + QUIET_S)
            for name, sha256 in zip(("another model file", "another head"), made, strict=True):
                champion = (await announced(settings)).get(CHAMPION)
                based_on = champion.revision if champion is not None else 0
                steps.append((name, await promote(settings, sha256=sha256, based_on=based_on, author="bench")))
                await self._followed(service, steps[-1][1].model)
                await asyncio.sleep(APART_S)
            steps.append(("a rollback", await rollback(settings, author="bench")))
            await self._followed(service, steps[-1][1].model)
            await asyncio.sleep(APART_S)
            sending.cancel()
            await asyncio.wait([sending])
            seen = await self._seen(service, begin, wanted=len(appended))
            memory = service.memory()
        finally:
            service.child.stop()
        return self._figures(steps, seen=seen, appended=appended, first=min(appended.values()) + 1000 * self.plan.warm_s) | {
            "rate": self.plan.rate, "packets": len(seen), "memory_mib": memory[0], "memory_peak_mib": memory[1],
        }  # fmt: skip

    async def _ready(self, service: Service) -> None:
        """Wait for the worker's place in its group."""
        path, until = self.state / "swap" / "run" / "worker-0.json", time.monotonic() + 180
        while not path.exists():
            service.cpu()
            if time.monotonic() > until:
                raise BenchError(f"the worker was not ready within 180 s: {service.said()}")
            await asyncio.sleep(0.2)

    async def _followed(self, service: Service, model: str) -> None:
        """Wait until the worker scores with a model, as its metrics say."""
        until = time.monotonic() + 60
        async with httpx.AsyncClient() as client:
            while f'model="{model}"' not in (await client.get(service.metrics or "", timeout=20)).text:
                if time.monotonic() > until:
                    raise BenchError(f"the worker did not score with {model} within 60 s: {service.said()}")
                await asyncio.sleep(0.2)

    async def _send(self, topic: str, appended: dict[int, int]) -> None:
        """Send packets at the rate until cancelled; candid → append time [ms]."""
        began, sent = time.monotonic(), 0

        def note(candid: int, future: asyncio.Future[Any]) -> None:
            if not future.cancelled() and future.exception() is None:
                appended[candid] = future.result().timestamp

        while True:
            for candid, packet in self._take(500):
                await asyncio.sleep(max(0.0, began + sent / self.plan.rate - time.monotonic()))
                future = await self.producer.send(topic, packet, key=str(candid).encode(), partition=sent % PARTITIONS)
                future.add_done_callback(lambda done, candid=candid: note(candid, done))
                sent += 1

    async def _seen(self, service: Service, begin: Any, *, wanted: int) -> dict[int, tuple[int, str]]:
        """candid → append time of the detection [ms], and the model it names."""
        found: dict[int, tuple[int, str]] = {}
        self.watcher.assign([place for place in begin if place.topic in (DETECTIONS, PRIVATE)])
        for place in self.watcher.assignment():
            self.watcher.seek(place, begin[place])
        until = time.monotonic() + 60
        while len(found) < 0.98 * wanted and time.monotonic() < until:
            for messages in (await self.watcher.getmany(timeout_ms=200)).values():
                for message in messages:
                    detection = decode_detection(message.value)
                    found[detection.candid] = message.timestamp, detection.model
        self.watcher.unsubscribe()
        return found

    @staticmethod
    def _figures(
        steps: Sequence[tuple[str, ModelAnnounced]], *, seen: dict[int, tuple[int, str]], appended: dict[int, int], first: float
    ) -> dict[str, Any]:
        late = {candid: (appended[candid], out - appended[candid], model) for candid, (out, model) in seen.items() if candid in appended}
        rows, windows = [], []
        for name, step in steps:
            began = step.announced_ms
            new = [at + ms for at, ms, model in late.values() if model == step.model and at + ms > began]
            if not new:
                raise BenchError(f"{name}: no detection names {step.model}")
            ended = min(new) + 1000 * AFTER_S
            windows.append((began - 3000, ended + 1000))
            rows.append((name, began, ended, sorted(ms for at, ms, _ in late.values() if began <= at <= ended)))
        quiet = [(at, ms) for at, ms, _ in late.values() if at > first and not any(begins <= at <= ends for begins, ends in windows)]
        base = percentile(sorted(ms for _, ms in quiet), 0.99)
        by_second: dict[int, list[int]] = {}
        for at, ms in quiet:
            by_second.setdefault(int(at // 1000), []).append(ms)
        seconds = sorted(percentile(sorted(values), 0.99) for values in by_second.values() if len(values) > 50)
        return {
            "quiet": {
                "p50_ms": percentile(sorted(ms for _, ms in quiet), 0.5), "p99_ms": base,
                "p99_of_a_second_ms": {"median": statistics.median(seconds), "p90": percentile(seconds, 0.9), "max": seconds[-1]},
            },
            "swaps": [
                {"what": name, "followed_ms": ended - 1000 * AFTER_S - began, "packets": len(ms), "p50_ms": percentile(ms, 0.5),
                 "p99_ms": percentile(ms, 0.99), "over_quiet": percentile(ms, 0.99) / base}
                for name, began, ended, ms in rows
            ],
        }  # fmt: skip


async def measure(folder: Path, *, rate: float, warm_s: float) -> dict[str, Any]:
    """Kafka, a worker, and the swaps."""
    node = LocalKafka()
    await asyncio.to_thread(node.start, folder / "kafka")
    try:
        bench = SwapBench(
            take(4000), Plan(rate=rate, warm_s=warm_s), state=folder, bundle=None, say=lambda line: print(line, file=sys.stderr)
        )
        found: dict[str, Any] = {}

        async def ours() -> dict[str, Any]:
            environment = bench._environment("swap")
            settings = Settings(kafka=environment["PROTONOVA_KAFKA"], app_id=environment["PROTONOVA_APP_ID"], state=folder / "swap")
            found.update(await bench.swaps(settings, await asyncio.to_thread(bundles, folder)))
            return {}

        async def nothing(admin: Any) -> dict[str, Any]:
            return {}

        bench._ours, bench._naive = ours, nothing  # type: ignore[method-assign]
        await bench.run(node)
        return found
    finally:
        await asyncio.to_thread(node.stop)


def main() -> int:
    """The command."""
    parser = argparse.ArgumentParser(prog="python -m benchmarks.swap", description=__doc__)
    parser.add_argument("--rate", type=float, default=200.0, help="packets a second")
    parser.add_argument("--warm", type=float, default=15.0, help="seconds that are not counted")
    parser.add_argument("--report", type=Path, help="JSON file to write")
    given = parser.parse_args()
    with tempfile.TemporaryDirectory(prefix="protonova-swap-") as folder:
        found = asyncio.run(measure(Path(folder), rate=given.rate, warm_s=given.warm))
    text = json.dumps(found, indent=1)
    print(text)
    if given.report:
        given.report.write_text(text + "\n", encoding="utf-8")
    return 0 if all(row["over_quiet"] <= ALLOWED for row in found["swaps"]) else 1


if __name__ == "__main__":
    sys.exit(main())
