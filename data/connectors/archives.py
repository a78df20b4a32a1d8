"""Paths in → packets out, each with where it lay; what is no packet comes out as `Skipped`, with a reason: nothing passes in silence.

Files, folders (with all below them), tar archives (plain or compressed, read as a stream), parquet files of packets (a binary column
of them, or one row a packet as Fink keeps ZTF's and Rubin's alerts) and ``-`` for stdin. What a file is, its bytes say, not its name.
"""

from __future__ import annotations

import io
import os
import stat
import sys
import tarfile
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import IO, Any, TypeAlias, cast

import fastavro

from data.connectors.rows import RowError, encoder_of
from schemas.avro.container import Container
from schemas.avro.wire import MAX_PACKET, SYNC, PacketError, read_header, read_long, sniff

_HEAD = 600
"""Bytes that tell what a file is: tar's mark lies at 257."""
_MAX_TABLE = 256_000_000
"""Bytes of a parquet file inside an archive or on stdin: those cannot be read as a stream."""
_COMPRESSED = {b"\x1f\x8b": "gzip", b"BZh": "bzip2", b"\xfd7zXZ\x00": "xz"}
_OTHERS: tuple[tuple[bytes, str], ...] = (
    (b"\x93NUMPY", "NumPy array"),
    (b"\x89HDF", "HDF5 file"),
    (b"SIMPLE  =", "FITS file"),
    (b"PK\x03\x04", "zip archive"),
    (b"\x28\xb5\x2f\xfd", "zstd file"),
    (b"\x89PNG", "image"),
    (b"%PDF", "PDF"),
    (b"\x7fELF", "program"),
)


@dataclass(frozen=True, slots=True)
class Packet:
    """A packet and where it came from."""

    origin: str
    packet: bytes


@dataclass(frozen=True, slots=True)
class Skipped:
    """Something that is no packet: what kind of thing, and why it is left out."""

    origin: str
    kind: str
    reason: str


Item: TypeAlias = Packet | Skipped


def packets_of(paths: Iterable[str | Path]) -> Iterator[Item]:
    """Everything under the paths, in order of name; never raises for what it finds there."""
    for path in paths:
        if str(path) == "-":
            yield from _stream("stdin", sys.stdin.buffer)
            continue
        yield from _path(Path(path))


def _path(path: Path) -> Iterator[Item]:
    try:
        mode = path.stat().st_mode
        if stat.S_ISDIR(mode):
            names = sorted(os.listdir(path))
        elif not stat.S_ISREG(mode):
            yield Skipped(str(path), "special file", "neither a file nor a folder")
            return
        else:
            with path.open("rb") as file:
                yield from _stream(str(path), file, path)
            return
    except OSError as error:
        kind = "missing" if isinstance(error, FileNotFoundError) else "unreadable"
        yield Skipped(str(path), kind, error.strerror or str(error))
        return
    for name in names:
        below = path / name
        if below.is_symlink() and below.is_dir():
            yield Skipped(str(below), "link to a folder", "not followed, it may lead in a circle")
        else:
            yield from _path(below)


def _stream(origin: str, file: IO[bytes], path: Path | None = None) -> Iterator[Item]:
    """One open file, or stdin (`path` None: it cannot be read twice)."""
    try:
        head = _read(file, _HEAD)
        rest = cast("IO[bytes]", _Prefixed(head, file))
        if head[257:262] == b"ustar" or _compression(head):
            yield from _tar(origin, rest, head)
        elif head[:4] == b"PAR1":
            source: Any = path if path is not None else io.BytesIO(_read(rest, _MAX_TABLE + 1))
            yield from _table(origin, source)
        else:
            data = _read(rest, MAX_PACKET + 1)
            if len(data) > MAX_PACKET and sniff(data) == "container":  # perhaps many alerts
                data += _read(rest, _MAX_TABLE)
            yield from _one(origin, data)
    except (OSError, EOFError) as error:
        yield Skipped(origin, "unreadable", str(error))


def _one(origin: str, data: bytes) -> Iterator[Item]:
    """The bytes of one file: a packet, a container of several, or something else."""
    form = sniff(data)
    if form is None:
        yield Skipped(origin, *_what(origin, data))
    elif form == "container" and _records(data) > 1:
        yield from _several(origin, data)
    elif len(data) > MAX_PACKET:
        yield Skipped(origin, "too large", f"a packet has at most {MAX_PACKET:,} bytes")
    else:
        yield Packet(origin, data)


