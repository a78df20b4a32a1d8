"""A small hostile Avro container on our own output topics is counted and passed over: status page, drift and watch go on."""

from __future__ import annotations

import sys
from pathlib import Path

sys.dont_write_bytecode = True
sys.path.insert(0, str(Path(__file__).resolve().parents[1] / "_lib"))

import asyncio
import json
import socket
import subprocess
import urllib.request

from case import PROJECT, SCRATCH, bounded, broker, check, command, done, os, score, send, time, ztf_packets

from schemas.avro.writer import varint
from schemas.records.codec import encode

NULLS = {"type": "array", "items": "null"}


def container(schema: object, body: bytes) -> bytes:
    """A container of one record, by hand: its writer schema is whatever we say."""

    def chunk(data: bytes) -> bytes:
        return varint(len(data)) + data

    sync = bytes(range(16))
    header = b"Obj\x01" + varint(1) + chunk(b"avro.schema") + chunk(json.dumps(schema, separators=(",", ":")).encode()) + b"\0" + sync
    return header + varint(1) + chunk(body) + sync


def record(name: str, kind: object) -> dict:
    return {"type": "record", "name": name, "namespace": "protonova", "fields": [{"name": "a", "type": kind}]}


HUGE = varint(2**62) + b"\0"


def hostile(name: str) -> dict[str, bytes]:
    """What such a container may say."""
    return {
        "an array of 2^62 nulls": container(record(name, NULLS), HUGE),
        "a schema that holds itself": container(record(name, f"protonova.{name}"), b""),
        "another record's schema": container(record("Other", "string"), b"\x02x"),
        "a schema without a name": container({"type": "record", "fields": []}, b""),
        "a schema that is a number": container(5, b""),
    }


BODY = """
from schemas.records.codec import {function}
data = bytes.fromhex("{data}")
try:
    {function}(data)
    print("accepted")
except ValueError as error:
    print("refused:", type(error).__name__)
"""
for function, name in (("decode_detection", "Detection"), ("decode_summary", "ScoreSummary")):
    for what, data in hostile(name).items():
        got = bounded(BODY.format(function=function, data=data.hex()), seconds=4.0)
        check(f"{function}: {what}, {len(data)} bytes", got, "refused: PacketError", got == "refused: PacketError")

GOOD = score(ztf_packets(3))


def watch(settings, seconds: float = 15.0) -> str:
    """How many good detections `protonova watch` prints, and how it ends."""
    ran = command("watch", "--from-beginning", "--json", "--count", "3", "--kafka", settings.kafka, seconds=seconds)
    end = "does not end" if ran.status is None else f"status {ran.status}"
    return f"{sum(line.startswith('{') for line in ran.out.splitlines())} of 3 detections, {end}"


def drift(settings, data: bytes) -> str:
    """Whether `protonova drift` still runs, and idles, some seconds after it read the record."""
    program = "import sys; sys.argv[0] = 'protonova'; from console.cli import main; main()"
    where = {**os.environ, "PYTHONPATH": str(PROJECT), **settings.environment()}
    with (SCRATCH / "drift.log").open("w") as log:
        child = subprocess.Popen([sys.executable, "-c", program, "drift"], cwd=SCRATCH, env=where, stdout=log, stderr=log)
        try:
            time.sleep(6.0)
            asyncio.run(send(settings, [data], "telemetry.scores"))
            time.sleep(3.0)
            ended, before = child.poll(), ticks(child.pid)
            time.sleep(2.0)
            if child.poll() is not None:
                return f"ended with status {child.poll()}"
            return "runs" if ended is None and ticks(child.pid) - before < 0.6 else "hangs (a core is busy)"
        finally:
            child.kill()
            child.wait()


def ticks(pid: int) -> float:
    """Seconds of processor time of a process."""
    try:
        fields = open(f"/proc/{pid}/stat").read().rpartition(")")[2].split()
    except OSError:
        return 0.0
    return (int(fields[11]) + int(fields[12])) / os.sysconf("SC_CLK_TCK")


class Page:
    """`protonova status --serve`, which a hostile record may hang or end."""

    def __init__(self, settings) -> None:
        with socket.socket() as probe:
            probe.bind(("127.0.0.1", 0))
            self.port = probe.getsockname()[1]
        program = "import sys; sys.argv[0] = 'protonova'; from console.cli import main; main()"
        arguments = ["status", "--serve", "--port", str(self.port), "--kafka", settings.kafka]
        where = {**os.environ, "PYTHONPATH": str(PROJECT)}
        self.child = subprocess.Popen([sys.executable, "-c", program, *arguments], cwd=SCRATCH, env=where,
                                      stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)  # fmt: skip

    def shown(self) -> list[str] | None:
        """Objects of the detections on the page; None: it does not answer."""
        try:
            with urllib.request.urlopen(f"http://127.0.0.1:{self.port}/status.json", timeout=2) as answer:
                return [row["object_id"] for row in json.load(answer)["detections"]]
        except (OSError, ValueError):
            return None

    def shows(self, name: str, within: float) -> str:
        end, seen = time.monotonic() + within, None
        while time.monotonic() < end:
            if self.child.poll() is not None:
                return f"ended with status {self.child.poll()}"
            seen = self.shown()
            if seen is not None and name in seen:
                return "shows the detection"
            time.sleep(0.5)
        return "does not answer any more" if seen is None else "does not show the detection"

    def stop(self) -> None:
        self.child.kill()
        self.child.wait()


def page(settings, data: bytes | None) -> str:
    """What the status page does with a good detection that comes together with such a record."""
    served = Page(settings)
    try:
        end = time.monotonic() + 30
        while (seen := served.shown()) is None or GOOD[0].object_id not in seen:  # it reads what comes from now on
            if time.monotonic() > end:
                return "control failed: no detection is shown at all"
            asyncio.run(send(settings, [encode(GOOD[0])], "detections", partition=0))
            time.sleep(1.5)
        asyncio.run(send(settings, [*([data] if data else []), encode(GOOD[1])], "detections", partition=0))
        return served.shows(GOOD[1].object_id, 8.0)
    finally:
        served.stop()


with broker() as base:
    first = hostile("Detection")["an array of 2^62 nulls"]
    asyncio.run(send(base, [first, *map(encode, GOOD)], "detections", partition=0))
    check("watch, an array of 2^62 nulls before three detections", watch(base), "3 of 3 detections, status 0")
    check("control: the status page, a good detection", page(base, None), "shows the detection")
    for what, data in list(hostile("Detection").items())[:3]:
        check(f"the status page, {what} before a good detection", page(base, data), "shows the detection")
    for what, data in list(hostile("ScoreSummary").items())[:3]:
        check(f"drift, {what} on telemetry.scores", drift(base, data), "runs")
done()
