"""Retrain commands → challengers. Run beside the workers; needs the extra `train`.

    commands.retrain ──► one attempt at a time, in a process of its own ──► models.bundles, models.announced (alias challenger)
    support.examples, labels.known, alerts.* ──┘                                └──► loop.events: commanded, merged, made, failed

What was done stands on `loop.events`, and an attempt's order in the state folder: a trainer killed at any moment goes on where it was and
does nothing twice. A command that comes while another is waiting or is being made is merged into it, unless it asks for a dearer recipe.
One trainer works: the transactional id of a later one fences the earlier one's events off, which then waits.
"""

from __future__ import annotations

import asyncio
import contextlib
import datetime
import importlib.metadata
import json
import os
import shutil
import signal
import time
from collections.abc import Iterable, Sequence
from contextlib import AsyncExitStack
from pathlib import Path
from typing import TYPE_CHECKING, Any

import structlog
from aiokafka import AIOKafkaProducer, TopicPartition
from aiokafka.errors import IllegalOperation, ProducerFenced

from errors import RetryableError, UserError, one_line
from evaluation.challenger_picture import draw
from learning.challenger_process import (
    BASELINE,
    BUNDLE,
    LOG,
    OUTCOME,
    Limits,
    Order,
    command_of,
    environment_of,
    read_order,
    reason_of,
    write_order,
)
from registry import ledger
from registry.bundle import PUBLISHED, Bundle, BundleError, load
from schemas.records import codec
from schemas.records.loop_event import CHALLENGER_MADE, RETRAIN_COMMANDED, RETRAIN_FAILED, RETRAIN_MERGED, LoopEvent
from schemas.records.model_announced import CHALLENGER, CHAMPION
from schemas.records.retrain_command import RetrainCommand
from settings.announced_models import ledger_uri
from streams.agents.retrain_queue import Steps, next_of, rank
from streams.agents.teaching import read_events
from streams.bad_records import BadRecords
from streams.kafka import topics
from streams.kafka.consumer import make_consumer
from streams.kafka.exactly_once import jittered, repeat
from streams.known_labels import read_labels
from streams.models import announced, fetch, submit
from streams.training_data import gather, summary

if TYPE_CHECKING:
    from settings.model import Settings
    from streams.kafka.consumer import CheckedConsumer

log = structlog.get_logger(__name__)

AUTHOR = "trainer"
ATTEMPTS = 10
"""Starts of one attempt: one that ends the trainer itself each time is given up."""
POLL_MS = 500
STARTS = "starts"
ID_DIGITS = 16


