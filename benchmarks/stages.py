"""Stage by stage, without a broker: µs of CPU an alert for both stacks, on the same packets, taken in turns.

packets, bundle → rows (stage, naive, ours) as medians over repeats, and what a whole packet costs

One thread each. The stacks alternate within every repeat, so that a machine that slows down slows both.
"""

from __future__ import annotations

import statistics
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass, fields, replace
from typing import Any

import numpy as np

from benchmarks import naive
from benchmarks.naive_packet import context_of, curve_of
from benchmarks.packets import Packets
from operators.context import context
from operators.decision import decide
from operators.features import comparable, features
from operators.head import Head, Views, judge, see
from operators.stamps import stamps
from operators.support import SHARPNESS, Support, solve
from operators.tokens import tokens
from operators.types import F32, RAW_STAMP
from pipeline.assemble import assemble
from pipeline.embed import embed
from pipeline.monitored import monitored
from pipeline.score import score
from pipeline.state import ScoringState
from registry.bundle import Bundle
from schemas.records import codec
from schemas.records.detection import Detection
from schemas.surveys.cutouts import Cutouts
from schemas.surveys.decode import Decoder
from schemas.surveys.identity import packet_digest
from streams.score_sums import ScoreSums

BATCH = 64
WHOLE = "bytes to scored bytes"
CLASSES, SHOTS = 20, 20
ROWS, SUMS = "telemetry: a row of each alert", "telemetry: sums and their records"
SECOND = 1000
"""Alerts that a worker reports at once: those of a second."""
MANY = f"head, {CLASSES} classes of {SHOTS} examples"


@dataclass(frozen=True, slots=True)
class Row:
    """One stage; µs of CPU an alert."""

    stage: str
    naive_us: float | None
    ours_us: float | None
    note: str = ""

    @property
    def ratio(self) -> float | None:
        return self.naive_us / self.ours_us if self.naive_us and self.ours_us else None

    def figures(self) -> dict[str, Any]:
        return {"stage": self.stage, "naive_us": self.naive_us, "ours_us": self.ours_us, "ratio": self.ratio, "note": self.note}


class Unread(Cutouts):
    """Leaves cut-outs alone: the decoder reads them in the same go, and they are measured beside it."""

    def read(self, data: bytes, stamp: F32, *, right: bool | None = None, top: bool | None = None) -> float | None:
        return None

    def read_windows(self, data: bytes, place: Any, *, stamps: F32) -> float | None:
        return 1.01


class Timer:
    """Sums CPU time by name over one pass, and keeps the passes."""

    def __init__(self) -> None:
        self.passes: dict[str, list[float]] = {}

    def run(self, name: str, work: Callable[[], Any], *, alerts: int) -> Any:
        """Do the work once and note its CPU time [µs an alert]."""
        start = time.process_time_ns()
        result = work()
        self.passes.setdefault(name, []).append((time.process_time_ns() - start) / 1e3 / alerts)
        return result

    def median(self, name: str) -> float | None:
        """The first pass warms up and does not count where there are more."""
        taken = self.passes.get(name)
        return statistics.median(taken[1:] or taken) if taken else None


def measure(packets: Packets, bundle: Bundle, *, state: ScoringState, repeats: int = 7) -> list[Row]:
    """Take both stacks apart.

    Parameters
    ----------
    packets : Packets
    bundle : Bundle
        The weights that both run with.
    state : ScoringState
        Ours, ready.
    repeats : int
        Passes over all packets, after one that warms up.
    """
    stack = naive.Naive(bundle, state)
    theirs, ours = Timer(), Timer()
    blind = Decoder(cutouts=Unread)
    many = _head_of_many(packets.values, state)
    for _ in range(repeats + 1):
        _naive_pass(stack, packets.values, timer=theirs)
        _our_pass(state, blind, many=many, packets=packets.values, timer=ours)
    both = [
        ("decode: Avro", "naive: fastavro's reader; ours: wanted fields into columns"),
        ("light curve, context columns", "ours: within decode"),
        ("cut-outs: inflate, FITS", "naive: gzip and astropy; ours: libdeflate, no further than the network looks"),
        ("stamps", "crop, background, noise, mask"),
        ("tokens", ""),
        ("context", ""),
        ("features", "naive: light_curve"),
        ("features, comparable", "ours: as the head reads them"),
        ("network", f"naive: torch eager, one at a time; ours: batches of {BATCH}"),
        ("head", "prototypes, novelty, conformal set"),
        (MANY, "the same alerts, judged by a head solved from them"),
        ("record out", "naive: fastavro"),
        (ROWS, "what drift monitors; within the whole"),
        (SUMS, f"at {SECOND:,} alerts a second; beside the whole, in the worker"),
        (WHOLE, "the whole, in one piece, without the broker"),
    ]
    rows = [Row(name, theirs.median(name), ours.median(name), note) for name, note in both]
    return [row for row in rows if row.naive_us is not None or row.ours_us is not None]


