"""The history while it is written to: `python -m benchmarks.history [ROWS] [--laid] [--postgres URL]` (a million rows).

made-up detections of 20 an object → rows a second into an empty history, of which records' bytes are made by the historian's own way; then
cones of 5" and light curves, read while another process writes at 2,000 rows a second and as fast as it can

`--laid` lays the first rows into the file's tables in their order, with short records, instead of writing them as they come: ten million in
minutes; what is measured then, cones, curves and rows that come, is as without it.

Reader and writer share what cores there are. Times are of one question, the rows it gives and its geometry included.
"""

from __future__ import annotations

import argparse
import json
import multiprocessing
import shutil
import sqlite3
import tempfile
import time
from collections import Counter
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import numpy as np
from aiokafka import TopicPartition

from data.history.cells import cells_of
from data.history.nights import night_of
from data.history.portion import AlertRow, Moved, Origin, Place, Portion
from data.history.postgres_reader import PostgresReader
from data.history.postgres_writer import PostgresWriter
from data.history.sql_writer import SqlWriter
from data.history.sqlite_reader import SqliteReader
from data.history.sqlite_tables import FILE
from data.history.sqlite_writer import SqliteWriter
from schemas.records import codec
from schemas.records.detection import Decision, Detection
from schemas.records.parts import ClassProbability, Feature
from schemas.records.table import DETECTION
from schemas.taxonomy import SLUGS
from streams.agents import historian
from streams.agents.history_rows import portion_of

AN_OBJECT = 20
"""Detections of an object."""
AT_ONCE = historian.AT_ONCE
PLACE = Place("detections", 0)
PROMISED = {"cone_p99_ms": 3.0, "curve_p99_ms": 1.0, "rows_per_s": 10_000.0}


def record(number: int) -> Detection:
    """A detection as large as usual."""
    p = np.random.default_rng(number).dirichlet(np.full(len(SLUGS) + 1, 0.3))
    classes = tuple(ClassProbability(name, float(q), float(q)) for name, q in zip((*SLUGS, "other"), p, strict=True))
    features = tuple(Feature(f"feature_of_a_usual_name_{i}", 0.5 * i) for i in range(50))
    name = f"ztf:{number}:{number:032x}"
    return Detection(
        packet_id=name, detection_id=f"{name}:0123456789abcdef", survey="ztf", candid=number, object_id=f"ZTF{number // AN_OBJECT:011d}",
        programid=1, ra=10.0, dec=20.0, mjd=60_000.0, band="g", flux=10.0, flux_err=1.0, n_detections=3,
        decision=Decision("sn-ia", 0.5, 0.4, 100.0, True, True, "drb"), classes=classes, top_class="sn-ia", top_probability=0.5,
        conformal_set=("sn-ia",), novelty=0.1, nearest_prototype="sn-ia", prototype_distance=0.2, real_bogus=0.9, star_galaxy=None,
        solar_system_distance=None, features=features, model="m" * 16, engine="onnxruntime cpu", scoring_id="0123456789abcdef",
        taxonomy="protonova-2",
    )  # fmt: skip


class Sky:
    """Objects over the sky, a third of them in a band, and their detections in the order of a survey: objects by chance."""

    def __init__(self, objects: int) -> None:
        rng = np.random.default_rng(5)
        self.n = objects
        self.ra = rng.uniform(0, 360, objects)
        self.dec = np.degrees(np.arcsin(rng.uniform(-0.5, 1, objects)))
        crowded = rng.random(objects) < 0.33
        self.dec[crowded] = np.clip(self.ra[crowded] / 4 - 15 + rng.normal(0, 6, int(crowded.sum())), -30, 89)
        self.body = codec.encode(record(1))[5:]

    def rows(self, start: int, count: int) -> list[AlertRow]:
        """The detections from a number on."""
        rng = np.random.default_rng([9, start])
        chosen = rng.integers(self.n, size=count)
        jitter = rng.normal(0, 0.1 / 3600, (2, count))
        ra, dec = (self.ra[chosen] + jitter[0]) % 360, np.clip(self.dec[chosen] + jitter[1], -90, 90)
        digests, numbers = rng.bytes(16 * count), rng.random((2, count))
        return [
            AlertRow(
                "ztf", 2_000_000_000_000_000_000 + start + i, digests[16 * i : 16 * i + 16], f"ZTF{o:011d}", 1, a, d,
                60_000.0 + (start + i) * 1e-5, "gri"[o % 3], 100.0, 5.0, SLUGS[o % len(SLUGS)], p, p > 0.7, q,
                1_760_000_000_000 + (start + i) // 10, Origin("alerts.ztf", i % 8, (start + i) // 8), DETECTION, self.body,
            )
            for i, (o, a, d, p, q) in enumerate(
                zip(chosen.tolist(), ra.tolist(), dec.tolist(), *numbers.tolist(), strict=True)
            )
        ]  # fmt: skip


