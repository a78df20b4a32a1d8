"""Whatever lies on a topic of ours is a record or a `BadRecord`: bounded in bytes, depth and counts, and no reader fails."""

from __future__ import annotations

import io
import json
import random
import zlib
from dataclasses import replace
from typing import Any

import fastavro
import pytest

from schemas.avro.wire import PacketError
from schemas.avro.writer import varint
from schemas.records import codec, table
from schemas.records.codec import BadRecord, decode
from schemas.records.detection import to_row
from schemas.records.score_summary import ScoreSummary, StatisticSums
from streams.bad_records import BadRecords
from tests.schemas.made import container
from tests.schemas.test_records import COMMAND, DETECTION, DIAGNOSED, FULL, RECORDS, STATE, SUMMARY, SUMS, WORKER

HUGE = varint(2**62) + b"\0"
IDS = [row.id for row in table.TABLE]


def record(name: str, kind: Any) -> dict[str, Any]:
    return {"type": "record", "name": name, "namespace": "protonova", "fields": [{"name": "a", "type": kind}]}


def replace_sums(summary: ScoreSummary, **changes: Any) -> StatisticSums:
    """Its first statistic, changed."""
    return summary.statistics["zp"]._replace(**changes)


def framed(schema_id: int, body: bytes) -> bytes:
    return b"\0" + schema_id.to_bytes(4, "big") + body


def own_container(body: bytes, codec_name: str = "null") -> bytes:
    return container(json.loads(table.BY_ID[table.DETECTION].schema_text), body, codec_name)


def deflated(body: bytes) -> bytes:
    squeezed = zlib.compressobj(9, zlib.DEFLATED, -15)
    return squeezed.compress(body) + squeezed.flush()


HOSTILE = {
    "nothing": b"",
    "one byte": b"\0",
    "an array of 2^62 nulls": container(record("Detection", {"type": "array", "items": "null"}), HUGE),
    "an array of 2^62 empty records": container(
        record("ScoreSummary", {"type": "array", "items": {"type": "record", "name": "e", "fields": []}}), HUGE
    ),
    "a schema that holds itself": container(record("Detection", "protonova.Detection"), b""),
    "another record under our name": container(record("Detection", "string"), b"\x02x"),
    "a schema without a name": container({"type": "record", "fields": []}, b""),
    "a schema that is a number": container(5, b""),
    "a deep schema": b"Obj\x01" + varint(1) + b"\x16avro.schema" + varint(60_000) + b"[" * 60_000 + b"\0" + bytes(16),
    "a long schema": container(record("Detection", "string") | {"doc": "x" * 100_000}, b"\x02x"),
    "a header without an end": b"Obj\x01" + varint(2**40) * 3,
    "a truncated frame": codec.encode(FULL)[:-7],
    "a truncated container": codec.encode_container(FULL)[:-7],
    "bytes behind the record": codec.encode(FULL) + b"\0",
    "a huge text": framed(table.DETECTION, HUGE),
    "a text of negative length": framed(table.DETECTION, varint(-5) + b"abc"),
    "a huge list": codec.encode(DETECTION)[:5] + codec.encode(DETECTION)[5:].replace(varint(2), varint(2**61)),
    "an unknown id": framed(4_242, b"abc"),
    "the id of headers": framed(table.REJECTED, b"\x02a\x02b"),
    "the id of a packet": framed(table.TESS_ID, b"\x02a\x02b"),
    "the id of a frame's packet": framed(table.FRAMES_ID, b"\x02a\x02b"),
    "another version's id": framed(table.DETECTION_V1, codec.encode(FULL)[5:]),
    "another record's body": framed(table.SCORE_SUMMARY, codec.encode(WORKER)[5:]),
    "a megabyte of zeros": bytes(1_000_000),
    "more than a megabyte": bytes(1_000_001),
    "zeros under our id": framed(table.DETECTION, bytes(999_000)),
    "zeros of the largest size": framed(table.DETECTION, bytes(table.BODY_BYTES)),
    "a bomb": own_container(deflated(bytes(7_900_000)), "deflate"),
    "a bomb above all bounds": own_container(deflated(bytes(9_000_000)), "deflate"),
    "JSON as older releases wrote it": b'{"command_id": "a", "model": "m", "since_ms": 1}',
    "text": "Überschuss".encode(),
    "the largest list": framed(
        table.SCORE_SUMMARY, b"\x02w\x02s\x02z\x02g\x02s" + bytes(17) + b"\0\0" + bytes(16) + varint(60_000) + bytes(60_000) + b"\0"
    ),
    "a histogram of another length": codec.encode(replace(SUMMARY, flux=[0] * 21)),
    "a sum that is not a number": codec.encode(replace(SUMMARY, novelty_sum=float("nan"))),
    "a statistic of more alerts than there are": codec.encode(replace(SUMS, n=4)),
    "a histogram that does not add up": codec.encode(replace(SUMS, statistics={"zp": replace_sums(SUMS, histogram=[9])})),
    "a sum of squares below 0": codec.encode(replace(SUMS, statistics={"zp": replace_sums(SUMS, squares=-1.0)})),
    "a histogram of many bins": codec.encode(replace(SUMS, statistics={"zp": replace_sums(SUMS, histogram=[2] + [0] * 64)})),
    "statistics without end": codec.encode(replace(SUMS, statistics={f"s{i}": SUMS.statistics["zp"] for i in range(129)})),
    "extremes without end": codec.encode(replace(SUMS, extremes=SUMS.extremes * 129)),
    "an alarm whose histogram has other bins": codec.encode(replace(DIAGNOSED, edges=(0.0, 1.0))),
    "an alarm with a negative share": codec.encode(replace(DIAGNOSED, before_bins=(1.25, -0.25))),
    "an alarm of many examples": codec.encode(replace(DIAGNOSED, examples=("ztf:1:ab",) * 9)),
    "an alarm whose severity is not a number": codec.encode(replace(DIAGNOSED, severity=float("nan"))),
    "a recipe that is none": codec.encode(replace(COMMAND, recipe="magic")),
    "a part of a state that is none": codec.encode(replace(STATE, part="other")),
    "a negative count": codec.encode(replace(SUMMARY, n=-1)),
    "a bin of the latency beyond the last": codec.encode(replace(WORKER, latency={10**9: 1})),
    "a window that ends before it begins": codec.encode(replace(WORKER, end_ms=1)),
    "a window of a thousand years": codec.encode(replace(WORKER, end_ms=2**55)),
    "a text that is too long": codec.encode(replace(FULL, object_id="x" * 5_000)),
}


