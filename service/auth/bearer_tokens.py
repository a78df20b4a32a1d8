"""Bearer tokens of an issuer (OAuth 2.0, OpenID Connect): signature and claims checked once, the verdict remembered until the token ends.

The issuer, the audience and the algorithms are pinned by the settings; nothing a token says of itself chooses where keys come from. The
issuer's keys (JWKS) are kept; one that is not known is looked for again, at most every `LEAST_PAUSE`, so that a rotation is followed and a
flood of invented key ids is not passed on to the issuer. Keys that could not be renewed for `OLDEST` are no longer believed.
"""

from __future__ import annotations

import asyncio
import binascii
import hashlib
import math
import time
from base64 import urlsafe_b64decode
from collections import OrderedDict
from collections.abc import Awaitable, Callable, Iterable, Mapping
from typing import TYPE_CHECKING, Any, NamedTuple

import httpx
import orjson
import structlog

from errors import SettingsError, one_line
from service.api.problems import ProblemError
from service.auth.caller import SCOPES, Identity

if TYPE_CHECKING:
    from settings.model import Settings

log = structlog.get_logger(__name__)

LEEWAY = 60.0
"""Difference of clocks that is allowed [s]."""
RENEWED = 300.0
"""Age at which the issuer's keys are asked for again [s]."""
OLDEST = 86_400.0
"""Age from which they are not believed [s]."""
LEAST_PAUSE = 10.0
"""Between two questions to the issuer [s]."""
LONGEST_TOKEN = 8_192
"""[characters]"""
LONGEST_ANSWER = 262_144
"""Of the issuer [bytes]."""
MOST_KEYS = 64
REMEMBERED = 10_000
"""Verdicts."""
DISCOVERY = "/.well-known/openid-configuration"
FAMILIES = {"RS": "RSA", "PS": "RSA", "ES": "EC", "Ed": "OKP"}
"""Beginning of an algorithm's name → type of its keys."""
PRIVATE = "private"
"""Behind the prefix: the right to what is not public."""

Fetch = Callable[[str], Awaitable[bytes]]


class IssuerError(Exception):
    """The issuer's keys cannot be had."""


class Verdict(NamedTuple):
    """What a token was found to be."""

    identity: Identity
    kid: str


def invalid(why: str) -> ProblemError:
    """The problem of a token that is not accepted; which check failed is said, what it holds is not."""
    return ProblemError(
        401, f"the token is not accepted: {why}", headers={"WWW-Authenticate": 'Bearer realm="protonova", error="invalid_token"'}
    )


async def fetch_json(address: str) -> bytes:
    """What lies at an address of the issuer; no redirect is followed."""
    async with httpx.AsyncClient(timeout=5.0, follow_redirects=False) as client, client.stream("GET", address) as answer:
        if answer.status_code != 200:
            raise IssuerError(f"{address} answers {answer.status_code}")
        parts, size = [], 0
        async for part in answer.aiter_bytes():
            parts.append(part)
            size += len(part)
            if size > LONGEST_ANSWER:
                raise IssuerError(f"{address} answers more than {LONGEST_ANSWER:,} bytes")
        return b"".join(parts)


