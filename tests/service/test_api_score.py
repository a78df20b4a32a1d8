"""`POST /v1/score`: the stream's scores to the bit, in every form of body and answer; and every limit."""

from __future__ import annotations

import asyncio
import base64
import csv
import gzip
import io
import struct
import threading
from collections.abc import AsyncIterator, Callable, Sequence
from pathlib import Path
from typing import Any

import fastavro
import numpy as np
import orjson
import pyarrow.parquet as pq
import pytest

from data.simulate.night import night
from gpu.session import EngineError
from pipeline.score import score
from pipeline.state import ScoringState, load
from schemas.avro.container import Container
from schemas.records import codec, json_form
from schemas.records.detection import Detection
from schemas.records.rejected import Rejected
from schemas.surveys import tess
from schemas.surveys.decode import Decoder
from schemas.surveys.plain_curves import PlainCurve, packet_of
from service.api.micro_batches import BusyError, MicroBatcher
from service.api.resources import score_packets
from service.api.scorers import Scorers
from service.ingest.bodies import PACKETS
from streams.scorer import Pipeline, StateHolder
from tests.service.api_client import Api

OCTETS = {"Content-Type": "application/octet-stream"}
N = 24


@pytest.fixture(scope="module")
def state() -> ScoringState:
    return load(None, "onnxruntime")


@pytest.fixture(scope="module")
def packets() -> list[bytes]:
    return [packet for packet, _ in night(seed=5, n=N, duplicates=0, broken=0)]


@pytest.fixture(scope="module")
def expected(state: ScoringState, packets: list[bytes]) -> list[bytes]:
    return [json_form.to_json(found) for found in score(packets, state) if isinstance(found, Detection)]


@pytest.fixture
async def api(state: ScoringState, tmp_path: Path) -> AsyncIterator[Api]:
    api = Api(tmp_path, score_packets.ROWS)
    pipeline = Pipeline(state)
    api.services.scorers = scorers = Scorers(api.settings, pipeline, holder=StateHolder(pipeline))
    scorers.start()
    yield api
    await scorers.stop()


def framed(packets: Sequence[bytes]) -> bytes:
    return b"".join(struct.pack(">I", len(packet)) + packet for packet in packets)


def of_many(packets: Sequence[bytes]) -> bytes:
    readers = [fastavro.reader(io.BytesIO(packet)) for packet in packets]
    out = io.BytesIO()
    fastavro.writer(out, readers[0].writer_schema, [record for reader in readers for record in reader], codec="deflate")
    return out.getvalue()


def rows_of(content: bytes) -> list[bytes]:
    """The rows of an answer, each as the stream's JSON form has it."""
    assert content.startswith(b'{"data":[')
    assert content.endswith(b"]}")
    return [orjson.dumps(row) for row in orjson.loads(content)["data"]]


async def test_packets_sent_at_once_by_many_get_the_streams_scores_to_the_bit(
    api: Api, packets: list[bytes], expected: list[bytes]
) -> None:
    async with api.client(api.key("score")) as client:
        found = await asyncio.gather(*(client.post("/v1/score", content=packet, headers=OCTETS) for packet in packets))
    assert [answer.content for answer in found] == [b'{"data":[' + row + b"]}" for row in expected]
    assert api.services.scorers is not None
    assert api.services.scorers.current.batches < N  # of many requests


@pytest.mark.parametrize("kind", ["lengths", "lengths, gzip", "container", "json"])
async def test_many_packets_in_one_request_come_back_in_order(api: Api, packets: list[bytes], expected: list[bytes], kind: str) -> None:
    bodies: dict[str, tuple[bytes, dict[str, str]]] = {
        "lengths": (framed(packets), {"Content-Type": PACKETS}),
        "lengths, gzip": (gzip.compress(framed(packets), 1), {"Content-Type": PACKETS, "Content-Encoding": "gzip"}),
        "container": (of_many(packets), {"Content-Type": "application/vnd.apache.avro"}),
        "json": (orjson.dumps([{"packet": base64.b64encode(packet).decode()} for packet in packets]), {"Content-Type": "application/json"}),
    }
    body, headers = bodies[kind]
    async with api.client(api.key("score")) as client:
        answer = await client.post("/v1/score", content=body, headers=headers)
    assert answer.status_code == 200, answer.text
    found = orjson.loads(answer.content)["data"]
    wanted = [orjson.loads(row) for row in expected]
    assert found == wanted


