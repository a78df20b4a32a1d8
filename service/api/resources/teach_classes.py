"""`/v1/classes/…`: what a class would catch, taught and forgotten, which alert to label next, and a class as a document."""

from __future__ import annotations

from typing import TYPE_CHECKING, Annotated, Any, Literal

from pydantic import BaseModel, Field

from data.history.store import AlertFilter
from errors import UserError
from operators.namespace import to_host
from schemas.taxonomy import CLASSES
from service.api.broker_facts import answered, conflict
from service.api.class_lesson import MOST_WINDOW, LessonBody, champion_of, check_revision, prepared, recent_of
from service.api.endpoints import Answer, Call, Endpoint, need
from service.api.history_access import ask, in_thread, iso, not_there
from service.api.history_models import Alert, alert_json
from service.api.pages import QueryModel
from service.api.problems import ProblemError
from streams.class_document import class_of, exported, imported, missing_from
from streams.class_lessons import Suggestion, figures_of, look_at, scoring_id_with, suggestions

if TYPE_CHECKING:
    from schemas.records.class_record import ClassRecord
    from streams.agents.teaching import Outcome
    from streams.class_lessons import Prepared

JSON = "application/json"
MOST_LESSON = 32 * 2**20
"""Of a lesson [bytes]: 500 packets in base64 and more."""
MOST_DOCUMENT = 64 * 2**20
"""Of a class as a document [bytes]."""
LATEST = 10
"""Alerts that stand for a class."""
NAME = r"^[a-z0-9][a-z0-9-]{0,63}$"
Interval = Annotated[list[float | None], Field(min_length=2, max_length=3)]


class ClassPath(BaseModel):
    """Names a class."""

    name: str = Field(pattern=NAME, description="Slug of the class")


class ClassExample(BaseModel):
    """An alert that a class was taught from."""

    packet_id: str = Field(description="survey:candid:digest")
    object_id: str = Field(description="The survey's name of the object")


class WholeClass(BaseModel):
    """A class and what it is known by."""

    name: str = Field(description="Slug: of topics, filters and records")
    title: str = Field(description="What it is")
    taught: bool = Field(description="Taught beside the model's own")
    threshold: float | None = Field(description="Prior probability from which its topic takes an alert [1]")
    topic: str = Field(description="Its topic")
    revision: int | None = Field(description="Of a taught class's record")
    author: str | None = Field(description="Who taught it")
    note: str | None = Field(description="Why")
    description: str | None = Field(description="The physical description that it was taught by, as JSON")
    taught_at: str | None = Field(description="When, ISO 8601 in UTC")
    examples: list[ClassExample] = Field(description="What it was taught from, as far as the caller may see")
    alerts: list[Alert] = Field(description="The latest alerts on its topic; none where no history is kept")


class CaughtAlert(BaseModel):
    """A recent alert that the class would take."""

    packet_id: str = Field(description="survey:candid:digest")
    object_id: str = Field(description="The survey's name of the object")
    probability: float = Field(description="Of the class, at balanced classes [1]")
    now: str = Field(description="What it is called without the class")
    now_probability: float = Field(description="At balanced classes [1]")
    on_topic: bool = Field(description="Whether it reaches the class's threshold")


class ClassPreview(BaseModel):
    """What a class would do."""

    name: str = Field(description="Slug of the class")
    examples: list[str] = Field(description="Packets that it is taught from; of a description none")
    threshold: float = Field(description="Prior probability from which its topic takes an alert [1]")
    window: int = Field(description="Recent alerts that were looked through")
    count: int = Field(description="Of these, what the class would take")
    on_topic: int = Field(description="Of these, what would lie on its topic")
    caught: list[CaughtAlert] = Field(description="The most probable of them, 100 at most")
    false_rate: Interval = Field(description="Share of known alerts of other classes called so, and its 90 % interval [1]")
    purity: Interval = Field(description="Interval of the share of what is taken that is of the class [1]; null: nothing is taken")
    now: dict[str, int] = Field(description="What the examples are called without the class: with what it is confused")
    overlap: str = Field(description="Known class that takes half of the examples or more; empty: none")
    odd: list[int] = Field(description="Places of examples that the others alone would not take")
    said: list[str] = Field(description="What else there is to know")
    based_on: int = Field(description="Revision that the class has now; 0: it is not taught")


