"""`/v1/filters`, `/v1/watchlists`: what is asked of the history, what is refused, whose is whose."""

from __future__ import annotations

import base64
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any

import httpx
import numpy as np
import pytest

from data.areas.drafts import draft_filter
from data.areas.filter_set import filter_set
from data.history.sqlite_reader import SqliteReader
from evaluation.filter_preview import preview_filter
from schemas.records import detection
from schemas.records.detection import Decision
from schemas.records.filter_defined import FilterDefined
from schemas.records.known_label import KnownLabel
from schemas.records.watchlist import Watchlist
from streams.filter_definitions import DefinitionFollower
from streams.known_labels import Labels
from tests.data.areas.sky_maps import gaussian_map
from tests.service.api_client import Api
from tests.service.past_night import DATE, alert, write

NIGHT = [replace(alert(i), ra=float(i % 360), dec=float(i % 60 - 30), programid=2 if i % 10 == 9 else 1) for i in range(200)]
PUBLIC = [a for a in NIGHT if a.programid == 1]


class Facts:
    """What topics say, without a broker."""

    def __init__(self) -> None:
        self.known = Labels()
        self.classes: dict[str, Any] = {}

    async def labels(self) -> Labels:
        return self.known

    async def taught(self) -> dict[str, Any]:
        return self.classes


