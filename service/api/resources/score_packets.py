"""`POST /v1/score`: packets or light curves → the scores that the stream gives them, bit for bit."""

from __future__ import annotations

import base64
import binascii
import io
from collections.abc import Callable, Sequence
from typing import Annotated, Any

import orjson
from pydantic import BaseModel, ConfigDict, Field, PrivateAttr, RootModel, ValidationError, model_validator

from data.connectors.fits_headers import FitsError
from data.connectors.light_curve_files import NotALightCurve
from data.connectors.light_curve_files import packet_of as packet_of_fits
from errors import RetryableError
from gpu.session import EngineError
from schemas.avro.wire import MAX_PACKET, PacketError
from schemas.records import codec, detection, json_form
from schemas.records.detection import Detection
from schemas.records.rejected import Rejected
from schemas.surveys.plain_curves import CurveSurvey, PlainCurve, packet_of
from service.api.endpoints import Answer, Call, Endpoint, need
from service.api.micro_batches import BusyError, MicroBatcher
from service.api.pages import QueryModel
from service.api.problems import ProblemError, not_as_described
from service.api.requests import media_type_of
from service.api.resources.later_scores import AcceptedScore, accept, wants_later
from service.ingest.bodies import MOST_PACKETS, PACKETS, ManyError, packets_in

AVRO = "application/vnd.apache.avro"
FITS = "application/fits"
JSON = "application/json"
OCTETS = "application/octet-stream"
MOST_BODY = 4 * MAX_PACKET
"""Of a request [bytes]: some hundred packets with images, or a thousand light curves."""
MOST_POINTS = 20_000
"""Of a JSON light curve."""
INLINE_CURVES = 4
"""Light curves that are made packets of on the event loop; of more, in a thread."""

Number = Annotated[float, Field(allow_inf_nan=False)]


class LightCurve(BaseModel):
    """A light curve; its last point in time is the alert that is scored. The lists are of one length."""

    model_config = ConfigDict(extra="forbid", strict=True)
    survey: CurveSurvey = Field("lsst", description="Whose bands, and by whose rules it is read: ztf (g r i), lsst (u g r i z y), tess (T)")
    ra: Number = Field(ge=0, le=360, description="Right ascension, ICRS", json_schema_extra={"unit": "deg"})
    dec: Number = Field(ge=-90, le=90, description="Declination, ICRS", json_schema_extra={"unit": "deg"})
    mjd: list[Number] = Field(min_length=1, max_length=MOST_POINTS, description="Mid-exposure, TAI [d]")
    band: list[str] | str = Field(description="Band of each point, or one of all")
    flux: list[Number] = Field(
        min_length=1, max_length=MOST_POINTS, description="Difference flux, signed; of TESS the star's whole flux [µJy]"
    )
    flux_err: list[Annotated[float, Field(allow_inf_nan=False, gt=0)]] = Field(
        min_length=1, max_length=MOST_POINTS, description="1 sigma error of the flux [µJy]"
    )
    object_id: str | None = Field(None, max_length=64, pattern=r"^[A-Za-z0-9 ]+$", description="The survey's name of the object")
    candid: str | None = Field(
        None, pattern=r"^[0-9]{1,19}$", description="The survey's number of the alert, as text; else one of the content"
    )
    real_bogus: Number | None = Field(None, ge=0, le=1, description="The survey's score of being real (drb, reliability)")
    magnitude: Number | None = Field(None, ge=-10, le=40, description="TESS magnitude of the quiet star")
    sector: int = Field(0, ge=0, lt=640, description="TESS sector")

    @model_validator(mode="after")
    def _of_one_length(self) -> LightCurve:
        lengths = {len(self.mjd), len(self.flux), len(self.flux_err)}
        if isinstance(self.band, list):
            lengths.add(len(self.band))
        if len(lengths) > 1:
            raise ValueError("mjd, band, flux and flux_err have one length")
        return self

    def packet(self) -> bytes:
        """The packet that is scored."""
        bands = self.band if isinstance(self.band, list) else [self.band] * len(self.mjd)
        candid = None if self.candid is None else int(self.candid)
        return packet_of(
            PlainCurve(self.survey, self.ra, self.dec, self.mjd, bands, self.flux, self.flux_err, self.object_id, candid, self.real_bogus,
                       self.magnitude, self.sector)
        )  # fmt: skip


