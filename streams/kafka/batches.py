"""Kafka's record batches, read with distrust: bytes of a fetch → records, and what could not be read, in order and by its offsets.

A batch is checked before it is believed: its length and place, its CRC (by the processor's instruction, a tenth of what tables cost), and
that it becomes no more than `most_bytes` when it is inflated. aiokafka's parser reads what is left; where that one stumbles, `records_of`
goes through the batch record by record, so that one bad record costs itself and none of its neighbours.

The layout is that of Kafka's protocol guide, "Record Batch".
"""

from __future__ import annotations

import struct
import zlib
from collections.abc import Iterator
from typing import Any, NamedTuple

import cramjam
import crc32c
import numpy as np
from aiokafka.record.default_records import DefaultRecordBatch

HEAD = struct.Struct(">qiibIhiqqqhii")
"""Base offset, length, leader epoch, magic, CRC, attributes, last offset's delta, first and largest timestamp, producer's id, its epoch,
base sequence, number of records."""
LENGTH_AT, REST_AT, MAGIC_AT, CRC_AT, COVERED_AT, COUNT_AT = 8, 12, 16, 17, 21, 57
"""Where the head has them; the CRC covers what is behind itself, the length counts what is behind itself."""
FORMAT = 2
"""Of all batches since Kafka 0.11."""
LEAST = 14
"""What is behind the length of a batch of any format at least [bytes]."""
CODEC, APPEND_TIME = 0x07, 0x08
"""Bits of the attributes: how the records are compressed; the broker's time stands for theirs."""
GZIP, SNAPPY, LZ4, ZSTD = 1, 2, 3, 4
XERIAL = b"\x82SNAPPY\x00"
"""How a stream of snappy blocks begins that Java's clients write; a version and a least version follow, four bytes each."""

MOST_BYTES = 64 * 2**20
"""Of a batch when it is inflated, or `MOST_RATIO` times what came where that is more [bytes]."""
MOST_RATIO = 10
GZIP_MEMBERS = 16
"""Of a gzip stream at most; producers write one."""
STEP_BYTES = 4 * 2**20
"""Of the first guess at what lz4 or zstd become [bytes]."""

CORRUPT_BATCH = "corrupt_batch"
"""Error class: the bytes of a batch are not those that were sent."""
UNREADABLE_BATCH = "unreadable_batch"
"""Error class: a batch as it was sent cannot be read: its format, its compression or its size."""
BAD_RECORD = "bad_record"
"""Error class: a record of a batch cannot be read."""


class Fault(Exception):  # noqa: N818 - also a value: what is wrong with an `Unreadable`
    """A batch cannot be read."""

    def __init__(self, error_class: str, reason: str, *, checked: bool = True) -> None:
        super().__init__(reason)
        self.error_class, self.reason = error_class, reason
        self.checked = checked
        """Whether the bytes are those that were sent, as the checksum says: to fetch them again would change nothing."""


class Unreadable(bytes):
    """What stands for records that could not be read: their raw bytes, and why.

    A record of whose parts only the value could be read is its value.
    """

    error_class: str
    reason: str
    first: int
    """Offset of the first of them."""
    records: int
    """How many."""
    is_value: bool
    """Whether the bytes are a record's value, which could be read: a packet as it was sent."""

    @classmethod
    def of(cls, raw: Any, fault: Fault, *, first: int, records: int, is_value: bool = False) -> Unreadable:
        """Make one."""
        made = cls(raw)
        made.error_class, made.reason, made.first, made.records = fault.error_class, fault.reason, first, records
        made.is_value = is_value
        return made

    @property
    def last(self) -> int:
        """Offset of the last of them."""
        return self.first + self.records - 1

    def each(self) -> Iterator[Unreadable]:
        """One for each of them; the first has the bytes."""
        fault = Fault(self.error_class, self.reason)
        for i in range(self.records):
            yield Unreadable.of(b"" if i else self, fault, first=self.first + i, records=1, is_value=self.is_value and not i)

    def since(self, offset: int) -> Unreadable:
        """Those of them from an offset on."""
        if offset <= self.first:
            return self
        return Unreadable.of(self, Fault(self.error_class, self.reason), first=offset, records=self.last - offset + 1)


class Piece(NamedTuple):
    """A batch as it lies in the bytes of a fetch; not yet checked."""

    raw: memoryview
    complete: bool
    """Whether it ends within them: the last may be cut."""


class Head(NamedTuple):
    """What the head of a batch says, believed or not."""

    base: int
    last: int
    records: int


