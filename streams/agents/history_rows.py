"""Messages of our topics → rows of the history; what is not a record of ours is counted and passed over."""

from __future__ import annotations

import math
from collections import Counter
from collections.abc import Mapping, Sequence
from typing import Any

from data.history.portion import AlertRow, EmbeddingRow, Moved, Origin, Place, Portion, RejectRow
from schemas.avro.wire import PacketError
from schemas.records import detection
from schemas.records.codec import decode_detection
from schemas.records.key_fields import detection_fields, embedding_fields
from schemas.records.parts import LONGEST_TEXT, framing
from schemas.records.table import DETECTION, EMBEDDING
from streams.kafka import topics
from streams.kafka.producer import ORIGIN, PUBLIC

READ = (topics.DETECTIONS, topics.PRIVATE, topics.REJECTED)
WITH_EMBEDDINGS = (*READ, topics.EMBEDDINGS, topics.EMBEDDINGS_PRIVATE)
UNKNOWN_PROGRAM = 0
PROGRAMS = range(4)
_FRAMED_DETECTION, _FRAMED_EMBEDDING = framing(DETECTION), framing(EMBEDDING)
_FRAME = len(_FRAMED_DETECTION)
_DIGEST = 16
LATEST_MS = 253_370_764_800_000
"""The year 9999: no night has a date behind it [ms]."""


def portion_of(found: Mapping[Any, Sequence[Any]], held: Mapping[Place, int | None], *, bad: Counter[tuple[str, str]]) -> Portion:
    """The rows of what was fetched.

    Parameters
    ----------
    found : mapping of TopicPartition to sequence of aiokafka.ConsumerRecord
        Each partition's in order.
    held : mapping of Place to int
        The history's positions.
    bad : Counter
        (topic, error class) → messages that are none of ours; added to.
    """
    portion = Portion()
    for place, messages in found.items():
        for message in messages:
            try:
                _add(portion, message)
            except PacketError as error:
                bad[message.topic, error.error_class] += 1
        key = Place(place.topic, place.partition)
        portion.moved[key] = Moved(held.get(key), messages[-1].offset + 1)
    return portion


def _add(portion: Portion, message: Any) -> None:
    topic = message.topic
    if topic == topics.REJECTED:
        portion.rejects.append(_reject(message))
    elif topic in (topics.EMBEDDINGS, topics.EMBEDDINGS_PRIVATE):
        value = message.value or b""
        if not value.startswith(_FRAMED_EMBEDDING):
            raise PacketError("bad_schema_id", "not an embedding")
        row = EmbeddingRow(*embedding_fields(value[_FRAME:]))
        if not math.isfinite(row.mjd):
            raise PacketError("bad_value", "a time that is not finite")
        portion.embeddings.append(row._replace(programid=_program(row.programid, topic == topics.EMBEDDINGS_PRIVATE)))
    else:
        portion.alerts.append(_alert(message, private=topic == topics.PRIVATE))


def _alert(message: Any, *, private: bool) -> AlertRow:
    """A detection, in whatever form its topic has it."""
    value = message.value or b""
    if value.startswith(_FRAMED_DETECTION):
        body = value[_FRAME:]
    else:
        record = decode_detection(value, message.key)
        body = detection.body(record, detection.coded(record))
    f = detection_fields(body)
    digest = _digest(f.packet_id)
    if not (math.isfinite(f.mjd) and math.isfinite(f.ra) and math.isfinite(f.dec)):
        raise PacketError("bad_value", "a place or time that is not finite")
    headers = dict(message.headers or ())
    return AlertRow(
        f.survey, f.candid, digest, f.object_id, _program(f.programid, private), f.ra, f.dec, f.mjd, f.band, f.flux, f.flux_err,
        f.class_name, f.probability, f.published, f.novelty, _arrived(headers, message),
        _origin(headers.get(ORIGIN)), DETECTION, body,
    )  # fmt: skip


def _reject(message: Any) -> RejectRow:
    headers = dict(message.headers or ())
    topic, error_class, reason = (_words(headers.get(name)) for name in ("topic", "error_class", "reason"))
    partition, offset = _number(headers.get("partition")), _number(headers.get("offset"))
    if not topic or not error_class or partition is None or offset is None:
        raise PacketError("bad_value", "a rejected packet without its origin")
    return RejectRow(
        Origin(topic, partition, offset), _number(headers.get("records")) or 1, _words(headers.get("survey")) or None, error_class, reason,
        _number(headers.get("attempt")) or 1, _number(headers.get("size")) or len(message.value or b""),
        headers.get("complete") != b"false", _arrived(headers, message), message.partition,
        message.offset,
    )  # fmt: skip


def _program(programid: int, private: bool) -> int:
    """A programid that a right can name; what lies on a private topic is never public."""
    if programid not in PROGRAMS or (private and programid == PUBLIC):
        return UNKNOWN_PROGRAM
    return programid


def _digest(packet_id: str) -> bytes:
    """The last part of a packet's id."""
    try:
        found = bytes.fromhex(packet_id.rpartition(":")[2])
    except ValueError:
        found = b""
    if len(found) != _DIGEST:
        raise PacketError("bad_value", "a detection without the digest of its packet")
    return found


def _origin(header: bytes | None) -> Origin | None:
    """``topic:partition:offset``; None where the header is missing or another one's."""
    topic, _, rest = _words(header).rpartition(":")[0].rpartition(":") if header else ("", "", "")
    offset = _number(header.rpartition(b":")[2]) if header else None
    partition = _number(rest.encode()) if rest else None
    return None if not topic or partition is None or offset is None else Origin(topic, partition, offset)


def _arrived(headers: Mapping[str, bytes], message: Any) -> int:
    """When the broker took the packet [ms since 1970]; 0 where it is unknown or beyond the years of four digits."""
    stated = _number(headers.get("ingested_at")) or int(message.timestamp)
    return stated if 0 <= stated < LATEST_MS else 0


def _number(value: bytes | None) -> int | None:
    """A count in a header; None: there is none, or not one."""
    return int(value) if value is not None and value.isdigit() and len(value) < 19 else None


def _words(value: bytes | None) -> str:
    return "" if value is None else value[:LONGEST_TEXT].decode(errors="replace")
