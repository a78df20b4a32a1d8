"""Ask each archive of `protonova fetch` a small query, and say whether its answers still have the form we read.

    python -m tools.check_archives [SOURCE…]

Of a night of alerts only the list is asked; of the others a file or an object. A source that cannot be reached, or that needs a token that
is not set, is "not run". Exit status 1 where an archive answered otherwise than its documentation says.
"""

from __future__ import annotations

import os
import sys
import tempfile
from collections.abc import Iterator, Sequence
from pathlib import Path

from data.connectors.web.digests import from_list
from data.connectors.web.faults import FetchError, Passing
from data.connectors.web.fetch_query import fetch
from data.connectors.web.http_client import HttpClient, Request
from data.connectors.web.source_query import parse
from data.connectors.web.source_table import SOURCES, Source
from data.connectors.web.throttle import Clock
from errors import one_line

NOT_RUN, OK, CHANGED = "not run", "ok", "changed"


def _reachable(base: str) -> str | None:
    """Why an archive cannot be asked; None: it answers."""
    try:
        with HttpClient(Clock()) as client, client.open(Request(base)):
            return None
    except Passing as fault:
        return str(fault)
    except FetchError:  # an answer, if only that there is no such page
        return None


def _state_of(source: Source, base: str, *, folder: Path) -> tuple[str, str]:
    token = os.environ.get(source.token) if source.token else None
    if source.token and not token:
        return NOT_RUN, f"{source.token} is not set"
    if (why := _reachable(base)) is not None:
        return NOT_RUN, why
    try:
        if not source.probe:
            with HttpClient(Clock()) as client:
                nights = from_list(client.read(Request(f"{base}/MD5SUMS")).decode("utf-8", "replace"))
            newest = max((n for n in nights if n.startswith("ztf_public_")), default="")
            return (OK, f"{len(nights):,} nights, the newest {newest}") if newest else (CHANGED, "MD5SUMS lists no night")
        query = parse(source.name, source.probe, keys=source.keys, base=base, token=token)
        bad = [f"{f.state}: {f.reason}" for f in fetch(query, folder) if f.state in ("failed", "rejected")]
    except FetchError as error:
        return CHANGED, str(error)
    return (CHANGED, bad[0]) if bad else (OK, source.page)


def states(names: Sequence[str], base: str | None = None) -> Iterator[tuple[str, str, str]]:
    """Check sources one after another.

    Parameters
    ----------
    names : sequence of str
        Of `SOURCES`.
    base : str, optional
        Another address of them.

    Yields
    ------
    (str, str, str)
        Source, state, why.
    """
    for name in names:
        with tempfile.TemporaryDirectory() as folder:
            yield name, *_state_of(SOURCES[name], base or SOURCES[name].base, folder=Path(folder))


def main(arguments: Sequence[str] | None = None) -> int:
    """Run the program; see the module's docstring."""
    names = list(sys.argv[1:] if arguments is None else arguments) or list(SOURCES)
    unknown = [name for name in names if name not in SOURCES]
    if unknown:
        print(f"{one_line(unknown[0], 60)} is not a source: {', '.join(SOURCES)}", file=sys.stderr)
        return 2
    changed = False
    for name, state, why in states(names):
        print(f"{name:16s} {state:8s} {one_line(why, 200)}", flush=True)
        changed |= state == CHANGED
    return int(changed)


if __name__ == "__main__":
    sys.exit(main())
