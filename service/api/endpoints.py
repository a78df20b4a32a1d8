"""A row an endpoint: its route, its checks and its description are made of it.

    Endpoint(method="GET", path="/v1/objects/{object_id}", scope="read", summary="An object", handler=show_object, answer=SkyObject)

A handler is `async (Call) -> Answer`. What it is given was checked against the row's models, and who calls holds the row's scope: what is
checked is what is described (`service.api.openapi`). A resource's file lists its rows as `ROWS`; `service.api.routes` puts all together.
"""

from __future__ import annotations

import time
import typing
from collections.abc import AsyncIterator, Awaitable, Callable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any, Literal

from pydantic import BaseModel

from service.api.formats import Format
from service.api.heavy_work import HeavyWork
from service.api.pages import Key, PageQuery
from service.api.problems import ProblemError
from service.auth.caller import ANY, SCOPES, Identity

if TYPE_CHECKING:
    from service.api.later_results import Results
    from service.api.scorers import Scorers
    from service.api.watching import Watching
    from service.auth.key_ring import KeyRing
    from service.ingest.intake import Intake
    from settings.model import Settings
    from streams.candidate_list import CandidateList

Method = Literal["GET", "POST", "PUT", "PATCH", "DELETE"]
SMALL_BODY = 1 << 20
"""Largest body of an endpoint that states no other [bytes]."""
AUDITED = frozenset({"teach", "operate", "admin"})
"""Scopes whose changes are written to the audit log."""


@dataclass(slots=True)
class Services:
    """What handlers work with; a part that is None is not there in this process, and `need` says so."""

    settings: Settings
    clock: Callable[[], float] = time.time
    """Seconds since 1970."""
    scorers: Scorers | None = None
    intake: Intake | None = None
    keys: KeyRing | None = None
    history: Any = None
    """The store of past detections (`data.history`)."""
    packets: Any = None
    """Reads packets from their topics (`streams.kafka.packet_reader`)."""
    definitions: Any = None
    """Users' filters and watchlists, followed (`streams.filter_definitions`)."""
    live: Any = None
    """The latest detections and who listens to them (`service.api.live_stream`)."""
    facts: Any = None
    """What topics say, and changes of them (`service.api.broker_facts`)."""
    candidates: CandidateList | None = None
    """What the topics of candidates say."""
    heavy: HeavyWork = field(default_factory=HeavyWork)
    """Whose turn it is to work for seconds."""
    watching: Watching | None = None
    """The figures of the stream."""
    results: Results | None = None
    """Scores that are fetched later."""


def need(part: Any, what: str) -> Any:
    """Give a part of `Services`, or end the request.

    Parameters
    ----------
    part : object or None
    what : str
        What cannot be done without it.

    Raises
    ------
    ProblemError
        503: the part is not there in this process.
    """
    if part is None:
        raise ProblemError(503, f"{what} at present: this process runs without what it needs", headers={"Retry-After": "5"})
    return part


@dataclass(slots=True)
class Call:
    """A request that was checked."""

    query: Any
    """The row's query model; None: it has none."""
    path: Any
    """The row's path model; else the path's names and texts."""
    body: Any
    """The row's body model; of a row with `takes` the bytes."""
    who: Identity | None
    """Who calls; None on rows without a scope alone."""
    services: Services
    headers: Mapping[str, str]
    """By names in small letters; of those given twice the last."""
    form: Format
    """How the answer is written."""
    address: str = ""
    """Of the client."""
    after: tuple[Any, ...] | None = None
    """Keys of the row before the page, of a `PageQuery`; None: the first page."""

    @property
    def caller(self) -> Identity:
        """Who calls, on a row with a scope."""
        if self.who is None:
            raise ProblemError(401)
        return self.who

    @property
    def private(self) -> bool:
        """Whether the caller may see what is not public."""
        return self.who is not None and self.who.private


