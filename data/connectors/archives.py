"""Paths in → packets out, each with where it lay; what is not a packet comes out as `Skipped`, with a reason: nothing passes in silence.

Files, folders (with all below them), tar and zip archives, parquet files of packets (a binary column of them, or one row a packet as Fink
keeps ZTF's and Rubin's alerts), Fink's JSON about an object, FITS light curves of TESS, Kepler and K2, Avro containers of many alerts, any
of these compressed (gzip, bzip2, xz, zstd, lz4), and ``-`` for stdin.
What a file is, its bytes say, not its name. Everything is read as a stream: what unpacks to more than a packet is not unpacked further.
"""

from __future__ import annotations

import io
import os
import re
import stat
import sys
import tarfile
import zipfile
from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import IO, Any, TypeAlias, cast

from data.connectors.broker_rows import MOST_BYTES, is_object, packets_of_object
from data.connectors.rows import RowError, encoder_of
from schemas.avro.compression import FAULTS, compression, inflated
from schemas.avro.splitter import MAX_CONTAINER, count, split
from schemas.avro.wire import MAX_PACKET, PacketError, sniff

_HEAD = 600
"""Bytes that show what a file is: tar's mark lies at 257."""
MAX_LAYERS = 4
"""Archives and compressions one in another: a zip of a tar.gz of .avro.gz has four."""
UNPACKED_FREELY = 1 << 30
MOST_RATIO = 200
"""Beyond `UNPACKED_FREELY` bytes: how many times as long as it was a file may become. Alerts are twice as long, light curves ten times."""
_MAX_TABLE = MAX_CONTAINER
"""Bytes of a parquet or zip file inside an archive or on stdin: those cannot be read as a stream."""
_OTHERS: tuple[tuple[bytes, str], ...] = (
    (b"\x93NUMPY", "NumPy array"),
    (b"\x89HDF", "HDF5 file"),
    (b"\x89PNG", "image"),
    (b"%PDF", "PDF"),
    (b"\x7fELF", "program"),
)
_CARD = 80
_NAXIS = re.compile(rb"NAXIS   = +[2-9]")
"""Third card of a file whose first unit is an image."""
_IMAGE_UNIT = re.compile(rb"XTENSION= 'IMAGE|ZIMAGE  = +T")
_FAULTS = ("too large", "unreadable", "damaged archive", "nested archive", "unusable light curve")
"""Kinds of what might have been packets."""


@dataclass(frozen=True, slots=True)
class Packet:
    """A packet and where it came from."""

    origin: str
    packet: bytes


@dataclass(frozen=True, slots=True)
class Skipped:
    """Something that is not a packet: what kind of thing, and why it is left out."""

    origin: str
    kind: str
    reason: str


@dataclass(frozen=True, slots=True)
class FrameFile(Skipped):
    """A FITS image: not a packet, but a raw frame for who publishes those."""

    data: bytes | None = None
    """The plain file; None: it is larger than a packet may be."""
    path: Path | None = None
    """Where it lies, gzipped or not; None: in an archive, a stream or another compression."""


Item: TypeAlias = Packet | Skipped


def packets_of(paths: Iterable[str | Path]) -> Iterator[Item]:
    """Everything under the paths, in order of name; never raises for what it finds there."""
    for path in paths:
        if str(path) == "-":
            yield from _stream("stdin", sys.stdin.buffer)
            continue
        yield from _path(Path(path))


def only_packets(paths: Iterable[str | Path]) -> Iterator[bytes]:
    """The packets under the paths; what is not one is passed over without a word, as where a folder holds its table of labels too."""
    return (item.packet for item in packets_of(paths) if isinstance(item, Packet))


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
                yield from _stream(str(path), file, path=path)
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


def _stream(origin: str, file: IO[bytes], *, path: Path | None = None, layers: int = 0) -> Iterator[Item]:
    """One open file, a member of an archive or stdin (`path` None: it cannot be read twice)."""
    try:
        head = _read(file, _HEAD)
        rest = cast("IO[bytes]", _Prefixed(head, file))
        kind = compression(head)
        tar, zipped = head[257:262] == b"ustar", head[:4] in (b"PK\x03\x04", b"PK\x05\x06")
        if (tar or zipped or kind) and layers == MAX_LAYERS:
            yield Skipped(origin, "nested archive", f"more than {MAX_LAYERS} archives and compressions one in another: unpack it first")
        elif tar:
            yield from _tar(origin, rest, layers=layers + 1)
        elif zipped:
            yield from _zip(origin, path if path is not None else _whole(rest), layers=layers + 1)
        elif kind:
            yield from _compressed(origin, kind, file=rest, layers=layers + 1, path=path)
        elif head.startswith(b"SIMPLE  ="):
            yield _fits(origin, rest, path=path)
        elif head[:4] == b"PAR1":
            yield from _table(origin, path if path is not None else _whole(rest))
        else:
            yield from _plain(origin, rest)
    except FAULTS as error:
        yield Skipped(origin, "unreadable", f"it ends early or is damaged: {error}")


