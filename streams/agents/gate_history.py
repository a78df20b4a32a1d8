"""What the loop's events say was judged, promoted and taken back: events in order → `History`, from which a gatekeeper goes on."""

from __future__ import annotations

import math
from dataclasses import dataclass, field

import structlog

from evaluation.gates import Thresholds
from schemas.avro.wire import PacketError
from schemas.records import codec
from schemas.records.gate_report import GateReport
from schemas.records.loop_event import FORGOTTEN, GATES_JUDGED, PROMOTED, ROLLED_BACK, TAUGHT, LoopEvent

log = structlog.get_logger(__name__)

Look = tuple[int, int, int]


@dataclass
class History:
    """By models' short ids."""

    reports: dict[str, GateReport] = field(default_factory=dict)
    """The last of each challenger, and of each champion since it was promoted."""
    looks: dict[str, int] = field(default_factory=dict)
    """How many reports there are of it."""
    promoted_ms: int = 0
    """When the champion was promoted, by its event [ms since 1970]; 0: it was not, or it was put back."""
    champion: str = ""
    """By the events; empty: none was ever promoted."""
    rolled_back: set[str] = field(default_factory=set)
    """Models that were taken back: the gates promote none of them again."""
    taught: int = 0
    """Classes taught and forgotten so far."""

    def take(self, event: LoopEvent) -> None:
        """Take an event, in order."""
        if event.event == GATES_JUDGED:
            try:
                report = codec.expect(event.record, GateReport)
            except PacketError as error:
                log.warning("a report of gates cannot be read and is left out", why=error.reason)
                return
            self.reports[event.subject] = report
            self.looks[event.subject] = event.revision
        elif event.event == PROMOTED:
            self.champion, self.promoted_ms = event.subject, event.made_ms
            self.reports.pop(event.subject, None)  # what is judged from now on is whether it was right to
            self.rolled_back.discard(event.subject)  # a person wanted it all the same
        elif event.event == ROLLED_BACK:
            if self.champion:
                self.rolled_back.add(self.champion)
            self.champion, self.promoted_ms = event.subject, 0
        elif event.event in (TAUGHT, FORGOTTEN):
            self.taught += 1


def look(t: Thresholds, *, alerts: int, disagreements: int, labels: int) -> Look:
    """How much evidence there is, in steps of twice as much each: judged again and again, luck would pass every gate once."""
    steps = (alerts / t.alerts, disagreements / t.disagreements, labels / t.labels)
    a, b, c = (math.floor(math.log2(x)) if x >= 1 else -1 for x in steps)
    return a, b, c


def look_of(t: Thresholds, report: GateReport) -> Look:
    """The same of what a report rests on."""
    return look(t, alerts=report.alerts, disagreements=report.disagreements, labels=report.labels)


def more(now: Look, before: Look) -> bool:
    """Whether there is another step of evidence."""
    return any(a > b for a, b in zip(now, before, strict=True))