class IssuerKeys:
    """The issuer's public keys by their ids.

    Parameters
    ----------
    issuer : str
    address : str or None
        Of the keys; None: as the discovery document says.
    fetch : callable
        Address → bytes.
    clock : callable
        Seconds since 1970.
    """

    def __init__(self, issuer: str, address: str | None, *, fetch: Fetch = fetch_json, clock: Callable[[], float] = time.time) -> None:
        self._issuer, self._address, self._fetch, self._clock = issuer, address, fetch, clock
        self._keys: dict[str, Any] = {}
        self._got = self._asked = -math.inf
        self._asking = asyncio.Lock()
        self.on_gone: Callable[[Iterable[str]], None] = lambda kids: None

    async def get(self, kid: str) -> Any:
        """The key of an id; None: the issuer has none.

        Raises
        ------
        IssuerError
            The keys cannot be had, or could not be renewed for too long.
        """
        age = self._clock() - self._got
        if kid not in self._keys or age > RENEWED:
            await self._renew()
        if self._clock() - self._got > OLDEST:
            raise IssuerError("the issuer's keys could not be renewed for a day")
        return self._keys.get(kid)

    async def _renew(self) -> None:
        async with self._asking:
            if self._clock() - self._asked < LEAST_PAUSE:
                return
            self._asked = self._clock()
            try:
                address = self._address or await self._discovered()
                found = orjson.loads(await self._fetch(address))
                keys = _usable(found)
            except (IssuerError, httpx.HTTPError, OSError, ValueError, TypeError, KeyError, AttributeError) as error:
                log.warning("the issuer's keys cannot be had", issuer=self._issuer, why=one_line(f"{type(error).__name__}: {error}", 200))
                return
            self.on_gone(self._keys.keys() - keys.keys())
            self._keys, self._got = keys, self._clock()

    async def _discovered(self) -> str:
        document = orjson.loads(await self._fetch(self._issuer.rstrip("/") + DISCOVERY))
        if document["issuer"] != self._issuer:
            raise IssuerError(f"the discovery document is of {str(document['issuer'])[:80]!r}")
        address = document["jwks_uri"]
        if not isinstance(address, str) or not address.startswith(("https://", self._issuer)):
            raise IssuerError("the discovery document has no address of keys that is over TLS")
        return address


def _usable(document: Any) -> dict[str, Any]:
    """The public keys for signatures of a JWKS document: none by a shared secret."""
    from joserfc.jwk import KeySet

    rows = [
        row for row in document["keys"] if isinstance(row, dict) and row.get("kty") in FAMILIES.values() and row.get("use", "sig") == "sig"
    ]
    found = {}
    for row in rows[:MOST_KEYS]:
        if isinstance(row.get("kid"), str):
            try:
                [found[row["kid"]]] = KeySet.import_key_set({"keys": [row]}).keys
            except Exception as error:  # a curve the library does not know, or a broken key: the others count
                log.warning("a key of the issuer cannot be used", kid=row["kid"][:80], why=one_line(error, 120))
    return found


class TokenVerifier:
    """Tokens of one issuer for one audience.

    Parameters
    ----------
    keys : IssuerKeys
    issuer, audience : str
    algorithms : iterable of str
        Asymmetric ones.
    scope_prefix : str
        Before our scopes in the token.
    clock : callable
        Seconds since 1970.
    """

    def __init__(
        self, keys: IssuerKeys, *, issuer: str, audience: str, algorithms: Iterable[str], scope_prefix: str = "protonova:",
        clock: Callable[[], float] = time.time,
    ) -> None:  # fmt: skip
        self._keys, self._issuer, self._audience, self._prefix, self._clock = keys, issuer, audience, scope_prefix, clock
        self._algorithms = tuple(algorithms)
        self._verdicts: OrderedDict[bytes, Verdict] = OrderedDict()
        keys.on_gone = self._forget

    def remembered(self, token: str) -> Identity | None:
        """Whose a token is that was accepted before and has not ended; None: it has to be verified."""
        found = self._verdicts.get(hashlib.sha256(token.encode()).digest())
        return found.identity if found is not None and found.identity.until > self._clock() else None

    async def verify(self, token: str) -> Identity:
        """Whose a token is.

        Raises
        ------
        ProblemError
            401: it is not accepted; 503: the issuer's keys cannot be had.
        """
        header = _header(token)
        algorithm, kid = header.get("alg"), header.get("kid")
        if algorithm not in self._algorithms:
            raise invalid("its algorithm is not one of the issuer's")
        if "crit" in header or not isinstance(kid, str) or len(kid) > 256:
            raise invalid("its header names no key, or has extensions")
        try:
            key = await self._keys.get(kid)
        except IssuerError as error:
            raise ProblemError(503, str(error), headers={"Retry-After": "10"}) from None
        if key is None:
            raise invalid("it is signed by a key that the issuer does not have")
        if key.key_type != FAMILIES[algorithm[:2]]:
            raise invalid("its algorithm is not one of its key's")
        claims = self._signed(token, key)
        identity = self._identity(claims, token)
        self._verdicts[hashlib.sha256(token.encode()).digest()] = Verdict(identity, kid)
        if len(self._verdicts) > REMEMBERED:
            self._verdicts.popitem(last=False)
        return identity

    def _signed(self, token: str, key: Any) -> Mapping[str, Any]:
        from joserfc import jwt
        from joserfc.errors import JoseError

        try:
            found = jwt.decode(token, key, algorithms=list(self._algorithms))
        except (JoseError, ValueError, TypeError, KeyError, RecursionError):
            raise invalid("its signature does not fit") from None
        if not isinstance(found.claims, dict):
            raise invalid("it holds no claims")
        return found.claims

    def _identity(self, claims: Mapping[str, Any], token: str) -> Identity:
        """Check the claims (RFC 7519, 4.1; RFC 9068, 4)."""
        now = self._clock()
        if claims.get("iss") != self._issuer:
            raise invalid("it is of another issuer")
        audience = claims.get("aud")
        if self._audience not in (audience if isinstance(audience, list) else [audience]):
            raise invalid("it is for another audience")
        until = _time(claims, "exp", required=True)
        if until + LEEWAY <= now:
            raise invalid("it has ended")
        if _time(claims, "nbf") - LEEWAY > now or _time(claims, "iat") - LEEWAY > now:
            raise invalid("it does not hold yet")
        subject = claims.get("preferred_username") or claims.get("client_id") or claims.get("azp") or claims.get("sub")
        if not isinstance(claims.get("sub") or claims.get("client_id"), str) or not isinstance(subject, str):
            raise invalid("it names no subject")
        held = {name.removeprefix(self._prefix) for name in _granted(claims) if name.startswith(self._prefix)}
        who = hashlib.sha256(f"{self._issuer}\0{claims.get('sub') or subject}".encode()).hexdigest()[:12]
        return Identity(one_line(subject, 200), who, "token", frozenset(held & SCOPES.keys()), PRIVATE in held, until + LEEWAY)

    def _forget(self, kids: Iterable[str]) -> None:
        """What was signed by a key that the issuer took back is verified anew."""
        gone = set(kids)
        for name in [name for name, verdict in self._verdicts.items() if verdict.kid in gone]:
            del self._verdicts[name]


