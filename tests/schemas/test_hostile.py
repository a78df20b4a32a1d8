"""Broken and malicious packets: each is rejected for its own reason, and none costs more than its bound."""

from __future__ import annotations

import gzip
import io
import json
import time
import tracemalloc
import zlib
from collections.abc import Callable
from typing import Any

import cramjam
import fastavro
import numpy as np
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from schemas.avro.container import ZTF_SCHEMA, encode_rubin, encode_ztf, make_cutout, make_fits
from schemas.avro.machine import MAX_ROWS
from schemas.avro.schema_store import SchemaStore
from schemas.avro.wire import MAX_PACKET
from schemas.surveys import frame_alerts, lsst, tess, ztf
from schemas.surveys.cutouts import Cutouts
from schemas.surveys.decode import Decoder, warm
from tests.schemas.made import CANDIDATE, container, frames_record, least_rubin, tess_record, ztf_record

DECODER = Decoder()


def outcome(packet: bytes) -> str:
    """ "ok", or the error class."""
    decoded = DECODER.decode([packet])
    assert len(decoded.index) + len(decoded.rejected) == 1
    if decoded.rejected:
        assert decoded.rejected[0][1].reason
        return decoded.rejected[0][1].error_class
    return "ok"


@pytest.fixture(scope="module", autouse=True)
def _warm() -> None:
    warm()


@pytest.mark.parametrize("packet", [encode_ztf(ztf_record()), tess.encode(tess_record())], ids=["ztf", "tess"])
def test_a_packet_cut_anywhere_is_rejected(packet: bytes) -> None:
    assert outcome(packet) == "ok"
    found = {outcome(packet[:cut]) for cut in range(len(packet))}
    assert found <= {"truncated", "not_avro", "bad_avro"}


@pytest.mark.parametrize(
    "packet", [encode_rubin(least_rubin(), 900, SchemaStore()), frame_alerts.encode(frames_record())], ids=["lsst", "frames"]
)
def test_a_framed_packet_cut_anywhere_is_rejected(packet: bytes) -> None:
    assert outcome(packet) == "ok"
    found = {outcome(packet[:cut]) for cut in range(6, len(packet))}
    assert found == {"truncated"}
    assert outcome(packet + b"\0") == "bad_avro"


def rubin_record() -> dict[str, Any]:
    """The smallest Rubin 9.0 alert: what may not be null is 0 or empty."""
    schema = SchemaStore().get(900)

    def least(kind: Any) -> Any:
        if isinstance(kind, list):
            return None
        if isinstance(kind, dict) and kind["type"] == "record":
            return {f["name"]: least(f["type"]) for f in kind["fields"]}
        return {"string": "r", "bytes": b"", "boolean": False}.get(kind if isinstance(kind, str) else kind["type"], 0)

    record: dict[str, Any] = least(schema)
    record["diaSource"] |= {"diaSourceId": 7, "midpointMjdTai": 61000.0, "ra": 10.0, "dec": -10.0, "psfFlux": 1000.0, "psfFluxErr": 100.0}
    return record


@pytest.mark.parametrize("codec", ["deflate", "snappy"])
def test_a_bomb_is_too_large_and_stays_within_its_bound(codec: str) -> None:
    raw = bytes(30 * MAX_PACKET)
    if codec == "deflate":
        stream = zlib.compressobj(9, zlib.DEFLATED, -15)
        block = stream.compress(raw) + stream.flush()
    else:  # a length that lies: 4 GB, with next to nothing behind it
        block = b"\xff\xff\xff\xff\x0f" + b"\x00a" + b"\0\0\0\0"
    packet = container(json.loads(_ztf_schema()), block, codec)
    tracemalloc.start()
    assert outcome(packet) == "too_large"
    assert tracemalloc.get_traced_memory()[1] < 3 * MAX_PACKET
    tracemalloc.stop()


def _ztf_schema() -> str:
    return ZTF_SCHEMA.read_text()


@pytest.mark.parametrize("codec", ["deflate", "snappy"])
def test_compressed_blocks_are_read(codec: str) -> None:
    out = io.BytesIO()
    fastavro.writer(out, fastavro.parse_schema(json.loads(_ztf_schema())), [ztf_record()], codec)
    assert outcome(out.getvalue()) == "ok"
    broken = bytearray(out.getvalue())
    broken[-60] ^= 0xFF
    assert outcome(bytes(broken)) in {"bad_avro", "truncated"}


