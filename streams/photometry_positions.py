"""Positions that are measured on every frame that covers them: `photometry.positions`, which the differencer follows.

positions ──► `write_positions` ──► photometry.positions (compacted: the latest record of a name counts) ──► `read_positions`
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from typing import TYPE_CHECKING

import structlog

from errors import RetryableError
from schemas.avro.wire import PacketError
from schemas.records import codec
from schemas.records.photometry_position import PhotometryPosition
from streams.kafka import topics
from streams.kafka.acknowledged import write_acknowledged
from streams.kafka.exactly_once import decided_records

if TYPE_CHECKING:
    from settings.model import Settings

log = structlog.get_logger(__name__)


async def read_positions(settings: Settings) -> dict[str, PhotometryPosition]:
    """Name → position, as the topic's end has them now; none where there is no such topic.

    Raises
    ------
    aiokafka.errors.KafkaError
    """
    found: dict[str, PhotometryPosition] = {}
    try:
        async for message in decided_records(settings, topics.PHOTOMETRY_POSITIONS):
            name = (message.key or b"").decode("utf-8", "replace")
            if message.value is None:
                found.pop(name, None)
                continue
            try:
                found[name] = codec.expect(message.value, PhotometryPosition)
            except PacketError as error:
                log.warning("a position cannot be read and is left out", name=name[:80], why=str(error))
    except RetryableError:
        log.info("there is no topic of positions yet", topic=topics.PHOTOMETRY_POSITIONS)
    return found


async def write_positions(settings: Settings, positions: Sequence[PhotometryPosition], *, ended: Iterable[str] = ()) -> None:
    """Write positions and end others by name; all are acknowledged when this returns, and to write them again changes nothing.

    Raises
    ------
    aiokafka.errors.KafkaError
    """
    records: list[tuple[bytes, bytes | None]] = [(position.key, codec.encode(position)) for position in positions]
    records += [(name.encode(), None) for name in ended]
    await write_acknowledged(settings, topics.PHOTOMETRY_POSITIONS, records=records)
