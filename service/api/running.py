"""Settings → the services of an API while it runs: the scorer that follows what is taught, the intake, the key ring that follows its topic.

Everything that needs the broker begins in a task of its own and tries until the broker is there: an API whose broker is away still scores.
"""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import AsyncExitStack, asynccontextmanager
from dataclasses import replace
from typing import TYPE_CHECKING

import structlog
from aiokafka.errors import KafkaError

from errors import RetryableError, one_line
from gpu.session import EngineError
from schemas.avro.schema_store import SchemaStore
from schemas.records.drift_alarm import DriftAlarm
from schemas.surveys.decode import Decoder
from service.api.endpoints import Services
from service.api.history_services import attach_history
from service.api.later_results import Results
from service.api.live_stream import LiveStream
from service.api.scorers import Scorers
from service.api.watching import Watching
from service.auth.key_ring import KeyRing
from service.ingest.intake import Intake
from service.ingest.shared_pushes import FILE, SharedPushes
from streams.access_tokens import TokenFollower, write_tokens
from streams.candidate_list import CandidateList
from streams.filter_definitions import DefinitionFollower
from streams.scorer import Pipeline, Scorer, StateHolder
from streams.state_keeper import StateKeeper

if TYPE_CHECKING:
    from settings.model import Settings

log = structlog.get_logger(__name__)

FIRST_PAUSE, LONGEST_PAUSE = 0.5, 15.0
"""Before what needs the broker is tried again [s]."""
RESULTS = "run/results"
"""Folder of scores that are fetched later, in the state folder."""
USED_EVERY = 60.0
"""How often the last uses of keys are written down [s]."""


@asynccontextmanager
async def running(settings: Settings, services: Services, *, ring: KeyRing, pipeline: Pipeline | None) -> AsyncIterator[None]:
    """Start the services and end them.

    Parameters
    ----------
    settings : Settings
    services : Services
        Filled with what is there.
    ring : KeyRing
        Kept at what the topic holds.
    pipeline : Pipeline or None
        Of the bundle, nothing taught; None: nothing is scored here.
    """
    async with AsyncExitStack() as stack:
        tasks: list[asyncio.Task[None]] = []
        stack.push_async_callback(attach_history(settings, services))
        services.results = results = Results(settings.state / RESULTS)
        stack.push_async_callback(results.stop)
        if pipeline is not None:
            services.scorers = scorers = Scorers(settings, pipeline, holder=StateHolder(pipeline))
            scorers.start()
            stack.push_async_callback(scorers.stop)
        if settings.kafka is None:
            ring.complete = True
        else:
            store = SchemaStore([settings.rubin_schemas] if settings.rubin_schemas else [], settings.schema_registry)
            services.intake = intake = Intake(settings, Decoder(store), shared=SharedPushes(settings.state / FILE))
            intake.start()
            stack.push_async_callback(intake.stop)
            services.definitions = DefinitionFollower(settings)
            services.live = live = LiveStream(settings)
            tasks.append(_task(live.run()))
            tasks.append(_task(follow_definitions(services.definitions)))
            services.watching = watching = Watching(settings)
            stack.push_async_callback(watching.stop)
            services.candidates = candidates = CandidateList()
            tasks.append(_task(persistent(lambda: candidates.follow(settings), "candidates cannot be read")))
            tasks += [_task(follow_keys(settings, ring)), _task(note_uses(settings, ring))]
            if pipeline is not None:
                tasks.append(_task(follow_state(settings, pipeline, holder=scorers.holder)))
        stack.push_async_callback(_ended, tasks)
        yield


def _task(work: Awaitable[None]) -> asyncio.Task[None]:
    return asyncio.ensure_future(work)


async def _ended(tasks: list[asyncio.Task[None]]) -> None:
    for task in tasks:
        task.cancel()
    await asyncio.gather(*tasks, return_exceptions=True)


async def persistent(work: Callable[[], Awaitable[None]], what: str) -> None:
    """Do something that needs the broker; where it fails, again after a pause that grows."""
    pause = FIRST_PAUSE
    while True:
        try:
            await work()
            return
        except (KafkaError, RetryableError, OSError, TimeoutError) as error:
            log.warning(f"{what}, trying again", why=one_line(f"{type(error).__name__}: {error}", 200))
        await asyncio.sleep(pause)
        pause = min(LONGEST_PAUSE, 2 * pause)


async def follow_keys(settings: Settings, ring: KeyRing) -> None:
    """Keep the ring at what the topic holds, until cancelled."""
    follower = TokenFollower(settings)

    async def catch_up() -> None:
        ring.replace(await follower.catch_up())
        ring.complete = True

    await persistent(catch_up, "API keys cannot be read")
    await follower.follow(ring.replace)


async def follow_definitions(definitions: DefinitionFollower) -> None:
    """Know users' filters and watchlists, until cancelled."""

    async def changed() -> None:
        pass

    await persistent(definitions.catch_up, "filters cannot be read")
    await definitions.follow(changed)


async def note_uses(settings: Settings, ring: KeyRing) -> None:
    """Write down now and then when keys were last used, until cancelled."""
    while True:
        await asyncio.sleep(USED_EVERY)
        used, ring.used = ring.used, {}
        rows = [replace(ring.records[name], last_used_ms=int(1000 * at)) for name, at in used.items() if name in ring.records]
        if rows:
            try:
                await write_tokens(settings, rows, used=True)
            except (KafkaError, OSError) as error:  # known of a later use, or not at all
                log.warning("the last uses of keys are not written down", why=one_line(error, 200))


async def follow_state(settings: Settings, pipeline: Pipeline, *, holder: StateHolder) -> None:
    """Score by the champion and what is taught, as the workers do, until cancelled."""
    keeper = StateKeeper(settings, pipeline)

    async def swap(scorer: Scorer) -> Scorer:
        return holder.swap(scorer)

    def report(alarm: DriftAlarm) -> None:
        log.error("a bundle is not used", model=alarm.stratum)  # the workers raise the alarm

    async def catch_up() -> None:
        found = await keeper.catch_up()
        if found.scoring_id != holder.current.scoring_id:
            holder.swap(found)

    try:
        await persistent(catch_up, "the champion and what is taught cannot be read")
    except EngineError as error:
        log.error("what is in force cannot be scored with; the bundle's state goes on", why=str(error))
    await keeper.follow(swap, report)