@pytest.fixture(scope="module")
def history(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("history")
    write(folder, NIGHT).close()
    return folder


@pytest.fixture
def api(history: Path, tmp_path: Path) -> Iterator[Api]:
    reader = SqliteReader(history)
    definitions = DefinitionFollower.__new__(DefinitionFollower)  # what a follower knows, without a broker to follow
    definitions.filters, definitions.watchlists = {}, {}
    yield Api(tmp_path, history=reader, facts=Facts(), definitions=definitions)
    reader.close()


async def asked(api: Api, key: str | None = None, **body: Any) -> httpx.Response:
    async with api.client(key or api.key("read")) as client:
        return await client.post("/v1/filters/preview", json={"night": DATE, **body})


async def test_a_preview_counts_what_passes_of_what_one_may_see(api: Api) -> None:
    found = (await asked(api, expression="class = 'tde' AND published", budget=10)).json()["data"]
    wanted = [a for a in PUBLIC if a.decision is not None and a.decision.class_name == "tde" and a.decision.published]
    assert (found["looked_at"], found["passed"], found["over_budget"]) == (len(PUBLIC), len(wanted), len(wanted) - 10)
    assert found["classes"] == {"tde": len(wanted)}
    assert found["night"] == DATE
    assert found["purity"] == {"labelled": 0, "right": 0, "share": None, "low": 0.0, "high": 1.0}
    best = max(a.decision.prior_probability for a in wanted if a.decision is not None)
    assert found["samples"][0]["decision"]["prior_probability"] == pytest.approx(best)
    everything = (await asked(api, api.key("read", private=True), expression="true")).json()["data"]
    assert (everything["looked_at"], everything["passed"]) == (len(NIGHT), len(NIGHT))


async def test_areas_and_lists_narrow_it(api: Api) -> None:
    sky = base64.b64encode(gaussian_map(20.0, -10.0, sigma=2.0)).decode()
    inside = (await asked(api, expression="true", area={"fits": sky, "level": 0.99})).json()["data"]
    assert 0 < inside["passed"] < 10
    cones = (await asked(api, expression="true", area={"cones": [[50.0, 20.0, 0.5], [61.0, -29.0, 0.1]]})).json()["data"]
    assert {s["object_id"] for s in cones["samples"]} == {a.object_id for a in PUBLIC if (a.ra, a.dec) in ((50.0, 20.0), (61.0, -29.0))}
    assert cones["passed"] == 2
    missing = await asked(api, expression="true", watchlists=["mine"])
    assert (missing.status_code, "no watchlist mine" in missing.json()["detail"]) == (422, True)
    positions = np.ascontiguousarray([[7.0, -23.0, 2 / 3600]], "<f8").tobytes()
    api.services.definitions.watchlists[b"ada/mine"] = Watchlist("ada", "mine", 1, positions)
    near = (await asked(api, expression="true", watchlists=["mine"])).json()["data"]
    assert near["passed"] == 1


@pytest.mark.parametrize(
    ("body", "says"),
    [({"expression": "novelty >"}, "column"), ({"expression": "nvelty > 1"}, "column 1: there is no field nvelty"),
     ({"expression": "true", "area": {"moc": "99/1"}}, "not a cell"), ({"expression": "true", "area": {"fits": "AAAA"}}, "cannot be read"),
     ({"expression": "true", "area": {"fits": "!"}}, "base64"), ({"expression": "true", "night": "yesterday"}, "night"),
     ({"expression": "true", "area": {"moc": "3/1", "cones": [[1, 1, 1]]}}, "one of"),
     ({"expression": "true", "area": {"cones": [[100, 200, 1]]}}, "ra 100, dec 200"), ({"expression": "true", "budget": 0}, ""),
     ({"expression": "true", "area": {"polygon": [[0, 0], [1, 1]]}}, "corners"), ({}, "")],
)  # fmt: skip
async def test_what_is_not_a_filter_is_422_and_says_why(api: Api, body: dict[str, Any], says: str) -> None:
    found = await asked(api, **body)
    assert found.status_code == 422, found.text
    assert says in found.text


async def test_a_taught_class_may_be_asked_for(api: Api) -> None:
    assert (await asked(api, expression="p_fast_blue > 0.5")).status_code == 422
    api.services.facts.classes = {"fast-blue": None}
    assert (await asked(api, expression="p_fast_blue > 0.5")).json()["data"]["passed"] == 0


async def test_filters_are_their_owners(api: Api) -> None:
    held = api.services.definitions.filters
    for owner, name in (("ada", "mine"), ("grace", "hers")):
        held[f"{owner}/{name}".encode()] = FilterDefined(owner, name, 3, "published", made_ms=1_000)
    async with api.client(api.key("subscribe")) as client:
        rows = (await client.get("/v1/filters")).json()["data"]
        assert [(row["name"], row["revision"], row["topic"]) for row in rows] == [("mine", 3, "filters.ada.mine")]
        assert (await client.get("/v1/filters/hers")).status_code == 404
        assert (await client.get("/v1/filters/mine")).json()["data"]["expression"] == "published"
        assert (await client.delete("/v1/filters/hers")).status_code == 404
        stale = await client.put("/v1/filters/mine", json={"expression": "published", "based_on": 2})
        assert stale.status_code == 409
        hook = await client.put("/v1/filters/mine", json={"expression": "published", "webhook": "https://169.254.169.254/"})
        assert hook.status_code == 422
        swapped = await client.put("/v1/watchlists/x", json={"positions": [[10.0, 20.0], [-30.0, 200.0]]})
        assert (swapped.status_code, "position 2" in swapped.text) == (422, True)
        assert (await client.put("/v1/filters/Bad_Name", json={"expression": "published"})).status_code == 404
    async with api.client(api.key("read")) as client:
        assert (await client.get("/v1/filters")).status_code == 403


def test_purity_is_inside_the_interval_that_is_stated() -> None:
    """Many nights of a known purity, a part of each labelled: the interval holds the truth as often as it says."""
    rng = np.random.default_rng(1)
    asked_for = filter_set([draft_filter("ada", "x", expression="class = 'tde'")], {})
    body = detection.body(r := replace(alert(0), decision=Decision("tde", 0.9, 0.5, 1.0, True, True, "drb")), detection.coded(r))
    held = 0
    for _ in range(60):
        truth = rng.uniform(0.3, 0.95)
        night = [body] * 150
        labelled = (rng.random(150) < 0.3).tolist()
        given = iter([("tde" if rng.random() < truth else "agn") if kept else None for kept in labelled])
        found = preview_filter(asked_for, [night], label=lambda one, given=given: next(given), targets=["tde"])  # type: ignore[misc]
        assert found.passed == 150
        assert 20 < found.purity.labelled < 70
        held += found.purity.low <= truth <= found.purity.high
    assert held >= 52  # of 60 intervals of 95 %


def test_labels_count_as_they_are_known() -> None:
    labels = Labels()
    from types import SimpleNamespace

    from schemas.records import codec

    for i, name in ((0, "tde"), (3, "agn"), (6, "tde")):
        record = KnownLabel("ztf", alert(i).candid, f"o{i}", name, "tns", 1.0, "ada", 1)
        labels.take(SimpleNamespace(key=record.key, value=codec.encode(record)))
    asked_for = filter_set([draft_filter("ada", "x", expression="class = 'tde'")], {})
    bodies = [detection.body(a, detection.coded(a)) for a in (replace(alert(i), object_id=f"o{i}") for i in range(30))]
    found = preview_filter(asked_for, [bodies], label=lambda d: labels.of(d.survey, d.candid, object_id=d.object_id), targets=["tde"])
    assert (found.passed, found.labels, found.purity.labelled, found.purity.right) == (10, {"tde": 2, "agn": 1}, 3, 2)
    assert found.purity.low < 2 / 3 < found.purity.high
