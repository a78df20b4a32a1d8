"""`python -m benchmarks filters`: what filters, watchlists, the live stream and a preview cost, on made-up detections.

1,000 filters over micro-batches of 64; 100 watchlists of 10,000 positions; 500 clients of the live stream at 2,000 detections a second,
over HTTP on loopback, the server's CPU alone; a preview of a night of 100,000 out of SQLite. Times are of CPU, the best of several
passes.
"""

from __future__ import annotations

import argparse
import asyncio
import json
import os
import signal
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import psutil

from benchmarks.machine import describe

LIMITS = {"filters_us": 45.0, "watchlists_us": 2.0, "stream_cores": 0.5, "preview_s": 2.0}
BATCH = 64
CLASSES = ("sn-ia", "sn-ii", "tde", "kilonova", "agn", "cv")


def expressions(n: int) -> list[str]:
    """Filters as people write them; a few of a hundred alerts pass each."""
    rng = np.random.default_rng(1)

    def one() -> str:
        c = str(rng.choice(CLASSES))
        p = "p_" + c.replace("-", "_")
        kinds = (
            f"class = '{c}' AND probability > {rng.uniform(0.6, 0.99):.3f}",
            f"{p} + p_tde > {rng.uniform(0.5, 0.95):.3f} AND real_bogus > 0.6 AND n_detections <= {rng.integers(2, 9)}",
            f"novelty > {rng.uniform(0.9, 0.999):.4f} AND NOT class IN ('asteroid', 'other')",
            f"(band = 'g' OR band = 'r') AND flux / flux_err > {rng.uniform(5, 30):.1f} AND red_skew BETWEEN -1.5 AND 0.5",
            f"survey = 'lsst' AND dec < {rng.uniform(-60, 10):.1f} AND (star_galaxy IS NULL OR star_galaxy < 0.4) AND {p} > 0.3",
        )
        return kinds[int(rng.integers(len(kinds)))]

    return [one() for _ in range(n)]


def records(n: int, seed: int = 1) -> list[bytes]:
    """Bodies of detections over the sky."""
    from operators.features import FEATURES
    from schemas.records import detection
    from schemas.records.detection import Decision
    from schemas.records.parts import ClassProbability, Feature
    from schemas.taxonomy import OTHER, SLUGS

    rng = np.random.default_rng(seed)
    names = (*SLUGS, OTHER)
    out = []
    first = _made(0)
    for i in range(n):
        p = np.sort(rng.dirichlet(np.full(len(names), 0.2)))[::-1]
        order = rng.permutation(len(names))
        classes = tuple(ClassProbability(names[order[k]], float(p[k]), float(p[k])) for k in range(len(names)))
        top = classes[0]
        flux = float(rng.lognormal(4, 1))
        d = replace(
            first, packet_id=f"ztf:{i}:{i:032x}", detection_id=f"ztf:{i}:{i:032x}:0123456789abcdef", candid=i,
            object_id=f"ZTF25{i % 40_000:07d}",
            ra=float(rng.uniform(0, 360)), dec=float(np.degrees(np.arcsin(rng.uniform(-1, 1)))), flux=flux,
            flux_err=flux * float(rng.uniform(0.02, 0.3)), n_detections=int(rng.integers(1, 30)), band="gri"[i % 3],
            novelty=float(rng.random()),
            real_bogus=float(rng.random()), classes=classes, top_class=top.name, top_probability=top.probability,
            decision=Decision(top.name, top.probability, 0.6, 100.0, top.probability > 0.6, True, "drb"),
            features=tuple(Feature(name, float(rng.normal())) for name in FEATURES),
        )  # fmt: skip
        out.append(detection.body(d, detection.coded(d)))
    return out


def _made(number: int) -> Any:
    from schemas.records.detection import Detection
    from schemas.records.parts import ClassProbability

    return Detection(
        packet_id="", detection_id="x", survey="ztf", candid=number, object_id="o", programid=1, ra=0.0, dec=0.0, mjd=60_000.0, band="g",
        flux=None, flux_err=None, n_detections=1, classes=(ClassProbability("tde", 1.0, 1.0),), top_class="tde", top_probability=1.0,
        conformal_set=("tde",), novelty=0.0, nearest_prototype="tde", prototype_distance=0.5, real_bogus=None, star_galaxy=None,
        solar_system_distance=None, features=(), model="m" * 16, engine="onnxruntime cpu", scoring_id="0123456789abcdef", taxonomy="x",
    )  # fmt: skip


def best(work: Callable[[], Any], passes: int = 9) -> float:
    """CPU of the best pass after one that warms up [s]."""
    work()
    taken = []
    for _ in range(passes):
        begun = time.process_time()
        work()
        taken.append(time.process_time() - begun)
    return min(taken)


