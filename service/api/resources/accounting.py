"""`/v1/counts`, `/v1/rejects`, `/v1/bulk`: what became of a night's packets, those that were rejected, and all of a night at once."""

from __future__ import annotations

import base64
import hashlib
from typing import Any, Literal

from pydantic import BaseModel, Field

from data.history.counting import WORST
from data.history.nights import begin_of, parse_night
from data.history.store import HistoryStore, Part, RejectedRow
from schemas.records.codec import decode_detection
from schemas.records.json_form import to_json
from schemas.records.parts import framing
from service.api.endpoints import Answer, Call, Endpoint
from service.api.history_access import ask, iso, not_there
from service.api.pages import PageQuery, QueryModel
from service.api.problems import ProblemError

PART_ROWS = 5_000
"""Alerts of a part of a night at most."""
NDJSON = "application/x-ndjson"
FRAME_BYTES = 4 + len(framing(0))
"""Before a record of an Avro part: its length, and Confluent's framing."""
MOST_DIGESTS = 10_000
_digests: dict[tuple[int, Part, frozenset[int]], str] = {}
"""Of parts, those of other stores apart by their records' numbers and updates."""


class NightQuery(QueryModel):
    """A night."""

    night: str = Field(pattern=r"^[0-9]{4}-?[0-9]{2}-?[0-9]{2}$", description="Date of the night in UTC, 2026-11-29 (Rubin's from 12 h on)")


class Worked(BaseModel):
    """What the workers count of the same packets."""

    detections: int = Field(description="Scored [1]")
    rejected: int = Field(description="Rejected [1]")
    duplicates: int = Field(description="Seen before [1]")


class TopicCounts(BaseModel):
    """The packets of one survey in a night."""

    topic: str = Field(description="Topic of the packets")
    state: Literal["balanced", "unknown", "loss"] = Field(description="Whether all are accounted for")
    received: int = Field(serialization_alias="in", description="Packets that the broker took")
    detections: int = Field(description="With a detection in the history")
    rejected: int = Field(description="With a rejected packet in the history")
    rejected_by_reason: dict[str, int] = Field(description="The same by error class")
    duplicates: int = Field(description="Without a record, and seen before by the worker's count")
    in_hand: int = Field(description="Not yet committed and compared")
    lost: int = Field(description="Acknowledged without an outcome, or with one that is not on its topic")
    uncounted: int = Field(description="Passed before this history began")
    worker: Worked = Field(description="What the workers say of the same offsets")


class NightCounts(BaseModel):
    """What became of a night's packets; in = detections + rejected + duplicates + in_hand + lost + uncounted."""

    night: str = Field(description="Date")
    state: Literal["balanced", "unknown", "loss"] = Field(
        description="The worst of the topics'; unknown where nothing is known of the night"
    )
    topics: list[TopicCounts] = Field(description="By topic of packets")


class RejectsQuery(PageQuery):
    """Which rejected packets."""

    error_class: str | None = Field(None, max_length=64, description="Of one error class")


class RejectedPacket(BaseModel):
    """A rejected packet."""

    id: str = Field(description="partition/offset on alerts.rejected, by which `protonova rejects` shows and re-drives it")
    error_class: str = Field(description="Short name to count by")
    reason: str = Field(description="Why, in one sentence")
    survey: str | None = Field(None, description="Where that much could be read")
    topic: str = Field(description="Where the packet came from")
    partition: int = Field(description="Its partition")
    offset: str = Field(description="Its offset")
    packets: int = Field(description="Offsets that it stands for")
    attempt: int = Field(description="How often it was tried")
    size: int = Field(description="Length of the packet [bytes]")
    complete: bool = Field(description="Whether all of it is kept")
    arrived: str | None = Field(None, description="When the broker took the packet, ISO 8601 in UTC")


class BulkQuery(NightQuery):
    """How a night is cut and written."""

    records: Literal["json", "avro"] = Field(
        "json", description="Lines of JSON, or Avro in Confluent framing, each behind its length (4 bytes, big-endian)"
    )


class OffsetRange(BaseModel):
    """Offsets of a topic's partition."""

    topic: str = Field(description="Topic of packets")
    partition: int = Field(description="Its partition")
    first: str = Field(description="First offset")
    last: str = Field(description="Last offset")


