"""`/api/{cone,query,object}/`: the calls that Lasair's client makes, so that its scripts read our history.

    lasair_client(token="pn_…", endpoint="http://127.0.0.1:8581/api")

A form or JSON comes in; an object with Lasair's names goes out, or a list. Of Lasair's SQL the one table `objects` is answered, with
conditions on its columns joined by AND; nothing of it reaches the store's own SQL.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Mapping
from operator import eq, ge, gt, le, lt
from typing import Any, Literal
from urllib.parse import parse_qsl

from pydantic import BaseModel, ConfigDict, Field, RootModel, ValidationError

from data.history.store import HistoryStore, ObjectFilter, ObjectRow, PointRow
from service.api.endpoints import Answer, Call, Endpoint
from service.api.history_access import ask, not_there
from service.api.history_models import LARGEST_RADIUS, SMALLEST_RADIUS, Name
from service.api.problems import TITLES, ProblemError, not_as_described
from service.api.requests import media_type_of

FORM = "application/x-www-form-urlencoded"
TAKES = (FORM, "application/json")
MOST_FIELDS = 50
MOST_OF_CONE = 1_000
MOST_ROWS = 1_000
MOST_OFFSET = 10_000
COLUMNS = ("objectId", "ramean", "decmean", "ncand", "jdmin", "jdmax", "mjdmin", "mjdmax", "class", "probability", "novelty", "survey")
"""Of the table `objects`."""
OPERATORS: dict[str, Callable[[Any, Any], Any]] = {"=": eq, ">": gt, "<": lt, ">=": ge, "<=": le}
_CONDITION = re.compile(r"^(?:objects\.)?(\w+)\s*(>=|<=|=|>|<)\s*(?:'([^']*)'|\"([^\"]*)\"|(-?[0-9.]+(?:[eE][-+]?[0-9]+)?))$")
_SELECTED = re.compile(r"^(?:objects\.)?(\w+|\*)$")
JD_OF_MJD = 2_400_000.5


class LasairQuestion(BaseModel):
    """A form of Lasair's; fields that are not described are passed over, as Lasair does."""

    model_config = ConfigDict(allow_inf_nan=False)


class LasairCone(LasairQuestion):
    """A cone."""

    ra: float = Field(ge=0, lt=360, description="[deg]")
    dec: float = Field(ge=-90, le=90, description="[deg]")
    radius: float = Field(5.0, ge=SMALLEST_RADIUS, le=LARGEST_RADIUS, description="[arcsec]")
    requestType: Literal["all", "nearest", "count"] = Field("all", description="What is wanted")  # noqa: N815 - Lasair's name


class LasairObject(LasairQuestion):
    """An object."""

    objectId: Name  # noqa: N815 - Lasair's name
    lite: bool = Field(True, description="Without what Lasair adds; there is nothing more here")
    lasair_added: bool = Field(True, description="As above")


class LasairQuery(LasairQuestion):
    """A query."""

    selected: str = Field(min_length=1, max_length=2_000, description="Columns of objects, or *")
    tables: str = Field("objects", max_length=200, description="objects")
    conditions: str = Field("", max_length=4_000, description="column operator value, joined by AND")
    limit: int = Field(1_000, ge=1, le=MOST_ROWS, description="Rows at most")
    offset: int = Field(0, ge=0, le=MOST_OFFSET, description="Rows that are passed over")


class LasairAnswer(RootModel[dict[str, Any] | list[dict[str, Any]]]):
    """What Lasair answers with; see docs/http-api.md."""


def read_form(call: Call, model: type[LasairQuestion]) -> Any:
    """A form, or JSON, by its model.

    Raises
    ------
    ProblemError
        400, which Lasair's client reports, where it is not as described.
    """
    try:
        if media_type_of(call.headers) == "application/json":
            return model.model_validate_json(call.body)
        fields = dict(parse_qsl(call.body.decode("utf-8", "strict"), keep_blank_values=True, max_num_fields=MOST_FIELDS))
        return model.model_validate_strings({name: value for name, value in fields.items() if name in model.model_fields})
    except ValidationError as error:
        fault = not_as_described(error, "body")
        raise ProblemError(400, fault.detail, errors=fault.errors) from None
    except (ValueError, UnicodeDecodeError):
        raise ProblemError(400, "the form cannot be read") from None


async def lasair_cone(call: Call) -> Answer:
    """Lasair's cone."""
    q: LasairCone = read_form(call, LasairCone)
    limit = 1 if q.requestType == "nearest" else MOST_OF_CONE
    near = await ask(call, lambda store, private: store.cone(q.ra, q.dec, radius=q.radius / 3600, private=private, limit=limit))
    found = [{"object": n.object.object_id, "separation": n.separation} for n in near]
    if q.requestType == "count":
        return Answer({"count": len(found)})
    if q.requestType == "nearest":
        return Answer({"nearest": found[0]} if found else {})
    return Answer(found)


