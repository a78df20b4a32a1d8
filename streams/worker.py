"""A worker process: settings, model, application; it runs until it is asked to end or has to.

python -m streams.worker --slot 0
"""

from __future__ import annotations

import argparse
import asyncio
import ctypes
import gc
import logging
import os
import signal
import sys
import threading
from collections.abc import Callable, MutableMapping
from typing import TYPE_CHECKING, Any

import orjson
import structlog

from errors import SettingsError, one_line
from settings.model import Settings
from settings.private import private_folder

if TYPE_CHECKING:
    import faust

    from streams.scorer import Pipeline, Scorer
    from streams.state_keeper import StateKeeper
    from streams.wiring import Flow

log = structlog.get_logger(__name__)

STARTED_WITHIN = 90.0
"""How long a worker may take until it has its place in the group [s]; one that hangs there would never be missed."""
DRAIN_WITHIN = 6.0
"""How long what was taken may take to be finished at the end [s]; the rest comes again."""

M_TRIM_THRESHOLD, M_MMAP_THRESHOLD = -1, -3
"""Of glibc's ``malloc.h``."""
KEPT_BYTES = 128 * 2**20
"""Free memory that is kept at most, of each of its arenas."""
LARGEST_KEPT = 32 * 2**20
"""Largest piece that is taken from kept memory; glibc allows no more."""
COLLECT_AFTER = 20_000
"""Objects made and not freed until a collection of the youngest; a batch of detections has some thousand, and none is part of a cycle."""


def printable(logger: object, method: str, event: MutableMapping[str, Any]) -> MutableMapping[str, Any]:
    """Make every value safe to read in a terminal: some are a packet's own words (a step of structlog's chain)."""
    return {key: one_line(value, 4000) if isinstance(value, str) else value for key, value in event.items()}


def configure_logging(level: str) -> None:
    """One line an event on standard error; the libraries say warnings and worse only."""
    number = logging.getLevelNamesMapping()[level.upper()]
    logging.basicConfig(level=logging.WARNING, format="%(asctime)s %(levelname)s %(name)s %(message)s", stream=sys.stderr)
    structlog.configure(
        processors=[
            structlog.contextvars.merge_contextvars,
            structlog.processors.add_log_level,
            structlog.processors.TimeStamper(fmt="iso", utc=True),
            printable,
            structlog.processors.format_exc_info,
            structlog.processors.LogfmtRenderer(key_order=["timestamp", "level", "event"]),
        ],
        wrapper_class=structlog.make_filtering_bound_logger(number),
        logger_factory=structlog.PrintLoggerFactory(sys.stderr),
    )


def keep_memory() -> None:
    """Have the C library keep what is freed, up to a bound, where it is glibc.

    A fetch is megabytes, freed when its packets are scored. Given back to the kernel at once, each page of the next one is a fault and is
    cleared anew: a third of the consumer thread's time.
    """
    mallopt = getattr(ctypes.CDLL(None), "mallopt", None) if sys.platform == "linux" else None
    if mallopt is not None:
        mallopt(M_TRIM_THRESHOLD, KEPT_BYTES)
        mallopt(M_MMAP_THRESHOLD, LARGEST_KEPT)


def run_worker(settings: Settings, slot: int, *, make_scorer: Callable[[Settings], Scorer] | None = None) -> int:
    """Run a worker in this process.

    Parameters
    ----------
    settings : Settings
        With a broker.
    slot : int
        Number of this worker on this machine.
    make_scorer : callable, optional
        Settings → scorer; the published model if None.

    Returns
    -------
    int
        Exit status 0: it was asked to end. Where it has to end it leaves the process at once, with `streams.wiring.ENGINE_FAILED` or
        `streams.wiring.FLOW_FAILED`.
    """
    import prometheus_client

    from streams.kafka.loop import Loop

    keep_memory()
    configure_logging(settings.log_level)
    structlog.contextvars.bind_contextvars(worker=slot)
    scorer = (make_scorer or published)(settings)
    port = settings.metrics_port + slot if settings.metrics_port else 0
    try:
        server, _ = prometheus_client.start_http_server(port, settings.metrics_host)
    except OSError as error:
        where = f"{settings.metrics_host}:{port}"
        raise SettingsError(f"the metrics cannot have {where} ({error.strerror or error}): set PROTONOVA_METRICS_PORT (0: any)") from None
    with asyncio.Runner(loop_factory=Loop) as runner:
        return runner.run(_live(settings, scorer, slot=slot, metrics_port=server.server_port))


def published(settings: Settings) -> Pipeline:
    """The model that is configured, warm: its first batch must not wait for a compiler."""
    from pipeline.reference import reference_of
    from pipeline.state import load
    from pipeline.warm import warm
    from schemas.avro.schema_store import SchemaStore
    from streams.scorer import Pipeline

    store = SchemaStore([settings.rubin_schemas] if settings.rubin_schemas else [], settings.schema_registry)
    reference = reference_of(settings.catalogue_path(), settings.catalogues)
    state = load(settings.bundle, settings.engine, store, claims=settings.state, precision=settings.precision, reference=reference)
    warm(state)
    if reference.catalogues:
        log.info("catalogues opened", reference_id=reference.id, catalogues=" ".join(f"{n}-{d[:16]}" for n, d in reference.catalogues))
    log.info("model loaded", scoring_id=state.scoring_id, model=state.model, engine=state.engine, why=state.why)
    return Pipeline(state)


