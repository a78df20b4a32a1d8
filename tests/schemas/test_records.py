"""Our own records: fastavro reads what we write by hand, every field is documented, ids stay."""

from __future__ import annotations

import io
import json
from dataclasses import fields, replace
from pathlib import Path
from typing import Any

import fastavro
import numpy as np
import pyarrow as pa
import pytest

from data.simulate.classes import SLUGS as SIMULATED
from schemas.avro.schema_store import SchemaStore
from schemas.avro.wire import PacketError
from schemas.records import codec, detection, table
from schemas.records.access_token import AccessToken
from schemas.records.calibrated_frame import CalibratedFrame
from schemas.records.candidate import Candidate
from schemas.records.class_record import MOST_EXAMPLES, ClassRecord
from schemas.records.detection import Crossmatch, Decision, Detection, Flare, Frame, Host, Magnitude, TaughtClass, Transit, to_row
from schemas.records.drift_alarm import DriftAlarm
from schemas.records.drift_state import DriftState
from schemas.records.embedding import Embedding
from schemas.records.filter_defined import FilterDefined
from schemas.records.filter_match import FilterMatch, Watched
from schemas.records.frame_claim import FrameClaim
from schemas.records.gate_report import PASSED, Gate, GateReport
from schemas.records.known_label import KnownLabel
from schemas.records.label_wanted import LabelWanted
from schemas.records.loop_event import LoopEvent
from schemas.records.master_frame import MasterFrame
from schemas.records.model_announced import CHAMPION, ModelAnnounced
from schemas.records.model_bundle import MOST_FILES, ModelBundle
from schemas.records.parts import ClassProbability, Feature
from schemas.records.photometry_measured import PhotometryMeasured
from schemas.records.photometry_position import FOUND, PhotometryPosition
from schemas.records.rejected import Rejected
from schemas.records.retrain_command import RetrainCommand
from schemas.records.score_summary import Extreme, ScoreSummary, StatisticSums
from schemas.records.watchlist import Watchlist
from schemas.records.worker_summary import Outcomes, WorkerSummary
from schemas.taxonomy import CLASSES, LONGEST_SLUG, RESERVED, SLUGS, class_name_problem, slug_of
from streams.kafka.topics import TOPICS