async def test_the_other_formats_hold_the_same_alerts(api: Api, packets: list[bytes], state: ScoringState) -> None:
    wanted = [found for found in score(packets[:5], state) if isinstance(found, Detection)]
    async with api.client(api.key("score")) as client:
        sent = {"content": framed(packets[:5]), "headers": {"Content-Type": PACKETS}}
        found = {form: await client.post(f"/v1/score?format={form}", **sent) for form in ("avro", "csv", "parquet", "votable")}
    assert {answer.status_code for answer in found.values()} == {200}
    records = list(fastavro.reader(io.BytesIO(found["avro"].content)))
    assert [record["detection_id"] for record in records] == [d.detection_id for d in wanted]  # type: ignore[index,call-overload]
    one = codec.decode_detection(codec.encode_container(wanted[0]))
    assert records[0]["top_probability"] == one.top_probability  # type: ignore[index,call-overload]
    rows = list(csv.DictReader(io.StringIO(found["csv"].text)))
    assert [row["candid"] for row in rows] == [str(d.candid) for d in wanted]
    assert pq.read_table(io.BytesIO(found["parquet"].content))["top_class"].to_pylist() == [d.top_class for d in wanted]


def curve(n: int = 12, survey: str = "lsst", **fields: Any) -> dict[str, Any]:
    bands = {"lsst": "ugrizy", "ztf": "gri", "tess": "T"}[survey]
    base: dict[str, Any] = {
        "survey": survey, "ra": 150.1, "dec": 2.2, "mjd": [61_000.0 + 1.7 * k for k in range(n)],
        "band": [bands[k % len(bands)] for k in range(n)], "flux": [3.0 + 1.25 * k for k in range(n)], "flux_err": [0.4] * n,
    }  # fmt: skip
    return {**base, **fields}


@pytest.mark.parametrize("survey", ["lsst", "ztf", "tess"])
async def test_a_light_curve_is_scored_as_the_packet_that_is_made_of_it(api: Api, state: ScoringState, survey: str) -> None:
    wanted = [curve(n, survey) for n in (1, 2, 12, 60)]
    made = [score_packets.LightCurve.model_validate(one).packet() for one in wanted]
    expected = [json_form.to_json(found) for found in score(made, state) if isinstance(found, Detection)]
    assert len(expected) == len(wanted)
    async with api.client(api.key("score")) as client:
        single = [await client.post("/v1/score", json=one) for one in wanted]
        together = await client.post("/v1/score", json=wanted)
    assert [answer.content for answer in single] == [b'{"data":[' + row + b"]}" for row in expected]
    assert together.content == b'{"data":[' + b",".join(expected) + b"]}"


@pytest.mark.parametrize("survey", ["lsst", "ztf", "tess"])
def test_a_light_curve_means_the_same_in_the_packet(survey: str) -> None:
    """By the survey's own decoder: times, bands, fluxes come back as they were given, in any order."""
    rng = np.random.default_rng(3)
    given = curve(30, survey)
    order = rng.permutation(30).tolist()
    shuffled = {**given, **{name: [given[name][k] for k in order] for name in ("mjd", "band", "flux", "flux_err")}}
    packets = [score_packets.LightCurve.model_validate(one).packet() for one in (given, shuffled)]
    found = Decoder().decode(packets)
    assert found.rejected == ()
    batch = found.batch
    assert (batch.survey, batch.ra.tolist()) == ((survey, survey), [150.1, 150.1])
    for row in range(2):
        valid = batch.valid[row]
        np.testing.assert_allclose(np.asarray(batch.time[row])[valid], given["mjd"], rtol=0, atol=2e-8)
        flux = np.asarray(given["flux"]) - (np.median(given["flux"]) if survey == "tess" else 0.0)
        np.testing.assert_allclose(np.asarray(batch.flux[row])[valid], flux, rtol=2e-6, atol=1e-4)
        np.testing.assert_allclose(np.asarray(batch.flux_err[row])[valid], given["flux_err"], rtol=2e-6)
    assert (packets[0] == packets[1]) == (survey == "tess") or batch.candid[0] != batch.candid[1]


