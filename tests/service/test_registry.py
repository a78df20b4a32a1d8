"""Our schemas by Confluent's registry API: what its own client makes of them, and every error as it expects it."""

from __future__ import annotations

import json
import threading
import time
from collections.abc import Iterator
from typing import Any

import httpx
import pytest
import uvicorn

from schemas.avro.container import encode_rubin
from schemas.avro.schema_store import SchemaStore
from schemas.records import json_form
from schemas.records.codec import encode
from schemas.records.detection import Detection
from schemas.records.parts import ClassProbability, Feature
from schemas.records.table import TABLE, subjects
from schemas.surveys.decode import Decoder
from service.schema_registry import rubin
from service.status.app import make_app
from service.status.figures import Figures
from service.status.serve import address, bound
from tests.schemas.made import least_rubin

DETECTION = Detection(
    detection_id="ztf:1234567890123456789:0123456789abcdef",
    survey="ztf",
    candid=1234567890123456789,
    object_id="ZTF20aaaaaaa",
    programid=1,
    ra=123.456789,
    dec=-12.25,
    mjd=59000.125,
    band="g",
    flux=-12.5,
    flux_err=0.5,
    n_detections=3,
    classes=(ClassProbability("tde", 0.75, 0.25), ClassProbability("other", 0.25, 0.75)),
    top_class="tde",
    top_probability=0.75,
    conformal_set=("tde", "other"),
    novelty=0.125,
    nearest_prototype="tde",
    prototype_distance=0.5,
    real_bogus=None,
    star_galaxy=0.5,
    solar_system_distance=None,
    features=(Feature("g_amplitude", 1.5),),
    model="m",
    engine="e",
    scoring_id="0123456789abcdef",
    taxonomy="protonova-1",
)


@pytest.fixture(scope="module")
def base() -> Iterator[str]:
    """The status service on a free port, without a broker."""
    listener = bound("127.0.0.1", 0)
    server = uvicorn.Server(uvicorn.Config(make_app(Figures(time.time, ""), subjects(), host="127.0.0.1"), log_level="error"))
    thread = threading.Thread(target=server.run, kwargs={"sockets": [listener]}, daemon=True)
    thread.start()
    deadline = time.monotonic() + 20
    while not server.started and time.monotonic() < deadline:
        time.sleep(0.02)
    assert server.started
    yield address(listener).rstrip("/")
    server.should_exit = True
    thread.join(10)
    listener.close()


def test_confluents_client_decodes_a_detection(base: str) -> None:
    from confluent_kafka.schema_registry import SchemaRegistryClient
    from confluent_kafka.schema_registry.avro import AvroDeserializer
    from confluent_kafka.serialization import MessageField, SerializationContext

    client = SchemaRegistryClient({"url": base})
    decode = AvroDeserializer(client)
    got: Any = decode(encode(DETECTION), SerializationContext("detections", MessageField.VALUE))
    assert got["detection_id"] == DETECTION.detection_id
    assert (got["candid"], got["ra"], got["flux"], got["real_bogus"]) == (DETECTION.candid, DETECTION.ra, -12.5, None)
    assert got["classes"] == [
        {"name": "tde", "probability": 0.75, "prior_probability": 0.25},
        {"name": "other", "probability": 0.25, "prior_probability": 0.75},
    ]
    assert got["conformal_set"] == ["tde", "other"]


def test_confluents_client_walks_the_subjects(base: str) -> None:
    from confluent_kafka.schema_registry import SchemaRegistryClient

    client = SchemaRegistryClient({"url": base})
    served = {**subjects(), **rubin.subjects()}
    names = client.get_subjects()
    assert set(served) <= set(names)
    for name in served:
        assert client.get_versions(name) == [s.version for s in served[name]]
        for schema in served[name]:
            assert client.get_schema(schema.id).schema_str == schema.schema_text
            assert client.get_version(name, schema.version).schema_id == schema.id
        assert client.get_latest_version(name).schema_id == served[name][-1].id
    assert client.get_compatibility() == "FULL_TRANSITIVE"


@pytest.mark.parametrize("schema_id", [900, 1101])
def test_confluents_client_decodes_a_packet_of_rubins(base: str, schema_id: int) -> None:
    from confluent_kafka.schema_registry import SchemaRegistryClient
    from confluent_kafka.schema_registry.avro import AvroDeserializer
    from confluent_kafka.serialization import MessageField, SerializationContext

    packet = encode_rubin(least_rubin(schema_id), schema_id, SchemaStore())
    decode = AvroDeserializer(SchemaRegistryClient({"url": base}))
    got: Any = decode(packet, SerializationContext("alerts.lsst", MessageField.VALUE))
    assert got["diaSource"]["diaSourceId"] == 7
    decoded = Decoder().decode([packet])
    assert decoded.batch.candid == (7,)
    assert httpx.get(f"{base}/config/{rubin.SUBJECT}").json() == {"compatibilityLevel": "NONE"}


