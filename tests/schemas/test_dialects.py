"""The forms of a detection: each comes back, JSON is what its schema says, and what is none of ours is refused with a reason."""

from __future__ import annotations

import io
import json
import math
import random
from dataclasses import replace
from types import SimpleNamespace
from typing import Any

import fastavro
import jsonschema
import numpy as np
import orjson
import pytest

from console.outcome_counts import OutcomeCounts
from schemas.avro.wire import PacketError
from schemas.records import codec, json_form, table
from schemas.records.codec import BadRecord
from schemas.records.detection import Detection, TaughtClass, to_row
from schemas.records.dialects import DIALECTS
from schemas.records.parts import ClassProbability
from settings.outputs import FORMS
from streams.bad_records import BadRecords
from tests.schemas.test_records import DETECTION, FULL

ODD = replace(
    DETECTION,
    candid=2**63 - 1,
    flux=None,
    features=(),
    conformal_set=(),
    object_id='{"not": "a schema"}',
    taught=(TaughtClass("fbot", 2**60, 3),),
)
NAN = replace(FULL, novelty=math.nan, ra=math.nan, classes=(ClassProbability("tde", math.nan, 0.25),))
VALIDATOR = jsonschema.Draft202012Validator(json_form.json_schema())


def test_the_settings_know_the_same_forms() -> None:
    assert tuple(DIALECTS) == FORMS


@pytest.mark.parametrize("form", DIALECTS)
@pytest.mark.parametrize("found", [DETECTION, FULL, ODD], ids=["plain", "full", "odd"])
def test_a_detection_comes_back_from_each_form(form: str, found: Detection) -> None:
    message = DIALECTS[form](found, codec.encode_both(found)[0])
    assert codec.decode(message.value, message.key) == found
    assert codec.decode_detection(message.value, message.key) == found


@pytest.mark.parametrize("form", ["confluent", "container", "fink"])
def test_numbers_that_are_none_come_back_from_avro_and_are_null_in_json(form: str) -> None:
    body = codec.encode_both(NAN)[0]
    message = DIALECTS[form](NAN, body)
    line = DIALECTS["json"](NAN, body)
    assert b"NaN" not in line.value
    assert b"Infinity" not in line.value
    from_json = codec.decode_detection(line.value, line.key)
    assert math.isnan(from_json.novelty)
    assert math.isnan(from_json.classes[0].probability)
    assert repr(from_json) == repr(codec.decode_detection(message.value, message.key))


def test_readers_of_a_topic_take_every_form_together() -> None:
    bad, counts = BadRecords(), OutcomeCounts()
    for offset, write in enumerate(DIALECTS.values()):
        key, value, headers = write(FULL, codec.encode_both(FULL)[0])
        message: Any = SimpleNamespace(
            topic="detections", partition=0, offset=offset, key=key, value=value, timestamp=9, headers=[*headers, ("ingested_at", b"7")]
        )
        assert bad.read(message, Detection) == FULL
        counts.add(message)
    assert bad.total == counts.bad.total == 0
    assert [arrival.latency_ms for arrival in counts.arrivals] == [2] * 4


def test_a_form_has_what_its_readers_look_for() -> None:
    body = codec.encode_both(FULL)[0]
    made = {form: write(FULL, body) for form, write in DIALECTS.items()}
    assert {form: message.headers for form, message in made.items()} == {
        "confluent": (), "container": (("_format", b"avro"),), "fink": (), "json": (("_format", b"json"),)
    }  # fmt: skip
    assert {form for form, message in made.items() if message.key != FULL.object_id.encode()} == {"fink"}
    schema = fastavro.parse_schema(json.loads(made["fink"].key))
    assert fastavro.schemaless_reader(io.BytesIO(made["fink"].value), schema, None) == to_row(FULL)
    [row] = fastavro.reader(io.BytesIO(made["container"].value))
    assert row == to_row(FULL)
    assert b"doc" not in made["fink"].key


@pytest.mark.parametrize("found", [DETECTION, FULL, ODD, NAN], ids=["plain", "full", "odd", "not numbers"])
def test_json_is_what_its_schema_says(found: Detection) -> None:
    row = json.loads(json_form.to_json(found), parse_constant=lambda word: pytest.fail(f"{word} is not JSON"))
    VALIDATOR.validate(row)
    assert row["$schema"] == json_form.json_schema()["$id"]
    assert row["objectId"] == row["object_id"] == found.object_id
    assert row["candid"] == str(found.candid)
    assert [t["revision"] for t in row["taught"]] == [str(t.revision) for t in found.taught]
    assert row.keys() - {"$schema", "objectId"} == to_row(found).keys()


