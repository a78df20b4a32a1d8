"""Raw frames that are calibrated in the stream and turned into alerts."""

from __future__ import annotations

import re
from pathlib import Path
from typing import Annotated, Any, Protocol

from pydantic import BaseModel, Field, field_validator
from pydantic_settings import NoDecode

_PREFIX = re.compile(r"(file:///|https://[^/\s]+/)[^\s?#,]*")


class FrameSettings(BaseModel):
    """Raw frames."""

    frames: bool = Field(
        False, description="`protonova run` calibrates the raw frames on `frames.raw` and makes alerts of them (docs/frame-stream.md)"
    )
    frames_prefixes: Annotated[tuple[str, ...], NoDecode] = Field(
        (),
        description="Where frames and masters that are larger than a record may lie: folders, or https addresses, that a claim's address "
        "must begin with; prefix[,prefix] or a list",
    )
    frames_folder: Path | None = Field(None, description="Folder of the calibrated frames; none: frames/calibrated in the state folder")
    frames_masters: Path | None = Field(None, description="Folder of the masters; none: frames/masters in the state folder")
    frames_references: Path | None = Field(None, description="Folder of the reference images; none: frames/references in the state folder")
    frames_threshold: float = Field(
        5.0, ge=3, le=100, description="Significance from which a source in the difference is a detection [sigma]"
    )
    frames_cosmic_rays: bool = Field(True, description="Cosmic rays are looked for")
    frames_kept_days: float = Field(
        90.0, ge=0, le=36_500, description="Calibrated frames are removed so many days after they were written; 0: never [d]"
    )

    @field_validator("frames_prefixes", mode="before")
    @classmethod
    def _list(cls, given: Any) -> tuple[str, ...]:
        rows = given.split(",") if isinstance(given, str) else given
        if not isinstance(rows, list | tuple) or not all(isinstance(row, str) for row in rows):
            raise ValueError("prefix[,prefix] is meant, or a list of them: folders, or https://host/path/")
        return tuple(as_address(row.strip()) for row in rows if row.strip())


def as_address(prefix: str) -> str:
    """A folder or an address → an address that ends with a stroke, so that /data does not open /data-of-others."""
    found = prefix if ":" in prefix.partition("/")[0] else Path(prefix).expanduser().absolute().as_uri()
    if _PREFIX.fullmatch(found) is None or "/../" in f"{found}/":
        raise ValueError(f"{prefix[:100]!r} is neither a folder nor an https address without ? and #")
    return found if found.endswith("/") else f"{found}/"


class _Folders(Protocol):
    """The settings, as far as they say where frames lie."""

    @property
    def state(self) -> Path: ...
    @property
    def frames_folder(self) -> Path | None: ...
    @property
    def frames_masters(self) -> Path | None: ...
    @property
    def frames_references(self) -> Path | None: ...


def calibrated_folder(settings: _Folders) -> Path:
    """Folder of the calibrated frames."""
    return settings.frames_folder or settings.state / "frames" / "calibrated"


def masters_folder(settings: _Folders) -> Path:
    """Folder of the masters."""
    return settings.frames_masters or settings.state / "frames" / "masters"


def references_folder(settings: _Folders) -> Path:
    """Folder of the reference images."""
    return settings.frames_references or settings.state / "frames" / "references"
