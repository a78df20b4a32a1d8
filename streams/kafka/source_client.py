"""A source's settings → what a Kafka client needs to reach it."""

from __future__ import annotations

import time
from typing import TYPE_CHECKING, Any

import httpx
from aiokafka.abc import AbstractTokenProvider
from aiokafka.errors import KafkaConnectionError

if TYPE_CHECKING:
    from settings.sources import Source

EARLIER_S = 30.0
"""A token is fetched anew this long before it expires [s]."""
TOKEN_WITHIN = 10.0
"""How long the token endpoint may take [s]."""


class ClientCredentials(AbstractTokenProvider):  # type: ignore[misc] # aiokafka is not typed
    """OAuth 2 client credentials (RFC 6749, section 4.4), as GCN's brokers ask for.

    Parameters
    ----------
    source : Source
        With `token_url`, `client_id` and `client_secret_file`.
    """

    def __init__(self, source: Source) -> None:
        self._source = source
        self._token, self._expires = "", 0.0

    async def token(self) -> str:
        """Return a token that is valid now.

        Raises
        ------
        aiokafka.errors.KafkaConnectionError
            The endpoint does not give one.
        """
        if time.monotonic() < self._expires:
            return self._token
        source = self._source
        assert source.token_url is not None
        assert source.client_secret_file is not None
        form = {"grant_type": "client_credentials", **({"scope": source.scope} if source.scope else {})}
        secret = source.client_secret_file.read_text(encoding="utf-8").strip()
        try:
            async with httpx.AsyncClient(timeout=TOKEN_WITHIN) as client:
                answer = await client.post(source.token_url, data=form, auth=(source.client_id or "", secret))
                answer.raise_for_status()
                fields = answer.json()
                self._token, lifetime = str(fields["access_token"]), float(fields.get("expires_in", 300))
        except (httpx.HTTPError, ValueError, KeyError, TypeError) as error:
            raise KafkaConnectionError(f"no token from {source.token_url} ({type(error).__name__})") from None
        self._expires = time.monotonic() + max(lifetime - EARLIER_S, 1.0)
        return self._token


def source_options(source: Source) -> dict[str, Any]:
    """Keyword arguments by which an aiokafka client reaches a source.

    Parameters
    ----------
    source : Source
    """
    options: dict[str, Any] = {
        "bootstrap_servers": source.bootstrap.split(","),
        "security_protocol": source.security_protocol,
        "client_id": f"protonova-{source.name}",
        "request_timeout_ms": 20_000,
    }
    context = source.ssl_context()
    if context is not None:
        options["ssl_context"] = context
    if source.security_protocol.startswith("SASL"):
        options["sasl_mechanism"] = source.sasl_mechanism
        if source.sasl_mechanism == "OAUTHBEARER":
            options["sasl_oauth_token_provider"] = ClientCredentials(source)
        else:
            options |= {"sasl_plain_username": source.username, "sasl_plain_password": source.secret()}
    return options
