"""Fink's JSON about a ZTF object → the object's alerts as packets again.

Its rows hold every field of ZTF's ``candidate`` under ``i:`` (https://doc.ztf.fink-broker.org), so a row becomes a packet with the fields
that the survey sent; the earlier rows of 30 days are its history. There are no cut-outs and no upper limits, and the digest is not that of
the survey's own bytes. ALeRCE's and Lasair's records have a dozen of the fields: those cannot be packets, and nothing is made up.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import Any, TypeAlias

import orjson

from data.connectors.rows import RowError, encoder_of

MARK = b'"i:objectId"'
"""Shows within a row's length what the JSON is."""
ROW = 65_536
MOST_BYTES = 64 << 20
HISTORY = 30.0
"""[d] as in ZTF's own packets."""
_NEEDED = ("objectId", "candid", "jd", "fid", "isdiffpos", "ra", "dec", "magpsf", "sigmapsf", "ndethist", "ncovhist")
"""Without these a packet would have to state what no one measured."""

Record: TypeAlias = dict[str, Any]


def is_object(head: bytes) -> bool:
    """Whether bytes begin as Fink's answer about an object does."""
    return head.lstrip()[:1] == b"[" and MARK in head[:ROW]


def packets_of_object(data: bytes) -> Iterator[bytes | RowError]:
    """The alerts of an object by time; a row of which no packet can be made is its reason.

    Raises
    ------
    RowError
        It is not JSON, or not a list of rows.
    """
    try:
        answer = orjson.loads(data)
    except orjson.JSONDecodeError as error:
        raise RowError(f"damaged JSON: {error}") from error
    if not isinstance(answer, list) or not all(isinstance(row, Mapping) for row in answer):
        raise RowError("not a list of rows")
    good: list[Record] = []
    for row in answer:
        fields = {name[2:]: _whole(value) for name, value in row.items() if name.startswith("i:") and value is not None}
        missing = [name for name in _NEEDED if name not in fields]
        if missing or not isinstance(fields["jd"], int | float):
            yield RowError(f"the row lacks {', '.join(f'i:{name}' for name in missing) or 'a time'}")
        else:
            good.append(fields)
    good.sort(key=lambda fields: fields["jd"])
    encode = encoder_of(("candidate", "objectId"), ())
    assert encode is not None  # these columns are what it goes by
    for k, now in enumerate(good):
        history = [past for past in good[:k] if now["jd"] - HISTORY <= past["jd"] < now["jd"] and past["objectId"] == now["objectId"]]
        record: Record = {
            "schemavsn": "4.02",
            "publisher": "Fink",
            **{name: now[name] for name in ("schemavsn", "publisher", "objectId", "candid") if name in now},
            "candidate": now,
            "prv_candidates": history or None,
        }
        try:
            yield encode(record)
        except RowError as error:
            yield error


def _whole(value: Any) -> Any:
    """Ids that JSON holds as text, since its readers may lose their last digits."""
    return int(value) if isinstance(value, str) and len(value) == 19 and value.isdecimal() and value.isascii() else value