def test_a_light_curves_own_names_are_kept() -> None:
    for survey, name, wanted in (
        ("lsst", "123456789012345678", "123456789012345678"),
        ("ztf", "ZTF26abcdef", "ZTF26abcdef"),
        ("tess", "TIC 42", "TIC 42"),
    ):
        found = Decoder().decode([score_packets.LightCurve.model_validate(curve(3, survey, object_id=name, candid="77")).packet()])
        assert found.batch.object_id == (wanted,)
        assert survey == "tess" or found.batch.candid == (77,)


async def test_a_fits_light_curve_is_scored(api: Api, state: ScoringState, tmp_path: Path) -> None:
    fits = pytest.importorskip("astropy.io.fits")
    time = 3000.0 + np.arange(400) * 2 / 1440
    columns = [
        fits.Column("TIME", "D", array=time),
        fits.Column("PDCSAP_FLUX", "E", array=1000 + np.sin(time), unit="e-/s"),
        fits.Column("PDCSAP_FLUX_ERR", "E", array=np.full(400, 2.0), unit="e-/s"),
        fits.Column("QUALITY", "J", array=np.zeros(400)),
        fits.Column("CADENCENO", "J", array=np.arange(400)),
    ]
    primary = fits.PrimaryHDU()
    primary.header.update(
        {"TELESCOP": "TESS", "TICID": 42, "SECTOR": 7, "RA_OBJ": 10.0, "DEC_OBJ": -5.0, "TESSMAG": 11.0, "OBJECT": "TIC 42"}
    )
    table = fits.BinTableHDU.from_columns(columns)
    table.header.update({"BJDREFI": 2457000, "BJDREFF": 0.0, "TIMEUNIT": "d"})
    out = io.BytesIO()
    fits.HDUList([primary, table]).writeto(out)
    async with api.client(api.key("score")) as client:
        answer = await client.post("/v1/score", content=out.getvalue(), headers={"Content-Type": "application/fits"})
        image = await client.post("/v1/score", content=b"SIMPLE  =                    T" + b" " * 2850, headers=OCTETS)
    assert answer.status_code == 200, answer.text
    assert answer.json()["data"][0]["object_id"] == "TIC 42"
    assert image.status_code == 422


async def test_a_rejected_packet_is_named_in_its_place(api: Api, packets: list[bytes], expected: list[bytes]) -> None:
    broken = [packets[0], b"Obj\x01nonsense", packets[1], packets[2][:1000]]
    async with api.client(api.key("score")) as client:
        many = await client.post("/v1/score", content=framed(broken), headers={"Content-Type": PACKETS})
        alone = await client.post("/v1/score", content=broken[1], headers=OCTETS)
        avro = await client.post("/v1/score?format=avro", content=framed(broken), headers={"Content-Type": PACKETS})
    rows = orjson.loads(many.content)["data"]
    assert [rows[0], rows[2]] == [orjson.loads(expected[0]), orjson.loads(expected[1])]
    assert set(rows[1]["error"]) == {"error_class", "reason", "survey"}
    assert rows[3]["error"]["error_class"] == "truncated"
    assert (alone.status_code, avro.status_code) == (422, 422)
    assert alone.json()["errors"][0]["loc"] == ["body"]


def deep(n: int) -> bytes:
    return b'{"mjd":' + b"[" * n + b"]" * n + b"}"


BAD_JSON: list[tuple[str, bytes, str]] = [
    ("truncated", b'{"ra": 1', "body"),
    ("deep", deep(100_000), "body"),
    ("NaN", b'{"survey":"lsst","ra":NaN,"dec":0,"mjd":[61000],"band":"g","flux":[1],"flux_err":[1]}', "ra"),
    ("Infinity", orjson.dumps(curve(1)).replace(b"[3.0]", b"[Infinity]"), "flux"),
    ("1e999", orjson.dumps(curve(1)).replace(b"[3.0]", b"[1e999]"), "flux"),
    ("error of zero", orjson.dumps(curve(1, flux_err=[0.0])), "flux_err"),
    ("lengths", orjson.dumps(curve(3, flux=[1.0])), "one length"),
    ("unknown field", orjson.dumps(curve(1, fluxx=[1.0])), "fluxx"),
    ("text for a number", orjson.dumps(curve(1, ra="150")), "ra"),
    ("number for an id", orjson.dumps(curve(1, candid=2**60)), "candid"),
    ("beyond the sky", orjson.dumps(curve(1, dec=91.0)), "dec"),
    ("band", orjson.dumps(curve(1, band="Q")), "band"),
    ("name", orjson.dumps(curve(1, object_id="../../x")), "object_id"),
    ("many points", orjson.dumps(curve(1, mjd=[61_000.0] * 20_001)), "mjd"),
    ("time", orjson.dumps(curve(1, mjd=[1.0])), "time"),
    ("empty array", b"[]", "empty"),
    ("a thousand and one", orjson.dumps([{"packet": "AAAA"}] * 1001), "body"),
    ("not base64", b'[{"packet": "!"}]', "packet"),
    ("a number", b"7", "body"),
    ("nothing", b"", "body"),
    ("not text", b"\xff\xfe", "body"),
]