def test_a_wrong_snappy_checksum() -> None:
    body = b"\x02abc"
    block = bytes(cramjam.snappy.compress_raw(body)) + b"\0\0\0\0"
    assert outcome(container(json.loads(_ztf_schema()), block, "snappy")) == "bad_avro"


def test_a_gzip_bomb_in_a_cutout_costs_only_the_stamp() -> None:
    bomb = gzip.compress(bytes(200_000_000), 9)
    lying = bytearray(bomb)
    lying[-4:] = (20160).to_bytes(4, "little")  # announces a small image
    for data in (bomb, bytes(lying), b"\x1f\x8b", b"\x1f\x8b" + bytes(60), b"SIMPLE  =" + bytes(40), bytes(3000)):
        record = ztf_record()
        record["cutoutScience"] = {"fileName": "x", "stampData": data}
        record["cutoutTemplate"] = {"fileName": "y", "stampData": make_cutout(np.ones((63, 63)))}
        tracemalloc.start()
        decoded = DECODER.decode([encode_ztf(record)])
        assert tracemalloc.get_traced_memory()[1] < 12_000_000
        tracemalloc.stop()
        assert decoded.index == (0,)
        assert np.isnan(decoded.batch.stamps[0, 0]).all()
        assert (decoded.batch.stamps[0, 1] == 1).all()


def test_too_large_a_packet() -> None:
    assert outcome(b"Obj\x01" + bytes(MAX_PACKET)) == "too_large"


def field(name: str, kind: Any) -> dict[str, Any]:
    return {"name": name, "type": kind}


def schema_with(*extra: dict[str, Any], change: Callable[[list[dict[str, Any]]], None] | None = None) -> dict[str, Any]:
    """A schema that ZTF's reader claims, and more."""
    inner = [field(name, kind) for name, kind in CANDIDATE.items()]
    if change:
        change(inner)
    candidate = {"type": "record", "name": "candidate", "fields": inner}
    return {"type": "record", "name": "alert", "fields": [field("objectId", "string"), field("candidate", candidate), *extra]}


NODE = {"type": "record", "name": "node", "fields": [field("v", "int"), field("next", ["null", "node"])]}
DEEP: Any = "int"
for _ in range(200):
    DEEP = {"type": "array", "items": DEEP}
DOUBLING = [
    field(
        f"f{i}",
        {"type": "record", "name": f"r{i}", "fields": [field("a", f"r{i - 1}" if i else "int"), field("b", f"r{i - 1}" if i else "int")]},
    )
    for i in range(20)
]


EXPONENTIAL = [  # a thousand million numbers without an owner, hence one row
    field(
        f"e{i}",
        {"type": "record", "name": f"p{i}", "fields": [field(f"f{j}", f"p{i - 1}" if i else "double") for j in range(10)]},
    )
    for i in range(9)
]
ALPHABET: Any = {"type": "enum", "name": "a", "symbols": [f"s{i}" for i in range(4096)]}


def many_symbols(fields: list[dict[str, Any]]) -> None:
    fields[4].update(type=[ALPHABET, *(["a"] * 60 for _ in range(60))])


HUGE = [
    field(
        f"h{i}",
        {
            "type": "array",
            "items": {
                "type": "record",
                "name": f"t{i}",
                "fields": [field(f"f{j}", {"type": "fixed", "name": f"x{i}_{j}", "size": 1 << 24}) for j in range(300)],
            },
        },
    )
    for i in range(2)
]


