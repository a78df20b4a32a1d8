"""Every change and who made it, a line of JSON each, in a file that only we may read; lines are appended and never changed."""

from __future__ import annotations

import os
import time
from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING

import orjson
import structlog

from errors import one_line
from service.auth.caller import Identity
from settings.private import private_file, private_folder

if TYPE_CHECKING:
    from service.api.endpoints import Endpoint

log = structlog.get_logger(__name__)

LONGEST = 2_000
"""Of a text in a line [characters]."""


class AuditLog:
    """Appends to a file.

    Parameters
    ----------
    path : Path or None
        None: nothing is written (the description is made without a service).
    clock : callable
        Seconds since 1970.
    """

    def __init__(self, path: Path | None, *, clock: Callable[[], float] = time.time) -> None:
        self._path, self._clock = path, clock
        self._file: int | None = None

    def write(self, row: Endpoint, who: Identity | None, *, path: str, address: str, status: int) -> None:
        """Write down a change, or the attempt of one: the status says which. A disk that is full loses no request; the log says so."""
        line = {
            "time": time.strftime("%Y-%m-%dT%H:%M:%SZ", time.gmtime(self._clock())),
            "who": None if who is None else who.name[:LONGEST],
            "credential": None if who is None else who.credential,
            "address": address,
            "operation": row.name,
            "method": row.method,
            "path": one_line(path, LONGEST),
            "status": status,
        }
        if self._path is None:
            return
        try:
            if self._file is None:
                private_folder(self._path.parent)
                self._file = private_file(self._path, append=True)
            os.write(self._file, orjson.dumps(line) + b"\n")  # one write of less than a page: lines of several processes do not mix
        except OSError as error:
            log.error("a line of the audit log could not be written", why=str(error), **line)

    def close(self) -> None:
        """Close the file."""
        if self._file is not None:
            os.close(self._file)
            self._file = None
