"""The HTTP API under load, beside what `score` itself costs: `make bench ARGS=http`.

Real packets and JSON light curves → `protonova api` by its processes, a generator of load in another process; CPU of each stated, and the
floor: `score` on the same packets in batches of the engine's size, in this process, before and after. With Kafka: pushes.
"""

from __future__ import annotations

import asyncio
import os
import re
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import httpx
import orjson
import psutil

from benchmarks.packets import Packets, distinct
from console.child import Child
from errors import UserError

THREADS = dict.fromkeys(("OMP_NUM_THREADS", "MKL_NUM_THREADS", "OPENBLAS_NUM_THREADS", "RAYON_NUM_THREADS", "NUMBA_NUM_THREADS"), "1")
PROCESSES = 2
CONNECTIONS = 64
POINTS = 60
"""Of a JSON light curve."""
REQUESTS_PER_S, SHARE, OVER_US, P99_MS, RATE = 1_000.0, 0.7, 200.0, 30.0, 500.0
PUSH_PER_S, PUSH_P99_MS, PUSH_RATE = 1_200.0, 15.0, 400.0
CHECK_US, START_S, MEMORY_MB = 2.0, 3.0, 350.0
"""Targets."""


@dataclass(slots=True)
class Served:
    """A running API."""

    child: Child
    port: int
    key: str
    start_s: float

    def processes(self) -> list[psutil.Process]:
        """Those that serve: of several the children of the parent."""
        parent = psutil.Process(self.child.pid)
        found = [p for p in parent.children(recursive=True) if "--shared" in p.cmdline() and "sh" not in p.name()]
        return found or [parent]

    def cpu(self) -> float:
        """User and system time of all so far [s]."""
        return sum(sum(p.cpu_times()[:2]) for p in self.processes())

    def memory_mb(self) -> float:
        """Resident memory of the largest process [MB]."""
        return max(p.memory_info().rss for p in self.processes()) / 1e6


def serve(folder: Path, *, processes: int, kafka: str | None, bundle: Path | None) -> Served:
    """Start `protonova api`; returns when every process answers."""
    environment = {
        **THREADS,
        "PROTONOVA_API_RATE": "1000000",
        "PROTONOVA_API_ADDRESS_RATE": "1000000",
        "PYTHONPATH": str(Path(__file__).parents[1]),
        "PYTHONDONTWRITEBYTECODE": "",  # as a user has it: with it set each start compiles anew all that it imports, four seconds of a core
    }
    if kafka is not None:
        environment["PROTONOVA_KAFKA"] = kafka
    command = [sys.executable, "-m", "console.cli", "api", "--port", "0", "--state", str(folder), "--processes", str(processes)]
    if bundle is not None:
        command += ["--bundle", str(bundle)]
    begun = time.perf_counter()
    log = folder / "api.log"
    child = Child(command, log, environment=environment)
    try:
        key = waited(log, r"shown this once: (\S+)", child=child)
        port = int(waited(log, r"HTTP API: \S+:(\d+)", child=child))
        with httpx.Client(timeout=60) as client:
            while True:
                try:
                    if client.get(f"http://127.0.0.1:{port}/readyz").status_code == 200:
                        break
                except httpx.TransportError:
                    pass
                if time.perf_counter() - begun > 120:
                    raise UserError(f"the API did not come up: {log.read_text()[-300:]}")
                time.sleep(0.02)
        start = time.perf_counter() - begun
        served = Served(child, port, key, start)
        deadline = time.perf_counter() + 60
        while len(served.processes()) < processes or not all(answering(p, port) for p in served.processes()):
            if time.perf_counter() > deadline:
                raise UserError("not every process of the API listens")
            time.sleep(0.05)
        return served
    except BaseException:
        child.stop()
        raise


def answering(process: psutil.Process, port: int) -> bool:
    """Whether a process listens on the port."""
    return any(c.status == psutil.CONN_LISTEN and c.laddr.port == port for c in process.net_connections(kind="tcp"))


def waited(log: Path, pattern: str, *, child: Child) -> str:
    """What a child says, once it does."""
    deadline = time.perf_counter() + 120
    while time.perf_counter() < deadline:
        found = re.search(pattern, log.read_text(errors="replace")) if log.exists() else None
        if found is not None:
            return found[1]
        if child.poll() is not None:
            break
        time.sleep(0.02)
    raise UserError(f"the API did not start: {log.read_text(errors='replace')[-300:]}")


