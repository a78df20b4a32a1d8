"""A claim of a file (address, length, sha256) → its bytes, those and no others, from under a configured prefix.

in → `file:///…` or `https://…`, the length and the sha256 that were announced
out → the bytes that were compared; a `FrameError` where they are others; `errors.RetryableError` where the store does not answer
"""

from __future__ import annotations

import errno
import hashlib
import os
import re
import stat
import time
from collections.abc import Sequence
from contextlib import suppress
from functools import cache
from pathlib import Path
from typing import TYPE_CHECKING
from urllib.parse import unquote, urlsplit

from data.frames.fits_units import MOST_OF_FILE
from data.frames.frame_error import FrameError
from errors import RetryableError, one_line

if TYPE_CHECKING:
    import httpx

TIMEOUT = 10.0
"""[s] of a store's silence, before and between pieces."""
SLOWEST = 50_000
"""Bytes a second of a store that is waited for."""
_PASSING = (408, 425, 429, 500, 502, 503, 504)
_GONE = (errno.ENOENT, errno.ENOTDIR)
_DIGEST = re.compile(r"[0-9a-f]{64}")


def open_claim(uri: str, *, length: int, sha256: str, prefixes: Sequence[str], client: httpx.Client | None = None) -> bytes:
    """The bytes of a claim.

    Parameters
    ----------
    uri : str
    length : int
        [bytes]
    sha256 : str
        64 hexadecimal digits.
    prefixes : sequence of str
        Folders as ``file:///…`` or paths, and ``https://host/folder/``: what lies under one of them may be opened, nothing else.
    client : httpx.Client, optional
        Of https stores; it follows no redirects. None: one with this machine's certificates.

    Raises
    ------
    FrameError
        `claim_refused`: outside every prefix, by ``..`` or a link too, or not a file. `claim_changed`: another length or digest, or no
        longer there. `frame_too_large`.
    RetryableError
        The store does not answer: its folder is not there (not mounted), or its server fails.
    """
    if not _DIGEST.fullmatch(sha256) or length < 0:
        raise FrameError("claim_refused", "a claim has a length and 64 hexadecimal digits of sha256")
    if length > MOST_OF_FILE:
        raise FrameError("frame_too_large", f"{length:,} bytes are claimed; a frame has {MOST_OF_FILE:,} at most")
    parts = _split(uri)
    if parts[0] == "file":
        data = _local(parts[2], uri, length=length, folders=[_folder(p) for p in prefixes if not p.startswith("https://")])
    else:
        data = _remote(uri, length=length, prefixes=[p for p in prefixes if p.startswith("https://")], client=client)
    if len(data) != length:
        raise FrameError(
            "claim_changed",
            f"{one_line(uri, 200)} has {len(data):,} bytes{' at least' if len(data) > length else ''}, {length:,} were claimed",
        )
    if hashlib.sha256(data).hexdigest() != sha256:
        raise FrameError("claim_changed", f"{one_line(uri, 200)} has another sha256 than its claim")
    return data


def claim_of(path: Path) -> tuple[str, int, str]:
    """Address, length and sha256 of a file that is here."""
    digest = hashlib.sha256()
    with path.open("rb") as file:
        while piece := file.read(1 << 20):
            digest.update(piece)
        size = file.tell()
    return path.resolve().as_uri(), size, digest.hexdigest()


def _split(uri: str) -> tuple[str, str, str]:
    """Scheme, host and decoded path of an address that means one thing only."""
    try:
        parts = urlsplit(uri)
        path, port = unquote(parts.path, errors="strict"), parts.port
    except (ValueError, UnicodeDecodeError):
        raise FrameError("claim_refused", f"{one_line(uri, 200)!r} is not an address") from None
    plain = uri.isprintable() and uri.isascii() and "\\" not in path and "\0" not in path and "%" not in path
    names = path.split("/")[1:]
    if (
        not plain
        or not path.startswith("/")
        or ".." in names
        or "." in names
        or parts.query
        or parts.fragment
        or parts.username is not None
    ):
        raise FrameError("claim_refused", f"{one_line(uri, 200)!r}: a plain path is opened, without '..', query or user")
    if parts.scheme == "file" and parts.netloc not in ("", "localhost"):
        raise FrameError("claim_refused", f"{one_line(uri, 200)!r} is of another machine")
    if parts.scheme not in ("file", "https") or (parts.scheme == "https" and (not parts.hostname or port == 0)):
        raise FrameError("claim_refused", f"{one_line(uri, 200)!r}: file:/// and https:// are opened")
    return parts.scheme, parts.netloc, path