class Trainer:
    """Answers retrain commands, one attempt at a time.

    Parameters
    ----------
    settings : Settings
        With a broker.
    """

    def __init__(self, settings: Settings) -> None:
        self._settings = settings
        self.folder = settings.state / "training"
        self.done = 0
        """Events written."""
        self._pending: dict[str, RetrainCommand] = {}
        self._steps = Steps()
        self._bad = BadRecords()

    @property
    def current(self) -> Path:
        """Folder of the attempt in hand."""
        return self.folder / "current"

    async def session(self) -> None:
        """Work until the broker fails; a trainer that was fenced off waits before it tries again."""
        try:
            await self._session()
        except ProducerFenced:
            pause = jittered(60 * self._settings.retrain_minutes)
            log.warning("another trainer has taken over: one is enough", tries_again_in_s=round(pause))
            await asyncio.sleep(pause)

    async def _session(self) -> None:
        async with AsyncExitStack() as stack:
            producer = AIOKafkaProducer(
                **self._settings.client_options(), transactional_id=f"{self._settings.app_id}.trainer", max_request_size=topics.RECORD_BYTES
            )
            stack.push_async_callback(producer.stop)
            await producer.start()
            consumer = make_consumer(self._settings, auto_offset_reset="earliest", fetch_max_wait_ms=POLL_MS)
            stack.push_async_callback(consumer.stop)
            await consumer.start()
            await self._recall()
            place = TopicPartition(topics.RETRAIN, 0)
            consumer.assign([place])
            consumer.seek(place, (await consumer.beginning_offsets([place]))[place])
            log.info("waiting for retrain commands", topic=topics.RETRAIN, state=str(self.folder))
            while True:
                await self._listen(consumer)
                if self._pending:
                    await self._attempt(producer, consumer)

    async def _recall(self) -> None:
        """Read what was done before; the transactional id is this trainer's by now, so that no other adds to it."""
        self._steps, self._pending = Steps(), {}
        for event in await read_events(self._settings):
            self._steps.take(event)

    async def _listen(self, consumer: CheckedConsumer) -> None:
        """Take the commands that have come."""
        place = TopicPartition(topics.RETRAIN, 0)
        while True:
            found = (await consumer.getmany(timeout_ms=POLL_MS)).get(place, [])
            for message in found:
                command = self._bad.read(message, RetrainCommand)
                if command is not None and not self._steps.is_done(command):
                    self._pending.setdefault(command.command_id, command)
            if not found:
                return

    async def _attempt(self, producer: AIOKafkaProducer, consumer: CheckedConsumer) -> None:
        """Make the challenger of a command, as far as that is still to do."""
        lead, merged = next_of(list(self._pending.values()), self._steps)
        begun = []
        if lead.command_id not in self._steps.commanded:
            begun.append(self._event(RETRAIN_COMMANDED, lead, subject=lead.model, note=lead.reason))
        await self._write(producer, [*begun, *self._merged(merged, lead)])
        started = time.monotonic()
        try:
            order = await self._ordered(lead)
            bundle = await self._made(order)
        except (UserError, RetryableError, OSError) as error:
            why = one_line(f"{error}" or type(error).__name__, 400)
            log.error("no challenger was made", command=lead.command_id, recipe=lead.recipe, why=why)
            await self._write(producer, [self._event(RETRAIN_FAILED, lead, subject=lead.model, note=why)])
            self._clear()
            return
        short = bundle.sha256[:ID_DIGITS]
        await self._listen(consumer)
        late = [command for command in self._pending.values() if command is not lead and rank(command) <= rank(lead)]
        made = [] if lead.command_id in self._steps.made else [self._event(CHALLENGER_MADE, lead, subject=short, note=_note(bundle))]
        if made:
            await asyncio.to_thread(self._log, bundle, order, seconds=time.monotonic() - started)
        await self._write(producer, [*made, *self._merged(late, lead)])  # fenced: a trainer that was replaced goes no further
        await self._submit(bundle, lead)
        self._steps.announced.add(short)
        self._pending.pop(lead.command_id, None)
        log.info("a challenger is announced", model=short, recipe=lead.recipe, seconds=round(time.monotonic() - started, 1))
        self._clear()

    async def _ordered(self, lead: RetrainCommand) -> Order:
        """The order of an attempt: the one in the state folder where it is this command's, else made of the topics now."""
        found = read_order(self.current)
        if found is None or found.facts.get("command_id") != lead.command_id:
            self._clear()
            labels = await read_labels(self._settings)
            gathered = await gather(self._settings, labels, from_ms=lead.from_ms, until_ms=lead.until_ms)
            facts = summary(gathered)
            log.info("gathered", command=lead.command_id, **facts)
            champion = await champion_of(self._settings)
            bundle = await asyncio.to_thread(load, champion)
            packets = [*gathered.packets.values(), *gathered.window]
            s = self._settings
            found = Order(
                recipe=lead.recipe,
                champion=str(champion.resolve()),
                seed=bundle.manifest.seed,
                created_on=datetime.datetime.now(datetime.UTC).date().isoformat(),
                version=_version(),
                sets=str((self.folder / "sets").resolve()),
                replay=s.retrain_replay,
                real=str(s.retrain_real.resolve()) if s.retrain_real is not None else "",
                limits=Limits(memory_mb=s.retrain_memory_mb, seconds=60 * s.retrain_minutes, threads=s.retrain_threads),
                labels=list(gathered.labels.values()),
                packet_ids=list(gathered.packets),
                taught=dict(gathered.taught),
                sizes=[len(packet) for packet in packets],
                facts={"command_id": lead.command_id, **facts},
            )
            await asyncio.to_thread(write_order, self.current, found, packets=packets)
        return found

    async def _made(self, order: Order) -> Bundle:
        """The bundle of an order, made now unless it is there."""
        folder = self.current / BUNDLE
        if (self.current / OUTCOME).exists():
            with contextlib.suppress(BundleError):
                return await asyncio.to_thread(load, folder)
        starts = self._count_start()
        if starts > ATTEMPTS:
            raise UserError(f"the trainer ended {ATTEMPTS} times at it")
        why = await self._run(order)
        if why:
            raise UserError(why)
        return await asyncio.to_thread(load, folder)

    async def _run(self, order: Order) -> str:
        """Run the process of an attempt; why it failed, empty where it did not."""
        (self.current / OUTCOME).unlink(missing_ok=True)
        path = self.current / LOG
        with path.open("ab") as errors:
            process = await asyncio.create_subprocess_exec(
                *command_of(self.current),
                stdin=asyncio.subprocess.PIPE,
                stdout=asyncio.subprocess.PIPE,
                stderr=errors,
                start_new_session=True,
                env={**os.environ, **environment_of()},
            )
        try:
            async with asyncio.timeout(order.limits.seconds):
                await _follow(process)
                status = await process.wait()
        except asyncio.CancelledError:
            (self.current / STARTS).unlink(missing_ok=True)  # it was asked to end: that is not an attempt's fault
            raise
        except TimeoutError:
            return f"the attempt took longer than the {order.limits.seconds / 60:g} min that it may have"
        finally:
            with contextlib.suppress(ProcessLookupError):
                os.killpg(process.pid, signal.SIGKILL)  # what it started as well
            await process.wait()
        return "" if status == 0 else reason_of(status, self.current)

    def _count_start(self) -> int:
        """How often the attempt was started, this time included."""
        path = self.current / STARTS
        starts = len(path.read_bytes()) + 1 if path.exists() else 1
        with path.open("ab") as file:
            file.write(b".")
        return starts

    def _log(self, bundle: Bundle, order: Order, *, seconds: float) -> None:
        """Note the challenger in the ledger of trainings, once, where there is one; a ledger that does not answer stops nothing."""
        uri = ledger_uri(self._settings)
        if uri is None or (self._settings.ledger is None and not ledger.installed()):
            return
        try:
            picture = draw(bundle, load(Path(order.champion)), path=self.current / "challenger.png")
            ledger.log(uri, bundle, figures={"retrain.seconds": seconds}, pictures=[picture] if picture is not None else [])
        except (RetryableError, OSError) as error:
            log.warning("the challenger is not noted in the ledger", why=one_line(error, 300))

    async def _submit(self, bundle: Bundle, lead: RetrainCommand) -> None:
        """Announce the challenger, unless that was done before."""
        short = bundle.sha256[:ID_DIGITS]
        for event in await read_events(self._settings):
            self._steps.take(event)
        if short in self._steps.announced:
            return
        beside = self.current / BASELINE
        await submit(
            self._settings, bundle.path, alias=CHALLENGER, author=AUTHOR, note=one_line(f"{lead.recipe}: {lead.reason}", 500),
            baseline=beside if beside.exists() else None,
        )  # fmt: skip

    def _merged(self, commands: Iterable[RetrainCommand], lead: RetrainCommand) -> list[LoopEvent]:
        return [self._event(RETRAIN_MERGED, command, subject=command.model, note=f"merged into {lead.command_id}") for command in commands]

    def _event(self, event: str, command: RetrainCommand, *, subject: str, note: str) -> LoopEvent:
        author = command.author if event == RETRAIN_COMMANDED else AUTHOR
        return LoopEvent(event, subject, 0, author, one_line(note, 500), codec.encode(command), int(1000 * time.time()))

    async def _write(self, producer: AIOKafkaProducer, events: Sequence[LoopEvent]) -> None:
        """Write events, all or none.

        Raises
        ------
        aiokafka.errors.ProducerFenced
            Another trainer has taken over.
        """
        if not events:
            return
        try:
            async with producer.transaction():
                for event in events:
                    await (await producer.send(topics.LOOP_EVENTS, codec.encode(event), key=event.subject.encode()))
        except IllegalOperation as error:  # what the client says between two records where the broker has fenced it
            raise ProducerFenced from error
        self.done += len(events)
        for event in events:
            self._steps.take(event)
        self._pending = {name: command for name, command in self._pending.items() if not self._steps.is_done(command)}

    def _clear(self) -> None:
        """Forget the attempt in hand; its log stays until the next."""
        log_file, kept = self.current / LOG, self.folder / "last-attempt.log"
        if log_file.exists():
            log_file.replace(kept)
        shutil.rmtree(self.current, ignore_errors=True)


