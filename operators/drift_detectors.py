"""River's detectors in the place of a panel's sums: z of windows in, alarms out.

    adwin         Bifet & Gavaldà 2007 (doi:10.1137/1.9781611972771.42); parameter: delta
    page_hinkley  Page 1954; parameter: threshold, in the unit of z
    kswin         Raab, Heusinger & Schleif 2020 (doi:10.1016/j.neucom.2019.11.111); parameter: alpha

Their textbook parameters are for independent numbers. `GRID` is what
`operators.drift_thresholds.calibrated` chooses from, the most sensitive first. River takes 1.5 s to import: only where a detector is made.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Sequence
from typing import Any

GRID: dict[str, tuple[float, ...]] = {
    "adwin": (0.2, 0.1, 0.05, 0.02, 1e-2, 5e-3, 2e-3, 1e-3, 3e-4, 1e-4, 1e-5, 1e-6, 1e-8, 1e-10),
    "page_hinkley": (5, 7, 8, 10, 12, 14, 16, 20, 25, 30, 40, 50, 70, 100, 150, 200),
    "kswin": (0.05, 0.02, 1e-2, 5e-3, 1e-3, 1e-4, 1e-5, 1e-6, 1e-8, 1e-10, 1e-12),
}
CALIBRATED = {"adwin": 1e-3, "page_hinkley": 25.0, "kswin": 1e-6}
"""Parameter of each kind where none is given: a start, not measured; `drift_thresholds.calibrated` finds what alarms rarely enough."""
KEPT = 400
"""Windows that a detector remembers, hence what its state holds: a restored one has seen the same."""
SLACK = 0.5
"""Of Page-Hinkley, as of the sums."""
KS_WINDOW, KS_PART = 100, 30
LEAST = 8
"""Windows before ADWIN or Page-Hinkley says anything."""


def make(kind: str, parameter: float | None = None) -> RiverDetector:
    """Make a detector of a kind; the parameter of `CALIBRATED` if None.

    Raises
    ------
    ValueError
        There is no such kind.
    """
    if kind not in GRID:
        raise ValueError(f"{kind} is not a detector: {', '.join(GRID)}")
    return RiverDetector(kind, CALIBRATED[kind] if parameter is None else parameter)


def plain(kind: str) -> RiverDetector:
    """Make a detector with its library's own parameters, to compare with."""
    return RiverDetector(kind, None)


class RiverDetector:
    """One of River's, over the z of one statistic's windows.

    Parameters
    ----------
    kind : str
        One of `GRID`.
    parameter : float, optional
        The library's own default if None.
    """

    def __init__(self, kind: str, parameter: float | None) -> None:
        self.kind, self.parameter = kind, parameter
        self._seen: deque[float] = deque(maxlen=KEPT)
        self._river = self._new()

    def _new(self) -> Any:
        from river import drift

        classes: Any = drift
        p = self.parameter
        if self.kind == "adwin":
            made = classes.ADWIN() if p is None else classes.ADWIN(delta=p, clock=1, min_window_length=3, grace_period=LEAST)
        elif self.kind == "page_hinkley":
            made = classes.PageHinkley() if p is None else classes.PageHinkley(min_instances=LEAST, delta=SLACK, threshold=p, alpha=1.0)
        else:
            size = {"window_size": KS_WINDOW, "stat_size": KS_PART}
            made = classes.KSWIN(seed=0) if p is None else classes.KSWIN(alpha=p, seed=0, **size)
        return made

    def update(self, z: float) -> bool:
        """Take the next window's z; it starts anew after an alarm."""
        self._seen.append(z)
        self._river.update(z)
        if not self._river.drift_detected:
            return False
        self.restore(())
        return True

    def state(self) -> list[float]:
        """The z it remembers."""
        return list(self._seen)

    def restore(self, state: Sequence[float]) -> None:
        """See these anew."""
        self._river = self._new()
        self._seen = deque((float(z) for z in state), maxlen=KEPT)
        for z in self._seen:
            self._river.update(z)
