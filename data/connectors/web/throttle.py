"""How often a host is asked, and how long to wait before it is asked again.

The clock is injected: tests wait for nothing.
"""

from __future__ import annotations

import random
import time
from collections import Counter
from collections.abc import Callable
from dataclasses import dataclass, field
from datetime import UTC, datetime
from email.utils import parsedate_to_datetime

from data.connectors.web.faults import FetchError, Passing

ATTEMPTS = 6
"""Without a byte of progress between them."""
FIRST_WAIT, LONGEST_BACKOFF = 1.0, 60.0
"""[s]"""
LONGEST_WAIT = 600.0
"""What a server may ask us to wait [s] before we leave it to the caller to come again."""


@dataclass(frozen=True, slots=True)
class Clock:
    """Time and chance, as they are; a test passes its own."""

    monotonic: Callable[[], float] = time.monotonic
    sleep: Callable[[float], None] = time.sleep
    utc: Callable[[], datetime] = lambda: datetime.now(UTC)
    chance: Callable[[], float] = random.random
    """Uniform in [0, 1)."""


@dataclass(slots=True)
class Throttle:
    """At most so many requests a second to each host."""

    clock: Clock
    per_second: float = 2.0
    _next: dict[str, float] = field(default_factory=dict)

    def wait(self, host: str) -> None:
        """Sleep until the host may be asked."""
        now = self.clock.monotonic()
        turn = max(now, self._next.get(host, now))
        self._next[host] = turn + 1.0 / self.per_second
        if turn > now:
            self.clock.sleep(turn - now)


def retry_after(text: str | None, utc: datetime) -> float | None:
    """What ``Retry-After`` asks to wait [s]: seconds or a date (RFC 9110, section 10.2.3); None: nothing that can be read."""
    if text is None:
        return None
    if text.strip().isdecimal() and len(text.strip()) < 10:
        return float(text)
    try:
        moment = parsedate_to_datetime(text)
        return max(0.0, (moment if moment.tzinfo else moment.replace(tzinfo=UTC)).timestamp() - utc.timestamp())
    except (TypeError, ValueError, IndexError, OverflowError):
        return None


class Patience:
    """How long one file or answer is asked for.

    Parameters
    ----------
    clock : Clock
    attempts : int
        In a row without progress.
    say : callable, optional
        Called with a line before each wait.
    """

    def __init__(self, clock: Clock, attempts: int = ATTEMPTS, *, say: Callable[[str], None] | None = None) -> None:
        self._clock, self._attempts, self._say = clock, attempts, say
        self._failed = 0
        self._kinds: Counter[str] = Counter()

    def after(self, fault: Passing, *, progress: bool = False) -> None:
        """Wait before the next attempt, exponentially longer with full jitter, or as long as the server asks.

        Raises
        ------
        FetchError
            There is no point in another one now.
        """
        self._failed = 1 if progress else self._failed + 1
        self._kinds[fault.kind] += 1
        if self._failed >= self._attempts or (fault.most is not None and self._kinds[fault.kind] >= fault.most):
            count = self._kinds[fault.kind] if fault.most is not None else self._failed
            raise FetchError(f"{fault}; given up after {count} attempts: the same command goes on where it was") from fault
        if fault.wait is not None:
            if fault.wait > LONGEST_WAIT:
                raise FetchError(f"{fault}; it asks to wait {fault.wait:,.0f} s: the same command goes on where it was") from fault
            pause = fault.wait + self._clock.chance()
        else:
            pause = self._clock.chance() * min(LONGEST_BACKOFF, FIRST_WAIT * 2.0**self._failed)
        if self._say is not None:
            self._say(f"{fault}; again in {pause:.1f} s")
        self._clock.sleep(pause)
