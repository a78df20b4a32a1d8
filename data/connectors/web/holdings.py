"""A folder of fetched files, and what is known of each: ``fetched.jsonl`` (append-only, a line a file) and ``manifest.json``.

The line is written before the file gets its name, so that no file without one is ever taken for whole. The last line of a name counts. A
line that a crash cut short is passed over. ``manifest.json`` says which files each query stands for (so that it can be answered offline),
and the checksum of each. Names that an archive gives are names of files in this folder or they are refused.
"""

from __future__ import annotations

import errno
import fcntl
import os
import re
from collections.abc import Sequence
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any

import orjson

from data.connectors.web.faults import FetchError
from data.whole_file import write_whole
from errors import UserError, one_line

LINES, MANIFEST, REFUSED, REFUSED_LINES = "fetched.jsonl", "manifest.json", "rejected", "rejected.jsonl"
ENRICHED = "enriched.jsonl"
_NAME = re.compile(r"[A-Za-z0-9][A-Za-z0-9._+=-]{0,199}")


def safe_name(name: str) -> str:
    """A name that an archive gave, if it is that of a file in our folder and of nothing else.

    Raises
    ------
    FetchError
        It has a path in it, or is a name that we keep for ourselves.
    """
    taken = (LINES, MANIFEST, REFUSED, REFUSED_LINES, ENRICHED)
    if not _NAME.fullmatch(name) or name.lower() in taken or name.lower().endswith((".part", ".part.json", ".dvc")):
        raise FetchError(f"the archive calls a file {one_line(name, 120)!r}: not a name that is written here")
    return name


@dataclass(frozen=True, slots=True)
class Record:
    """What a line says of a file."""

    name: str
    source: str
    query: str
    url: str
    time: str
    """UTC, ISO 8601."""
    size: int
    sha256: str
    licence: str
    verified: str
    """What shows that the file is whole: the archive's checksum, its length, its end, or a second download that was equal."""
    etag: str | None = None
    last_modified: str | None = None
    rows: int | None = None
    rejects: dict[str, int] = field(default_factory=dict)
    """Reason → rows (or packets) that cannot be used."""


class Holdings:
    """The folder, held by one command at a time.

    Parameters
    ----------
    folder : Path
        Made where it is not there.

    Raises
    ------
    UserError
        It cannot be made, or another command works on it.
    """

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        try:
            folder.mkdir(parents=True, exist_ok=True)
            self._lock = os.open(folder, os.O_RDONLY | os.O_CLOEXEC)
        except OSError as error:
            raise UserError(f"{folder} cannot be a folder for files: {error.strerror or error}") from error
        try:
            fcntl.flock(self._lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except OSError:
            os.close(self._lock)
            raise UserError(f"another command fetches into {folder}: wait for it, or name another folder by --to") from None
        self.records = self._read()
        self.queries: dict[str, list[str]] = self._read_queries()

    def __enter__(self) -> Holdings:
        return self

    def __exit__(self, *exc: object) -> None:
        os.close(self._lock)

    def path(self, name: str) -> Path:
        """Where a file lies when it is whole."""
        return self.folder / safe_name(name)

    def _read(self) -> dict[str, Record]:
        try:
            lines = (self.folder / LINES).read_bytes().split(b"\n")
        except FileNotFoundError:
            return {}
        found = {}
        for line in lines:
            try:
                record = Record(**orjson.loads(line))
                found[safe_name(record.name)] = record
            except (orjson.JSONDecodeError, TypeError, FetchError):
                continue
        return found

    def _read_queries(self) -> dict[str, list[str]]:
        try:
            found = orjson.loads((self.folder / MANIFEST).read_bytes())["queries"]
            return {str(query): [safe_name(name) for name in names] for query, names in found.items()}
        except FileNotFoundError:
            return {}
        except (orjson.JSONDecodeError, TypeError, KeyError, AttributeError, FetchError):
            raise UserError(f"{self.folder / MANIFEST} is damaged: delete it; without --offline it is written anew") from None

    def add(self, record: Record) -> None:
        """Write a file's line; it is on the disk when this returns."""
        if self.records.get(record.name) != record:
            _append(self.folder / LINES, asdict(record))
            self.records[record.name] = record

    def refuse(self, path: Path, name: str, *, line: dict[str, Any]) -> Path:
        """Move a file that cannot be used aside, with a line that says why."""
        aside = self.folder / REFUSED
        aside.mkdir(exist_ok=True)
        target = aside / safe_name(name)
        _append(self.folder / REFUSED_LINES, line)
        path.replace(target)
        return target

    def list_query(self, query: str, names: Sequence[str]) -> None:
        """Keep which files a query stands for."""
        self.queries[query] = list(names)
        self.write_manifest()

    def write_manifest(self) -> None:
        """Write ``manifest.json``, which is there as a whole or as it was."""
        files = {
            name: {"size": record.size, "sha256": record.sha256}
            for name, record in sorted(self.records.items())
            if (self.folder / name).is_file()
        }
        text = orjson.dumps({"version": 1, "queries": self.queries, "files": files}, option=orjson.OPT_INDENT_2 | orjson.OPT_APPEND_NEWLINE)
        write_whole(self.folder / MANIFEST, text)


def _append(path: Path, line: dict[str, Any]) -> None:
    if path.is_symlink() or (path.exists() and path.stat().st_nlink > 1):  # DVC may have made it a link into its cache
        write_whole(path, path.read_bytes())
    descriptor = os.open(path, os.O_RDWR | os.O_CREAT | os.O_APPEND | os.O_NOFOLLOW | os.O_CLOEXEC, 0o644)
    try:
        size = os.fstat(descriptor).st_size
        # A line that a crash cut short ends here.
        torn = size > 0 and os.pread(descriptor, 1, size - 1) != b"\n"
        data = (b"\n" if torn else b"") + orjson.dumps(line, option=orjson.OPT_APPEND_NEWLINE)
        if os.write(descriptor, data) != len(data):
            raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC), str(path))
        os.fsync(descriptor)
    finally:
        os.close(descriptor)
