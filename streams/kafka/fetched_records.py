"""What one fetch has of a partition → its records in order, and what stands for those that cannot be read.

aiokafka's `PartitionRecords`, with distrust: `streams.kafka.batches` takes the bytes apart, and a batch that arrived damaged is asked for
once more before it is passed over.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import TYPE_CHECKING, Any, Protocol

import structlog
from aiokafka.record.control_record import ABORT_MARKER, ControlRecord
from aiokafka.structs import ConsumerRecord

from streams import metrics
from streams.kafka.batches import CORRUPT_BATCH, Fault, Piece, Unreadable, codec_of, head_of, opened, plain, records_of, split
from streams.kafka.offset_ledger import Skip, SkipKind

if TYPE_CHECKING:
    from aiokafka import TopicPartition

log = structlog.get_logger(__name__)


class Reader(Protocol):
    """Who reads: `streams.kafka.consumer.SafeFetcher`."""

    tried: dict[TopicPartition, int]
    """Partition → the position at which a damaged batch was fetched once."""

    @property
    def committed_only(self) -> bool:
        """Whether records of aborted transactions are left out."""

    @property
    def unreadable(self) -> bool:
        """Whether to hand out an `Unreadable` where records cannot be read."""

    def pass_over(self, place: TopicPartition, found: Unreadable) -> None:
        """Count records that cannot be read."""

    def skip(self, place: TopicPartition, skipped: Skip) -> None:
        """Note offsets that hold no record to hand out."""


class Records:
    """The records of a partition as one fetch has them: what aiokafka's `PartitionRecords` is, with distrust.

    Parameters
    ----------
    reader : Reader
    place : TopicPartition
    data : bytes
        What came.
    aborted : sequence of (producer's id, first offset)
        Transactions that were aborted.
    position : int
        What was asked for.
    highwater : int
        Where the partition ends.
    """

    def __init__(self, reader: Reader, place: TopicPartition, *, data: bytes, aborted: Any, position: int, highwater: int) -> None:
        self._reader, self._place, self._data, self._highwater = reader, place, data, highwater
        self._aborted = sorted(aborted or [], key=lambda row: row[1])
        self._aborted_producers: set[int] = set()
        self.next_fetch_offset = position
        self._records: Iterator[ConsumerRecord] | None = self._read()

    def __iter__(self) -> Records:
        return self

    def __next__(self) -> ConsumerRecord:
        try:
            return next(self._records or iter(()))
        except StopIteration:
            self._records = None  # it refers to us
            raise

    def _read(self) -> Iterator[ConsumerRecord]:
        pieces = list(split(self._data))
        for i, piece in enumerate(pieces):
            if not piece.complete and i:
                return  # cut by the fetch's end, or of a wrong length: it comes first in the next one
            fault = None
            try:
                batch = self._open(piece, first=i == 0)
            except Fault as error:
                fault = error
            if fault is None:
                self._skip_to(batch.base_offset, "absent")
                yield from self._of(batch, piece)
                continue
            if i and not fault.checked:
                return  # what came before is handed out; it comes first in the next fetch
            if self._once_more(fault):
                return
            end = self._end_of(piece, pieces[i + 1 :])
            yield from self._instead(Unreadable.of(piece.raw, fault, first=self.next_fetch_offset, records=end - self.next_fetch_offset))

    def _open(self, piece: Piece, *, first: bool) -> Any:
        """A batch whose head, checksum and place are right; `Fault` where they are not."""
        if not piece.complete:
            raise Fault(CORRUPT_BATCH, f"a batch whose length is wrong, with {len(piece.raw):,} bytes behind it", checked=False)
        batch = opened(piece.raw)
        head = head_of(piece.raw)
        if head is not None:
            # The checksum does not cover where the batch lies. A gap before it is what compaction leaves, or a wrong place: asked once.
            here = self.next_fetch_offset
            if not here <= head.last < self._highwater or head.base > head.last:
                raise Fault(CORRUPT_BATCH, f"a batch of the offsets {head.base} to {head.last}, where {here} was asked for", checked=False)
            if head.base > here and self._reader.tried.get(self._place) != here:
                raise Fault(CORRUPT_BATCH, f"a batch that begins at {head.base}, where {here} was asked for", checked=False)
        return batch

    def _once_more(self, fault: Fault) -> bool:
        """Whether to fetch a batch again: one that arrives damaged, the first time."""
        if fault.checked or self._reader.tried.get(self._place) == self.next_fetch_offset:
            return False
        self._reader.tried[self._place] = self.next_fetch_offset
        metrics.FETCHED_AGAIN.labels(self._place.topic).inc()
        log.warning("a batch is fetched again", topic=self._place.topic, partition=self._place.partition, why=fault.reason)
        return True

    def _end_of(self, piece: Piece, behind: Sequence[Piece]) -> int:
        """Where a bad batch ends: as its neighbour says, or its own head if that is consistent; else one offset further at a time."""
        here = self.next_fetch_offset
        if piece.complete and behind and behind[0].complete:
            try:
                opened(behind[0].raw)
            except Fault:
                pass
            else:
                after = head_of(behind[0].raw)
                if after is not None and here < after.base < self._highwater:
                    return after.base
        head = head_of(piece.raw)
        if head is not None and head.records == head.last - head.base + 1 and head.base <= here <= head.last < self._highwater:
            return head.last + 1
        return here + 1

    def _of(self, batch: Any, piece: Piece) -> Iterator[ConsumerRecord]:
        """The records of a batch that could be opened."""
        if self._left_out(batch):
            self._skip_to(batch.next_offset, "control" if batch.is_control_batch else "aborted")
            return
        begin, last, dense = self.next_fetch_offset, batch.next_offset - 1, _dense(piece)
        due = batch.base_offset
        try:
            for record in batch:
                offset = record.offset
                if offset != due and (dense or not due <= offset <= last):
                    raise ValueError(f"the offset {offset}, where {due} is due")
                due = offset + 1
                if offset < begin:
                    continue  # the fetch began within the batch
                made = self._made(
                    offset, record.timestamp, kind=record.timestamp_type, key=record.key, value=record.value, headers=tuple(record.headers)
                )
                self._skip_to(offset, "compacted")
                self.next_fetch_offset = due
                yield made
        except Exception:  # the parser raises whatever it falls over
            yield from self._one_by_one(piece)
        # A batch keeps its last offset where compaction took its last record.
        self._skip_to(last + 1, "compacted")

    def _left_out(self, batch: Any) -> bool:
        """Whether a batch is none of records that were sent: a transaction's mark, or an aborted one's."""
        if self._reader.committed_only and batch.producer_id is not None:
            while self._aborted and self._aborted[0][1] <= batch.base_offset:
                self._aborted_producers.add(self._aborted.pop(0)[0])
            if batch.is_control_batch and _is_abort(batch):
                self._aborted_producers.discard(batch.producer_id)
            if batch.is_transactional and batch.producer_id in self._aborted_producers:
                return True
        return bool(batch.is_control_batch)

    def _one_by_one(self, piece: Piece) -> Iterator[ConsumerRecord]:
        """The rest of a batch over which the parser stumbled."""
        for record in records_of(_plain(piece.raw)):
            if isinstance(record, Unreadable):
                if record.last >= self.next_fetch_offset:
                    self._skip_to(record.first, "compacted")
                    yield from self._instead(record.since(self.next_fetch_offset))
            elif record.offset >= self.next_fetch_offset:
                self._skip_to(record.offset, "compacted")
                self.next_fetch_offset = record.offset + 1
                yield self._made(record.offset, record.timestamp, kind=0, key=record.key, value=record.value, headers=record.headers)

    def _skip_to(self, offset: int, kind: SkipKind) -> None:
        """Go on at an offset; what lies before it holds nothing to hand out."""
        if offset > self.next_fetch_offset:
            self._reader.skip(self._place, Skip(self.next_fetch_offset, offset, kind))
            self.next_fetch_offset = offset

    def _instead(self, found: Unreadable) -> Iterator[ConsumerRecord]:
        """What stands for records that cannot be read; at the last one's offset, so that its acknowledgement is that of all."""
        self.next_fetch_offset = found.last + 1
        self._reader.pass_over(self._place, found)
        if self._reader.unreadable:
            yield self._made(found.last, None, kind=0, key=None, value=found, headers=())

    def _made(self, offset: int, timestamp: Any, *, kind: int, key: Any, value: Any, headers: Any) -> ConsumerRecord:
        place = self._place
        return ConsumerRecord(
            place.topic,
            place.partition,
            offset,
            timestamp,
            kind,
            key,
            value,
            None,
            -1 if key is None else len(key),
            -1 if value is None else len(value),
            headers,
        )


def _dense(piece: Piece) -> bool:
    """Whether each of a batch's offsets has a record: compaction took none."""
    head = head_of(piece.raw)
    return head is not None and head.records == head.last - head.base + 1


def _plain(raw: memoryview) -> bytes | memoryview:
    codec = codec_of(raw)
    return plain(raw, codec) if codec else raw


def _is_abort(batch: Any) -> bool:
    """Whether a control batch is the mark of an aborted transaction."""
    try:
        return bool(ControlRecord.parse(next(batch).key) == ABORT_MARKER)
    except Exception:  # only brokers write them; what it says is then unknown, and the next mark says it again
        return False
