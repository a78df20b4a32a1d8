"""Our own records: fastavro reads what we write by hand, every field is documented, ids stay."""

from __future__ import annotations

import io
import json
from dataclasses import fields, replace
from pathlib import Path
from typing import Any

import fastavro
import httpx
import numpy as np
import pyarrow as pa
import pytest

from data.simulate.classes import SLUGS as SIMULATED
from schemas.avro.schema_store import SchemaStore
from schemas.avro.wire import PacketError
from schemas.records import codec
from schemas.records.codec import ClassProbability, Detection, Feature, ScoreSummary
from schemas.records.subjects import SUBJECTS
from schemas.taxonomy import CLASSES, SLUGS, slug_of

DETECTION = Detection(
    detection_id="ztf:-5:0123456789abcdef", survey="ztf", candid=-5, object_id="ZTF18abcdefg", programid=1, ra=1.5, dec=-2.5, mjd=60000.25,
    band="g", flux=-3.5, flux_err=None, n_detections=300,
    classes=(ClassProbability("sn-ia", 0.75, 0.5), ClassProbability("other", 0.25, 0.5)),
    top_class="sn-ia", top_probability=0.75, conformal_set=("sn-ia", "tde"), novelty=0.125, nearest_prototype="tde", prototype_distance=0.5,
    real_bogus=0.5, star_galaxy=None, solar_system_distance=None, features=(Feature("amplitude", 1.5), Feature("ά", 2.0)),
    model="m" * 16, engine="onnxruntime cpu", scoring_id="0123456789abcdef", taxonomy="protonova-1",
)  # fmt: skip
SUMMARY = ScoreSummary(
    worker="w", scoring_id="s", survey="ztf", band="g", region="sky", mjd_first=1.0, mjd_last=2.0, n=3, classes={"agn": 3}, empty_sets=1,
    novelty_sum=0.5, novelty_squares=0.25, novelty=[3] + [0] * 19, top_probability_sum=1.0, top_probability=[0] * 19 + [3],
    distance_sum=0.5, flux=[0] * 20,
)  # fmt: skip


def schema(subject: str) -> Any:
    return fastavro.parse_schema(json.loads(SUBJECTS[subject].schema_text))


@pytest.mark.parametrize("detection", [DETECTION, replace(DETECTION, features=(), conformal_set=(), candid=2**63 - 1, flux=None)])
def test_a_detection_is_what_fastavro_reads(detection: Detection) -> None:
    framed = codec.encode(detection)
    assert framed[:5] == b"\0" + (1_000_001).to_bytes(4, "big")
    assert fastavro.schemaless_reader(io.BytesIO(framed[5:]), schema("detections-value"), None) == codec.to_row(detection)
    out = io.BytesIO()
    fastavro.schemaless_writer(out, schema("detections-value"), codec.to_row(detection))
    assert out.getvalue() == framed[5:]
    [back] = list(fastavro.reader(io.BytesIO(codec.encode_container(detection))))
    assert back == codec.to_row(detection)
    assert codec.decode_detection(framed) == detection
    assert codec.decode_detection(codec.encode_container(detection)) == detection


def test_a_row_goes_into_an_arrow_table() -> None:
    table = pa.Table.from_pylist([codec.to_row(DETECTION)] * 2)
    assert table.num_rows == 2
    assert table["classes"][0].as_py()[0] == {"name": "sn-ia", "probability": 0.75, "prior_probability": 0.5}


def test_summaries_come_back() -> None:
    assert codec.decode_summary(codec.encode(SUMMARY)) == SUMMARY


@pytest.mark.parametrize("value", [b"", b"\0\0\0\0\1abc", b"Obj\x01", codec.encode(DETECTION)[:-3], codec.encode(SUMMARY), b"\0" * 40])
def test_what_is_no_detection(value: bytes) -> None:
    with pytest.raises(PacketError):
        codec.decode_detection(value)


def test_records_and_schemas_have_the_same_fields_in_the_same_order() -> None:
    for record, subject in ((Detection, "detections-value"), (ScoreSummary, "telemetry.scores-value")):
        assert [f["name"] for f in json.loads(SUBJECTS[subject].schema_text)["fields"]] == [f.name for f in fields(record)]


