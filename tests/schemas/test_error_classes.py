"""The list of error classes is closed: whatever the code rejects with is on it, and nothing else."""

from __future__ import annotations

import re
from pathlib import Path

from schemas.avro.error_classes import ERROR_CLASSES
from schemas.avro.packet_view import bounded_view, view

ROOT = Path(__file__).parents[2]


def test_every_class_that_the_code_names_is_on_the_list() -> None:
    named: set[str] = set()
    for package in ("schemas", "pipeline", "streams", "data"):
        for path in (ROOT / package).rglob("*.py"):
            named |= set(re.findall(r"(?:PacketError|Rejected)\(\s*\"([a-z_]+)\"", path.read_text(encoding="utf-8")))
    assert named >= {"too_large", "truncated", "bad_avro"}
    assert named <= ERROR_CLASSES.keys()


def test_a_view_of_hostile_bytes_ends() -> None:
    # an array of 2**62 nulls in some hundred bytes: a general reader would never end
    schema = b'{"type":"record","name":"R","fields":[{"name":"a","type":{"type":"array","items":"null"}}]}'
    body = b"\x80\x80\x80\x80\x80\x80\x80\x80\x80\x01\x00"
    head = b"Obj\x01\x02\x16avro.schema" + bytes([len(schema) * 2 & 0x7F | 0x80, len(schema) * 2 >> 7]) + schema + b"\x00" + b"s" * 16
    packet = head + b"\x02" + bytes([2 * len(body)]) + body + b"s" * 16
    assert "stopped_at" in bounded_view(packet)


def test_a_view_has_no_control_characters() -> None:
    assert "\x1b" not in str(view(b"\x1b[2Jhello"))
