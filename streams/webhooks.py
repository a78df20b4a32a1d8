"""Matches of filters with a webhook → signed POSTs, each retried until it is taken or a day is over.

filters.<user>.<name> ──► one task a filter, its position in the group <app>.webhooks ──► POST

The signature is HMAC-SHA256 over time and body, by a key of the filter's own that follows from the installation's
(`filters_webhook_key`): no secret lies on a topic. At least once: a reader collapses by `detection_id`.
"""

from __future__ import annotations

import asyncio
import hashlib
import hmac
import random
import time
from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

import orjson
import structlog
from aiokafka import TopicPartition
from aiokafka.errors import KafkaError
from aiokafka.structs import OffsetAndMetadata

from errors import RetryableError
from schemas.records import codec
from schemas.records.codec import decode_detection
from schemas.records.filter_defined import FilterDefined
from schemas.records.filter_match import FilterMatch
from schemas.records.json_form import to_json
from streams import metrics
from streams.kafka import topics
from streams.kafka.consumer import make_consumer
from streams.safe_post import PostError, RefusedAddressError, allowed_networks, post

if TYPE_CHECKING:
    from settings.model import Settings

log = structlog.get_logger(__name__)

SIGNATURE, SIGNED_AT = "Protonova-Signature", "Protonova-Time"
FIRST_PAUSE, LONGEST_PAUSE = 1.0, 600.0
"""Before a delivery is tried again [s]."""
GIVEN_UP_AFTER = 86_400.0
"""A match that was not taken for so long is left out [s]."""
MOST = 64
"""Filters with a webhook that one process serves."""
OUT_OF_PATIENCE = frozenset({408, 425, 429, *range(500, 600)})
"""Statuses that may pass by themselves; any other but 2xx leaves the match out."""


def key_of(master: str, owner: str, *, name: str) -> str:
    """The signing key of a filter, as its owner is shown it."""
    return hmac.new(master.encode(), f"{owner}/{name}".encode(), hashlib.sha256).hexdigest()


def signature(key: str, at: int, *, body: bytes) -> str:
    """What the header `Protonova-Signature` holds: HMAC-SHA256 over ``<time>.<body>``, hexadecimal."""
    return "sha256=" + hmac.new(key.encode(), b"%d." % at + body, hashlib.sha256).hexdigest()


def body_of_match(match: FilterMatch) -> bytes:
    """A match as JSON, its detection in the form of docs/clients.md."""
    row: dict[str, Any] = {
        "owner": match.owner, "filter": match.filter, "revision": match.revision, "detection_id": match.detection_id,
        "object_id": match.object_id, "watched": [entry._asdict() for entry in match.watched], "backfilled": match.backfilled,
        "night": match.night, "number": match.number, "last_of_night": match.last_of_night,
        "detection": orjson.loads(to_json(decode_detection(match.detection))),
    }  # fmt: skip
    return orjson.dumps(row)


class Webhooks:
    """Posts matches.

    Parameters
    ----------
    settings : Settings
        With a broker.
    """

    def __init__(self, settings: Settings) -> None:
        self._settings = settings
        self._networks = allowed_networks(settings)
        self._tasks: dict[tuple[str, str, str], asyncio.Task[None]] = {}

    def serve(self, filters: Sequence[FilterDefined]) -> None:
        """Post the matches of these filters, and of no other."""
        master = self._settings.filters_webhook_key
        wanted = {(one.owner, one.name, one.webhook): one for one in filters if one.webhook and master is not None}
        for name in self._tasks.keys() - wanted.keys():
            self._tasks.pop(name).cancel()
        for name, one in wanted.items():
            if name not in self._tasks and len(self._tasks) >= MOST:
                log.error("too many filters have a webhook", most=MOST, owner=one.owner, filter=one.name)
            elif name not in self._tasks and master is not None:
                key = key_of(master.get_secret_value(), one.owner, name=one.name)
                self._tasks[name] = asyncio.ensure_future(self._deliver_all(one, key))

    async def stop(self) -> None:
        """End."""
        tasks, self._tasks = list(self._tasks.values()), {}
        for task in tasks:
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)

    async def _deliver_all(self, one: FilterDefined, key: str) -> None:
        """Read the filter's topic and post each match, until cancelled."""
        place = TopicPartition(topics.filter_topic(one.owner, one.name).name, 0)
        while True:
            try:
                await self._session(one, key, place=place)
            except (KafkaError, RetryableError, OSError) as error:
                log.warning("a webhook waits for the broker", filter=one.name, why=type(error).__name__)
            await asyncio.sleep(FIRST_PAUSE * random.uniform(1, 3))

    async def _session(self, one: FilterDefined, key: str, *, place: TopicPartition) -> None:
        consumer = make_consumer(
            self._settings, group_id=f"{self._settings.app_id}.webhooks", auto_offset_reset="earliest", enable_auto_commit=False
        )
        await consumer.start()
        try:
            consumer.assign([place])
            held = await consumer.committed(place)
            if held is None:
                consumer.seek(place, (await consumer.beginning_offsets([place]))[place])
            while True:
                for messages in (await consumer.getmany(timeout_ms=500, max_records=50)).values():
                    for message in messages:
                        if isinstance(match := codec.decode(message.value), FilterMatch):
                            await self._deliver(one, key, body=body_of_match(match))
                        await consumer.commit({place: OffsetAndMetadata(message.offset + 1, "")})
        finally:
            await consumer.stop()

    async def _deliver(self, one: FilterDefined, key: str, *, body: bytes) -> None:
        """Post one match until it is taken, refused for good, or too old."""
        pause, begun = FIRST_PAUSE, time.monotonic()
        while True:
            at = int(time.time())
            headers = {"Content-Type": "application/json", SIGNED_AT: str(at), SIGNATURE: signature(key, at, body=body)}
            try:
                status = await post(one.webhook, body, headers=headers, networks=self._networks)
                why = f"status {status}"
                passing = status in OUT_OF_PATIENCE
                if 200 <= status < 300:
                    metrics.WEBHOOKS.labels("delivered").inc()
                    return
            except PostError as error:
                why, passing = str(error), True
            except RefusedAddressError as error:
                why, passing = str(error), False
            if not passing or time.monotonic() - begun > GIVEN_UP_AFTER:
                metrics.WEBHOOKS.labels("left out").inc()
                log.error("a match was not posted and is left out", owner=one.owner, filter=one.name, why=why)
                return
            metrics.WEBHOOKS.labels("tried again").inc()
            log.warning("a match is posted again later", owner=one.owner, filter=one.name, why=why, seconds=round(pause))
            await asyncio.sleep(pause * random.uniform(0.7, 1.3))
            pause = min(LONGEST_PAUSE, 2 * pause)
