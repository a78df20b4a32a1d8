"""What taught classes cost a worker: `python -m benchmarks.teaching [CLASSES] [--report FILE]`.

real packets, classes taught from twenty of them each → CPU a packet with them and without [µs]; what a worker's start takes longer [s]

CPU time of the process with one thread a library. Both states judge the same micro-batches in turns, from embeddings to the bytes of
the records; of each stage the fastest of many passes counts, since what else runs on the machine slows all. Start: records decoded, the
head and the state made of them; reading the records from Kafka is not in it. Targets: 3 µs a packet, 1 s.
"""

from __future__ import annotations

import argparse
import gc
import json
import os
import sys
import time
from pathlib import Path
from typing import Any

BATCH, SHOTS, ROUNDS = 64, 20, 41
PACKET_US, START_S = 3.0, 1.0
"""Targets."""
STAGES = ("head", "decision", "records", "their bytes")


def start() -> int:
    """One thread each; the libraries read these when they are imported."""
    for name in ("OMP_NUM_THREADS", "MKL_NUM_THREADS", "OPENBLAS_NUM_THREADS", "NUMBA_NUM_THREADS"):
        os.environ[name] = "1"
    parser = argparse.ArgumentParser("python -m benchmarks.teaching", description="What taught classes cost a worker.")
    parser.add_argument("classes", nargs="?", type=int, default=50)
    parser.add_argument("--report", type=Path, metavar="FILE")
    options = parser.parse_args()
    text = json.dumps(measure(options.classes), indent=1) + "\n"
    sys.stdout.write(text)
    if options.report is not None:
        options.report.write_text(text, encoding="utf-8")
    return 0


def measure(classes: int, *, rounds: int = ROUNDS) -> dict[str, Any]:
    """The figures.

    Parameters
    ----------
    classes : int
        Taught, each from `SHOTS` real packets.
    rounds : int
        Of each state over all micro-batches.
    """
    import numpy as np

    from benchmarks.machine import describe
    from benchmarks.packets import take
    from operators.decision import decide
    from operators.head import Views, judge
    from operators.namespace import to_host
    from pipeline.assemble import assemble
    from pipeline.embed import embed
    from pipeline.state import load
    from registry.bundle import load as load_bundle
    from registry.taught_classes import Example, Lesson, solve
    from schemas.records import codec
    from schemas.records.class_record import ClassRecord
    from streams.lessons import TaughtStates
    from streams.worker import COLLECT_AFTER

    bundle, base, found = load_bundle(), load(engine="onnxruntime"), take(8 * BATCH)
    batches = [base.decoder.decode(found.values[i : i + BATCH]).batch for i in range(0, 8 * BATCH, BATCH)]
    seen = [embed(batch, base.session) for batch in batches]
    views = Views(*(np.concatenate([to_host(getattr(one.views, name)) for one in seen]).astype(np.float32) for name in Views._fields))
    rng = np.random.default_rng(1)
    coded = {}
    for k in range(classes):
        rows = rng.choice(views.embedding.shape[0], SHOTS, replace=False)
        examples = tuple(Example(f"ztf:{k}:{i}", f"ZTF{k}x{i}", False) for i in rows)
        lesson = Lesson(f"taught-{k}", examples, Views(*(column[rows] for column in views)))
        record = solve(
            lesson, bundle.head, encoder_id=base.encoder.id, reference=bundle.reference, window=None, revision=1, taught_ms=1
        )  # fmt: skip
        coded[record.name] = codec.encode(record)

    def taught() -> Any:
        records = {name: codec.expect(value, ClassRecord) for name, value in coded.items()}
        state, left_out = TaughtStates(None, base).build(records, {})
        assert not left_out, left_out
        return state

    def score(state: Any) -> dict[str, float]:
        """CPU of each stage [s]."""
        spent = dict.fromkeys(STAGES, 0.0)
        for batch, one in zip(batches, seen, strict=True):
            at = [time.process_time()]
            judged = judge(one.views, state.head.weights)
            at.append(time.process_time())
            decided = decide(judged, np.asarray(batch.survey_scores), rule=state.head.rule)
            at.append(time.process_time())
            records = assemble(batch, judged, decided=decided, named=to_host(one.named), state=state, embedding=one.embedding)
            at.append(time.process_time())
            for record in records:
                codec.encode(record)
            at.append(time.process_time())
            for name, begun, ended in zip(STAGES, at[:-1], at[1:], strict=True):
                spent[name] += ended - begun
        return spent

    with_them = taught()
    score(with_them), score(base)
    begun = time.process_time()
    taught()
    started = time.process_time() - begun
    gc.freeze()  # as a worker does
    gc.set_threshold(COLLECT_AFTER)
    packets, passes = sum(map(len, batches)), [(score(with_them), score(base)) for _ in range(rounds)]
    least = [{name: min(one[which][name] for one in passes) / packets * 1e6 for name in STAGES} for which in (0, 1)]
    more = {name: round(least[0][name] - least[1][name], 2) for name in STAGES}
    us = round(sum(more.values()), 2)
    return {
        "classes": classes, "shots": SHOTS, "packets": packets, "of": found.source, "taught": len(with_them.head.weights.taught),
        "cpu_us_a_packet_more": more, "without_us": {name: round(value, 2) for name, value in least[1].items()},
        "start_s_more": round(started, 3), "record_bytes": len(next(iter(coded.values()))),
        "targets": [{"target": "CPU a packet", "reached": us, "limit": PACKET_US, "unit": "µs", "passed": us <= PACKET_US},
                    {"target": "start", "reached": round(started, 3), "limit": START_S, "unit": "s", "passed": started <= START_S}],
        "machine": describe(),
    }  # fmt: skip


if __name__ == "__main__":
    raise SystemExit(start())
