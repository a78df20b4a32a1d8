"""Archived packets → scores in a parquet file, through the worker's own function and without a broker (but for ranges of a topic).

What happens to a packet is what happens to it on the stream: the same bytes seen again are a duplicate
(`streams.agents.detector`), everything else goes to `pipeline.score.score` in batches. With a file of labels the scores are judged.
"""

from __future__ import annotations

import asyncio
import gc
import os
import time
from collections import Counter, deque
from collections.abc import Iterable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import suppress
from dataclasses import dataclass, field
from itertools import islice
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pyarrow as pa
import pyarrow.parquet as pq

from console import report as reports
from console.labels import Judge, read_labels
from errors import UserError, say
from schemas.records.detection import Detection, to_row
from schemas.records.rejected import Rejected

if TYPE_CHECKING:
    from settings.model import Settings
    from streams.scorer import Pipeline, Scorer

Named = tuple[str, bytes]
"""Where a packet comes from, and the packet."""

REGISTRY_TRIES = 4
"""How often a schema registry that does not answer is asked again: 7 s in all."""

_PROBABILITY = pa.struct([("name", pa.string()), ("probability", pa.float32()), ("prior_probability", pa.float32())])
_FIELDS: list[pa.Field[Any]] = [
    pa.field("origin", pa.string(), nullable=False, metadata={"doc": "file, member of an archive, row, or topic[partition]@offset"}),
    pa.field("kind", pa.string(), nullable=False, metadata={"doc": "detection, rejected or duplicate"}),
    pa.field("packet_id", pa.string()),
    pa.field("detection_id", pa.string()),
    pa.field("survey", pa.string()),
    # Text: with a null in it, which every rejected packet has, pandas makes floating-point numbers of integers, and of ids others.
    pa.field("candid", pa.string()),
    pa.field("object_id", pa.string()),
    pa.field("ra", pa.float64(), metadata={"unit": "deg"}),
    pa.field("dec", pa.float64(), metadata={"unit": "deg"}),
    pa.field("mjd", pa.float64(), metadata={"unit": "d TAI"}),
    pa.field("band", pa.string()),
    pa.field("flux", pa.float32(), metadata={"unit": "uJy"}),
    pa.field("flux_err", pa.float32(), metadata={"unit": "uJy"}),
    pa.field("n_detections", pa.int32()),
    pa.field("decision_class", pa.string(), metadata={"doc": "the class that is published: what page, topics and watch show"}),
    pa.field("decision_prior_probability", pa.float32(), metadata={"doc": "its probability under the stated frequencies of the stream"}),
    pa.field("decision_threshold", pa.float32(), metadata={"doc": "of that probability; of other: of the novelty"}),
    pa.field("decision_budget", pa.float32(), metadata={"doc": "false alerts that the threshold was made for", "unit": "1/night"}),
    pa.field("decision_published", pa.bool_(), metadata={"doc": "the threshold is reached: a public alert is on the class's topic"}),
    pa.field("decision_real", pa.bool_(), metadata={"doc": "a source on the sky caused the alert, says decision_evidence"}),
    pa.field("decision_evidence", pa.string(), metadata={"doc": "drb, rb, reliability or network"}),
    pa.field("top_class", pa.string(), metadata={"doc": "of the highest balanced probability: as if all classes were equally frequent"}),
    pa.field("top_probability", pa.float32(), metadata={"doc": "its balanced probability"}),
    pa.field("classes", pa.list_(_PROBABILITY)),
    pa.field("conformal_set", pa.list_(pa.string())),
    pa.field("novelty", pa.float32()),
    pa.field("nearest_prototype", pa.string()),
    pa.field("prototype_distance", pa.float32()),
    pa.field("real_bogus", pa.float32(), metadata={"doc": "the survey's own score: drb, else rb, or reliability"}),
    pa.field("rb", pa.float32()),
    pa.field("drb", pa.float32()),
    pa.field("model", pa.string()),
    pa.field("engine", pa.string()),
    pa.field("scoring_id", pa.string()),
    pa.field("reference_id", pa.string(), metadata={"doc": "of the catalogues; null: none"}),
    pa.field("error_class", pa.string(), metadata={"doc": "of a rejected packet"}),
    pa.field("reason", pa.string(), metadata={"doc": "of a rejected packet"}),
]
SCHEMA = pa.schema(_FIELDS)