def _naive_pass(stack: naive.Naive, packets: Sequence[bytes], *, timer: Timer) -> None:
    n = len(packets)

    def each(name: str, function: Callable[..., Any], *columns: Sequence[Any]) -> list[Any]:
        results: list[Any] = timer.run(name, lambda: [function(*row) for row in zip(*columns, strict=True)], alerts=n)
        return results

    alerts = each("decode: Avro", naive.decode, packets)
    images = each("cut-outs: inflate, FITS", naive.cutouts, alerts)
    seen = each("stamps", naive.stamps, images)
    curves, contexts = zip(*each("light curve, context columns", _history, alerts), strict=True)
    read = each("tokens", naive.tokens, curves)
    around = each("context", naive.surroundings, contexts)
    named = each("features", naive.features, curves)
    embedded = each("network", stack.network, read, seen, around)
    judged = each("head", lambda pair, f: stack.head(pair[0], pair[1], named=f), embedded, named)
    each(
        "record out",
        lambda alert, curve, known, found, f: stack.record(alert, curve, context=known, judged=found, named=f),
        *(alerts, curves, contexts, judged, named),
    )
    each(WHOLE, stack.score, packets)


def _history(alert: dict[str, Any]) -> tuple[Any, Any]:
    curve = curve_of(alert)
    return curve, context_of(alert, curve)


def _head_of_many(packets: Sequence[bytes], state: ScoringState) -> Head:
    """A head of so many classes as a stream may be asked to know; what an alert costs it does not depend on what the classes mean."""
    seen = embed(state.decoder.decode([packets[i % len(packets)] for i in range(CLASSES * SHOTS)]).batch, state.session)
    known = state.head.weights
    views = Views(*(np.asarray(column, np.float32) for column in seen.views))
    label = np.repeat(np.eye(CLASSES, dtype=np.float32), SHOTS, axis=0)
    kinds = np.resize(known.zero_shot.T, (CLASSES, views.logits.shape[1])).T
    solved = solve(Support(see(views, known.centre, kind_scale=known.kind_scale), label, SHOTS, zero_shot=kinds))
    weights: dict[str, Any] = {f.name: np.asarray(getattr(solved, f.name), np.float32) for f in fields(solved)}
    weights["cosine_weight"] = np.asarray(SHARPNESS, np.float32)
    even = np.full(CLASSES + 1, 1 / (CLASSES + 1), np.float32)
    return replace(known, **weights, prior=even, thresholds=even[1:])


def _our_pass(state: ScoringState, blind: Decoder, *, many: Head, packets: Sequence[bytes], timer: Timer) -> None:
    n = len(packets)
    batches = [packets[i : i + BATCH] for i in range(0, n, BATCH)]

    def each(name: str, function: Callable[..., Any], *columns: Sequence[Any]) -> list[Any]:
        results: list[Any] = timer.run(name, lambda: [function(*row) for row in zip(*columns, strict=True)], alerts=n)
        return results

    reader, stamp = Cutouts(), np.empty((3, RAW_STAMP, RAW_STAMP), np.float32)
    gzipped = [_stamp_bytes(packet) for packet in packets]
    each("decode: Avro", blind.decode, batches)
    decoded = [d.batch for d in map(state.decoder.decode, batches)]
    each("cut-outs: inflate, FITS", lambda joined, place: reader.read_windows(joined, place, stamps=stamp), *_joined(gzipped))
    each("packet's digest (part of: Avro)", lambda batch: [packet_digest(packet) for packet in batch], batches)
    read = each("tokens", tokens, decoded)
    seen = each("stamps", stamps, decoded)
    around = each("context", context, decoded)
    named = [np.asarray(x) for x in each("features", features, decoded)]
    embedded = each("network", state.session.run, read, seen, around)
    views = each("features, comparable", lambda e, f: Views(e.embedding, e.logits, comparable(f)), embedded, named)
    judged = each("head", lambda v: judge(v, state.head.weights), views)
    scores = [np.asarray(batch.survey_scores) for batch in decoded]
    decided = each("decision", lambda j, s: decide(j, s, rule=state.head.rule), judged, scores)
    each(MANY, lambda v: judge(v, many), views)
    each(
        "record out",
        lambda batch, j, d, f: [codec.encode(record) for record in assemble(batch, j, decided=d, named=f, state=state)],
        decoded, judged, decided, named,
    )  # fmt: skip
    each(ROWS, lambda batch, e, j: monitored(batch, e.logits, judged=j), decoded, embedded, judged)
    found = [d for batch in batches for d in score(batch, state) if isinstance(d, Detection)]
    seconds = [(found * (-(-SECOND // len(found))))[:SECOND]] * 4
    timer.run(SUMS, lambda: _report(seconds, state), alerts=len(seconds) * SECOND)
    each(WHOLE, lambda batch: [codec.encode(d) for d in score(batch, state) if isinstance(d, Detection)], batches)


def _report(seconds: Sequence[Sequence[Detection]], state: ScoringState) -> list[bytes]:
    """What a worker does for telemetry when packets are acknowledged."""
    sums, out = ScoreSums("bench", scoring_id=state.scoring_id, model=state.model), []
    for at, detections in enumerate(seconds):
        sums.add(detections, float(at))
        out += [codec.encode(summary) for summary in sums.take(float(at), all_of_it=at == len(seconds) - 1)]
    return out


def _joined(gzipped: Sequence[Sequence[bytes]]) -> tuple[list[bytes], list[Any]]:
    """The cut-outs of each packet as they lie in its record, and where."""
    sizes = [[len(data) for data in three] for three in gzipped]
    places = [np.array([[sum(row[:k]), size] for k, size in enumerate(row)], np.int64) for row in sizes]
    return [b"".join(three) for three in gzipped], places


def _stamp_bytes(packet: bytes) -> list[bytes]:
    alert = naive.decode(packet)
    return [alert[name]["stampData"] for name in ("cutoutScience", "cutoutTemplate", "cutoutDifference") if alert.get(name)]
