"""What the brokers know of an object: ALeRCE, Fink and Lasair, each by its public endpoint, kept as it came."""

from __future__ import annotations

import re
from collections.abc import Callable

from data.connectors.web.download import Remote
from data.connectors.web.faults import FetchError
from data.connectors.web.http_client import HttpClient, Request
from data.connectors.web.source_query import Query
from errors import one_line, usage

MOST = 256 * 2**20
TOKEN = "LASAIR_TOKEN"  # noqa: S105 - the name of a variable
_ZTF = re.compile(r"ZTF\d{2}[a-z]{7}")


def _objects(query: Query) -> tuple[str, ...]:
    if not query.words:
        raise usage(f"{query.source} needs an object, such as ZTF18abbuksn")
    for word in query.words:
        if not _ZTF.fullmatch(word):
            raise usage(f"{one_line(word, 40)!r} is not the name of a ZTF object, such as ZTF18abbuksn")
    return query.words


def _remotes(query: Query, kind: str, *, asked: Callable[[str], Request]) -> list[Remote]:
    """A file an object, what to ask for it by its name."""
    return [Remote(asked(name), f"{query.source}_{name}.json", kind, most=MOST, about={"object": name}) for name in _objects(query)]


def alerce(query: Query, client: HttpClient) -> list[Remote]:
    """ALeRCE's light curve of each object: ``detections`` and ``non_detections`` (https://api.alerce.online/ztf/v1/)."""
    return _remotes(query, "alerce-object", asked=lambda name: Request(f"{query.base}/ztf/v1/objects/{name}/lightcurve"))


def fink(query: Query, client: HttpClient) -> list[Remote]:
    """Fink's rows of each object, one an alert, its own columns beside ZTF's (https://doc.ztf.fink-broker.org)."""
    return _remotes(
        query, "fink-object", asked=lambda name: Request(f"{query.base}/api/v1/objects", json={"objectId": name, "output-format": "json"})
    )


def lasair(query: Query, client: HttpClient) -> list[Remote]:
    """Lasair's record of each object (https://lasair.readthedocs.io/en/main/core_functions/rest-api.html); it needs a user's token.

    Raises
    ------
    FetchError
        There is no token.
    """
    _objects(query)  # a wrong name is said before a missing token
    if not query.token:
        raise FetchError(f"Lasair needs a token (your profile on its page shows it): set {TOKEN}, or name a file by --token-file")
    return _remotes(
        query,
        "lasair-object",
        asked=lambda name: Request(
            f"{query.base}/api/object/",
            form={"objectId": name, "lite": "true", "lasair_added": "true"},
            headers={"Authorization": f"Token {query.token}"},
        ),
    )