@dataclass(slots=True)
class ReplayCounts:
    """What became of the packets."""

    packets: int = 0
    detections: int = 0
    duplicates: int = 0
    classes: Counter[str] = field(default_factory=Counter)
    """Detections by the class of their decision."""
    published: Counter[str] = field(default_factory=Counter)
    """Those of them that reached the class's threshold."""
    skipped: Counter[str] = field(default_factory=Counter)
    rejected: Counter[str] = field(default_factory=Counter)

    def decided(self, detection: Detection) -> None:
        """Count a detection by its decision, as a worker's summary does."""
        klass, _ = detection.shown_class
        self.classes[klass] += 1
        if detection.decision is not None and detection.decision.published:
            self.published[klass] += 1

    def figures(self) -> dict[str, Any]:
        """For the report."""
        return {
            "packets": self.packets,
            "detections": self.detections,
            "duplicates": self.duplicates,
            "classes": dict(self.classes),
            "published": dict(self.published),
            "skipped": dict(self.skipped),
            "rejected": dict(self.rejected),
        }


def row(origin: str, outcome: Detection | Rejected | None) -> dict[str, Any]:
    """One row of the file; None is a duplicate."""
    if outcome is None:
        return {"origin": origin, "kind": "duplicate"}
    if isinstance(outcome, Rejected):
        return {
            "origin": origin,
            "kind": "rejected",
            "survey": outcome.survey,
            "error_class": outcome.error_class,
            "reason": outcome.reason,
        }
    decision = outcome.decision._asdict() if outcome.decision is not None else {}
    decided = {f"decision_{name.removesuffix('_name')}": value for name, value in decision.items()}
    return {"origin": origin, "kind": "detection", **to_row(outcome), **decided, "candid": str(outcome.candid)}


class Writer:
    """Rows → a parquet file that appears under its name only when it is whole."""

    ROWS = 4096

    def __init__(self, path: Path) -> None:
        self.path = path
        self._part = path.with_name(f".{path.name}.{os.getpid()}.part")
        self._rows: list[dict[str, Any]] = []
        try:
            self._file = pq.ParquetWriter(self._part, SCHEMA, compression="zstd")
        except OSError as error:
            raise UserError(f"{path} cannot be written: {error.strerror or error}") from error

    def add(self, rows: Iterable[dict[str, Any]]) -> None:
        """Append rows."""
        self._rows.extend(rows)
        if len(self._rows) >= self.ROWS:
            self._flush()

    def _flush(self) -> None:
        if self._rows:
            self._file.write_table(pa.Table.from_pylist(self._rows, schema=SCHEMA))
            self._rows = []

    def close(self) -> None:
        """Finish: the file is there from now on."""
        self._flush()
        self._file.close()
        self._part.replace(self.path)

    def discard(self) -> None:
        """Leave nothing behind."""
        with suppress(OSError, ValueError):
            self._file.close()
        self._part.unlink(missing_ok=True)


def outcomes(
    packets: Iterable[Named], scorer: Scorer, *, batch_size: int, remembered: int
) -> Iterator[tuple[list[str], list[Detection | Rejected | None]]]:
    """Score packets batch by batch, by the code that a worker runs.

    Parameters
    ----------
    packets : iterable of (origin, packet)
    scorer : Scorer
        The pure function with its state.
    batch_size : int
        Packets a batch.
    remembered : int
        How many packets are remembered to find duplicates.

    Yields
    ------
    (list of str, list)
        Origins and what became of them; None is a duplicate.
    """
    from streams.agents.detector import Detector, Duplicates, Incoming
    from streams.scorer import StateHolder

    source = iter(packets)
    loop = asyncio.new_event_loop()
    with ThreadPoolExecutor(1) as executor:
        detector = Detector(StateHolder(scorer), Duplicates(remembered), executor, patience=REGISTRY_TRIES)
        try:
            while batch := list(islice(source, batch_size)):
                incoming = [Incoming(packet, "", 0, 0, 0, ()) for _, packet in batch]
                scored = loop.run_until_complete(detector.compute(incoming))
                yield [origin for origin, _ in batch], [outcome.result for outcome in scored.outcomes]
        finally:
            loop.close()


def _kept(packets: Iterable[Named], kept: deque[bytes]) -> Iterator[Named]:
    """Pass packets on and keep them for the judge, who takes them when their batch is scored."""
    for origin, packet in packets:
        kept.append(packet)
        yield origin, packet


