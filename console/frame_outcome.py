"""What comes of raw frames → counts: frames announced and rejected, candidates, detections, photometry; counted by the demo itself."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

from console.outcome_counts import Listener, OutcomeCounts
from evaluation.frame_truth import Found
from schemas.records.calibrated_frame import CalibratedFrame
from schemas.records.photometry_measured import PhotometryMeasured
from schemas.records.source_state import SourceState
from streams.kafka import topics

if TYPE_CHECKING:
    from settings.model import Settings

STAGES = {"calibrator": topics.FRAMES_RAW, "differencer": topics.FRAMES_CALIBRATED}
"""Stage → the topic that it reads."""


@dataclass(slots=True)
class FrameCounts(OutcomeCounts):
    """Counts of what came out of frames."""

    announced: dict[tuple[str, str], CalibratedFrame] = field(default_factory=dict)
    """(frame, detector) → its announcement."""
    alerts: int = 0
    """Packets on `alerts.frames`."""
    measured: list[PhotometryMeasured] = field(default_factory=list)
    refused: dict[str, list[str]] = field(default_factory=dict)
    """Reason → what was said of each frame that was rejected, by either stage."""
    states: dict[str, SourceState] = field(default_factory=dict)
    """Stage → its own counts."""

    def add(self, message: Any) -> None:
        """Count a message of one of the topics."""
        if message.topic == topics.FRAMES_CALIBRATED:
            frame = self.bad.read(message, CalibratedFrame)
            if frame is not None:
                self.announced[frame.frame_id, frame.detector] = frame
        elif message.topic == topics.FRAME_ALERTS:
            self.alerts += 1
        elif message.topic == topics.PHOTOMETRY_MEASURED:
            measured = self.bad.read(message, PhotometryMeasured)
            if measured is not None:
                self.measured.append(measured)
        elif message.topic == topics.SOURCES:
            state = self.bad.read(message, SourceState)
            if state is not None:
                self.states[state.source.strip("()")] = state
        elif message.topic == topics.REJECTED and dict(message.headers).get("topic", b"").decode() in STAGES.values():
            headers = dict(message.headers)
            reason = headers.get("error_class", b"?").decode()
            self.refused.setdefault(reason, []).append(headers.get("reason", b"").decode(errors="replace"))
        else:
            OutcomeCounts.add(self, message)

    @property
    def frames_rejected(self) -> int:
        """Frames that ended on the reject topic."""
        return sum(len(said) for said in self.refused.values())

    @property
    def frames_done(self) -> int:
        """Frames that are through both stages, or rejected by one."""
        state = self.states.get("differencer")
        return self.frames_rejected + (state.copied if state is not None else 0)

    @property
    def alerts_done(self) -> int:
        """Candidates that are scored, rejected or duplicates."""
        return self.total

    def found(self) -> list[Found]:
        """All candidates, each with its decision."""
        out = []
        for arrival in self.arrivals:
            d = arrival.detection
            if d.survey == "frames" and d.flux is not None and d.flux_err is not None:
                published = d.decision is not None and d.decision.published
                out.append(Found(d.mjd, d.band, d.ra, d.dec, d.flux, d.flux_err, d.shown_class[0], published, d.object_id))
        return out


class FrameListener(Listener):
    """Reads all topics that frames end on."""

    TOPICS = (*Listener.TOPICS, topics.FRAMES_CALIBRATED, topics.FRAME_ALERTS, topics.PHOTOMETRY_MEASURED, topics.SOURCES)

    def __init__(self, settings: Settings) -> None:
        super().__init__(settings)
        self.frames = FrameCounts()
        self.counts = self.frames
