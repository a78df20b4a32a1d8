"""Outcomes of batches → whether the flow halts: after a bad release, or where a survey changed its packets, a topic is not to be drained.

outcomes, in order → a reason to halt, or None

Two limits, as sentry's arroyo has them for its dead letters: so many rejected packets in a row, and such a share of the last packets. A
batch that crosses one is neither delivered nor acknowledged, so its packets come again when the flow goes on.
"""

from __future__ import annotations

from collections import Counter, deque
from collections.abc import Iterable

from errors import RetryableError


class RejectLimitError(RetryableError):
    """Too many packets are rejected; the message is one line that says how to go on."""

    def __init__(self, message: str, *, limit: float = 0.0, observed: float = 0.0, packets: int = 0, error_class: str = "") -> None:
        super().__init__(message)
        self.limit, self.observed, self.packets, self.error_class = limit, observed, packets, error_class


class RejectLimits:
    """Counts rejected packets of one worker.

    Parameters
    ----------
    consecutive : int
        Rejected packets in a row at which the flow halts; 0: no such limit.
    ratio : float
        Share of the last `window` packets; 0: no such limit.
    window : int
        Packets the share is of; nothing is said before so many came.
    """

    def __init__(self, consecutive: int, ratio: float, *, window: int) -> None:
        self._consecutive, self._ratio, self._window = consecutive, ratio, window
        self._row = 0
        self._recent: deque[bool] = deque(maxlen=max(window, 1))
        self._rejected = 0
        self._classes: Counter[str] = Counter()

    def observe(self, error_classes: Iterable[str | None]) -> None:
        """Take the outcomes of a batch.

        Parameters
        ----------
        error_classes : iterable of str or None
            In the packets' order; None: the packet was not rejected.

        Raises
        ------
        RejectLimitError
            A limit is crossed.
        """
        for error_class in error_classes:
            rejected = error_class is not None
            if len(self._recent) == self._recent.maxlen:
                self._rejected -= self._recent[0]
            self._recent.append(rejected)
            self._rejected += rejected
            if error_class is None:
                self._row = 0
                self._classes.clear()
                continue
            self._row += 1
            self._classes[error_class] += 1
            if self._consecutive and self._row >= self._consecutive:
                raise self._error(
                    f"{self._row:,} packets in a row were rejected", limit=self._consecutive, observed=self._row, packets=self._row
                )
            full = len(self._recent) == self._recent.maxlen
            if self._ratio and full and self._rejected >= self._ratio * self._window:
                what = f"{self._rejected:,} of the last {self._window:,} packets were rejected"
                raise self._error(what, limit=self._ratio, observed=self._rejected / self._window, packets=self._window)

    def _error(self, what: str, *, limit: float, observed: float, packets: int) -> RejectLimitError:
        most = [name for name, _ in self._classes.most_common(3)]
        return RejectLimitError(
            f"{what} ({', '.join(most)}); the flow halts and nothing more is acknowledged. See `protonova rejects ls`; "
            "if the packets are at fault, "
            "go on with PROTONOVA_REJECT_CONSECUTIVE=0 PROTONOVA_REJECT_RATIO=0; if a release is, go back to the one before",
            limit=limit,
            observed=observed,
            packets=packets,
            error_class=most[0] if most else "",
        )
