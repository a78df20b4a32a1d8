"""A container of many records is cut into packets whatever types and codec it has, and never at more than its bound."""

from __future__ import annotations

import io
import json
import tracemalloc
import zlib
from collections.abc import Iterator
from typing import Any

import fastavro
import pytest

from schemas.avro import splitter
from schemas.avro.splitter import count, split
from schemas.avro.wire import MAX_PACKET, PacketError, read_body, read_header
from schemas.avro.writer import varint
from tests.schemas.made import container

KINDS: dict[str, tuple[Any, list[Any]]] = {
    "map of maps": ({"type": "map", "values": {"type": "map", "values": "double"}}, [{}, {"a": {"x": 1.0, "y": -2.0}, "b": {}}]),
    "enum": ({"type": "enum", "name": "tag", "symbols": ["NEW", "OLD"]}, ["OLD", "NEW"]),
    "fixed": ({"type": "fixed", "name": "digest", "size": 16}, [bytes(16), b"0123456789abcdef"]),
    "wide union": (["null", "long", "string", "boolean", {"type": "array", "items": "int"}], [None, 1 << 60, "SN Ia", True, [1, 2, 3]]),
    "arrays": ({"type": "array", "items": {"type": "array", "items": ["null", "double"]}}, [[], [[1.5, None], []]]),
}


def schema(kind: Any) -> dict[str, Any]:
    fields = [{"name": "id", "type": "long"}, {"name": "value", "type": kind}, {"name": "end", "type": "string"}]
    return {"type": "record", "name": "alert", "namespace": "some.where", "fields": fields}


def written(kind: Any, values: list[Any], codec: str = "null", interval: int = 16_000) -> tuple[bytes, list[bytes]]:
    """A container, and the records' own bytes."""
    parsed = fastavro.parse_schema(json.loads(json.dumps(schema(kind))))
    rows = [{"id": k, "value": value, "end": f"end {k}"} for k, value in enumerate(values)]
    out = io.BytesIO()
    fastavro.writer(out, parsed, rows, codec=codec, sync_interval=interval)
    bodies = []
    for row in rows:
        body = io.BytesIO()
        fastavro.schemaless_writer(body, parsed, row)
        bodies.append(body.getvalue())
    return out.getvalue(), bodies


def bodies_of(data: bytes) -> Iterator[bytes]:
    """The records of the packets that a container is split into, each read as the decoder reads it."""
    for packet in split(io.BytesIO(data)):
        assert isinstance(packet, bytes)
        codec, _, at = read_header(packet)
        plain, start, end = read_body(packet, at, codec=codec)
        yield plain[start:end]


@pytest.mark.parametrize("name", KINDS)
@pytest.mark.parametrize("interval", [1, 16_000], ids=["a block a record", "one block"])
def test_every_type_is_cut_where_it_ends(name: str, interval: int) -> None:
    kind, values = KINDS[name]
    data, bodies = written(kind, values * 3, interval=interval)
    assert count(data) == len(bodies)
    assert list(bodies_of(data)) == bodies


@pytest.mark.parametrize("codec", ["null", "deflate", "snappy", "bzip2", "xz"])
def test_every_codec_is_read(codec: str) -> None:
    data, bodies = written("string", ["a" * k for k in range(300)], codec, 1000)
    assert list(bodies_of(data)) == bodies


def test_zstandard_is_read() -> None:
    pa = pytest.importorskip("pyarrow")
    bodies = [varint(k) + varint(3) + b"abc" + varint(1) + b"e" for k in range(5)]
    block = pa.compress(b"".join(bodies), codec="zstd", asbytes=True)
    assert list(bodies_of(container(schema("string"), block, "zstandard", records=5))) == bodies


def test_arrays_whose_blocks_say_their_size_are_walked() -> None:
    numbers = varint(1) + varint(2)
    sized = varint(-2) + varint(len(numbers)) + numbers + varint(0)
    body = varint(7) + sized + varint(1) + b"e"
    data = container(schema({"type": "array", "items": "int"}), body * 4, records=4)
    assert list(bodies_of(data)) == [body] * 4


def test_each_packet_reads_as_the_record_it_was() -> None:
    kind, values = KINDS["wide union"]
    data, _ = written(kind, values, "deflate")
    rows = list(fastavro.reader(io.BytesIO(data)))
    packets = list(split(io.BytesIO(data)))
    assert [next(fastavro.reader(io.BytesIO(packet))) for packet in packets if isinstance(packet, bytes)] == rows


def test_a_container_cut_short_gives_what_is_whole() -> None:
    data, bodies = written("string", ["x" * 500] * 20, interval=1000)
    found: list[bytes] = []
    with pytest.raises(PacketError) as error:
        found.extend(bodies_of(data[: len(data) // 2]))
    assert error.value.error_class == "truncated"
    assert 0 < len(found) < 20
    assert found == bodies[: len(found)]


def test_a_record_too_large_for_a_packet_costs_only_itself() -> None:
    data, bodies = written("string", ["a", "b" * MAX_PACKET, "c"], "deflate")
    one, two, three = split(io.BytesIO(data))
    assert isinstance(two, PacketError)
    assert two.error_class == "too_large"
    assert isinstance(one, bytes)
    assert isinstance(three, bytes)
    assert bodies[2] in three


@pytest.mark.parametrize(
    ("kind", "body", "records", "error_class"),
    [
        ("string", varint(1) + varint(1) + b"a" + varint(0), 1 << 50, "bad_avro"),  # more records than bytes
        ("string", varint(1) + varint(1 << 40) + b"a", 2, "truncated"),
        ("string", varint(1) + varint(-5) + b"a" * 9, 2, "bad_avro"),
        (["null", "long", "string"], varint(1) + varint(7) + varint(0), 2, "bad_avro"),  # a branch that is not there
        ("string", (varint(1) + varint(0) + varint(0)) * 3, 2, "bad_avro"),  # bytes are left
        ({"type": "array", "items": "null"}, varint(1) + varint(1 << 50) + varint(0) + varint(0), 2, "bad_avro"),
        (["null", "alert"], b"abc", 2, "recursive_schema"),
    ],
)
def test_hostile_blocks_are_refused(kind: Any, body: bytes, records: int, error_class: str) -> None:
    with pytest.raises(PacketError) as error:
        list(split(io.BytesIO(container(schema(kind), body, records=records))))
    assert error.value.error_class == error_class


def test_records_of_no_bytes_end() -> None:
    nothing = {"type": "record", "name": "alert", "fields": [{"name": "n", "type": "null"}]}
    with pytest.raises(PacketError, match="no bytes"):
        list(split(io.BytesIO(container(nothing, b"ab", records=2))))


def test_a_bomb_stays_within_its_bound(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(splitter, "MAX_CONTAINER", 4_000_000)
    stream = zlib.compressobj(9, zlib.DEFLATED, -15)
    block = stream.compress(bytes(60_000_000)) + stream.flush()
    tracemalloc.start()
    with pytest.raises(PacketError) as error:
        list(split(io.BytesIO(container(schema("string"), block, "deflate", records=2))))
    assert tracemalloc.get_traced_memory()[1] < 20_000_000
    tracemalloc.stop()
    assert error.value.error_class == "too_large"
    many = container(schema("string"), block[:0], "null", records=0)
    monkeypatch.setattr(splitter, "MAX_CONTAINER", len(many) - 20)
    with pytest.raises(PacketError) as error:
        list(split(io.BytesIO(many + many[-18:] * 100)))
    assert error.value.error_class == "too_large"
