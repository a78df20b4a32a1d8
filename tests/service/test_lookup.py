"""Subjects of class topics, and what serialisers of other producers ask before they write."""

from __future__ import annotations

import json
import time
from collections.abc import Iterator
from typing import Any

import httpx
import pytest

from schemas.records.table import latest, subjects
from service.schema_registry.same_schema import MOST_BYTES
from service.status.app import make_app
from service.status.figures import Figures

CLASSES = ("tde", "sn-ia")


@pytest.fixture(scope="module")
def base(serving: Any) -> Iterator[str]:
    with serving(make_app(Figures(time.time, ""), subjects(), host="127.0.0.1", classes=CLASSES)) as port:
        yield f"http://127.0.0.1:{port}"


def body(subject: str) -> str:
    return json.dumps({"schema": latest(subject).schema_text})


@pytest.mark.parametrize("topic", ["detections.tde", "detections.sn-ia", "detections.private", "detections.taught-a-second-ago"])
def test_the_topics_of_classes_have_subjects(base: str, topic: str) -> None:
    found = httpx.get(f"{base}/subjects/{topic}-value/versions/latest").json()
    assert (found["id"], found["subject"]) == (latest("detections-value").id, f"{topic}-value")
    assert httpx.get(f"{base}/subjects/{topic}-value/versions").json() == [v.version for v in subjects()["detections-value"]]
    assert (f"{topic}-value" in httpx.get(f"{base}/subjects").json()) is ("taught" not in topic)
    assert httpx.get(f"{base}/config/{topic}-value").status_code == 200


def test_the_private_embeddings_have_one_too(base: str) -> None:
    found = httpx.get(f"{base}/subjects/embeddings.private-value/versions/latest").json()
    assert found["id"] == latest("embeddings-value").id


@pytest.mark.parametrize("topic", ["detections.", "detections.a b", "detections.tde.x", "detectionsx.tde", "telemetry.scores.tde"])
def test_what_is_not_a_topic_of_ours_has_none(base: str, topic: str) -> None:
    assert httpx.get(f"{base}/subjects/{topic}-value/versions").json()["error_code"] == 40401


def test_an_id_names_every_subject_it_is_used_under(base: str) -> None:
    used = httpx.get(f"{base}/schemas/ids/{latest('detections-value').id}/versions").json()
    topics = ("detections", "detections.private", "detections.anomaly", "detections.tde", "detections.sn-ia")
    assert {row["subject"] for row in used} == {f"{topic}-value" for topic in topics}


@pytest.mark.parametrize("subject", ["detections-value", "detections.tde-value", "detections.private-value"])
def test_an_identical_schema_is_looked_up_and_registered_with_its_id(base: str, subject: str) -> None:
    wanted = latest("detections-value")
    found = httpx.post(f"{base}/subjects/{subject}", content=body("detections-value")).json()
    assert (found["subject"], found["id"], found["version"]) == (subject, wanted.id, wanted.version)
    assert httpx.post(f"{base}/subjects/{subject}/versions", content=body("detections-value")).json()["id"] == wanted.id


def test_an_earlier_version_is_found_as_itself(base: str) -> None:
    first = subjects()["detections-value"][0]
    found = httpx.post(f"{base}/subjects/detections-value", json={"schema": first.schema_text, "schemaType": "AVRO"}).json()
    assert (found["id"], found["version"]) == (first.id, first.version)


def test_spelling_and_documentation_do_not_make_another_schema(base: str) -> None:
    def plain(schema: Any) -> Any:
        if isinstance(schema, list):
            return [plain(branch) for branch in schema]
        if isinstance(schema, dict):
            return {k: plain(v) for k, v in reversed(schema.items()) if k not in ("doc", "default")}
        return schema

    text = json.dumps(plain(json.loads(latest("detections-value").schema_text)), indent=1)
    assert httpx.post(f"{base}/subjects/detections-value", json={"schema": text}).json()["id"] == latest("detections-value").id


def test_confluents_serialiser_writes_with_our_schema(base: str) -> None:
    from confluent_kafka.schema_registry import Schema, SchemaRegistryClient

    client = SchemaRegistryClient({"url": base})
    schema = Schema(latest("drift.alarms-value").schema_text, "AVRO")
    assert client.register_schema("drift.alarms-value", schema) == latest("drift.alarms-value").id
    assert client.lookup_schema("detections.tde-value", Schema(latest("detections-value").schema_text, "AVRO")).schema_id


OTHER = json.dumps({"schema": '{"type":"record","name":"x","fields":[]}'})
DEEP = json.dumps({"schema": "[" * 5000 + "]" * 5000})


@pytest.mark.parametrize(
    ("path", "content", "status", "code"),
    [
        ("/subjects/nothing", OTHER, 404, 40401),
        ("/subjects/detections-value", OTHER, 404, 40403),
        ("/subjects/detections-value/versions", OTHER, 422, 42205),
        ("/subjects/nothing/versions", OTHER, 422, 42205),
        ("/subjects/detections-value/versions", "{}", 422, 42201),
        ("/subjects/detections-value", "", 422, 42201),
        ("/subjects/detections-value", "[]", 422, 42201),
        ("/subjects/detections-value", '{"schema": 3}', 422, 42201),
        ("/subjects/detections-value", '{"schema": "{"}', 422, 42201),
        ("/subjects/detections-value", '{"schema": "{}", "schemaType": "PROTOBUF"}', 422, 42201),
        ("/subjects/detections-value", '{"schema": "{}", "references": [{"name": "a"}]}', 422, 42201),
        ("/subjects/detections-value", json.dumps({"schema": '"string"'}), 404, 40403),
        ("/subjects/detections-value", json.dumps({"schema": '{"type":"record","name":"a","fields":3}'}), 404, 40403),
        ("/subjects/detections-value", "x" * (MOST_BYTES + 1), 422, 42201),
        ("/subjects/detections-value", "[" * 100_000, 422, 42201),
    ],
)
def test_what_is_not_there_is_answered_as_a_registry_does(base: str, path: str, content: str, status: int, code: int) -> None:
    answer = httpx.post(base + path, content=content.encode())
    assert (answer.status_code, answer.json()["error_code"]) == (status, code)
    assert answer.json()["message"]


def test_a_schema_that_is_nested_without_end_is_not_an_internal_error(base: str) -> None:
    assert httpx.post(base + "/subjects/detections-value", content=DEEP.encode()).status_code < 500
