"""The partition of a key is the one that aiokafka, and so Kafka's own clients, choose."""

from __future__ import annotations

import random

import pytest
from aiokafka.partitioner import murmur2 as oracle

from streams.kafka.murmur import murmur2, partition_of


@pytest.mark.parametrize("size", [*range(20), 63, 64, 65, 68, 69, 300])
def test_as_kafkas_clients(size: int) -> None:
    chance = random.Random(size)
    for _ in range(50):
        key = chance.randbytes(size)
        assert murmur2(key) == oracle(key) & 0xFFFFFFFF
        assert partition_of(key, 7) == (oracle(key) & 0x7FFFFFFF) % 7
