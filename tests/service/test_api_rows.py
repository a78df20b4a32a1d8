"""Rows of the API: what is checked is what is described, and what a caller learns where something is wrong."""

from __future__ import annotations

import csv
import io
import os
import subprocess
import sys
from pathlib import Path
from typing import Any
from xml.etree import ElementTree

import fastavro
import pyarrow.parquet as pq
import pytest
from prometheus_client.parser import text_string_to_metric_families
from pydantic import BaseModel, Field

from service.api.endpoints import Answer, Call, Endpoint
from service.api.formats import chosen
from service.api.pages import PageQuery, cursor_of, keys_of, query_mark
from service.api.problems import ProblemError
from service.api.routes import ENDPOINTS
from service.api.shortcut import exact_paths
from tests.service.api_client import Api


class Star(BaseModel):
    name: str = Field(description="Name")
    ra: float = Field(description="Right ascension", json_schema_extra={"unit": "deg", "ucd": "pos.eq.ra"})
    visits: int = Field(description="Visits")
    bright: bool | None = Field(None, description="Whether it is")
    bands: list[str] = Field([], description="Bands")


class Which(BaseModel):
    number: int = Field(ge=0, le=9, description="Number")


class Body(BaseModel):
    flux: list[float] = Field(max_length=3, description="Flux")


STARS: list[dict[str, Any]] = [
    {"name": f'<&{i}>"é', "ra": float("nan") if i == 3 else 10.5 * i, "visits": i, "bright": None if i % 2 else True, "bands": ["g"]}
    for i in range(7)
]


async def list_stars(call: Call) -> Answer:
    begin = 0 if call.after is None else call.after[0] + 1
    page = STARS[begin : begin + call.query.limit]
    more = begin + len(page) < len(STARS)
    return Answer(rows=page, next=(begin + len(page) - 1,) if more else None)


async def show_star(call: Call) -> Answer:
    return Answer(STARS[call.path.number])


async def put_flux(call: Call) -> Answer:
    return Answer({"name": "x", "ra": sum(call.body.flux), "visits": 0})


async def fail(call: Call) -> Answer:
    raise RuntimeError("secret detail")


ROWS = (
    Endpoint(method="GET", path="/v1/stars", scope="read", summary="Stars", handler=list_stars, query=PageQuery, answer=Star, table=True),
    Endpoint(method="GET", path="/v1/stars/{number}", scope="read", summary="A star", handler=show_star, parameters=Which, answer=Star),
    Endpoint(method="POST", path="/v1/stars", scope="operate", summary="Flux", handler=put_flux, body=Body, answer=Star),
    Endpoint(method="GET", path="/v1/fail", scope="read", summary="Fails", handler=fail, answer=Star),
)


@pytest.fixture
def api(tmp_path: Path) -> Api:
    return Api(tmp_path, ROWS)


async def test_pages_follow_each_other_by_their_links(api: Api) -> None:
    async with api.client(api.key()) as client:
        url, seen = "/v1/stars?limit=3", []
        while url:
            answer = await client.get(url)
            assert answer.status_code == 200, answer.text
            seen += [row["visits"] for row in answer.json()["data"]]
            url = answer.links["next"]["url"] if "next" in answer.links else ""
            assert (answer.json()["next"] is None) == (not url)
    assert seen == list(range(7))


@pytest.mark.parametrize("cursor", ["x", "W10", "bnVsbA", "!!!", "W251bGwsMV0", "WyJhIix7fV0", "a" * 1999])
async def test_a_cursor_that_is_none_of_ours_is_refused(api: Api, cursor: str) -> None:
    async with api.client(api.key()) as client:
        answer = await client.get("/v1/stars", params={"cursor": cursor})
    assert answer.status_code == 422
    assert answer.json()["errors"][0]["loc"] == ["query", "cursor"]


def test_a_cursor_is_bound_to_its_query() -> None:
    mark = query_mark("/v1/stars", [("class", "tde"), ("limit", "5")])
    cursor = cursor_of((7, "a", None, 1.5), mark)
    assert keys_of(cursor, query_mark("/v1/stars", [("limit", "9"), ("class", "tde")])) == (7, "a", None, 1.5)
    for other in (query_mark("/v1/stars", [("class", "agn")]), query_mark("/v1/x", [("class", "tde")])):
        with pytest.raises(ProblemError, match="another query"):
            keys_of(cursor, other)