def _several(origin: str, data: bytes) -> Iterator[Item]:
    """A container of many alerts becomes as many packets with the same schema."""
    try:
        reader = fastavro.reader(io.BytesIO(data))
        container = Container(reader.writer_schema)
        for k, record in enumerate(reader):
            yield Packet(f"{origin}#{k}", container.encode(record))  # type: ignore[arg-type]
    except Exception as error:
        yield Skipped(origin, "unreadable", f"a container of several records, which cannot be split: {error}")


def _records(data: bytes) -> int:
    """How many records a container holds by its block counts; 1 where it cannot be told (the decoder says what is wrong with it)."""
    try:
        _, _, at = read_header(data)
        sync = data[at : at + SYNC]
        at += SYNC
        total = 0
        while at < len(data):
            count, at = read_long(data, at)
            size, at = read_long(data, at)
            end = at + size
            if min(size, count) < 0 or data[end : end + SYNC] != sync:
                return 1
            total += count
            at = end + SYNC
        return max(total, 1)
    except (PacketError, IndexError):
        return 1


def _tar(origin: str, file: IO[bytes], head: bytes) -> Iterator[Item]:
    """Members of an archive, one at a time; a member larger than a packet is not even read."""
    found = False
    try:
        with tarfile.open(fileobj=file, mode="r|*") as archive:
            for member in archive:
                found = True
                name = f"{origin}!{member.name}"
                if not member.isfile():
                    if not member.isdir():
                        yield Skipped(name, "special file", "a link or a device in an archive")
                    continue
                content = archive.extractfile(member)
                first = _read(content, 4) if content is not None else b""
                table = first == b"PAR1"
                if content is None or member.size > (_MAX_TABLE if table else MAX_PACKET):
                    yield Skipped(name, "too large", f"{member.size:,} bytes in an archive")
                elif table:
                    yield from _table(name, io.BytesIO(first + content.read()))
                else:
                    yield from _one(name, first + content.read())
    except (tarfile.TarError, EOFError, OSError) as error:
        if found or not _compression(head):
            yield Skipped(origin, "damaged archive", f"it ends early or is damaged: {error}")
        else:
            yield Skipped(origin, f"{_compression(head)} file", "compressed, but no tar archive: unpack it first")


def _table(origin: str, source: Any) -> Iterator[Item]:
    """Rows of a parquet file."""
    import pyarrow as pa
    import pyarrow.parquet as pq

    try:
        table = pq.ParquetFile(source)
        binary = [f.name for f in table.schema_arrow if pa.types.is_binary(f.type) or pa.types.is_large_binary(f.type)]
        encode = encoder_of(table.schema_arrow.names, binary)
        if encode is None:
            columns = ", ".join(table.schema_arrow.names[:4])
            yield Skipped(origin, "parquet table", f"its rows ({columns}, …) are no packets")
            return
        row = 0
        for batch in table.iter_batches(batch_size=32):
            for record in batch.to_pylist():
                name = f"{origin}#{row}"
                row += 1
                try:
                    yield Packet(name, encode(record))
                except RowError as error:
                    yield Skipped(name, "unusable row", str(error))
    except (pa.ArrowException, OSError) as error:
        yield Skipped(origin, "unreadable", f"a damaged parquet file: {error}")


def _what(origin: str, data: bytes) -> tuple[str, str]:
    """Kind and reason of bytes that are no packet."""
    if not data:
        return "empty file", "no bytes"
    for mark, kind in _OTHERS:
        if data.startswith(mark):
            return kind, "no alert packet"
    suffix = Path(origin.split("!")[-1]).suffix.lower()
    if b"\x00" not in data[:4000]:
        kinds = {".avsc": "Avro schema", ".json": "JSON", ".csv": "CSV table", ".md": "text", ".py": "program", ".pytable": "text"}
        kind = kinds.get(suffix, "JSON" if data.lstrip()[:1] in (b"{", b"[") else "text")
        return kind, "text, no Avro packet"
    return "unknown", "neither an Avro container nor a framed packet"


def _compression(head: bytes) -> str | None:
    return next((name for mark, name in _COMPRESSED.items() if head.startswith(mark)), None)


def _read(file: IO[bytes], n: int) -> bytes:
    """Up to n bytes, from pipes too, which give fewer at a time."""
    parts, left = [], n
    while left > 0 and (part := file.read(left)):
        parts.append(part)
        left -= len(part)
    return b"".join(parts)


class _Prefixed(io.RawIOBase):
    """A stream with its first bytes, which were read to look at them, put back."""

    def __init__(self, head: bytes, file: IO[bytes]) -> None:
        self._head, self._file = head, file

    def read(self, size: int = -1, /) -> bytes:
        if size is None or size < 0:
            data, self._head = self._head + self._file.read(), b""
            return data
        data, self._head = self._head[:size], self._head[size:]
        return data if data else self._file.read(size)

    def readable(self) -> bool:
        return True
