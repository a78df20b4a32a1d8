"""Settings → the services by which the past is read: the history, packets, what compacted topics say."""

from __future__ import annotations

from collections.abc import Awaitable, Callable
from typing import TYPE_CHECKING

from data.history import engines
from service.api.broker_facts import BrokerFacts
from service.api.endpoints import Services
from streams.kafka.packet_reader import PacketReader

if TYPE_CHECKING:
    from settings.model import Settings


def attach_history(settings: Settings, services: Services) -> Callable[[], Awaitable[None]]:
    """Fill the services of the past; what ends them.

    The history may begin later: until the historian has made it, its resources answer 503.
    """
    services.history = reader = engines.reader(settings)
    services.facts = BrokerFacts(settings)
    packets = None
    if settings.kafka is not None:
        services.packets = packets = PacketReader(settings)

    async def end() -> None:
        if packets is not None:
            await packets.close()
        reader.close()

    return end