async def lasair_object(call: Call) -> Answer:
    """Lasair's object."""
    q: LasairObject = read_form(call, LasairObject)

    def question(store: HistoryStore, private: frozenset[int]) -> tuple[ObjectRow | None, list[PointRow]]:
        return store.object(q.objectId, private=private), store.lightcurve(q.objectId, private=private)

    found, points = await ask(call, question)
    if found is None:
        raise not_there(f"object {q.objectId}")
    candidates = [
        {"candid": str(p.candid), "mjd": p.mjd, "jd": p.mjd + JD_OF_MJD, "band": p.band, "ra": p.ra, "dec": p.dec, "flux_uJy": p.flux,
         "flux_err_uJy": p.flux_err, "class": p.class_name, "probability": p.probability, "novelty": p.novelty}
        for p in reversed(points)
    ]  # fmt: skip
    return Answer({"objectId": found.object_id, "objectData": row_of(found), "candidates": candidates})


async def lasair_query(call: Call) -> Answer:
    """Lasair's query."""
    q: LasairQuery = read_form(call, LasairQuery)
    if {table.strip() for table in q.tables.split(",")} != {"objects"}:
        raise ProblemError(400, "tables: objects is the one table here")
    columns = selected_of(q.selected)
    tests = conditions_of(q.conditions)
    wanted = ObjectFilter(
        survey=_equal(tests, "survey"), class_name=_equal(tests, "class"),
        ids=None if (name := _equal(tests, "objectId")) is None else [name],
    )  # fmt: skip

    def question(store: HistoryStore, private: frozenset[int]) -> list[dict[str, Any]]:
        found: list[dict[str, Any]] = []
        after = None
        for _ in range(200):  # pages of a thousand, so that a rare condition has its bound
            page = store.objects(wanted, private=private, limit=1_000, after=after)
            found += [row for row in map(row_of, page) if all(test(row) for _, _, _, test in tests)]
            if len(page) < 1_000 or len(found) >= q.offset + q.limit:
                break
            after = page[-1].object_id
        return found[q.offset : q.offset + q.limit]

    rows = await ask(call, question)
    return Answer([{column: row[column] for column in columns} for row in rows])


def row_of(o: ObjectRow) -> dict[str, Any]:
    """An object by the columns of the table."""
    values = (o.object_id, o.ra, o.dec, o.n, o.first_mjd + JD_OF_MJD, o.last_mjd + JD_OF_MJD, o.first_mjd, o.last_mjd, o.class_name,
              o.probability, o.novelty, o.survey)  # fmt: skip
    return dict(zip(COLUMNS, values, strict=True))


def selected_of(text: str) -> list[str]:
    """The columns that are selected.

    Raises
    ------
    ProblemError
        400: one is not of the table.
    """
    columns: list[str] = []
    for part in text.split(","):
        match = _SELECTED.match(part.strip())
        if match is None or (match[1] != "*" and match[1] not in COLUMNS):
            raise ProblemError(400, f"selected: {part.strip()[:60]!r} is none of {', '.join(COLUMNS)}, *")
        columns += COLUMNS if match[1] == "*" else [match[1]]
    return columns


def conditions_of(text: str) -> list[tuple[str, str, Any, Any]]:
    """(column, operator, value, test of a row) of conditions joined by AND.

    Raises
    ------
    ProblemError
        400: they are of another form.
    """
    found = []
    for part in re.split(r"\s+and\s+", text.strip(), flags=re.IGNORECASE) if text.strip() else ():
        match = _CONDITION.match(part.strip())
        if match is None or match[1] not in COLUMNS:
            raise ProblemError(400, f"conditions: {part.strip()[:60]!r} is not a column of objects, an operator and a value")
        column, operator, single, double, number = match.groups()
        is_text = column in ("objectId", "class", "survey")
        given = single if single is not None else double
        try:
            value: Any = given if is_text and given is not None else float(number if number is not None else given or "")
        except ValueError:
            raise ProblemError(400, f"conditions: {part.strip()[:60]!r} compares a number with a text") from None
        if is_text and not isinstance(value, str):
            raise ProblemError(400, f"conditions: {part.strip()[:60]!r} compares a text with a number")
        found.append((column, operator, value, _test(column, operator, value=value)))
    return found


def _test(column: str, operator: str, *, value: Any) -> Callable[[Mapping[str, Any]], bool]:
    compare = OPERATORS[operator]
    return lambda row: row[column] is not None and bool(compare(row[column], value))


def _equal(tests: list[tuple[str, str, Any, Any]], column: str) -> str | None:
    return next((value for name, operator, value, _ in tests if name == column and operator == "="), None)


def _row(path: str, handler: Any, *, summary: str, model: type[LasairQuestion], named: bool = False) -> Endpoint:
    errors = {400: "The form is not as described."} | ({404: TITLES[404]} if named else {})
    return Endpoint(
        method="POST", path=path, scope="read", summary=summary, handler=handler, takes=TAKES, described={FORM: model, TAKES[1]: model},
        answer=LasairAnswer, envelope=False, tag="aliases", errors=errors,
    )  # fmt: skip


ROWS: tuple[Endpoint, ...] = (
    _row("/api/cone/", lasair_cone, summary="Lasair's cone", model=LasairCone),
    _row("/api/object/", lasair_object, summary="Lasair's object", model=LasairObject, named=True),
    _row("/api/query/", lasair_query, summary="Lasair's query", model=LasairQuery),
)