@pytest.mark.parametrize(("body", "said"), [case[1:] for case in BAD_JSON], ids=[case[0] for case in BAD_JSON])
async def test_json_that_is_not_a_light_curve_is_refused_with_the_place(api: Api, body: bytes, said: str) -> None:
    async with api.client(api.key("score")) as client:
        answer = await client.post("/v1/score", content=body, headers={"Content-Type": "application/json"})
    assert answer.status_code == 422, answer.text
    assert said in answer.text
    assert answer.json()["errors"]


@pytest.mark.parametrize(
    ("body", "headers", "status"),
    [
        (b"x", {"Content-Type": "text/plain"}, 415),
        (b"x", {**OCTETS, "Content-Encoding": "br"}, 415),
        (b"x", {**OCTETS, "Content-Encoding": "gzip, gzip"}, 415),
        (b"\x1f\x8bnot gzip", {**OCTETS, "Content-Encoding": "gzip"}, 400),
        (gzip.compress(b"x" * 100)[:-12], {**OCTETS, "Content-Encoding": "gzip"}, 400),
        (gzip.compress(bytes(score_packets.MOST_BODY + 1), 9), {**OCTETS, "Content-Encoding": "gzip"}, 413),
        (b"x", {**OCTETS, "Content-Length": str(score_packets.MOST_BODY + 1)}, 413),
        (b"x", {**OCTETS, "Content-Length": "9" * 30}, 413),
        (b"\x00\x00\x00\xff\x00", {"Content-Type": PACKETS}, 422),
        (b"\x00", {"Content-Type": PACKETS}, 422),
        (b"\xff\xff\xff\xffx", {"Content-Type": PACKETS}, 422),
        (b"", OCTETS, 422),
        (struct.pack(">I", 1) * 1 + b"x", {"Content-Type": PACKETS}, 422),
        ((struct.pack(">I", 1) + b"x") * 1001, {"Content-Type": PACKETS}, 413),
        (b"PK\x03\x04", OCTETS, 422),
    ],
)  # fmt: skip
async def test_bodies_beyond_the_limits_are_refused(api: Api, body: bytes, headers: dict[str, str], status: int) -> None:
    async with api.client(api.key("score")) as client:
        answer = await client.post("/v1/score", content=body, headers=headers)
    assert answer.status_code == status, answer.text
    assert answer.headers["content-type"] == "application/problem+json"


async def test_a_zstd_bomb_is_inflated_no_further_than_the_limit(api: Api) -> None:
    import pyarrow as pa

    body = pa.compress(bytes(200_000_000), codec="zstd", asbytes=True)
    assert len(body) < 100_000
    async with api.client(api.key("score")) as client:
        answer = await client.post("/v1/score", content=body, headers={**OCTETS, "Content-Encoding": "zstd"})
    assert answer.status_code == 413


async def test_a_state_that_is_not_kept_is_404_and_the_one_in_force_by_its_id_is_itself(
    api: Api, packets: list[bytes], state: ScoringState, expected: list[bytes]
) -> None:
    async with api.client(api.key("score")) as client:
        own = await client.post(f"/v1/score?state={state.scoring_id}", content=packets[0], headers=OCTETS)
        other = await client.post("/v1/score?state=0123456789abcdef", content=packets[0], headers=OCTETS)
        odd = await client.post("/v1/score?state=../x", content=packets[0], headers=OCTETS)
    assert own.content == b'{"data":[' + expected[0] + b"]}"
    assert (other.status_code, odd.status_code) == (404, 422)


