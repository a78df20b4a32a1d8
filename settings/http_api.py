"""The HTTP API: where it listens, who may ask it, how often."""

from __future__ import annotations

from pathlib import Path
from typing import Self
from urllib.parse import urlsplit

from pydantic import BaseModel, Field, SecretStr, model_validator

ASYMMETRIC = ("RS256", "RS384", "RS512", "PS256", "PS384", "PS512", "ES256", "ES384", "ES512", "EdDSA", "Ed25519")
"""Algorithms of signatures that who checks them cannot make: none by a shared secret, and never `none`."""


LIMITS_SCHEMES = ("valkey", "valkeys", "redis", "rediss", "unix")
"""Of the server on which rates are counted."""


class HttpApiSettings(BaseModel):
    """HTTP API."""

    api: bool = Field(False, description="Run the HTTP API (docs/http-api.md) in `protonova run`; `protonova api` runs it alone")
    api_host: str = Field("127.0.0.1", description="Address of the HTTP API")
    api_port: int = Field(8581, ge=0, le=65_535, description="Port of the HTTP API; 0: a free one")
    api_processes: int = Field(1, ge=1, le=64, description="Processes of the HTTP API on one port: one a core")
    api_allowed_hosts: str = Field(
        "",
        pattern=r"^[A-Za-z0-9._,-]*$",
        description="Further names the HTTP API answers to, name[,name]; its own and any IP address always do",
    )
    api_tls_certfile: Path | None = Field(None, description="Certificate of the HTTP API (PEM): keys travel readable without TLS")
    api_tls_keyfile: Path | None = Field(None, description="Its private key (PEM)")
    api_local_key: bool = Field(True, description="Accept the key that was made at the first run, of callers on this machine alone")
    api_rate: float = Field(5_000.0, gt=0, description="Requests of one key or token [1/s]; twice as many at once")
    api_address_rate: float = Field(10_000.0, gt=0, description="Requests of one address, whatever its keys [1/s]; twice as many at once")
    api_limits_url: SecretStr | None = Field(
        None,
        description="Valkey or Redis where the rates of all machines are counted together, valkey://[:PASSWORD@]HOST:PORT/DB "
        "(valkeys:// with TLS); none: each machine counts its own",
    )
    api_window_ms: float = Field(3.0, ge=0, le=50, description="How long the first packet of a micro-batch waits for others [ms]")
    api_waiting_packets: int = Field(4_096, ge=64, le=1_000_000, description="Packets that may wait to be scored; beyond: 503")
    api_push_mb: int = Field(64, ge=1, le=4_096, description="Pushed packets that may wait for the broker [MB]; beyond: 503")
    oidc_issuer: str | None = Field(None, description="Issuer of bearer tokens (OpenID Connect); none: API keys alone")
    oidc_audience: str = Field("protonova", min_length=1, description="Audience that a bearer token must be for")
    oidc_algorithms: str = Field("RS256,ES256", description="Signature algorithms that are accepted, of asymmetric ones")
    oidc_jwks: str | None = Field(None, description="Address of the issuer's keys; none: as its discovery document says")
    oidc_scope_prefix: str = Field("protonova:", description="Before our scopes in a token's scope, scp or roles, as in protonova:read")

    @model_validator(mode="after")
    def _of_the_api(self) -> Self:
        if (self.api_tls_certfile is None) != (self.api_tls_keyfile is None):
            raise ValueError("api_tls_certfile and api_tls_keyfile: give both or neither")
        if self.api_limits_url is not None and urlsplit(self.api_limits_url.get_secret_value()).scheme not in LIMITS_SCHEMES:
            raise ValueError(f"api_limits_url: it begins with one of {', '.join(f'{name}://' for name in LIMITS_SCHEMES)}")
        unknown = [name for name in self.oidc_algorithms.split(",") if name not in ASYMMETRIC]
        if unknown:
            raise ValueError(f"oidc_algorithms: {unknown[0][:20]!r} is none of {', '.join(ASYMMETRIC)}")
        for name in ("oidc_issuer", "oidc_jwks"):
            address = getattr(self, name)
            if address is not None and not _is_safe(address):
                raise ValueError(f"{name}: https:// is meant; without TLS on this machine alone")
        return self


def _is_safe(address: str) -> bool:
    """Whether what is read there can be trusted: over TLS, or from this machine."""
    parts = urlsplit(address)
    return bool(parts.hostname) and (
        parts.scheme == "https" or (parts.scheme == "http" and parts.hostname in ("127.0.0.1", "localhost", "::1"))
    )