class BulkPart(BaseModel):
    """A part of a night."""

    href: str = Field(description="Where it is fetched")
    rows: int = Field(description="Alerts in it")
    first: str = Field(description="Number of its first alert in this history")
    last: str = Field(description="Number of its last")
    sha256: str | None = Field(None, description="Of its bytes as Avro; null of JSON, whose ETag has it")
    size: int | None = Field(None, description="Of its bytes as Avro; null of JSON [bytes]")
    offsets: list[OffsetRange] = Field(description="Where its packets lie; others may lie between, of other callers or scored later")


class Manifest(BaseModel):
    """The parts of a night; each alert is in one of them."""

    night: str = Field(description="Date")
    rows: int = Field(description="Alerts that the caller may see")
    parts: list[BulkPart] = Field(description="In the order of arrival; a part's sha256 is its ETag")


class PartPath(BaseModel):
    """Names a part."""

    night: str = Field(pattern=r"^[0-9]{4}-?[0-9]{2}-?[0-9]{2}$")
    first: str = Field(pattern=r"^[0-9]{1,18}$")
    last: str = Field(pattern=r"^[0-9]{1,18}$")
    form: Literal["ndjson", "avro"]


def night_of_text(text: str, *, where: str = "query") -> int:
    """A night from its date.

    Raises
    ------
    ProblemError
        422: it is not a date; 404 in a path.
    """
    try:
        night = parse_night(text)
        begin_of(night, "ztf")
    except (ValueError, OverflowError):
        if where == "path":
            raise not_there(f"night {text}") from None
        raise ProblemError(422, "night: not a date", errors=[{"loc": ["query", "night"], "msg": "not a date"}]) from None
    return night


def date_of(night: int) -> str:
    """A night as a date."""
    return f"{night // 10_000:04d}-{night // 100 % 100:02d}-{night % 100:02d}"


async def show_counts(call: Call) -> Answer:
    """What became of a night's packets."""
    night = night_of_text(call.query.night)
    rows = await ask(call, lambda store, private: store.counts(night, private=private))
    state = max((row.state for row in rows), key=WORST.index, default="unknown")
    return Answer({"night": date_of(night), "state": state, "topics": [row.plain() for row in rows]})


async def list_rejects(call: Call) -> Answer:
    """Rejected packets, the latest first."""
    limit, before = call.query.limit, None if call.after is None else int(call.after[0])
    rows = await ask(call, lambda store, private: store.rejects(limit=limit + 1, before=before, error_class=call.query.error_class))
    return Answer(rows=[_rejected(row) for row in rows[:limit]], next=(rows[limit - 1].id,) if len(rows) > limit else None)


async def show_manifest(call: Call) -> Answer:
    """The parts of a night."""
    night, form = night_of_text(call.query.night), "ndjson" if call.query.records == "json" else "avro"
    date = date_of(night)

    def question(store: HistoryStore, private: frozenset[int]) -> list[tuple[Part, str | None]]:
        parts = store.parts(night, private=private, rows=PART_ROWS)
        if form == "ndjson":
            return [(p, None) for p in parts]
        return [(p, _digest(store, night, part=p, private=private)) for p in parts]

    parts = await ask(call, question)
    rows: list[dict[str, Any]] = [
        {"href": f"/v1/bulk/{date}/{p.first}-{p.last}.{form}", "rows": p.rows, "first": str(p.first), "last": str(p.last), "sha256": digest,
         "size": None if digest is None else p.size + FRAME_BYTES * p.rows, "offsets": [_offsets(*place) for place in p.offsets]}
        for p, digest in parts
    ]  # fmt: skip
    return Answer({"night": date, "rows": sum(p.rows for p, _ in parts), "parts": rows})