async def until(true: Callable[[], bool]) -> None:
    while not true():  # noqa: ASYNC110 - another thread has no event for it
        await asyncio.sleep(0.001)


class Slow:
    """A scorer that waits where it is asked to: what batches are made of, not what they hold, is looked at."""

    classes: Sequence[str] = ()
    scoring_id = model = engine = "slow"

    def __init__(self) -> None:
        self.batches: list[list[bytes]] = []
        self.fails = 0
        self.gate = threading.Event()
        """Closed, a batch waits in its thread."""
        self.gate.set()

    def __call__(self, packets: Sequence[bytes]) -> Sequence[Detection | Rejected]:
        self.batches.append(list(packets))
        if self.fails:
            self.fails -= 1
            raise EngineError("out of memory")
        assert self.gate.wait(60)
        return [Rejected("test", packet.decode()) for packet in packets]


async def test_a_request_of_many_does_not_hold_up_one_of_a_single_packet() -> None:
    scorer = Slow()
    batcher = MicroBatcher(lambda: scorer, window_s=0.0, threaded=True)
    batcher.start()
    scorer.gate.clear()
    large = asyncio.ensure_future(batcher.score([b"%d" % i for i in range(640)], lambda found: found.reason))
    await until(lambda: bool(scorer.batches))
    small = asyncio.ensure_future(batcher.score([b"small"], lambda found: found.reason))
    await asyncio.sleep(0)
    scorer.gate.set()
    assert await small == ["small"]
    assert b"small" in scorer.batches[1]
    assert await large == [str(i) for i in range(640)]
    await batcher.stop()


async def test_a_full_queue_refuses_at_once_and_who_goes_away_frees_his_place() -> None:
    scorer = Slow()
    batcher = MicroBatcher(lambda: scorer, window_s=0.0, most_waiting=150, threaded=True)
    batcher.start()
    scorer.gate.clear()
    waiting = [asyncio.ensure_future(batcher.score([b"x"] * 64, lambda found: found)) for _ in range(2)]
    await until(lambda: bool(scorer.batches))
    third = asyncio.ensure_future(batcher.score([b"y"] * 86, lambda found: found))
    await asyncio.sleep(0)
    with pytest.raises(BusyError):
        await batcher.score([b"z"] * 64, lambda found: found)
    third.cancel()
    scorer.gate.set()
    await asyncio.gather(*waiting)
    await asyncio.gather(third, return_exceptions=True)
    assert batcher.waiting == 0
    assert not any(b"y" in batch for batch in scorer.batches)
    await batcher.stop()


@pytest.mark.parametrize("threaded", [False, True])
async def test_a_batch_that_the_engine_fails_on_is_tried_in_halves_and_then_given_up(threaded: bool) -> None:
    scorer = Slow()
    batcher = MicroBatcher(lambda: scorer, window_s=0.0, threaded=threaded)
    batcher.start()
    scorer.fails = 1
    assert len(await batcher.score([b"x"] * 8, lambda found: found)) == 8
    assert [len(batch) for batch in scorer.batches] == [8, 4, 4]
    scorer.fails = 2
    with pytest.raises(EngineError):
        await batcher.score([b"x"] * 8, lambda found: found)
    assert batcher.engine_failures == 1
    assert len(await batcher.score([b"x"], lambda found: found)) == 1
    await batcher.stop()


async def test_one_requests_writing_that_fails_is_its_own_fault_alone() -> None:
    scorer = Slow()
    batcher = MicroBatcher(lambda: scorer, window_s=0.01)
    batcher.start()

    def broken(found: Any) -> Any:
        raise ValueError("broken")

    one, other = await asyncio.gather(
        batcher.score([b"a"], broken), batcher.score([b"b"], lambda found: found.reason), return_exceptions=True
    )
    assert isinstance(one, ValueError)
    assert other == ["b"]
    assert len(scorer.batches) == 1
    await batcher.stop()


def test_the_plain_curves_packet_is_the_survey_readers_own() -> None:
    packet = packet_of(PlainCurve("tess", 1.0, 2.0, [61_000.0], ["T"], [100.0], [1.0], "42", None, None, 10.0, 3))
    fields = Container(orjson.loads(tess.SCHEMA.read_bytes())).schema
    [record] = fastavro.reader(io.BytesIO(packet))
    assert set(record) == {field["name"] for field in fields["fields"]}  # type: ignore[arg-type]
