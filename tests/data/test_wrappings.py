"""Packets that lie compressed or in archives come out with their bytes unchanged; nothing is unpacked beyond its bound."""

from __future__ import annotations

import bz2
import gzip
import io
import lzma
import tarfile
import tracemalloc
import zipfile
import zlib
from collections.abc import Callable
from pathlib import Path

import fastavro
import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from data.connectors.archives import MAX_LAYERS, Item, Packet, Skipped, packets_of
from data.simulate.night import night
from schemas.avro.compression import FAULTS, inflated
from schemas.avro.wire import MAX_PACKET


def stored_zip(name: str, data: bytes) -> bytes:
    out = io.BytesIO()
    with zipfile.ZipFile(out, "w", zipfile.ZIP_DEFLATED) as archive:
        archive.writestr(name, data)
    return out.getvalue()


def tar_of(name: str, data: bytes) -> bytes:
    out = io.BytesIO()
    with tarfile.open(fileobj=out, mode="w") as archive:
        info = tarfile.TarInfo(name)
        info.size = len(data)
        archive.addfile(info, io.BytesIO(data))
    return out.getvalue()


COMPRESSED: dict[str, Callable[[bytes], bytes]] = {
    "gz": gzip.compress,
    "bz2": bz2.compress,
    "xz": lzma.compress,
    "zst": lambda data: pa.compress(data, codec="zstd", asbytes=True),
    "lz4": lambda data: pa.compress(data, codec="lz4", asbytes=True),
}
WRAPPED = {**COMPRESSED, "zip": lambda data: stored_zip("inner.avro", data), "tar": lambda data: tar_of("inner.avro", data)}


@pytest.fixture(scope="module")
def packets() -> list[bytes]:
    return [packet for packet, _ in night(9, 3, duplicates=0, broken=0)]


def read(folder: Path, name: str, data: bytes) -> list[Item]:
    (folder / name).write_bytes(data)
    return list(packets_of([folder / name]))


def bytes_of(items: list[Item]) -> list[bytes]:
    assert not [item for item in items if isinstance(item, Skipped)], items
    return [item.packet for item in items if isinstance(item, Packet)]


@pytest.mark.parametrize("suffix", COMPRESSED)
def test_a_compressed_packet_is_the_packet(suffix: str, packets: list[bytes], tmp_path: Path) -> None:
    items = read(tmp_path, f"alert.avro.{suffix}", COMPRESSED[suffix](packets[0]))
    assert items == [Packet(str(tmp_path / f"alert.avro.{suffix}"), packets[0])]


@pytest.mark.parametrize("outer", WRAPPED)
@pytest.mark.parametrize("inner", WRAPPED)
def test_one_wrapping_in_another(outer: str, inner: str, packets: list[bytes], tmp_path: Path) -> None:
    data = WRAPPED[outer](WRAPPED[inner](packets[1]))
    assert bytes_of(read(tmp_path, "a", data)) == [packets[1]]


def test_concatenated_streams_are_one_file(packets: list[bytes], tmp_path: Path) -> None:
    half = len(packets[0]) // 2
    for suffix in ("gz", "bz2", "xz", "zst"):
        data = COMPRESSED[suffix](packets[0][:half]) + COMPRESSED[suffix](packets[0][half:])
        assert bytes_of(read(tmp_path, f"a.{suffix}", data)) == [packets[0]], suffix


def test_where_it_lay_is_reported(packets: list[bytes], tmp_path: Path) -> None:
    rows = [next(fastavro.reader(io.BytesIO(packet))) for packet in packets]
    out = io.BytesIO()
    fastavro.writer(out, fastavro.reader(io.BytesIO(packets[0])).writer_schema, rows, codec="deflate")  # type: ignore[arg-type]
    archive = io.BytesIO()
    with tarfile.open(fileobj=archive, mode="w") as tar:
        for name, data in (
            ("n/many.avro.gz", gzip.compress(out.getvalue())),
            ("one.avro", packets[0]),
            ("read.me.gz", gzip.compress(b"hi")),
        ):
            info = tarfile.TarInfo(name)
            info.size = len(data)
            tar.addfile(info, io.BytesIO(data))
    items = read(tmp_path, "night.tar.xz", lzma.compress(archive.getvalue()))
    top = tmp_path / "night.tar.xz"
    many = f"{top}!n/many.avro.gz"
    assert [item.origin for item in items] == [f"{many}#0", f"{many}#1", f"{many}#2", f"{top}!one.avro", f"{top}!read.me.gz"]
    assert isinstance(items[-1], Skipped)
    assert items[-1].kind == "gzip file"


