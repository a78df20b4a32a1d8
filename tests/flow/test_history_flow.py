"""The history on a real broker: the same rows as the topics, whatever is killed, and counts that add up."""

from __future__ import annotations

import asyncio
import random
import sys
import time
from pathlib import Path
from typing import Any

import pytest
from pydantic import SecretStr

from console.child import Child
from data.history import engines
from data.history.nights import night_of
from data.history.portion import HistoryError
from schemas.records.codec import decode_detection
from streams.kafka import topics
from tests.flow.conftest import Bench, header
from tests.flow.stand_in import packet

EVERYTHING = frozenset({0, 2, 3})
NOTHING: frozenset[int] = frozenset()


def start_historian(bench: Bench, *options: str) -> Child:
    url = bench.settings.history_url()
    own = {"PROTONOVA_HISTORY": url} if url else {}  # a secret, which a child reads where we did
    where = {"PYTHONPATH": str(Path(__file__).parents[2]), **bench.settings.environment(), **own}
    command = [sys.executable, "-m", "console.cli", "historian", *options]
    return Child(command, bench.settings.state / "logs" / "historian.log", environment=where)


def stored(bench: Bench) -> dict[str, Any]:
    """Every row of the history."""
    reader = engines.reader(bench.settings)

    def ask(question: str) -> list[Any]:
        return reader._ask(question)

    try:
        names = dict(ask("SELECT id, name FROM topics"))
        alerts = ask('SELECT survey, candid, digest, body, topic, partition, "offset" FROM alerts')
        return {
            "alerts": {f"{s}:{c}:{d.hex()}": (body, names.get(t), p, o) for s, c, d, body, t, p, o in alerts},
            "rejects": {(names[t], p, o) for t, p, o in ask('SELECT topic, partition, "offset" FROM rejects')},
            "points": ask("SELECT count(*) FROM detections")[0][0],
            "summed": ask("SELECT sum(n) FROM objects")[0][0],
            "embeddings": ask("SELECT count(*) FROM embeddings")[0][0],
        }
    finally:
        reader.close()


async def counted(bench: Bench, packets: int, within: float = 60.0, *, rights: frozenset[int] = EVERYTHING) -> dict[str, Any]:
    """The counts of tonight, once every packet has its outcome in them."""
    reader = engines.reader(bench.settings)
    deadline, said = time.monotonic() + within, "nothing"
    try:
        while True:
            try:
                rows = reader.counts(night_of(int(1000 * time.time()), "ztf"), private=rights)
                found = next((row.plain() for row in rows if row.topic == "alerts.ztf"), None)
                if found is not None and found["in"] == packets and not found["in_hand"]:
                    return found
                said = str(found)
            except HistoryError as error:
                said = str(error)
            assert time.monotonic() < deadline, said + (bench.settings.state / "logs" / "historian.log").read_text()
            await asyncio.sleep(0.2)
    finally:
        reader.close()


async def check(bench: Bench) -> None:
    """The history is what the topics hold, row for row."""
    found = await bench.everything(topics.DETECTIONS, topics.PRIVATE, topics.REJECTED)
    wanted = {}
    for record in [*found[topics.DETECTIONS], *found[topics.PRIVATE]]:
        d = decode_detection(record.value)
        topic, partition, offset = (header(record, "origin") or "").split(":")
        wanted[d.packet_id] = record.value[5:], topic, int(partition), int(offset)
    rejected = {(header(r, "topic"), int(header(r, "partition") or -1), int(header(r, "offset") or -1)) for r in found[topics.REJECTED]}
    have = stored(bench)
    assert have["alerts"].keys() == wanted.keys()
    assert {name: row[:2] for name, row in have["alerts"].items()} == {name: row[:2] for name, row in wanted.items()}
    assert have["rejects"] == rejected
    assert have["points"] == have["summed"] == len(wanted)


def night_of_packets(n: int, seed: int) -> list[bytes]:
    """Packets of which some are bad, some private, some sent twice."""
    rng = random.Random(seed)
    out: list[bytes] = []
    for i in range(n):
        kind = rng.random()
        if kind < 0.05:
            out.append(b"bad packet %d" % i)
        elif kind < 0.12 and out:
            out.append(rng.choice([p for p in out if p.startswith(b"ztf")] or [packet(seed * 10**6 + i)]))
        else:
            out.append(packet(seed * 10**6 + i, programid=2 if kind > 0.9 else 1, size=200))
    return out


async def test_killed_in_the_middle_it_has_every_row_once_and_the_night_adds_up(bench: Bench) -> None:
    historian = start_historian(bench)
    try:
        bench.start()
        await bench.ready()
        first, second = night_of_packets(1500, 1), night_of_packets(1500, 2)
        await bench.publish(first)
        historian.kill()
        await bench.publish(second)
        historian = start_historian(bench)
        await bench.all_committed()
        found = await counted(bench, len(first) + len(second))
        assert found["state"] == "balanced"
        assert found["rejected"] == sum(p.startswith(b"bad") for p in first + second) == found["rejected_by_reason"]["unknown_survey"]
        assert found["detections"] + found["duplicates"] + found["rejected"] == found["in"]
        assert found["worker"]["duplicates"] == found["duplicates"] > 0
        await check(bench)
        public = await counted(bench, found["in"] - sum(b":2:" in p for p in {*first, *second}), rights=NOTHING)
        assert public["state"] == "balanced"
        reader = engines.reader(bench.settings)
        hidden = next(p for p in first if b":2:" in p).split(b":")
        assert reader.alert("ztf", int(hidden[1]), private=NOTHING) is None
        assert reader.alert("ztf", int(hidden[1]), private=EVERYTHING) is not None
        reader.close()
    finally:
        historian.stop()


@pytest.mark.slow
@pytest.mark.parametrize("engine", ["sqlite", pytest.param("postgres", marks=pytest.mark.nightly)])
async def test_killed_ten_times_under_load(bench: Bench, engine: str, request: pytest.FixtureRequest) -> None:
    if engine == "postgres":
        url = request.getfixturevalue("postgres")
        bench.settings = bench.settings.model_copy(update={"history": SecretStr(url)})
    rng = random.Random(5)
    historian = start_historian(bench)
    try:
        bench.start()
        await bench.ready()
        sent = 0
        for turn in range(10):
            packets = night_of_packets(1200, 10 + turn)
            await bench.publish(packets)
            sent += len(packets)
            await asyncio.sleep(rng.uniform(0.5, 3.0))
            historian.kill()
            historian = start_historian(bench)
        await bench.all_committed()
        found = await counted(bench, sent)
        assert found["state"] == "balanced"
        await check(bench)
        before = stored(bench)
        historian.stop()
        historian = start_historian(bench, "--rebuild")
        await counted(bench, sent)
        assert stored(bench) == before
    finally:
        historian.stop()