def test_rubins_ids_are_those_of_its_schemas() -> None:
    found = {schema.id: schema.name for schema in rubin.subjects()[rubin.SUBJECT]}
    assert {300, 900, 1100, 1101} <= set(found)
    assert all(name == f"lsst.v{number // 100}_{number % 100}.alert" for number, name in found.items())


def test_what_11_1_adds_to_11_0() -> None:
    def fields(number: int) -> set[str]:
        source = next(f["type"] for f in SchemaStore().get(number)["fields"] if f["name"] == "diaSource")
        return {f["name"] for f in source["fields"]}

    assert fields(1101) - fields(1100) == {"trailAlgorithm", "trail_flag", "reliabilityVersion"}
    assert fields(1100) < fields(1101)


def test_every_field_of_every_schema_has_a_doc() -> None:
    for schema in TABLE:
        record = json.loads(schema.schema_text)
        assert record.get("doc"), schema.subject
        assert [f["name"] for f in record["fields"] if not f.get("doc")] == [], schema.subject


@pytest.mark.parametrize(
    ("path", "status", "code"),
    [
        ("/subjects/nothing/versions", 404, 40401),
        ("/subjects/nothing/versions/1", 404, 40401),
        ("/subjects/detections-value/versions/99", 404, 40402),
        ("/subjects/detections-value/versions/first", 422, 42202),
        ("/subjects/detections-value/versions/0", 422, 42202),
        ("/subjects/detections-value/versions/" + "9" * 5000, 422, 42202),
        ("/subjects/detections-value/versions/\u00b2", 422, 42202),
        ("/schemas/ids/99999", 404, 40403),
        ("/schemas/ids/" + "9" * 400, 404, 40403),
        ("/schemas/ids/x", 404, 40403),
        ("/schemas/ids/\u0661", 404, 40403),
    ],
)
def test_errors_are_json_with_the_registrys_codes(base: str, path: str, status: int, code: int) -> None:
    answer = httpx.get(base + path)
    assert (answer.status_code, answer.json()["error_code"]) == (status, code)
    assert answer.headers["content-type"] == "application/vnd.schemaregistry.v1+json"
    assert answer.json()["message"]


@pytest.mark.parametrize(
    ("method", "path"),
    [
        ("DELETE", "/subjects/detections-value"),
        ("DELETE", "/subjects/detections-value/versions/1"),
        ("PUT", "/config"),
        ("PUT", "/mode"),
        ("POST", "/compatibility/subjects/detections-value/versions/latest"),
        ("POST", "/schemas/ids/1000001"),
    ],
)
def test_it_is_read_only(base: str, method: str, path: str) -> None:
    answer = httpx.request(method, base + path, content=b"{}")
    assert (answer.status_code, answer.json()["error_code"]) == (405, 405)
    assert "read-only" in answer.json()["message"]


def test_what_else_is_served(base: str) -> None:
    assert httpx.get(base + "/schemas/types").json() == ["AVRO"]
    assert httpx.get(base + "/mode").json() == {"mode": "READONLY"}
    assert httpx.get(base + "/healthz").text == "ok\n"
    assert httpx.get(base + "/readyz").status_code == 503  # no broker
    assert httpx.get(base + "/status.json").json()["state"] == "down"
    assert "protonova_status_connected 0.0" in httpx.get(base + "/metrics").text
    page = httpx.get(base + "/")
    assert page.status_code == 200
    assert "no broker" in page.text
    for name in ("status.css", "live.js", "icon.svg"):
        assert httpx.get(f"{base}/static/{name}").status_code == 200
    assert httpx.get(base + "/nowhere").status_code == 404
    assert httpx.get(base + "/static/../app.py").status_code == 404
    assert httpx.post(base + "/").status_code == 405


def test_security_headers_on_everything_and_no_foreign_host(base: str) -> None:
    for path in ("/", "/status.json", "/static/live.js", "/nowhere", "/subjects"):
        headers = httpx.get(base + path).headers
        assert "script-src 'self'" in headers["content-security-policy"]
        assert "unsafe" not in headers["content-security-policy"]
        assert headers["x-content-type-options"] == "nosniff"
        assert "server" not in headers or "uvicorn" in headers["server"]
    assert httpx.get(base + "/", headers={"Host": "evil.example"}).status_code == 400


def test_the_json_schema_is_served(base: str) -> None:
    found = httpx.get(f"{base}/json-schemas/detection-3.schema.json")
    assert found.headers["content-type"] == "application/schema+json"
    assert found.json() == json_form.json_schema()
    assert httpx.get(f"{base}/json-schemas/detection-2.schema.json").json()["$id"] == "urn:protonova:detection:2", (
        "of records that are there"
    )
    assert httpx.get(f"{base}/json-schemas/detection-99.schema.json").status_code == 404
