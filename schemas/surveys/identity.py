"""Which packet a packet is: the same record in another container, codec or framing is the same packet.

a record's bytes → its digest; with survey and candid the `packet_id`

The digest is 128 bits of BLAKE3 over the decompressed Avro record, without the container's header and sync marker and without the framing.
A record with a given digest cannot be made (2^128 tries); two records of one's own with the same digest take 2^64 tries.
"""

from __future__ import annotations

from typing import TypeAlias

from blake3 import blake3

from schemas.avro.wire import PacketError, read_body, read_header, sniff

Buffer: TypeAlias = bytes | bytearray | memoryview
DIGEST_BYTES = 16
MAX_HEADERS = 8
_headers: list[tuple[bytes, str]] = []
"""Headers of containers up to their sync marker, and their codec, the latest first: comparing one costs less than reading it."""


def digest(record: Buffer) -> str:
    """Of a record's bytes: 32 hexadecimal digits."""
    return blake3(record).hexdigest(DIGEST_BYTES)


def packet_id(survey: str, candid: int, *, record_digest: str) -> str:
    """The id under which every output of a packet travels."""
    return f"{survey}:{candid}:{record_digest}"


def packet_digest(packet: bytes) -> str | None:
    """The digest of a packet that is not decoded; None: no single record can be found in it.

    Needs no schema: a container's record is found by its block, a framed one begins after the framing, and bytes that are neither are
    taken as they are.
    """
    kind = sniff(packet)
    if kind == "framed":
        return digest(memoryview(packet)[5:])
    if kind is None:
        return digest(packet)
    try:
        codec, at = _header(packet)
        data, start, end = read_body(packet, at, codec=codec)
    except PacketError:
        return None
    return digest(memoryview(data)[start:end])


def _header(packet: bytes) -> tuple[str, int]:
    """A container's codec, and where its sync marker begins."""
    global _headers
    for prefix, codec in _headers:
        if packet.startswith(prefix):
            return codec, len(prefix)
    codec, _, at = read_header(packet)
    _headers = [(packet[:at], codec), *_headers][:MAX_HEADERS]
    return codec, at
