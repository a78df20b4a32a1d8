"""A history with real records in it, made by the way the historian makes it, for the tests of resources."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable
from dataclasses import replace
from pathlib import Path
from types import SimpleNamespace
from typing import Any

from aiokafka import TopicPartition

from data.history.portion import Origin
from data.history.sqlite_writer import SqliteWriter
from schemas.records import codec, detection, embedding
from schemas.records.detection import Decision, Detection
from schemas.records.parts import ClassProbability
from schemas.surveys.identity import packet_digest
from streams.agents.history_rows import portion_of
from tests.schemas.test_records import DETECTION

NIGHT_MS = 20_400 * 86_400_000
DATE = "2025-11-08"


def alert(number: int, name: str = "ZTF25aaaaaaa", *, programid: int = 1, survey: str = "ztf", **changes: Any) -> Detection:
    """A detection, deterministic by its number."""
    digest = f"{number:032x}"
    candid = 3_000_000_000_000_000_000 + number
    klass = ("tde", "sn-ia", "agn")[number % 3]
    p = 0.5 + (number % 40) / 100
    fields: dict[str, Any] = {
        "packet_id": f"{survey}:{candid}:{digest}", "detection_id": f"{survey}:{candid}:{digest}:0123456789abcdef", "survey": survey,
        "candid": candid, "object_id": name, "programid": programid, "ra": 150.0, "dec": 20.0, "mjd": 60_100.0 + number / 10,
        "band": "gri"[number % 3], "flux": 100.0 + number if number % 5 else None, "flux_err": 4.0 if number % 5 else None,
        "decision": Decision(klass, p, 0.6, 100.0, p >= 0.6, True, "drb"), "novelty": (number % 100) / 100,
        "classes": (ClassProbability(klass, p, p), ClassProbability("other", 1 - p, 1 - p)),
        "embedding": bytes([number % 7 + 1, 60]) * 8,
    }  # fmt: skip
    return replace(DETECTION, **{**fields, **changes})


def message(record: Detection, *, offset: int, place: Origin | None = None) -> Any:
    """A detection as the historian gets it."""
    origin = place or Origin(f"alerts.{record.survey}", 0, offset)
    headers = [
        ("ingested_at", b"%d" % (NIGHT_MS + 1000 * offset)),
        ("origin", f"{origin.topic}:{origin.partition}:{origin.offset}".encode()),
    ]
    topic = "detections" if record.programid == 1 else "detections.private"
    return SimpleNamespace(
        topic=topic, partition=0, offset=offset, key=b"k", headers=headers, timestamp=NIGHT_MS, value=codec.encode(record)
    )


def write(folder: Path, records: Iterable[Detection], *, places: dict[int, Origin] | None = None) -> SqliteWriter:
    """A history of records, and its writer, to be closed."""
    writer = SqliteWriter(folder)
    for topic, private in (("detections", False), ("detections.private", True)):
        found = [message(r, offset=i, place=(places or {}).get(r.candid)) for i, r in enumerate(records) if (r.programid != 1) == private]
        if found:
            bad: Counter[tuple[str, str]] = Counter()
            portion = portion_of({TopicPartition(topic, 0): found}, {}, bad=bad)
            assert not bad, bad
            writer.commit(portion)
    vectors = [_embedding(r, offset=i) for i, r in enumerate(records)]
    portion = portion_of({TopicPartition("embeddings", 0): vectors}, {}, bad=Counter())
    writer.commit(portion)
    return writer


def _embedding(record: Detection, *, offset: int) -> Any:
    topic = "embeddings" if record.programid == 1 else "embeddings.private"
    value = embedding.PREFIX + embedding.body(record, detection.coded(record))
    return SimpleNamespace(topic=topic, partition=0, offset=offset, key=b"", headers=[], timestamp=NIGHT_MS, value=value)


class Packets:
    """Packets by their place, as the reader of topics gives them."""

    def __init__(self, *values: bytes) -> None:
        self.values = {Origin("alerts.ztf", 1, i): value for i, value in enumerate(values)}

    async def read(self, origin: Origin, *, packet_id: str) -> bytes | None:
        value = self.values.get(origin)
        return value if value is not None and packet_digest(value) == packet_id.rpartition(":")[2] else None
