"""Token buckets that several machines share, on Valkey or Redis: tokens are leased in lumps, so that few requests ask the server.

    request ──► lease of this process, a few hundred tokens ──(empty)──► the bucket on the server, one script a lump

The server's clock counts. A lease ends after `LEASE_S`; tokens left in it are lost, never granted twice. While the server is away each
process goes on with its own share, `fallback`, and says so.
"""

from __future__ import annotations

import asyncio
import hashlib
import time
from collections.abc import Callable
from typing import TYPE_CHECKING, Any

import structlog

from errors import SettingsError, one_line
from service.auth.rate_limits import MOST_BUCKETS, Buckets, RateLimits

if TYPE_CHECKING:
    from settings.model import Settings

log = structlog.get_logger(__name__)

LEASE_S = 2.0
"""How long tokens are kept by a process [s]."""
LUMP_S = 0.1
"""A lump is what a bucket fills in so long [s], and at most an eighth of what it holds."""
ANSWERED_WITHIN = 0.25
"""How long the server may take [s]."""
AGAIN = 2.0
"""Before a server that was away is asked again [s]."""
PREFIX = "protonova:limits:"
# What the bucket holds now; as many as are wanted, else as many whole ones as there are. Its key ends when it would be full again.
SCRIPT = """
local rate, burst, wanted = tonumber(ARGV[1]), tonumber(ARGV[2]), tonumber(ARGV[3])
local t = redis.call('TIME')
local now = t[1] + t[2] / 1000000
local held = redis.call('HMGET', KEYS[1], 'left', 'at')
local left = burst
if held[1] then left = math.min(burst, tonumber(held[1]) + math.max(0, now - tonumber(held[2])) * rate) end
local given = math.min(wanted, math.floor(left))
redis.call('HSET', KEYS[1], 'left', string.format('%.6f', left - given), 'at', string.format('%.6f', now))
redis.call('PEXPIRE', KEYS[1], math.ceil(1000 * burst / rate) + 1000)
return {given, string.format('%.6f', left - given)}
"""


class Lease:
    """Tokens that a process holds of a bucket."""

    __slots__ = ("asking", "behind", "left", "until")

    def __init__(self) -> None:
        self.left = 0.0
        self.until = 0.0
        """When they are given up [s]."""
        self.behind = 0.0
        """What the bucket still holds on the server, as far as is known."""
        self.asking: asyncio.Task[None] | None = None


class Leases:
    """Buckets on a server, by name.

    Parameters
    ----------
    run : callable
        Runs `SCRIPT`: (key, rate=, burst=, wanted=) → (granted, left behind).
    kind : str
        Of what names are: keys of several kinds do not meet.
    rate, burst : float
        Of all machines together.
    fallback : Buckets
        This process's own share.
    on_change : callable
        Called with whether the server answers, when that changes.
    clock : callable
        Monotonic time [s].
    """

    def __init__(
        self, run: Callable[..., Any], kind: str, *, rate: float, burst: float, fallback: Buckets, on_change: Callable[[bool], None],
        clock: Callable[[], float] = time.monotonic,
    ) -> None:  # fmt: skip
        self._run, self._kind, self.rate, self.burst, self._fallback = run, kind, rate, burst, fallback
        self._on_change, self._clock = on_change, clock
        self._held: dict[str, Lease] = {}
        self._away_until = float("-inf")
        self._lump = max(1, int(min(rate * LUMP_S, burst / 8)))

    async def take(self, name: str, cost: float = 1.0) -> float:
        """Take tokens: what is left as far as is known, or minus the time [s] until there are enough."""
        lease = self._held.pop(name, None) or Lease()
        self._held[name] = lease  # at the end: the order is that of the last touch
        if len(self._held) > MOST_BUCKETS:
            del self._held[next(iter(self._held))]
        if lease.until <= self._clock():
            lease.left = 0.0
        if lease.left < cost:
            if self._clock() < self._away_until:
                return self._fallback.take(name, cost)
            if lease.asking is None or lease.asking.done():
                lease.asking = asyncio.get_running_loop().create_task(self._more(name, lease, cost=cost))
            await asyncio.shield(lease.asking)
            if lease.left < cost and self._clock() < self._away_until:
                return self._fallback.take(name, cost)
        if lease.left < cost:
            return -(cost - min(lease.left + lease.behind, cost - 1e-6)) / self.rate
        lease.left -= cost
        return lease.left + lease.behind

    async def _more(self, name: str, lease: Lease, *, cost: float) -> None:
        """Ask for a lump."""
        key = f"{PREFIX}{self._kind}:{hashlib.sha256(name.encode()).hexdigest()[:32]}"  # names of callers stay here
        try:
            async with asyncio.timeout(ANSWERED_WITHIN):
                given, behind = await self._run(key, rate=self.rate, burst=self.burst, wanted=max(self._lump, int(cost + 1 - 1e-9)))
        except Exception as error:  # the library's, the socket's, an answer that cannot be read: the limits of this process go on
            self._away_until = self._clock() + AGAIN
            self._on_change(False)
            log.debug("no lease", why=one_line(f"{type(error).__name__}: {error}", 200))
            return
        self._on_change(True)
        lease.left += float(given)
        lease.behind = float(behind)
        lease.until = self._clock() + LEASE_S


