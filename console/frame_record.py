"""A FITS image → its record on `frames.raw`: the file itself where it fits, else a claim of where it lies."""

from __future__ import annotations

import hashlib
from collections.abc import Callable
from pathlib import Path, PurePosixPath
from typing import TYPE_CHECKING, NamedTuple

from errors import one_line
from schemas.avro.wire import MAX_PACKET
from schemas.records import codec
from schemas.records.frame_claim import FrameClaim

if TYPE_CHECKING:
    from data.connectors.archives import FrameFile, Skipped
    from settings.model import Settings

_PIECE = 1 << 20


class FrameRecord(NamedTuple):
    """What is sent of a frame."""

    origin: str
    packet: bytes
    key: bytes


def frame_maker(settings: Settings) -> Callable[[FrameFile], FrameRecord | Skipped]:
    """What makes records of frames, by the prefixes of the settings."""

    def make(frame: FrameFile) -> FrameRecord | Skipped:
        from data.connectors.archives import Skipped

        name = PurePosixPath(frame.origin.split("!")[-1]).name.encode()[:200]
        if frame.data is not None:
            return FrameRecord(frame.origin, frame.data, name)
        if frame.path is None:
            return Skipped(frame.origin, "too large", f"a frame over {MAX_PACKET:,} bytes goes as a claim of a file: unpack it first")
        try:
            if frame.path.stat().st_size <= MAX_PACKET:  # a gzipped one
                return FrameRecord(frame.origin, frame.path.read_bytes(), name)
            for path in (frame.path.absolute(), frame.path.resolve()):  # a prefix may be a link, what lies under it may not
                if path.as_uri().startswith(settings.frames_prefixes):
                    return FrameRecord(frame.origin, codec.encode(claim_of(path)), name)
            where = ", ".join(settings.frames_prefixes) or "it is empty"
            return Skipped(frame.origin, "too large", f"a frame over {MAX_PACKET:,} bytes must lie under frames_prefixes ({where})")
        except OSError as error:
            return Skipped(frame.origin, "unreadable", one_line(error.strerror or error, 200))

    return make


def claim_of(path: Path) -> FrameClaim:
    """The claim of a file that is here."""
    digest, size = hashlib.sha256(), 0
    with path.open("rb") as file:
        while piece := file.read(_PIECE):
            digest.update(piece)
            size += len(piece)
    return FrameClaim(path.as_uri(), size, digest.hexdigest())
