"""Every call of the API as steps; both clients run them (`exchange`)."""

from __future__ import annotations

import base64
from collections.abc import Iterable, Mapping, Sequence
from typing import Any
from urllib.parse import quote

from protonova_client.exchange import Ask, Steps, asked
from protonova_client.row_table import Rows

PACKETS = "application/vnd.protonova.packets"
OCTETS = "application/octet-stream"
FITS = "application/fits"
PAGE = 1_000
"""Rows of a page."""
MOST_AT_ONCE = 1_000
"""Packets or light curves of a request."""
MOST_BYTES = 12 << 20
"""Of a request of packets [bytes]."""

Scored = dict[str, Any]
Curve = Mapping[str, Any]


def data_of(ask: Ask) -> Steps[Any]:
    """What the answer holds."""
    answer = yield from asked(ask)
    return answer.json()["data"]


def bytes_of(ask: Ask) -> Steps[bytes]:
    """The answer's body as it is."""
    answer = yield from asked(ask)
    return answer.content


def rows_of(ask: Ask, *, limit: int | None) -> Steps[Rows]:
    """Rows over as many pages as it takes."""
    found = Rows()
    cursor = None
    while True:
        size = PAGE if limit is None else min(PAGE, limit - len(found))
        params = {**ask.params, "limit": size, **({"cursor": cursor} if cursor else {})}
        answer = yield from asked(Ask(method=ask.method, path=ask.path, params=params, json=ask.json))
        body = answer.json()
        found += body["data"]
        cursor = body.get("next")
        if cursor is None or (limit is not None and len(found) >= limit):
            found.more = cursor is not None
            return found


def whole(path: str, **params: Any) -> Steps[Rows]:
    """The rows of a resource without pages."""
    found = yield from data_of(Ask(path=path, params=params))
    return Rows(found)


def wanted_of(wanted: Mapping[str, Any]) -> dict[str, Any]:
    """What is asked for, without what is None; `class_` is `class`."""
    return {name.removesuffix("_"): value for name, value in given(**wanted).items()}


def given(**params: Any) -> dict[str, Any]:
    """Parameters without those that are None."""
    return {name: value for name, value in params.items() if value is not None}


def name_in(path: str, name: str) -> str:
    """A path with a name in it."""
    return path.format(quote(name, safe=":"))


def score_one(what: bytes | Curve, *, state: str | None) -> Steps[Scored]:
    """A packet's or a light curve's scores."""
    params = given(state=state)
    if isinstance(what, bytes):
        media = FITS if what.startswith(b"SIMPLE  =") else OCTETS
        ask = Ask(method="POST", path="/v1/score", params=params, content=what, headers={"Content-Type": media})
    else:
        ask = Ask(method="POST", path="/v1/score", params=params, json=dict(what))
    found = yield from data_of(ask)
    scored: Scored = found[0] if isinstance(found, list) else found
    return scored


def score_many(what: Iterable[bytes | Curve], *, state: str | None) -> Steps[Rows]:
    """The scores of many, a thousand a request; one that is rejected has `error` in its place."""
    found = Rows()
    for batch in batches(what):
        if all(isinstance(one, bytes) for one in batch):
            ask = framed("/v1/score", [one for one in batch if isinstance(one, bytes)], params=given(state=state))
        else:
            items = [{"packet": base64.b64encode(one).decode()} if isinstance(one, bytes) else dict(one) for one in batch]
            ask = Ask(method="POST", path="/v1/score", params=given(state=state), json=items)
        answer = yield from data_of(ask)
        found += answer if isinstance(answer, list) else [answer]
    return found


def push(survey: str, packets: Iterable[bytes], *, key: str | None) -> Steps[Rows]:
    """Put packets into the stream; a row a packet says where it lies."""
    found = Rows()
    for turn, batch in enumerate(batches(packets)):
        headers = {} if key is None else {"Idempotency-Key": key if turn == 0 else f"{key}-{turn}"}
        ask = framed(name_in("/v1/alerts/{}", survey), [one for one in batch if isinstance(one, bytes)], headers=headers)
        found += yield from data_of(ask)
    return found


def framed(
    path: str, packets: Sequence[bytes], *, params: Mapping[str, Any] | None = None, headers: Mapping[str, str] | None = None
) -> Ask:
    """A request of packets, each behind its length."""
    body = b"".join(len(one).to_bytes(4, "big") + one for one in packets)
    return Ask(method="POST", path=path, params=params or {}, content=body, headers={**(headers or {}), "Content-Type": PACKETS})


def batches(what: Iterable[bytes | Curve]) -> Iterable[list[bytes | Curve]]:
    """As many as a request takes."""
    batch: list[bytes | Curve] = []
    size = 0
    for one in what:
        own = len(one) if isinstance(one, bytes) else 0
        if batch and (len(batch) >= MOST_AT_ONCE or size + own > MOST_BYTES):
            yield batch
            batch, size = [], 0
        batch.append(one)
        size += own
    if batch:
        yield batch


def cones(places: Mapping[str, tuple[float, float]], *, radius: float, limit: int) -> Steps[dict[str, Rows]]:
    """What lies near each of many places, by their names."""
    named = [{"name": name, "ra": float(ra), "dec": float(dec)} for name, (ra, dec) in places.items()]
    found: dict[str, Rows] = {}
    for start in range(0, len(named), MOST_AT_ONCE):
        body = {"positions": named[start : start + MOST_AT_ONCE], "radius": radius, "limit": limit}
        answer = yield from data_of(Ask(method="POST", path="/v1/cone", json=body))
        found |= {cone["name"]: Rows(cone["objects"]) for cone in answer}
    return found
