"""Why a packet is rejected: the closed list of error classes, each with what a person does about it."""

from __future__ import annotations

ERROR_CLASSES: dict[str, str] = {
    "too_large": "more bytes, items or inflated bytes than a packet may have: have it sent smaller",
    "truncated": "the bytes end early: have it sent again",
    "bad_avro": "the bytes are not what their schema says: have it sent again; if many are, the sender writes another schema than it names",
    "recursive_schema": "a schema that contains itself: not read",
    "unknown_codec": "compressed in a way that is not read: null, deflate and snappy are",
    "bad_schema_id": "framed with an unknown schema id: give PROTONOVA_SCHEMA_REGISTRY or PROTONOVA_RUBIN_SCHEMAS, then re-drive",
    "unknown_survey": "a schema of another survey: a decoder is needed",
    "wrong_type": "a field has another type than the survey's schemas give it",
    "bad_value": "a value that cannot be: a time outside the survey's range, a position off the sky, text that is not UTF-8",
    "not_avro": "neither an Avro container nor a framed packet",
    "many_records": "a container of several alerts: publish it by `protonova publish`, which sends each as a packet",
    "corrupt_batch": "a record batch whose checksum is wrong, also when it was read again: check the broker's disk and network",
    "unreadable_batch": "a record batch whose format, compression or inflated size cannot be read, as it was sent: look at its producer",
    "bad_record": "a record that the client cannot parse, such as a header name that is not UTF-8",
}
"""Error class → what to do about it."""
