"""A container of many records → a packet each, byte for byte.

in → an Avro object container as a stream
out → containers of one record: the same schema, the record's own bytes, no compression

A record's end is found by walking over the schema (`schemas.avro.machine` with nothing wanted), so that no value has to be understood and
every type is read that Avro has. Bounded: a block, a record, all that is inflated, the number of records by the bytes they take.
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import IO

import numpy as np

from schemas.avro.compression import FAULTS, inflate_block
from schemas.avro.container import single_header
from schemas.avro.machine import Scratch, fault_of, run_program
from schemas.avro.program import Want, compile_schema
from schemas.avro.wire import (
    CODECS,
    MAX_METADATA,
    MAX_PACKET,
    SYNC,
    PacketError,
    inflate,
    load_schema,
    read_header,
    read_long,
)
from schemas.avro.writer import varint

MAX_CONTAINER = 256_000_000
"""Bytes of a container of many records, and of one of its blocks when it is inflated."""
MAX_INFLATED = 16 * MAX_CONTAINER
"""Bytes of all blocks together, inflated."""
ALL_CODECS = (*CODECS, "bzip2", "xz", "zstandard")
_NOTHING = Want({}, {})


def count(data: bytes) -> int:
    """How many records a container holds by its block counts, as far as they can be read; 1 where that is nowhere."""
    total = 0
    try:
        _, _, at = read_header(data, ALL_CODECS)
        sync = data[at : at + SYNC]
        at += SYNC
        while at < len(data):
            records, at = read_long(data, at)
            size, at = read_long(data, at)
            end = at + size
            if min(size, records) < 0 or data[end : end + SYNC] != sync:
                break
            total += records
            at = end + SYNC
    except PacketError:
        pass  # the decoder says what is wrong with it
    return max(total, 1)


def split(file: IO[bytes]) -> Iterator[bytes | PacketError]:
    """Packets of a container, in order; a `PacketError` in the place of a record that is too large for a packet.

    Raises
    ------
    PacketError
        The rest cannot be read: the container is damaged, or its schema is none we walk over. What lies before was given.
    """
    source = _Source(file)
    head = source.peek(MAX_METADATA + SYNC + 64)
    codec, text, at = read_header(head, ALL_CODECS)
    program = compile_schema(load_schema(text), _NOTHING)
    source.take(at)
    sync = source.take(SYNC)
    header = single_header(text)
    scratch = Scratch(0, 0, n_arrays=0)
    inflated = 0
    while source.peek(1):
        if source.taken > MAX_CONTAINER:
            raise PacketError("too_large", f"the container has more than {MAX_CONTAINER:,} bytes")
        records, size = source.long(), source.long()
        if not 0 <= size <= MAX_CONTAINER or records < 0:
            raise PacketError("bad_avro", "a block of the container has an impossible size")
        block = source.take(size)
        if source.take(SYNC) != sync:
            raise PacketError("bad_avro", "a block does not end with the container's sync marker")
        plain = _inflate(block, codec)
        inflated += len(plain)
        if inflated > MAX_INFLATED:
            raise PacketError("too_large", f"the container inflates to more than {MAX_INFLATED:,} bytes")
        if records > len(plain):
            raise PacketError("bad_avro", f"a block of {len(plain):,} bytes says that it has {records:,} records")
        buffer = np.frombuffer(plain, np.uint8)
        start = 0
        for _ in range(records):
            end = run_program(buffer, start, len(plain), program.rows, program.aux, program.columns,
                              scratch.number, scratch.whole, scratch.table, scratch.count, scratch.state)  # fmt: skip
            if end < 0:
                raise fault_of(program, end, scratch=scratch)
            if end == start:
                raise PacketError("bad_avro", "a record of the container takes no bytes")
            yield _packet(header, plain[start:end])
            start = end
        if start != len(plain):
            raise PacketError("bad_avro", f"{len(plain) - start:,} bytes are left after the records of a block")


def _packet(header: bytes, record: bytes) -> bytes | PacketError:
    packet = b"".join((header, varint(1), varint(len(record)), record, header[-SYNC:]))
    return packet if len(packet) <= MAX_PACKET else PacketError("too_large", f"a packet has at most {MAX_PACKET:,} bytes")


def _inflate(block: bytes, codec: str) -> bytes:
    if codec == "null":
        return block
    if codec in CODECS:
        return inflate(block, codec, most=MAX_CONTAINER)[0]
    try:
        plain = inflate_block(block, codec, most=MAX_CONTAINER)
    except FAULTS as error:
        raise PacketError("bad_avro", f"the {codec} block is broken ({error})") from None
    if len(plain) > MAX_CONTAINER:
        raise PacketError("too_large", f"a block inflates to more than {MAX_CONTAINER:,} bytes")
    return plain


class _Source:
    """A stream read in exact pieces, with a look ahead."""

    def __init__(self, file: IO[bytes]) -> None:
        self._file, self._ahead = file, b""
        self.taken = 0
        """Bytes."""

    def peek(self, n: int) -> bytes:
        """The next n bytes, fewer at the end."""
        parts, have = [self._ahead], len(self._ahead)
        while have < n and (part := self._file.read(min(n - have, 1 << 20))):
            parts.append(part)
            have += len(part)
        self._ahead = b"".join(parts)
        return self._ahead[:n]

    def take(self, n: int) -> bytes:
        """Exactly n bytes."""
        found = self.peek(n)
        if len(found) < n:
            raise PacketError("truncated", "the container ends early")
        self._ahead = self._ahead[n:]
        self.taken += n
        return found

    def long(self) -> int:
        """Avro's long."""
        value, at = read_long(self.peek(10), 0)
        self.take(at)
        return value
