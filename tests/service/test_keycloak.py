"""Tokens of a real Keycloak: who they let in where, and what no longer counts when its keys change or time goes by."""

from __future__ import annotations

import base64
import hashlib
import hmac
import time
from collections.abc import Iterator
from typing import Any, NamedTuple

import orjson
import pytest

from data.history.sqlite_reader import SqliteReader
from service.api.broker_facts import BrokerFacts
from service.api.routes import ENDPOINTS
from service.auth.bearer_tokens import LEEWAY, RENEWED, IssuerKeys, TokenVerifier, verifier_of
from service.auth.caller import ANY, SCOPES
from settings.model import Settings
from tests.keycloak_server import FetchError, Keycloak, client_of, keycloak, realm_of
from tests.service.api_client import Api
from tests.service.past_night import alert, write
from tests.service.test_api_auth import path_of

pytestmark = [pytest.mark.slow, pytest.mark.timeout(900)]
PUBLIC, HIDDEN = "ZTF25public", "ZTF25hidden"


class Clock:
    """The machine's, moved."""

    moved = 0.0

    def __call__(self) -> float:
        return time.time() + self.moved


class Sky(NamedTuple):
    """A Keycloak, and an API that believes its realm `sky`."""

    keycloak: Keycloak
    api: Api

    async def status(self, token: str | None, path: str = "/v1/whoami", method: str = "GET") -> int:
        async with self.api.client(token) as client:
            return (await client.request(method, path)).status_code


@pytest.fixture(scope="module")
def sky(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Sky]:
    folder = tmp_path_factory.mktemp("keycloak")
    machines = [client_of(scope, f"protonova:{scope}") for scope in SCOPES]
    astronomer = client_of("astronomer", "protonova:read", "protonova:private")
    here = realm_of("sky", *machines, astronomer, client_of("elsewhere", "protonova:read", audience="other"), client_of("nothing", "read"))
    there = realm_of("other", client_of("read", "protonova:read"))
    writer = write(folder / "history", [alert(1, PUBLIC), alert(2, HIDDEN, programid=2)])
    reader = SqliteReader(folder / "history")
    try:
        with keycloak(folder, here, there) as running:
            settings = Settings(oidc_issuer=running.issuer("sky"), state=folder / "state")
            facts = BrokerFacts(Settings(state=folder / "state"))
            yield Sky(running, Api(folder, tokens=verifier_of(settings), history=reader, facts=facts))
    except FetchError as error:
        pytest.skip(str(error))
    finally:
        reader.close()
        writer.close()


def verifier(sky: Sky, clock: Clock) -> TokenVerifier:
    issuer = sky.keycloak.issuer("sky")
    return TokenVerifier(
        IssuerKeys(issuer, None, clock=clock), issuer=issuer, audience="protonova", algorithms=("RS256", "ES256"), clock=clock
    )


async def verdict(found: TokenVerifier, token: str) -> int:
    from service.api.problems import ProblemError

    try:
        await found.verify(token)
    except ProblemError as problem:
        return problem.status
    return 200


async def test_every_endpoint_lets_in_who_has_the_role_and_no_one_else(sky: Sky) -> None:
    tokens = {scope: sky.keycloak.token(scope) for scope in SCOPES}
    nothing = sky.keycloak.token("nothing")
    for row in ENDPOINTS:
        if row.scope is None:
            continue
        path = path_of(row)
        right = tokens["read" if row.scope == ANY else row.scope]
        garbled = f"{right[:-6]}{'AAAAAA' if right[-6:] != 'AAAAAA' else 'BBBBBB'}"
        revoked = sky.api.key(*SCOPES, revoked=True)
        expired = sky.api.key(*SCOPES, expires_ms=1)
        found = {name: await sky.status(token, path, row.method) for name, token in
                 (("none", None), ("wrong", garbled), ("revoked", revoked), ("expired", expired), ("right", right))}  # fmt: skip
        assert found["right"] not in (401, 403), (row.name, found)
        assert {found[name] for name in ("none", "wrong", "revoked", "expired")} == {401}, (row.name, found)
        if row.scope != ANY:
            others = [tokens[scope] for scope in SCOPES if scope != row.scope]
            assert {await sky.status(token, path, row.method) for token in (*others, nothing)} == {403}, row.name