def request(path: str, body: bytes, *, key: str, media: str) -> bytes:
    """A request as bytes."""
    lines = (
        f"POST {path} HTTP/1.1",
        "Host: 127.0.0.1",
        f"Authorization: Bearer {key}",
        f"Content-Type: {media}",
        f"Content-Length: {len(body)}",
    )
    return "\r\n".join((*lines, "", "")).encode() + body


def loaded(
    served: Served, requests: Sequence[bytes], *, folder: Path, seconds: float, connections: int, rate: float | None = None
) -> dict[str, Any]:
    """Load a server; the generator's figures, with the server's CPU beside them."""
    path = folder / "requests"
    path.write_bytes(b"".join(len(r).to_bytes(4, "big") + r for r in requests))
    command = [sys.executable, "-m", "benchmarks.http_load", str(served.port), str(path), str(seconds), str(connections)]
    command += [] if rate is None else [str(rate)]
    before, begun = served.cpu(), time.perf_counter()
    done = subprocess.run(command, capture_output=True, env={**os.environ, **THREADS}, check=False)
    if done.returncode:
        raise UserError(f"the load failed: {done.stderr.decode(errors='replace')[-300:]}")
    found: dict[str, Any] = orjson.loads(done.stdout)
    took, cpu = time.perf_counter() - begun, served.cpu() - before
    # The server's CPU is taken over the warming too, in which as many requests a second came.
    whole = found["requests"] * (found["seconds"] + min(1.0, seconds / 5)) / found["seconds"]
    found |= {"server_us": 1e6 * cpu / max(whole, 1.0), "cores_server": cpu / took, "rate": rate}
    bad = {status: n for status, n in found["statuses"].items() if int(status) >= 300}
    if bad or found["lost"] or not found["requests"]:
        raise UserError(f"the API answered {found['statuses']}, {found['lost']} connections were lost")
    return found


def floor(packets: Sequence[bytes], state: Any) -> float:
    """CPU of `score` a packet, in batches of the engine's size [µs]."""
    from pipeline.score import score

    size = max(state.session.buckets)
    batches = [packets[i : i + size] for i in range(0, len(packets) - size + 1, size)]
    times = []
    for _ in range(3):
        begun = time.process_time()
        for batch in batches:
            score(batch, state)
        times.append((time.process_time() - begun) / (len(batches) * size))
    return 1e6 * float(min(times))


def curves(n: int) -> list[bytes]:
    """JSON light curves as a client sends them."""
    import numpy as np

    rng = np.random.default_rng(11)
    out = []
    for i in range(n):
        mjd = np.sort(61_000 + 60 * rng.random(POINTS)).round(5)
        flux = (30 * np.exp(-0.5 * ((mjd - 61_030 - 10 * rng.random()) / 8) ** 2) + rng.normal(0, 1, POINTS)).round(4)
        body = {"survey": "lsst", "ra": 150 + i / 100, "dec": 2.5, "mjd": mjd.tolist(), "band": rng.choice(list("griz"), POINTS).tolist(),
                "flux": flux.tolist(), "flux_err": [1.0] * POINTS, "real_bogus": 0.9}  # fmt: skip
        out.append(orjson.dumps(body))
    return out


def checks() -> dict[str, float]:
    """CPU of a key check among ten thousand, and of a token that is remembered [µs]."""
    import hashlib

    from schemas.records.access_token import AccessToken
    from service.auth.api_keys import make_key
    from service.auth.bearer_tokens import IssuerKeys, TokenVerifier, Verdict
    from service.auth.caller import Identity
    from service.auth.key_ring import KeyRing

    made = [make_key() for _ in range(10_000)]
    ring = KeyRing()
    ring.replace({m.key_id: AccessToken(m.key_id, m.digest.hex(), "x", ("read",), False, 0, False, 1, 0) for m in made})
    keys = IssuerKeys("https://i", None)
    verifier = TokenVerifier(keys, issuer="https://i", audience="a", algorithms=("RS256",))
    token = "e" * 900
    who = Identity("x", "y", "token", frozenset(), until=time.time() + 1e6)
    verifier._verdicts[hashlib.sha256(token.encode()).digest()] = Verdict(who, "k")

    def us(work: Any, n: int = 20_000) -> float:
        best = []
        for _ in range(5):
            begun = time.process_time()
            for _ in range(n):
                work()
            best.append((time.process_time() - begun) / n)
        return 1e6 * min(best)

    mine = made[5_000].key
    return {"key_us": us(lambda: ring.identify(mine)), "token_us": us(lambda: verifier.remembered(token))}