def of_filters(bodies: list[bytes]) -> dict[str, float]:
    """Reading the columns of a micro-batch, and 1,000 filters over it."""
    from operators.filters import matches
    from schemas.filters.filter_columns import columns_of
    from schemas.filters.filter_expression import bind, read_expression

    begun = time.process_time()
    read = [read_expression(text) for text in expressions(1000)]
    parse = time.process_time() - begun
    programs, columns = bind(read)
    batches = [bodies[i : i + BATCH] for i in range(0, 10 * BATCH, BATCH)]
    tables = [columns_of(batch, columns).columns for batch in batches]
    reading = best(lambda: [columns_of(batch, columns) for batch in batches]) / (10 * BATCH)
    asking = best(lambda: [matches(programs, table) for table in tables]) / (10 * BATCH)
    hits = sum(int(np.asarray(matches(programs, table)).sum()) for table in tables) / (10 * BATCH)
    return {
        "parse_ms_a_filter": parse,
        "read_us": 1e6 * reading,
        "ask_us": 1e6 * asking,
        "filters_us": 1e6 * (reading + asking),
        "hits": hits,
    }


def of_watchlists(bodies: list[bytes]) -> dict[str, float]:
    """100 lists of 10,000 positions; an eighth of the alerts lies near one."""
    from data.areas.filter_set import _together
    from data.areas.position_index import index_positions
    from data.history.cells import cells_of
    from operators.areas import near
    from schemas.filters.filter_columns import columns_of
    from schemas.filters.filter_fields import STANDARD

    rng = np.random.default_rng(2)
    begun = time.process_time()
    lists = []
    for _ in range(100):
        ra, dec = rng.uniform(0, 360, 10_000), np.degrees(np.arcsin(rng.uniform(-1, 1, 10_000)))
        lists.append((ra, dec, rng.choice([2.0, 3.0, 5.0], 10_000) / 3600))
    indexes = [index_positions(ra, dec, radius=radius) for ra, dec, radius in lists]
    built = time.process_time() - begun
    begun = time.process_time()
    index = _together(indexes)
    together = time.process_time() - begun
    table = columns_of(bodies[: 10 * BATCH]).columns
    ra, dec = table[STANDARD.index["ra"]].copy(), table[STANDARD.index["dec"]].copy()
    ra[::8], dec[::8] = lists[7][0][: len(ra[::8])], lists[7][1][: len(ra[::8])]
    parts = [(ra[i : i + BATCH], dec[i : i + BATCH]) for i in range(0, len(ra), BATCH)]

    def work() -> int:
        return sum(len(near(index, cells_of(a, d), ra=a, dec=d).rows) for a, d in parts)

    return {"build_s": built, "join_s": together, "watchlists_us": 1e6 * best(work) / len(ra), "pairs": float(work())}


def of_preview(bodies: list[bytes], n: int) -> dict[str, float]:
    """A night of n out of a history of SQLite."""
    from data.areas.drafts import draft_filter
    from data.areas.filter_set import filter_set
    from data.history.sqlite_tables import open_reader, open_writer
    from evaluation.filter_preview import preview_filter
    from schemas.records.table import DETECTION

    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / "night.sqlite"
        db = open_writer(path)
        db.execute("CREATE TABLE night (id INTEGER PRIMARY KEY, schema_id INTEGER, body BLOB)")
        db.execute("BEGIN")
        db.executemany("INSERT INTO night (schema_id, body) VALUES (?, ?)", ((DETECTION, bodies[i % len(bodies)]) for i in range(n)))
        db.execute("COMMIT")
        db.close()
        reader = open_reader(path)
        asked = filter_set([draft_filter("a", "b", expression="p_tde > 0.3 AND real_bogus > 0.5")], {})

        def work() -> Any:
            parts = (
                [row[1] for row in reader.execute("SELECT schema_id, body FROM night WHERE id BETWEEN ? AND ?", (first, first + 4_999))]
                for first in range(1, n + 1, 5_000)
            )
            return preview_filter(asked, parts, label=lambda one: None)

        found = work()
        seconds = best(work, 3)
        reader.close()
    return {"preview_s": seconds, "passed": float(found.passed), "alerts": float(n)}


SERVER = """
import asyncio, sys
from pathlib import Path
from benchmarks.filters import serve_fed
asyncio.run(serve_fed(int(sys.argv[1]), float(sys.argv[2]), folder=Path(sys.argv[3])))
"""