async def test_every_format_holds_the_same_rows(api: Api) -> None:
    async with api.client(api.key()) as client:
        found = {form: await client.get(f"/v1/stars?format={form}") for form in ("json", "csv", "votable", "avro", "parquet")}
    assert {answer.status_code for answer in found.values()} == {200}
    plain = found["json"].json()["data"]
    assert plain[3]["ra"] is None
    rows = list(csv.DictReader(io.StringIO(found["csv"].content.decode())))
    assert [(row["name"], row["ra"], row["bands"]) for row in rows][3] == (plain[3]["name"], "", '["g"]')
    root = ElementTree.fromstring(found["votable"].content)
    space = "{http://www.ivoa.net/xml/VOTable/v1.3}"
    fields = [(f.get("name"), f.get("unit"), f.get("ucd")) for f in root.iter(f"{space}FIELD")]
    assert fields[1] == ("ra", "deg", "pos.eq.ra")
    cells = [[cell.text for cell in row] for row in root.iter(f"{space}TR")]
    assert (cells[0][0], cells[3][1], cells[1][3]) == (plain[0]["name"], None, None)
    avro = list(fastavro.reader(io.BytesIO(found["avro"].content)))
    parquet = pq.read_table(io.BytesIO(found["parquet"].content)).to_pylist()
    assert avro == parquet
    assert [{**row, "bands": ["g"]} for row in avro] == plain


def test_votables_are_read_by_astropy() -> None:
    votable = pytest.importorskip("astropy.io.votable")
    from service.api.formats import written

    table = votable.parse_single_table(io.BytesIO(written("votable", STARS, model=Star))).to_table()
    assert list(table["visits"]) == list(range(7))
    assert table["ra"].unit == "deg"


@pytest.mark.parametrize(
    ("accept", "form"),
    [
        (None, "json"),
        ("*/*", "json"),
        ("text/csv", "csv"),
        ("application/json;q=0.1, application/x-votable+xml", "votable"),
        ("text/html, */*;q=0.1", "json"),
        ("application/vnd.apache.parquet", "parquet"),
        ("application/json;q=0, text/csv;q=0.2", "csv"),
    ],
)
def test_the_format_is_negotiated(accept: str | None, form: str) -> None:
    assert chosen(None, accept, table=True) == form
    assert chosen("avro", accept, table=True) == "avro"


@pytest.mark.parametrize(
    ("wanted", "accept", "table", "status"),
    [("xml", None, True, 422), ("csv", None, False, 406), (None, "text/csv", False, 406), (None, "image/png", True, 406)],
)
def test_a_format_that_is_not_given_is_refused(wanted: str | None, accept: str | None, table: bool, status: int) -> None:
    with pytest.raises(ProblemError) as error:
        chosen(wanted, accept, table=table)
    assert error.value.status == status


@pytest.mark.parametrize(
    ("method", "path", "options", "status", "loc"),
    [
        ("GET", "/v1/stars?limit=0", {}, 422, ["query", "limit"]),
        ("GET", "/v1/stars?limit=x", {}, 422, ["query", "limit"]),
        ("GET", "/v1/stars?limit=1&limit=2", {}, 422, ["query", "limit"]),
        ("GET", "/v1/stars?limmit=1", {}, 422, ["query", "limmit"]),
        ("GET", "/v1/stars/12", {}, 404, ["path", "number"]),
        ("GET", "/v1/stars/1?x=1", {}, 422, ["query", "x"]),
        ("GET", "/v1/none", {}, 404, None),
        ("GET", "/v1/stars/", {}, 404, None),
        ("DELETE", "/v1/stars", {}, 405, None),
        ("POST", "/v1/stars", {"content": b"[1", "headers": {"Content-Type": "application/json"}}, 422, ["body"]),
        ("POST", "/v1/stars", {"json": {"flux": [1, 2, 3, 4]}}, 422, ["body", "flux"]),
        ("POST", "/v1/stars", {"json": {"flux": ["a"]}}, 422, ["body", "flux", 0]),
        ("POST", "/v1/stars", {"json": {"flux": [True]}}, 422, ["body", "flux", 0]),
        ("POST", "/v1/stars", {"json": {"flux": ["1"]}}, 422, ["body", "flux", 0]),
        ("POST", "/v1/stars", {"content": b"{}", "headers": {"Content-Type": "text/plain"}}, 415, None),
        ("POST", "/v1/stars", {"content": b"x" * (1 << 20 | 1)}, 413, None),
        ("POST", "/v1/stars", {"content": b"[" * 100_000}, 422, ["body"]),
    ],
)
async def test_what_is_not_as_described_is_named(api: Api, method: str, path: str, options: Any, status: int, loc: Any) -> None:
    async with api.client(api.key()) as client:
        answer = await client.request(method, path, **options)
    assert answer.status_code == status, answer.text
    assert answer.headers["content-type"] == "application/problem+json"
    found = answer.json()
    assert (found["status"], bool(found["title"])) == (status, True)
    assert found.get("errors", [{}])[0].get("loc") == loc
    assert answer.headers["x-content-type-options"] == "nosniff"