class TaughtNow(ClassPreview):
    """A class that was taught."""

    revision: int = Field(description="Of its record")
    scoring_id: str = Field(description="What workers score with some seconds later")


class ChangeQuery(QueryModel):
    """What the caller saw."""

    revision: int | None = Field(None, ge=0, description="Of the class that you saw: 409 where it is another now")
    note: str = Field("", max_length=1000, description="Why, kept with the change")


class ImportQuery(ChangeQuery):
    """How a class is taken over."""

    mode: Literal["new", "replace"] = Field("new", description="replace: also where a class of the name is taught")


class ChangedClass(BaseModel):
    """A class after a change."""

    name: str = Field(description="Slug of the class")
    revision: int = Field(description="Of the change")
    missing: int = Field(0, description="Examples whose packets were not in the document: another model would need them")


class SuggestQuery(QueryModel):
    """How much is looked at."""

    limit: int = Field(20, ge=1, le=200, description="Alerts at most")
    window: int = Field(2000, ge=1, le=MOST_WINDOW, description="Recent alerts that are looked through")


class SuggestedAlert(BaseModel):
    """An alert whose label would say most about the class."""

    packet_id: str = Field(description="survey:candid:digest")
    object_id: str = Field(description="The survey's name of the object")
    probability: float = Field(description="Of the class, at balanced classes [1]")
    other: str = Field(description="The most probable other class")
    other_probability: float = Field(description="Its probability [1]")


async def show_class(call: Call) -> Answer:
    """A class and what it is known by."""
    name = call.path.name
    champion, record = await champion_of(call), await _record(call)
    known = dict(zip(champion.bundle.classes, to_host(champion.bundle.head.thresholds).tolist(), strict=True))
    if record is None and name not in known:
        raise not_there(f"class {name}")
    alerts: list[dict[str, Any]] = []
    if call.services.history is not None:
        try:
            wanted = AlertFilter(class_name=name, published=True)
            alerts = [
                alert_json(one) for one in await ask(call, lambda store, private: store.alerts(wanted, private=private, limit=LATEST))
            ]
        except ProblemError:  # no history is kept: the class is known all the same
            alerts = []
    title = next((entry.title for entry in CLASSES if entry.slug == name), name)
    if record is None:
        nothing = dict.fromkeys(("revision", "author", "note", "description", "taught_at"))
        return Answer({"name": name, "title": title, "taught": False, "threshold": known[name], "topic": f"detections.{name}", **nothing,
                       "examples": [], "alerts": alerts})  # fmt: skip
    shown = [
        {"packet_id": packet, "object_id": thing}
        for packet, thing, private in zip(record.packet_ids, record.object_ids, record.private, strict=True)
        if call.private or not private
    ]
    return Answer(
        {"name": name, "title": record.note or title, "taught": True, "threshold": record.threshold, "topic": f"detections.{name}",
         "revision": record.revision, "author": record.author, "note": record.note, "description": record.description or None,
         "taught_at": iso(record.taught_ms), "examples": shown, "alerts": alerts},
        headers={"ETag": f'"{record.revision}"'},
    )  # fmt: skip


async def preview_class(call: Call) -> Answer:
    """What a class would do, before it is taught."""
    made = await prepared(call, call.path.name, before=await _record(call), champion=await champion_of(call))
    return Answer(_figures(made))