PACKET = "ztf:-5:00112233445566778899aabbccddeeff"
DETECTION = Detection(
    packet_id=PACKET, detection_id=f"{PACKET}:0123456789abcdef", survey="ztf", candid=-5, object_id="ZTF18abcdefg", programid=1, ra=1.5,
    dec=-2.5, mjd=60000.25, band="g", flux=-3.5, flux_err=None, n_detections=300,
    classes=(ClassProbability("sn-ia", 0.75, 0.5), ClassProbability("other", 0.25, 0.5)),
    top_class="sn-ia", top_probability=0.75, conformal_set=("sn-ia", "tde"), novelty=0.125, nearest_prototype="tde", prototype_distance=0.5,
    real_bogus=0.5, star_galaxy=None, solar_system_distance=None, features=(Feature("amplitude", 1.5), Feature("ά", 2.0)),
    model="m" * 16, engine="onnxruntime cpu", scoring_id="0123456789abcdef", taxonomy="protonova-1", embedding=b"\x00\x3c\x00\xc0",
)  # fmt: skip
FULL = replace(
    DETECTION, first_detection=59999.5, decision=Decision("tde", 0.5, 0.25, 12.0, True, True, "drb"), energy=-3.5,
    taught=(TaughtClass("fbot", 3, 5),),
    rb=0.25, drb=0.75, solar_system_name="(1) Ceres ά", host=Host("ned", "NGC 1", 1.5, 0.015625, None, True, 64.0, 0.5),
    crossmatches=(Crossmatch("gaia", "42", 0.5, None, None, 0.25, 8.0, (Magnitude("g", 14.5), Magnitude("bp", 15.0))),
                  Crossmatch("simbad", "M 31", 2.0, "Galaxy", 0.5)),
    redshift=0.5, period=0.1, period_significance=12.5, transit=Transit(3.25, 60000.1, 0.0078125, 2.5, 9.0, 4, 0.5, None, 1.0, 0.125),
    flare=Flare(60000.2, 0.5, 0.25, 8.0), frame=Frame("123", "c05_o", 30.0, 2.0, 26.25, -0.125, 20.5, 21.0, 8.0, 1.25, 0.0, 0.0),
    encoder_id="e" * 16, head_id="h" * 16, reference_id="r" * 16,
)  # fmt: skip
SUMMARY = ScoreSummary(
    worker="w", scoring_id="s", survey="ztf", band="g", region="sky", mjd_first=1.0, mjd_last=2.0, n=3, classes={"agn": 3}, empty_sets=1,
    novelty_sum=0.5, novelty_squares=0.25, novelty=[3] + [0] * 19, top_probability_sum=1.0, top_probability=[0] * 19 + [3],
    distance_sum=0.5, flux=[0] * 20,
)  # fmt: skip
SUMS = replace(
    SUMMARY, model="m", end_ms=2000, statistics={"zp": StatisticSums(2, 0.5, 0.25, 1, [0, 2] + [0] * 30), "limit": StatisticSums(3, 60.0,
    1200.5, 0, [3])}, nulls={"redshift": 3}, schemas={"400": 2, "8a2b3c4d": 1}, extremes=(Extreme("zp", -0.25, "ztf:1:ab"),),
)  # fmt: skip
WORKER = WorkerSummary(
    "w", 1000, 2000, "s", "m", "e", {"ztf": Outcomes(2, 1, {"bad_avro": 1})}, {"agn": 2}, 1, 4, 2.5, {0: 3, 400: 1}, {"agn": 1}
)
ALARM = DriftAlarm("a", "adwin", "novelty", "ztf/g/sky", 0.1, 0.5, 30, "s", 1000)
DIAGNOSED = replace(
    ALARM, detector="panel", statistic="zp", model="m", diagnosis="instrument: zero point", severity=2.5, since_ms=500,
    moved=("zp", "limit"), edges=(-1.0, 0.0, 1.0), before_bins=(0.75, 0.25), after_bins=(0.5, 0.5), examples=("ztf:1:ab", "ztf:2:cd"),
)  # fmt: skip
COMMAND = RetrainCommand("s:a", "s", "novelty moved", "a", 1000)
TAUGHT_BY_HAND = replace(COMMAND, recipe="fine_tune", from_ms=1, until_ms=2, author="a person")
STATE = DriftState("m", "charts", 7, "drift", 1000, b"x")
CLAIM = FrameClaim("file:///night/a.fits", 16_777_216, "ab" * 32)
MASTER = MasterFrame("flat", "ccd0", "r", (1, 2), 1.5, -90.0, None, 60000.0, None, "file:///m/flat.fits", 2880, "cd" * 32, 11, 1000, True)
CALIBRATED = CalibratedFrame(
    "n1-0007", "ccd0", "r", "m31", 60000.25, 30.0, True, "file:///c/a.fits", 4_000_000, "ab" * 32, "cd" * 32, ("ef" * 32,),
    (1.0, 2.0, 359.5, 2.0, 359.5, 2.5, 1.0, 2.5), 0.5, 120.0, 11.5, 2.5, 1.125, 412, 0.0, 0.0078125, None, 26.5, 0.015625, 3.5,
    ("trail",), 1000,
)  # fmt: skip
POSITION = PhotometryPosition("PN+0.5_a", 0.5, -2.5, public=False, origin=FOUND, frame_id="n1-0007", first_mjd=60000.25)
PIXEL = PhotometryPosition("corner", None, None, "ccd0", "m31", 0.0, 12.5)
POINT = PhotometryMeasured("PN+0.5_a", "n1-0007", "ccd0", 60000.25, "r", -3.5, 0.5, 2.5, True, 16, ("trail",), False)
BUNDLE = ModelBundle("ab" * 32, "ab" * 8, {"manifest.json": b"{}", "encoder.onnx": bytes(range(256))}, 1000)
CHOSEN = ModelAnnounced(CHAMPION, "ab" * 32, "ab" * 8, 3, "ada", "finds more", "", 1000)
LABEL = KnownLabel("ztf", -5, "ZTF18abcdefg", "tde", "tns", 0.75, "ada", 1000)
CANDIDATE = Candidate(
    "ztf:ZTF18abcdefg:tde", "opened", "", "ztf", "ZTF18abcdefg", "tde", PACKET, f"{PACKET}:s", 5, 1, 10.5, -3.25, 60_000.5, "r", 12.5, 0.5,
    0.75, 0.5, 59_990.5, 7, 0.0625, "legacy 123", 1.5, 60_000.5,
)  # fmt: skip
QUESTION = LabelWanted("ztf", 5, "ZTF18abcdefg", PACKET, "two models differ", "sn-ia", "fast-blue", 0.75, "m" * 16, 1000)
JUDGED = GateReport(
    "m" * 16, "n" * 16, "", PASSED, "it is better",
    (Gate("macro recall", 0.5, -0.25, 0.75, -0.03, True, False, 200), Gate("time an alert", None, None, None, 1.5, True, False, 0)),
    500, 200, 20, 1000,
)  # fmt: skip
FILTER = FilterDefined(
    "ada lovelace", "near-by", 3, "novelty > 0.5", "moc", b"\1" * 32, b"\0" * 24, ("hosts",), True, 50, "https://example.org/x", 30.0,
    False, "a note", 1000,
)  # fmt: skip
MATCHED = FilterMatch(
    "ada", "near-by", 3, f"{PACKET}:0123456789abcdef", "ZTF18abcdefg", (Watched("hosts", 2, "M 31 ά", 1.5),), True, 20261130, 7, True, 1000,
    b"\0\1",
)  # fmt: skip
LIST = Watchlist("ada", "hosts", 2, b"\0" * 48, "M 31 ά\nM 33".encode(), "", 1000)
RECORDS = (
    FILTER, MATCHED, LIST,
    DETECTION, FULL, SUMMARY, SUMS, WORKER, ALARM, DIAGNOSED, COMMAND, TAUGHT_BY_HAND, STATE,
    CLAIM, MASTER, CALIBRATED, POSITION, PIXEL, POINT, LABEL, QUESTION, JUDGED, CANDIDATE,
    BUNDLE, CHOSEN,
)  # fmt: skip


