"""Faust's Kafka transport with one number changed.

Faust has its consumer wait 1.5 s for new data in a fetch, and a client has one fetch at a time to each broker, which leaves out the
partitions whose last packets are still buffered. So a packet for such a partition waits until the fetch for the others ends: up to
1.5 s on a quiet stream. With a short wait it is up to that, and an idle worker asks twenty-five times a second (0.5 % of a core).
"""

from __future__ import annotations

from typing import Any

import aiokafka
from faust.transport.drivers.aiokafka import AIOKafkaConsumerThread, Consumer, Transport

FETCH_WAIT_MS = 40


class _Thread(AIOKafkaConsumerThread):
    def _create_worker_consumer(self, transport: Any) -> aiokafka.AIOKafkaConsumer:
        consumer = super()._create_worker_consumer(transport)
        consumer._fetch_max_wait_ms = FETCH_WAIT_MS  # read when the consumer starts; Faust has no setting for it
        return consumer


class _Consumer(Consumer):
    def _new_consumer_thread(self) -> AIOKafkaConsumerThread:
        return _Thread(self, loop=self.loop, beacon=self.beacon)


class PromptTransport(Transport):
    """Kafka, without Faust's long wait in a fetch."""

    Consumer = _Consumer
