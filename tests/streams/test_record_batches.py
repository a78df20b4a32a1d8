"""Record batches damaged as a disk, a wire or a producer can: every offset is accounted for once, and good neighbours are read."""

from __future__ import annotations

import random
import struct
from collections.abc import Callable, Sequence
from typing import Any

import cramjam
import crc32c
import pytest
from aiokafka import TopicPartition
from aiokafka.record.default_records import DefaultRecordBatchBuilder
from aiokafka.structs import ConsumerRecord

from streams.kafka import batches
from streams.kafka.batches import COVERED_AT, CRC_AT, HEAD, Unreadable
from streams.kafka.consumer import CheckedConsumer, SafeFetcher
from streams.kafka.fetched_records import Records

PLACE = TopicPartition("alerts.ztf", 0)
Damage = Callable[[bytearray], None]


def batch(base: int, values: Sequence[bytes], *, codec: int = 0, headers: Sequence[tuple[str, bytes]] = (("survey", b"ztf"),)) -> bytearray:
    """A batch as a producer makes it and a broker keeps it."""
    builder = DefaultRecordBatchBuilder(2, codec, 0, -1, -1, -1, 10_000_000)
    for i, value in enumerate(values):
        assert builder.append(i, 1_000 + i, b"key", value, list(headers)) is not None
    data = bytearray(builder.build())
    data[:8] = base.to_bytes(8, "big")
    return data


def sealed(data: bytearray) -> bytearray:
    """The same with its length and CRC made right."""
    struct.pack_into(">i", data, 8, len(data) - 12)
    struct.pack_into(">I", data, CRC_AT, crc32c.crc32c(bytes(data[COVERED_AT:])))
    return data


class Broker:
    """A partition's log, and what a consumer reads of it."""

    def __init__(
        self, log: Sequence[bytes | bytearray], ends: Sequence[int], damage: dict[int, Damage] | None = None, times: int = 99
    ) -> None:
        self.log, self.ends, self.damage, self.times = log, ends, damage or {}, times
        self.fetches = 0
        consumer = CheckedConsumer.__new__(CheckedConsumer)
        consumer._closed = True  # it was never made: nothing to warn of
        self.fetcher: Any = SafeFetcher.__new__(SafeFetcher)
        self.fetcher._isolation_level = 1
        consumer.unreadable = True
        from collections import Counter

        consumer.passed_over = Counter()
        self.fetcher.prepare(consumer)

    def fetch(self, position: int) -> bytes:
        """What a broker sends: from the batch that holds the offset on."""
        self.fetches += 1
        out = b""
        for i, (data, end) in enumerate(zip(self.log, self.ends, strict=True)):
            if end > position:
                sent = bytearray(data)
                if i in self.damage and self.times:
                    self.damage[i](sent)
                out += sent
        if self.damage and self.fetches >= 1:
            self.times -= 1
        return out

    def read(self) -> list[ConsumerRecord]:
        """Everything, to the end."""
        position, out = 0, []
        while position < self.ends[-1]:
            assert self.fetches < 500, f"it stands still at {position}"
            records = Records(self.fetcher, PLACE, data=self.fetch(position), aborted=None, position=position, highwater=self.ends[-1])
            out += list(records)
            assert records.next_fetch_offset >= position
            position = records.next_fetch_offset
        return out


def offsets(records: Sequence[ConsumerRecord]) -> list[int]:
    """Every offset that is accounted for, in order."""
    out: list[int] = []
    for record in records:
        if isinstance(record.value, Unreadable):
            assert record.value.last == record.offset
            out += range(record.value.first, record.value.last + 1)
        else:
            out.append(record.offset)
    return out


def good(records: Sequence[ConsumerRecord]) -> dict[int, bytes]:
    return {r.offset: r.value for r in records if not isinstance(r.value, Unreadable)}


def bad(records: Sequence[ConsumerRecord]) -> list[Unreadable]:
    return [r.value for r in records if isinstance(r.value, Unreadable)]