def schema(schema_id: int) -> Any:
    return fastavro.parse_schema(json.loads(table.BY_ID[schema_id].schema_text))


@pytest.mark.parametrize("found", [DETECTION, FULL, replace(DETECTION, features=(), conformal_set=(), candid=2**63 - 1, flux=None)])
def test_a_detection_is_what_fastavro_reads(found: Detection) -> None:
    framed = codec.encode(found)
    assert framed[:5] == b"\0" + table.DETECTION.to_bytes(4, "big")
    assert fastavro.schemaless_reader(io.BytesIO(framed[5:]), schema(table.DETECTION), None) == to_row(found)
    out = io.BytesIO()
    fastavro.schemaless_writer(out, schema(table.DETECTION), to_row(found))
    assert out.getvalue() == framed[5:]
    [back] = list(fastavro.reader(io.BytesIO(codec.encode_container(found))))
    assert back == to_row(found)


@pytest.mark.parametrize("record", RECORDS, ids=lambda r: type(r).__name__)
def test_a_record_comes_back(record: Any) -> None:
    assert codec.decode(codec.encode(record)) == record
    if isinstance(record, Detection):
        assert codec.decode(codec.encode_container(record)) == record
        assert codec.decode_detection(codec.encode(record)) == record


@pytest.mark.parametrize("found", [SUMMARY, SUMS, replace(SUMMARY, n=5000, classes={"agn": 5000}, novelty=[4999, 1] + [0] * 18)])
def test_a_summary_is_what_fastavro_writes(found: ScoreSummary) -> None:
    row = {f.name: getattr(found, f.name) for f in fields(found)}
    row["statistics"] = {name: sums._asdict() for name, sums in found.statistics.items()}
    row["extremes"] = [one._asdict() for one in found.extremes]
    out = io.BytesIO()
    fastavro.schemaless_writer(out, schema(table.SCORE_SUMMARY), row)
    assert codec.encode(found)[5:] == out.getvalue()


def test_a_detection_and_its_embedding_are_written_together() -> None:
    body, other = codec.encode_both(FULL)
    assert body == codec.encode(FULL)[5:]
    found = codec.expect(other, Embedding)
    assert found.vector().tolist() == [1.0, -2.0]
    assert (found.encoder_id, found.scoring_id) == ("e" * 16, FULL.scoring_id)
    for name in ("packet_id", "survey", "candid", "object_id", "programid", "ra", "dec", "mjd", "classes", "features"):
        assert getattr(found, name) == getattr(FULL, name), name
    assert other is not None
    row = fastavro.schemaless_reader(io.BytesIO(other[5:]), schema(table.EMBEDDING), None)
    assert row["embedding"] == FULL.embedding  # type: ignore[index,call-overload]
    assert codec.encode_both(replace(FULL, embedding=b""))[1] is None


