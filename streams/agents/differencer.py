"""Calibrated frames → alerts, measurements and new positions: the second stage of the work on frames.

    frames.calibrated ──► file ──► reference ──► pipeline.frames.alerts ──► alerts.frames, photometry.* | alerts.rejected

What it knows of earlier frames (`photometry_state`) is made anew from the topics whenever it takes them over, and from nothing else; what
others write to `photometry.positions` counts from the next frame on.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any, NamedTuple

import structlog
from aiokafka import TopicPartition

from data.frames.claims import open_claim
from data.frames.frame_error import FrameError
from schemas.records import codec
from schemas.records.calibrated_frame import CalibratedFrame
from schemas.records.photometry_measured import PhotometryMeasured
from schemas.records.photometry_position import PhotometryPosition
from settings.raw_frames import calibrated_folder
from streams import metrics
from streams.agents.detector import Incoming
from streams.agents.frame_stage import Worked, headers_of
from streams.agents.photometry_state import PhotometryState
from streams.agents.redrive import rejected
from streams.kafka import topics
from streams.kafka.consumer import make_consumer
from streams.kafka.exactly_once import decided_records
from streams.kafka.producer import Record

if TYPE_CHECKING:
    from pipeline.frame_packets import Packet
    from settings.model import Settings
    from streams.agents.frame_stage import FrameFlow
    from streams.agents.references_watch import ReferencesWatch
    from streams.kafka.consumer import CheckedConsumer
    from streams.kafka.exactly_once import FencedReader

log = structlog.get_logger(__name__)

POSITIONS = TopicPartition(topics.PHOTOMETRY_POSITIONS, 0)


class Found(NamedTuple):
    """What a frame gave, without its images."""

    packets: tuple[Packet, ...]
    measured: tuple[PhotometryMeasured, ...]
    new_positions: tuple[PhotometryPosition, ...]


class Differencer:
    """Compares calibrated frames with their references.

    Parameters
    ----------
    settings : Settings
    references : ReferencesWatch
    """

    name = "differencer"
    topic = topics.FRAMES_CALIBRATED

    def __init__(self, settings: Settings, references: ReferencesWatch) -> None:
        self._settings, self._references = settings, references
        self._prefixes = (calibrated_folder(settings).absolute().as_uri(), *settings.frames_prefixes)
        self._consumer: CheckedConsumer | None = None
        self.state = PhotometryState()

    async def open(self, flow: FrameFlow, reader: FencedReader) -> None:
        """Make the state anew from the topics."""
        state = PhotometryState()
        self._consumer = make_consumer(self._settings, auto_offset_reset="earliest")
        await self._consumer.start()
        self._consumer.assign([POSITIONS])
        start = (await self._consumer.beginning_offsets([POSITIONS]))[POSITIONS]
        end = (await self._consumer.end_offsets([POSITIONS]))[POSITIONS]
        self._consumer.seek(POSITIONS, start)
        self.state = state
        while await self._consumer.position(POSITIONS) < end:
            await self._take_positions(500)
        async for message in decided_records(self._settings, topics.PHOTOMETRY_MEASURED):
            measured = codec.decode(message.value)
            if isinstance(measured, PhotometryMeasured):
                state.take_measured(measured)
        refused = set()
        async for packet in rejected(self._settings):
            if packet.topic == self.topic:
                refused.add(packet.origin)
        async for message in decided_records(self._settings, self.topic):
            frame = codec.decode(message.value)
            before = message.offset < reader.committed.get(message.partition, 0)
            if before and isinstance(frame, CalibratedFrame) and f"{self.topic}/{message.partition}@{message.offset}" not in refused:
                state.take_frame(frame)
        self._show()
        log.info("what earlier frames left is known", **state.counts())

    async def close(self) -> None:
        """Let the positions' topic go."""
        if self._consumer is not None:
            await self._consumer.stop()
            self._consumer = None

    async def look(self, flow: FrameFlow) -> None:
        """Show what is kept."""
        self._show()

    async def work(self, flow: FrameFlow, packet: Incoming) -> Worked:
        """Compare one frame with its reference."""
        frame = codec.expect(packet.value, CalibratedFrame)
        await self._take_positions(0)
        positions = self.state.near(frame)
        histories = self.state.histories(frame, (p.name for p in positions))
        coverage = self.state.coverage(frame)
        data = await flow.fetch(lambda: open_claim(frame.uri, length=frame.length, sha256=frame.sha256, prefixes=self._prefixes))
        made = await flow.compute(lambda: self._difference(data, positions=positions, histories=histories, coverage=coverage))
        headers = headers_of(packet)
        out = [Record(topics.FRAME_ALERTS, p.object_id.encode(), p.data, headers, p.object_id.encode()) for p in made.packets]
        out += [Record(topics.PHOTOMETRY_POSITIONS, p.key, codec.encode(p), headers, p.key) for p in made.new_positions]
        out += [Record(topics.PHOTOMETRY_MEASURED, m.key, codec.encode(m), headers, m.key) for m in made.measured]
        return Worked("differenced", out, note=(frame, made))

    def committed(self, packet: Incoming, worked: Worked, *, placed: Sequence[Any]) -> None:
        """Remember what was measured."""
        if worked.note is None:
            return
        frame, made = worked.note
        for position in made.new_positions:
            self.state.take_position(position.key, position)
        for measured in made.measured:
            self.state.take_measured(measured)
        self.state.take_frame(frame)
        metrics.FRAME_ALERTS.inc(len(made.packets))

    def _difference(
        self, data: bytes, *, positions: list[PhotometryPosition], histories: Mapping[str, list[PhotometryMeasured]],
        coverage: list[CalibratedFrame],
    ) -> Found:  # fmt: skip
        """In the stages' thread."""
        from data.frames.calibrated_file import read
        from pipeline.frames import alerts

        file = read(data)
        planes = file.calibrated
        prepared = self._references.prepared(file.raw, (planes.science.shape[0], planes.science.shape[1]))
        made = alerts(
            file.raw, planes, file.quality, reference=prepared, positions=positions, histories=histories, coverage=coverage,
            threshold=self._settings.frames_threshold,
        )  # fmt: skip
        if made.reason is not None:
            raise FrameError(made.reason, made.text)
        return Found(made.packets, made.measured, made.new_positions)

    async def _take_positions(self, wait_ms: int) -> None:
        """Know what was written to the positions' topic since the last look."""
        assert self._consumer is not None
        while found := (await self._consumer.getmany(POSITIONS, timeout_ms=wait_ms)).get(POSITIONS, []):
            for message in found:
                position = codec.decode(message.value) if message.value is not None else None
                if position is None or isinstance(position, PhotometryPosition):
                    self.state.take_position(message.key, position)
                else:
                    log.warning("a record on the positions' topic is not a position", offset=message.offset)

    def _show(self) -> None:
        for what, count in self.state.counts().items():
            metrics.PHOTOMETRY_KEPT.labels(what).set(count)
