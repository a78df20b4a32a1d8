"""Raw frames → calibrated files and their announcement: the first stage of the work on frames.

    frames.raw ──► bytes, or the file of a claim ──► masters ──► pipeline.frames.calibrated ──► file ──► frames.calibrated | alerts.rejected

A calibrated file has a name made of what it was made from, and the same bytes each time: a process killed between file and commit writes it
again, and the announcement that is committed is of the bytes that lie there. A frame without a master is rejected as `no_master` with what
its masters must be of in a header, and is re-driven when such masters come (`masters_watch`).
"""

from __future__ import annotations

import hashlib
import math
import time
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from data.frames.claims import open_claim
from data.frames.frame_error import FrameError
from schemas.records import codec
from schemas.records.calibrated_frame import CalibratedFrame
from schemas.records.frame_claim import FrameClaim
from schemas.records.rejected import Rejected
from settings.private import private_folder
from settings.raw_frames import calibrated_folder
from streams.agents.detector import Incoming
from streams.agents.frame_stage import SURVEY, Worked, headers_of
from streams.agents.masters_watch import NEEDS_HEADER, MastersWatch, needs_of, text_of
from streams.kafka import topics
from streams.kafka.producer import Record

if TYPE_CHECKING:
    from operators.images.planes import Calibrated, Masters, Quality, RawFrame, Reference
    from settings.model import Settings
    from streams.agents.frame_stage import FrameFlow
    from streams.agents.references_watch import ReferencesWatch
    from streams.kafka.exactly_once import FencedReader

FRAMED = b"\x00"
"""First byte of a record in Confluent framing, here a claim; no FITS file, plain or compressed, begins so."""
NAME_DIGITS = 16
"""Of the digest in a calibrated file's name."""


@dataclass(slots=True)
class Finished:
    """A frame after calibration, or what its masters must be of."""

    record: CalibratedFrame | None
    rejected: Rejected | None = None
    needs: dict[str, Any] | None = None
    generation: int = 0
    """Of the masters it was compared with."""


