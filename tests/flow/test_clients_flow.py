"""The clients our users have: each example of docs/clients.md, run as it stands there, reads every detection once and unchanged.

The worker and the model are the real ones; the table of forms is the one of that page. The session's end prints what each client read.
"""

from __future__ import annotations

import asyncio
import importlib.metadata
import json
import os
import re
import subprocess
import sys
import time
import tomllib
from collections import Counter
from collections.abc import Iterator
from pathlib import Path
from typing import Any, NamedTuple

import pytest

from console.kafka_node.node import LocalKafka
from data.simulate.night import night
from pipeline.score import score
from pipeline.state import load
from schemas.records import codec
from schemas.records.detection import Detection, to_row
from schemas.records.table import subjects
from service.status.app import make_app
from service.status.figures import Figures
from settings.outputs import FORMS
from streams.kafka import topics
from tests.flow import conftest, forms_worker
from tests.flow.conftest import Bench, fresh
from tests.service.conftest import serve

pytestmark = pytest.mark.slow

PAGE = Path(__file__).parents[2] / "docs" / "clients.md"
TEXT = PAGE.read_text(encoding="utf-8")
BROKER, STATUS = "127.0.0.1:9092", "http://127.0.0.1:8580"
"""What the page writes for the two addresses."""
TABLE: dict[str, str] = tomllib.loads(re.search(r"```toml\n(.*?)```", TEXT, re.S).group(1))["dialects"]  # type: ignore[union-attr]
PACKETS = 40
WITHIN = 90.0
"""How long an example may take where all run at once [s]."""


class Example(NamedTuple):
    """A piece of code of the page."""

    client: str
    how: str
    """Which of the client's ways, where it has several."""
    form: str
    language: str
    code: str

    @property
    def topic(self) -> str:
        """What it reads."""
        return re.search(r"detections(\.[a-z-]+)?", self.code).group()  # type: ignore[union-attr]


HEADING = r"^### ([\w-]+)((?: \([\w -]+\))?), form `(\w+)`\n"
EXAMPLES = [Example(*found) for found in re.findall(HEADING + r".*?```(\w+)\n(.*?)```", TEXT, re.S | re.M)]


class Reading(NamedTuple):
    """What all clients read, and what there was to read."""

    rows: dict[Example, list[dict[str, Any]]]
    said: dict[Example, str]
    expected: dict[str, Detection]
    bench: Bench


def start(example: Example, folder: Path, addresses: dict[str, str]) -> subprocess.Popen[bytes]:
    """Run an example as a program of its own, in a folder of its own."""
    folder.mkdir()
    code = example.code
    for written, real in addresses.items():
        code = code.replace(written, real)
    if example.language == "python":
        (folder / "example.py").write_text(code + "\nimport json\nprint(*map(json.dumps, alerts), sep='\\n')\n")
        command = [sys.executable, "example.py"]
    else:
        command = ["sh", "-c", code]
    environment = {
        "PATH": f"{Path(sys.executable).parent}{os.pathsep}{os.environ['PATH']}",
        "HOME": str(folder),
        "XDG_CONFIG_HOME": str(folder),
    }
    with (folder / "out").open("wb") as out, (folder / "err").open("wb") as err:
        return subprocess.Popen(command, cwd=folder, env=environment, stdout=out, stderr=err)


def read_by_all(folder: Path, addresses: dict[str, str]) -> tuple[dict[Example, list[dict[str, Any]]], dict[Example, str]]:
    """Run every example at once."""
    running = {example: start(example, folder / str(i), addresses) for i, example in enumerate(EXAMPLES)}
    deadline = time.monotonic() + WITHIN
    rows: dict[Example, list[dict[str, Any]]] = {}
    said: dict[Example, str] = {}
    for i, (example, process) in enumerate(running.items()):
        try:
            process.wait(max(0.1, deadline - time.monotonic()))
        except subprocess.TimeoutExpired:
            process.kill()
            process.wait()
        said[example] = f"status {process.returncode}: " + (folder / str(i) / "err").read_text(errors="replace")[-2000:]
        lines = (folder / str(i) / "out").read_text(errors="replace").splitlines()
        rows[example] = [json.loads(line) for line in lines if line.startswith("{")]
    return rows, said