def _plain(origin: str, file: IO[bytes]) -> Iterator[Item]:
    """What is neither an archive nor compressed: a packet, a container of several, or something else."""
    data = _read(file, MAX_PACKET + 1)
    large = len(data) > MAX_PACKET
    form = sniff(data)
    if form is None and is_object(data):
        yield from _object(origin, data + _read(file, MOST_BYTES + 1 - len(data)))
    elif form is None:
        yield Skipped(origin, *_what(origin, data))
    elif form == "container" and (count(data) > 1 or large):
        yield from _several(origin, cast("IO[bytes]", _Prefixed(data, file)))
    elif large:
        yield Skipped(origin, "too large", f"a packet has at most {MAX_PACKET:,} bytes")
    else:
        yield Packet(origin, data)


def _object(origin: str, data: bytes) -> Iterator[Item]:
    """Fink's JSON about an object: a packet a row."""
    if len(data) > MOST_BYTES:
        yield Skipped(origin, "too large", f"an object's JSON has at most {MOST_BYTES:,} bytes")
        return
    try:
        for k, item in enumerate(packets_of_object(data)):
            yield Skipped(f"{origin}#{k}", "unusable row", str(item)) if isinstance(item, RowError) else Packet(f"{origin}#{k}", item)
    except RowError as error:
        yield Skipped(origin, "unreadable", str(error))


def _several(origin: str, file: IO[bytes]) -> Iterator[Item]:
    """A container of many alerts becomes as many packets with the same schema."""
    k = 0
    try:
        for item in split(file):
            name = f"{origin}#{k}"
            k += 1
            yield Skipped(name, "too large", item.reason) if isinstance(item, PacketError) else Packet(name, item)
    except PacketError as error:
        kind = "too large" if error.error_class == "too_large" else "unreadable"
        yield Skipped(origin, kind, f"a container that cannot be split further, after {k:,} records: {error.reason}")


def _compressed(origin: str, kind: str, *, file: IO[bytes], layers: int, path: Path | None) -> Iterator[Item]:
    """What is in a compressed file. A thing in it that is not a packet is reported as the compressed file that it is."""
    inner = origin
    for suffix in (".gz", ".bz2", ".xz", ".zst", ".lz4"):
        inner = inner.removesuffix(suffix)
    packed = _Counted(file)
    with inflated(cast("IO[bytes]", packed), kind) as unpacked:
        stream = _Bounded(unpacked, packed=lambda: packed.count)
        for item in _stream(inner, cast("IO[bytes]", stream), layers=layers):
            if isinstance(item, Packet):
                yield Packet(origin + item.origin[len(inner) :], item.packet)
            elif isinstance(item, FrameFile):
                name, where = origin + item.origin[len(inner) :], path if kind == "gzip" and item.origin == inner else None
                yield FrameFile(name, f"{kind} file", f"inside: {item.kind}: {item.reason}", item.data, where)
            elif item.origin == inner and item.kind not in _FAULTS:
                yield Skipped(origin, f"{kind} file", f"inside: {item.kind}: {item.reason}")
            else:
                yield Skipped(origin + item.origin[len(inner) :], item.kind, item.reason)


def _tar(origin: str, file: IO[bytes], *, layers: int) -> Iterator[Item]:
    """Members of an archive, one at a time; of a member no more is read than can be used."""
    try:
        with tarfile.open(fileobj=file, mode="r|") as archive:
            for member in archive:
                name = f"{origin}!{member.name}"
                content = archive.extractfile(member) if member.isfile() else None
                if content is not None:
                    yield from _stream(name, content, layers=layers)
                elif not member.isdir():
                    yield Skipped(name, "special file", "a link or a device in an archive")
    except (tarfile.TarError, *FAULTS) as error:
        yield Skipped(origin, "damaged archive", f"it ends early or is damaged: {error}")


def _zip(origin: str, source: Any, *, layers: int) -> Iterator[Item]:
    """The same of a zip archive, which is read from its end."""
    try:
        with zipfile.ZipFile(source) as archive:
            for member in archive.infolist():
                if member.is_dir():
                    continue
                name = f"{origin}!{member.filename}"
                try:
                    with archive.open(member) as content:
                        stream = _Bounded(content, packed=partial(int, member.compress_size))
                        yield from _stream(name, cast("IO[bytes]", stream), layers=layers)
                except (zipfile.BadZipFile, RuntimeError, NotImplementedError) as error:  # damaged, encrypted, an unknown compression
                    yield Skipped(name, "unreadable", f"a member of a zip archive: {error}")
    except (zipfile.BadZipFile, ValueError) as error:
        yield Skipped(origin, "damaged archive", f"it ends early or is damaged: {error}")