@pytest.mark.parametrize(
    ("schema", "error_class"),
    [
        (schema_with(field("tree", NODE)), "recursive_schema"),
        (schema_with(field("trees", {"type": "array", "items": NODE})), "recursive_schema"),
        (schema_with(field("nothing", {"type": "array", "items": "null"})), "bad_avro"),
        (schema_with(field("empty", {"type": "array", "items": {"type": "record", "name": "none", "fields": []}})), "bad_avro"),
        (schema_with(field("fixed", {"type": "array", "items": {"type": "fixed", "name": "zero", "size": 0}})), "bad_avro"),
        (schema_with(field("deep", DEEP)), "bad_avro"),
        (schema_with(*DOUBLING), "bad_avro"),
        (schema_with(*EXPONENTIAL), "bad_avro"),
        (schema_with(change=many_symbols), "bad_avro"),
        (schema_with(*HUGE), "truncated"),
        (schema_with(change=lambda fields: fields[4].update(type={"type": "enum", "name": "e", "symbols": ["éééé"]})), "bad_avro"),
        (schema_with(field("\ud800\n", {"type": "array", "items": "null"})), "bad_avro"),
        (schema_with(field("unknown", "quaternion")), "bad_avro"),
        (schema_with(field("objectId", "string")), "bad_avro"),
        ({"type": "record", "name": "x", "fields": [field("a", "int")]}, "unknown_survey"),
        ("string", "unknown_survey"),
    ],
)
def test_schemas_that_are_refused(schema: Any, error_class: str) -> None:
    packet = container(schema, b"\x08ZTF1" + bytes(36) + b"\x02" + bytes(40))
    assert outcome(packet) == error_class
    [(_, error)] = DECODER.decode([packet]).rejected
    error.reason.encode()  # goes into a header
    assert "\n" not in error.reason


@pytest.mark.parametrize(
    ("header", "error_class"),
    [
        (b"Obj\x01", "truncated"),
        (b"Obj\x01\x00" + bytes(40), "bad_avro"),  # no schema
        (b"Obj\x01\xff\xff\xff\xff\xff\xff\xff\xff\xff\xff\x01", "bad_avro"),  # eleven bytes of a number
        (b"Obj\x01\x80\x80\x80\x80\x10", "bad_avro"),  # four hundred million entries
        (b"Obj\x01\x02\x01", "bad_avro"),  # a key of -1 bytes
        (b"Obj\x01\x02\x80\x80\x80\x80\x10", "bad_avro"),
        (b"PAR1 and so on", "not_avro"),
        (b"", "not_avro"),
        (b"\0\0\0", "not_avro"),
        (b"\0\0\0\xff\xff....", "bad_schema_id"),
    ],
)
def test_broken_headers(header: bytes, error_class: str) -> None:
    assert outcome(header) == error_class


def test_an_unknown_schema_id_is_named() -> None:
    [(_, error)] = DECODER.decode([b"\0\0\0\x30\x39 body"]).rejected
    assert "12345" in error.reason


def test_an_unknown_codec_and_broken_json() -> None:
    assert outcome(container(json.loads(_ztf_schema()), b"", "zstandard")) == "unknown_codec"
    packet = encode_ztf(ztf_record())
    assert outcome(packet.replace(b'{"type":"record"', b'["type":"record"', 1)) == "bad_avro"


def test_more_than_one_record_or_none() -> None:
    schema = fastavro.parse_schema(json.loads(_ztf_schema()))
    for records, error_class in (([ztf_record(), ztf_record()], "many_records"), ([], "truncated")):
        out = io.BytesIO()
        fastavro.writer(out, schema, records)
        assert outcome(out.getvalue()) == error_class


def encode(schema: dict[str, Any], record: dict[str, Any]) -> bytes:
    body = io.BytesIO()
    fastavro.schemaless_writer(body, fastavro.parse_schema(json.loads(json.dumps(schema))), record)
    return container(schema, body.getvalue())


def test_a_wanted_field_of_a_wrong_type() -> None:
    def jd_is_text(fields: list[dict[str, Any]]) -> None:
        fields[0]["type"] = "string"

    def jd_is_either(fields: list[dict[str, Any]]) -> None:
        fields[0]["type"] = ["double", "string"]

    record = {"objectId": "ZTF18abcdefg", "candidate": ztf_record()["candidate"]}
    text = {**record, "candidate": {**record["candidate"], "jd": "2460000.5"}}
    assert outcome(encode(schema_with(), record)) == "ok"
    assert outcome(encode(schema_with(change=jd_is_text), text)) == "wrong_type"
    assert outcome(encode(schema_with(change=jd_is_either), text)) == "wrong_type"
    assert outcome(encode(schema_with(change=jd_is_either), record)) == "ok"


