"""A detection's records: the form of each topic, made once; the object's partition in every form."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import pytest

from schemas.records import codec, dialects
from schemas.records.detection import Detection
from schemas.records.parts import ClassProbability
from settings.model import Settings
from streams.agents.detector import Incoming, Outcome, Scored
from streams.kafka import topics
from streams.kafka.murmur import partition_of
from streams.kafka.producer import Deliverer, Forms, Record, detection_records
from tests.flow.stand_in import StandIn, packet
from tests.schemas.test_records import FULL

FOUND = replace(FULL, programid=1, classes=tuple(ClassProbability(name, 0.25, 0.25) for name in ("sn-ia", "tde", "agn", "yso")))
THRESHOLDS = {"sn-ia": 0.0, "tde": 0.2, "agn": 0.25, "yso": 0.9}
TABLE = {"detections.sn-ia": "container", "detections.tde": "fink", "detections.agn": "json", "detections.private": "json"}
INCOMING = Incoming(b"", "alerts.ztf", 0, 7, 1000, ())


def records_of(found: Detection, forms: Forms) -> list[Record]:
    values = codec.encode_both(found)
    sent = detection_records(INCOMING, Outcome(found), detection=found, scored_ms=2000, thresholds=THRESHOLDS, values=values, forms=forms)
    return list(sent)


def made(found: Detection, table: dict[str, str] = TABLE) -> list[Record]:
    forms = Forms(Settings(dialects=table).form_of)
    return records_of(found, forms)


def test_each_topic_has_its_form_and_the_object_its_partition() -> None:
    records = {record.topic: record for record in made(FOUND)}
    assert records.keys() == {"embeddings", "detections", "detections.sn-ia", "detections.tde", "detections.agn"}
    for topic, record in records.items():
        if topic != topics.EMBEDDINGS:
            assert codec.decode_detection(record.value, record.key) == FOUND
            message = dialects.DIALECTS[TABLE.get(topic, "confluent")](FOUND, codec.encode_both(FOUND)[0])
            assert (record.key, record.value) == (message.key, message.value)
            assert record.headers[-len(message.headers) :] == list(message.headers) or not message.headers
            assert dict(record.headers)["candid"] == b"%d" % FOUND.candid
        assert record.place == FOUND.object_id.encode()
    assert "_format" not in dict(records["detections"].headers), "no form's header reaches another topic"


def test_private_detections_have_a_form_too() -> None:
    [_, record] = made(replace(FOUND, programid=2))
    assert (record.topic, record.value[:1]) == (topics.PRIVATE, b"{")


def test_a_form_is_made_once_and_chosen_once(monkeypatch: pytest.MonkeyPatch) -> None:
    written: list[Detection] = []
    asked: list[str] = []

    def write(record: Detection, body: bytes) -> dialects.Message:
        written.append(record)
        return dialects.as_json(record, body)

    def form_of(topic: str) -> str:
        asked.append(topic)
        return "json"

    monkeypatch.setitem(dialects.DIALECTS, "json", write)  # type: ignore[arg-type]
    forms = Forms(form_of)
    for _ in range(3):
        records = records_of(FOUND, forms)
        assert len(records) == 5
    assert len(written) == 3
    assert len(asked) == len(set(asked)) == 4


class Batch:
    def __init__(self) -> None:
        self.records: list[dict[str, Any]] = []

    def append(self, **record: Any) -> object:
        self.records.append(record)
        return object()

    def close(self) -> None:
        pass


class Producer:
    """Keeps what is sent, by topic and partition."""

    def __init__(self) -> None:
        self.sent: dict[tuple[str, int], list[dict[str, Any]]] = {}

    async def partitions_for(self, topic: str) -> set[int]:
        return set(range(4))

    def create_batch(self) -> Batch:
        return Batch()

    async def send_batch(self, batch: Batch, topic: str, partition: int) -> object:
        self.sent.setdefault((topic, partition), []).extend(batch.records)
        return object()


@pytest.mark.parametrize("form", dialects.DIALECTS)
async def test_an_object_stays_in_one_partition_whatever_the_form(form: str) -> None:
    producer = Producer()
    deliverer: Any = Deliverer(producer, Settings(dialects={"*": form}).form_of)  # type: ignore[arg-type]
    scorer = StandIn()
    values = [packet(i, objects=9) for i in range(40)]
    found = [scorer.one(value) for value in values]
    incoming = [Incoming(value, "alerts.ztf", 0, i, 0, ()) for i, value in enumerate(values)]
    await deliverer.send(incoming, Scored([Outcome(d) for d in found], 0, 0.0, 40, scorer))
    places = {
        codec.decode_detection(record["value"], record["key"]).object_id: partition
        for (topic, partition), records in producer.sent.items() if topic == topics.DETECTIONS for record in records
    }  # fmt: skip
    assert places == {f"ZTF{i}": partition_of(b"ZTF%d" % i, 4) for i in range(9)}
    assert len(set(places.values())) > 1