def test_every_field_is_documented_and_every_number_has_a_unit() -> None:
    def check(node: Any, path: str) -> int:
        if isinstance(node, list):
            return sum(check(part, path) for part in node)
        if not isinstance(node, dict):
            return 0
        found = 0
        for field in node.get("fields", ()):
            where = f"{path}.{field['name']}"
            found += 1 + check(field["type"], where)
            if isinstance(field["type"], dict) and "fields" in json.dumps(field["type"]):
                continue
            assert len(field.get("doc", "")) > 10, where
            kinds = json.dumps(field["type"])
            ident = field["name"] in {"candid", "tic", "sector", "cadence", "quality", "value"}
            if any(kind in kinds for kind in ("float", "double", '"int"', '"long"')) and not ident:
                assert "[" in field["doc"] or ("[" in kinds and "histogram" in field["doc"].lower()), where
        return found + check(node.get("items"), path) + (check(node["type"], path) if isinstance(node.get("type"), (dict, list)) else 0)

    assert sum(check(json.loads(s.schema_text), s.subject) for s in SUBJECTS.values()) == 70


def test_ids_are_fixed_and_far_from_rubins() -> None:
    assert {s.subject: s.id for s in SUBJECTS.values()} == {
        "detections-value": 1_000_001, "alerts.rejected-headers": 1_000_002, "telemetry.scores-value": 1_000_003,
        "alerts.tess-value": 1_000_004,
    }  # fmt: skip


def test_the_store_knows_what_ships_and_what_it_is_given(tmp_path: Path) -> None:
    store = SchemaStore()
    assert store.get(703)["name"] == "lsst.v7_3.alert"
    assert store.get(1_000_001)["name"] == "Detection"
    with pytest.raises(PacketError, match="4242"):
        store.get(4242)
    (tmp_path / "4242.json").write_text('{"type": "record", "name": "mine", "fields": []}')
    (tmp_path / "4243.avsc").write_text('["null"]')
    mine = SchemaStore([tmp_path])
    assert mine.get(4242)["name"] == "mine"
    with pytest.raises(PacketError, match="4243"):
        mine.get(4243)


def test_a_registry_that_does_not_answer_is_a_bad_schema_id() -> None:
    with pytest.raises(PacketError, match="77 ") as caught:
        SchemaStore(registry="http://127.0.0.1:9", timeout=1).get(77)
    assert caught.value.error_class == "bad_schema_id"


def test_a_registry_is_asked_once(monkeypatch: pytest.MonkeyPatch) -> None:
    asked: list[str] = []

    def answer(request: httpx.Request) -> httpx.Response:
        asked.append(request.url.path)
        if request.url.path.endswith("/5"):
            return httpx.Response(200, json={"schema": '{"type": "record", "name": "five", "fields": []}'})
        return httpx.Response(404, json={"error_code": 40403})

    client = httpx.Client(transport=httpx.MockTransport(answer))
    monkeypatch.setattr(httpx, "get", lambda url, timeout: client.get(url, timeout=timeout))
    store = SchemaStore(registry="http://registry/")
    assert [store.get(5)["name"] for _ in range(3)] == ["five"] * 3
    for _ in range(3):
        with pytest.raises(PacketError, match="no schema"):
            store.get(6)
    assert asked == ["/schemas/ids/5", "/schemas/ids/6"]


def test_classes_have_the_simulators_names() -> None:
    assert set(SLUGS) == set(SIMULATED)
    assert len({c.title for c in CLASSES}) == len(SLUGS)


@pytest.mark.parametrize(
    ("label", "slug"),
    [("SN Ia", "sn-ia"), ("SNIa", "sn-ia"), ("SN Ib/c", "sn-ibc"), ("SNIIn", "sn-iin"), ("SLSN-I", "slsn"), ("RRLyrae", "rr-lyrae"),
     ("EB*", "eclipsing-binary"), ("CV/Nova", "cv"), ("2243", "tde"), ("2332", "agn"), ("tde", "tde"), ("Varstar", None), ("9999", None),
     ("", None)],
)  # fmt: skip
def test_labels_of_others(label: str, slug: str | None) -> None:
    assert slug_of(label) == slug


def test_a_rejected_row_has_finite_numbers_only_where_it_says_so() -> None:
    row = codec.to_row(replace(DETECTION, flux=None))
    assert row["flux"] is None
    assert np.isfinite([row["ra"], row["dec"], row["mjd"], row["novelty"]]).all()