def _header(token: str) -> Mapping[str, Any]:
    """A token's header, not believed yet."""
    if len(token) > LONGEST_TOKEN or token.count(".") != 2 or not token.isascii():
        raise invalid("it is not a signed token")
    part = token.partition(".")[0]
    try:
        found = orjson.loads(urlsafe_b64decode(part + "=" * (-len(part) % 4)))
    except (ValueError, binascii.Error):
        raise invalid("it is not a signed token") from None
    if not isinstance(found, dict):
        raise invalid("it is not a signed token")
    return found


def _time(claims: Mapping[str, Any], name: str, *, required: bool = False) -> float:
    """A claim that is a time [s since 1970]; one that is missing is long ago."""
    value = claims.get(name)
    if value is None and not required:
        return -math.inf
    if isinstance(value, bool) or not isinstance(value, int | float) or not math.isfinite(value):
        raise invalid(f"{name} is not a time")
    return float(value)


def _granted(claims: Mapping[str, Any]) -> set[str]:
    """All that a token says its holder may: scope, scp, roles, Keycloak's realm roles."""
    found: set[str] = set()
    realm = claims.get("realm_access")
    for value in (claims.get("scope"), claims.get("scp"), claims.get("roles"), realm.get("roles") if isinstance(realm, dict) else None):
        if isinstance(value, str):
            found |= set(value.split())
        elif isinstance(value, list):
            found |= {text for text in value if isinstance(text, str)}
    return found


def verifier_of(settings: Settings) -> TokenVerifier | None:
    """The verifier that the settings describe; None: no issuer is configured.

    Raises
    ------
    SettingsError
        The library that checks signatures is not installed.
    """
    if settings.oidc_issuer is None:
        return None
    try:
        import joserfc  # noqa: F401
    except ImportError:
        raise SettingsError("oidc_issuer needs joserfc: pip install 'joserfc>=1.6'") from None
    keys = IssuerKeys(settings.oidc_issuer, settings.oidc_jwks)
    return TokenVerifier(
        keys, issuer=settings.oidc_issuer, audience=settings.oidc_audience, algorithms=settings.oidc_algorithms.split(","),
        scope_prefix=settings.oidc_scope_prefix,
    )  # fmt: skip