class SharedServer:
    """The server of the shared buckets.

    Parameters
    ----------
    url : str
        ``valkey://``, ``redis://``, or with TLS ``valkeys://``, ``rediss://``; a password may stand in it.
    """

    def __init__(self, url: str) -> None:
        import valkey.asyncio

        options: dict[str, Any] = {"socket_timeout": ANSWERED_WITHIN, "socket_connect_timeout": ANSWERED_WITHIN, "max_connections": 16}
        try:
            self._client: Any = valkey.asyncio.from_url(url, **options)  # type: ignore[no-untyped-call]
        except (ValueError, TypeError):
            raise SettingsError("api_limits_url is not an address: valkey://[:PASSWORD@]HOST:PORT/DB") from None
        self._script: Any = self._client.register_script(SCRIPT)
        self.answers: bool | None = None
        """Whether it did when it was last asked; None: it was not asked."""

    async def run(self, key: str, *, rate: float, burst: float, wanted: int) -> tuple[float, float]:
        """Run the script of a bucket: what is granted, what is left behind."""
        given, behind = await self._script(keys=[key], args=[rate, burst, wanted])
        return float(given), float(behind)

    def changed(self, answers: bool) -> None:
        """Say once that the server went away, or came back."""
        from service.api.http_metrics import LIMITS_SHARED

        if answers == self.answers:
            return
        if answers:
            log.info("rate limits are shared with the other machines")
        else:
            log.warning("the server of the shared rate limits does not answer: this process goes on with its own share")
        self.answers = answers
        LIMITS_SHARED.set(answers)

    async def close(self) -> None:
        """Close the connections."""
        await self._client.aclose()


def share(limits: RateLimits, server: SharedServer, *, rate: float, address_rate: float) -> None:
    """Have limits counted on a server.

    Parameters
    ----------
    limits : RateLimits
        Of this process's own share, which counts while the server is away.
    server : SharedServer
    rate, address_rate : float
        Of all machines together, as `RateLimits` has them [1/s].
    """
    keys = Leases(server.run, "key", rate=rate, burst=2 * rate + 1, fallback=limits.own_keys, on_change=server.changed)
    own = limits.own_addresses
    addresses = Leases(server.run, "address", rate=address_rate, burst=2 * address_rate + 1, fallback=own, on_change=server.changed)
    limits.share(keys, addresses)


def shared_server(settings: Settings) -> SharedServer | None:
    """The server that the settings name; None: none.

    Raises
    ------
    SettingsError
        The client library is not installed.
    """
    if settings.api_limits_url is None:
        return None
    try:
        import valkey  # noqa: F401
    except ImportError:
        raise SettingsError("api_limits_url needs valkey: pip install 'valkey>=6.1'") from None
    return SharedServer(settings.api_limits_url.get_secret_value())