@pytest.mark.parametrize("what", HOSTILE)
def test_it_is_a_bad_record_with_a_reason(what: str) -> None:
    bad = decode(HOSTILE[what])
    assert isinstance(bad, BadRecord)
    assert len(bad.reason) > 10
    assert bad.error_class.replace("_", "").isalpha()
    with pytest.raises(PacketError):
        codec.decode_detection(HOSTILE[what])
    with pytest.raises(PacketError):
        codec.decode_summary(HOSTILE[what])


def test_a_record_of_another_kind_is_refused_where_one_is_expected() -> None:
    with pytest.raises(PacketError, match="a ScoreSummary, not a Detection"):
        codec.decode_detection(codec.encode(SUMMARY))
    with pytest.raises(PacketError, match="not a ScoreSummary"):
        codec.decode_summary(codec.encode(WORKER))


def test_a_container_that_another_writer_made_of_our_schema_is_read() -> None:
    out = io.BytesIO()
    schema = json.loads(table.BY_ID[table.DETECTION].schema_text)
    del schema["doc"]  # documentation is not part of the layout
    fastavro.writer(out, fastavro.parse_schema(schema), [to_row(FULL)], codec="deflate")
    assert decode(out.getvalue()) == FULL
    two = io.BytesIO()
    fastavro.writer(two, fastavro.parse_schema(schema), [to_row(FULL)] * 2)
    assert isinstance(decode(two.getvalue()), BadRecord)


@pytest.mark.parametrize("seed", range(20))
def test_damaged_records_are_records_or_bad(seed: int) -> None:
    dice = random.Random(seed)
    for value in (*map(codec.encode, RECORDS), codec.encode_container(FULL), codec.encode_both(FULL)[1] or b""):
        for _ in range(40):
            damaged = bytearray(value)
            for _ in range(dice.choice((1, 1, 3, 20))):
                damaged[dice.randrange(len(damaged))] = dice.randrange(256)
            if dice.random() < 0.3:
                del damaged[dice.randrange(len(damaged)) :]
            assert decode(bytes(damaged)) is not None


def no_empty_items(schema: Any, names: dict[str, Any], holding: tuple[str, ...] = ()) -> int:
    """Bytes of the smallest value; fails on arrays of nothing and on a record that holds itself."""
    if isinstance(schema, list):
        return 1 + min(no_empty_items(branch, names, holding) for branch in schema)
    if isinstance(schema, str):
        assert schema not in holding, f"{schema} holds itself"
        return no_empty_items(names[schema], names, holding) if schema in names else {"null": 0, "float": 4, "double": 8}.get(schema, 1)
    if schema["type"] == "record":
        names[schema["name"]] = schema
        return sum(no_empty_items(f["type"], names, (*holding, schema["name"])) for f in schema["fields"])
    if schema["type"] in ("array", "map"):
        assert no_empty_items(schema.get("items", schema.get("values")), names, holding) > 0 or schema["type"] == "map"
        return 1
    return no_empty_items(schema["type"], names, holding)


@pytest.mark.parametrize("row", table.TABLE, ids=lambda row: str(row.id))
def test_no_schema_of_ours_holds_itself_or_items_of_no_bytes(row: table.RegisteredSchema) -> None:
    assert no_empty_items(json.loads(row.schema_text), {}) > 0


class Message:
    """What a consumer hands out, as far as it is read."""

    def __init__(self, value: bytes | None, offset: int = 0, topic: str = "telemetry.scores") -> None:
        self.topic, self.partition, self.offset, self.value, self.key = topic, 0, offset, value, b"ZTF1"


def test_bad_records_are_counted_by_topic_and_reason_and_reported_once_a_minute() -> None:
    now, lines = [1000.0], list[str]()
    bad = BadRecords(lines.append, lambda: now[0])
    kinds = (type(SUMMARY), type(WORKER))
    assert bad.read(Message(codec.encode(SUMMARY)), *kinds) == SUMMARY  # type: ignore[arg-type]
    assert bad.read(Message(codec.encode(WORKER)), *kinds) == WORKER  # type: ignore[arg-type]
    assert (bad.total, lines) == (0, [])
    for offset, value in enumerate([None, b"{}", codec.encode(FULL), HOSTILE["an unknown id"]]):
        assert bad.read(Message(value, offset), *kinds) is None  # type: ignore[arg-type]
    assert bad.counts == {
        ("telemetry.scores", "not_avro"): 2, ("telemetry.scores", "wrong_kind"): 1, ("telemetry.scores", "bad_schema_id"): 1
    }  # fmt: skip
    assert len(lines) == 1, "the first at once, the others when a minute has passed"
    assert lines[0].startswith("1 record")
    now[0] += 59
    bad.report()
    assert len(lines) == 1
    now[0] += 2
    bad.report()
    bad.report()
    assert len(lines) == 2
    assert lines[1].startswith("3 records")
    assert "telemetry.scores[0]@3" in lines[1]
