"""Detections as object containers: a reader that knows Avro and nothing of us reads them."""

from __future__ import annotations

import io

import fastavro

from streams.kafka import topics
from tests.flow.conftest import Bench, header
from tests.flow.stand_in import packet


async def test_plain_fastavro_reads_a_detection(bench: Bench) -> None:
    bench.start(PROTONOVA_CONTAINER_OUTPUT="true")
    await bench.publish([packet(1)])
    record = (await bench.read(1, topics.DETECTIONS))[topics.DETECTIONS][0]
    assert header(record, "_format") == "avro"
    (row,) = fastavro.reader(io.BytesIO(record.value))
    assert row["detection_id"].endswith(":feedfacecafe0123")  # type: ignore[index,call-overload]
    assert sum(entry["probability"] for entry in row["classes"]) > 0.999  # type: ignore[index,call-overload]