def three() -> tuple[list[bytearray], list[int], dict[int, bytes]]:
    """Three batches of four records."""
    values = {i: b"packet %d" % i * 20 for i in range(12)}
    return [batch(b, [values[i] for i in range(b, b + 4)]) for b in (0, 4, 8)], [4, 8, 12], values


@pytest.mark.parametrize("codec", range(5))
def test_whole_batches_are_read_as_they_were_sent(codec: int) -> None:
    values = [random.Random(codec).randbytes(300) * 3 for _ in range(9)]
    log = [batch(0, values[:5], codec=codec), batch(5, values[5:], codec=codec)]
    records = Broker(log, [5, 9]).read()
    assert [r.value for r in records] == values
    assert [r.offset for r in records] == list(range(9))
    assert {(r.key, r.headers, r.timestamp - (r.offset % 5)) for r in records} == {(b"key", (("survey", b"ztf"),), 1000)}


def test_a_fetch_that_begins_within_a_batch_and_ends_within_another() -> None:
    log, ends, values = three()
    broker = Broker(log, ends)
    data = broker.fetch(0)
    records = Records(broker.fetcher, PLACE, data=data[: -len(log[2]) // 2], aborted=None, position=2, highwater=12)
    assert {r.offset: r.value for r in records} == {i: values[i] for i in range(2, 8)}
    assert records.next_fetch_offset == 8


@pytest.mark.parametrize("at", range(HEAD.size + 20))
@pytest.mark.parametrize("which", [0, 1, 2])
def test_a_byte_damaged_for_good(at: int, which: int) -> None:
    """Whichever byte it is, the neighbours are read and the batch's offsets are accounted for once."""
    log, ends, values = three()

    def damage(data: bytearray) -> None:
        data[at] ^= 0x41

    records = Broker(log, ends, {which: damage}).read()
    assert offsets(records) == list(range(12))
    lost = set(range(4 * which, 4 * which + 4))
    assert {i: v for i, v in good(records).items() if i not in lost} == {i: v for i, v in values.items() if i not in lost}
    if 12 <= at < 16:  # the leader's epoch: a broker writes it, and it is covered by no checksum
        assert not bad(records)
    else:
        assert bad(records)
        assert {found.error_class for found in bad(records)} <= {batches.CORRUPT_BATCH, batches.UNREADABLE_BATCH}


def test_a_corrupt_batch_is_one_rejection_with_its_bytes() -> None:
    log, ends, values = three()
    records = Broker(log, ends, {1: lambda data: data.__setitem__(100, data[100] ^ 1)}).read()
    (found,) = bad(records)
    assert (found.error_class, found.first, found.last, found.records) == ("corrupt_batch", 4, 7, 4)
    assert len(found) == len(log[1])
    assert good(records) == {i: v for i, v in values.items() if not 4 <= i < 8}


def test_a_batch_damaged_once_is_fetched_again_and_read() -> None:
    log, ends, values = three()
    broker = Broker(log, ends, {1: lambda data: data.__setitem__(100, data[100] ^ 1)}, times=1)
    assert good(broker.read()) == values
    assert broker.fetches == 2


@pytest.mark.parametrize("seed", range(150))
def test_random_damage_of_any_batch(seed: int) -> None:
    chance = random.Random(seed)
    log, ends, values = three()
    which = chance.randrange(3)
    flips = [(chance.randrange(len(log[which])), 1 << chance.randrange(8)) for _ in range(chance.choice([1, 3, 40]))]

    def damage(data: bytearray) -> None:
        for at, bit in flips:
            data[at] ^= bit

    records = Broker(log, ends, {which: damage}).read()
    assert offsets(records) == list(range(12))
    assert {i: v for i, v in good(records).items() if i // 4 != which} == {i: v for i, v in values.items() if i // 4 != which}


def inside(data: bytearray, k: int) -> tuple[int, int]:
    """Where record k of a plain batch begins, its length's bytes included, and ends."""
    at = HEAD.size
    for _ in range(k):
        length, begin = batches._varint(memoryview(data), at)
        at = begin + length
    length, begin = batches._varint(memoryview(data), at)
    return at, begin + length


def odd_name(data: bytearray, k: int) -> None:
    begin, end = inside(data, k)
    at = data.index(b"survey", begin, end)
    data[at : at + 6] = b"\xff\xfe\xc3\x28su"


def negative_headers(data: bytearray, k: int) -> None:
    begin, end = inside(data, k)
    at = data.index(b"survey", begin, end)
    data[at - 2] = 1  # zigzag of -1


def long_value(data: bytearray, k: int) -> None:
    begin, end = inside(data, k)
    at = data.index(b"packet", begin, end)
    data[at - 2 : at] = b"\xfe\x7f"


def odd_offset(data: bytearray, k: int) -> None:
    begin, _ = inside(data, k)
    data[begin + 4] = 0x7E  # the difference of the offset: 63


@pytest.mark.parametrize("k", [0, 1, 3])
@pytest.mark.parametrize(("damage", "readable"), [(odd_name, True), (negative_headers, True), (long_value, False), (odd_offset, False)])
def test_one_record_that_was_sent_bad_costs_itself(damage: Callable[[bytearray, int], None], readable: bool, k: int) -> None:
    log, ends, values = three()
    damage(log[1], k)
    sealed(log[1])
    records = Broker(log, ends).read()
    assert offsets(records) == list(range(12))
    (found,) = bad(records)
    assert (found.error_class, found.first, found.records) == ("bad_record", 4 + k, 1)
    assert good(records) == {i: v for i, v in values.items() if i != 4 + k}
    if readable:
        assert found == values[4 + k], "what can be read of it is its value"


@pytest.mark.parametrize("length", [b"\xff\xff\xff\xff\xff\xff\xff\xff\xff\xff\xff\xff", b"\x01", b"\xfe\xff\xff\x0f"])
def test_lengths_that_do_not_add_up_cost_the_rest_of_the_batch(length: bytes) -> None:
    log, ends, values = three()
    begin, _ = inside(log[1], 2)
    log[1][begin : begin + len(length)] = length
    sealed(log[1])
    records = Broker(log, ends).read()
    assert offsets(records) == list(range(12))
    (found,) = bad(records)
    assert (found.error_class, found.first, found.last) == ("bad_record", 6, 7)
    assert good(records) == {i: v for i, v in values.items() if i not in (6, 7)}


@pytest.mark.parametrize("seed", range(300))
def test_random_records_with_a_right_checksum(seed: int) -> None:
    chance = random.Random(seed)
    log, ends, values = three()
    for _ in range(chance.choice([1, 2, 10])):
        log[1][chance.randrange(HEAD.size, len(log[1]))] = chance.randrange(256)
    if chance.random() < 0.3:
        del log[1][-chance.randrange(1, 50) :]
    sealed(log[1])
    records = Broker(log, ends).read()
    assert offsets(records) == list(range(12))
    assert {i: v for i, v in good(records).items() if i // 4 != 1} == {i: v for i, v in values.items() if i // 4 != 1}


@pytest.mark.parametrize("codec", [1, 2, 3, 4, 5, 7])
@pytest.mark.parametrize("seed", range(4))
def test_records_that_cannot_be_inflated(codec: int, seed: int) -> None:
    log, ends, values = three()
    log[1] = batch(4, [values[i] for i in range(4, 8)], codec=codec if codec < 5 else 0)
    chance = random.Random(seed)
    if codec < 5:
        packed = log[1][HEAD.size :]
        packed[: len(packed) // 2] = chance.randbytes(len(packed) // 2)
        log[1][HEAD.size :] = packed if seed % 2 else packed[:0]
    else:
        log[1][COVERED_AT + 1] = codec
    sealed(log[1])
    records = Broker(log, ends).read()
    assert offsets(records) == list(range(12))
    assert {i: v for i, v in good(records).items() if i // 4 != 1} == {i: v for i, v in values.items() if i // 4 != 1}
    assert bad(records)


def packed_zeros(codec: int, size: int) -> bytes:
    import zlib

    plain = bytes(size)
    if codec == batches.GZIP:
        packer = zlib.compressobj(wbits=31)
        return packer.compress(plain) + packer.flush()
    if codec == batches.SNAPPY:
        return bytes(cramjam.snappy.compress_raw(plain))
    return bytes(cramjam.lz4.compress(plain) if codec == batches.LZ4 else cramjam.zstd.compress(plain))


@pytest.mark.parametrize("codec", [1, 2, 3, 4])
def test_a_bomb_is_passed_over_at_its_bound(codec: int) -> None:
    import tracemalloc

    log, ends, values = three()
    packed = packed_zeros(codec, 40 * batches.MOST_BYTES if codec == batches.ZSTD else 2 * batches.MOST_BYTES)
    log[1] = sealed(bytearray(log[1][: HEAD.size]) + packed)
    log[1][COVERED_AT + 1] = codec
    sealed(log[1])
    tracemalloc.start()
    records = Broker(log, ends).read()
    most = tracemalloc.get_traced_memory()[1]
    tracemalloc.stop()
    (found,) = bad(records)
    assert (found.error_class, found.first, found.last) == ("unreadable_batch", 4, 7)
    assert "become more than" in found.reason
    assert good(records) == {i: v for i, v in values.items() if i // 4 != 1}
    assert most < 6 * max(batches.MOST_BYTES, len(packed))


@pytest.mark.parametrize("magic", [0, 1, 3, 9, 255])
def test_another_format_is_passed_over(magic: int) -> None:
    """aiokafka's parser of the formats before 2017 may end the process."""
    log, ends, values = three()
    log[1][16] = magic
    records = Broker(log, ends).read()
    (found,) = bad(records)
    assert (found.error_class, found.first, found.last) == ("unreadable_batch", 4, 7)
    assert good(records) == {i: v for i, v in values.items() if i // 4 != 1}


def test_aborted_records_and_marks_are_left_out() -> None:
    def transactional(data: bytearray, producer: int, attributes: int) -> bytearray:
        data[COVERED_AT + 1] |= attributes
        struct.pack_into(">q", data, 43, producer)
        return sealed(data)

    mark = DefaultRecordBatchBuilder(2, 0, 0, 7, 0, -1, 1000)
    mark.append(0, 1000, b"\0\0\0\0", b"\0\0\0\0\0\0", [])
    ending = bytearray(mark.build())
    ending[:8] = (8).to_bytes(8, "big")
    log = [
        transactional(batch(0, [b"aborted"] * 4), 7, 0x10),
        transactional(batch(4, [b"committed"] * 4), 9, 0x10),
        transactional(ending, 7, 0x30),
        batch(9, [b"plain"] * 3),
    ]
    broker = Broker(log, [4, 8, 9, 12])
    records = Records(broker.fetcher, PLACE, data=broker.fetch(0), aborted=[(7, 0)], position=0, highwater=12)
    assert [(r.offset, r.value) for r in records] == [(i, b"committed") for i in range(4, 8)] + [(i, b"plain") for i in range(9, 12)]
    assert records.next_fetch_offset == 12


def test_one_that_does_not_ask_for_them_is_not_given_what_is_unreadable() -> None:
    log, ends, values = three()
    odd_name(log[1], 2)
    sealed(log[1])
    log[2][100] ^= 1
    broker = Broker(log, ends)
    broker.fetcher.consumer.unreadable = False
    reported: list[tuple[int, int]] = []
    broker.fetcher.consumer.report = lambda place, found: reported.append((found.first, found.last))
    records = broker.read()
    assert good(records) == {i: values[i] for i in (0, 1, 2, 3, 4, 5, 7)}
    assert broker.fetcher.consumer.passed_over == {"alerts.ztf": 5}
    assert reported == [(6, 6), (8, 11)]
