"""A query to a source → its files, one by one as they come; offline → those that are there."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path

from data.connectors.dust_map import DustMap
from data.connectors.web.download import Downloader, Fetched, Origin, Progress, Remote
from data.connectors.web.enriched_rows import EnrichedRows
from data.connectors.web.faults import FetchError
from data.connectors.web.file_checks import check
from data.connectors.web.holdings import Holdings
from data.connectors.web.http_client import HttpClient, Request, check_url
from data.connectors.web.source_query import Query
from data.connectors.web.source_table import SOURCES
from data.connectors.web.throttle import Clock


def fetch(
    query: Query,
    folder: Path,
    *,
    offline: bool = False,
    again: bool = False,
    dust: DustMap | None = None,
    clock: Clock | None = None,
    progress: Progress = lambda name, done, total: None,
    planned: Callable[[int], None] = lambda count: None,
    say: Callable[[str], None] | None = None,
) -> Iterator[Fetched]:
    """Fetch what a query stands for.

    Parameters
    ----------
    query : Query
    folder : Path
        Where the files go; held until the iterator ends.
    offline : bool
        Ask nothing: the files of an earlier fetch of the same query, verified.
    again : bool
        Fetch what is there anew: an object's light curve grows.
    dust : DustMap, optional
        For the reddening in ``enriched.jsonl``.
    clock : Clock, optional
    progress, planned, say : callable, optional
        Called with the bytes of a file, with the number of files, with a line before each wait.

    Raises
    ------
    FetchError
        The query cannot be answered; what concerns one file alone is in its `Fetched`.
    """
    source = SOURCES[query.source]
    check_url(query.base)
    origin = Origin(source.name, query.text, source.licence)
    with HttpClient(clock or Clock(), per_second=source.per_second, say=say) as client:
        # Asked before anything is written: most queries that are refused are refused here.
        remotes = [] if offline else source.plan(query, client)
        with Holdings(folder) as holdings:
            files = Downloader(client, holdings, origin=origin, check=check, progress=progress)
            if offline:
                names = holdings.queries.get(query.text)
                if names is None:
                    raise FetchError(f"{query.text} was not fetched into {folder} before: run it once without --offline")
                planned(len(names))
                with _enriched(holdings, dust) as rows:
                    for name in names:
                        kept = _offline(files, holdings, name=name)
                        rows.add(kept, source=source.name)
                        yield kept
                return
            holdings.list_query(query.text, [remote.name for remote in remotes])
            planned(len(remotes))
            try:
                with _enriched(holdings, dust) as rows:
                    for remote in remotes:
                        fetched = files.fetch(remote, again=again)
                        rows.add(fetched, source=source.name)
                        yield fetched
            finally:
                holdings.write_manifest()


@contextmanager
def _enriched(holdings: Holdings, dust: DustMap | None) -> Iterator[EnrichedRows]:
    """The lines of ``enriched.jsonl``, written at the end, interrupted or not."""
    rows = EnrichedRows(holdings, dust)
    try:
        yield rows
    finally:
        rows.write()


def _offline(files: Downloader, holdings: Holdings, *, name: str) -> Fetched:
    record = files.kept(name)
    remote = Remote(Request(record.url if record else ""), name, "")
    if record is None:
        return Fetched(remote, "failed", reason=f"{name} is not there as it was fetched: run it once without --offline")
    return Fetched(remote, "kept", holdings.path(name), record=record)
