"""Messages of our own topics → records, and a count of those that are none: kept out, reported once a minute, and no reader stops."""

from __future__ import annotations

import time
from collections import Counter
from collections.abc import Callable
from typing import TYPE_CHECKING, TypeVar

import structlog

from schemas.records.codec import BadRecord, decode

if TYPE_CHECKING:
    from aiokafka import ConsumerRecord

EVERY = 60.0
"""Least time between two lines about bad records [s]."""
_Kind = TypeVar("_Kind")


def _log(line: str) -> None:
    structlog.get_logger(__name__).warning(line)


class BadRecords:
    """Reads records and counts bad ones.

    Parameters
    ----------
    log : callable, optional
        Takes one line of text.
    clock : callable, optional
        Seconds, from anywhere.
    """

    def __init__(self, log: Callable[[str], object] = _log, clock: Callable[[], float] = time.monotonic) -> None:
        self.counts: Counter[tuple[str, str]] = Counter()
        """By topic and error class."""
        self._log, self._clock = log, clock
        self._logged_at = -EVERY
        self._unreported = 0
        self._latest = ""

    def read(self, message: ConsumerRecord, *kinds: type[_Kind]) -> _Kind | None:
        """The record of a message; None, and counted, where it is none of these kinds."""
        record = decode(message.value, message.key)
        if isinstance(record, kinds):
            return record
        if not isinstance(record, BadRecord):
            record = BadRecord("wrong_kind", f"a {type(record).__name__} does not belong on this topic")
        self.count(message, record)
        return None

    def count(self, message: ConsumerRecord, bad: BadRecord) -> None:
        """Count a bad record."""
        self.counts[message.topic, bad.error_class] += 1
        self._unreported += 1
        self._latest = f"{message.topic}[{message.partition}]@{message.offset}: {bad.reason}"
        self.report()

    def report(self) -> None:
        """Report how many there were since the last line, where a minute has passed; call it now and then."""
        if self._unreported and self._clock() - self._logged_at >= EVERY:
            plural = "record that is none" if self._unreported == 1 else "records that are none"
            self._log(f"{self._unreported} {plural} of ours passed over, the latest {self._latest}")
            self._logged_at, self._unreported = self._clock(), 0

    @property
    def total(self) -> int:
        """Bad records so far."""
        return sum(self.counts.values())
