"""Outcomes → records on topics, a batch of them for each partition, and the acknowledgements to await.

A detection goes to `detections` and, where its decision is published, to the topic of the decided class, its embedding to `embeddings`;
those of a packet that is not public go to `detections.private` and `embeddings.private` alone. Each topic's detections have the form that
the settings name for it (`schemas/records/dialects.py`). A rejected packet goes to `alerts.rejected` with its bytes. A duplicate goes
nowhere.
"""

from __future__ import annotations

import hashlib
import os
from collections.abc import Awaitable, Callable, Iterator, Mapping, Sequence
from typing import TYPE_CHECKING, NamedTuple

from schemas.avro.wire import MAX_PACKET
from schemas.records import codec
from schemas.records.detection import Detection
from schemas.records.dialects import DIALECTS, Message, Write
from schemas.records.rejected import Rejected
from streams.agents.detector import Incoming, Outcome, Scored
from streams.kafka import topics
from streams.kafka.batches import Unreadable
from streams.kafka.murmur import partition_of

if TYPE_CHECKING:
    from aiokafka import AIOKafkaProducer

PUBLIC = 1
"""The programid of public alerts; every other one is not, an unknown one too."""
WHOLE_BYTES = MAX_PACKET
"""A larger rejected packet is kept as its sha256 and its beginning [bytes]."""
BEGINNING = 65_536
"""[bytes]"""
BATCH_BYTES = 900_000
"""Records sent to a partition at once, below the topics' max.message.bytes, which bounds a batch and not a record [bytes]."""
REQUEST_BYTES = 9_500_000
"""Largest request: a rejected packet with its headers [bytes]."""

ORIGIN = "origin"
"""Header of a detection: topic:partition:offset of its packet, by which the history counts and finds it."""
PASSED_ON = ("_test", "alert_tense")
"""Headers of a packet that its outputs carry too: they mark tests and replays."""
LONGEST_MARK = 256
"""A longer value of such a header is left out: it could make an output larger than its topic allows [bytes]."""

Headers = list[tuple[str, bytes]]
Encoded = tuple[bytes, bytes | None]
"""A detection's body and its framed embedding."""


class Record(NamedTuple):
    """What is sent."""

    topic: str
    key: bytes
    value: bytes
    headers: Headers
    place: bytes
    """What chooses the partition: the object, where the key is not."""


class Forms(dict[str, Write]):
    """Topic → what writes its detections, chosen once.

    Parameters
    ----------
    form_of : callable
        Topic → name of a form (`settings.outputs.OutputSettings.form_of`).
    """

    def __init__(self, form_of: Callable[[str], str]) -> None:
        super().__init__()
        self._form_of = form_of

    def __missing__(self, topic: str) -> Write:
        self[topic] = write = DIALECTS[self._form_of(topic)]
        return write


def trace(headers: Mapping[str, bytes]) -> bytes:
    """The W3C trace context of an output: the input's trace with a span of ours, or a new trace."""
    parts = headers.get("traceparent", b"").split(b"-")
    if len(parts) == 4 and len(parts[1]) == 32:
        return b"-".join((parts[0], parts[1], os.urandom(8).hex().encode(), parts[3]))
    new = os.urandom(24).hex().encode()
    return b"00-" + new[:32] + b"-" + new[32:] + b"-01"


def passed_on(sent: Mapping[str, bytes]) -> Headers:
    """The marks of a packet that its outputs carry too."""
    return [(name, value) for name in PASSED_ON if (value := sent.get(name)) is not None and len(value) <= LONGEST_MARK]


def topics_of(detection: Detection) -> list[str]:
    """Where a detection goes."""
    if detection.programid != PUBLIC:
        return [topics.PRIVATE]
    decision = detection.decision
    if decision is None or not decision.published:
        return [topics.DETECTIONS]
    return [topics.DETECTIONS, topics.class_topic(decision.class_name)]


def detection_records(
    packet: Incoming,
    outcome: Outcome,
    *,
    detection: Detection,
    scored_ms: int,
    values: Encoded,
    forms: Forms,
) -> Iterator[Record]:
    """The records of a detection, and the one of its embedding.

    Parameters
    ----------
    packet : Incoming
    outcome : Outcome
    detection : Detection
        The outcome's.
    scored_ms : int
        When it was scored [ms since 1970].
    values : tuple of bytes and bytes or None
        The detection's body, and its embedding framed.
    forms : Forms
    """
    sent = dict(packet.headers)
    headers: Headers = [
        ("traceparent", trace(sent)),
        ("ingested_at", b"%d" % packet.appended_ms),
        ("scored_at", b"%d" % scored_ms),
        ("survey", detection.survey.encode()),
        ("candid", b"%d" % detection.candid),
        ("programid", b"%d" % detection.programid),
        (ORIGIN, b"%s:%d:%d" % (packet.topic.encode(), packet.partition, packet.offset)),
    ]
    headers += passed_on(sent)
    if outcome.revision:
        headers.append(("revision", b"1"))
    place = detection.object_id.encode()
    body, embedding = values
    public = detection.programid == PUBLIC
    if embedding is not None:
        yield Record(topics.EMBEDDINGS if public else topics.EMBEDDINGS_PRIVATE, place, embedding, headers, place)
    made: dict[Write, Message] = {}  # each form once, however many topics have it
    for name in topics_of(detection):
        write = forms[name]
        message = made.get(write)
        if message is None:
            message = made[write] = write(detection, body)
        yield Record(name, message.key, message.value, [*headers, *message.headers] if message.headers else headers, place)


