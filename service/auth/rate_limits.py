"""How often: token buckets per credential and per address, of two numbers each.

A bucket fills at `rate` a second up to `burst`; a request takes one token, and one of an empty bucket waits. The client sees the
RateLimit header fields (IETF draft-ietf-httpapi-ratelimit-headers) and Retry-After.
"""

from __future__ import annotations

import math
import time
from collections.abc import Callable
from typing import Protocol

from service.api.problems import ProblemError

MOST_BUCKETS = 100_000
"""Remembered at a time; the one that was touched least lately goes first."""


class Buckets:
    """Token buckets by name.

    Parameters
    ----------
    rate : float
        Tokens a second; infinite: no limit.
    burst : float
        Tokens at once.
    clock : callable
        Monotonic time [s].
    """

    def __init__(self, rate: float, burst: float, *, clock: Callable[[], float] = time.monotonic) -> None:
        if not (rate > 0 and burst >= 1):
            raise ValueError(f"{rate} a second, {burst} at once")
        self.rate, self.burst, self._clock = rate, burst, clock
        self._held: dict[str, tuple[float, float]] = {}

    def take(self, name: str, cost: float = 1.0) -> float:
        """Take tokens: what is left, or minus the time [s] until there are enough."""
        now = self._clock()
        held = self._held.pop(name, None)  # and back at the end: the order is that of the last touch
        left = self.burst if held is None else min(self.burst, held[0] + (now - held[1]) * self.rate)
        if left >= cost:
            left -= cost
            self._held[name] = left, now
            if len(self._held) > MOST_BUCKETS:
                del self._held[next(iter(self._held))]
            return left
        self._held[name] = left, now
        return -(cost - left) / self.rate

    def is_empty(self, name: str) -> float:
        """The time until a bucket holds a token again [s]; 0: it does."""
        held = self._held.get(name)
        if held is None:
            return 0.0
        left = min(self.burst, held[0] + (self._clock() - held[1]) * self.rate)
        return max(0.0, (1.0 - left) / self.rate)


class SharedBuckets(Protocol):
    """Buckets that count for several machines (`service.auth.shared_limits`)."""

    rate: float
    burst: float

    async def take(self, name: str, cost: float = 1.0) -> float:
        """Take tokens, as `Buckets.take`."""
        ...


class RateLimits:
    """The limits of an API.

    Parameters
    ----------
    rate : float
        Requests a second of one credential; twice as many at once.
    address_rate : float
        The same of one address, whatever its credentials.
    refused_rate : float
        Requests a second with a wrong credential, of one address.
    clock : callable
        Monotonic time [s].
    """

    shared_keys: SharedBuckets | None = None
    """Counted by in place of the process's own buckets of credentials."""
    shared_addresses: SharedBuckets | None = None

    def __init__(self, rate: float, address_rate: float, *, refused_rate: float = 5.0, clock: Callable[[], float] = time.monotonic) -> None:
        self._keys, self._addresses = Buckets(rate, 2 * rate + 1, clock=clock), Buckets(address_rate, 2 * address_rate + 1, clock=clock)
        self._refused = Buckets(refused_rate, 10 * refused_rate + 1, clock=clock)
        self._policy = _policy(self._keys)

    def share(self, keys: SharedBuckets, addresses: SharedBuckets) -> None:
        """Count by buckets that several machines share."""
        self.shared_keys, self.shared_addresses = keys, addresses
        self._policy = _policy(keys)

    @property
    def own_keys(self) -> Buckets:
        """The process's own buckets of credentials."""
        return self._keys

    @property
    def own_addresses(self) -> Buckets:
        """The same of addresses."""
        return self._addresses

    async def check_address(self, address: str) -> None:
        """Count a request of an address, before its credential is looked at.

        Raises
        ------
        ProblemError
            429: too many, or too many with wrong credentials.
        """
        if wait := self._refused.is_empty(address):
            raise _too_many(wait, "too many requests with wrong credentials from this address")
        left = self._addresses.take(address) if self.shared_addresses is None else await self.shared_addresses.take(address)
        if left < 0:
            raise _too_many(-left, "too many requests from this address")

    def count_refused(self, address: str) -> None:
        """Count a request with a wrong credential."""
        self._refused.take(address)

    async def take(self, credential: str, cost: float = 1.0) -> list[tuple[bytes, bytes]]:
        """Count a request of a credential; the header fields that say what is left.

        Raises
        ------
        ProblemError
            429.
        """
        counted: Buckets | SharedBuckets = self.shared_keys or self._keys
        left = self._keys.take(credential, cost) if self.shared_keys is None else await self.shared_keys.take(credential, cost)
        if left < 0:
            raise _too_many(-left, "too many requests with this credential")
        return [self._policy, (b"ratelimit", b'"key";r=%d;t=%d' % (left, math.ceil((counted.burst - left) / counted.rate)))]


def _policy(buckets: Buckets | SharedBuckets) -> tuple[bytes, bytes]:
    """The header field that states a limit."""
    return b"ratelimit-policy", b'"key";q=%d;w=%d' % (math.floor(buckets.burst), math.ceil(buckets.burst / buckets.rate))


def _too_many(wait: float, detail: str) -> ProblemError:
    seconds = max(1, math.ceil(wait))
    return ProblemError(
        429, f"{detail}; try again in {seconds} s", headers={"Retry-After": str(seconds), "RateLimit": f'"key";r=0;t={seconds}'}
    )
