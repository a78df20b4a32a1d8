"""What the topics of candidates say, kept up with: for those who ask over HTTP.

candidates, candidates.private ──► `CandidateList`: each candidate's opening and its latest step
"""

from __future__ import annotations

import asyncio
from typing import TYPE_CHECKING, Any, NamedTuple

from schemas.records.candidate import OPENED, Candidate
from streams.bad_records import BadRecords
from streams.kafka import topics
from streams.kafka.broadcast import Follower

if TYPE_CHECKING:
    from settings.model import Settings


class Entry(NamedTuple):
    """A candidate."""

    step: Candidate
    """The latest."""
    at_ms: int
    """When it was written [ms since 1970]."""
    private: bool


class CandidateList:
    """The candidates of the last thirty days."""

    def __init__(self) -> None:
        self._entries: dict[tuple[str, bool], Entry] = {}
        self._bad = BadRecords()
        self.complete = False
        """Whether it was read to the end that the topics had at the start."""

    def take(self, message: Any) -> bool:
        """Take a record of one of the topics."""
        step = self._bad.read(message, Candidate)
        if step is None:
            return False
        private = message.topic == topics.CANDIDATES_PRIVATE
        key = step.candidate_id, private
        self._entries.pop(key, None)  # the latest step comes last
        self._entries[key] = Entry(step, int(message.timestamp), private)
        return True

    def latest(
        self,
        *,
        private: bool,
        class_name: str | None = None,
        standing: bool = False,
        before: tuple[int, str] | None = None,
        limit: int = 100,
    ) -> list[Entry]:
        """Candidates by their latest step, the last written first.

        Parameters
        ----------
        private : bool
            Those that are not public, too.
        class_name : str, optional
        standing : bool
            Only those that neither fell nor were refuted.
        before : tuple of int and str, optional
            `at_ms` and candidate_id of the last of the page before.
        limit : int
        """
        wanted = []
        for entry in self._entries.values():
            step = entry.step
            if (entry.private and not private) or class_name not in (None, step.class_name) or (standing and step.event != OPENED):
                continue
            if before is None or (entry.at_ms, step.candidate_id) < before:
                wanted.append(entry)
        return sorted(wanted, key=lambda entry: (entry.at_ms, entry.step.candidate_id), reverse=True)[:limit]

    async def follow(self, settings: Settings) -> None:
        """Keep up with both topics, until cancelled; a broker that fails is asked again."""

        async def nothing() -> None:
            pass

        followers = [Follower(settings, name, take=self.take, what="candidates") for name in (topics.CANDIDATES, topics.CANDIDATES_PRIVATE)]
        for follower in followers:
            await follower.catch_up()
        self.complete = True
        await asyncio.gather(*(follower.follow(nothing) for follower in followers))