class Calibrator:
    """Calibrates raw frames.

    Parameters
    ----------
    settings : Settings
    masters : MastersWatch
    references : ReferencesWatch
        Both are used in the stages' thread only.
    """

    name = "calibrator"
    topic = topics.FRAMES_RAW

    def __init__(self, settings: Settings, masters: MastersWatch, *, references: ReferencesWatch) -> None:
        self._settings, self._masters, self._references = settings, masters, references
        self.folder = calibrated_folder(settings)

    async def open(self, flow: FrameFlow, reader: FencedReader) -> None:
        """Wait until the announced masters are known: a frame that came first would lack them."""
        await self._masters.known.wait()

    async def look(self, flow: FrameFlow) -> None:
        """Take up masters that were put into the folder."""
        if await flow.compute(self._masters.rescan):
            self._masters.wake()

    async def close(self) -> None:
        """Nothing is held."""

    async def work(self, flow: FrameFlow, packet: Incoming) -> Worked:
        """Calibrate one frame."""
        raw = packet.value
        if raw.startswith(FRAMED):
            claim = codec.expect(raw, FrameClaim)
            prefixes = self._settings.frames_prefixes
            raw = await flow.fetch(lambda: open_claim(claim.uri, length=claim.length, sha256=claim.sha256, prefixes=prefixes))
        origin = f"{packet.topic}-{packet.partition}-{packet.offset}"
        done = await flow.compute(lambda: self._calibrate(raw, origin))
        if done.rejected is not None:
            extra = [] if done.needs is None else [(NEEDS_HEADER, text_of(done.needs))]
            return Worked("rejected", rejected=done.rejected, extra=extra, note=done)
        assert done.record is not None
        value = codec.encode(done.record)
        key = done.record.key
        return Worked("calibrated", [Record(topics.FRAMES_CALIBRATED, key, value, headers_of(packet), key)], note=done)

    def committed(self, packet: Incoming, worked: Worked, *, placed: Sequence[Any]) -> None:
        """Remember where a frame that waits for a master lies on the reject topic."""
        done = worked.note
        if isinstance(done, Finished) and done.needs is not None:
            self._masters.wait_for(f"{placed[-1].partition}/{placed[-1].offset}", done.needs, generation=done.generation)

    def _calibrate(self, raw: bytes, origin: str) -> Finished:
        """Read, calibrate and write one frame; in the stages' thread."""
        from data.frames.calibrated_file import write
        from data.frames.fits_image import read_frame
        from pipeline.frames import calibrated

        frame = read_frame(raw, origin=origin)
        if frame.kind != "science":
            raise FrameError(
                "bad_frame", f"a {frame.kind} frame: only science frames are calibrated; `protonova masters build` takes the others"
            )
        needs = needs_of(frame)
        generation = self._masters.generation
        try:
            masters, flags = self._masters.select(needs)
        except FrameError as error:
            if error.reason != "no_master":
                raise
            return Finished(None, Rejected(error.reason, str(error), SURVEY), needs, generation)
        image, quality = calibrated(
            frame, masters, cosmic_rays=self._settings.frames_cosmic_rays, reference=self._reference(frame, needs["shape"]), flags=flags
        )
        digest = hashlib.sha256(raw).hexdigest()
        path = self._path(frame, masters, digest=digest)
        if not path.parent.exists():
            private_folder(path.parent)
        sha256 = write(path, image, quality, frame, masters)
        return Finished(announcement(frame, image, quality=quality, masters=masters, path=path, sha256=sha256, raw_sha256=digest))

    def _reference(self, frame: RawFrame, shape: tuple[int, int]) -> Reference | None:
        """Which gives the zero point, where there is one."""
        try:
            return self._references.of(frame, shape)
        except FrameError:
            return None

    def _path(self, frame: RawFrame, masters: Masters, *, digest: str) -> Path:
        """Where the calibrated file lies: night, detector, exposure and a digest of all that it was made from."""
        parts = (digest, *masters.ids, str(self._settings.frames_cosmic_rays), frame.frame_id)
        made_of = hashlib.sha256("\0".join(parts).encode()).hexdigest()[:NAME_DIGITS]
        return self.folder / f"{math.floor(frame.mjd)}" / frame.detector / f"{frame.frame_id}_{made_of}.fits"


def announcement(
    frame: RawFrame, image: Calibrated, *, quality: Quality, masters: Masters, path: Path, sha256: str, raw_sha256: str
) -> CalibratedFrame:
    """The record of a calibrated frame.

    Parameters
    ----------
    frame : RawFrame
    image : Calibrated
    quality : Quality
    masters : Masters
    path : Path
        Of the file that was written.
    sha256, raw_sha256 : str
        Of that file, and of the raw one.
    """
    from data.frames.sky_positions import sky_map

    sky = sky_map(frame.wcs, image.science.shape)
    corners: tuple[float, ...] = ()
    if sky is not None:
        ra, dec = sky.corners()
        corners = tuple(float(angle) for corner in zip(ra, dec, strict=True) for angle in corner)
    if not all(map(math.isfinite, corners)):
        sky, corners = None, ()
    return CalibratedFrame(
        frame_id=frame.frame_id, detector=frame.detector, filter=frame.filter, field=frame.field, mjd=frame.mjd, exposure=frame.exposure,
        public=frame.public, uri=path.absolute().as_uri(), length=path.stat().st_size, sha256=sha256, raw_sha256=raw_sha256,
        masters=masters.ids, footprint=corners, pixel_scale=None if sky is None else known(sky.scale), sky=known(quality.sky),
        noise=known(quality.noise), seeing=known(quality.seeing), elongation=known(quality.elongation), n_stars=quality.n_stars,
        saturated_share=known(quality.saturated_share), cosmic_ray_share=known(quality.cosmic_ray_share),
        bad_share=known(quality.bad_share), zero_point=known(quality.zero_point), zero_point_err=known(quality.zero_point_err),
        limit=known(quality.limit), flags=quality.flags, calibrated_ms=int(time.time() * 1000),
    )  # fmt: skip


def known(figure: float) -> float | None:
    """A figure, or None where it was not measured."""
    return float(figure) if math.isfinite(figure) else None