@pytest.mark.parametrize("found", [DETECTION, FULL, ODD, NAN, replace(ODD, classes=())], ids=["plain", "full", "odd", "NaN", "no class"])
def test_json_is_byte_for_byte_what_the_general_writer_makes(found: Detection) -> None:
    declared = json.loads(table.BY_ID[table.DETECTION].schema_text)
    general = json_form._compile(declared, json_form._WRITE, names={})
    assert general is not None
    row = {"$schema": json_form.URI, "objectId": found.object_id, **general(to_row(found))}
    assert json_form.to_json(found) == orjson.dumps(row, option=orjson.OPT_SERIALIZE_NUMPY)


@pytest.mark.parametrize(
    "change",
    [{"candid": 12}, {"ra": "12"}, {"classes": {}}, {"$schema": "urn:protonova:detection:99"}, {"decision": 3}, {"programid": 1.5}],
)
def test_the_schema_refuses_other_json_and_so_do_we(change: dict[str, Any]) -> None:
    row = json.loads(json_form.to_json(FULL)) | change
    with pytest.raises(jsonschema.ValidationError):
        VALIDATOR.validate(row)
    assert isinstance(codec.decode(json.dumps(row).encode()), BadRecord)


def test_the_schema_is_kept_as_a_file() -> None:
    kept = json.loads((json_form.HERE / json_form.FILE).read_text(encoding="utf-8"))
    assert kept == json_form.json_schema(), "python -m tools.docs.tables_of_docs writes it"
    jsonschema.Draft202012Validator.check_schema(kept)


def test_json_has_no_more_digits_than_a_32_bit_number_needs() -> None:
    rough = replace(FULL, novelty=float(np.float32(0.1)), top_probability=0.1)
    row = json.loads(json_form.to_json(rough))
    assert row["novelty"] == row["top_probability"] == 0.1
    assert codec.decode_detection(json_form.to_json(rough)).novelty == rough.novelty


def test_unions_of_ours_are_null_or_one_type() -> None:
    def look(declared: Any) -> None:
        if isinstance(declared, list):
            assert len([branch for branch in declared if branch != "null"]) == 1
            declared = next(branch for branch in declared if branch != "null")
        if isinstance(declared, dict):
            for part in declared.get("fields", ()):
                look(part["type"])
            if declared["type"] == "array":
                look(declared["items"])

    look(json.loads(table.BY_ID[table.DETECTION].schema_text))


HOSTILE = {
    "no object": b"{",
    "another's": b'{"$schema": "https://gcn.nasa.gov/docs/schema/v4.1.0/gcn/notices/x.schema.json", "ra": 1}',
    "a schema that is a list": b'{"$schema": ["urn:protonova:detection:2"]}',
    "nothing else": b'{"$schema": "urn:protonova:detection:2"}',
    "deep": b'{"$schema":' + b"[" * 100_000 + b"]" * 100_000 + b"}",
    "large": b'{"$schema": "urn:protonova:detection:2", "x": "' + b"x" * 300_000 + b'"}',
    "a huge number": json_form.to_json(FULL).replace(f'"{FULL.candid}"'.encode(), b'"9999999999999999999"'),
    "a number beyond 32 bits": json.dumps(json.loads(json_form.to_json(FULL)) | {"programid": 2**31}).encode(),
    "a long text": json.dumps(json.loads(json_form.to_json(FULL)) | {"object_id": "x" * 5000}).encode(),
    "a lone surrogate": json_form.to_json(FULL).replace(FULL.object_id.encode(), b"\\ud800"),
}


@pytest.mark.parametrize("what", HOSTILE)
def test_json_that_is_none_of_ours_is_a_bad_record(what: str) -> None:
    bad = codec.decode(HOSTILE[what])
    assert isinstance(bad, BadRecord)
    assert len(bad.reason) > 10


def test_a_key_that_is_not_a_schema_of_ours_changes_nothing() -> None:
    framed = codec.encode(FULL)
    for key in (b"{", b'{"type": "string"}', b"{" * 70_000, b'{"type":"record","name":"Detection","fields":[]}', None, b""):
        assert codec.decode(framed, key) == FULL
    with pytest.raises(PacketError):
        codec.decode_detection(framed[5:], b'{"type":"record","name":"Detection","fields":[]}')
    bad = codec.decode(b"\x02x", table.layout(table.DETECTION).encode())
    assert isinstance(bad, BadRecord)


@pytest.mark.parametrize("seed", range(10))
def test_damaged_messages_are_records_or_bad(seed: int) -> None:
    dice = random.Random(seed)
    for write in DIALECTS.values():
        message = write(FULL, codec.encode_both(FULL)[0])
        for _ in range(40):
            damaged = bytearray(message.value)
            for _ in range(dice.choice((1, 1, 3, 20))):
                damaged[dice.randrange(len(damaged))] = dice.randrange(256)
            assert codec.decode(bytes(damaged), message.key) is not None
