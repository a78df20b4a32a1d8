"""Key → partition, as Kafka's own clients choose it (murmur2, Austin Appleby, public domain).

aiokafka's function takes a byte after the other, 4.5 µs a key and one for each record; this one takes words.
"""

from __future__ import annotations

import struct
from functools import lru_cache

_M, _SEED, _BITS = 0x5BD1E995, 0x9747B28C, 0xFFFFFFFF
_WORDS = [struct.Struct(f"<{n}I") for n in range(17)]


@lru_cache(4096)
def murmur2(key: bytes) -> int:
    """The hash of a key; 32 bits, without a sign."""
    size = len(key)
    whole = size >> 2
    h = _SEED ^ size
    for k in (_WORDS[whole] if whole < 17 else struct.Struct(f"<{whole}I")).unpack_from(key):
        k = k * _M & _BITS
        h = (h * _M ^ (k ^ k >> 24) * _M) & _BITS
    rest = key[whole << 2 :]
    if rest:
        h = (h ^ int.from_bytes(rest, "little")) * _M & _BITS
    h = (h ^ h >> 13) * _M & _BITS
    return h ^ h >> 15


def partition_of(key: bytes, count: int) -> int:
    """The partition of a key among so many."""
    return (murmur2(key) & 0x7FFFFFFF) % count
