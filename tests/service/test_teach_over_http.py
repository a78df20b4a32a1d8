"""Classes over HTTP without a broker: what one would catch, what is asked wrongly, where known ones lie; what needs a broker says so."""

from __future__ import annotations

import base64
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any

import numpy as np
import orjson
import pytest

from data.simulate.described import shipped
from data.simulate.observe import choose
from data.simulate.sample import sample
from data.simulate.survey_packets import packet as packet_of
from operators.head import Views
from operators.namespace import to_host
from operators.projection import projection_of
from pipeline.examples import see_packets
from pipeline.state import ScoringState, load
from registry.bundle import load as load_bundle
from schemas.records.table import TABLE
from service.api.broker_facts import BrokerFacts
from service.api.scorers import Scorers
from streams.class_lessons import Seen, suggestions
from streams.scorer import Pipeline, StateHolder
from tests.service.api_client import Api


@pytest.fixture(scope="module")
def state() -> ScoringState:
    return load(None, "onnxruntime")


@pytest.fixture(scope="module")
def packets() -> list[str]:
    return [base64.b64encode(packet_of(choose(seen))).decode() for seen in sample(shipped()["lrn"], 5, seed=5).objects]


@pytest.fixture
async def api(state: ScoringState, tmp_path: Path) -> AsyncIterator[Api]:
    made = Api(tmp_path)
    made.services.facts = BrokerFacts(made.settings)
    base = Pipeline(state)
    made.services.scorers = scorers = Scorers(made.settings, base, holder=StateHolder(base, shown=False))
    yield made
    await scorers.stop()


async def test_a_preview_says_what_the_class_would_do(api: Api, packets: list[str]) -> None:
    async with api.client(api.key("teach")) as client:
        answer = await client.post("/v1/classes/lrn-like/preview", json={"packets": [*packets, packets[0], "bm90IGEgcGFja2V0"]})
        described = await client.post("/v1/classes/lrn-like/preview", json={"description": "luminous red nova"})
    assert answer.status_code == 200, answer.text
    found = answer.json()["data"]
    assert (len(found["examples"]), found["window"], found["count"], found["based_on"]) == (5, 0, 0, 0)
    assert sum(found["now"].values()) == 5
    assert 0 <= found["false_rate"][0] <= 0.02
    assert found["purity"] == [None, None]  # nothing was looked through
    assert [line for line in found["said"] if "left out" in line]
    assert described.status_code == 200, described.text
    assert described.json()["data"]["examples"] == []


@pytest.mark.parametrize(
    ("path", "body", "status", "said"),
    [
        ("tde", {"packets": ["AAAA"]}, 422, "is a class of the model"),
        ("a-class", {}, 422, "no packet was found"),
        ("a-class", {"packets": ["AAAA"]}, 422, "none of these packets"),
        ("a-class", {"packets": ["*"]}, 422, "base64"),
        ("a-class", {"packets": ["AAAA"], "description": "tde"}, 422, "by examples or by a description"),
        ("a-class", {"description": "nothing that there is"}, 422, "no description"),
        ("a-class", {"description": "name: x\n: ["}, 422, "description"),
        ("a-class", {"description": "/etc/passwd"}, 422, "no description"),
        ("a-class", {"alerts": ["ztf:1"]}, 404, "packet of alert ztf:1"),
        ("a-class", {"alerts": ["ztf/1"]}, 422, "alerts"),
        ("a-class", {"packets": ["AAAA"] * 501}, 422, "packets"),
        ("a-class", {"packets": ["AAAA"], "revision": 3}, 409, "present revision is 0"),
        ("a-class", {"packets": ["AAAA"], "author": "eve"}, 422, "author"),
        ("A Class", {"packets": ["AAAA"]}, 404, "name"),
    ],
)
async def test_what_cannot_be_taught_is_said(api: Api, path: str, body: Any, status: int, said: str) -> None:
    async with api.client(api.key("teach")) as client:
        answer = await client.post(f"/v1/classes/{path}/preview", json=body)
    assert (answer.status_code, said in answer.text) == (status, True), answer.text
    if status == 409:
        assert (answer.json()["revision"], answer.headers["etag"]) == (0, '"0"')


@pytest.mark.parametrize(
    ("method", "path", "options"),
    [
        ("POST", "/v1/classes/x", {"json": {"packets": ["AAAA"]}}),
        ("DELETE", "/v1/classes/x", {}),
        ("POST", "/v1/classes", {"content": b"{}"}),
        ("POST", "/v1/models/champion/promote", {"json": {}}),
        ("POST", "/v1/models/rollback", {"json": {}}),
        ("POST", "/v1/rejects/redrive", {"json": {}}),
        ("GET", "/v1/rejects/0/1", {}),
        ("GET", "/v1/operations", {}),
    ],
)
async def test_what_needs_a_broker_says_so(api: Api, method: str, path: str, options: Any) -> None:
    async with api.client(api.key()) as client:
        answer = await client.request(method, path, **options)
    assert (answer.status_code, "retry-after" in answer.headers) == (503, True), answer.text