class Record(NamedTuple):
    """A record read by `records_of`."""

    offset: int
    timestamp: int
    key: bytes | None
    value: bytes | None
    headers: tuple[tuple[str, bytes | None], ...]


def split(data: bytes) -> Iterator[Piece]:
    """The batches of a fetch.

    One whose length is none that a batch can have is given as incomplete, with all that is left.
    """
    view, at = memoryview(data), 0
    while at < len(view):
        if at + REST_AT > len(view):
            yield Piece(view[at:], False)
            return
        length = int.from_bytes(view[at + LENGTH_AT : at + REST_AT], "big", signed=True)
        end = at + REST_AT + length
        if length < LEAST or end > len(view):
            yield Piece(view[at:], False)
            return
        yield Piece(view[at:end], True)
        at = end


def head_of(raw: memoryview) -> Head | None:
    """What a batch of format 2 says of itself; None: it is too short to."""
    if len(raw) < HEAD.size:
        return None
    fields = HEAD.unpack_from(raw)
    return Head(fields[0], fields[0] + fields[6], fields[12])


def opened(raw: memoryview) -> Any:
    """The batch, as aiokafka reads it, of a complete piece, its CRC right and its records plain.

    Raises
    ------
    Fault
        It cannot be read.
    """
    magic = raw[MAGIC_AT]
    if magic != FORMAT:
        what = "as brokers wrote before 2017" if magic < FORMAT else "of which nothing is known"
        raise Fault(UNREADABLE_BATCH, f"a batch of format {magic}, {what}", checked=False)
    if len(raw) < HEAD.size:
        raise Fault(CORRUPT_BATCH, f"a batch of {len(raw)} bytes, less than its head", checked=False)
    if crc32c.crc32c(raw[COVERED_AT:]) != int.from_bytes(raw[CRC_AT:COVERED_AT], "big"):
        raise Fault(CORRUPT_BATCH, f"a batch of {len(raw):,} bytes does not have its checksum", checked=False)
    codec = codec_of(raw)
    return DefaultRecordBatch(plain(raw, codec) if codec else raw)


def codec_of(raw: memoryview) -> int:
    """How the records of a batch of format 2 are compressed; 0: they are not."""
    return int.from_bytes(raw[COVERED_AT : COVERED_AT + 2], "big") & CODEC


def plain(raw: memoryview, codec: int) -> bytes:
    """A batch with its records inflated, within bounds.

    Raises
    ------
    Fault
        They are damaged, or more than a batch may be.
    """
    packed = raw[HEAD.size :]
    bound = max(MOST_BYTES, MOST_RATIO * len(packed))
    try:
        records = _INFLATE[codec](packed, bound)
    except KeyError:
        raise Fault(UNREADABLE_BATCH, f"a batch compressed by a way unknown to Kafka ({codec})") from None
    except _TooLargeError:
        raise Fault(UNREADABLE_BATCH, f"{len(packed):,} bytes of records become more than {bound:,}") from None
    except Exception as error:
        raise Fault(UNREADABLE_BATCH, f"records that cannot be inflated ({_NAMES[codec]}): {error}") from error
    fields = list(HEAD.unpack_from(raw))
    fields[1], fields[5] = HEAD.size - REST_AT + len(records), fields[5] & ~CODEC
    return b"".join((HEAD.pack(*fields), records))


class _TooLargeError(Exception):
    pass


def _gzip(packed: memoryview, bound: int) -> bytes:
    out: list[bytes] = []
    left: int = bound
    data: Any = packed
    while data:
        if len(out) == GZIP_MEMBERS:
            raise ValueError(f"more than {GZIP_MEMBERS} members")
        inflater = zlib.decompressobj(31)
        out.append(inflater.decompress(data, left + 1))
        left -= len(out[-1])
        if left < 0:
            raise _TooLargeError
        if not inflater.eof:
            raise ValueError("it ends too early")
        data = inflater.unused_data
    return b"".join(out)


def _snappy(packed: memoryview, bound: int) -> bytes:
    blocks = []
    if packed[: len(XERIAL)] == XERIAL:
        at = 16
        while at < len(packed):
            end = at + 4 + int.from_bytes(packed[at : at + 4], "big", signed=True)
            if not at + 4 < end <= len(packed):
                raise ValueError("a block that does not end within it")
            blocks.append(packed[at + 4 : end])
            at = end
    else:
        blocks.append(packed)
    if sum(cramjam.snappy.decompress_raw_len(block) for block in blocks) > bound:
        raise _TooLargeError
    return b"".join(bytes(cramjam.snappy.decompress_raw(block)) for block in blocks)


