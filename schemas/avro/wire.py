"""From bytes to one Avro body and its writer schema, without trusting a byte.

in → a packet: an Avro object container, or Confluent framing
out → where the body lies, inflated with a bound, and the schema it was written with; or a `PacketError`

A container carries its own schema and says nothing of its inflated size, so everything is bounded: the packet, the header, the number of
blocks, the inflated body. Containers whose codec is null, deflate or snappy are read (some archives are written with snappy).
"""

from __future__ import annotations

import json
import zlib
from collections.abc import Sequence
from typing import Any, Literal

import cramjam

MAX_PACKET = 8_000_000
"""Bytes of a packet, and of its inflated body."""
MAX_METADATA = 1_000_000
"""Bytes of a container's header; the largest schema in the data has 70 kB."""
MAX_ENTRIES = 64
MAX_BLOCKS = 16
MAGIC = b"Obj\x01"
SYNC = 16
CODECS = ("null", "deflate", "snappy")


class PacketError(ValueError):
    """One packet's fault; the packet goes to the rejected ones with it.

    Parameters
    ----------
    error_class : short name to count by: too_large, truncated, bad_avro, recursive_schema, unknown_codec, bad_schema_id, unknown_survey,
        wrong_type, bad_value, not_avro, many_records
    reason : one sentence a person can act on
    survey : ztf, lsst, tess or frames, where that much could be read
    """

    def __init__(self, error_class: str, reason: str, *, survey: str | None = None) -> None:
        # names out of a packet may be in it: what is not text to a terminal or a header is taken out
        self.reason = "".join(c if c.isprintable() else "?" for c in reason[:500])
        self.error_class = error_class
        self.survey = survey
        super().__init__(self.reason)


def sniff(packet: bytes) -> Literal["container", "framed"] | None:
    """What the first bytes say: "container" (Obj 1), "framed" (0x00 and a schema id), or None."""
    if packet[:4] == MAGIC:
        return "container"
    if len(packet) > 5 and packet[0] == 0:
        return "framed"
    return None


def read_long(data: bytes, at: int) -> tuple[int, int]:
    """Avro's zig-zag long: its value and where the next byte lies."""
    value = shift = 0
    while True:
        if at >= len(data):
            raise PacketError("truncated", "the packet ends inside a number")
        byte = data[at]
        at += 1
        value |= (byte & 0x7F) << shift
        if byte < 0x80:
            break
        shift += 7
        if shift > 63:
            raise PacketError("bad_avro", "a number has more than ten bytes")
    if value >= 1 << 64:
        raise PacketError("bad_avro", "a number has more than 64 bits")
    return (value >> 1) ^ -(value & 1), at


def read_header(packet: bytes, codecs: Sequence[str] = CODECS) -> tuple[str, bytes, int]:
    """A container's codec (one of `codecs`), the bytes of its schema, and where its sync marker begins."""
    at, entries = 4, 0
    metadata: dict[bytes, bytes] = {}
    while True:
        count, at = read_long(packet, at)
        if count == 0:
            break
        if count < 0:  # a block that also says its size
            count = -count
            _, at = read_long(packet, at)
        entries += count
        if entries > MAX_ENTRIES:
            raise PacketError("bad_avro", f"the container's header has more than {MAX_ENTRIES} entries")
        for _ in range(count):
            key, at = _read_bytes(packet, at)
            value, at = _read_bytes(packet, at)
            metadata[key] = value
        if at > MAX_METADATA:
            raise PacketError("too_large", f"the container's header is longer than {MAX_METADATA:,} bytes")
    if at + SYNC > len(packet):
        raise PacketError("truncated", "the packet ends inside the container's header")
    if b"avro.schema" not in metadata:
        raise PacketError("bad_avro", "the container's header has no avro.schema")
    codec = metadata.get(b"avro.codec", b"null").decode("ascii", "replace") or "null"
    if codec not in codecs:
        raise PacketError("unknown_codec", f"the container is compressed with {codec[:40]!r}; {', '.join(codecs)} are read")
    return codec, metadata[b"avro.schema"], at


def read_body(packet: bytes, at: int, *, codec: str, most: int = MAX_PACKET) -> tuple[bytes, int, int]:
    """The one record of a container.

    Parameters
    ----------
    packet : the whole container
    at : where the sync marker of the header begins
    codec : one of `CODECS`
    most : bytes that the record may inflate to

    Returns
    -------
    data, start, end : the record is ``data[start:end]``; with the null codec data is the packet itself, so that nothing is copied
    """
    sync = packet[at : at + SYNC]
    at += SYNC
    found: tuple[bytes, int, int] | None = None
    for _ in range(MAX_BLOCKS):
        if at == len(packet):
            break
        count, at = read_long(packet, at)
        size, at = read_long(packet, at)
        if size < 0 or count < 0:
            raise PacketError("bad_avro", "a block of the container has a negative size")
        end = at + size
        if end + SYNC > len(packet):
            raise PacketError("truncated", f"the packet ends inside a block: {len(packet):,} bytes, {end + SYNC:,} announced")
        if packet[end : end + SYNC] != sync:
            raise PacketError("bad_avro", "a block does not end with the container's sync marker")
        if count > 1 or (count and found):
            raise PacketError("many_records", "the container holds more than one record; a packet is one alert")
        if count:
            found = (packet, at, end) if codec == "null" else inflate(packet[at:end], codec, most=most)
        at = end + SYNC
    else:
        if at != len(packet):
            raise PacketError("bad_avro", f"the container has more than {MAX_BLOCKS} blocks")
    if found is None:
        raise PacketError("truncated" if at == len(packet) else "bad_avro", "the container holds no record")
    return found


def inflate(data: bytes, codec: str, *, most: int = MAX_PACKET) -> tuple[bytes, int, int]:
    """One block, inflated; never to more than `most` bytes."""
    too_large = PacketError("too_large", f"the record inflates to more than {most:,} bytes")
    if codec == "deflate":
        stream = zlib.decompressobj(-15)
        try:
            plain = stream.decompress(data, most + 1)
        except zlib.error as error:
            raise PacketError("bad_avro", f"the deflate block is broken ({error})") from None
        if len(plain) > most:
            raise too_large
        if not stream.eof:
            raise PacketError("truncated", "the deflate block ends early")
        return plain, 0, len(plain)
    if len(data) < 5:
        raise PacketError("truncated", "the snappy block is shorter than its checksum")
    body, checksum = data[:-4], int.from_bytes(data[-4:], "big")
    try:
        if cramjam.snappy.decompress_raw_len(body) > most:  # read before anything is allocated
            raise too_large
        plain = bytes(cramjam.snappy.decompress_raw(body))
    except cramjam.DecompressionError as error:
        raise PacketError("bad_avro", f"the snappy block is broken ({error})") from None
    if zlib.crc32(plain) != checksum:
        raise PacketError("bad_avro", "the snappy block's checksum is wrong")
    return plain, 0, len(plain)


def load_schema(text: bytes | str) -> Any:
    """A schema's JSON, or a `PacketError`."""
    try:
        return json.loads(text)
    except (ValueError, RecursionError):
        raise PacketError("bad_avro", "the writer schema is not valid JSON") from None


def _read_bytes(packet: bytes, at: int) -> tuple[bytes, int]:
    size, at = read_long(packet, at)
    if size < 0 or size > MAX_METADATA:
        raise PacketError("bad_avro", "an entry of the container's header has an impossible size")
    if at + size > len(packet):
        raise PacketError("truncated", "the packet ends inside the container's header")
    return packet[at : at + size], at + size