def writer_of(where: Path | str) -> SqlWriter:
    """The writer of a folder or an address."""
    return SqliteWriter(where) if isinstance(where, Path) else PostgresWriter(where)


def fill(folder: Path | str, sky: Sky, *, rows: int) -> dict[str, float]:
    """Write rows into an empty history; what it took, the making of the rows left out."""
    took = cpu = 0.0
    with writer_of(folder) as writer:
        for start in range(0, rows, AT_ONCE):
            made = sky.rows(start, AT_ONCE)
            begun, used = time.perf_counter(), time.process_time()
            writer.commit(Portion(made, moved={PLACE: Moved(start or None, start + AT_ONCE)}))
            writer.checkpoint()
            took, cpu = took + time.perf_counter() - begun, cpu + time.process_time() - used
        size = writer.used_bytes()
    return {"rows": rows, "rows_per_s": rows / took, "cpu_us_per_row": 1e6 * cpu / rows, "bytes_per_row": size / rows}


def lay(folder: Path, sky: Sky, *, rows: int) -> dict[str, float]:
    """Put rows into the tables in the order in which they lie there, as no historian does."""
    SqliteWriter(folder).close()
    db = sqlite3.connect(folder / FILE, isolation_level=None)
    for pragma in ("journal_mode = MEMORY", "synchronous = OFF", "cache_size = -262144"):
        db.execute(f"PRAGMA {pragma}")
    begun = time.perf_counter()
    chosen = np.random.default_rng(9).integers(sky.n, size=rows)
    db.execute("BEGIN")
    db.execute("INSERT INTO topics (name) VALUES ('alerts.ztf')")
    db.execute("INSERT INTO positions VALUES (?, ?, ?)", (*PLACE, rows))
    first, night = 2_000_000_000_000_000_000, night_of(1_760_000_000_000, "ztf")
    db.executemany(
        "INSERT INTO alerts VALUES (?, 'ztf', ?, ?, ?, 1, ?, ?, 0.5, 1, 0.5, ?, 1760000000000, 1, ?, ?, 0, 1, x'00')",
        ((i + 1, first + i, i.to_bytes(16, "big"), f"ZTF{o:011d}", 60_000.0 + i * 1e-5, SLUGS[o % len(SLUGS)], night, i % 8, i // 8)
         for i, o in enumerate(map(int, chosen))),
    )  # fmt: skip
    db.executemany("INSERT INTO inputs VALUES (1, ?, ?, 11, 1)", ((p, i) for p in range(8) for i in range(rows // 8)))
    order = np.argsort(chosen, kind="stable")
    db.executemany(
        f"INSERT INTO detections VALUES (?, ?, {night}, 'ztf', ?, 1, ?, ?, ?, ?, 100.0, 5.0, ?, 0.5, 0.5)",
        ((f"ZTF{o:011d}", i + 1, first + i, ra, dec, 60_000.0 + i * 1e-5, "gri"[o % 3], SLUGS[o % len(SLUGS)])
         for i, o, ra, dec in zip(order.tolist(), chosen[order].tolist(), sky.ra[chosen[order]].tolist(),
                                  sky.dec[chosen[order]].tolist(), strict=True)),
    )  # fmt: skip
    counts, cells = np.bincount(chosen, minlength=sky.n).tolist(), cells_of(sky.ra, sky.dec).tolist()
    db.executemany(
        "INSERT INTO objects VALUES (?, 'ztf', 1, ?, ?, ?, ?, 60000.0, 60050.0, 1, ?, 0.5, 0.5)",
        ((f"ZTF{o:011d}", cells[o], float(sky.ra[o]), float(sky.dec[o]), n, SLUGS[o % len(SLUGS)]) for o, n in enumerate(counts) if n),
    )
    db.execute("COMMIT")
    db.close()
    return {"rows": rows, "laid_s": time.perf_counter() - begun, "bytes_per_row": (folder / FILE).stat().st_size / rows}


def read_messages(n: int = 4_000) -> float:
    """CPU of a detection from a message's bytes to a row [us]."""
    values = [
        SimpleNamespace(
            topic="detections", partition=0, offset=i, key=b"", timestamp=1, value=codec.encode(record(i)),
            headers=[("ingested_at", b"1760000000000"), ("origin", b"alerts.ztf:3:123456")],
        )
        for i in range(n)
    ]  # fmt: skip
    place = TopicPartition("detections", 0)
    portion_of({place: values[:10]}, {}, bad=Counter())
    begun = time.process_time()
    portion_of({place: values}, {}, bad=Counter())
    return 1e6 * (time.process_time() - begun) / n


def keep_writing(folder: Path | str, sky: Sky, *, start: int, rate: float, seconds: float, out: Any) -> None:
    """Write in a process of its own, at a rate or as fast as it can."""
    at_once = min(AT_ONCE, int(rate / 4)) if rate else AT_ONCE
    portions = [sky.rows(start + i * at_once, at_once) for i in range(int((rate or 40_000) * seconds) // at_once)]
    with writer_of(folder) as writer:
        out.put("ready")
        begun, used, written = time.perf_counter(), time.process_time(), 0
        for i, rows in enumerate(portions):
            if rate and (wait := begun + i * at_once / rate - time.perf_counter()) > 0:
                time.sleep(wait)
            at = writer.positions()[PLACE]
            writer.commit(Portion(rows, moved={PLACE: Moved(at, at + len(rows))}))
            writer.checkpoint()
            written += len(rows)
            if time.perf_counter() - begun > seconds:
                break
        took = time.perf_counter() - begun
        out.put({"written_per_s": written / took, "written_cpu_us": 1e6 * (time.process_time() - used) / written})


def questions(folder: Path | str, sky: Sky, *, seconds: float) -> dict[str, float]:
    """Cones and light curves, by turns, for so long."""
    reader, rng = SqliteReader(folder) if isinstance(folder, Path) else PostgresReader(folder), np.random.default_rng(3)
    took: dict[str, list[float]] = {"cone": [], "curve": []}
    cpu: dict[str, list[float]] = {"cone": [], "curve": []}
    found: dict[str, int] = {"cone": 0, "curve": 0}
    end = time.perf_counter() + seconds
    while time.perf_counter() < end:
        o = int(rng.integers(sky.n))
        for kind in took:
            begun, used = time.perf_counter(), time.thread_time()
            if kind == "cone":
                rows: Any = reader.cone(float(sky.ra[o]), float(sky.dec[o]), radius=5 / 3600, private=(), limit=1000)
            else:
                rows = reader.lightcurve(f"ZTF{o:011d}", private=())
            took[kind].append(1e3 * (time.perf_counter() - begun))
            cpu[kind].append(1e3 * (time.thread_time() - used))
            found[kind] += len(rows)
    reader.close()
    out: dict[str, float] = {}
    for kind, times in took.items():
        p50, p99 = np.percentile(times, [50, 99])
        out |= {f"{kind}_p50_ms": float(p50), f"{kind}_p99_ms": float(p99), f"{kind}_rows": found[kind] / len(times)}
        out[f"{kind}_cpu_p99_ms"] = float(np.percentile(cpu[kind], 99))  # without the waits for a core that others have
    return {"asked": float(len(took["cone"])), **out}


def measure(rows: int, folder: Path | str, *, laid: bool = False) -> dict[str, Any]:
    """All of it."""
    sky = Sky(rows // AN_OBJECT)
    filled = lay(folder, sky, rows=rows) if laid and isinstance(folder, Path) else fill(folder, sky, rows=rows)
    found: dict[str, Any] = {"message_us": read_messages(), "filled": filled}
    print(json.dumps(found["filled"]), flush=True)
    found["alone"] = questions(folder, sky, seconds=3.0)
    start = rows
    for name, rate in (("at 2,000/s", 2_000.0), ("as fast as it can", 0.0)):
        out: Any = multiprocessing.get_context("spawn").Queue()
        writer = multiprocessing.get_context("spawn").Process(
            target=keep_writing, args=(folder, sky), kwargs={"start": start, "rate": rate, "seconds": 8.0, "out": out}
        )
        writer.start()
        out.get()
        found[name] = questions(folder, sky, seconds=7.0) | out.get()
        writer.join()
        start += 400_000
    return found


def main() -> None:
    """Print the figures."""
    parser = argparse.ArgumentParser(description="The history while it is written to.")
    parser.add_argument("rows", nargs="?", type=int, default=1_000_000)
    parser.add_argument("--laid", action="store_true", help="lay the first rows into the file in their order")
    parser.add_argument("--postgres", metavar="URL", help="of a database in which a history may be overwritten; else a file")
    given = parser.parse_args()
    folder = Path(tempfile.mkdtemp(prefix="protonova-history-"))
    try:
        if given.postgres:
            with PostgresWriter(given.postgres) as writer:
                writer.clear()
        print(json.dumps(measure(given.rows, given.postgres or folder, laid=given.laid), indent=1))
    finally:
        shutil.rmtree(folder)


if __name__ == "__main__":
    main()