@pytest.fixture(scope="module")
def reading(kafka: LocalKafka, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Reading]:
    """A worker scores a few packets into each form; then all clients read."""
    folder = tmp_path_factory.mktemp("clients")
    bench = asyncio.run(fresh(kafka, folder))
    names = sorted(forms_worker.CLASSES)
    asyncio.run(topics.declare_classes(bench.settings, names))
    bench.start(program=forms_worker.__file__, PROTONOVA_DIALECTS=",".join(f"{topic}={form}" for topic, form in TABLE.items()))
    packets = [packet for packet, _ in night(7, PACKETS)]
    expected = {d.detection_id: codec.decode_detection(codec.encode(d)) for d in score(packets, load()) if isinstance(d, Detection)}
    try:
        asyncio.run(bench.ready())
        asyncio.run(bench.publish(packets))
        asyncio.run(bench.read(4 * len(expected), topics.DETECTIONS, *map(topics.class_topic, names)))
        with serve(make_app(Figures(time.time, ""), subjects(), host="127.0.0.1")) as port:
            rows, said = read_by_all(folder, {BROKER: str(bench.settings.kafka), STATUS: f"http://127.0.0.1:{port}"})
        yield Reading(rows, said, expected, bench)
    finally:
        for worker in bench.workers.values():
            worker.kill()


def test_the_page_has_an_example_of_each_client_and_form() -> None:
    assert {e.client for e in EXAMPLES} == {"confluent-kafka", "kafka-python", "hop-client", "fink-client", "lasair", "gcn-kafka"}
    assert {e.form for e in EXAMPLES} == set(FORMS)
    assert TABLE.keys() == set(map(topics.class_topic, forms_worker.CLASSES))
    assert all(TABLE.get(e.topic, "confluent") == e.form for e in EXAMPLES), "an example reads a topic of another form"


@pytest.mark.parametrize("example", EXAMPLES, ids=lambda e: f"{e.client}{e.how}-{e.form}")
def test_a_client_reads_every_detection_once_and_unchanged(example: Example, reading: Reading) -> None:
    rows = reading.rows[example]
    if example.how == " (rate-limited)":
        objects = {d.object_id for d in reading.expected.values()}
        assert Counter(row["object_id"] for row in rows) == dict.fromkeys(objects, 1), reading.said[example]
        count = f"{len(rows)}: each of {len(objects)} objects once"
    else:
        assert Counter(row["detection_id"] for row in rows) == dict.fromkeys(reading.expected, 1), reading.said[example]
        count = f"{len(rows)} of {PACKETS}"
    for row in rows:
        wanted = reading.expected[row["detection_id"]]
        if example.form == "json":
            assert row["candid"] == str(wanted.candid)
            assert codec.decode_detection(json.dumps(row).encode()) == wanted
        else:
            assert row == to_row(wanted)
    name, version = example.client + example.how, importlib.metadata.version(example.client)
    conftest.clients_read.append((name, version, example.form, count))


def test_the_page_has_the_table_of_what_was_read(reading: Reading) -> None:
    if len(conftest.clients_read) < len(EXAMPLES):
        pytest.skip("the tests of the clients were not all chosen")
    assert conftest.table_of_clients() in TEXT


def test_watch_reads_every_form(reading: Reading) -> None:
    for form in FORMS:
        topic = next((topic for topic, name in TABLE.items() if name == form), topics.DETECTIONS)
        klass = [] if topic == topics.DETECTIONS else ["--class", topic.removeprefix("detections.")]
        command = [
            sys.executable,
            "-m",
            "console.cli",
            "watch",
            *klass,
            "--from-beginning",
            "--json",
            "--count",
            str(len(reading.expected)),
        ]
        watched = subprocess.run(
            command, env={**os.environ, **reading.bench.settings.environment()}, capture_output=True, text=True, timeout=120, check=False
        )
        assert watched.returncode == 0, watched.stderr
        assert {json.loads(line)["detection_id"] for line in watched.stdout.splitlines()} == reading.expected.keys(), form