def test_a_row_goes_into_an_arrow_table() -> None:
    rows = pa.Table.from_pylist([to_row(FULL)] * 2)
    assert rows.num_rows == 2
    assert rows["classes"][0].as_py()[0] == {"name": "sn-ia", "probability": 0.75, "prior_probability": 0.5}
    assert rows["crossmatches"][0].as_py()[0]["magnitudes"][1] == {"band": "bp", "magnitude": 15.0}


def test_records_and_schemas_have_the_same_fields_in_the_same_order() -> None:
    def names(record: Any, *out: str) -> list[str]:
        return [f.name for f in fields(record) if f.name not in out]

    def declared(schema_id: int) -> list[str]:
        return [f["name"] for f in json.loads(table.BY_ID[schema_id].schema_text)["fields"]]

    assert names(Detection, "embedding", "monitored") == list(detection.NAMES) == declared(table.DETECTION)
    assert names(ScoreSummary) == declared(table.SCORE_SUMMARY)
    assert names(WorkerSummary) == declared(table.WORKER_SUMMARY)
    assert names(DriftState) == declared(table.DRIFT_STATE)
    assert names(DriftAlarm) == declared(table.DRIFT_ALARM)
    assert names(RetrainCommand) == declared(table.RETRAIN_COMMAND)
    assert names(ClassRecord) == declared(table.CLASS_RECORD)
    assert names(LoopEvent) == declared(table.LOOP_EVENT)
    assert names(ModelBundle) == declared(table.MODEL_BUNDLE)
    assert names(ModelAnnounced) == declared(table.MODEL_ANNOUNCED)
    assert names(AccessToken) == declared(table.ACCESS_TOKEN)
    assert names(KnownLabel) == declared(table.KNOWN_LABEL)
    assert names(LabelWanted) == declared(table.LABEL_WANTED)
    assert names(Candidate) == declared(table.CANDIDATE)
    assert names(GateReport) == declared(table.GATE_REPORT)
    assert names(FrameClaim) == declared(table.FRAME_CLAIM)
    assert names(MasterFrame) == declared(table.MASTER_FRAME)
    assert names(CalibratedFrame) == declared(table.CALIBRATED_FRAME)
    assert names(PhotometryPosition) == declared(table.PHOTOMETRY_POSITION)
    assert names(PhotometryMeasured) == declared(table.PHOTOMETRY_MEASURED)
    assert names(Embedding) == declared(table.EMBEDDING)
    assert names(Rejected) == declared(table.REJECTED)[:3]
    parsed = json.loads(table.BY_ID[table.DETECTION].schema_text)
    inner = {f["name"]: f["type"] for f in parsed["fields"] if not isinstance(f["type"], str)}
    for name, kind in {"decision": Decision, "host": Host, "transit": Transit, "flare": Flare, "frame": Frame}.items():
        assert [f["name"] for f in inner[name][1]["fields"]] == list(kind._fields)
    for name, kind in {"taught": TaughtClass, "crossmatches": Crossmatch, "classes": ClassProbability, "features": Feature}.items():
        assert [f["name"] for f in inner[name]["items"]["fields"]] == list(kind._fields)


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
            if "fields" in json.dumps(field["type"]):
                continue
            assert len(field.get("doc", "")) > 10, where
            kinds = json.dumps(field["type"])
            ident = field["name"] in {"candid", "tic", "sector", "cadence", "quality", "value"}
            if any(kind in kinds for kind in ("float", "double", '"int"', '"long"')) and not ident:
                assert "[" in field["doc"] or ("[" in kinds and "histogram" in field["doc"].lower()), where
        return found + check(node.get("items"), path) + (check(node["type"], path) if isinstance(node.get("type"), (dict, list)) else 0)

    for row in table.TABLE:
        assert check(json.loads(row.schema_text), row.subject) >= len(json.loads(row.schema_text)["fields"])