def _into(inflate: Any) -> Any:
    """Inflate by a function that fills an array, and fails where there is more than fits."""

    def run(packed: memoryview, bound: int) -> bytes:
        room = max(STEP_BYTES, 4 * len(packed))
        while True:
            room = min(room, bound + 1)
            out = np.empty(room, np.uint8)  # not written, so of a large one only what is filled takes memory
            try:
                n = inflate(packed, out)
            except Exception as error:
                # What fails for want of room and what fails for damage look alike: more room decides.
                if room <= bound and "whole buffer" in str(error):
                    room *= 4
                    continue
                if "whole buffer" in str(error):
                    raise _TooLargeError from None
                raise
            if n > bound:
                raise _TooLargeError
            return out[:n].tobytes()

    return run


_INFLATE = {GZIP: _gzip, SNAPPY: _snappy, LZ4: _into(cramjam.lz4.decompress_into), ZSTD: _into(cramjam.zstd.decompress_into)}
_NAMES = {GZIP: "gzip", SNAPPY: "snappy", LZ4: "lz4", ZSTD: "zstd"}


def records_of(batch: bytes | memoryview) -> Iterator[Record | Unreadable]:
    """The records of a plain batch one by one, each within its own length; what cannot be read stands in its place.

    Parameters
    ----------
    batch : bytes
        Of format 2, its records not compressed and its CRC right.
    """
    base, _, _, _, _, attributes, delta, first_ms, largest_ms, _, _, _, count = HEAD.unpack_from(batch)
    data, at, due, last = memoryview(batch), HEAD.size, base, base + delta
    dense = count == delta + 1  # no record was taken out by compaction: each has its own offset
    for _ in range(max(0, count)):
        if due > last:
            return
        try:
            length, begin = _varint(data, at)
        except (ValueError, IndexError):
            length, begin = -1, at
        end = begin + length
        if length < 0 or end > len(data):
            break
        record = _record(data[begin:end], base, due=due, last=due if dense else last)
        if isinstance(record, Unreadable):
            yield record
            due += 1
        else:
            offset, ms, key, value, headers = record
            yield Record(offset, largest_ms if attributes & APPEND_TIME else first_ms + ms, key, value, headers)
            due = offset + 1
        at = end
    if due <= last:
        fault = Fault(BAD_RECORD, "the lengths of a batch's records do not add up: what is behind this offset cannot be separated")
        yield Unreadable.of(data[at:], fault, first=due, records=last - due + 1)


def _record(data: memoryview, base: int, *, due: int, last: int) -> Record | Unreadable:
    """A record, of an offset from `due` to `last`; its timestamp is the difference to the batch's first."""
    value: bytes | None = None
    offset = due
    try:
        ms, at = _varint(data, 1)
        delta, at = _varint(data, at)
        offset = base + delta
        if not due <= offset <= last:
            offset = due
            raise ValueError(f"its offset is {base + delta}, where {due} is due")
        key, at = _bytes(data, at)
        value, at = _bytes(data, at)
        count, at = _varint(data, at)
        if count < 0:
            raise ValueError(f"it has {count} headers")
        headers = []
        for _ in range(count):
            name, at = _bytes(data, at)
            content, at = _bytes(data, at)
            if name is None:
                raise ValueError("a header without a name")
            try:
                headers.append((name.decode(), content))
            except UnicodeDecodeError:
                raise ValueError(f"the header name {name[:40]!r} is not UTF-8") from None
        if at != len(data):
            raise ValueError(f"{len(data) - at} bytes are left over")
    except (ValueError, IndexError) as error:
        fault = Fault(BAD_RECORD, f"a record that cannot be read: {error or 'it ends too early'}")
        return Unreadable.of(data if value is None else value, fault, first=offset, records=1, is_value=value is not None)
    return Record(offset, ms, key, value, tuple(headers))


def _varint(data: memoryview, at: int) -> tuple[int, int]:
    """A number as Kafka writes it (zigzag, seven bits a byte, 64 at most), and where it ends."""
    shift = number = 0
    while True:
        byte = data[at]
        at += 1
        number |= (byte & 0x7F) << shift
        if byte < 0x80:
            return (number >> 1) ^ -(number & 1), at
        shift += 7
        if shift > 63:
            raise ValueError("a number of more than ten bytes")


def _bytes(data: memoryview, at: int) -> tuple[bytes | None, int]:
    """Bytes with their length before them; a negative length is none."""
    length, at = _varint(data, at)
    if length < 0:
        return None, at
    if at + length > len(data):
        raise ValueError(f"{length} bytes are said to follow, and {len(data) - at} do")
    return bytes(data[at : at + length]), at + length