def _whole(file: IO[bytes]) -> io.BytesIO:
    """What has to be read from its end, in memory and bounded: where it is longer it looks cut short."""
    return io.BytesIO(_read(file, _MAX_TABLE))


def _table(origin: str, source: Any) -> Iterator[Item]:
    """Rows of a parquet file."""
    import pyarrow as pa
    import pyarrow.parquet as pq

    try:
        table = pq.ParquetFile(source)
        binary = [f.name for f in table.schema_arrow if pa.types.is_binary(f.type) or pa.types.is_large_binary(f.type)]
        narrow = {path: bits for field in table.schema_arrow for path, bits in _floating(field.name, field.type)}
        encode = encoder_of(table.schema_arrow.names, binary, narrow=narrow)
        if encode is None:
            columns = ", ".join(table.schema_arrow.names[:4])
            yield Skipped(origin, "parquet table", f"its rows ({columns}, …) are not packets")
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


def _fits(origin: str, file: IO[bytes], *, path: Path | None) -> Item:
    """A light curve of TESS, Kepler or K2 as a packet; any other FITS file is not one, an image perhaps a frame."""
    from data.connectors.fits_headers import FitsError, TooLargeError
    from data.connectors.light_curve_files import NotALightCurve, packet_of

    data = _read(file, MAX_PACKET + 1)
    image = _NAXIS.match(data, _CARD * 2) is not None
    why: tuple[str, str]
    try:
        return Packet(origin, packet_of(cast("IO[bytes]", _Prefixed(data, file))))
    except NotALightCurve as other:
        why = other.kind, str(other)
        image |= other.kind == "FITS file" and _IMAGE_UNIT.search(data) is not None
    except TooLargeError as error:
        why = "too large", str(error)
    except FitsError as error:
        why = "unreadable", f"a damaged FITS file: {error}"
    return FrameFile(origin, *why, data if len(data) <= MAX_PACKET else None, path) if image else Skipped(origin, *why)


def _floating(path: str, kind: Any) -> Iterator[tuple[str, int]]:
    """Columns of a floating-point type and its bits, those inside structures too."""
    import pyarrow as pa

    if pa.types.is_floating(kind):
        yield path, kind.bit_width
    elif pa.types.is_struct(kind):
        for field in kind:
            yield from _floating(f"{path}.{field.name}", field.type)
    elif pa.types.is_list(kind) or pa.types.is_large_list(kind):
        yield from _floating(f"{path}[]", kind.value_type)


def _what(origin: str, data: bytes) -> tuple[str, str]:
    """Kind and reason of bytes that are not a packet."""
    if not data:
        return "empty file", "no bytes"
    for mark, kind in _OTHERS:
        if data.startswith(mark):
            return kind, "not an alert packet"
    suffix = Path(origin.split("!")[-1]).suffix.lower()
    if b"\x00" not in data[:4000]:
        kinds = {".avsc": "Avro schema", ".json": "JSON", ".csv": "CSV table", ".md": "text", ".py": "program", ".pytable": "text"}
        kind = kinds.get(suffix, "JSON" if data.lstrip()[:1] in (b"{", b"[") else "text")
        return kind, "text, not an Avro packet"
    return "unknown", "neither an Avro container nor a framed packet"


def _read(file: IO[bytes], n: int) -> bytes:
    """Up to n bytes, from pipes too, which give fewer at a time."""
    parts, left = [], n
    while left > 0 and (part := file.read(left)):
        parts.append(part)
        left -= len(part)
    return b"".join(parts)


class _Counted(io.RawIOBase):
    """A stream that knows how many bytes were read of it."""

    def __init__(self, file: IO[bytes]) -> None:
        self._file, self.count = file, 0

    def read(self, size: int = -1, /) -> bytes:
        data = self._file.read(size)
        self.count += len(data)
        return data

    def readable(self) -> bool:
        return True


class _Bounded(io.RawIOBase):
    """What is unpacked, refused where it is a bomb: a member of an archive is passed over by reading it, however long it is."""

    def __init__(self, file: IO[bytes], *, packed: Callable[[], int]) -> None:
        self._file, self._packed, self._count = file, packed, 0

    def read(self, size: int = -1, /) -> bytes:
        data = self._file.read(size)
        self._count += len(data)
        if self._count > UNPACKED_FREELY and self._count > MOST_RATIO * self._packed():
            raise OSError(f"it unpacks to more than {MOST_RATIO} times its size")
        return data

    def readable(self) -> bool:
        return True


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
