"""Users' filters on a real broker: what comes and what is past, rights, budgets, kills, webhooks."""

from __future__ import annotations

import asyncio
import json
import random
import threading
import time
from collections.abc import AsyncIterator, Iterator, Sequence
from contextlib import asynccontextmanager, contextmanager, suppress
from dataclasses import replace
from http.server import BaseHTTPRequestHandler, HTTPServer
from typing import Any

import pytest
from pydantic import SecretStr

from data.areas.drafts import draft_filter, draft_list
from data.areas.filter_set import packed_positions
from data.history.nights import night_of
from schemas.filters.filter_expression import read_expression
from schemas.records import codec
from schemas.records.detection import Detection
from schemas.records.filter_defined import FilterDefined
from schemas.records.filter_match import FilterMatch
from service.api.live_stream import LiveStream
from settings.model import Settings
from streams.agents.filter_runner import FilterRunner
from streams.filter_definitions import write_definition
from streams.kafka import topics
from streams.last_records import last_records
from streams.webhooks import SIGNATURE, SIGNED_AT, key_of, signature
from tests.data.areas.sky_maps import gaussian_map
from tests.flow.conftest import Bench
from tests.service.past_night import alert, write
from tests.service.test_live_stream import events

NOW_MS = int(1000 * time.time())


@asynccontextmanager
async def runner(settings: Settings) -> AsyncIterator[FilterRunner]:
    """Filters asked in this process, until the block ends as a kill would end it."""
    found = FilterRunner(settings)
    task = asyncio.ensure_future(found.run())
    try:
        yield found
    finally:
        task.cancel()
        with suppress(asyncio.CancelledError):
            await task


async def define(settings: Settings, draft: FilterDefined, revision: int = 1) -> FilterDefined:
    record = replace(draft, revision=revision, made_ms=int(1000 * time.time()) - 50)
    await topics.ensure_filters(settings, [topics.filter_topic(draft.owner, draft.name)])
    await write_definition(settings, topics.FILTERS_DEFINED, key=record.key, record=record)
    return record


async def publish(bench: Bench, records: Sequence[Detection]) -> None:
    for topic, private in ((topics.DETECTIONS, False), (topics.PRIVATE, True)):
        await bench.publish([codec.encode(r) for r in records if (r.programid != 1) == private], topic)


async def matches(bench: Bench, one: FilterDefined, count: int, *, settle: float = 0.0) -> list[FilterMatch]:
    """Committed matches of a filter, once there are so many, and what else comes in a moment."""
    name = topics.filter_topic(one.owner, one.name).name
    deadline = time.monotonic() + 60
    while True:
        out = (await last_records(bench.settings, [name], kind=FilterMatch)).get(name, [])[::-1]
        if len(out) >= count:
            break
        assert time.monotonic() < deadline, f"{len(out)} of {count}"
        await asyncio.sleep(0.1)
    if settle:
        await asyncio.sleep(settle)
        return await matches(bench, one, count)
    return out


async def test_filters_see_what_they_may_and_no_more_than_their_budget_through_kills(bench: Bench) -> None:
    settings = bench.settings
    night = [alert(i, programid=2 if i % 10 == 9 else 1) for i in range(300)]
    tde = [a for a in night if a.decision is not None and a.decision.class_name == "tde"]
    public = [a for a in tde if a.programid == 1]
    await topics.declare(settings, ("tde",))
    asks = "class = 'tde' AND novelty >= 0"
    one = await define(settings, draft_filter("ada", "public", expression=asks))
    two = await define(settings, draft_filter("ada", "all", expression=asks, private_rights=True))
    short = await define(settings, draft_filter("Ada L.", "short", expression=asks, budget=7))
    async with runner(settings):
        await publish(bench, night[:150])
        await matches(bench, one, 1)
    async with runner(settings):  # the one before was ended in the middle
        await publish(bench, night[150:])
        found = await matches(bench, one, len(public), settle=0.5)
        everything = await matches(bench, two, len(tde))
        assert sorted(m.detection_id for m in found) == sorted(a.detection_id for a in public)
        assert sorted(m.detection_id for m in everything) == sorted(a.detection_id for a in tde)
        assert sorted(m.number for m in found) == list(range(1, len(public) + 1))
        assert all(m.revision == 1 and codec.decode(m.detection) == codec.decode(codec.encode(a)) for m, a in
                   zip(sorted(found, key=lambda m: m.detection_id), sorted(public, key=lambda a: a.detection_id), strict=True))  # fmt: skip
        few = await matches(bench, short, 7)
        assert [m.last_of_night for m in few] == [False] * 6 + [True]

        # Another revision asks for something else, of what comes after it.
        newer = await define(settings, draft_filter("ada", "public", expression="class = 'agn'"), 2)
        await asyncio.sleep(1.0)
        more = [alert(i) for i in range(1000, 1030)]
        await publish(bench, more)
        wanted = [a for a in more if a.decision is not None and a.decision.class_name == "agn"]
        found = (await matches(bench, newer, len(public) + len(wanted)))[len(public) :]
        assert {m.detection_id for m in found} == {a.detection_id for a in wanted}
        assert {m.revision for m in found} == {2}


