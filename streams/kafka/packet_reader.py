"""The place of a packet on its topic → its bytes, while the topic keeps them."""

from __future__ import annotations

import asyncio
from typing import TYPE_CHECKING

from aiokafka import TopicPartition
from aiokafka.errors import KafkaError

from data.history.portion import Origin
from errors import RetryableError
from schemas.surveys.identity import packet_digest
from streams.kafka import topics
from streams.kafka.consumer import CheckedConsumer, make_consumer

if TYPE_CHECKING:
    from settings.model import Settings

WITHIN = 5.0
"""How long the broker may take [s]."""


class PacketReader:
    """Reads single packets, one at a time.

    Parameters
    ----------
    settings : Settings
        With a broker, which is asked when the first packet is.
    """

    def __init__(self, settings: Settings) -> None:
        self._settings = settings
        self._consumer: CheckedConsumer | None = None
        self._turn = asyncio.Lock()

    async def read(self, origin: Origin, *, packet_id: str) -> bytes | None:
        """A packet; None: it has left its topic, or another one lies there now.

        Parameters
        ----------
        origin : Origin
            Where it lay.
        packet_id : str
            Which packet it is: what does not have its digest is not handed out.

        Raises
        ------
        RetryableError
            The broker does not answer.
        """
        if origin.topic not in topics.ALERTS:
            return None
        async with self._turn:
            try:
                async with asyncio.timeout(WITHIN):
                    value = await self._fetch(TopicPartition(origin.topic, origin.partition), origin.offset)
            except (KafkaError, OSError, TimeoutError) as error:
                await self.close()
                raise RetryableError(f"the packet cannot be read: {error!r}") from error
        return value if value is not None and packet_digest(value) == packet_id.rpartition(":")[2] else None

    async def close(self) -> None:
        """Disconnect."""
        if self._consumer is not None:
            consumer, self._consumer = self._consumer, None
            await consumer.stop()

    async def _fetch(self, place: TopicPartition, offset: int) -> bytes | None:
        consumer = self._consumer
        if consumer is None:
            consumer = make_consumer(self._settings, max_partition_fetch_bytes=262_144, fetch_max_wait_ms=100, auto_offset_reset="none")
            await consumer.start()
            self._consumer = consumer
        consumer.assign([place])
        start, end = (await consumer.beginning_offsets([place]))[place], (await consumer.end_offsets([place]))[place]
        if not start <= offset < end:
            return None
        consumer.seek(place, offset)
        while await consumer.position(place) <= offset:
            for messages in (await consumer.getmany(place, timeout_ms=500, max_records=1)).values():
                for message in messages:
                    if message.offset >= offset:
                        found: bytes | None = message.value if message.offset == offset else None
                        return found
        return None
