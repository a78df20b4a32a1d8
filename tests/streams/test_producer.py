"""A detection's records: the form of each topic, made once; the object's partition in every form."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import pytest

from schemas.records import codec, dialects
from schemas.records.detection import Decision, Detection
from settings.model import Settings
from streams.agents.detector import Incoming, Outcome, Scored
from streams.kafka import topics
from streams.kafka.murmur import partition_of
from streams.kafka.producer import Deliverer, Forms, Record, detection_records
from tests.flow.stand_in import StandIn, packet
from tests.schemas.test_records import FULL

TABLE = {"detections.sn-ia": "container", "detections.tde": "fink", "detections.agn": "json", "detections.private": "json"}


def decided(class_name: str, *, published: bool = True) -> Detection:
    return replace(FULL, programid=1, decision=Decision(class_name, 0.25, 0.125, 100.0, published, True, "rb"))


FOUND = decided("tde")
INCOMING = Incoming(b"", "alerts.ztf", 0, 7, 1000, ())


def records_of(found: Detection, forms: Forms) -> list[Record]:
    values = codec.encode_both(found)
    sent = detection_records(INCOMING, Outcome(found), detection=found, scored_ms=2000, values=values, forms=forms)
    return list(sent)


def made(found: Detection, table: dict[str, str] = TABLE) -> list[Record]:
    forms = Forms(Settings(dialects=table).form_of)
    return records_of(found, forms)


@pytest.mark.parametrize("class_name", ["sn-ia", "tde", "agn"])
def test_each_topic_has_its_form_and_the_object_its_partition(class_name: str) -> None:
    found = decided(class_name)
    records = {record.topic: record for record in made(found)}
    assert records.keys() == {"embeddings", "detections", f"detections.{class_name}"}
    for topic, record in records.items():
        if topic != topics.EMBEDDINGS:
            assert codec.decode_detection(record.value, record.key) == found
            message = dialects.DIALECTS[TABLE.get(topic, "confluent")](found, codec.encode_both(found)[0])
            assert (record.key, record.value) == (message.key, message.value)
            assert record.headers[-len(message.headers) :] == list(message.headers) or not message.headers
            assert dict(record.headers)["candid"] == b"%d" % found.candid
        assert record.place == found.object_id.encode()
    assert "_format" not in dict(records["detections"].headers), "no form's header reaches another topic"


def test_the_decision_alone_chooses_the_topic() -> None:
    """Whatever the probabilities are: what is not published, and a record of before decisions, is on no class's topic."""
    assert [r.topic for r in made(decided("other"))] == ["embeddings", "detections", "detections.anomaly"]
    for found in (decided("tde", published=False), decided("other", published=False), replace(FOUND, decision=None)):
        assert [r.topic for r in made(found)] == ["embeddings", "detections"]
    assert [r.topic for r in made(replace(decided("tde"), programid=3))] == ["embeddings.private", "detections.private"]


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
        assert len(records) == 3
    assert len(written) == 3
    assert len(asked) == len(set(asked)) == 2


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
