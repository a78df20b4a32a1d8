"""Who may: every credential at every row, limits, the audit log."""

from __future__ import annotations

from pathlib import Path

import orjson
import pytest

from service.api.endpoints import Answer, Call, Endpoint
from service.api.resources import about
from service.api.routes import ENDPOINTS
from service.auth.api_keys import make_key
from service.auth.caller import ANY
from service.auth.local_key import local_key
from service.auth.rate_limits import Buckets, RateLimits
from tests.service.api_client import NOW, Api


async def change(call: Call) -> Answer:
    return Answer({"name": call.caller.name, "allows": ""})


OPERATE = Endpoint(method="POST", path="/v1/operated/{name}", scope="operate", summary="A change", handler=change, answer=about.Scope)


@pytest.fixture
def api(tmp_path: Path) -> Api:
    return Api(tmp_path, (*ENDPOINTS, OPERATE))


def path_of(row: Endpoint) -> str:
    return row.path.replace("{survey}", "ztf").replace("{key_id}", "0123456789ab").replace("{name}", "x")


@pytest.mark.parametrize("row", [row for row in (*ENDPOINTS, OPERATE) if row.scope is not None], ids=lambda row: f"{row.method} {row.path}")
async def test_every_row_refuses_every_credential_but_the_right_one(api: Api, row: Endpoint) -> None:
    assert row.scope is not None
    held = "push" if row.scope == ANY else row.scope
    right = api.key(held)
    other = api.key(*sorted({"score", "push", "read", "teach", "operate", "admin"} - {held}))
    expired = api.key(held, expires_ms=int(NOW * 1000) - 1)
    revoked = api.key(held, revoked=True)
    for credential, status in [
        (None, 401),
        ("", 401),
        (make_key().key, 401),
        (right[:-1] + ("A" if right[-1] != "A" else "B"), 401),
        (right[:16], 401),
        (expired, 401),
        (revoked, 401),
        *(() if row.scope == ANY else ((other, 403),)),
        ("eyJhbGciOiJub25lIn0.e30.", 401),
        ("pn_\x80", 401),
    ]:
        headers = {} if credential is None else {"Authorization": f"Bearer {credential}".encode("latin-1", "replace")}
        async with api.client() as client:
            answer = await client.request(row.method, path_of(row), headers=headers)
        assert answer.status_code == status, (credential, answer.text)
        assert answer.headers["www-authenticate"].startswith("Bearer realm=")
        assert answer.headers["content-type"] == "application/problem+json"
    async with api.client(right) as client:
        answer = await client.request(row.method, path_of(row))
    assert answer.status_code not in (401, 403), answer.text
    assert answer.headers["ratelimit"].startswith('"key";r=')


@pytest.mark.parametrize("headers", [{"Authorization": "Token {}"}, {"Authorization": "bearer {}"}, {"X-API-Key": "{}"}])
async def test_a_key_is_taken_where_clients_put_it(api: Api, headers: dict[str, str]) -> None:
    key = api.key("read")
    async with api.client() as client:
        answer = await client.get("/v1/whoami", headers={name: value.format(key) for name, value in headers.items()})
    assert answer.json()["data"]["scopes"] == ["read"]


async def test_a_key_that_is_revoked_is_refused_at_once_and_one_that_expires_when_it_does(api: Api) -> None:
    key = api.key("read", expires_ms=int(NOW * 1000) + 10_000)
    async with api.client(key) as client:
        assert (await client.get("/v1/whoami")).status_code == 200
        api.clock = NOW + 10.1
        assert (await client.get("/v1/whoami")).status_code == 401
        api.clock = NOW
        assert (await client.get("/v1/whoami")).status_code == 200
        name, record = next(iter(api.ring.records.items()))
        from dataclasses import replace

        api.ring.replace({name: replace(record, revoked=True)})
        assert (await client.get("/v1/whoami")).status_code == 401


async def test_the_local_key_counts_on_this_machine_alone(api: Api, tmp_path: Path) -> None:
    found = local_key(tmp_path / "state")
    assert found.new is not None
    assert local_key(tmp_path / "state") == found._replace(new=None)
    assert found.new not in (tmp_path / "state/auth/local-key.json").read_text()
    assert (tmp_path / "state/auth/local-key.json").stat().st_mode & 0o077 == 0
    api.ring.keep_local(found.key_id, found.digest)
    for address, headers, status in [
        ("127.0.0.1", {}, 200),
        ("::1", {}, 200),
        ("::ffff:127.0.0.1", {}, 200),
        ("10.0.0.7", {}, 401),
        ("127.0.0.1", {"X-Forwarded-For": "10.0.0.7"}, 401),
        ("127.0.0.1", {"Forwarded": "for=10.0.0.7"}, 401),
    ]:
        async with api.client(found.new, address=address) as client:
            assert (await client.get("/v1/whoami", headers=headers)).status_code == status, (address, headers)


