"""Rejected packets on a real broker: listed, shown, sent again once, and a flow that halts where nearly all of them are rejected."""

from __future__ import annotations

import asyncio
import json
import os
import subprocess
import sys
from pathlib import Path

import pytest

from streams.agents.redrive import redrive, rejected
from streams.kafka import topics
from tests.flow.conftest import Bench, header, until
from tests.flow.stand_in import packet


def protonova(bench: Bench, *arguments: str) -> subprocess.CompletedProcess[str]:
    """Run a command on the test's broker."""
    where = {"PYTHONPATH": str(Path(__file__).parents[2]), "NO_COLOR": "1", "COLUMNS": "200", **bench.settings.environment()}
    return subprocess.run(
        [sys.executable, "-m", "console.cli", *arguments],
        capture_output=True,
        text=True,
        env={**os.environ, **where},
        timeout=120,
        check=False,
    )


async def test_a_rejected_packet_is_listed_shown_and_sent_again_once(bench: Bench) -> None:
    bench.start()
    await bench.ready()
    await bench.publish([b"bad 1", packet(1), b"bad 2"])
    await bench.read(2, topics.REJECTED)
    listed = protonova(bench, "rejects", "ls", "--json")
    rows = [json.loads(line) for line in listed.stdout.splitlines()]
    assert [row["attempt"] for row in rows] == [1, 1]
    assert {row["from"].split("/")[0] for row in rows} == {"alerts.ztf"}
    shown = protonova(bench, "rejects", "show", rows[0]["id"])
    assert json.loads(shown.stdout)["packet"]["form"] == "neither an Avro container nor a framed packet"
    dry = protonova(bench, "rejects", "redrive", "--dry-run")
    assert "would send 2 packets" in dry.stdout, dry.stderr
    first, second = protonova(bench, "rejects", "redrive"), protonova(bench, "rejects", "redrive", rows[0]["id"], rows[1]["id"])
    assert "sent 2 packets" in first.stdout, first.stderr
    assert "sent 0 packets" in second.stdout, second.stderr
    assert "2 were re-driven before" in second.stdout
    # They are rejected again, each once, with a higher attempt; nothing else comes.
    records = (await bench.read(4, topics.REJECTED))[topics.REJECTED]
    await asyncio.sleep(2.0)  # what would come twice
    records = (await bench.everything(topics.REJECTED))[topics.REJECTED]
    assert sorted(header(r, "attempt") or "" for r in records) == ["1", "1", "2", "2"]
    wrong = protonova(bench, "rejects", "ls", "--reason", "bad_avo")
    assert wrong.returncode == 2
    assert wrong.stderr.count("\n") == 1
    assert "did you mean bad_avro" in wrong.stderr


@pytest.mark.slow
async def test_a_call_that_is_killed_in_between_sends_nothing_twice(bench: Bench) -> None:
    bench.start()
    await bench.ready()
    await bench.publish([b"bad %d" % i for i in range(250)])
    await bench.read(250, topics.REJECTED)
    bench.workers[0].kill()
    code = "import sys; sys.argv[0] = 'protonova'; from console.cli import main; main()"
    where = {**os.environ, "PYTHONPATH": str(Path(__file__).parents[2]), **bench.settings.environment()}
    for pause in (0.9, 1.1, 1.3, 1.6):
        child = await asyncio.create_subprocess_exec(sys.executable, "-c", code, "rejects", "redrive", env=where)
        await asyncio.sleep(pause)
        if child.returncode is None:
            child.kill()
        await child.wait()
    await redrive(bench.settings)
    assert (await redrive(bench.settings)).sent == 0
    bench.start()
    await bench.ready()
    await bench.read(500, topics.REJECTED)
    await asyncio.sleep(2.0)
    second = [p async for p in rejected(bench.settings) if p.attempt == 2]
    assert sorted(p.value for p in second) == sorted(b"bad %d" % i for i in range(250))


async def test_the_flow_halts_where_everything_is_rejected_and_nothing_is_lost(bench: Bench) -> None:
    child = bench.start(PROTONOVA_REJECT_CONSECUTIVE="100", PROTONOVA_BATCH_SIZE="16")
    await bench.ready()
    await bench.publish([b"bad %d" % i for i in range(400)])
    await until(lambda: child.poll() is not None, 60, bench.log)
    assert child.poll() == 65, bench.log()
    assert "in a row were rejected" in bench.log()
    assert "PROTONOVA_REJECT_CONSECUTIVE=0" in bench.log()
    before = [p async for p in rejected(bench.settings)]
    assert len(before) < 200  # the topic was not drained
    bench.start(PROTONOVA_REJECT_CONSECUTIVE="0", PROTONOVA_REJECT_RATIO="0")
    await bench.ready()
    await bench.all_committed()
    assert {p.value async for p in rejected(bench.settings)} == {b"bad %d" % i for i in range(400)}
