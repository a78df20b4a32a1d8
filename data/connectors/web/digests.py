"""Checksums that archives give with a file: in its headers, in a list beside it."""

from __future__ import annotations

import base64
import binascii
import hashlib
import os
import re
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import IO, Any

BLOCK = 1 << 20
_NAMES = {"sha-256": "sha256", "sha-512": "sha512", "sha": "sha1", "md5": "md5"}


@dataclass(frozen=True, slots=True)
class Digest:
    """A checksum: `algorithm` by hashlib's name, and its hexadecimal digits."""

    algorithm: str
    value: str


def from_headers(headers: Mapping[str, str], *, whole: bool) -> Digest | None:
    """The strongest checksum of the whole file that an answer's headers give.

    ``Repr-Digest`` (RFC 9530), ``Digest`` (RFC 3230), ``x-amz-checksum-sha256``, ``x-goog-hash``, ``Content-MD5`` (RFC 1864; of what is
    sent, so only where that is the `whole` file).
    """
    found: dict[str, str] = {}
    for header, pattern in (
        ("repr-digest", r"([\w-]+)=:([A-Za-z0-9+/=]+):"),
        ("digest", r"([\w-]+)=([A-Za-z0-9+/=]+)"),
        ("x-goog-hash", r"([\w-]+)=([A-Za-z0-9+/=]+)"),
    ):
        for name, value in re.findall(pattern, headers.get(header, "")):
            found.setdefault(name.lower(), value)
    found.setdefault("sha-256", headers.get("x-amz-checksum-sha256", ""))
    if whole:
        found.setdefault("md5", headers.get("content-md5", ""))
    for name in ("sha-512", "sha-256", "sha", "md5"):
        try:
            raw = base64.b64decode(found.get(name, ""), validate=True)
        except (binascii.Error, ValueError):
            continue
        if len(raw) == hashlib.new(_NAMES[name], usedforsecurity=False).digest_size:
            return Digest(_NAMES[name], raw.hex())
    return None


def from_list(text: str) -> dict[str, Digest]:
    """File's name → checksum, of a list as ``md5sum`` and ``sha256sum`` write it."""
    kinds = {32: "md5", 64: "sha256"}
    rows = re.findall(r"^\\?([0-9a-fA-F]{32}|[0-9a-fA-F]{64})[ \t]+\*?(\S.*?)[ \t\r]*$", text, re.MULTILINE)
    return {name.rpartition("/")[2]: Digest(kinds[len(value)], value.lower()) for value, name in rows}


class Hashes:
    """sha256 and whatever else an archive gave, of the bytes of a file."""

    def __init__(self, *others: str) -> None:
        self._all: dict[str, Any] = {name: hashlib.new(name, usedforsecurity=False) for name in {"sha256", *others}}

    def update(self, data: bytes) -> None:
        """Take the next bytes."""
        for digest in self._all.values():
            digest.update(data)

    def read(self, file: IO[bytes], size: int) -> None:
        """Take the first bytes of a file."""
        while size > 0 and (data := file.read(min(BLOCK, size))):
            self.update(data)
            size -= len(data)

    def digest(self, algorithm: str) -> Digest:
        """The checksum so far."""
        return Digest(algorithm, self._all[algorithm].hexdigest())


def of_file(path: Path, *others: str) -> Hashes:
    """sha256 and whatever else is wanted of a file, in one pass."""
    hashes = Hashes(*others)
    with path.open("rb") as file:
        hashes.read(file, os.fstat(file.fileno()).st_size)
    return hashes