@dataclass(slots=True)
class Answer:
    """What a handler gives.

    `data` becomes ``{"data": …}``; `rows`, each a mapping by the names of the row's answer model, become a table in any format; `raw` is
    sent as it is, with `media_type`. Numbers that are not finite become null. An integer that may exceed 2^53 has to be text.
    """

    data: Any = None
    rows: Sequence[Mapping[str, Any]] | None = None
    raw: bytes | AsyncIterator[bytes] | None = None
    live: AsyncIterator[bytes] | None = None
    """Sent as it comes, for as long as the client listens."""
    media_type: str = "application/octet-stream"
    status: int | None = None
    """None: the row's."""
    headers: dict[str, str] = field(default_factory=dict)
    next: Sequence[Key] | None = None
    """Keys of the page's last row, where more follow."""


Handler = Callable[[Call], Awaitable[Answer]]


@dataclass(frozen=True, slots=True, kw_only=True)
class Endpoint:
    """A row of the API."""

    method: Method
    path: str
    """With parameters in braces, each a model's field in `parameters` or text."""
    scope: str | None
    """What a caller's credential must hold; `ANY`: any credential; None: anyone may."""
    summary: str
    handler: Handler
    description: str = ""
    parameters: type[BaseModel] | None = None
    """Of the path; what does not fit it names nothing and is answered 404."""
    query: type[BaseModel] | None = None
    body: type[BaseModel] | None = None
    """JSON."""
    takes: tuple[str, ...] = ()
    """Media types of a body that the handler gets as bytes; the first is assumed where none is stated."""
    described: Mapping[str, type[BaseModel]] = field(default_factory=dict)
    """Of `takes`: the models of those that are JSON."""
    most_body: int = SMALL_BODY
    """[bytes]"""
    before_body: Callable[[Services], None] | None = None
    """Called before the body is read; raises a `ProblemError` where it need not be."""
    answer: type[BaseModel] | None = None
    """Of `data`, or of each row; None: `gives`."""
    many: bool = False
    """Whether `data` is an array of the model."""
    table: bool = False
    """Whether it comes as rows, in any format."""
    envelope: bool = True
    """False: JSON without ``{"data": …}``, for the calls of other brokers."""
    gives: tuple[str, ...] = ()
    """Media types of `raw`."""
    status: int = 200
    accepted: type[BaseModel] | None = None
    """Of `data` where it is answered 202: later."""
    errors: Mapping[int, str] = field(default_factory=dict)
    """Further statuses and when they come; those of credentials, rates, sizes and checks are described by themselves."""
    tag: str = ""
    audited: bool | None = None
    """Whether each call is written to the audit log; None: where it changes something and the scope is of `AUDITED`."""

    def __post_init__(self) -> None:
        if self.scope not in (None, ANY) and self.scope not in SCOPES:
            raise ValueError(f"{self.path}: {self.scope} is not a scope")
        if self.body is not None and self.takes:
            raise ValueError(f"{self.path}: a body is checked by a model or read by the handler")

    @property
    def name(self) -> str:
        """Operation id: the handler's name."""
        return self.handler.__name__

    @property
    def is_audited(self) -> bool:
        """Whether each call is written to the audit log."""
        return self.method != "GET" and self.scope in AUDITED if self.audited is None else self.audited

    @property
    def has_body(self) -> bool:
        """Whether a body is read."""
        return self.body is not None or bool(self.takes)

    @property
    def paged(self) -> bool:
        """Whether it comes in pages."""
        return self.query is not None and issubclass(self.query, PageQuery)

    def repeated(self) -> frozenset[str]:
        """Names of query parameters that may be given more than once."""
        if self.query is None:
            return frozenset()
        return frozenset(name for name, info in self.query.model_fields.items() if _is_list(info.annotation))


def _is_list(annotation: Any) -> bool:
    parts = typing.get_args(annotation)
    return typing.get_origin(annotation) in (list, tuple, set, frozenset) or any(_is_list(part) for part in parts)
