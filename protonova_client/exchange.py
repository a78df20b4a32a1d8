"""What is sent and what comes back, without sending: a call is a generator that yields what to do next and gets how it went.

Both clients run the same generators, so that retries, pages and parts are written once.
"""

from __future__ import annotations

import datetime as dt
import email.utils
import math
import random
import time
from collections.abc import Generator, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, TypeVar

import httpx

from protonova_client.client_faults import ApiError, NotThereError, UnreachableError

AGAIN = frozenset({429, 502, 503, 504})
"""Statuses after which the same call is made again."""
TRIES = 6
FIRST_PAUSE, LONGEST_PAUSE = 0.5, 60.0
"""Between two tries, where the service does not say how long [s]."""
LONGEST_BODY = 64 << 20
"""Of an answer that is kept in memory [bytes]."""

T = TypeVar("T")


@dataclass(frozen=True, slots=True, kw_only=True)
class Ask:
    """A request."""

    method: str = "GET"
    path: str
    params: Mapping[str, Any] = field(default_factory=dict)
    json: Any = None
    content: bytes | None = None
    headers: Mapping[str, str] = field(default_factory=dict)
    into: Path | None = None
    """File that the body goes to as it comes: 206 is put behind what is there, 200 instead of it."""


@dataclass(frozen=True, slots=True)
class Pause:
    """A wait [s]."""

    seconds: float


Steps = Generator[Ask | Pause, httpx.Response | None, T]


def asked(ask: Ask, *, tries: int = TRIES) -> Steps[httpx.Response]:
    """The answer to a request, which is made again while the service is away or busy.

    Every call of this service may be repeated: what is read changes nothing, and packets that are pushed again get the first answer.

    Raises
    ------
    ApiError
    UnreachableError
    """
    for turn in range(tries):
        pause = min(LONGEST_PAUSE, FIRST_PAUSE * 2**turn) * random.uniform(0.5, 1.0)
        last = turn == tries - 1
        try:
            answer = yield ask
        except httpx.TransportError as error:
            if last:
                raise UnreachableError(f"no answer from the service after {tries} tries: {type(error).__name__}: {error}") from error
            yield Pause(pause)
            continue
        assert answer is not None
        if answer.status_code < 400:
            return answer
        if answer.status_code not in AGAIN or last:
            raise problem(answer)
        stated = retry_after(answer.headers.get("retry-after"))
        if stated is not None and stated > LONGEST_PAUSE:
            raise problem(answer)
        yield Pause(pause if stated is None else stated)
    raise AssertionError("a try returns or raises")


def retry_after(text: str | None) -> float | None:
    """How long a service asks to wait [s]: a number, or a date (RFC 9110, 10.2.3)."""
    if text is None:
        return None
    try:
        seconds = float(text)
    except ValueError:
        try:
            when = email.utils.parsedate_to_datetime(text)
        except ValueError:
            return None
        seconds = (when if when.tzinfo else when.replace(tzinfo=dt.UTC)).timestamp() - time.time()
    return max(0.0, seconds) if math.isfinite(seconds) else None


def problem(answer: httpx.Response) -> ApiError:
    """What an answer that is none says."""
    try:
        body = answer.json()
    except ValueError:
        body = {}
    if not isinstance(body, dict):
        body = {}
    detail = str(body.get("detail") or body.get("title") or answer.reason_phrase)
    errors = body["errors"] if isinstance(body.get("errors"), list) else []
    kind = NotThereError if answer.status_code == 404 else ApiError
    return kind(answer.status_code, detail, errors=errors)
