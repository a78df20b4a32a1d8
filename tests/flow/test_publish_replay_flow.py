"""Every real packet published into a running Protonova is accounted for, and a replay without a broker gives the same."""

from __future__ import annotations

import asyncio
import json
import os
import subprocess
import sys
from collections import Counter
from pathlib import Path
from typing import Any

import httpx
import numpy as np
import pyarrow.parquet as pq
import pytest

from console.commands.run import Supervisor
from console.outcome_counts import Listener
from schemas.records.detection import Detection
from schemas.taxonomy import SLUGS
from settings.model import Settings
from streams.kafka import topics
from tests.flow.conftest import until

EXPECTED: dict[str, Any] = {
    # Over everything in ztf_alerts and lsst_alerts: what is published where, what is skipped, what becomes of it.
    "packets": 907,
    "topics": {"alerts.ztf": 865, "alerts.lsst": 42},
    "skipped": {"Avro schema": 88, "JSON": 16, "text": 12, "HDF5 file": 4, "CSV table": 2, "NumPy array": 1},
    "detections": 889,
    "duplicates": 13,
    "rejected": {"unknown_survey": 5},
}


def protonova(settings: Settings, *arguments: str, expect: int = 0, timeout: float = 300) -> subprocess.CompletedProcess[str]:
    done = subprocess.run(
        [sys.executable, "-m", "console.cli", *arguments],
        env={**os.environ, **settings.environment()},
        capture_output=True,
        text=True,
        timeout=timeout,
        check=False,
    )
    assert done.returncode == expect, done.stderr
    return done


def essence(d: Detection | dict[str, Any]) -> tuple[Any, ...]:
    """What must be the same, probabilities bit for bit."""
    get = d.__getitem__ if isinstance(d, dict) else lambda name: getattr(d, name)
    classes = [
        (c["name"], c["probability"], c["prior_probability"]) if isinstance(c, dict) else (c.name, c.probability, c.prior_probability)
        for c in get("classes")
    ]
    numbers = tuple(np.float32(v).tobytes() for c in classes for v in c[1:])
    return (
        get("detection_id"),
        get("top_class"),
        tuple(c[0] for c in classes),
        numbers,
        np.float32(get("novelty")).tobytes(),
        tuple(get("conformal_set")),
    )


def page_of(supervisor: Supervisor) -> dict[str, Any]:
    """What the status page shows; nothing before it is served."""
    address = supervisor.status_page
    if address is None:
        return {}
    shown: dict[str, Any] = httpx.get(f"{address.rstrip('/')}/status.json", timeout=10).json()
    return shown


