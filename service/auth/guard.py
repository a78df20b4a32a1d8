"""A request's headers and address → who calls, or why not; counted against the limits.

Credentials: an API key or a bearer token in Authorization (``Bearer``; ``Token``, as Lasair's clients write it), or a key in X-API-Key.
"""

from __future__ import annotations

import ipaddress
from collections.abc import Mapping
from functools import lru_cache
from typing import TYPE_CHECKING

from service.api.problems import ProblemError
from service.auth.api_keys import PREFIX
from service.auth.caller import Identity
from service.auth.key_ring import KeyRing
from service.auth.rate_limits import RateLimits

if TYPE_CHECKING:
    from service.auth.bearer_tokens import TokenVerifier

REALM = 'Bearer realm="protonova"'
FORWARDED = ("forwarded", "x-forwarded-for", "x-real-ip", "via")
"""Headers of a proxy: a caller on loopback that sends one is not the one who calls."""


class Guard:
    """Who may pass.

    Parameters
    ----------
    keys : KeyRing
    limits : RateLimits
    tokens : TokenVerifier, optional
        Of an issuer's bearer tokens; None: only keys are known.
    """

    def __init__(self, keys: KeyRing, limits: RateLimits, *, tokens: TokenVerifier | None = None) -> None:
        self._keys, self._limits, self._tokens = keys, limits, tokens

    async def admit(self, headers: Mapping[str, str], address: str, *, needs: str) -> tuple[Identity, list[tuple[bytes, bytes]]]:
        """Let a caller pass; with the header fields that say what its limits leave.

        Parameters
        ----------
        headers : mapping of str to str
            By names in small letters.
        address : str
            Of the client.
        needs : str
            The scope; `service.auth.caller.ANY`: any credential will do.

        Raises
        ------
        ProblemError
            401: no credential that is known; 403: not the scope; 429: too often; 503: the issuer's keys cannot be had.
        """
        await self._limits.check_address(address)
        credential = credential_of(headers)
        if credential is None:
            raise ProblemError(401, "send an API key or a token: Authorization: Bearer …", headers={"WWW-Authenticate": REALM})
        who: Identity | None = None
        if credential.startswith(PREFIX):
            who = self._keys.identify(credential, on_loopback=is_loopback(address) and not any(name in headers for name in FORWARDED))
        elif self._tokens is not None:
            try:
                who = self._tokens.remembered(credential) or await self._tokens.verify(credential)
            except ProblemError as problem:
                if problem.status == 401:
                    self._limits.count_refused(address)
                raise
        if who is None and not self._keys.complete and credential.startswith(PREFIX):
            raise ProblemError(503, "the keys cannot be read yet: the broker does not answer", headers={"Retry-After": "2"})
        if who is None:
            self._limits.count_refused(address)
            raise ProblemError(
                401, "the credential is not known, or no longer valid", headers={"WWW-Authenticate": f'{REALM}, error="invalid_token"'}
            )
        extra = await self._limits.take(who.credential)
        if not who.may(needs):
            challenge = f'{REALM}, error="insufficient_scope", scope="{needs}"'
            refusal = ProblemError(403, f"the credential does not hold the scope {needs}", headers={"WWW-Authenticate": challenge})
            refusal.caller = who
            raise refusal
        return who, extra


def credential_of(headers: Mapping[str, str]) -> str | None:
    """The key or token of a request; None: there is none."""
    given = headers.get("authorization")
    if given is None:
        return headers.get("x-api-key")
    scheme, _, credential = given.partition(" ")
    return credential.strip() if scheme.lower() in ("bearer", "token") and credential.strip() else None


@lru_cache(maxsize=1024)
def is_loopback(address: str) -> bool:
    """Whether an address is of this machine."""
    try:
        found = ipaddress.ip_address(address)
    except ValueError:
        return False
    mapped = getattr(found, "ipv4_mapped", None)
    return (mapped or found).is_loopback
