"""Records written once, outside any flow: a command's or a request's, to a topic that others follow."""

from __future__ import annotations

import asyncio
from collections.abc import Iterable
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from settings.model import Settings


async def write_acknowledged(
    settings: Settings, topic: str, *, records: Iterable[tuple[bytes, bytes | None]], largest: int | None = None
) -> None:
    """Write records in their order; all are acknowledged when this returns.

    Parameters
    ----------
    settings : Settings
        With a broker.
    topic : str
    records : iterable of (bytes, bytes or None)
        Key and value; None: what stood under the key is taken away.
    largest : int, optional
        Of a record, where one may pass the client library's megabyte [bytes].

    Raises
    ------
    aiokafka.errors.KafkaError
    """
    from aiokafka import AIOKafkaProducer

    room: dict[str, Any] = {} if largest is None else {"max_request_size": largest + 1_000_000, "max_batch_size": largest}
    producer = AIOKafkaProducer(**settings.client_options(), acks="all", enable_idempotence=True, **room)
    await producer.start()
    try:
        await asyncio.gather(*[await producer.send(topic, value, key=key) for key, value in records])
    finally:
        await producer.stop()
