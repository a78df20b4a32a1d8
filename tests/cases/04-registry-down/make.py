"""A schema registry that is ill says nothing about a packet: wait for it, reject nothing. Only 404 is a packet's fault."""

from __future__ import annotations

import sys
from pathlib import Path

sys.dont_write_bytecode = True
sys.path.insert(0, str(Path(__file__).resolve().parents[1] / "_lib"))

import asyncio
import struct
import threading
import time
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer

from case import Worker, broker, check, done, encode_rubin, json, records, rejected, rubin_record, rubin_schema, score, send, wait_for

from schemas.avro.schema_store import SchemaStore
from settings.model import Settings

N, ID = 100, 77_001  # an id that nobody ships; the schema behind it is Rubin's 9.0


class Registry:
    """An HTTP server that answers as it is told: a status, or 200 with the schema."""

    def __init__(self) -> None:
        self.status, self.asked, self.first = 503, 0, 0.0
        outer = self

        class Answer(BaseHTTPRequestHandler):
            def do_GET(self) -> None:
                outer.asked += 1
                outer.first = outer.first or time.monotonic()
                body = json.dumps({"schema": json.dumps(rubin_schema())} if outer.status == 200 else {"error_code": 40403}).encode()
                self.send_response(outer.status)
                self.send_header("Content-Type", "application/json")
                self.send_header("Content-Length", str(len(body)))
                self.end_headers()
                self.wfile.write(body)

            def log_message(self, *_: object) -> None: ...

        self.server = ThreadingHTTPServer(("127.0.0.1", 0), Answer)
        self.url = f"http://127.0.0.1:{self.server.server_port}"
        threading.Thread(target=self.server.serve_forever, daemon=True).start()


def packets(n: int) -> list[bytes]:
    out = []
    for k in range(n):
        record = rubin_record(4)
        record["diaSourceId"] = record["diaSource"]["diaSourceId"] = record["diaSourceId"] + k
        out.append(struct.pack(">bI", 0, ID) + encode_rubin(record)[5:])
    return out


def tried(url: str, seconds: float = 8.0) -> str:
    """What `score` does with the packets: rejections, an exception (fine: the batch comes again), or it waits (fine too)."""
    told: list[str] = []

    def run() -> None:
        try:
            outcomes = score(GOOD, SchemaStore(registry=url))
            told.append(f"{sum(map(bool, map(rejected, outcomes)))} of {len(outcomes)} rejected")
        except Exception as error:
            told.append(f"0 rejected, raises {type(error).__name__}")

    thread = threading.Thread(target=run, daemon=True)
    thread.start()
    thread.join(seconds)
    return told[0] if told else "0 rejected, waits"


GOOD = packets(N)
score(GOOD[:0])  # load the model
registry = Registry()
got = tried(registry.url)
check("registry answers 503", f"{got}; asked {registry.asked} times", "0 rejected; asked a few times (10 at most)",
      got.startswith("0 rejected") and registry.asked <= 10)  # fmt: skip
got = tried("http://127.0.0.1:9")
check("registry is down (connection refused)", got, "0 rejected", got.startswith("0 rejected"))
lost = Registry()
lost.status = 404
got = tried(lost.url)
check("control, registry answers 404: the packets' fault, asked once", f"{got}; asked {lost.asked} times", f"{N} of {N} rejected; asked 1 times")


async def live(settings: Settings) -> None:
    """The worker: the registry is ill for 12 s after it is first asked, then well again."""
    await send(settings, GOOD, "alerts.lsst")

    async def ended() -> bool:
        worker.look()
        if ill.first and time.monotonic() - ill.first > 12:
            ill.status = 200
        found = await records(settings, "detections", "alerts.rejected")
        return len(found) >= N

    await wait_for(ended, 75.0)
    found = await records(settings, "detections", "alerts.rejected")
    told = {name: sum(r.topic == name for r in found) for name in ("detections", "alerts.rejected")}
    check(f"worker, registry ill (503) for 12 s, asked {ill.asked} times", told, {"detections": N, "alerts.rejected": 0})
    check("worker: how often an ill registry is asked", ill.asked, "50 at most in 12 s and after", ill.asked <= 50)


ill = Registry()
with broker() as base:
    worker = Worker(base.model_copy(update={"schema_registry": ill.url}), again=True)
    worker.ready()
    try:
        asyncio.run(live(base))
    finally:
        worker.stop()
done()