async def _live(settings: Settings, scorer: Scorer, *, slot: int, metrics_port: int) -> int:
    from aiokafka.errors import KafkaError

    from streams.wiring import FLOW_FAILED, make_app

    loop = asyncio.get_running_loop()
    ended: asyncio.Future[int] = loop.create_future()

    def end(status: int, why: str) -> None:
        if not ended.done():
            if status:
                log.error("the worker ends; what is not acknowledged comes again", status=status, why=why)
            ended.set_result(status)

    for number in (signal.SIGTERM, signal.SIGINT):
        loop.add_signal_handler(number, end, 0, "asked to")
    keeper = _keeper(settings, scorer)
    if keeper is not None:
        try:
            async with asyncio.timeout(STARTED_WITHIN):
                scorer = await keeper.catch_up()
        except (KafkaError, OSError, TimeoutError) as error:
            log.error("what is announced and taught cannot be read", why=f"{type(error).__name__}: {error}")
            return FLOW_FAILED
    app, flow = make_app(settings, scorer, slot=slot, on_fatal=end)
    late = loop.call_later(STARTED_WITHIN, end, FLOW_FAILED, f"it had no place in the group after {STARTED_WITHIN:.0f} s")
    tasks = [
        asyncio.create_task(_start(app, end)),
        asyncio.create_task(_say_ready(settings, app, slot=slot, metrics_port=metrics_port, late=late)),
    ]
    if keeper is not None:
        tasks.append(asyncio.create_task(_follow(keeper, flow, end=end)))
    status = await ended
    late.cancel()
    for task in tasks:
        task.cancel()
    if status:
        # The end of a process that failed must not hang on what failed; nothing of it is to be saved.
        sys.stderr.flush()
        os._exit(status)
    await _finish(app, flow)
    return status


def _keeper(settings: Settings, scorer: Scorer) -> StateKeeper | None:
    """What keeps the state at the champion and at what is taught; None: the scorer is a stand-in without a state."""
    from streams.scorer import Pipeline
    from streams.state_keeper import StateKeeper

    return StateKeeper(settings, scorer) if isinstance(scorer, Pipeline) else None


async def _follow(keeper: StateKeeper, flow: Flow, *, end: Callable[[int, str], None]) -> None:
    """Follow what is announced and taught; a worker that does not any more would score with the past."""
    from streams.wiring import FLOW_FAILED

    try:
        await keeper.follow(flow.swap, lambda alarm: flow.alarms.append(alarm))
    except Exception as error:
        end(FLOW_FAILED, repr(error))


async def _start(app: faust.App, end: Callable[[int, str], None]) -> None:
    """Start the application, and see its end: Faust's own services crash the application, not the process."""
    from streams.wiring import FLOW_FAILED

    try:
        await app.start()
        await app.wait_until_stopped()
    except Exception as error:
        end(FLOW_FAILED, repr(error))
    end(FLOW_FAILED, repr(app.crash_reason) if app.crash_reason else "the application stopped by itself")


async def _say_ready(settings: Settings, app: faust.App, *, slot: int, metrics_port: int, late: asyncio.TimerHandle) -> None:
    """Write down that this worker has taken its place in the group; `protonova run` waits for it."""
    path = settings.state / "run" / f"worker-{slot}.json"
    # An idle member of a group with more members than partitions holds none and is ready all the same.
    while not app.rebalancing_count or app.rebalancing:  # noqa: ASYNC110 - Faust has no event for it
        await asyncio.sleep(0.05)
    late.cancel()
    private_folder(path.parent)
    part = path.with_suffix(".part")
    part.write_bytes(orjson.dumps({"pid": os.getpid(), "metrics": metrics_port}))
    part.replace(path)
    # What start-up made lives as long as the process: a full collection over it would stop the stream for a tenth of a second.
    gc.collect()
    gc.freeze()
    gc.set_threshold(COLLECT_AFTER)
    log.info("ready", partitions=len(app.consumer.assignment()), metrics_port=metrics_port)


async def _finish(app: faust.App, flow: Flow) -> None:
    """Leave in order, but do not hang: what is not finished in time comes again."""
    from streams.wiring import publish_telemetry

    # Faust's shutdown may wait for ever for packets that will not be acknowledged; a thread watches over it to the process's end.
    watchdog = threading.Timer(2 * DRAIN_WITHIN, os._exit, (0,))
    watchdog.daemon = True
    watchdog.start()
    try:
        async with asyncio.timeout(DRAIN_WITHIN):
            await flow.drain()
            consumer: Any = app.consumer
            await consumer.commit_all()
            await publish_telemetry(flow, all_of_it=True)  # duplicates are counted nowhere else
    except Exception as error:
        log.warning("not everything was finished", why=repr(error))
    await flow.stop()
    try:
        async with asyncio.timeout(DRAIN_WITHIN / 2):
            await app.stop()
    except Exception as error:
        log.debug("the application did not stop cleanly", why=repr(error))


def main() -> int:
    """The entry point ``python -m streams.worker``."""
    parser = argparse.ArgumentParser(prog="python -m streams.worker", description=__doc__)
    parser.add_argument("--slot", type=int, default=0, help="number of this worker on this machine")
    slot = parser.parse_args().slot
    from gpu.session import EngineError

    try:
        settings = Settings()
        settings.client_options()
        return run_worker(settings, slot)
    except SettingsError as error:
        print(f"protonova: {error}", file=sys.stderr)
        return 2
    except EngineError as error:  # the model does not even load: as where it fails on packets, the supervisor gives up after some
        from streams.wiring import ENGINE_FAILED

        print(f"protonova: {error}", file=sys.stderr)
        return ENGINE_FAILED


if __name__ == "__main__":
    status = main()
    # Faust's consumer thread may outlive the loop; nothing is left to be done.
    sys.stderr.flush()
    os._exit(status)