def test_the_store_knows_what_ships_and_what_it_is_given(tmp_path: Path) -> None:
    store = SchemaStore()
    assert store.get(703)["name"] == "lsst.v7_3.alert"
    assert store.get(table.TESS_ID)["name"] == json.loads(table.BY_ID[table.TESS_ID].schema_text)["name"]
    with pytest.raises(PacketError, match="4242"):
        store.get(4242)
    (tmp_path / "4242.json").write_text('{"type": "record", "name": "mine", "fields": []}')
    (tmp_path / "4243.avsc").write_text('["null"]')
    mine = SchemaStore([tmp_path])
    assert mine.get(4242)["name"] == "mine"
    with pytest.raises(PacketError, match="4243"):
        mine.get(4243)


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
    row = to_row(replace(DETECTION, flux=None))
    assert row["flux"] is None
    assert np.isfinite([row["ra"], row["dec"], row["mjd"], row["novelty"]]).all()


def test_names_that_no_class_may_have() -> None:
    assert [class_name_problem(slug) for slug in (*SLUGS, "fast-blue", "x", "sn2024abc", "a" * LONGEST_SLUG)] == [None] * (len(SLUGS) + 4)
    for name in (
        *RESERVED,
        "",
        "A",
        "sn_ia",
        "sn.ia",
        "-a",
        "a-",
        "a--b",
        "1a",
        "a b",
        "a\n",
        "ä",
        "a\u0661",
        "../x",
        "a" * (LONGEST_SLUG + 1),
    ):
        problem = class_name_problem(name)
        assert problem is not None, name
        assert problem.isprintable()
    below = {topic.name.removeprefix("detections.") for topic in TOPICS if topic.name.startswith("detections.")}
    assert below <= RESERVED, "a topic of ours that no class may take"


CLASS = ClassRecord(
    "fast-blue", 2, "ada", "", "", (PACKET,), ("ZTF18abcdefg",), (False,), "e" * 16, "h" * 64, bytes(8), bytes(8),
    bytes(4), bytes(8), bytes(20),
    0.5, 0.25, 1e-4, 0.03125, 0.75, 1e-3, 0.02, 100, 1000,
)  # fmt: skip


def test_a_taught_class_and_its_event_come_back() -> None:
    value = codec.encode(CLASS)
    assert codec.expect(value, ClassRecord) == replace(CLASS, prior=float(np.float32(1e-4)))
    event = LoopEvent("taught", "fast-blue", 2, "ada", "", value, 1000)
    assert codec.expect(codec.encode(event), LoopEvent) == event
    token = AccessToken("0123456789ab", "ab" * 32, "ada", ("read", "score"), True, 0, False, 1000, 0, "a laptop")
    assert codec.expect(codec.encode(token), AccessToken) == token


@pytest.mark.parametrize(
    "change",
    [
        {"name": "Fast Blue"},
        {"name": "private"},
        {"private": (False, True)},
        {"scale": 0.0},
        {"location": float("nan")},
        {"prior": 1.0},
        {"revision": -1},
        {"packet_ids": ("p",) * (MOST_EXAMPLES + 1), "object_ids": ("o",) * (MOST_EXAMPLES + 1), "private": (False,) * (MOST_EXAMPLES + 1)},
    ],
)
def test_a_class_that_none_of_ours_can_be_is_refused(change: dict[str, Any]) -> None:
    found = codec.decode(codec.encode(replace(CLASS, **change)))
    assert isinstance(found, codec.BadRecord)
    assert found.error_class == "bad_value"


@pytest.mark.parametrize(
    "record",
    [
        replace(CLAIM, sha256="ab" * 31),
        replace(CLAIM, sha256="AB" * 32),
        replace(CLAIM, length=-1),
        replace(CLAIM, uri="x" * 3000),
        replace(MASTER, kind="fringe"),
        replace(MASTER, binning=(1,)),  # type: ignore[arg-type]
        replace(MASTER, binning=(0, 1)),
        replace(MASTER, valid_to=59999.0),
        replace(MASTER, valid_from=float("nan")),
        replace(CALIBRATED, footprint=(1.0, 2.0)),
        replace(CALIBRATED, footprint=(1e9,) * 8),
        replace(CALIBRATED, limit=float("inf")),
        replace(CALIBRATED, masters=("no digest",)),
        replace(CALIBRATED, flags=("f",) * 100),
        replace(POSITION, name="two words"),
        replace(POSITION, name=""),
        replace(POSITION, ra=None),
        replace(POSITION, dec=91.0),
        replace(PIXEL, detector=""),
        replace(PIXEL, ra=1.0, dec=1.0),
        replace(PIXEL, y=-2.0),
        replace(POINT, flux_err=0.0),
        replace(POINT, flux=float("nan")),
        replace(POINT, mask=256),
    ],
    ids=lambda record: type(record).__name__,
)
def test_a_record_of_frames_that_none_of_ours_can_be_is_refused(record: Any) -> None:
    found = codec.decode(codec.encode(record))
    assert isinstance(found, codec.BadRecord)
    assert found.error_class == "bad_value"