async def test_what_is_not_public_needs_the_role_of_it(sky: Sky) -> None:
    reader, astronomer = sky.keycloak.token("read"), sky.keycloak.token("astronomer")
    for token, seen in ((reader, [200, 404]), (astronomer, [200, 200])):
        assert [await sky.status(token, f"/v1/objects/{name}") for name in (PUBLIC, HIDDEN)] == seen
    async with sky.api.client(astronomer) as client:
        who = (await client.get("/v1/whoami")).json()["data"]
    assert (who["name"], who["scopes"], who["private"], who["kind"]) == ("service-account-astronomer", ["read"], True, "token")


def part(token: str, n: int) -> Any:
    text = token.split(".")[n]
    return orjson.loads(base64.urlsafe_b64decode(text + "=" * (-len(text) % 4)))


def sealed(header: dict[str, Any], claims: Any, secret: bytes | None = None) -> str:
    text = ".".join(base64.urlsafe_b64encode(orjson.dumps(piece)).rstrip(b"=").decode() for piece in (header, claims))
    signature = b"" if secret is None else hmac.new(secret, text.encode(), hashlib.sha256).digest()
    return f"{text}.{base64.urlsafe_b64encode(signature).rstrip(b'=').decode()}"


async def test_tokens_of_another_audience_or_issuer_and_forged_ones_are_refused(sky: Sky) -> None:
    token = sky.keycloak.token("read")
    header, claims = part(token, 0), part(token, 1)
    certificate = sky.keycloak.certificate(header["kid"])
    stronger = {**claims, "realm_access": {"roles": ["protonova:admin"]}}
    for name, forged in {
        "audience": sky.keycloak.token("elsewhere"),
        "issuer": sky.keycloak.token("read", realm="other"),
        "none": sealed({**header, "alg": "none"}, claims),
        "none, no kid": sealed({"alg": "None"}, claims),
        "public key as a secret": sealed({**header, "alg": "HS256"}, claims, certificate.encode()),
        "other claims": f"{token.split('.')[0]}.{sealed({}, stronger).split('.')[1]}.{token.split('.')[2]}",
        "key in the header": sealed({**header, "kid": "mine", "jwk": {"kty": "oct", "k": "AA"}}, claims, b"\0"),
    }.items():
        assert await sky.status(forged) == 401, name
    assert await sky.status(token) == 200


async def test_clocks_may_differ_by_a_minute_and_tokens_end(sky: Sky) -> None:
    clock = Clock()
    token = sky.keycloak.token("read")
    claims = part(token, 1)
    for moved, status in ((claims["exp"] - 5, 200), (claims["exp"] + LEEWAY - 5, 200), (claims["exp"] + LEEWAY + 1, 401),
                          (claims["iat"] - LEEWAY + 5, 200), (claims["iat"] - LEEWAY - 5, 401)):  # fmt: skip
        clock.moved = moved - time.time()
        assert await verdict(verifier(sky, clock), token) == status, moved - claims["iat"]


async def test_a_rotation_of_keys_is_followed_and_the_former_ones_tokens_end_with_it(sky: Sky) -> None:
    clock = Clock()
    found = verifier(sky, clock)
    before = sky.keycloak.token("read")
    assert await verdict(found, before) == 200
    with sky.keycloak.admin("sky") as admin:
        providers = admin.get("/components", params={"type": "org.keycloak.keys.KeyProvider"}).json()
        former = next(row for row in providers if row["providerId"] == "rsa-generated")
        config = {"priority": ["900"], "enabled": ["true"], "active": ["true"], "keySize": ["2048"], "algorithm": ["RS256"]}
        made = {"name": "next", "providerId": "rsa-generated", "providerType": former["providerType"], "parentId": former["parentId"]}
        assert admin.post("/components", json={**made, "config": config}).status_code == 201
        after = sky.keycloak.token("read")
        assert part(after, 0)["kid"] != part(before, 0)["kid"]
        clock.moved = 11.0  # the issuer is asked every ten seconds at most
        assert await verdict(found, after) == 200
        assert found.remembered(before) is not None
        assert admin.delete(f"/components/{former['id']}").status_code == 204
    clock.moved += RENEWED
    assert await verdict(found, sky.keycloak.token("read")) == 200
    assert found.remembered(before) is None
    assert await verdict(found, before) == 401


async def test_while_the_issuer_is_away_its_keys_count_for_a_day(sky: Sky) -> None:
    """The last test: it ends the server."""
    clock = Clock()
    found = verifier(sky, clock)
    tokens = [sky.keycloak.token("read") for _ in range(2)]
    assert await verdict(found, tokens[0]) == 200
    sky.keycloak.child.stop()
    clock.moved = RENEWED + 1
    assert await verdict(found, tokens[1]) == 200
    assert await verdict(verifier(sky, clock), tokens[1]) == 503  # one that never had them