async def test_a_fault_of_ours_shows_a_number_and_no_detail(api: Api) -> None:
    async with api.client(api.key()) as client:
        answer = await client.get("/v1/fail")
    assert answer.status_code == 500
    assert "incident" in answer.json()["detail"]
    assert "secret" not in answer.text


def test_every_row_is_described_with_its_scope_and_answers(api: Api) -> None:
    from service.api.openapi import describe

    found = describe((*ROWS, *ENDPOINTS), version="1")
    assert found["openapi"] == "3.1.0"
    for row in (*ROWS, *ENDPOINTS):
        operation = found["paths"][row.path][row.method.lower()]
        assert operation["operationId"] == row.name
        assert str(row.status) in operation["responses"]
        assert operation.get("x-scope") == row.scope
        names = {p["name"] for p in operation.get("parameters", ())}
        assert not row.paged or {"cursor", "limit"} <= names
        assert not row.table or "format" in names
    text = str(found)
    for ref in {part.split("'")[0] for part in text.split("#/components/schemas/")[1:]}:
        assert ref in found["components"]["schemas"]


async def test_requests_are_counted_by_endpoint_and_status(api: Api, tmp_path: Path) -> None:
    def counted(text: str) -> dict[tuple[str, ...], float]:
        return {
            tuple(sample.labels.get(name, "") for name in ("operation", "method", "status")): sample.value
            for family in text_string_to_metric_families(text)
            for sample in family.samples
            if sample.name in ("protonova_api_requests_total", "protonova_api_request_seconds_count")
        }

    whole = Api(tmp_path, (*ROWS, *ENDPOINTS))
    async with whole.client(whole.key("operate", "read")) as client:
        before = counted((await client.get("/metrics")).text)
        for path in ("/v1/stars", "/v1/stars/12", "/v1/stars?limit=0", "/v1/fail", "/v1/none", "/v1/stars"):
            await client.get(path)
        await client.request("BREW", "/v1/stars")
        answer = await client.get("/metrics")
    after = counted(answer.text)
    assert answer.headers["content-type"].startswith("text/plain")
    grown = {key: value - before.get(key, 0.0) for key, value in after.items() if value != before.get(key, 0.0)}
    assert grown == {
        ("list_stars", "GET", "200"): 2, ("list_stars", "GET", "422"): 1, ("list_stars", "other", "405"): 1, ("list_stars", "", ""): 4,
        ("show_star", "GET", "404"): 1, ("show_star", "", ""): 1, ("fail", "GET", "500"): 1, ("fail", "", ""): 1,
        ("none", "other", "404"): 1, ("none", "", ""): 1, ("show_metrics", "GET", "200"): 1, ("show_metrics", "", ""): 1,
    }  # fmt: skip


def test_whichever_of_several_processes_is_asked_counts_for_all(tmp_path: Path) -> None:
    program = (
        "from service.api.http_metrics import count, exposition; count('a', 'GET', status=200, seconds=0.1); print(exposition().decode())"
    )
    environment = {**os.environ, "PROMETHEUS_MULTIPROC_DIR": str(tmp_path), "PYTHONPATH": str(Path(__file__).parents[2])}
    said = [
        subprocess.run([sys.executable, "-c", program], env=environment, capture_output=True, text=True, check=True).stdout for _ in "ab"
    ]
    assert 'protonova_api_requests_total{method="GET",operation="a",status="200"} 2.0' in said[1]
    assert "protonova_worker" not in said[1]


def test_paths_that_are_known_to_the_letter_are_those_of_the_router() -> None:
    by_path = {row.path: row for row in ENDPOINTS}
    found = {path: dict(parameters) for row in by_path.values() for path, parameters in exact_paths(row.path, row)}
    assert found["/v1/score"] == {}
    assert found["/v1/alerts/lsst"] == {"survey": "lsst"}
    assert all("{" not in path for path in found)
    assert "/v1/classes/" not in " ".join(path for path, parameters in found.items() if parameters)