@pytest.mark.parametrize(
    "record",
    [
        replace(BUNDLE, sha256="ab" * 31),
        replace(BUNDLE, model="cd" * 8),
        replace(BUNDLE, files={f"{i}": b"" for i in range(MOST_FILES + 1)}),
        replace(BUNDLE, files={"n" * 65: b""}),
        replace(BUNDLE, made_ms=-1),
        replace(CHOSEN, alias="best"),
        replace(CHOSEN, sha256="AB" * 32),
        replace(CHOSEN, model="ab" * 7),
        replace(CHOSEN, revision=-1),
        replace(CHOSEN, claim="x" * 3000),
    ],
    ids=lambda record: type(record).__name__,
)
def test_a_model_that_none_of_ours_can_be_is_refused(record: Any) -> None:
    found = codec.decode(codec.encode(record))
    assert isinstance(found, codec.BadRecord)
    assert found.error_class == "bad_value"


def test_a_bundle_may_be_larger_than_any_other_record() -> None:
    large = replace(BUNDLE, files={"encoder.onnx": bytes(8_000_000)})
    assert codec.decode(codec.encode(large)) == large
    beyond = codec.decode(codec.encode(replace(BUNDLE, files={"encoder.onnx": bytes(8_300_000)})))
    assert isinstance(beyond, codec.BadRecord)
    assert beyond.error_class == "too_large"
    other = codec.decode(codec.encode(DETECTION) + bytes(1_000_000))
    assert isinstance(other, codec.BadRecord)
    assert other.error_class == "too_large"


def test_a_master_made_anew_replaces_the_one_before_and_no_other() -> None:
    anew = replace(MASTER, uri="file:///m/other.fits", sha256="ef" * 32, n_frames=21, made_ms=2000)
    assert anew.key == MASTER.key
    others = (
        replace(MASTER, filter="g"), replace(MASTER, kind="dark"), replace(MASTER, detector="ccd1"), replace(MASTER, binning=(2, 2)),
        replace(MASTER, temperature=-80.0), replace(MASTER, exposure=30.0), replace(MASTER, valid_from=60030.0),
        replace(MASTER, overscan=False),
    )  # fmt: skip
    assert len({MASTER.key, *(other.key for other in others)}) == 1 + len(others)


@pytest.mark.parametrize(
    "record",
    [
        replace(LABEL, label="Fast Blue"),
        replace(LABEL, label="other"),
        replace(LABEL, survey=""),
        replace(LABEL, confidence=1.5),
        replace(LABEL, confidence=float("nan")),
        replace(LABEL, author="x" * 3000),
        replace(QUESTION, gain=float("inf")),
        replace(QUESTION, asked_ms=-1),
        replace(CANDIDATE, event="closed"),
        replace(CANDIDATE, dec=91.0),
        replace(CANDIDATE, mjd=float("nan")),
        replace(CANDIDATE, redshift=float("inf")),
        replace(CANDIDATE, n_detections=-1),
        replace(CANDIDATE, why="x" * 3000),
        replace(JUDGED, verdict="perhaps"),
        replace(JUDGED, gates=JUDGED.gates * 60),
        replace(JUDGED, gates=(JUDGED.gates[0]._replace(low=float("nan")),)),
    ],
    ids=lambda record: type(record).__name__,
)
def test_a_record_of_gates_that_none_of_ours_can_be_is_refused(record: Any) -> None:
    found = codec.decode(codec.encode(record))
    assert isinstance(found, codec.BadRecord)
    assert found.error_class == "bad_value"