@pytest.mark.parametrize(
    ("change", "error_class"),
    [
        ({"jd": float("nan")}, "bad_value"),
        ({"jd": 58000.0}, "ok"),  # can only be MJD
        ({"jd": 58.0}, "bad_value"),
        ({"ra": 400.0}, "bad_value"),
        ({"dec": float("inf")}, "bad_value"),
        ({"magpsf": float("nan")}, "bad_value"),
        ({"sigmapsf": -1.0}, "ok"),  # no error: the alert is scored, without a point of its own
        ({"fid": 9}, "ok"),  # an unknown band: the alert has a place and a time
    ],
)
def test_values_that_cannot_be(change: dict[str, Any], error_class: str) -> None:
    record = ztf_record()
    record["candidate"] |= change
    assert outcome(encode_ztf(record)) == error_class


@pytest.mark.parametrize("name", ["fid", "programid"])
@pytest.mark.parametrize("value", [float("inf"), -1e300, float("nan")])
def test_whole_numbers_written_as_impossible_ones(name: str, value: float) -> None:
    def to_double(fields: list[dict[str, Any]]) -> None:
        next(f for f in fields if f["name"] == name)["type"] = "double"

    record = {"objectId": "ZTF18abcdefg", "candidate": ztf_record()["candidate"] | {name: value}}
    [batch] = [DECODER.decode([encode(schema_with(change=to_double), record)]).batch]
    assert (batch.programid, batch.band) == (((1,), ("",)) if name == "fid" else ((0,), ("g",)))


def test_looking_for_the_candidate_costs_one_pass() -> None:
    fields = [field("objectId", "string"), field("candidate", [f"n{i}" for i in range(40_000)])]
    packet = container({"type": "record", "name": "alert", "fields": fields}, b"")
    start = time.process_time()
    assert outcome(packet) == "unknown_survey"
    assert time.process_time() - start < 5  # a search for each name takes minutes


def test_an_image_cut_short_does_not_spoil_those_that_begin_like_it() -> None:
    card = b"COMMENT".ljust(80)
    whole = make_fits(np.ones((63, 63)))
    long_header = whole[:2880].replace(b"END" + b" " * 77, card) + (b"END".ljust(2880)) + whole[2880:]
    first, again = np.empty((63, 63), np.float32), np.empty((63, 63), np.float32)
    cutouts = Cutouts()
    assert cutouts.read(long_header[:2880], first) is None
    assert cutouts.read(long_header, again) is not None
    assert (again == 1).all()


def test_a_reject_says_whose_packet_it_was() -> None:
    def survey(packet: bytes) -> str | None:
        return DECODER.decode([packet]).rejected[0][1].survey

    rubin = encode_rubin(rubin_record(), 900, SchemaStore())
    assert survey(encode_ztf(ztf_record())[:-20]) == "ztf"
    assert survey(rubin[:-1]) == "lsst"
    assert survey(tess.encode(tess_record() | {"ra": 400.0})) == "tess"
    assert survey(frame_alerts.encode(frames_record() | {"ra": 400.0})) == "frames"
    broken = container(schema_with(field("tree", NODE)), b"")
    assert [survey(broken), survey(broken)] == ["ztf", "ztf"]  # the second time from memory
    assert survey(encode_ztf(ztf_record() | {"objectId": "WNTR24awati"})) is None
    assert survey(b"no packet") is None


def test_an_object_that_is_not_ztfs() -> None:
    assert outcome(encode_ztf(ztf_record() | {"objectId": "ZTF" + "a" * 100_000})) == "bad_value"  # it would be a message's key
    assert outcome(encode_ztf(ztf_record() | {"objectId": "WNTR24awati"})) == "unknown_survey"
    assert outcome(encode_ztf(ztf_record() | {"objectId": ""})) == "unknown_survey"


@pytest.mark.parametrize(
    ("changes", "reason"),
    [
        ({"object_id": ""}, "not a name"),
        ({"object_id": "a" * 65}, "not a name"),
        ({"object_id": "a\n{}"}, "not a name"),
        ({"object_id": "Überriese"}, "not a name"),
        ({"mjd": float("nan")}, "mjd, the time, is missing"),
        ({"mjd": 2_461_000.5}, "it looks like JD"),
        ({"ra": float("nan")}, "not on the sky"),
        ({"dec": 91.0}, "not on the sky"),
        ({"flux": float("inf")}, "flux"),
        ({"flux": -9999.0}, "flux"),
    ],
)
def test_a_frame_whose_values_can_be_none(changes: dict[str, Any], reason: str) -> None:
    [(_, error)] = DECODER.decode([frame_alerts.encode(frames_record() | changes)]).rejected
    assert (error.error_class, error.survey) == ("bad_value", "frames")
    assert reason in error.reason


