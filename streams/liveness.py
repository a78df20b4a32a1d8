"""Committed and end offsets over time → whether a worker that has work does none of it. Pure; the clock is handed in."""

from __future__ import annotations

from collections.abc import Mapping
from typing import TypeVar

Place = TypeVar("Place")


class Stall:
    """Watches the partitions a worker holds.

    Parameters
    ----------
    limit_s : float
        How long committed offsets may stand still while there is lag [s].
    """

    def __init__(self, limit_s: float) -> None:
        self._limit_s = limit_s
        self._moved: dict[object, tuple[int, float]] = {}

    def observe(self, now: float, offsets: Mapping[Place, tuple[int, int]]) -> Place | None:
        """A partition that stands still, if there is one.

        Parameters
        ----------
        now : float
            Monotonic time [s].
        offsets : mapping
            Partition → (committed or, where that is later, the first that is there; end). A partition that is not named is not held:
            its clock starts anew when it comes back.
        """
        self._moved = {place: seen for place, seen in self._moved.items() if place in offsets}
        for place, (committed, end) in offsets.items():
            before, since = self._moved.get(place, (None, now))
            if committed != before or committed >= end:
                self._moved[place] = (committed, now)
            elif now - since > self._limit_s:
                return place
        return None