async def _follow(process: asyncio.subprocess.Process) -> None:
    """Log what an attempt says of its progress."""
    if process.stdout is None:
        return
    async for line in process.stdout:
        try:
            found: dict[str, Any] = json.loads(line)
        except ValueError:
            continue
        log.info("attempt", **{name: one_line(value, 200) for name, value in found.items() if name in ("stage", "step", "steps", "loss")})


async def champion_of(settings: Settings) -> Path:
    """Folder of the bundle that scores now: the champion's, else that of the settings."""
    known = (await announced(settings)).get(CHAMPION) if settings.follow_champion else None
    return settings.bundle or PUBLISHED if known is None else await fetch(settings, known)


def _note(bundle: Bundle) -> str:
    """A challenger's facts in one line."""
    made = bundle.manifest.retrain or {}
    facts = bundle.manifest.figures.get("taught", {})
    parts = [
        f"{name}: {one['examples']} examples, recall {one['recall']:.2f}, false calls {max(one['false_calls'].values()):.4f}"
        for name, one in facts.items()
    ]
    return f"{made.get('recipe')} of champion {str(made.get('champion'))[:ID_DIGITS]}; {'; '.join(parts) or 'no new class'}"


def _version() -> str:
    try:
        return importlib.metadata.version("protonova")
    except importlib.metadata.PackageNotFoundError:
        return ""


async def run(settings: Settings) -> None:
    """Answer commands until cancelled; a broker that goes away is tried again."""
    trainer = Trainer(settings)
    await repeat(trainer.session, lambda: trainer.done, what="retrain commands are not answered", final=())
