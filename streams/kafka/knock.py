"""The one question of Kafka's protocol that every broker answers before any login, and its answer."""

from __future__ import annotations

import struct

NUMBER = 0x50524F54
"""Correlation id of the question; Kafka's answer bears it."""
CLIENT = b"protonova-probe"


def kafka_question() -> bytes:
    """ApiVersions, version 0."""
    body = struct.pack(">hhih", 18, 0, NUMBER, len(CLIENT)) + CLIENT
    return struct.pack(">i", len(body)) + body


def is_answer(head: bytes) -> bool:
    """Whether the first eight bytes of an answer are those of Kafka's."""
    return head[4:8] == struct.pack(">i", NUMBER)
