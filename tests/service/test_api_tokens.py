"""Bearer tokens: what an issuer signed is accepted, and nothing that only looks like it."""

from __future__ import annotations

import base64
import hashlib
import hmac
from typing import Any

import orjson
import pytest
from joserfc import jwt
from joserfc.jwk import ECKey, OctKey, RSAKey

from errors import SettingsError
from service.api.problems import ProblemError
from service.auth.bearer_tokens import IssuerError, IssuerKeys, TokenVerifier
from settings.model import Settings

ISSUER = "https://issuer.example/realms/sky"
NOW = 1_800_000_000.0


class Issuer:
    """An issuer with its keys, on a clock."""

    def __init__(self) -> None:
        self.now = NOW
        self.keys: dict[str, Any] = {"r1": RSAKey.generate_key(2048, {"kid": "r1"}), "e1": ECKey.generate_key("P-256", {"kid": "e1"})}
        self.asked: list[str] = []
        self.away = False
        self.document: Any = {"issuer": ISSUER, "jwks_uri": "https://issuer.example/keys"}
        self.extra: list[dict[str, Any]] = []
        self.verifier = self.make()

    def make(self, **options: Any) -> TokenVerifier:
        keys = IssuerKeys(ISSUER, None, fetch=self.fetch, clock=lambda: self.now)
        given = {"issuer": ISSUER, "audience": "protonova", "algorithms": ("RS256", "ES256"), "clock": lambda: self.now, **options}
        return TokenVerifier(keys, **given)

    async def fetch(self, address: str) -> bytes:
        self.asked.append(address)
        if self.away:
            raise IssuerError("away")
        if address.endswith("openid-configuration"):
            return orjson.dumps(self.document)
        return orjson.dumps({"keys": [*(key.as_dict(private=False) for key in self.keys.values()), *self.extra]})

    def token(self, kid: str = "r1", alg: str = "RS256", *, header: dict[str, Any] | None = None, key: Any = None, **claims: Any) -> str:
        body = {"iss": ISSUER, "aud": "protonova", "sub": "ada", "exp": int(self.now) + 600, "iat": int(self.now),
                "scope": "openid protonova:read protonova:score protonova:fly", **claims}  # fmt: skip
        body = {name: value for name, value in body.items() if value is not ...}
        return jwt.encode({"alg": alg, "kid": kid, **(header or {})}, body, key or self.keys[kid], algorithms=[alg])


@pytest.fixture(scope="module")
def issuer() -> Issuer:
    return Issuer()


@pytest.fixture(autouse=True)
def again(issuer: Issuer) -> None:
    issuer.now, issuer.away, issuer.extra, issuer.asked = NOW, False, [], []
    issuer.document = {"issuer": ISSUER, "jwks_uri": "https://issuer.example/keys"}
    issuer.verifier = issuer.make()


async def status_of(issuer: Issuer, token: str) -> int:
    try:
        await issuer.verifier.verify(token)
    except ProblemError as problem:
        return problem.status
    return 200


@pytest.mark.parametrize(("kid", "alg"), [("r1", "RS256"), ("e1", "ES256")])
async def test_a_token_of_the_issuer_is_accepted_and_remembered_until_it_ends(issuer: Issuer, kid: str, alg: str) -> None:
    token = issuer.token(kid, alg, scope="protonova:read protonova:private")
    assert issuer.verifier.remembered(token) is None
    found = await issuer.verifier.verify(token)
    assert (found.name, found.kind, found.scopes, found.private) == ("ada", "token", {"read"}, True)
    assert issuer.verifier.remembered(token) is found
    issuer.now += 600 + 59
    assert issuer.verifier.remembered(token) is found
    issuer.now += 2
    assert issuer.verifier.remembered(token) is None
    assert await status_of(issuer, token) == 401


@pytest.mark.parametrize(
    "claims",
    [
        {"iss": "https://evil.example"},
        {"iss": ISSUER + "/"},
        {"aud": "other"},
        {"aud": ["a", "b"]},
        {"aud": ...},
        {"exp": NOW - 61},
        {"exp": ...},
        {"exp": True},
        {"exp": "soon"},
        {"exp": None},
        {"nbf": NOW + 61},
        {"iat": NOW + 3600},
        {"sub": ...},
        {"sub": 7},
    ],
    ids=str,
)
async def test_claims_that_are_not_ours_are_refused(issuer: Issuer, claims: dict[str, Any]) -> None:
    assert await status_of(issuer, issuer.token(**claims)) == 401


@pytest.mark.parametrize(
    "claims",
    [{"aud": ["other", "protonova"]}, {"exp": NOW - 59}, {"nbf": NOW + 59}, {"iat": NOW + 59}, {"sub": ..., "client_id": "m"}],
    ids=str,
)
async def test_clocks_may_differ_by_a_minute_and_audiences_be_many(issuer: Issuer, claims: dict[str, Any]) -> None:
    assert await status_of(issuer, issuer.token(**claims)) == 200


@pytest.mark.parametrize(
    ("claims", "scopes"),
    [
        ({"scope": ..., "scp": ["protonova:push"]}, {"push"}),
        ({"scope": ..., "roles": ["protonova:teach", 7]}, {"teach"}),
        ({"scope": ..., "realm_access": {"roles": ["protonova:operate"]}}, {"operate"}),
        ({"scope": "read score"}, set()),
        ({"scope": 7, "realm_access": [1]}, set()),
    ],
    ids=str,
)
async def test_scopes_are_found_where_issuers_put_them(issuer: Issuer, claims: dict[str, Any], scopes: set[str]) -> None:
    assert (await issuer.verifier.verify(issuer.token(**claims))).scopes == scopes


