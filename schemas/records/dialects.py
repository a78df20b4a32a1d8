"""A detection → key, value and headers of a message, in the form that the topic's readers expect; `codec.decode` is the inverse of each.

`confluent`   Confluent framing (0x00, schema id, body): any Confluent client with the registry of the status service
`container`   an Avro object container, which holds its schema, with the header ``_format: avro``: hop-client
`fink`        the key is the schema, the value the bare Avro body: fink-client
`json`        one JSON object with a versioned ``$schema`` (`json_form`): lasair, gcn-kafka and whatever reads JSON

The settings (`settings/outputs.py`) say which topic has which form; these are the same names (a test).
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import NamedTuple, TypeAlias

from schemas.records.codec import container_of
from schemas.records.detection import PREFIX, Detection
from schemas.records.json_form import to_json
from schemas.records.table import DETECTION, layout

FORMAT_HEADER = "_format"
"""By which hop-client chooses how it reads."""


class Message(NamedTuple):
    """What is sent of a detection."""

    key: bytes
    value: bytes
    headers: tuple[tuple[str, bytes], ...] = ()


Write: TypeAlias = Callable[[Detection, bytes], Message]
"""A detection and its body in Avro → its message."""


def confluent(record: Detection, body: bytes) -> Message:
    """Confluent framing, keyed by object."""
    return Message(record.object_id.encode(), PREFIX + body)


def container(record: Detection, body: bytes) -> Message:
    """An object container, keyed by object."""
    return Message(record.object_id.encode(), container_of(body), _AVRO)


def fink(record: Detection, body: bytes) -> Message:
    """The schema in the key, the bare body as the value."""
    return Message(_SCHEMA, body)


def as_json(record: Detection, body: bytes) -> Message:
    """One JSON object, keyed by object."""
    return Message(record.object_id.encode(), to_json(record), _JSON)


_AVRO, _JSON = ((FORMAT_HEADER, b"avro"),), ((FORMAT_HEADER, b"json"),)
_SCHEMA = layout(DETECTION).encode()
DIALECTS: Mapping[str, Write] = {"confluent": confluent, "container": container, "fink": fink, "json": as_json}
