"""Labels that people, catalogues and brokers give alerts: `labels.known`, and the questions for more of them: `labels.wanted`.

labels ──► write ──► labels.known (compacted: an alert has one label, the latest) ──► `Labels`, which trainer and gates read
labels.wanted ──► `read_wanted`: the questions that have no answer yet
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from typing import TYPE_CHECKING, Any, NamedTuple

import structlog

from errors import RetryableError
from schemas.avro.wire import PacketError
from schemas.records import codec
from schemas.records.known_label import KnownLabel
from schemas.records.label_wanted import LabelWanted
from streams.kafka import topics
from streams.kafka.acknowledged import write_acknowledged
from streams.kafka.exactly_once import decided_records

if TYPE_CHECKING:
    from settings.model import Settings

log = structlog.get_logger(__name__)

ARTEFACT = "bogus"
"""What an image is, and not an object: such a label is its alert's alone."""

Key = tuple[str, int]
"""Survey and candid."""


class Changed(NamedTuple):
    """A label that took another one's place."""

    before: KnownLabel
    after: KnownLabel | None
    """None: it was taken back."""


class Labels:
    """What is known, kept up with the topic's records."""

    def __init__(self) -> None:
        self._by_alert: dict[Key, KnownLabel] = {}
        self._by_object: dict[tuple[str, str], dict[Key, KnownLabel]] = {}
        self.changed = 0
        """Labels that became other ones."""
        self.taken = 0
        """Records taken."""

    def __len__(self) -> int:
        return len(self._by_alert)

    def __iter__(self) -> Iterator[KnownLabel]:
        return iter(self._by_alert.values())

    def take(self, message: Any) -> Changed | None:
        """Take a record of the topic; returns what it changed of what was known. One that is none of ours is left out and logged."""
        found = _label_of(message)
        if found is None:
            return None
        key, label = found
        self.taken += 1
        before = self._by_alert.pop(key, None)
        if before is not None:
            self._by_object[before.survey, before.object_id].pop(key, None)
        if label is not None:
            self._by_alert[key] = label
            self._by_object.setdefault((label.survey, label.object_id), {})[key] = label
        if before is None or (label is not None and label.label == before.label):
            return None
        self.changed += 1
        return Changed(before, label)

    def of(self, survey: str, candid: int, *, object_id: str = "", least: float = 0.0) -> str | None:
        """The label of an alert: its own, else the latest of its object's other alerts; None: none of that confidence.

        Parameters
        ----------
        survey : str
        candid : int
        object_id : str
            Empty: only the alert's own label.
        least : float
            Confidence below which a label does not count.
        """
        own = self._by_alert.get((survey, candid))
        if own is not None:
            return own.label if own.confidence >= least else None
        others = self._by_object.get((survey, object_id), {}) if object_id else {}
        sure = [one for one in others.values() if one.confidence >= least and one.label != ARTEFACT]
        return max(sure, key=lambda one: one.made_ms).label if sure else None


def _label_of(message: Any) -> tuple[Key, KnownLabel | None] | None:
    """The alert that a record is about, and its label (None: it is taken back)."""
    survey, _, number = (message.key or b"").decode("utf-8", "replace").rpartition(":")
    try:
        key = survey, int(number)
        label = None if message.value is None else codec.expect(message.value, KnownLabel)
    except (ValueError, PacketError) as error:
        log.warning("a label cannot be read and is left out", key=repr(message.key)[:80], why=str(error))
        return None
    if label is not None and label.key != message.key:
        log.warning("a label stands under another alert's key and is left out", key=repr(message.key)[:80])
        return None
    return key, label


async def read_labels(settings: Settings) -> Labels:
    """All labels that the topic holds now; none where there is no such topic.

    Raises
    ------
    aiokafka.errors.KafkaError
    """
    labels = Labels()
    try:
        async for message in decided_records(settings, topics.LABELS_KNOWN):
            labels.take(message)
    except RetryableError:
        log.info("there is no topic of labels yet", topic=topics.LABELS_KNOWN)
    return labels


async def read_wanted(settings: Settings, labels: Labels | None = None) -> list[LabelWanted]:
    """Questions that have no answer yet, the newest of each alert, those that decide most first.

    Parameters
    ----------
    settings : Settings
        With a broker.
    labels : Labels, optional
        What is known; read where None.

    Raises
    ------
    aiokafka.errors.KafkaError
    """
    labels = await read_labels(settings) if labels is None else labels
    open_questions: dict[bytes, LabelWanted] = {}
    try:
        async for message in decided_records(settings, topics.LABELS_WANTED):
            try:
                question = codec.expect(message.value, LabelWanted)
            except PacketError as error:
                log.warning("a question for a label cannot be read and is left out", offset=message.offset, why=error.reason)
                continue
            open_questions[question.key] = question
    except RetryableError:
        return []
    left = [q for q in open_questions.values() if labels.of(q.survey, q.candid, object_id=q.object_id) is None]
    return sorted(left, key=lambda q: -q.gain)


async def write_labels(settings: Settings, labels: Sequence[KnownLabel], *, withdrawn: Iterable[bytes] = ()) -> None:
    """Write labels, and take others back by their keys; all are acknowledged when this returns, and to write them again changes nothing.

    Raises
    ------
    aiokafka.errors.KafkaError
    """
    records: list[tuple[bytes, bytes | None]] = [(label.key, codec.encode(label)) for label in labels]
    records += [(key, None) for key in withdrawn]
    await write_acknowledged(settings, topics.LABELS_KNOWN, records=records)