def _folder(prefix: str) -> Path:
    return Path(unquote(urlsplit(prefix).path) if prefix.startswith("file:") else prefix)


def _local(path: str, uri: str, *, length: int, folders: Sequence[Path]) -> bytes:
    """A file under one of the folders, opened step by step from it, so that no link on the way leads out, now or between two looks."""
    for folder in folders:
        with suppress(ValueError):
            return _beneath(folder, Path(path).relative_to(folder).parts, uri=uri, length=length)
    raise FrameError("claim_refused", f"{one_line(uri, 200)} lies under none of the configured prefixes")


def _beneath(folder: Path, names: Sequence[str], *, uri: str, length: int) -> bytes:
    flags = os.O_RDONLY | os.O_NOFOLLOW | os.O_CLOEXEC | os.O_NONBLOCK
    at = -1
    try:
        at = os.open(folder, os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)  # the prefix itself is the operator's word, links and all
        for k, name in enumerate(names):
            step = os.open(name, flags | (os.O_DIRECTORY if k < len(names) - 1 else 0), dir_fd=at)
            os.close(at)
            at = step
        if not stat.S_ISREG(os.fstat(at).st_mode):
            raise FrameError("claim_refused", f"{one_line(uri, 200)} is not a file")
        with open(at, "rb", closefd=False) as file:
            return file.read(length + 1)
    except OSError as error:
        if error.errno in (errno.ELOOP, errno.EMLINK) or (error.errno == errno.ENOTDIR and _is_link(folder, names)):
            raise FrameError("claim_refused", f"{one_line(uri, 200)} passes a symbolic link") from None
        if error.errno in (errno.EACCES, errno.EPERM, errno.ENAMETOOLONG, errno.EISDIR):
            raise FrameError("claim_refused", f"{one_line(uri, 200)} cannot be opened ({error.strerror})") from None
        if error.errno in _GONE and at >= 0:
            raise FrameError("claim_changed", f"{one_line(uri, 200)} is not there") from None
        raise RetryableError(f"{one_line(uri, 200)} cannot be read ({error.strerror})") from None
    finally:
        if at >= 0:
            os.close(at)


def _is_link(folder: Path, names: Sequence[str]) -> bool:
    return any(folder.joinpath(*names[:k]).is_symlink() for k in range(1, len(names) + 1))


@cache
def _client() -> httpx.Client:
    import httpx

    return httpx.Client(follow_redirects=False, timeout=TIMEOUT, headers={"Accept-Encoding": "identity"})


def _remote(uri: str, *, length: int, prefixes: Sequence[str], client: httpx.Client | None) -> bytes:
    import httpx

    wanted = httpx.URL(uri)
    if not any(_under(wanted, httpx.URL(prefix)) for prefix in prefixes):
        raise FrameError("claim_refused", f"{one_line(uri, 200)} lies under none of the configured prefixes")
    out = bytearray()
    until = time.monotonic() + TIMEOUT + length / SLOWEST
    try:
        with (client or _client()).stream("GET", wanted, follow_redirects=False) as answer:
            status = answer.status_code
            if status in (404, 410):
                raise FrameError("claim_changed", f"{one_line(uri, 200)} is not there ({status})")
            if status in _PASSING:
                raise RetryableError(f"{wanted.host} answers {status} for {one_line(uri, 200)}")
            if status != 200:
                said = "redirects elsewhere" if answer.has_redirect_location else f"answers {status}"
                raise FrameError("claim_refused", f"{one_line(uri, 200)}: the store {said}")
            for piece in answer.iter_raw(1 << 18):
                out += piece
                if len(out) > length:
                    break
                if time.monotonic() > until:
                    raise RetryableError(f"{wanted.host} sends less than {SLOWEST:,} bytes a second")
    except httpx.HTTPError as error:
        raise RetryableError(f"{wanted.host} does not answer ({one_line(error, 120) or type(error).__name__})") from error
    return bytes(out)


def _under(wanted: httpx.URL, prefix: httpx.URL) -> bool:
    folder = prefix.path.rstrip("/") + "/"
    return (wanted.host, wanted.port) == (prefix.host, prefix.port) and wanted.path.startswith(folder)
