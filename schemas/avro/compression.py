"""Compressed bytes → what is in them, never more of it than is asked for.

gzip, bzip2, xz, zstd, lz4 as streams (`inflated`), and as one block of a container (`inflate_block`)

Whatever a stream announces is not a bound: it is inflated as it is read, and memory for its dictionary is limited.
"""

from __future__ import annotations

import bz2
import gzip
import io
import lzma
import zlib
from collections.abc import Callable
from typing import IO, Any, cast

MARKS: dict[bytes, str] = {
    b"\x1f\x8b": "gzip",
    b"BZh": "bzip2",
    b"\xfd7zXZ\x00": "xz",
    b"\x28\xb5\x2f\xfd": "zstd",
    b"\x04\x22\x4d\x18": "lz4",
}
"""The first bytes of a compressed file."""
MAX_DICTIONARY = 128 * 2**20
"""Memory that an xz stream may ask for [bytes]; ``xz -9`` needs 65 MiB."""
_CHUNK = 65_536

FAULTS = (OSError, EOFError, zlib.error, lzma.LZMAError)
"""What reading a damaged stream may raise."""


def compression(head: bytes) -> str | None:
    """How a file that begins so is compressed; None: it is not, as far as we know."""
    return next((name for mark, name in MARKS.items() if head.startswith(mark)), None)


def inflated(file: IO[bytes], kind: str) -> IO[bytes]:
    """A stream of what is in a compressed one; it raises one of `FAULTS` where it is damaged."""
    return _OPENERS[kind](file)


def inflate_block(data: bytes, codec: str, *, most: int) -> bytes:
    """A block of an Avro container, inflated to `most` + 1 bytes at most (more than `most` says that it is too large).

    Parameters
    ----------
    data : the block
    codec : of Avro's specification: bzip2, xz, zstandard
    most : bytes
    """
    kind = {"zstandard": "zstd"}.get(codec, codec)
    stream = inflated(io.BytesIO(data), kind)
    parts: list[bytes] = []
    left = most + 1
    while left and (part := stream.read(min(left, 1 << 20))):
        parts.append(part)
        left -= len(part)
    return b"".join(parts)


class _Xz(io.RawIOBase):
    """An xz stream whose memory is bounded; the library's own file object takes no such limit."""

    def __init__(self, file: IO[bytes]) -> None:
        self._file = file
        self._stream: Any = self._new()
        self._begun = False

    @staticmethod
    def _new() -> Any:
        return lzma.LZMADecompressor(lzma.FORMAT_XZ, memlimit=MAX_DICTIONARY)

    def readable(self) -> bool:
        return True

    def read(self, size: int = -1, /) -> bytes:
        if size is None or size < 0:
            return b"".join(iter(lambda: self.read(_CHUNK), b""))
        while size:
            if self._stream.eof:  # another stream may follow, after padding in fours
                rest = (self._stream.unused_data or self._file.read(_CHUNK)).lstrip(b"\0")
                if not rest:
                    return b""
                self._stream = self._new()
            else:
                rest = self._file.read(_CHUNK) if self._stream.needs_input else b""
                if not rest and self._stream.needs_input:
                    if not self._begun:
                        return b""
                    raise EOFError("the xz stream ends early")
            self._begun = True
            if data := self._stream.decompress(rest, size):
                return cast(bytes, data)
        return b""


def _arrow(kind: str) -> Callable[[IO[bytes]], IO[bytes]]:
    def opened(file: IO[bytes]) -> IO[bytes]:
        import pyarrow as pa

        return cast("IO[bytes]", pa.CompressedInputStream(pa.PythonFile(cast(Any, file), mode="r"), cast(Any, kind)))

    return opened


_OPENERS: dict[str, Callable[[IO[bytes]], IO[bytes]]] = {
    "gzip": lambda file: cast("IO[bytes]", gzip.GzipFile(fileobj=file)),
    "bzip2": lambda file: cast("IO[bytes]", bz2.BZ2File(file)),
    "xz": lambda file: cast("IO[bytes]", _Xz(file)),
    "zstd": _arrow("zstd"),
    "lz4": _arrow("lz4"),
}