async def fetch_part(call: Call) -> Answer:
    """A part of a night: its alerts' records, in the order of arrival."""
    night, first, last = night_of_text(call.path.night, where="path"), int(call.path.first), int(call.path.last)
    if last - first > 100 * PART_ROWS:
        raise not_there("part of so many alerts")

    def question(store: HistoryStore, private: frozenset[int]) -> tuple[bytes, int]:
        bodies = store.bodies(night, private=private, first=first, last=last)
        if call.path.form == "avro":
            return _framed(bodies), len(bodies)
        return b"".join(to_json(decode_detection(framing(schema_id) + body)) + b"\n" for schema_id, body in bodies), len(bodies)

    data, rows = await ask(call, question)
    if not rows:
        raise not_there(f"part {first}-{last} of {date_of(night)}")
    digest = hashlib.sha256(data).hexdigest()
    headers = {"ETag": f'"{digest}"', "Rows": str(rows), "Repr-Digest": f"sha-256=:{_base64(digest)}:", "Accept-Ranges": "bytes"}
    media = NDJSON if call.path.form == "ndjson" else "application/octet-stream"
    begin = _range_of(call.headers.get("range"), len(data), etag=headers["ETag"], condition=call.headers.get("if-range"))
    if begin is None:
        return Answer(raw=data, media_type=media, headers=headers)
    headers["Content-Range"] = f"bytes {begin}-{len(data) - 1}/{len(data)}"
    return Answer(raw=data[begin:], media_type=media, headers=headers, status=206)


def _offsets(topic: str, partition: int, *ends: int) -> dict[str, Any]:
    return {"topic": topic, "partition": partition, "first": str(ends[0]), "last": str(ends[1])}


def _framed(bodies: list[tuple[int, bytes]]) -> bytes:
    """Records in Confluent framing, each behind its length."""
    framed = [framing(schema_id) + body for schema_id, body in bodies]
    return b"".join(len(one).to_bytes(4, "big") + one for one in framed)


def _digest(store: HistoryStore, night: int, *, part: Part, private: frozenset[int]) -> str:
    """The sha256 of a part as Avro; remembered, as long as none of its records is replaced."""
    key = (night, part, private)
    if key not in _digests:
        if len(_digests) >= MOST_DIGESTS:
            _digests.clear()
        _digests[key] = hashlib.sha256(_framed(store.bodies(night, private=private, first=part.first, last=part.last))).hexdigest()
    return _digests[key]


def _base64(digest: str) -> str:
    return base64.b64encode(bytes.fromhex(digest)).decode()


def _range_of(header: str | None, size: int, *, etag: str, condition: str | None) -> int | None:
    """From which byte the rest is wanted (RFC 9110, 14.2: any other range is answered whole)."""
    if header is None or (condition is not None and condition != etag):
        return None
    unit, _, text = header.partition("=")
    begin, _, end = text.partition("-")
    if unit.strip() != "bytes" or not (begin.isascii() and begin.isdigit()) or end or len(begin) > 12:
        return None
    return int(begin) if int(begin) < size else None


def _rejected(row: RejectedRow) -> dict[str, Any]:
    r = row.packet
    return {
        "id": f"{r.partition}/{r.offset}", "error_class": r.error_class, "reason": r.reason, "survey": r.survey, "topic": r.origin.topic,
        "partition": r.origin.partition, "offset": str(r.origin.offset), "packets": r.records, "attempt": r.attempt, "size": r.size,
        "complete": r.complete, "arrived": iso(r.arrived_ms),
    }  # fmt: skip


ROWS: tuple[Endpoint, ...] = (
    Endpoint(
        method="GET", path="/v1/counts", scope="read", summary="What became of a night's packets", handler=show_counts, query=NightQuery,
        description="By the broker's offsets, the workers' commits and the records in the history, which do not know each other.",
        answer=NightCounts, tag="nights",
    ),
    Endpoint(
        method="GET", path="/v1/rejects", scope="operate", summary="Rejected packets, the latest first", handler=list_rejects,
        query=RejectsQuery, answer=RejectedPacket, table=True, tag="nights",
    ),
    Endpoint(
        method="GET", path="/v1/bulk", scope="read", summary="The parts of a night", handler=show_manifest, query=BulkQuery,
        answer=Manifest, tag="nights",
    ),
    Endpoint(
        method="GET", path="/v1/bulk/{night}/{first}-{last}.{form}", scope="read", summary="A part of a night", handler=fetch_part,
        description="A transfer that broke off goes on by Range with If-Range.", parameters=PartPath,
        gives=(NDJSON, "application/octet-stream"), tag="nights",
    ),
)  # fmt: skip