def rejected_record(packet: Incoming, rejected: Rejected, *, scored_ms: int) -> Record:
    """The record of a rejected packet; ``rejected.avsc`` documents its headers."""
    sent = dict(packet.headers)
    attempt = sent.get("attempt", b"0")
    headers: Headers = [
        ("traceparent", trace(sent)),
        ("ingested_at", b"%d" % packet.appended_ms),
        ("scored_at", b"%d" % scored_ms),
        ("error_class", rejected.error_class.encode()),
        ("reason", rejected.reason.encode()[:2000]),
        ("topic", packet.topic.encode()),
        ("partition", b"%d" % packet.partition),
        ("offset", b"%d" % packet.offset),
        ("attempt", b"%d" % (int(attempt) + 1 if attempt.isdigit() and len(attempt) < 10 else 1)),
    ]
    if rejected.survey is not None:
        headers.append(("survey", rejected.survey.encode()))
    headers += passed_on(sent)
    value = packet.value
    complete = len(value) <= WHOLE_BYTES
    if isinstance(value, Unreadable):
        headers += [("last_offset", b"%d" % value.last), ("records", b"%d" % value.records)]
        complete &= value.is_value
    headers += [("size", b"%d" % len(value)), ("complete", b"true" if complete else b"false")]
    if len(value) > WHOLE_BYTES:
        value = hashlib.sha256(value).digest() + value[:BEGINNING]
    key = f"{packet.topic}:{packet.partition}:{packet.offset}".encode()
    return Record(topics.REJECTED, key, value, headers, key)


class Deliverer:
    """Sends the outcomes of a batch.

    Parameters
    ----------
    producer : aiokafka.AIOKafkaProducer
        Started, made with `producer_options`.
    form_of : callable
        Topic → the form of its detections.
    """

    def __init__(self, producer: AIOKafkaProducer, form_of: Callable[[str], str]) -> None:
        self._producer, self._forms = producer, Forms(form_of)
        self._turn = 0

    async def send(self, packets: Sequence[Incoming], scored: Scored) -> list[Awaitable[object]]:
        """Start the sends of a batch, in its order; the broker's acknowledgements are what is returned to await."""
        by_place: dict[tuple[str, int], list[Record]] = {}
        partitions: dict[str, int] = {}
        self._turn += 1
        for record in self._records(packets, scored):
            count = partitions.get(record.topic)
            if count is None:
                count = partitions[record.topic] = len(await self._producer.partitions_for(record.topic))
            if record.topic == topics.EMBEDDINGS:
                # A batch's together, as Kafka's clients do with records that need no order: a request for each partition costs more.
                place = self._turn % count
            else:
                # As Kafka's own clients choose: an object's detections stay in one partition, whatever client sends them.
                place = partition_of(record.place, count)
            by_place.setdefault((record.topic, place), []).append(record)
        waits: list[Awaitable[object]] = []
        for (topic, partition), records in by_place.items():
            batch = self._producer.create_batch()
            for record in records:
                if batch.append(key=record.key, value=record.value, timestamp=None, headers=record.headers) is None:  # it is full
                    waits.append(await self._producer.send_batch(batch, topic, partition=partition))
                    batch = self._producer.create_batch()
                    batch.append(key=record.key, value=record.value, timestamp=None, headers=record.headers)
            batch.close()
            waits.append(await self._producer.send_batch(batch, topic, partition=partition))
        return waits

    def _records(self, packets: Sequence[Incoming], scored: Scored) -> Iterator[Record]:
        for packet, outcome in zip(packets, scored.outcomes, strict=True):
            if isinstance(outcome.result, Rejected):
                yield rejected_record(packet, outcome.result, scored_ms=scored.scored_ms)
            elif outcome.result is not None:
                values = codec.encode_both(outcome.result)
                yield from detection_records(
                    packet,
                    outcome,
                    detection=outcome.result,
                    scored_ms=scored.scored_ms,
                    values=values,
                    forms=self._forms,
                )


def producer_options() -> dict[str, object]:
    """How the worker's producer differs from the defaults."""
    return {
        "acks": "all",
        "enable_idempotence": True,  # a retried send neither repeats nor reorders
        "linger_ms": 0,  # the micro-batch is the batch
        "max_batch_size": BATCH_BYTES,
        "max_request_size": REQUEST_BYTES,
        "request_timeout_ms": 30_000,
    }
