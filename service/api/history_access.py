"""What the resources of the past share: questions to the history in threads of their own, the caller's rights, times, records as JSON."""

from __future__ import annotations

import asyncio
import datetime as dt
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from typing import Any, TypeVar

import numpy as np
import orjson

from data.history.portion import HistoryError
from data.history.store import PUBLIC, HistoryStore, StoredAlert
from schemas.records.codec import decode_detection
from schemas.records.detection import Detection
from schemas.records.json_form import to_json
from schemas.records.parts import framing
from schemas.surveys.times import LEAP_MJD, LEAP_SECONDS
from service.api.endpoints import Call, need
from service.api.problems import ProblemError

PROGRAMS = frozenset({0, 2, 3})
"""Programids that are not public."""
THREADS = 2
"""Questions that are answered at once in a process."""
_pool = ThreadPoolExecutor(THREADS, thread_name_prefix="history")
_Found = TypeVar("_Found")
_MJD_1970 = 40_587
_DAY = 86_400
_TAI_STEPS = LEAP_MJD + LEAP_SECONDS / _DAY
_BEFORE = frozenset({"$schema", "objectId"})


def rights(call: Call) -> frozenset[int]:
    """The programids beside the public one that the caller may see."""
    return PROGRAMS if call.private else frozenset()


async def ask(call: Call, question: Callable[[HistoryStore, frozenset[int]], _Found]) -> _Found:
    """The history's answer to a question, which gets the caller's rights.

    Raises
    ------
    ProblemError
        503: there is no history here, or it cannot be read now.
    """
    store: HistoryStore = need(call.services.history, "the history cannot be read")
    try:
        return await asyncio.get_running_loop().run_in_executor(_pool, question, store, rights(call))
    except HistoryError:
        raise ProblemError(503, "the history cannot be read at present: does the historian run?", headers={"Retry-After": "5"}) from None


async def in_thread(work: Callable[[], _Found]) -> _Found:
    """The result of work that would keep the event loop."""
    return await asyncio.get_running_loop().run_in_executor(_pool, work)


def not_there(what: str) -> ProblemError:
    """404; what one may not see is answered in the same words."""
    return ProblemError(404, f"there is no {what}, or you may not see it")


def utc_of(mjd: float) -> str | None:
    """A time in MJD TAI as ISO 8601 in UTC, to a millisecond."""
    if not 0 < mjd < 100_000:
        return None
    step = max(0, int(np.searchsorted(_TAI_STEPS, mjd, side="right")) - 1)
    seconds = (mjd - _MJD_1970) * _DAY - float(LEAP_SECONDS[step])
    return iso(round(1000 * seconds))


def iso(ms: int) -> str | None:
    """Milliseconds since 1970 as ISO 8601 in UTC; None of 0: unknown."""
    if not ms:
        return None
    return (dt.datetime(1970, 1, 1) + dt.timedelta(milliseconds=ms)).isoformat(timespec="milliseconds") + "Z"


def mjd_of(text: str | None, name: str) -> float | None:
    """A time given as MJD TAI, or as ISO 8601 in UTC, as MJD TAI [d].

    Raises
    ------
    ProblemError
        422.
    """
    if text is None:
        return None
    try:
        mjd = float(text)
    except ValueError:
        try:
            when = dt.datetime.fromisoformat(text)
        except ValueError:
            mjd = float("nan")
        else:
            when = when.replace(tzinfo=dt.UTC) if when.tzinfo is None else when
            utc = when.timestamp() / _DAY + _MJD_1970
            mjd = utc + float(LEAP_SECONDS[max(0, int(np.searchsorted(LEAP_MJD, utc, side="right")) - 1)]) / _DAY
    if not abs(mjd) < 1e6:
        message = "a time is MJD (TAI) as a number, or ISO 8601 in UTC"
        raise ProblemError(422, f"{name}: {message}", errors=[{"loc": ["query", name], "msg": message}])
    return mjd


def record_of(alert: StoredAlert) -> Detection:
    """The record of an alert."""
    return decode_detection(framing(alert.schema_id) + alert.body)


def record_json(alert: StoredAlert) -> dict[str, Any]:
    """The record as JSON has it: integers of 64 bits as text."""
    found: dict[str, Any] = orjson.loads(to_json(record_of(alert)))
    return {name: value for name, value in found.items() if name not in _BEFORE}


def is_public(programid: int) -> bool:
    """Whether an alert is public."""
    return programid == PUBLIC
