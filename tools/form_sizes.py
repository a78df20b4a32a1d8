"""What a form of the detections costs, bytes and CPU: `python -m tools.form_sizes [ALERTS]` prints the table of docs/clients.md.

a simulated night, the published model → a Markdown table
"""

from __future__ import annotations

import itertools
import sys
import time

from data.simulate.night import night
from pipeline.score import score
from pipeline.state import load
from schemas.records import codec
from schemas.records.detection import Detection
from schemas.records.dialects import DIALECTS, Write
from tools.docs.tables_of_docs import grid

BATCH = 64
REPEATS = 20
"""Passes over the detections, of which the fastest counts."""


def detections(n: int) -> list[Detection]:
    """Scores of a simulated night's first packets."""
    packets, state = [packet for packet, _ in itertools.islice(night(seed=7, n=n), n)], load()
    batches = [packets[at : at + BATCH] for at in range(0, len(packets), BATCH)]
    return [found for batch in batches for found in score(batch, state) if isinstance(found, Detection)]


def measure(write: Write, found: list[Detection]) -> tuple[float, float]:
    """Mean bytes of a message, and CPU of writing one [us]."""
    bodies = [codec.encode_both(d)[0] for d in found]
    messages = [write(d, body) for d, body in zip(found, bodies, strict=True)]
    best = float("inf")
    for _ in range(REPEATS):
        began = time.thread_time()
        for d, body in zip(found, bodies, strict=True):
            write(d, body)
        best = min(best, time.thread_time() - began)
    return sum(len(m.key) + len(m.value) for m in messages) / len(found), 1e6 * best / len(found)


def table(n: int) -> str:
    """Every form, Markdown."""
    found = detections(n)
    costs = {form: measure(write, found) for form, write in DIALECTS.items()}
    base = costs["confluent"][1]
    rows = [(f"`{form}`", f"{size:,.0f}", f"{max(0.0, us - base):.0f}") for form, (size, us) in costs.items()]
    return grid(("form", "key and value [bytes]", "CPU beyond `confluent` [µs]"), rows)


if __name__ == "__main__":
    print(table(int(sys.argv[1]) if len(sys.argv) > 1 else 1000), end="")
