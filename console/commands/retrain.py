"""``protonova retrain``: a person's command to the trainer."""

from __future__ import annotations

import asyncio
import time
from typing import TYPE_CHECKING

from console import report as reports
from console.commands.teach import author_of
from errors import UserError, say, usage

if TYPE_CHECKING:
    from schemas.records.loop_event import LoopEvent
    from schemas.records.retrain_command import RetrainCommand
    from settings.model import Settings

QUICK = 0.5
"""Between two looks at what became of it [s]."""


def retrain(
    settings: Settings, *, recipe: str, reason: str, author: str | None, hours: float | None, wait: bool, within: float
) -> int:  # fmt: skip
    """Run the command; returns the exit status."""
    from schemas.records.retrain_command import RECIPES, RetrainCommand
    from streams.worker import configure_logging

    if recipe not in RECIPES:
        raise usage(f"--recipe takes {', '.join(RECIPES)}, not {recipe!r}")
    configure_logging("error")
    now = int(1000 * time.time())
    who = author_of(author)
    begin = now - int(3_600_000 * hours) if hours is not None else 0
    from registry.bundle import load

    model = load(settings.bundle).sha256[:16]
    command = RetrainCommand(
        f"{model}:{who}:{now}", model, reason or f"{who} asked for it", "", now, recipe, begin, now if hours is not None else 0, who
    )
    found = asyncio.run(_send(settings, command, within=within if wait else 0.0))
    reports.output().print(f"command {command.command_id}: {recipe}", soft_wrap=True, highlight=False)
    if not wait:
        return 0
    if found is None:
        raise UserError(f"nothing became of it within {within:.0f} s: does a trainer run? (`protonova trainer`, or PROTONOVA_TRAINER=true)")
    reports.output().print(f"{found.event.replace('_', ' ')}: {found.subject}: {found.note}", soft_wrap=True, highlight=False)
    return 1 if found.event == "retrain_failed" else 0


async def _send(settings: Settings, command: RetrainCommand, *, within: float) -> LoopEvent | None:
    """Send a command; what became of it within so long, None: nothing yet."""
    from aiokafka import AIOKafkaProducer

    from schemas.records import codec
    from schemas.records.loop_event import CHALLENGER_MADE, RETRAIN_COMMANDED, RETRAIN_FAILED, RETRAIN_MERGED, LoopEvent
    from streams.bad_records import BadRecords
    from streams.kafka import topics
    from streams.kafka.consumer import make_consumer

    async with topics.admin_client(settings) as admin:
        places = (await topics.places_of(admin, [topics.LOOP_EVENTS, topics.RETRAIN])) or {}
    if topics.RETRAIN not in places or topics.LOOP_EVENTS not in places:
        raise UserError(f"the broker has no topic {topics.RETRAIN}: `protonova topics --repair` makes it")
    consumer = make_consumer(settings, auto_offset_reset="latest", fetch_max_wait_ms=100)
    producer = AIOKafkaProducer(**settings.client_options(), acks="all", enable_idempotence=True)
    await consumer.start()
    await producer.start()
    bad, ended = BadRecords(log=say), {CHALLENGER_MADE, RETRAIN_FAILED, RETRAIN_MERGED}
    try:
        consumer.assign(places[topics.LOOP_EVENTS])
        for place, end in (await consumer.end_offsets(places[topics.LOOP_EVENTS])).items():
            consumer.seek(place, end)
        await producer.send_and_wait(topics.RETRAIN, codec.encode(command), key=command.model.encode())
        deadline = time.monotonic() + within
        while time.monotonic() < deadline:
            for messages in (await consumer.getmany(timeout_ms=int(1000 * QUICK))).values():
                for message in messages:
                    event = bad.read(message, LoopEvent)
                    if event is None or event.event not in {*ended, RETRAIN_COMMANDED}:
                        continue
                    about = codec.decode(event.record)
                    if getattr(about, "command_id", "") != command.command_id:
                        continue
                    if event.event in ended:
                        return event
                    say("a trainer works on it")
        return None
    finally:
        await producer.stop()
        await consumer.stop()