async def teach_class(call: Call) -> Answer:
    """Teach a class."""
    from streams.agents.teaching import Change, change

    facts = need(call.services.facts, "nothing can be taught")
    _need_broker(call)
    name, champion = call.path.name, await champion_of(call)
    made = await prepared(call, name, before=await _record(call), champion=champion)
    record = made.record
    wanted = Change(name, record.author, record.note, record, made.gathered.packets, made.before, record.taught_ms)

    async def work() -> Outcome:
        return await change(call.services.settings, wanted)

    outcome: Outcome = await facts.change(work, present=lambda: _present(call, name))
    scoring_id = await call.services.heavy.run(lambda: scoring_id_with(outcome.records, bundle=champion.bundle, state=champion.state))
    data = {**_figures(made), "revision": outcome.revision, "scoring_id": scoring_id}
    return Answer(data, headers={"ETag": f'"{outcome.revision}"'})


async def forget_class(call: Call) -> Answer:
    """Take a class away; the scores are those from before it was taught, bit for bit."""
    from streams.agents.teaching import Change, change

    facts = need(call.services.facts, "nothing can be forgotten")
    _need_broker(call)
    name, before = call.path.name, await _record(call)
    check_revision(name, before, seen=call.query.revision)
    if before is None:
        raise not_there(f"taught class {name}")
    wanted = Change(name, call.caller.name, call.query.note, None, {}, before.revision, int(1000 * call.services.clock()))

    async def work() -> Outcome:
        return await change(call.services.settings, wanted)

    outcome: Outcome = await facts.change(work, present=lambda: _present(call, name))
    return Answer({"name": name, "revision": outcome.revision})


async def suggest_alerts(call: Call) -> Answer:
    """Which alerts to label next."""
    name, champion = call.path.name, await champion_of(call)
    head = champion.state.head.weights.map(to_host)
    if name not in champion.state.classes:
        raise not_there(f"class {name} among those that score")
    record, labelled = await _record(call), await _labelled(call)
    async with call.services.heavy.turn():
        recent = await recent_of(call, call.query.window)

        def work() -> list[Suggestion]:
            seen = look_at(champion.state, recent, without=record.packet_ids if record is not None else (), private=call.private)
            return suggestions(name, seen, head=head, classes=champion.state.head.known, known=labelled, most=call.query.limit)

        found = await call.services.heavy.run(work)
    return Answer(rows=[one._asdict() for one in found])


async def export_class(call: Call) -> Answer:
    """A taught class as a document."""
    record = await _record(call)
    if record is None:
        raise not_there(f"taught class {call.path.name}")
    if any(record.private) and not call.private:
        raise ProblemError(403, f"{record.name} was taught from alerts that are not public: its record names them")
    document, _ = await answered(lambda: exported(call.services.settings, record))
    headers = {"ETag": f'"{record.revision}"', "Content-Disposition": f'attachment; filename="{record.name}.json"'}
    return Answer(raw=document, media_type=JSON, headers=headers)


async def import_class(call: Call) -> Answer:
    """Teach the class of a document."""
    facts = need(call.services.facts, "nothing can be taught")
    _need_broker(call)
    try:
        document = await in_thread(lambda: class_of(call.body, "the body"))
    except UserError as error:
        raise ProblemError(422, str(error), errors=[{"loc": ["body"], "msg": str(error)}]) from None
    record, champion = document[0], await champion_of(call)
    before = (await facts.taught()).get(record.name)
    check_revision(record.name, before, seen=call.query.revision)
    if before is not None and call.query.mode == "new":
        raise conflict(f"{record.name} is taught already, by {before.author}: replace", before.revision)
    revision = 0 if before is None else before.revision

    async def work() -> Outcome:
        return await imported(
            call.services.settings, document, bundle=champion.bundle, before=revision, author=call.caller.name, note=call.query.note
        )

    outcome: Outcome = await facts.change(work, present=lambda: _present(call, record.name))
    return Answer({"name": record.name, "revision": outcome.revision, "missing": missing_from(document)})


