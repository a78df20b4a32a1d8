"""What the hand-written encoders of our records share: strings, optional numbers, lists as Avro has them; and checks of what was read."""

from __future__ import annotations

import math
import re
import struct
from collections.abc import Callable, Mapping, Sequence
from functools import lru_cache
from typing import Any, NamedTuple

from schemas.avro.wire import PacketError
from schemas.avro.writer import compile_writer, varint

FLOAT = struct.Struct("<f").pack
TWO_FLOATS = struct.Struct("<ff").pack
PLACE_AND_TIME = struct.Struct("<ddd").pack
DOUBLE = struct.Struct("<d").pack
NULL = b"\x00"
COUNT = tuple(varint(number) for number in range(1024))
"""Lengths and small numbers, coded once."""
LONGEST_TEXT = 2048
"""Of a text in a record that was read [characters]."""
MOST_DIGESTS = 64
"""Files that a record is made of."""
_SHA256 = re.compile(r"[0-9a-f]{64}")


class ClassProbability(NamedTuple):
    """One class of a detection; see `detection.avsc`."""

    name: str
    probability: float
    prior_probability: float


class TaughtClass(NamedTuple):
    """A class taught beside the model's own."""

    name: str
    revision: int
    """Of its record; 0: the bundle holds it, learnt from labels alone."""
    examples: int


class Feature(NamedTuple):
    """One named light-curve feature."""

    name: str
    value: float


def framing(schema_id: int) -> bytes:
    """Confluent's: a zero byte and the id as four big-endian bytes."""
    return struct.pack(">bI", 0, schema_id)


def string(text: str) -> bytes:
    """A text with its length."""
    coded = text.encode()
    return length(coded) + coded


def length(coded: bytes) -> bytes:
    """How long bytes are, as Avro has it before them."""
    n = len(coded)
    return COUNT[n] if n < 1024 else varint(n)


class _Words(dict[str, bytes]):
    """Strings that come again and again, coded: class names, feature names, ids of models. Fifty a record, so no function is called."""

    def __missing__(self, text: str) -> bytes:
        coded = string(text)
        if len(self) < 4096:
            self[text] = coded
        return coded


WORD = _Words()


def optional(value: float | None) -> bytes:
    """A float, or null."""
    return NULL if value is None else b"\x02" + FLOAT(value)


def array(items: list[bytes]) -> bytes:
    """One block of items, and the end."""
    return b"".join((COUNT[n] if n < 1024 else varint(n), *items, NULL)) if (n := len(items)) else NULL


def plain(value: Any) -> Any:
    """Named tuples → dictionaries, tuples → lists, at any depth: for pyarrow, JSON and general writers of Avro."""
    if not isinstance(value, (tuple, list)):
        return value
    names = getattr(value, "_fields", None)
    if names is not None:
        return {name: plain(part) for name, part in zip(names, value, strict=True)}
    return [plain(part) for part in value]


@lru_cache(maxsize=32)
def field_writer(schema_text: str, name: str) -> Callable[[Any], bytes]:
    """Compile the writer of one field of a record: for those that are seldom filled."""
    import json

    [declared] = [field["type"] for field in json.loads(schema_text)["fields"] if field["name"] == name]
    write = compile_writer(declared)

    def coded(value: Any) -> bytes:
        out = bytearray()
        write(plain(value), out)
        return bytes(out)

    return coded


def check_texts(row: Mapping[str, Any], *names: str) -> None:
    """Refuse a text longer than any of ours."""
    for name in names:
        if len(row[name]) > LONGEST_TEXT:
            raise PacketError("bad_value", f"{name} has {len(row[name]):,} characters")


def check_counts(name: str, counts: Mapping[str, int] | Sequence[int], *, length: int | None = None) -> None:
    """Refuse a negative count, one above what any stream reaches, or a histogram of another length."""
    numbers = counts.values() if isinstance(counts, Mapping) else counts
    if length is not None and len(counts) != length:
        raise PacketError("bad_value", f"{name} has {len(counts):,} bins, not {length}")
    if any(number < 0 or number > 1 << 53 for number in numbers):
        raise PacketError("bad_value", f"{name} holds a number that is not a count")
    if isinstance(counts, Mapping) and any(len(key) > LONGEST_TEXT for key in counts):
        raise PacketError("bad_value", f"{name} has a name that is too long")


def check_items(name: str, texts: Sequence[str], *, most: int) -> None:
    """Refuse a list of more texts than ours has, or of a longer one."""
    if len(texts) > most or any(len(text) > LONGEST_TEXT for text in texts):
        raise PacketError("bad_value", f"{name} holds {len(texts):,} texts; there are {most} at most, of {LONGEST_TEXT:,} characters each")


def check_numbers(name: str, numbers: Sequence[float], *, most: int) -> None:
    """Refuse a list of more numbers than ours has, or with one that is not finite."""
    if len(numbers) > most or not all(map(math.isfinite, numbers)):
        raise PacketError("bad_value", f"{name} holds {len(numbers):,} numbers, or one that is not finite; there are {most} at most")


def check_digests(name: str, digests: Sequence[str]) -> None:
    """Refuse what is not a SHA-256 in hexadecimal digits."""
    if len(digests) > MOST_DIGESTS or any(_SHA256.fullmatch(digest) is None for digest in digests):
        raise PacketError("bad_value", f"{name}: a SHA-256 has 64 hexadecimal digits, and there are {MOST_DIGESTS} at most")


def check_file(row: Mapping[str, Any]) -> None:
    """Refuse an address, a length or a digest that no file has: the fields uri, length and sha256."""
    check_texts(row, "uri")
    check_counts("length", (row["length"],))
    check_digests("sha256", (row["sha256"],))


def check_finite(row: Mapping[str, Any], *names: str) -> None:
    """Refuse what is not a number."""
    for name in names:
        if not math.isfinite(row[name]):
            raise PacketError("bad_value", f"{name} is {row[name]}")
