"""A circuit breaker: while the broker is away requests are refused at once, and one at a time finds out whether it is back."""

from __future__ import annotations

import time
from collections.abc import Callable

FIRST_PAUSE, LONGEST_PAUSE = 1.0, 15.0
"""Before a probe [s]; twice as long each time it fails."""


class Breaker:
    """Closed: requests pass. Open: none does, until the pause is over; then one, the probe, whose outcome closes or opens it.

    Parameters
    ----------
    clock : callable
        Monotonic time [s].
    """

    def __init__(self, clock: Callable[[], float] = time.monotonic) -> None:
        self._clock = clock
        self._pause = FIRST_PAUSE
        self._until: float | None = None
        self._probing = False

    @property
    def is_closed(self) -> bool:
        """Whether requests pass."""
        return self._until is None

    def wait(self) -> float:
        """How long a request has to wait [s]; 0: it may pass. One that may while the breaker is open is the probe: report its outcome."""
        if self._until is None:
            return 0.0
        left = self._until - self._clock()
        if left > 0:
            return left
        if self._probing:
            return FIRST_PAUSE
        self._probing = True
        return 0.0

    def succeeded(self) -> None:
        """A request passed through: the broker is there."""
        self._until, self._probing, self._pause = None, False, FIRST_PAUSE

    def failed(self) -> None:
        """A request failed: requests begun before the breaker opened do not lengthen its pause."""
        if self._until is not None and not self._probing:
            return
        self._until = self._clock() + self._pause
        self._pause = min(LONGEST_PAUSE, 2 * self._pause)
        self._probing = False

    def gave_up(self) -> None:
        """A request that may have been the probe ended without an outcome: the next one is."""
        self._probing = False