def unsigned(header: Any, claims: Any, signature: bytes = b"") -> str:
    parts = [base64.urlsafe_b64encode(part).rstrip(b"=").decode() for part in (orjson.dumps(header), orjson.dumps(claims), signature)]
    return ".".join(parts)


async def test_a_token_that_signs_itself_is_refused(issuer: Issuer) -> None:
    claims = {"iss": ISSUER, "aud": "protonova", "sub": "ada", "exp": NOW + 60, "scope": "protonova:admin"}
    public = issuer.keys["r1"].as_pem(private=False)
    confused = unsigned({"alg": "HS256", "kid": "r1"}, claims)
    signed = hmac.new(public, confused.rpartition(".")[0].encode(), hashlib.sha256).digest()
    own = RSAKey.generate_key(2048, {"kid": "r1"})
    good = issuer.token()
    tokens = [
        unsigned({"alg": "none"}, claims),
        unsigned({"alg": "none", "kid": "r1"}, claims),
        unsigned({"alg": "None", "kid": "r1"}, claims),
        unsigned({"alg": "HS256", "kid": "r1"}, claims, signed),
        issuer.token(key=own),  # another's key under the issuer's id
        issuer.token(key=own, header={"jwk": own.as_dict(private=False)}),
        issuer.token(key=own, header={"jku": "https://evil.example/keys"}),
        issuer.token(header={"crit": ["b64"], "b64": False}),
        issuer.token("e1", "ES256", header={"kid": "r1"}),
        issuer.token(header={"kid": "unknown"}),
        issuer.token(header={"kid": "../../etc/passwd"}),
        good[:-3] + "AAA",
        good.rpartition(".")[0] + ".",
        good.replace(".", "", 1),
        good + ".x",
        "a.b.c",
        "..",
        unsigned([1], claims),
        unsigned({"alg": ["RS256"], "kid": "r1"}, claims),
        "e" * 9000,
        "é.é.é",
    ]
    for token in tokens:
        assert await status_of(issuer, token) == 401, token[:80]
    assert not any("evil" in address for address in issuer.asked)


async def test_an_algorithm_that_is_not_pinned_is_refused_even_if_the_key_fits(issuer: Issuer) -> None:
    issuer.verifier = issuer.make(algorithms=("ES256",))
    assert await status_of(issuer, issuer.token()) == 401
    assert await status_of(issuer, issuer.token("e1", "ES256")) == 200


async def test_a_shared_secret_among_the_issuers_keys_is_not_one(issuer: Issuer) -> None:
    secret = OctKey.import_key("x" * 32)
    issuer.extra = [{**secret.as_dict(private=True), "kid": "s1"}, {"kty": "RSA", "kid": "broken", "n": "", "e": ""}, {"kty": "EC"}, 7]  # type: ignore[list-item]
    assert await status_of(issuer, issuer.token()) == 200
    assert await status_of(issuer, issuer.token(header={"kid": "s1"})) == 401


async def test_a_rotation_is_followed_and_the_former_key_forgotten(issuer: Issuer) -> None:
    old = issuer.token()
    assert await status_of(issuer, old) == 200
    former, issuer.keys["r1"] = issuer.keys.pop("r1"), RSAKey.generate_key(2048, {"kid": "r2"})
    issuer.keys["r2"] = issuer.keys.pop("r1")
    try:
        issuer.now += 11
        assert await status_of(issuer, issuer.token("r2")) == 200
        assert issuer.verifier.remembered(old) is None
        assert await status_of(issuer, old) == 401
    finally:
        del issuer.keys["r2"]
        issuer.keys["r1"] = former


async def test_invented_key_ids_do_not_become_questions_to_the_issuer(issuer: Issuer) -> None:
    for i in range(50):
        assert await status_of(issuer, issuer.token(header={"kid": f"k{i}"})) == 401
    assert len(issuer.asked) == 2  # the document and the keys, once


async def test_keys_that_cannot_be_renewed_hold_for_a_day(issuer: Issuer) -> None:
    assert await status_of(issuer, issuer.token()) == 200
    issuer.away = True
    issuer.now += 3600
    assert await status_of(issuer, issuer.token()) == 200
    issuer.now += 86_400
    assert await status_of(issuer, issuer.token()) == 503


@pytest.mark.parametrize(
    "document",
    [
        {"issuer": "https://evil.example", "jwks_uri": "https://issuer.example/keys"},
        {"issuer": ISSUER},
        [],
        {"issuer": ISSUER, "jwks_uri": "http://issuer.example/keys"},
    ],
)
async def test_a_discovery_document_that_is_not_the_issuers_leads_nowhere(issuer: Issuer, document: Any) -> None:
    issuer.document = document
    assert await status_of(issuer, issuer.token()) == 503
    assert issuer.asked == [ISSUER + "/.well-known/openid-configuration"]


@pytest.mark.parametrize(
    "given",
    [{"oidc_algorithms": "none"}, {"oidc_algorithms": "HS256"}, {"oidc_algorithms": ""}, {"oidc_issuer": "http://issuer.example"},
     {"oidc_issuer": "http://127.0.0.1.evil.example"}, {"oidc_jwks": "file:///etc/passwd"}, {"api_tls_certfile": "/x"}],
    ids=str,
)  # fmt: skip
def test_settings_that_would_believe_anyone_are_refused(given: dict[str, Any]) -> None:
    with pytest.raises(SettingsError):
        Settings(**given)