def measure(packets: Packets, *, quick: bool, bundle: Path | None) -> dict[str, Any]:
    """All figures."""
    from pipeline.state import load
    from service.api.resources.score_packets import LightCurve

    seconds = 3.0 if quick else 8.0
    state = load(bundle, engine="onnxruntime")
    bodies = curves(256)
    made = [LightCurve.model_validate_json(body).packet() for body in bodies]
    chosen = packets.values[:256]
    floors = {"packets": [floor(chosen, state)], "curves": [floor(made, state)]}
    report: dict[str, Any] = {"processes": PROCESSES, "connections": CONNECTIONS, **checks()}
    with tempfile.TemporaryDirectory(prefix="protonova-http-") as name:
        folder = Path(name)
        (folder / "first").mkdir()
        serve(folder / "first", processes=1, kafka=None, bundle=bundle).child.stop()  # it writes the bytecode that every later start reads
        served = serve(folder, processes=PROCESSES, kafka=None, bundle=bundle)
        report |= {"start_s": served.start_s}
        try:
            for what, one, media in (("packets", chosen, "application/octet-stream"), ("curves", bodies, "application/json")):
                requests = [request("/v1/score", body, key=served.key, media=media) for body in one]
                full = loaded(served, requests, folder=folder, seconds=seconds, connections=CONNECTIONS)
                paced = loaded(served, requests, folder=folder, seconds=seconds, connections=CONNECTIONS, rate=RATE)
                report[what] = {"saturated": full, "paced": paced}
            report["memory_mb"] = served.memory_mb()
        finally:
            served.child.stop()
    for what, one in (("packets", chosen), ("curves", made)):
        floors[what].append(floor(one, state))
        us = statistics.mean(floors[what])
        found = report[what]
        found |= {"floor_us": us, "floors_us": floors[what]}
        found["over_us"] = found["saturated"]["server_us"] - us
        found["share"] = us / found["saturated"]["server_us"]
    report["push"] = push(packets, seconds=seconds, bundle=bundle)
    return report


def push(packets: Packets, *, seconds: float, bundle: Path | None) -> dict[str, Any] | None:
    """Pushes through Kafka; None: it cannot be had."""
    from console.kafka_node.node import LocalKafka
    from registry.bundle import load as load_bundle
    from settings.model import Settings
    from streams.kafka.topics import declare

    with tempfile.TemporaryDirectory(prefix="protonova-push-") as name:
        folder = Path(name)
        kafka = LocalKafka()
        try:
            kafka.start(folder)
        except UserError:
            return None
        try:
            settings = Settings(kafka=kafka.bootstrap, state=folder, partitions=4)
            asyncio.run(declare(settings, load_bundle(bundle).classes))
            served = serve(folder, processes=PROCESSES, kafka=kafka.bootstrap, bundle=bundle)
            try:
                found = {}
                for what, rate in (("saturated", None), ("paced", PUSH_RATE)):
                    n = int(seconds * 2_500)
                    several = distinct(packets.values, min(n, 12_000), start=0 if rate is None else 1_000_000)
                    requests = [
                        request("/v1/alerts/ztf", packet, key=served.key, media="application/octet-stream") for _, packet in several
                    ]
                    found[what] = loaded(served, requests, folder=folder, seconds=seconds, connections=32, rate=rate)
                return found
            finally:
                served.child.stop()
        finally:
            kafka.stop()


def targets(report: dict[str, Any]) -> list[tuple[str, float | None, str, float, str]]:
    """Each target with what was reached."""
    rows: list[tuple[str, float | None, str, float, str]] = []
    for what in ("packets", "curves"):
        found = report[what]
        rows += [
            (f"score {what}: requests a second, saturated", found["saturated"]["per_s"], ">=", REQUESTS_PER_S, "1/s"),
            (f"score {what}: the floor over its CPU", found["share"], ">=", SHARE, "×"),
            (f"score {what}: CPU over the floor", found["over_us"], "<=", OVER_US, "µs"),
            (f"score {what}: p99 at {RATE:g}/s", found["paced"]["p99_ms"], "<=", P99_MS, "ms"),
        ]
    if report["push"] is not None:
        rows += [
            ("push: requests a second, saturated", report["push"]["saturated"]["per_s"], ">=", PUSH_PER_S, "1/s"),
            (f"push: p99 at {PUSH_RATE:g}/s", report["push"]["paced"]["p99_ms"], "<=", PUSH_P99_MS, "ms"),
        ]
    rows += [
        ("key check among 10,000", report["key_us"], "<=", CHECK_US, "µs"),
        ("remembered token", report["token_us"], "<=", CHECK_US, "µs"),
        ("start", report["start_s"], "<=", START_S, "s"),
        ("memory, the largest process", report["memory_mb"], "<=", MEMORY_MB, "MB"),
    ]
    return rows