def test_points_of_a_frame_that_can_be_none_are_left_out() -> None:
    good = frames_record()["history"]
    bad: list[dict[str, Any]] = [
        {"mjd": 60991.0, "filter": "q", "flux": 1.0, "flux_err": 1.0},
        {"mjd": 60991.0, "filter": "", "flux": 1.0, "flux_err": 1.0},
        {"mjd": float("inf"), "filter": "r", "flux": 1.0, "flux_err": 1.0},
        {"mjd": 60992.0, "filter": "r", "flux": float("nan"), "flux_err": 1.0},
        {"mjd": 60993.0, "filter": "r"},
        {"mjd": 61001.0, "filter": "r", "flux": 1e6, "flux_err": 1.0},
    ]
    clean, mixed = (
        DECODER.decode([frame_alerts.encode(frames_record() | {"history": h})]).batch for h in (good, [*bad[:3], *good, *bad[3:]])
    )
    for column in ("time", "wavelength", "flux", "flux_err", "limit", "detected", "valid", "n_detected"):
        np.testing.assert_array_equal(getattr(mixed, column), getattr(clean, column))
    assert (clean.n_dropped[0], mixed.n_dropped[0]) == (0, 1)


def test_an_unknown_filter_of_a_frame_leaves_the_rest() -> None:
    batch = DECODER.decode([frame_alerts.encode(frames_record() | {"filter": "cle"})]).batch
    assert (batch.band, batch.n_detected[0], batch.valid[0].sum()) == (("",), 2, 3)


def test_a_history_longer_than_the_scratch_and_one_without_measure() -> None:
    record = tess_record()
    record["light_curve"] = [{"btjd": 2000.0 + i / 720, "flux": 1000.0, "flux_err": 1.0, "quality": 0} for i in range(5000)]
    assert outcome(tess.encode(record)) == "ok"
    record["light_curve"] *= MAX_ROWS // 5000 + 1
    assert outcome(tess.encode(record)) == "too_large"


def test_an_array_that_announces_more_items_than_there_are_bytes() -> None:
    packet = bytearray(tess.encode(tess_record() | {"light_curve": []}))
    body = packet[:-17]  # without the empty array's end and the sync marker
    body += b"\xfe\xff\xff\xff\xff\xff\xff\xff\xff\x01"  # 2^63 - 1 items
    sync = bytes(packet[-16:])
    start = bytes(body).index(sync) + 16
    content = bytes(body[start + 2 :]) if body[start + 1] < 0x80 else bytes(body[start + 3 :])
    size = len(content)
    rebuilt = bytes(body[:start]) + b"\x02" + bytes([size * 2 & 0x7F | 0x80, size * 2 >> 7]) + content + sync
    assert outcome(rebuilt) == "truncated"


SEEDS = [encode_ztf(ztf_record()), tess.encode(tess_record()), encode_rubin(rubin_record(), 900, SchemaStore())]


@settings(max_examples=300, deadline=None, suppress_health_check=[HealthCheck.too_slow])
@given(
    st.sampled_from(SEEDS),
    st.lists(st.tuples(st.floats(0, 1, exclude_max=True), st.integers(0, 255)), min_size=1, max_size=8),
    st.booleans(),
)
def test_mutated_packets_never_crash(seed: bytes, changes: list[tuple[float, int]], in_body: bool) -> None:
    data = bytearray(seed)
    low = len(data) * 9 // 10 if in_body and seed[:1] == b"O" else 0
    for where, value in changes:
        data[low + int(where * (len(data) - low))] = value
    outcome(bytes(data))


def test_readers_agree_on_who_claims_what() -> None:
    ours = json.loads(_ztf_schema())
    assert [reader.claims(ours) for reader in (ztf, lsst, tess)] == [True, False, False]
    assert [reader.claims(SchemaStore().get(704)) for reader in (ztf, lsst, tess)] == [False, True, False]
    assert [reader.claims(None) for reader in (ztf, lsst, tess)] == [False, False, False]


def test_compiling_without_a_place_for_the_cache() -> None:
    from operators.kernels.compiled import compiled

    space: dict[str, Any] = {}
    exec("def double(x):\n    return 2 * x", space)  # numba finds no file to cache it beside
    assert compiled(space["double"])(4) == 8