@pytest.mark.timeout(900)
async def test_real_packets_live_and_replayed(bench: Any, shared: Path, tmp_path: Path) -> None:
    settings: Settings = bench.settings.model_copy(update={"status_port": 0})
    paths = [str(shared / "ztf_alerts"), str(shared / "lsst_alerts")]
    supervisor = Supervisor(settings)
    await asyncio.to_thread(supervisor.start)
    try:
        await until(lambda: page_of(supervisor).get("looked") is not None, 120)
        done = await asyncio.to_thread(protonova, settings, "publish", *paths, "--report", str(tmp_path / "publish.json"))
        published = json.loads((tmp_path / "publish.json").read_text())
        assert "907 packets published" in done.stdout
        async with Listener(settings) as listener:
            assert await listener.until(published["packets"], 120), vars(listener.counts)
            counts = listener.counts
        await until(lambda: page_of(supervisor)["totals"]["in"] >= published["packets"], 60)
        page = page_of(supervisor)
        watched = await asyncio.to_thread(protonova, settings, "watch", "--from-beginning", "--json", "--count", str(len(counts.arrivals)))
    finally:
        await asyncio.to_thread(supervisor.stop)
    assert {k: published[k] for k in ("packets", "topics", "skipped")} == {k: EXPECTED[k] for k in ("packets", "topics", "skipped")}
    assert published["failed"] == {}
    live = {"detections": len(counts.arrivals), "duplicates": counts.duplicates, "rejected": dict(counts.rejected)}
    assert live == {k: EXPECTED[k] for k in live}

    # The same paths without a broker.
    out, report = tmp_path / "scores.parquet", tmp_path / "replay.json"
    labels = shared / "ztf_alerts" / "LABELS.csv"
    done = await asyncio.to_thread(
        protonova,
        settings,
        "replay",
        *paths,
        "--out",
        str(out),
        "--report",
        str(report),
        "--labels",
        str(labels),
    )
    replayed = json.loads(report.read_text())
    assert {k: replayed[k] for k in ("packets", *live)} == {"packets": EXPECTED["packets"], **live}
    assert replayed["skipped"] == EXPECTED["skipped"]
    # One line of error for each thing that is not a packet, and no traceback.
    assert len(done.stderr.splitlines()) == sum(replayed["skipped"].values())
    assert all(line.startswith("protonova: skipped ") for line in done.stderr.splitlines())
    assert replayed["labels"]["labelled"] > 200

    rows = pq.read_table(out).to_pylist()
    assert Counter(r["kind"] for r in rows) == {"detection": 889, "rejected": 5, "duplicate": 13}
    assert Counter(essence(r) for r in rows if r["kind"] == "detection") == Counter(essence(a.detection) for a in counts.arrivals)
    assert all(r["reason"] and r["error_class"] for r in rows if r["kind"] == "rejected")

    # One decision: page, topics, watch and replay count the same by class.
    found = [r for r in rows if r["kind"] == "detection"]
    seen = [json.loads(line)["decision"] for line in watched.stdout.splitlines()]
    assert page["classes"] == Counter(r["decision_class"] for r in found) == Counter(d["class_name"] for d in seen) == replayed["classes"]
    names = [topics.ANOMALY, *(topics.class_topic(name) for name in SLUGS)]
    on_topics = {name: len(records) for name, records in (await bench.everything(*names)).items() if records}
    assert on_topics == {topics.class_topic(name): n for name, n in page["published"].items()}
    assert page["published"] == Counter(r["decision_class"] for r in found if r["decision_published"]) == replayed["published"]
    assert page["published"] == Counter(d["class_name"] for d in seen if d["published"])

    # And out of the topic: all of it, and a stretch of it.
    again = tmp_path / "again.parquet"
    await asyncio.to_thread(protonova, settings, "replay", "kafka://alerts.ztf", "kafka://alerts.lsst", "--out", str(again))
    rows = pq.read_table(again).to_pylist()
    assert Counter(essence(r) for r in rows if r["kind"] == "detection") == Counter(essence(a.detection) for a in counts.arrivals)
    await asyncio.to_thread(protonova, settings, "replay", "kafka://alerts.ztf?from=10&to=20", "--out", str(again))
    origins = pq.read_table(again, columns=["origin"]).column(0).to_pylist()
    assert sorted(origins) == sorted(f"alerts.ztf[{p}]@{o}" for p in range(settings.partitions) for o in range(10, 20))
    await asyncio.to_thread(protonova, settings, "replay", "kafka://alerts.ztf?from=2100-01-01", "--out", str(again), expect=1)


async def test_a_rate_is_kept_and_unknown_containers_are_counted(bench: Any, shared: Path, tmp_path: Path) -> None:
    settings: Settings = bench.settings
    boom = shared / "lsst_alerts" / "boom"
    done = await asyncio.to_thread(
        protonova, settings, "publish", str(boom), "--rate", "20/s", "--test", "--report", str(tmp_path / "r.json")
    )
    figures = json.loads((tmp_path / "r.json").read_text())
    assert (n := figures["packets"]) > 4, done.stdout
    assert figures["packets_per_second"] < 20 * n / (n - 1) + 0.1, "the first goes at once; a busy machine may be slower"
    records = await bench.everything("alerts.ztf", "alerts.lsst")
    headers = [dict(r.headers) for rs in records.values() for r in rs]
    assert len(headers) == figures["packets"]
    assert all(h["_test"] == b"true" and h["alert_tense"] == b"test" and h["origin"] for h in headers)
    await asyncio.to_thread(protonova, settings, "publish", str(boom), "--topic", "nowhere", expect=1)