def sources(settings: Settings, archives: Sequence[str], *, counts: ReplayCounts) -> Iterator[Named]:
    """Packets of archives and of ranges of topics, in order; what is none is said and counted."""
    from console.broker import with_broker
    from console.inputs import topic_range
    from data.connectors.archives import Skipped, packets_of

    for archive in archives:
        if archive.startswith("kafka://"):
            yield from topic_range(with_broker(settings), archive)
            continue
        for item in packets_of([archive]):
            if isinstance(item, Skipped):
                counts.skipped[item.kind] += 1
                say(f"skipped {item.origin}: {item.reason}")
            else:
                yield item.origin, item.packet


def _of_then(settings: Settings, scorer: Pipeline, *, as_of_ms: int | None, scoring_id: str | None) -> Pipeline:
    """The scorer with what was taught then."""
    from console.broker import with_broker
    from streams.lessons import state_of
    from streams.scorer import Pipeline

    return Pipeline(asyncio.run(state_of(with_broker(settings), scorer.state, as_of_ms=as_of_ms, scoring_id=scoring_id)))


def replay(
    settings: Settings,
    archives: Sequence[str],
    *,
    out: Path,
    labels_file: Path | None = None,
    report: Path | None = None,
    as_of_ms: int | None = None,
    scoring_id: str | None = None,
) -> int:
    """Run the command; returns the exit status."""
    from console.progress import progress
    from streams.scorer import batch_size_of
    from streams.worker import COLLECT_AFTER, configure_logging, published

    reports.check_writable(report)
    labels = read_labels(labels_file) if labels_file is not None else {}
    out.parent.mkdir(parents=True, exist_ok=True)
    if out.is_dir():
        raise UserError(f"{out} is a folder: name a parquet file to write", 2)
    configure_logging("warning")
    scorer = published(settings)
    if as_of_ms is not None or scoring_id is not None:
        scorer = _of_then(settings, scorer, as_of_ms=as_of_ms, scoring_id=scoring_id)
    counts, judge = ReplayCounts(), Judge(labels)
    writer = Writer(out)
    started = time.perf_counter()
    collector = gc.get_threshold()
    gc.freeze()  # as a worker does: what start-up made lives as long as the command, and a batch's objects are part of no cycle
    gc.set_threshold(COLLECT_AFTER)
    try:
        with progress("replay", unit="packets") as bar:
            packets: deque[bytes] = deque()
            for origins, results in outcomes(
                _kept(sources(settings, archives, counts=counts), packets),
                scorer,
                batch_size=settings.batch_size or batch_size_of(scorer),
                remembered=settings.remembered,
            ):
                writer.add(map(row, origins, results))
                scored = [packets.popleft() for _ in results]
                if labels:
                    judge.add(scored, results, state=scorer.state)
                for outcome in results:
                    counts.packets += 1
                    if outcome is None:
                        counts.duplicates += 1
                    elif isinstance(outcome, Rejected):
                        counts.rejected[outcome.error_class] += 1
                    else:
                        counts.detections += 1
                        counts.decided(outcome)
                bar.advance(len(results))
        writer.close()
    except BaseException:
        writer.discard()
        raise
    finally:
        gc.set_threshold(*collector)
        gc.unfreeze()
    seconds = time.perf_counter() - started
    console = reports.output()
    rejected = sum(counts.rejected.values())
    per_second = counts.packets / seconds
    console.print(
        f"{counts.packets:,} packets = {counts.detections:,} detections + {rejected:,} rejected + {counts.duplicates:,} duplicates"
        f" in {seconds:.1f} s ({per_second:,.0f}/s), scoring id {scorer.scoring_id}, {scorer.engine} → {out}",
        soft_wrap=True,
    )
    if counts.classes:
        reports.show(console, "Classes as decided under the stream's prior", reports.decision_table(counts.classes, counts.published))
    if counts.rejected:
        reports.show(console, "Rejected by reason", reports.count_table(counts.rejected))
    if counts.skipped:
        reports.show(console, "Skipped: no packets", reports.count_table(counts.skipped, "kind", second="things"))
    if labels:
        judge.show(console, "Against the labels")
    reports.write(
        report,
        {
            "command": "replay",
            **counts.figures(),
            "seconds": seconds,
            "packets_per_second": per_second,
            "scoring_id": scorer.scoring_id,
            "catalogues": dict(scorer.state.reference.catalogues),
            "model": scorer.model,
            "engine": scorer.engine,
            "out": str(out),
            **({"labels": judge.figures()} if labels else {}),
        },
    )
    return 0 if counts.packets else 1
