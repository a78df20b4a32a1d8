"""Where partitions begin, are read and end; what the broker says of topics."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, NamedTuple

if TYPE_CHECKING:
    import aiokafka
    from aiokafka import TopicPartition


class Span(NamedTuple):
    """Offsets of a partition; each is the first that does not belong to it any more."""

    start: int
    """What retention has taken."""
    read: int | None
    """What the consumer has read; None: it has no position yet."""
    handed: int
    """What it has handed out, packets only."""
    end: int
    """What is there."""

    def done(self, confirmed: int | None) -> int:
        """Up to where nothing is left to be done, where that commit is confirmed. What is gone, or was read and is not a packet, counts."""
        committed = max(confirmed or 0, self.start)
        return committed if self.read is None or committed < self.handed else max(committed, self.read)


class Topics(NamedTuple):
    """What the broker says of topics."""

    partitions: dict[str, tuple[int, ...]]
    leads: bool
    """Whether this member shares the partitions out in its group."""
    shared: set[TopicPartition]
    """Those it shared out."""


def position_of(consumer: aiokafka.AIOKafkaConsumer, place: Any) -> int | None:
    """The consumer's `position`, without the wait for one."""
    subscription = consumer._subscription.subscription
    assignment = None if subscription is None else subscription.assignment
    if assignment is None or place not in assignment.tps:
        return None
    state = assignment.state_value(place)
    position: int | None = state.position if state.has_valid_position else None
    return position