async def test_classes_models_and_schemas_are_shown(api: Api) -> None:
    bundle = load_bundle()
    async with api.client(api.key("read")) as client:
        known = (await client.get("/v1/classes/tde")).json()["data"]
        none = await client.get("/v1/classes/none-such")
        model = (await client.get(f"/v1/models/{bundle.sha256[:6]}")).json()["data"]
        same = (await client.get("/v1/models/compare?a=champion&b=" + bundle.sha256[:16])).json()["data"]
        other = await client.get("/v1/models/ffffffffffff")
        listed = (await client.get("/v1/schemas")).json()["data"]
        schema = await client.get(f"/v1/schemas/{TABLE[0].id}")
        drift, steps = await client.get("/v1/drift"), await client.get("/v1/loop/events?format=csv")
        sources = await client.get("/v1/suggest")
    assert (known["taught"], known["topic"], known["examples"]) == (False, "detections.tde", [])
    assert (none.status_code, other.status_code, sources.status_code) == (404, 404, 404)
    assert (model["sha256"], model["alias"], model["thresholds"].keys()) == (bundle.sha256, None, set(bundle.classes))
    assert (same["differences"], same["packets"], same["a"]) == ([], 0, None)
    assert [row["id"] for row in listed] == [row.id for row in TABLE]
    assert schema.content == TABLE[0].schema_text.encode()
    assert (drift.json()["data"], steps.status_code) == ({"alarms": [], "charts": []}, 200)


async def test_the_projection_is_fixed_and_sets_classes_apart(api: Api) -> None:
    async with api.client(api.key("read")) as client:
        found = (await client.get("/v1/projection")).json()["data"]
    reference = load_bundle().reference
    again = projection_of(np.asarray(reference.views.embedding, np.float64), reference.label)
    assert np.allclose(found["share"], again.share)
    assert np.allclose(again.axes @ again.axes.T, np.eye(3), atol=1e-12)
    turned = projection_of(np.asarray(reference.views.embedding, np.float64)[::-1], reference.label[::-1])
    assert np.allclose(again.axes, turned.axes, atol=1e-6)
    places = {row["name"]: np.array([row["x"], row["y"], row["z"]]) for row in found["classes"]}
    assert found["alerts"] == []
    apart = [np.linalg.norm(a - b) for a in places.values() for b in places.values() if a is not b]
    assert np.mean(apart) > np.mean([row["spread"] for row in found["classes"]])


def test_suggested_alerts_lie_between_two_classes(state: ScoringState, packets: list[str]) -> None:
    found = see_packets([base64.b64decode(text) for text in packets], state)
    reference = load_bundle().reference
    views = Views(*(np.asarray(column, np.float32)[:400] for column in reference.views))
    names = [(f"ztf:{i}:x", f"o{i // 2}") for i in range(400)]
    head = state.head.weights.map(to_host)
    chosen = suggestions("tde", Seen(views, names, ["ztf"] * 400), head=head, classes=state.head.known, known={"o3"}, most=10)
    assert len(found.rows) == 5
    assert len({one.object_id for one in chosen}) == 10
    assert "o3" not in {one.object_id for one in chosen}
    least = [min(one.probability, one.other_probability) for one in chosen]
    assert least == sorted(least, reverse=True)
    assert all(one.other != "tde" for one in chosen)
    nothing = Seen(Views(*(c[:0] for c in views)), [], [])
    assert suggestions("tde", nothing, head=head, classes=state.head.known, known=(), most=3) == []


def test_every_change_is_audited() -> None:
    from service.api.routes import ENDPOINTS

    changes = {row.name for row in ENDPOINTS if row.method in ("POST", "DELETE") and row.scope in ("teach", "operate", "admin")}
    written = {row.name for row in ENDPOINTS if row.is_audited}
    assert changes - written == {"preview_class"}  # writes nothing


def test_documents_are_json(state: ScoringState) -> None:
    from service.api.application import DESCRIPTION  # the description is made of the same rows
    from service.api.openapi import describe
    from service.api.routes import ENDPOINTS

    found = orjson.loads(orjson.dumps(describe(ENDPOINTS, version="1")))
    assert DESCRIPTION == "/v1/openapi.json"
    accepted = found["paths"]["/v1/score"]["post"]["responses"]["202"]
    assert "Location" in accepted["headers"]
    assert "409" in found["paths"]["/v1/classes/{name}"]["post"]["responses"]