class PacketText(BaseModel):
    """A packet as text."""

    model_config = ConfigDict(extra="forbid")
    packet: str = Field(min_length=1, description="The packet's bytes in base64", json_schema_extra={"contentEncoding": "base64"})
    _bytes: bytes = PrivateAttr()

    @model_validator(mode="after")
    def _decoded(self) -> PacketText:
        try:
            self._bytes = base64.b64decode(self.packet, validate=True)
        except (ValueError, binascii.Error):
            raise ValueError("packet is not base64") from None
        return self

    @property
    def decoded(self) -> bytes:
        """The packet."""
        return self._bytes


class ScoreBody(RootModel[LightCurve | list[LightCurve | PacketText]]):
    """A light curve, or up to a thousand of them and of packets."""

    root: LightCurve | Annotated[list[LightCurve | PacketText], Field(max_length=MOST_PACKETS)]


class ScoreQuery(QueryModel):
    """Parameters of a score."""

    state: str | None = Field(None, pattern=r"^[0-9a-f]{16}$", description="scoring_id of a kept state; else the one in force")


class Failure(BaseModel):
    """Why a packet has no score."""

    error_class: str = Field(description="Short name to count by")
    reason: str = Field(description="What is wrong with it, and what to do")
    survey: str | None = Field(None, description="Whose packet it is, where that much could be read")


class ClassShare(BaseModel):
    """A class's probability."""

    name: str = Field(description="Slug of the class")
    probability: float | None = Field(description="If all classes were equally frequent")
    prior_probability: float | None = Field(description="Under the stream's prior")


class ScoredAlert(BaseModel):
    """A detection, or why there is none; all fields of a detection are there (`/schemas/json/detection`), these among them."""

    model_config = ConfigDict(extra="allow")
    packet_id: str | None = Field(None, description="survey:candid:digest of the record")
    detection_id: str | None = Field(None, description="packet_id:scoring_id")
    survey: str | None = Field(None, description="ztf, lsst, tess or frames")
    candid: str | None = Field(None, description="The survey's number of the alert")
    object_id: str | None = Field(None, description="The survey's name of the object")
    ra: float | None = Field(None, description="Right ascension, ICRS", json_schema_extra={"unit": "deg", "ucd": "pos.eq.ra"})
    dec: float | None = Field(None, description="Declination, ICRS", json_schema_extra={"unit": "deg", "ucd": "pos.eq.dec"})
    mjd: float | None = Field(None, description="Time of the alert, TAI", json_schema_extra={"unit": "d", "ucd": "time.epoch"})
    top_class: str | None = Field(None, description="The class of the highest balanced probability")
    top_probability: float | None = Field(None, description="Its balanced probability")
    novelty: float | None = Field(None, description="How unlike every known class, 0 to 1")
    conformal_set: list[str] | None = Field(None, description="The classes that hold the true one in 90 % of alerts")
    classes: list[ClassShare] | None = Field(None, description="Every class's probability")
    scoring_id: str | None = Field(None, description="What the scores depend on besides the packet")
    error: Failure | None = Field(None, description="Why there is no score; null: there is one")


def as_json(outcome: Detection | Rejected) -> bytes:
    """An outcome as the stream's JSON form has it."""
    if isinstance(outcome, Detection):
        return json_form.to_json(outcome)
    return orjson.dumps({"error": _failure(outcome)})


def as_row(outcome: Detection | Rejected) -> dict[str, Any]:
    """An outcome as a row of a table."""
    if isinstance(outcome, Rejected):
        return {"error": _failure(outcome)}
    row = detection.to_row(outcome)
    return {**row, "candid": str(outcome.candid)}


def _failure(rejected: Rejected) -> dict[str, Any]:
    return {"error_class": rejected.error_class, "reason": rejected.reason, "survey": rejected.survey}


def as_avro(outcome: Detection | Rejected) -> bytes | None:
    """A detection's record as Avro; None: there is none."""
    return detection.body(outcome, detection.coded(outcome)) if isinstance(outcome, Detection) else None


async def score_packets(call: Call) -> Answer:
    """Score what the body holds."""
    batcher = await need(call.services.scorers, "nothing can be scored").of(call.query.state)
    packets, bad, single = await _packets(call)
    if wants_later(call):
        n = len(packets) + len(bad)
        return accept(call, lambda: _scored(call, batcher, packets=packets, bad=bad, single=single), row=ScoredAlert, packets=n)
    return await _scored(call, batcher, packets=packets, bad=bad, single=single)


