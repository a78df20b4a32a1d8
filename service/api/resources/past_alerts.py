"""`/v1/alerts`: alerts of the past, their records, and the packets as they came. SkyPortal's generic broker reads the first two."""

from __future__ import annotations

from pydantic import Field

from data.history.store import AlertFilter, StoredAlert
from errors import RetryableError
from service.api.endpoints import Answer, Call, Endpoint, need
from service.api.history_access import ask, mjd_of, not_there, record_json
from service.api.history_models import Alert, AlertPath, SurveyName, TimeQuery, WholeAlert, alert_json
from service.api.pages import QueryModel
from service.api.problems import ProblemError

AVRO = "application/vnd.apache.avro"


class AlertsQuery(TimeQuery):
    """Which alerts."""

    survey: SurveyName | None = Field(None, description="Of one survey")
    class_name: str | None = Field(None, alias="class", max_length=64, description="Decided as a class")
    published: bool | None = Field(None, description="Whether the class's threshold is reached")
    min_probability: float | None = Field(None, ge=0, le=1, description="Least prior probability of the decision [1]")
    min_novelty: float | None = Field(None, ge=0, le=1, description="Least novelty [1]")


class RevisionQuery(QueryModel):
    """Which revision."""

    packet_id: str | None = Field(None, max_length=128, description="The packet of one revision; the newest where none is named")


async def list_alerts(call: Call) -> Answer:
    """Alerts, the latest observed first."""
    q: AlertsQuery = call.query
    wanted = AlertFilter(
        survey=q.survey, class_name=q.class_name, published=q.published, least_probability=q.min_probability, least_novelty=q.min_novelty,
        since_mjd=mjd_of(q.since, "since"), until_mjd=mjd_of(q.until, "until"), first_detected=q.time == "first_detected",
    )  # fmt: skip
    before = None if call.after is None else (float(call.after[0]), int(call.after[1]))
    rows = await ask(call, lambda store, private: store.alerts(wanted, private=private, limit=q.limit + 1, before=before))
    last = rows[q.limit - 1] if len(rows) > q.limit else None
    return Answer(rows=[alert_json(row) for row in rows[: q.limit]], next=None if last is None else (last.mjd, last.id))


async def stored_alert(call: Call) -> StoredAlert:
    """The alert that the path names, in the revision that the query does.

    Raises
    ------
    ProblemError
        404.
    """
    survey, candid, packet_id = call.path.survey, int(call.path.candid), getattr(call.query, "packet_id", None)
    found = None
    if -(2**63) <= candid < 2**63:
        found = await ask(call, lambda store, private: store.alert(survey, candid, private=private, packet_id=packet_id))
    if found is None:
        raise not_there(f"alert {survey}:{candid}" + (f" of packet {packet_id}" if packet_id else ""))
    return found


async def show_alert(call: Call) -> Answer:
    """An alert with its record."""
    found = await stored_alert(call)
    return Answer({**alert_json(found.summary), "revisions": list(found.revisions), "record": record_json(found)})


async def show_packet(call: Call) -> Answer:
    """The packet of an alert, as it came."""
    found = await stored_alert(call)
    return Answer(raw=await packet_of(call, found), media_type=AVRO, headers={"ETag": f'"{found.summary.packet_id}"'})


async def packet_of(call: Call, alert: StoredAlert) -> bytes:
    """An alert's packet, from its topic.

    Raises
    ------
    ProblemError
        404: it has left the topic, or its place is not known.
    """
    packets = need(call.services.packets, "packets cannot be read")
    found: bytes | None = None
    if alert.origin is not None:
        try:
            found = await packets.read(alert.origin, packet_id=alert.summary.packet_id)
        except RetryableError:
            raise ProblemError(503, "the broker does not answer", headers={"Retry-After": "5"}) from None
    if found is None:
        raise ProblemError(404, f"the packet of {alert.summary.packet_id} has left its topic; its record is kept")
    return found


ROWS: tuple[Endpoint, ...] = (
    Endpoint(
        method="GET", path="/v1/alerts/{survey}:{candid}", scope="read", summary="An alert with its record", handler=show_alert,
        description="The newest revision of the candid, unless `packet_id` names another.",
        parameters=AlertPath, query=RevisionQuery, answer=WholeAlert, tag="alerts",
    ),
    Endpoint(
        method="GET", path="/v1/alerts/{survey}:{candid}/packet", scope="read", summary="The packet of an alert, as it came",
        handler=show_packet, description="Kafka keeps packets for seven days; after that it is 404.", parameters=AlertPath,
        query=RevisionQuery, gives=(AVRO,), tag="alerts",
    ),
    Endpoint(
        method="GET", path="/v1/alerts", scope="read", summary="Alerts, the latest observed first", handler=list_alerts, query=AlertsQuery,
        answer=Alert, table=True, tag="alerts",
    ),
)  # fmt: skip