async def test_while_the_keys_are_not_read_an_unknown_one_is_not_called_wrong(api: Api) -> None:
    api.ring.complete = False
    async with api.client(make_key().key) as client:
        answer = await client.get("/v1/whoami")
    assert (answer.status_code, "retry-after" in answer.headers) == (503, True)


def test_ten_thousand_keys_are_distinguished(tmp_path: Path) -> None:
    api = Api(tmp_path, ENDPOINTS)
    made = [make_key() for _ in range(10_000)]
    from schemas.records.access_token import AccessToken

    records = {m.key_id: AccessToken(m.key_id, m.digest.hex(), f"owner-{i}", ("read",), False, 0, False, 1, 0) for i, m in enumerate(made)}
    api.ring.replace(records)
    for i in (0, 4_999, 9_999):
        found = api.ring.identify(made[i].key)
        assert found is not None
        assert found.name == f"owner-{i}"
        assert api.ring.identify(made[i].key[:16] + made[i - 1].key[16:]) is None


async def test_too_many_requests_are_answered_429_with_the_time_to_wait(tmp_path: Path) -> None:
    now = [0.0]
    api = Api(tmp_path, ENDPOINTS, limits=RateLimits(2.0, 1e6, clock=lambda: now[0]))
    key, other = api.key("read"), api.key("read")
    async with api.client(key) as client:
        found = [await client.get("/v1/whoami") for _ in range(6)]
        assert [answer.status_code for answer in found] == [200] * 5 + [429]
        assert (found[-1].headers["retry-after"], found[-1].headers["ratelimit"]) == ("1", '"key";r=0;t=1')
        now[0] += 0.5
        assert (await client.get("/v1/whoami")).status_code == 200
    async with api.client(other) as client:
        assert (await client.get("/v1/whoami")).status_code == 200


async def test_wrong_credentials_of_an_address_end_its_requests_and_no_others(tmp_path: Path) -> None:
    now = [0.0]
    api = Api(tmp_path, ENDPOINTS, limits=RateLimits(1e6, 1e6, refused_rate=1.0, clock=lambda: now[0]))
    key = api.key("read")
    async with api.client(make_key().key, address="10.0.0.7") as client:
        found = [(await client.get("/v1/whoami")).status_code for _ in range(13)]
    assert found == [401] * 11 + [429] * 2
    async with api.client(key, address="10.0.0.8") as client:
        assert (await client.get("/v1/whoami")).status_code == 200


def test_buckets_are_bounded_and_fill_by_the_clock(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("service.auth.rate_limits.MOST_BUCKETS", 100)
    now = [0.0]
    buckets = Buckets(10.0, 5.0, clock=lambda: now[0])
    assert [buckets.take("a") >= 0 for _ in range(6)] == [True] * 5 + [False]
    now[0] += 0.2
    assert [buckets.take("a") >= 0 for _ in range(3)] == [True, True, False]
    for i in range(1000):
        buckets.take(f"b{i}")
    assert len(buckets._held) <= 100


async def test_every_change_is_written_down_and_no_look_is(api: Api) -> None:
    async with api.client(api.key("operate", owner="ada\nforged line")) as client:
        await client.post("/v1/operated/a%0Ab")
        await client.get("/v1/whoami")
    async with api.client(api.key("read")) as client:
        await client.post("/v1/operated/x")
    lines = [orjson.loads(line) for line in api.audit_file.read_bytes().splitlines()]
    assert [(line["operation"], line["status"], line["who"]) for line in lines] == [
        ("change", 200, "ada\nforged line"),
        ("change", 403, "ada"),
    ]
    assert api.audit_file.stat().st_mode & 0o077 == 0


async def test_no_page_of_another_site_is_answered(api: Api) -> None:
    async with api.client(api.key("read")) as client:
        answer = await client.get("/v1/whoami", headers={"Host": "evil.example"})
        preflight = await client.options("/v1/whoami", headers={"Origin": "https://evil.example", "Access-Control-Request-Method": "GET"})
    assert answer.status_code == 400
    assert not any(name.startswith("access-control") for name in preflight.headers)
