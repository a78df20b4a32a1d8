"""`POST /v1/alerts/{survey}`: packets → their topic, acknowledged by the broker."""

from __future__ import annotations

from typing import Literal

from pydantic import BaseModel, Field

from schemas.avro.wire import MAX_PACKET, PacketError
from service.api.endpoints import Answer, Call, Endpoint, Services, need
from service.api.pages import QueryModel
from service.api.problems import MOST_ERRORS, ProblemError
from service.api.requests import media_type_of
from service.ingest.bodies import PACKETS, ManyError, packets_in
from service.ingest.intake import LONGEST_NAME, AwayError, FaultyError, OtherBytesError

AVRO = "application/vnd.apache.avro"
OCTETS = "application/octet-stream"
MOST_BODY = 2 * MAX_PACKET
"""Of a request [bytes]."""


class SurveyPath(BaseModel):
    """The path's parameters."""

    survey: Literal["ztf", "lsst", "tess", "frames"] = Field(description="Whose packets they are")


class PushQuery(QueryModel):
    """A push has no parameters."""


class Pushed(BaseModel):
    """A packet that is in the stream."""

    packet_id: str = Field(description="survey:candid:digest of the record: its detection has the same")
    candid: str = Field(description="The survey's number of the alert")
    object_id: str = Field(description="The survey's name of the object; the record's key")
    topic: str = Field(description="Topic it lies on")
    partition: int = Field(description="Partition of the topic")
    offset: str = Field(description="Offset in the partition")
    repeated: bool = Field(description="Whether it was pushed before; this is the first answer then")


async def push_alerts(call: Call) -> Answer:
    """Put packets into the stream."""
    intake = need(call.services.intake, "nothing can be pushed")
    name = call.headers.get("idempotency-key")
    if name is not None and not 0 < len(name) <= LONGEST_NAME:
        raise ProblemError(
            422,
            f"an Idempotency-Key has {LONGEST_NAME} characters at most",
            errors=[_fault(["header", "idempotency-key"], "too long or empty")],
        )
    try:
        found = packets_in(call.body, media_type_of(call.headers))
    except ManyError as error:
        raise ProblemError(413, str(error)) from None
    except PacketError as error:
        raise ProblemError(422, f"{error.error_class}: {error.reason}", errors=[_fault(["body"], error.reason)]) from None
    faulty = [(place, packet) for place, packet in enumerate(found) if isinstance(packet, PacketError)]
    packets = [packet for packet in found if isinstance(packet, bytes)]
    if faulty or not packets:
        raise _faulty(faulty or [(0, PacketError("not_avro", "the body holds no packet"))])
    try:
        placed, repeated = await intake.take(packets, call.path.survey, name=name, caller=call.caller.credential)
    except FaultyError as error:
        raise _faulty(error.faults) from None
    except OtherBytesError:
        message = "this Idempotency-Key was used for other packets"
        raise ProblemError(422, message, errors=[_fault(["header", "idempotency-key"], message)]) from None
    except AwayError as error:
        raise away(error) from None
    return Answer([{**one._asdict(), "repeated": repeated} for one in placed])


def check_room(services: Services) -> None:
    """Refuse a push before its body is read, while the broker is away or too much waits."""
    intake = services.intake
    if intake is not None:
        try:
            intake.check_room()
        except AwayError as error:
            raise away(error) from None


def away(error: AwayError) -> ProblemError:
    """The problem of a broker that is away."""
    return ProblemError(503, str(error), headers={"Retry-After": str(max(1, round(error.after_s)))})


def _fault(loc: list[str | int], msg: str) -> dict[str, object]:
    return {"loc": loc, "msg": msg}


def _faulty(faults: list[tuple[int, PacketError]]) -> ProblemError:
    """The problem of packets that are not taken; none of the request was."""
    place, first = faults[0]
    errors = [{"loc": ["body", place], "msg": f"{fault.error_class}: {fault.reason}"} for place, fault in faults[:MOST_ERRORS]]
    return ProblemError(
        422, f"packet {place} is not taken, and none of the request was: {first.error_class}: {first.reason}", errors=errors
    )


ROWS: tuple[Endpoint, ...] = (
    Endpoint(
        method="POST",
        path="/v1/alerts/{survey}",
        scope="push",
        summary="Put packets into the stream",
        description="Answered once the broker has acknowledged every packet on all its replicas. With `Idempotency-Key`, else by the "
        "bytes themselves: a repeat gets the first one's answer, for a day. After 503 the packets may lie on the topic: push them again, "
        "the stream drops what comes twice. All packets of a request are taken, or none.",
        handler=push_alerts,
        parameters=SurveyPath,
        query=PushQuery,
        takes=(OCTETS, AVRO, "application/avro", "avro/binary", PACKETS),
        most_body=MOST_BODY,
        before_body=check_room,
        answer=Pushed,
        many=True,
        status=202,
        tag="push",
    ),
)
