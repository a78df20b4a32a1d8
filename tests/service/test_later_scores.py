"""`Prefer: respond-async`: the same answer later, for the same caller alone, bounded, and gone after an hour."""

from __future__ import annotations

import asyncio
import csv
import io
from collections.abc import AsyncIterator, Awaitable, Callable
from pathlib import Path

import httpx
import pytest

from data.simulate.night import night
from pipeline.state import ScoringState, load
from service.api.later_results import KEPT_S, MOST_WAITING, WAITING_S, Done, Results
from service.api.problems import ProblemError
from service.api.scorers import Scorers
from service.ingest.bodies import PACKETS
from streams.scorer import Pipeline, StateHolder
from tests.service.api_client import Api

LATER = {"Content-Type": PACKETS, "Prefer": "wait=1, respond-async"}


@pytest.fixture(scope="module")
def state() -> ScoringState:
    return load(None, "onnxruntime")


@pytest.fixture(scope="module")
def body() -> bytes:
    packets = [*(packet for packet, _ in night(seed=5, n=8, duplicates=0, broken=0)), b"not a packet"]
    return b"".join(len(p).to_bytes(4, "big") + p for p in packets)


@pytest.fixture
async def api(state: ScoringState, tmp_path: Path) -> AsyncIterator[Api]:
    made = Api(tmp_path, results=Results(tmp_path / "results"))
    base = Pipeline(state)
    made.services.scorers = scorers = Scorers(made.settings, base, holder=StateHolder(base, shown=False))
    scorers.start()
    yield made
    assert made.services.results is not None
    await made.services.results.stop()
    await scorers.stop()


async def fetched(client: httpx.AsyncClient, location: str) -> httpx.Response:
    for _ in range(600):
        answer = await client.get(location)
        if answer.status_code != 202:
            return answer
        assert answer.headers["retry-after"] == "1"
        await asyncio.sleep(0.02)
    raise AssertionError("the result did not come")


@pytest.mark.parametrize("form", ["json", "csv"])
async def test_the_answer_is_that_of_a_request_that_waits(api: Api, body: bytes, form: str) -> None:
    async with api.client(api.key("score")) as client:
        now = await client.post(f"/v1/score?format={form}", content=body, headers={"Content-Type": PACKETS})
        accepted = await client.post(f"/v1/score?format={form}", content=body, headers=LATER)
        assert (accepted.status_code, accepted.headers["preference-applied"]) == (202, "respond-async")
        assert accepted.json()["data"]["packets"] == 9
        later = await fetched(client, accepted.headers["location"])
    assert (later.status_code, later.headers["content-type"]) == (200, now.headers["content-type"])
    assert later.content == now.content
    if form == "json":
        assert [("error" in row and row["error"] is not None) for row in later.json()["data"]] == [False] * 8 + [True]
    else:
        assert len(list(csv.DictReader(io.StringIO(later.text)))) == 9


async def test_it_is_its_callers_alone_and_can_be_given_up(api: Api, body: bytes) -> None:
    async with api.client(api.key("score")) as client, api.client(api.key("score", owner="eve")) as other:
        location = (await client.post("/v1/score", content=body, headers=LATER)).headers["location"]
        await fetched(client, location)
        assert [(await other.request(method, location)).status_code for method in ("GET", "DELETE")] == [404, 404]
        assert (await client.delete(location)).status_code == 204
        assert (await client.get(location)).status_code == 404
        for name in ("x" * 24, "..%2F" * 4 + "etc0", "a"):
            assert (await client.get(f"/v1/results/{name}")).status_code == 404


async def test_what_is_wrong_with_the_request_is_said_at_once_or_fetched(api: Api) -> None:
    async with api.client(api.key("score")) as client:
        assert (await client.post("/v1/score", content=b"", headers=LATER)).status_code == 422
        one = {"Content-Type": "application/json", "Prefer": "respond-async"}
        curve = {"survey": "ztf", "ra": 1, "dec": 2, "mjd": [1.0], "band": "g", "flux": [1.0], "flux_err": [0.1]}  # of no ZTF night
        accepted = await client.post("/v1/score", json=curve, headers=one)
        answer = await fetched(client, accepted.headers["location"]) if accepted.status_code == 202 else accepted
    assert (answer.status_code, answer.headers["content-type"]) == (422, "application/problem+json")


def answering(body: bytes) -> Callable[[], Awaitable[Done]]:
    async def work() -> Done:
        return Done(200, "text/plain", body, {})

    return work


async def test_the_store_is_bounded_in_time_bytes_and_number(tmp_path: Path) -> None:
    now = [1000.0]
    results = Results(tmp_path / "r", lambda: now[0], most_bytes=25_000)
    names = []
    for i in range(4):
        names.append(results.add("ada", answering(bytes([65 + i]) * 10_000), packets=1).name)
        await asyncio.sleep(0.05)  # files of one moment have no order
    kept = []
    for name in names:
        try:
            found = results.of(name, "ada")
            kept.append(found.done is not None and found.done.body[:1])
        except ProblemError as problem:
            kept.append(problem.status == 404 and None)
    assert kept == [None, None, b"C", b"D"]
    again = Results(tmp_path / "r", lambda: now[0])  # another process
    assert again.of(names[3], "ada").done is not None
    now[0] += WAITING_S + KEPT_S + 1
    with pytest.raises(ProblemError):
        again.of(names[3], "ada")

    hang = asyncio.Event()

    async def forever() -> Done:
        await hang.wait()
        raise AssertionError

    waiting = [results.add("ada", forever, packets=1) for _ in range(MOST_WAITING // 4)]
    with pytest.raises(ProblemError, match="too many"):
        results.add("ada", forever, packets=1)
    results.add("grace", forever, packets=1)
    now[0] += WAITING_S + 1
    with pytest.raises(ProblemError, match="lost with the process"):
        again.of(waiting[0].name, "ada")
    await results.stop()
    assert not [path for path in (tmp_path / "r").iterdir() if path.name in {one.name for one in waiting}]
