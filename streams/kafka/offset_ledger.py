"""What became of the offsets that a group has committed of a partition, kept in the commit itself.

outcomes, and what batch heads say of offsets without a packet → a line of text beside the committed offset, and back

Every offset from `base` to the committed one is a detection, a rejected packet, a duplicate, a mark of a transaction, a record of an
aborted one, or one that the broker does not have any more. The broker counts the offsets, the worker what it made of them: what is left
over was passed without an outcome. As offset and counts are committed at once, neither a kill nor a redelivery can put them out of step,
and a page that starts today can check what was committed last week.
"""

from __future__ import annotations

from collections import defaultdict, deque
from collections.abc import Iterator
from dataclasses import astuple, dataclass, fields, replace
from typing import Any, Literal, NamedTuple

PREFIX = "ledger:"
LARGEST = 2**63
"""One more than any offset."""

OutcomeKind = Literal["detections", "rejected", "duplicates"]
SkipKind = Literal["control", "aborted", "compacted", "absent"]


class Skip(NamedTuple):
    """Offsets that were read over, as they hold no packet."""

    first: int
    next: int
    """The first behind them."""
    kind: SkipKind


@dataclass(slots=True)
class Ledger:
    """Counts of one partition, from `base` on; every one is a number of offsets."""

    base: int
    """The first offset that is counted."""
    detections: int = 0
    rejected: int = 0
    """With the records that could not be read."""
    duplicates: int = 0
    control: int = 0
    """Marks of transactions."""
    aborted: int = 0
    """Records of aborted transactions."""
    compacted: int = 0
    """Records that compaction took out of batches, as the batches' heads say."""
    absent: int = 0
    """Offsets between two batches of which the broker has none."""

    @property
    def counted(self) -> int:
        """All that is accounted for."""
        return sum(astuple(self)[1:])

    def unaccounted(self, committed: int) -> int:
        """Offsets up to the committed one without an outcome; negative: more outcomes than offsets."""
        return committed - self.base - self.counted

    def add(self, kind: OutcomeKind | SkipKind, offsets: int = 1) -> None:
        """Count offsets."""
        setattr(self, kind, getattr(self, kind) + offsets)

    def text(self) -> str:
        """What is written beside a committed offset."""
        return PREFIX + ",".join(map(str, astuple(self)))


class Accounted(int):
    """A committable offset that carries the ledger up to it, so that a commit of the one is a commit of the other."""

    ledger: str

    @classmethod
    def of(cls, offset: int, ledger: Ledger) -> Accounted:
        """Make one; what the ledger counts later is not of it."""
        made = cls(offset)
        made.ledger = ledger.text()
        return made


def ledger_of(metadata: str, committed: int) -> Ledger | None:
    """The ledger in a commit's metadata; None: there is none, or none that can be of this offset.

    Parameters
    ----------
    metadata : str
        Anyone who may commit for the group wrote it.
    committed : int
        The offset it is beside.
    """
    for word in metadata.split():
        if word.startswith(PREFIX):
            numbers = word.removeprefix(PREFIX).split(",")
            if len(numbers) != len(fields(Ledger)) or not all(n.isascii() and n.isdigit() and len(n) < 20 for n in numbers):
                return None
            values = [int(n) for n in numbers]
            return Ledger(*values) if max(values) < LARGEST and values[0] <= committed else None
    return None


class Noted:
    """What the fetching side knows of partitions; its own thread writes, the main loop reads (each step is one of a dict or a deque)."""

    def __init__(self) -> None:
        self._resumed: dict[Any, tuple[int, Ledger]] = {}
        self._begun: dict[Any, int] = {}
        self._skipped: defaultdict[Any, deque[Skip]] = defaultdict(deque)

    def resume(self, place: Any, offset: int | None, *, metadata: str = "") -> None:
        """Note that a partition is read from what is committed, or from its start (None); what was noted of it is read again."""
        self._skipped.pop(place, None)
        self._begun.pop(place, None)
        self._resumed.pop(place, None)
        if offset is not None:
            self._resumed[place] = offset, ledger_of(metadata, offset) or Ledger(offset)

    def fetched(self, place: Any, offset: int) -> None:
        """Note from where a partition is read, the first time."""
        self._begun.setdefault(place, offset)

    def skip(self, place: Any, skipped: Skip) -> None:
        """Note offsets without a packet."""
        self._skipped[place].append(skipped)

    def ledger(self, place: Any) -> tuple[int, Ledger] | None:
        """From where a partition is read, and the ledger up to there; None: nothing of it was fetched yet."""
        if place in self._resumed:
            return self._resumed[place]
        begun = self._begun.get(place)
        return None if begun is None else (begun, Ledger(begun))

    def take(self, place: Any, end: int) -> Iterator[Skip]:
        """Offsets before `end` without a packet; they are not given again."""
        skipped = self._skipped.get(place)
        while skipped and skipped[0].first < end:
            yield skipped.popleft()

    def waiting(self) -> list[Any]:
        """Partitions of which such offsets wait."""
        return [place for place, skipped in list(self._skipped.items()) if skipped]


@dataclass(slots=True)
class _Account:
    next: int
    """The first offset that is not counted."""
    ledger: Ledger


class Ledgers:
    """What is acknowledged of the partitions that a member holds, and its outcomes.

    Parameters
    ----------
    noted : Noted
        Of the fetching side.
    """

    def __init__(self, noted: Noted) -> None:
        self.noted = noted
        self.acknowledged: dict[Any, int] = {}
        """Partition → the offset that follows the last acknowledged packet."""
        self._accounts: dict[Any, _Account] = {}

    def acknowledge(self, place: Any, offset: int, *, outcome: OutcomeKind, count: int = 1) -> None:
        """Count the outcome of the records up to an offset."""
        account = self._account(place)
        if account is not None:
            if offset < account.next:  # it came again after a seek, and is counted
                return
            self._pass(place, account, end=offset)
            account.ledger.add(outcome, count)
            account.next = offset + 1
        self.acknowledged[place] = offset + 1

    def read_over(self, place: Any, position: int, *, handed: int) -> None:
        """Acknowledge what was read behind the last packet and holds none, where nothing before it is in hand.

        Parameters
        ----------
        place : TopicPartition
        position : int
            Up to where it is read.
        handed : int
            Up to where packets were handed out.
        """
        account = self._account(place)
        if account is not None and handed <= account.next < position:
            self._pass(place, account, end=position)
            account.next = self.acknowledged[place] = position

    def committable(self, place: Any) -> int | None:
        """What can be committed, with the ledger up to it."""
        offset, account = self.acknowledged.get(place), self._accounts.get(place)
        return offset if offset is None or account is None else Accounted.of(offset, account.ledger)

    def forget(self, place: Any) -> None:
        """A partition went, or became another one: what comes of it is counted from its commit on."""
        self.acknowledged.pop(place, None)
        self._accounts.pop(place, None)

    def _account(self, place: Any) -> _Account | None:
        account = self._accounts.get(place)
        if account is None and (begun := self.noted.ledger(place)) is not None:
            account = self._accounts[place] = _Account(begun[0], replace(begun[1]))
        return account

    def _pass(self, place: Any, account: _Account, *, end: int) -> None:
        """Count what was read before an offset and held no packet."""
        for skipped in self.noted.take(place, end):
            if skipped.first >= account.next:  # else it was read again
                account.ledger.add(skipped.kind, skipped.next - skipped.first)