def test_a_table_in_a_compressed_file(packets: list[bytes], tmp_path: Path) -> None:
    out = io.BytesIO()
    pq.write_table(pa.table({"value": packets}), out)
    assert bytes_of(read(tmp_path, "t.parquet.zst", COMPRESSED["zst"](out.getvalue()))) == packets


def test_wrappings_have_an_end(packets: list[bytes], tmp_path: Path) -> None:
    data = packets[0]
    for _ in range(MAX_LAYERS):
        data = gzip.compress(data)
    assert bytes_of(read(tmp_path, "deep", data)) == [packets[0]]
    (item,) = read(tmp_path, "deeper", gzip.compress(data))
    assert isinstance(item, Skipped)
    assert item.kind == "nested archive"


@pytest.mark.parametrize("suffix", [*COMPRESSED, "zip"])
@pytest.mark.parametrize("start", [b"Obj\x01", b"\0\0\0\x03\x84", b"any"], ids=["container", "framed", "other"])
def test_a_bomb_is_not_unpacked(suffix: str, start: bytes, tmp_path: Path) -> None:
    bomb = WRAPPED[suffix](start + bytes(150_000_000))
    tracemalloc.start()
    items = read(tmp_path, "bomb", bomb)
    assert tracemalloc.get_traced_memory()[1] < 8 * MAX_PACKET
    tracemalloc.stop()
    assert [type(item) for item in items] == [Skipped]


def test_a_stream_that_asks_for_gigabytes_of_memory_is_refused(packets: list[bytes], tmp_path: Path) -> None:
    data = bytearray(lzma.compress(packets[0]))
    header = data[12 : 12 + 4 * (data[12] + 1)]  # the block's header: size, flags, filter, its size, its dictionary's
    assert bytes(header[2:4]) == b"\x21\x01"
    header[4] = 40  # 4 GiB
    header[-4:] = zlib.crc32(bytes(header[:-4])).to_bytes(4, "little")
    data[12 : 12 + len(header)] = header
    (item,) = read(tmp_path, "a.xz", bytes(data))
    assert isinstance(item, Skipped)
    assert item.kind == "unreadable"


@pytest.mark.parametrize("suffix", WRAPPED)
@pytest.mark.parametrize("keep", [0.03, 0.5, 0.99])
def test_a_file_cut_short_is_a_line_or_what_was_whole(suffix: str, keep: float, packets: list[bytes], tmp_path: Path) -> None:
    whole = WRAPPED[suffix](packets[0])
    items = read(tmp_path, "cut", whole[: int(keep * len(whole))])
    assert len(items) == 1
    assert isinstance(items[0], Skipped) or items[0].packet == packets[0]


@pytest.mark.parametrize("suffix", WRAPPED)
def test_damaged_bytes_never_raise(suffix: str, packets: list[bytes], tmp_path: Path) -> None:
    whole = WRAPPED[suffix](packets[0][:3000])
    for at in range(0, len(whole), max(1, len(whole) // 60)):
        damaged = bytearray(whole)
        damaged[at] ^= 0x55
        for item in read(tmp_path, "damaged", bytes(damaged)):
            assert isinstance(item, Packet) or item.reason


def test_an_encrypted_zip_says_so(packets: list[bytes], tmp_path: Path) -> None:
    data = bytearray(stored_zip("inner.avro", packets[0]))
    data[6] |= 1
    data[data.index(b"PK\x01\x02") + 8] |= 1
    (item,) = read(tmp_path, "a.zip", bytes(data))
    assert isinstance(item, Skipped)
    assert "password" in item.reason


def test_an_empty_zip_and_a_directory_in_one(packets: list[bytes], tmp_path: Path) -> None:
    out = io.BytesIO()
    with zipfile.ZipFile(out, "w"):
        pass
    assert read(tmp_path, "empty.zip", out.getvalue()) == []
    with zipfile.ZipFile(out, "w") as archive:
        archive.writestr("night/", b"")
        archive.writestr("night/a.avro", packets[0])
    assert bytes_of(read(tmp_path, "a.zip", out.getvalue())) == [packets[0]]


def test_an_xz_stream_gives_what_is_asked_for(packets: list[bytes]) -> None:
    stream = inflated(io.BytesIO(lzma.compress(packets[0]) + bytes(8) + lzma.compress(b"more")), "xz")
    assert stream.read(10) == packets[0][:10]
    assert stream.read() == packets[0][10:] + b"more"
    assert stream.read(1) == b""
    with pytest.raises(FAULTS):
        inflated(io.BytesIO(lzma.compress(packets[0])[:-40]), "xz").read()