async def test_a_sky_map_catches_the_kilonova_as_it_comes_and_yesterdays_and_a_list_that_moves_looks_back(bench: Bench) -> None:
    settings = bench.settings
    await topics.declare(settings, ("kilonova",))
    inside = replace(alert(1), ra=197.45, dec=-23.38)
    outside = replace(alert(2), ra=100.0, dec=50.0)
    past = [
        replace(alert(3), ra=197.6, dec=-23.0),
        replace(alert(4), ra=30.0, dec=10.0),
        replace(alert(5, programid=2), ra=197.5, dec=-23.3),
    ]
    now = int(1000 * time.time())
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr("tests.service.past_night.NIGHT_MS", now - 86_400_000)
        write(settings.history_path(), past).close()
    sky = gaussian_map(197.45, -23.38, sigma=3.0)
    gcn = await define(settings, draft_filter("ada", "gw170817", expression="true", fits=sky, backfill_days=3))
    listed = draft_list("ada", "hosts", positions=[(0.0, 0.0, 2 / 3600)], names=["nothing"])
    await write_definition(settings, topics.WATCHLISTS, key=listed.key, record=replace(listed, revision=1, made_ms=now))
    near = await define(settings, draft_filter("ada", "near", expression="true", watchlists=["hosts"], backfill_days=3))
    async with runner(settings):
        [found] = await matches(bench, gcn, 1, settle=0.3)
        assert (found.detection_id, found.backfilled, found.night) == (past[0].detection_id, True, night_of(now - 86_400_000, ""))
        begun = time.monotonic()
        await publish(bench, [inside, outside])
        found = (await matches(bench, gcn, 2))[1]
        assert time.monotonic() - begun < 5
        assert (found.detection_id, found.backfilled) == (inside.detection_id, False)

        moved = replace(listed, revision=2, positions=packed_positions_of((0.0, 0.0), (30.0, 10.0 + 1 / 3600), (100.0, 50.0)),
                        names=b"nothing\nNGC 1\nNGC 2")  # fmt: skip
        await write_definition(settings, topics.WATCHLISTS, key=moved.key, record=moved)
        [found] = await matches(bench, near, 1, settle=0.3)
        assert (found.detection_id, found.backfilled) == (past[1].detection_id, True)
        [entry] = found.watched
        assert (entry.watchlist, entry.revision, entry.position) == ("hosts", 2, "NGC 1")
        assert entry.separation == pytest.approx(1.0, abs=1e-3)
        await publish(bench, [outside])
        found = (await matches(bench, near, 2))[1]
        assert (found.detection_id, found.watched[0].position, found.backfilled) == (outside.detection_id, "NGC 2", False)


def packed_positions_of(*places: tuple[float, float]) -> bytes:
    import numpy as np

    ra, dec = np.array(places).T
    return packed_positions(ra, dec, radius=np.full(len(places), 2 / 3600))