async def _scored(call: Call, batcher: MicroBatcher, *, packets: list[Any], bad: list[tuple[int, Rejected]], single: bool) -> Answer:
    write: Callable[[Any], Any] = as_json if call.form == "json" else as_avro if call.form == "avro" else as_row
    try:
        found = await batcher.score([p for p in packets if isinstance(p, bytes)], write)
    except BusyError as error:
        raise ProblemError(503, str(error), headers={"Retry-After": "1"}) from None
    except EngineError:
        raise ProblemError(503, "the engine failed; the packets are not at fault", headers={"Retry-After": "5"}) from None
    except RetryableError as error:
        raise ProblemError(503, str(error), headers={"Retry-After": "5"}) from None
    for position, fault in bad:
        found.insert(position, write(fault))
    return _answer(call, found, single=single)


def _answer(call: Call, found: list[Any], *, single: bool) -> Answer:
    if call.form == "json":
        if single and found[0].startswith(b'{"error"'):
            failure = orjson.loads(found[0])["error"]
            errors = [{"loc": ["body"], "msg": failure["reason"]}]
            raise ProblemError(422, f"{failure['error_class']}: {failure['reason']}", errors=errors)
        return Answer(raw=b'{"data":[' + b",".join(found) + b"]}", media_type=JSON)
    if call.form == "avro":
        if None in found:
            raise ProblemError(422, f"packet {found.index(None)} was rejected; ask for JSON, which says why")
        return Answer(raw=codec.container_of_many(found), media_type=AVRO)
    return Answer(rows=found)


async def _packets(call: Call) -> tuple[list[Any], list[tuple[int, Rejected]], bool]:
    """The packets of the body; those that are none, with their place; whether it was one."""
    media = media_type_of(call.headers)
    if media == JSON:
        return await _of_json(call.body)
    if media == FITS or call.body.startswith(b"SIMPLE  ="):
        return [_of_fits(call.body)], [], True
    try:
        found: list[bytes | PacketError] = packets_in(call.body, media)
    except ManyError as error:
        raise ProblemError(413, str(error)) from None
    except PacketError as error:
        raise ProblemError(422, f"{error.error_class}: {error.reason}", errors=[{"loc": ["body"], "msg": error.reason}]) from None
    if not found:
        raise ProblemError(422, "the body holds no packet")
    bad = [(i, Rejected(p.error_class, p.reason, p.survey)) for i, p in enumerate(found) if isinstance(p, PacketError)]
    return [p for p in found if isinstance(p, bytes)], bad, len(found) == 1


async def _of_json(body: bytes) -> tuple[list[Any], list[tuple[int, Rejected]], bool]:
    import asyncio

    try:
        given = ScoreBody.model_validate_json(body).root if body[:1] == b"[" else LightCurve.model_validate_json(body)
    except ValidationError as error:
        raise not_as_described(error, "body") from None
    items: Sequence[LightCurve | PacketText] = given if isinstance(given, list) else [given]
    if len(items) > INLINE_CURVES:
        made = await asyncio.to_thread(_made, items)
    else:
        made = _made(items)
    if not made:
        raise ProblemError(422, "the array is empty", errors=[{"loc": ["body"], "msg": "the array is empty"}])
    bad = [(i, p) for i, p in enumerate(made) if isinstance(p, Rejected)]
    return [p for p in made if isinstance(p, bytes)], bad, not isinstance(given, list)


def _made(items: Sequence[LightCurve | PacketText]) -> list[bytes | Rejected]:
    out: list[bytes | Rejected] = []
    for item in items:
        try:
            out.append(item.packet() if isinstance(item, LightCurve) else item.decoded)
        except PacketError as error:
            out.append(Rejected(error.error_class, error.reason, error.survey))
    return out


def _of_fits(body: bytes) -> bytes:
    try:
        return packet_of_fits(io.BytesIO(body))
    except (NotALightCurve, FitsError) as error:
        raise ProblemError(422, f"the FITS file is not a light curve that is read: {error}") from None


ROWS: tuple[Endpoint, ...] = (
    Endpoint(
        method="POST",
        path="/v1/score",
        scope="score",
        summary="Score packets or light curves",
        description="The same function as the stream's, hence the same scores to the bit. One packet (Avro container or Confluent "
        "framing), a container of many, packets behind their lengths, a FITS light curve, or JSON. A packet that is rejected alone is "
        "answered 422; among others it stands in its place with `error`. With `Prefer: respond-async` it is answered 202 at once, and the "
        "scores are fetched at the Location.",
        handler=score_packets,
        query=ScoreQuery,
        takes=(OCTETS, AVRO, "application/avro", "avro/binary", PACKETS, FITS, "image/fits", JSON),
        described={JSON: ScoreBody},
        most_body=MOST_BODY,
        answer=ScoredAlert,
        accepted=AcceptedScore,
        table=True,
        errors={404: "No state with that id is kept."},
        tag="score",
    ),
)