async def serve_fed(rate: int, seconds: float, *, folder: Path) -> None:
    """The API with its live stream, fed in this process at a rate; writes its port, then its CPU and what it sent."""
    from operators.filters import matches
    from schemas.filters.filter_columns import columns_of
    from schemas.filters.filter_expression import bind, read_expression
    from service.api.live_stream import Entry, LiveStream
    from service.status.serve import bound
    from service.timed_httptools import fast_server
    from settings.model import Settings
    from streams.kafka import topics
    from tests.service.api_client import Api

    live = LiveStream(Settings(state=folder))
    places = [(topics.DETECTIONS, p) for p in range(4)]
    live.heads, live._reach = dict.fromkeys(places, 0), dict.fromkeys(places, 0)
    live._started.set()
    api = Api(folder, live=live)
    bodies = records(4_000)
    matches(bind([read_expression("novelty > 0.99")])[0], columns_of(bodies[:64]).columns)  # load what is compiled
    listener = bound("127.0.0.1", 0)
    server = fast_server(api.app, log_level="critical", loop="none")
    task = asyncio.ensure_future(server.serve(sockets=[listener]))
    key = api.key("read")
    (folder / "ready.json").write_text(json.dumps({"port": listener.getsockname()[1], "key": key}))
    while not (folder / "go").exists():  # noqa: ASYNC110
        await asyncio.sleep(0.05)
    offsets, sent, step = [0] * 4, 0, 0.05
    process = psutil.Process()
    before = sum(process.cpu_times()[:2])
    begun = time.monotonic()
    while (now := time.monotonic() - begun) < seconds:
        due = int(now * rate) - sent
        entries = []
        for i in range(due):
            p = (sent + i) % 4
            entries.append(Entry(places[p], offsets[p], bodies[(sent + i) % len(bodies)]))
            offsets[p] += 1
        live.take(entries)
        sent += due
        await asyncio.sleep(step)
    used = sum(process.cpu_times()[:2]) - before
    (folder / "done.json").write_text(json.dumps({"cpu": used, "wall": now, "sent": sent, "cut": live.cut, "clients": live.clients}))
    await asyncio.sleep(2)
    server.should_exit = server.force_exit = True
    await task


async def _listen(port: int, key: str, *, where: str, counts: list[int]) -> None:
    from urllib.parse import quote

    reader, writer = await asyncio.open_connection("127.0.0.1", port, limit=1 << 20)
    writer.write(f"GET /v1/stream?where={quote(where)} HTTP/1.1\r\nHost: 127.0.0.1\r\nAuthorization: Bearer {key}\r\n\r\n".encode())
    try:
        while data := await reader.read(1 << 16):
            counts[0] += data.count(b"event: detection")
            counts[1] += data.count(b"event: ready")
    finally:
        writer.close()


async def of_stream(*, clients: int = 500, rate: int = 2_000, seconds: float = 15.0) -> dict[str, float]:
    """Clients in this process, the server in another one; each client gets about one alert of a hundred."""
    texts = [f"novelty > 0.99 AND ra >= {360 * (i % 7) / 700:.3f}" for i in range(clients)]
    with tempfile.TemporaryDirectory() as folder:
        command = [sys.executable, "-c", SERVER, str(rate), str(seconds), folder]
        child = await asyncio.to_thread(subprocess.Popen, command, cwd=Path(__file__).parents[1])
        try:
            ready = Path(folder) / "ready.json"
            while not ready.exists():  # noqa: ASYNC110
                await asyncio.sleep(0.1)
            await asyncio.sleep(0.2)
            where = json.loads(ready.read_text())
            counts = [0, 0]
            tasks = [asyncio.ensure_future(_listen(where["port"], where["key"], where=text, counts=counts)) for text in texts]
            while counts[1] < clients:  # noqa: ASYNC110
                await asyncio.sleep(0.1)
            (Path(folder) / "go").touch()
            done = Path(folder) / "done.json"
            while not done.exists():  # noqa: ASYNC110
                await asyncio.sleep(0.1)
            await asyncio.sleep(0.5)
            found = json.loads(done.read_text())
            for task in tasks:
                task.cancel()
            await asyncio.gather(*tasks, return_exceptions=True)
        finally:
            child.send_signal(signal.SIGTERM)
            await asyncio.to_thread(child.wait, 20)
    return {
        "stream_cores": found["cpu"] / found["wall"], "clients": found["clients"], "detections_a_second": found["sent"] / found["wall"],
        "events_a_second": counts[0] / found["wall"], "cut": found["cut"],
    }  # fmt: skip


def main(arguments: list[str]) -> int:
    """Run as a command; exit status 1 where a figure is beyond its bar."""
    parser = argparse.ArgumentParser(prog="python -m benchmarks filters")
    parser.add_argument("--report", type=Path, help="write the figures as JSON")
    parser.add_argument("--seconds", type=float, default=15.0, help="of the live stream")
    given = parser.parse_args(arguments)
    bodies = records(20_000)
    figures = {"filters": of_filters(bodies), "watchlists": of_watchlists(bodies), "preview": of_preview(bodies, 100_000)}
    figures["stream"] = asyncio.run(of_stream(seconds=given.seconds))
    flat = {name: value for part in figures.values() for name, value in part.items()}
    for part, values in figures.items():
        print(part + ": " + ", ".join(f"{name} {value:.4g}" for name, value in values.items()))
    over = [name for name, bar in LIMITS.items() if flat[name] > bar]
    for name in LIMITS:
        print(f"{name}: {flat[name]:.3g}, bar {LIMITS[name]:g}{' MISSED' if name in over else ''}")
    report = {"machine": describe(), "load": os.getloadavg(), "bars": LIMITS, **figures}
    if given.report is not None:
        given.report.write_text(json.dumps(report, indent=1) + "\n")
    return 1 if over else 0
