"""An API in this process, and a client that calls it over ASGI."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any

import httpx

from schemas.records.access_token import AccessToken
from service.api.application import Lifespan, make_api
from service.api.dispatch import Desk
from service.api.endpoints import Endpoint, Services
from service.api.routes import ENDPOINTS
from service.auth.api_keys import make_key
from service.auth.audit import AuditLog
from service.auth.caller import SCOPES
from service.auth.guard import Guard
from service.auth.key_ring import KeyRing
from service.auth.rate_limits import RateLimits
from settings.model import Settings

NOW = 1_800_000_000.0


class Api:
    """An application with keys."""

    def __init__(
        self,
        folder: Path,
        rows: Sequence[Endpoint] = ENDPOINTS,
        *,
        limits: RateLimits | None = None,
        tokens: Any = None,
        lifespan: Lifespan | None = None,
        **services: Any,
    ) -> None:
        self.clock = NOW
        self.settings = Settings(state=folder / "state")
        self.ring = KeyRing(lambda: self.clock)
        self.ring.complete = True
        self.services = Services(self.settings, clock=lambda: self.clock, keys=self.ring, **services)
        self.audit_file = folder / "audit.log"
        guard = Guard(self.ring, limits or RateLimits(1e6, 1e6, refused_rate=1e6), tokens=tokens)
        desk = Desk(self.services, guard, audit=AuditLog(self.audit_file, clock=lambda: self.clock))
        self.app = make_api(rows, desk, version="0", lifespan=lifespan)

    def key(self, *scopes: str, owner: str = "ada", private: bool = False, expires_ms: int = 0, revoked: bool = False) -> str:
        """A key with scopes (none: all)."""
        made = make_key()
        held = tuple(scopes or SCOPES)
        record = AccessToken(made.key_id, made.digest.hex(), owner, held, private, expires_ms, revoked, int(NOW * 1000), 0)
        self.ring.replace({**self.ring.records, made.key_id: record})
        return made.key

    def client(self, key: str | None = None, *, address: str = "127.0.0.1") -> httpx.AsyncClient:
        """A client that sends a key."""
        transport = httpx.ASGITransport(app=self.app, client=(address, 40_000))
        headers = {"Authorization": f"Bearer {key}"} if key else {}
        return httpx.AsyncClient(transport=transport, base_url="http://127.0.0.1", headers=headers)