@contextmanager
def receiver(refuse: int) -> Iterator[tuple[int, list[tuple[dict[str, str], bytes]]]]:
    """A server that refuses some posts before it takes any."""
    taken: list[tuple[dict[str, str], bytes]] = []
    left = [refuse]

    class Handler(BaseHTTPRequestHandler):
        def do_POST(self) -> None:
            body = self.rfile.read(int(self.headers["Content-Length"]))
            left[0] -= 1
            if left[0] < 0:
                taken.append((dict(self.headers), body))
            self.send_response(204 if left[0] < 0 else 503)
            self.end_headers()

        def log_message(self, *args: Any) -> None:
            pass

    server = HTTPServer(("127.0.0.1", 0), Handler)
    thread = threading.Thread(target=server.serve_forever, daemon=True)
    thread.start()
    try:
        yield server.server_address[1], taken
    finally:
        server.shutdown()
        server.server_close()


@pytest.mark.slow
async def test_matches_are_posted_signed_and_again_where_they_were_refused(bench: Bench) -> None:
    settings = bench.settings.model_copy(
        update={"filters_webhook_key": SecretStr("a key of the installation"), "filters_webhook_networks": "127.0.0.0/8"}
    )
    await topics.declare(settings, ("tde",))
    with receiver(refuse=1) as (port, taken):
        hook = draft_filter("ada", "hook", expression="class = 'tde'", webhook=f"http://127.0.0.1:{port}/alerts?x=1")
        await define(settings, hook)
        async with runner(settings):
            sent = [alert(i) for i in (0, 3, 6)]
            await publish(bench, sent)
            deadline = time.monotonic() + 60
            while len(taken) < 3:
                assert time.monotonic() < deadline, len(taken)
                await asyncio.sleep(0.1)
    key = key_of("a key of the installation", "ada", name="hook")
    for headers, body in taken:
        assert headers[SIGNATURE] == signature(key, int(headers[SIGNED_AT]), body=body)
    assert [json.loads(body)["detection_id"] for _, body in taken] == [
        m.detection_id for m in await matches(bench, replace(hook, name="hook"), 3)
    ]


@pytest.mark.slow
async def test_killed_again_and_again_a_client_misses_nothing_and_gets_nothing_twice(bench: Bench) -> None:
    settings = bench.settings.model_copy(update={"stream_kept": 100})  # so that a client must be read topics for
    await topics.declare(settings, ("tde",))
    processes = [LiveStream(settings), LiveStream(settings)]
    tasks = [asyncio.ensure_future(one.run()) for one in processes]
    night = [alert(i, f"ZTF25{i % 40:07d}", programid=2 if i % 9 == 8 else 1) for i in range(1200)]
    public = [a for a in night if a.programid == 1]
    private = [a for a in night if a.programid == 2]
    rng = random.Random(1)
    got: dict[bool, list[Any]] = {False: [], True: []}

    async def client(see: bool) -> None:
        since = None
        where = read_expression("novelty >= 0")
        wanted = len(night) if see else len(public)
        while len(got[see]) < wanted:
            pieces = rng.choice(processes).events(where, private=see, since=since)
            keep = rng.randint(1, 250)
            async for piece in pieces:
                for event, name, data in events(piece):
                    if event == "ready":
                        since = name if since is None else since
                    elif keep > 0:  # the connection broke here: what comes after was sent and never read
                        keep -= 1
                        since = name
                        got[see].append(data["packet_id"])
                if keep <= 0 or len(got[see]) >= wanted:
                    break
            await pieces.aclose()
            await asyncio.sleep(rng.uniform(0, 0.2))

    try:
        clients = [asyncio.ensure_future(client(see)) for see in (False, True)]
        await asyncio.sleep(1.5)
        for k in range(0, len(night), 150):
            part = night[k : k + 150]
            for topic, hidden in ((topics.DETECTIONS, False), (topics.PRIVATE, True)):
                await bench.publish([codec.encode(a) for a in part if (a.programid == 2) == hidden], topic)
        async with asyncio.timeout(90):
            await asyncio.gather(*clients)
    finally:
        for task in (*tasks, *clients):
            task.cancel()
        for task in tasks:
            with suppress(asyncio.CancelledError):
                await task
    assert sorted(got[False]) == sorted(a.packet_id for a in public)
    assert sorted(got[True]) == sorted(a.packet_id for a in [*public, *private])
    assert {one.clients for one in processes} == {0}
