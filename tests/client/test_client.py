"""The Python client against the API in this process: what it asks is what the service has, retried and resumed where a call breaks off."""

from __future__ import annotations

import asyncio
import json
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import httpx
import pytest

from data.history.sqlite_reader import SqliteReader
from protonova_client import (
    ApiError,
    AsyncClient,
    BrokenTransferError,
    Client,
    NotThereError,
    UnreachableError,
    exchange,
    light_curve,
    read_night,
)
from protonova_client.exchange import Ask, Pause, asked, retry_after
from tests.service.api_client import Api
from tests.service.past_night import DATE, alert, write

NEAR, HIDDEN, RUBIN = "ZTF25near", "ZTF25hidden", "313888627133333333"


class Sync(httpx.BaseTransport):
    """An ASGI application for a client that does not await; `breaks` are answers given in its stead, each once."""

    def __init__(self, app: Any) -> None:
        self.inner = httpx.ASGITransport(app=app, client=("127.0.0.1", 40_000))
        self.breaks: list[httpx.Response | Exception] = []
        self.seen: list[httpx.Request] = []
        self.cut: int | None = None
        """After how many bytes the next body breaks off."""

    def handle_request(self, request: httpx.Request) -> httpx.Response:
        self.seen.append(request)
        if self.breaks:
            found = self.breaks.pop(0)
            if isinstance(found, Exception):
                raise found
            return found
        answer, body = asyncio.run(self._ask(request))
        if self.cut is not None:
            cut, self.cut = self.cut, None
            return httpx.Response(answer.status_code, headers=answer.headers, stream=Cut(body[:cut]))
        return httpx.Response(answer.status_code, headers=answer.headers, content=body)

    async def _ask(self, request: httpx.Request) -> tuple[httpx.Response, bytes]:
        answer = await self.inner.handle_async_request(
            httpx.Request(request.method, request.url, headers=request.headers, content=request.read())
        )
        return answer, await answer.aread()


class Cut(httpx.SyncByteStream):
    """A body whose connection is lost."""

    def __init__(self, body: bytes) -> None:
        self.body = body

    def __iter__(self) -> Iterator[bytes]:
        yield self.body
        raise httpx.ReadError("the connection is lost")


@pytest.fixture(scope="module")
def api(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Api]:
    folder = tmp_path_factory.mktemp("client")
    records = [
        *(alert(i, NEAR) for i in range(30)),
        *(alert(100 + i, HIDDEN, programid=2, ra=150.0001) for i in range(2)),
        *(alert(200 + i, RUBIN, survey="lsst", ra=150.0 + 1e-4) for i in range(2)),
    ]
    writer = write(folder / "history", records)
    reader = SqliteReader(folder / "history")
    yield Api(folder, history=reader)
    reader.close()
    writer.close()


@pytest.fixture
def sky(api: Api) -> Iterator[Client]:
    with Client("http://127.0.0.1", key=api.key("read"), transport=Sync(api.app)) as client:
        yield client


def transport(sky: Client) -> Sync:
    found = sky._http._transport
    assert isinstance(found, Sync)
    return found


