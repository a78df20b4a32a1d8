"""A request's body → its bytes without the content coding, and the packets in it; everything bounded before it is made."""

from __future__ import annotations

import io
from collections.abc import Iterator

from errors import ProtonovaError
from schemas.avro.compression import inflated
from schemas.avro.splitter import count, split
from schemas.avro.wire import SYNC, PacketError, read_header, read_long, sniff

CODINGS = {"gzip": "gzip", "x-gzip": "gzip", "zstd": "zstd", "identity": ""}
"""Content codings that are read, by their names in HTTP."""
PACKETS = "application/vnd.protonova.packets"
"""Media type of packets one after the other, each behind its length as four big-endian bytes."""
LENGTH = 4
MOST_PACKETS = 1_000
"""Packets of one request."""
_PIECE = 1 << 20


class CodingError(ProtonovaError):
    """The content coding is not one that is read."""


class TooLargeError(ProtonovaError):
    """What is in the body is larger than what is read."""


class ManyError(ProtonovaError):
    """The body holds more packets than a request may."""


def uncoded(body: bytes, coding: str, *, most: int) -> bytes:
    """The body without its content coding, inflated no further than one byte beyond `most`.

    Parameters
    ----------
    body : bytes
    coding : str
        The header Content-Encoding: one of `CODINGS`; one layer.
    most : int
        [bytes]

    Raises
    ------
    CodingError, TooLargeError
    OSError, EOFError, zlib.error
        The data are damaged.
    """
    kind = CODINGS.get(coding.strip().lower())
    if kind is None:
        raise CodingError(f"{coding[:40]!r} is not a content coding that is read; gzip and zstd are")
    if not kind:
        return body
    stream = inflated(io.BytesIO(body), kind)
    parts: list[bytes] = []
    left = most + 1
    while left and (part := stream.read(min(left, _PIECE))):
        parts.append(part)
        left -= len(part)
    if not left:
        raise TooLargeError
    return b"".join(parts)


def packets_in(body: bytes, media_type: str) -> list[bytes | PacketError]:
    """The packets of a body: one packet, a container of many, or many behind their lengths.

    Parameters
    ----------
    body : bytes
    media_type : str
        `PACKETS`, or any other for one packet or container.

    Raises
    ------
    ManyError
        More than `MOST_PACKETS`.
    PacketError
        The body as a whole cannot be taken apart.
    """
    found: list[bytes | PacketError] = []
    for packet in _each(body, media_type):
        found.append(packet)
        if len(found) > MOST_PACKETS:
            raise ManyError(f"a request has {MOST_PACKETS:,} packets at most")
    return found


def _each(body: bytes, media_type: str) -> Iterator[bytes | PacketError]:
    if media_type == PACKETS:
        at = 0
        while at < len(body):
            if at + LENGTH > len(body):
                raise PacketError("truncated", "the body ends inside a packet's length")
            size = int.from_bytes(body[at : at + LENGTH], "big")
            at += LENGTH
            if at + size > len(body):
                raise PacketError("truncated", f"the body ends inside a packet of {size:,} bytes")
            yield body[at : at + size]
            at += size
    elif sniff(body) == "container" and not _is_single(body) and count(body) > 1:
        yield from split(io.BytesIO(body))
    else:
        yield body


_headers: list[bytes] = []
"""Headers of containers without their sync markers, the latest first: comparing one costs less than reading it."""
MOST_HEADERS = 8


def _is_single(body: bytes) -> bool:
    """Whether a container is of one block of one record, as surveys send them; False where its header was not seen before or is damaged."""
    global _headers
    known = next((header for header in _headers if body.startswith(header)), None)
    try:
        if known is None:
            _, _, at = read_header(body)
            known = body[:at]
            _headers = [known, *_headers][:MOST_HEADERS]
        records, at = read_long(body, len(known) + SYNC)
        size, at = read_long(body, at)
    except PacketError:
        return False
    return records == 1 and at + size + SYNC == len(body)