def _figures(made: Prepared) -> dict[str, Any]:
    found = figures_of(made.record, made.preview)
    caught = found["caught"]
    kept = ("name", "examples", "threshold", "window", "now", "overlap", "odd")
    return {
        **{name: found[name] for name in kept}, "count": len(caught), "on_topic": sum(one["on_topic"] for one in caught),
        "caught": caught[:100], "false_rate": list(found["false_rate"]), "purity": list(found["purity"]), "said": list(made.said),
        "based_on": made.before,
    }  # fmt: skip


def _need_broker(call: Call) -> None:
    if call.services.settings.kafka is None:
        raise ProblemError(503, "without a broker nothing can be changed", headers={"Retry-After": "60"})


async def _record(call: Call) -> ClassRecord | None:
    """The record of the class that the path names; None: it is not taught."""
    found: ClassRecord | None = (await need(call.services.facts, "the taught classes cannot be read").taught()).get(call.path.name)
    return found


async def _present(call: Call, name: str) -> int:
    """The revision of a class as the topic has it now."""
    from streams.agents.teaching import read_records

    found = (await answered(lambda: read_records(call.services.settings))).get(name)
    return 0 if found is None else found.revision


async def _labelled(call: Call) -> set[str]:
    """Objects that have a label."""
    from streams.known_labels import read_labels

    found = await need(call.services.facts, "labels cannot be read").ask("labels", lambda: read_labels(call.services.settings), nothing=())
    return {label.object_id for label in found}


_CHANGED = {409: "The class is another one by now; `revision` says which."}
_NONE = {404: "There is no such class."}

ROWS: tuple[Endpoint, ...] = (
    Endpoint(
        method="POST", path="/v1/classes", scope="teach", summary="Teach the class of a document", handler=import_class,
        description="As `GET /v1/classes/{name}/export` gives it: the same class, of another broker or of an earlier day.",
        query=ImportQuery, takes=(JSON,), most_body=MOST_DOCUMENT, answer=ChangedClass, errors=_CHANGED, tag="classes",
    ),
    Endpoint(
        method="GET", path="/v1/classes/{name}", scope="read", summary="A class and what it is known by", handler=show_class,
        parameters=ClassPath, answer=WholeClass, tag="classes",
    ),
    Endpoint(
        method="POST", path="/v1/classes/{name}", scope="teach", summary="Teach a class", handler=teach_class, parameters=ClassPath,
        description="From packets, alerts, objects or a description; every worker scores with it within seconds. Of two at once the second "
        "is answered 409 with the present revision.", body=LessonBody, most_body=MOST_LESSON, answer=TaughtNow, errors=_CHANGED,
        tag="classes",
    ),
    Endpoint(
        method="DELETE", path="/v1/classes/{name}", scope="teach", summary="Forget a taught class", handler=forget_class,
        description="The scores are those from before it was taught, bit for bit.", parameters=ClassPath, query=ChangeQuery,
        answer=ChangedClass, errors=_CHANGED, tag="classes",
    ),
    Endpoint(
        method="POST", path="/v1/classes/{name}/preview", scope="teach", summary="What a class would do, before it is taught",
        handler=preview_class, description="Counts, examples, confusions and an interval of its purity, over recent alerts. Nothing is "
        "written.", parameters=ClassPath, body=LessonBody, most_body=MOST_LESSON, answer=ClassPreview, errors=_CHANGED, audited=False,
        tag="classes",
    ),
    Endpoint(
        method="GET", path="/v1/classes/{name}/suggest", scope="read", summary="Which alerts to label next", handler=suggest_alerts,
        description="Recent alerts nearest to the class's boundary, one an object, those that have a label left out.",
        parameters=ClassPath, query=SuggestQuery, answer=SuggestedAlert, table=True, errors=_NONE, tag="classes",
    ),
    Endpoint(
        method="GET", path="/v1/classes/{name}/export", scope="read", summary="A taught class as a document", handler=export_class,
        description="With the packets of its public examples. Who may not see what is not public is refused a class taught from that.",
        parameters=ClassPath, gives=(JSON,), tag="classes",
    ),
)  # fmt: skip