@pytest.fixture(autouse=True)
def at_once(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(exchange, "FIRST_PAUSE", 0.001)


def test_objects_and_curves_as_tables_with_units(sky: Client) -> None:
    found = sky.object(NEAR)
    assert (found["n"], [o["object_id"] for o in found["counterparts"]]) == (30, [RUBIN])
    curve = sky.light_curve(NEAR)
    frame, table = curve.to_pandas(), curve.to_astropy()
    assert len(frame) == len(table) == 30
    assert list(frame.mjd) == sorted(frame.mjd)
    assert (str(table["flux"].unit), str(table["ra"].unit)) == ("uJy", "deg")
    assert table["flux"].mask.tolist() == [row["flux"] is None for row in curve]
    assert table["alert"][0] == "ztf:3000000000000000000"
    near = sky.cone(150.0, 20.0, radius=10)
    assert {row["object_id"] for row in near} == {NEAR, RUBIN}
    places = sky.cones({f"place {i}": (150.0, 20.0 if i == 7 else -20.0) for i in range(1_100)})
    assert (len(places), len(places["place 7"]), len(places["place 8"])) == (1_100, 2, 0)
    assert sky.objects(survey="lsst")[0]["object_id"] == RUBIN
    assert {row["class"] for row in sky.alerts(class_="tde", limit=5)} == {"tde"}


def test_pages_are_read_to_the_end(sky: Client, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("protonova_client.calls.PAGE", 7)
    whole = sky.detections(NEAR)
    assert [row["candid"] for row in whole] == [str(3 * 10**18 + i) for i in range(29, -1, -1)]
    assert not whole.more
    some = sky.detections(NEAR, limit=10)
    assert (len(some), some.more) == (10, True)


def test_what_is_wrong_is_said(sky: Client, api: Api) -> None:
    with pytest.raises(NotThereError, match="or you may not see it"):
        sky.object(HIDDEN)
    with pytest.raises(ApiError, match=r"422: .*radius") as caught:
        sky.cone(150.0, 20.0, radius=-1)
    assert caught.value.errors
    with Client("http://127.0.0.1", key="pn_wrong", transport=Sync(api.app)) as other, pytest.raises(ApiError, match="401"):
        other.classes()
    assert "pn_" not in repr(other)


def test_a_service_that_is_busy_is_asked_again_when_it_says(sky: Client, monkeypatch: pytest.MonkeyPatch) -> None:
    waited: list[float] = []
    monkeypatch.setattr("time.sleep", waited.append)
    busy = httpx.Response(503, headers={"Retry-After": "3"})
    transport(sky).breaks = [busy, httpx.ConnectError("refused"), httpx.Response(429, headers={"Retry-After": "7"})]
    assert sky.object(NEAR)["n"] == 30
    assert (waited[0], waited[2]) == (3.0, 7.0)
    transport(sky).breaks = [httpx.Response(503, headers={"Retry-After": "86400"})]
    with pytest.raises(ApiError, match="503"):  # longer than a call waits
        sky.object(NEAR)
    transport(sky).breaks = [httpx.ReadTimeout("silence")] * 20
    with pytest.raises(UnreachableError, match="after 6 tries"):
        sky.object(NEAR)


def test_when_to_come_again_may_be_a_date() -> None:
    assert retry_after("0") == 0.0
    assert retry_after("Wed, 21 Oct 2015 07:28:00 GMT") == 0.0
    assert retry_after("soon") is retry_after(None) is retry_after("nan") is None
    steps = asked(Ask(path="/"))
    assert isinstance(next(steps), Ask)
    assert isinstance(steps.throw(httpx.ConnectError("refused")), Pause)


@pytest.mark.parametrize("records", ["json", "avro"])
def test_a_night_goes_on_where_it_broke_off(sky: Client, tmp_path: Path, records: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("service.api.resources.accounting.PART_ROWS", 12)
    monkeypatch.setattr("time.sleep", lambda seconds: None)
    folder = tmp_path / "night"
    steps = transport(sky)
    original = steps.handle_request

    def handle(request: httpx.Request) -> httpx.Response:
        if request.url.path.startswith("/v1/bulk/") and not broken:
            broken.append(request.url.path)
            steps.cut = 1_000
        return original(request)

    broken: list[str] = []
    monkeypatch.setattr(steps, "handle_request", handle)
    files = sky.night(DATE, folder, records=records)
    ranges = [r.headers.get("range") for r in steps.seen if r.url.path == broken[0]]
    assert ranges == [None, "bytes=1000-"]
    assert len(files) == 3
    if records == "json":
        assert [d["candid"] for d in read_night(folder)] == [str(3 * 10**18 + i) for i in range(30)]
    whole = [file.read_bytes() for file in files]
    # Once more: whole parts do not come again, one that was damaged does.
    steps.seen.clear()
    files[1].write_bytes(whole[1][:-5] + b"xxxxx")
    assert sky.night(DATE, folder, records=records) == files
    assert [file.read_bytes() for file in files] == whole
    sent = [r for r in steps.seen if r.url.path.startswith("/v1/bulk/")]
    assert len(sent) == (2 if records == "avro" else 4)
    manifest = json.loads((folder / "manifest.json").read_text())
    assert manifest["rows"] == 30
    assert manifest["parts"][0]["offsets"] == [{"topic": "alerts.ztf", "partition": 0, "first": "0", "last": "11"}]
    if records == "avro":
        assert [part["size"] for part in manifest["parts"]] == [len(one) for one in whole]


def test_a_part_that_is_never_what_it_should_be_is_not_kept(sky: Client, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    manifest = {"data": {"night": DATE, "rows": 1, "parts": [{"href": f"/v1/bulk/{DATE}/1-2.ndjson", "rows": 1}]}}
    wrong = [httpx.Response(200, content=b"{}", headers={"Repr-Digest": "sha-256=:AAAA:", "ETag": '"a"'}) for _ in range(6)]
    transport(sky).breaks = [httpx.Response(200, json=manifest), *wrong]
    with pytest.raises(BrokenTransferError, match="never with the digest"):
        sky.night(DATE, tmp_path)
    assert not list(tmp_path.glob("*.ndjson"))
    manifest["data"]["parts"][0]["href"] = "/v1/bulk/../../etc/passwd"  # type: ignore[index]
    transport(sky).breaks = [httpx.Response(200, json=manifest)]
    with pytest.raises(BrokenTransferError, match="in a way"):
        sky.night(DATE, tmp_path)


def test_many_packets_go_in_requests_that_the_service_takes(sky: Client) -> None:
    sent: list[tuple[int, str | None]] = []

    def take(request: httpx.Request) -> httpx.Response:
        body, n = request.read(), 0
        while body:
            size = int.from_bytes(body[:4], "big")
            body, n = body[4 + size :], n + 1
        sent.append((n, request.headers.get("idempotency-key")))
        return httpx.Response(202, json={"data": [{"offset": str(i)} for i in range(n)]})

    with Client("http://127.0.0.1", key="pn_x", transport=httpx.MockTransport(take)) as client:
        assert len(client.push("ztf", (b"packet %d" % i for i in range(2_100)), key="night")) == 2_100
        assert sent == [(1_000, "night"), (1_000, "night-1"), (100, "night-2")]
        sent.clear()
        client.push("ztf", [b"x" * (5 << 20)] * 3)
        assert sent == [(2, None), (1, None)]


def test_columns_become_a_light_curve() -> None:
    import numpy as np

    made = light_curve(
        "lsst", ra=1, dec=2, mjd=np.array([1.0, 2.0]), band=["g", "r"], flux=np.array([1, 2]), flux_err=[0.1, 0.1], candid=None
    )
    assert json.loads(json.dumps(made))["flux"] == [1.0, 2.0]
    with pytest.raises(ValueError, match="one length"):
        light_curve("ztf", ra=1, dec=2, mjd=[1, 2], band="g", flux=[1], flux_err=[1])
    with pytest.raises(ValueError, match="finite"):
        light_curve("ztf", ra=1, dec=2, mjd=[1], band="g", flux=[float("nan")], flux_err=[1])


async def test_the_same_awaited(api: Api) -> None:
    transport = httpx.ASGITransport(app=api.app, client=("127.0.0.1", 40_000))
    async with AsyncClient("http://127.0.0.1", key=api.key("read"), transport=transport) as sky:
        one, near = await asyncio.gather(sky.object(NEAR), sky.cone(150.0, 20.0))
        assert (one["n"], len(near)) == (30, 2)
        with pytest.raises(NotThereError):
            await sky.alert("ztf:1")


async def test_a_night_awaited(api: Api, tmp_path: Path) -> None:
    transport = httpx.ASGITransport(app=api.app, client=("127.0.0.1", 40_000))
    async with AsyncClient("http://127.0.0.1", key=api.key("read", private=True), transport=transport) as sky:
        await sky.night(DATE, tmp_path)
    assert sum(1 for _ in read_night(tmp_path)) == 32


def test_both_clients_have_the_same_calls() -> None:
    assert {n for n in vars(Client) if not n.startswith("_")} == {n for n in vars(AsyncClient) if not n.startswith("_")}


@pytest.mark.parametrize(
    ("address", "said"),
    [
        ("http://sky.example", "over http a key"),
        ("ftp://x", "http://host"),
        ("http://me:pn_x@127.0.0.1", "without a name"),
        ("", "no address"),
    ],
)
def test_a_key_does_not_travel_readable(address: str, said: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("PN_ADDRESS", raising=False)
    with pytest.raises(ValueError, match=said):
        Client(address, key="pn_x")


def test_it_needs_httpx_and_nothing_of_the_engine() -> None:
    program = (
        "import sys, protonova_client; print([m for m in ('numpy', 'pandas', 'astropy', 'schemas', 'service', 'data') if m in sys.modules])"
    )
    ran = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, check=True, cwd=Path(__file__).parents[2])
    assert ran.stdout.strip() == "[]"
