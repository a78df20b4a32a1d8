"""The ``.part`` of a file that is being fetched, and ``.part.json``: of which version of the file on the archive it is.

After a crash of the machine only what had been flushed is trusted; after that of a process all that was written.
"""

from __future__ import annotations

import os
from collections.abc import Mapping
from dataclasses import asdict, dataclass, replace
from pathlib import Path
from typing import BinaryIO

import orjson

from data.connectors.web.digests import Digest
from data.whole_file import write_whole

FLUSH = 8 * 2**20
"""Bytes after which what was written is flushed to the disk."""


@dataclass(frozen=True, slots=True)
class Version:
    """Which version of which file the bytes are of."""

    url: str
    etag: str | None = None
    last_modified: str | None = None
    size: int | None = None
    boot: str | None = None
    flushed: int = 0
    digest: Digest | None = None
    """Of the whole file, where an answer's headers gave one."""

    @property
    def validator(self) -> str | None:
        """For ``If-Range``, which asks for a strong one (RFC 9110, section 13.1.5): an ETag, else the date."""
        if self.etag is not None and not self.etag.startswith("W/"):
            return self.etag
        return self.last_modified if self.etag is None else None

    def same(self, headers: Mapping[str, str], size: int | None) -> bool:
        """Whether an answer is of this version, as far as it says."""
        etag, date = headers.get("etag"), headers.get("last-modified")
        return (
            (self.etag is None or etag is None or self.etag == etag)
            and (self.etag is not None or self.last_modified is None or date is None or self.last_modified == date)
            and (self.size is None or size is None or self.size == size)
        )


def boot_id() -> str | None:
    """Which start of the machine this is; None: it cannot be known."""
    try:
        return Path("/proc/sys/kernel/random/boot_id").read_text().strip()
    except OSError:
        return None


class PartFile:
    """The part beside its target."""

    def __init__(self, target: Path) -> None:
        self.path = target.with_name(target.name + ".part")
        self._notes = target.with_name(target.name + ".part.json")
        self._file: BinaryIO | None = None
        self._since_flush = 0
        self.version = Version("")
        self.size = 0
        """Bytes it has."""

    def resume(self, url: str, *, proven: bool) -> int:
        """Bytes that are there and may be gone on from; 0: it begins anew.

        Parameters
        ----------
        url : str
            Public form of what is fetched.
        proven : bool
            The archive's checksum will show whether the whole is right, so that no validator is needed.
        """
        try:
            notes = orjson.loads(self._notes.read_bytes())
            version = replace(Version(**notes), digest=Digest(**notes["digest"]) if notes.get("digest") else None)
            have = self.path.lstat().st_size if not self.path.is_symlink() else 0
        except (OSError, orjson.JSONDecodeError, TypeError):
            return 0
        if version.url != url or not (proven or version.validator):
            return 0
        if version.boot is None or version.boot != boot_id():
            have = min(have, version.flushed)
        self.version = version
        return have

    def open(self, version: Version, *, at: int) -> None:
        """Write from a byte on, of a version."""
        self.version = replace(version, boot=boot_id(), flushed=at)
        descriptor = os.open(self.path, os.O_RDWR | os.O_CREAT | os.O_NOFOLLOW | os.O_CLOEXEC, 0o644)
        self._file = open(descriptor, "r+b", buffering=0)  # noqa: SIM115 - open over several calls
        self._file.truncate(at)
        self._file.seek(at)
        self._since_flush, self.size = 0, at
        write_whole(self._notes, orjson.dumps(asdict(self.version)))

    def write(self, data: bytes) -> None:
        """Write on."""
        assert self._file is not None
        view = memoryview(data)
        while view:
            view = view[self._file.write(view) :]
        self._since_flush += len(data)
        self.size += len(data)
        if self._since_flush >= FLUSH:
            self.flush()

    def flush(self) -> None:
        """Have what was written on the disk."""
        assert self._file is not None
        os.fsync(self._file.fileno())
        self._since_flush = 0
        self.version = replace(self.version, flushed=self._file.tell())
        write_whole(self._notes, orjson.dumps(asdict(self.version)))

    def close(self) -> None:
        """Leave it as it is."""
        if self._file is not None:
            self._file.close()
            self._file = None

    def discard(self) -> None:
        """Delete it."""
        self.close()
        self.path.unlink(missing_ok=True)
        self.forget()

    def forget(self) -> None:
        """Delete the notes, of a part that has become the file."""
        self._notes.unlink(missing_ok=True)
