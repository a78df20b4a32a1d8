"""One file of an archive → a whole, verified file under its name, or a reason why not.

Bytes go to ``NAME.part``. What shows that they are whole: the archive's checksum (from its list or the answer's headers), the announced
length, the end of a chunked body; a body that ends when the connection does is fetched again until two are equal. Then what it holds is
checked, a line is written (`holdings`), and the file gets its name. A cut-off download goes on by ``Range`` with ``If-Range`` (RFC 9110,
section 14).
"""

from __future__ import annotations

import re
import shutil
from collections.abc import Callable, Mapping
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Literal, TypeAlias

import httpx

from data.connectors.web.digests import Digest, from_headers, of_file
from data.connectors.web.faults import FetchError, Passing, public_url
from data.connectors.web.holdings import Holdings, Record
from data.connectors.web.http_client import HttpClient, Request, check_plain
from data.connectors.web.part_file import PartFile, Version
from data.connectors.web.throttle import Patience
from data.whole_file import sync_folder

SLOWEST, GRACE = 200.0, 120.0
"""[bytes/s] on average after [s]: slower is a stalled server."""
SPARE = 256 * 2**20
"""Bytes of the disk that are left free."""
TRIES = 3
"""Of a file that is whole and wrong."""

State: TypeAlias = Literal["fetched", "kept", "rejected", "failed"]
Progress: TypeAlias = Callable[[str, int, int | None], None]
"""Called with a file's name, the bytes there are, and how many there will be (None: unknown)."""


@dataclass(frozen=True, slots=True)
class Remote:
    """A file of an archive, or an answer that is kept as one."""

    asked: Request
    name: str
    kind: str
    """Of `file_checks.CHECKS`: what it should hold."""
    size: int | None = None
    """As the archive's list has it [bytes]."""
    digest: Digest | None = None
    """The same of its checksum."""
    most: int = 2**31
    """Bytes that are taken."""
    about: Mapping[str, str | float] = field(default_factory=dict)
    """What was asked for, which the file must be of: position, target, night."""


@dataclass(frozen=True, slots=True)
class Verdict:
    """What a file holds."""

    usable: bool
    reason: str = ""
    rows: int | None = None
    rejects: Mapping[str, int] = field(default_factory=dict)


Check: TypeAlias = Callable[[Path, Remote], Verdict]


@dataclass(frozen=True, slots=True)
class Fetched:
    """What became of a file."""

    remote: Remote
    state: State
    path: Path | None = None
    reason: str = ""
    record: Record | None = None


@dataclass(frozen=True, slots=True)
class Origin:
    """What the lines of a command's files have in common."""

    source: str
    query: str
    licence: str


@dataclass(slots=True)
class _Seen:
    """What earlier attempts at a file showed."""

    furthest: int = 0
    unproven: str = ""
    """sha256 of a body that nothing but its end showed to be whole."""
    unusable: str = ""
    """sha256 of a body that could not be used."""


class Downloader:
    """Fetches the files of one command into a folder.

    Parameters
    ----------
    client : HttpClient
    holdings : Holdings
    origin : Origin
    check : callable
        Path of a part and what it should be → Verdict.
    progress : callable, optional
        See `Progress`.
    """

    def __init__(
        self, client: HttpClient, holdings: Holdings, *, origin: Origin, check: Check, progress: Progress = lambda name, done, total: None
    ) -> None:
        self._client, self._holdings, self._origin, self._check, self._progress = client, holdings, origin, check, progress

    def kept(self, name: str, digest: Digest | None = None) -> Record | None:
        """The line of a file that is there as it was fetched, and as the archive still has it; None: it has to be fetched."""
        record, path = self._holdings.records.get(name), self._holdings.path(name)
        if record is None or not path.is_file() or path.stat().st_size != record.size:
            return None
        hashes = of_file(path, *([digest.algorithm] if digest else []))
        there = hashes.digest("sha256").value == record.sha256 and (digest is None or hashes.digest(digest.algorithm) == digest)
        return record if there else None

    def fetch(self, remote: Remote, *, again: bool = False) -> Fetched:
        """Fetch a file, or find it there; raises nothing that concerns this file alone."""
        try:
            record = None if again else self.kept(remote.name, remote.digest)
            if record is not None:
                return Fetched(remote, "kept", self._holdings.path(remote.name), record=record)
            return self._persist(remote)
        except FetchError as error:
            return Fetched(remote, "failed", reason=str(error))

    def _persist(self, remote: Remote) -> Fetched:
        path = self._holdings.path(remote.name)
        if remote.name not in self._holdings.records and path.exists():
            raise FetchError(f"{path} is there and was not fetched by this command: move it away, or name another folder by --to")
        part, patience, seen = PartFile(path), Patience(self._client.clock, say=self._client.say), _Seen()
        while True:
            before = seen.furthest
            try:
                return self._attempt(remote, part, seen=seen)
            except Passing as fault:
                patience.after(fault, progress=seen.furthest > before and fault.most is None)
            finally:
                part.close()

    def _attempt(self, remote: Remote, part: PartFile, *, seen: _Seen) -> Fetched:
        """Ask once, and go on from what is there."""
        post = remote.asked.form is not None or remote.asked.json is not None
        url = public_url(remote.asked.url)
        have = 0 if post else part.resume(url, proven=remote.digest is not None)
        if not have or have != part.version.size:  # else a crash came between the last byte and the name
            headers = {"Range": f"bytes={have}-"} if have else {}
            if have and part.version.validator is not None:
                headers["If-Range"] = part.version.validator
            with self._client.open(remote.asked, headers) as response:
                at, total = _place(response, part, have=have)
                total = remote.size if total is None else total
                check_room(remote, total, folder=self._holdings.folder, have=at)
                given = from_headers(response.headers, whole=response.status_code == 200) or (part.version.digest if at else None)
                answer = response.headers
                part.open(Version(url, answer.get("etag"), answer.get("last-modified"), total, digest=given), at=at)
                self._receive(response, part, remote=remote, seen=seen)
                proof = "length" if total is not None else "end" if "chunked" in answer.get("transfer-encoding", "").lower() else ""
            part.flush()
        else:
            proof = "length"
        part.close()
        return self._finish(remote, part, seen=seen, proof=proof)

    def _receive(self, response: httpx.Response, part: PartFile, *, remote: Remote, seen: _Seen) -> None:
        """Write the body as it comes."""
        clock, began, came = self._client.clock, self._client.clock.monotonic(), 0
        total = part.version.size
        first = part.size == 0
        for data in response.iter_raw():  # as it comes: a chunk size would hold bytes back
            if first:
                check_plain(response.headers, data[:512], url=remote.asked.url)
                first = False
            part.write(data)
            came += len(data)
            seen.furthest = max(seen.furthest, part.size)
            if part.size > (total if total is not None else remote.most):
                part.discard()
                raise FetchError(f"{public_url(remote.asked.url)} sends more than {total or remote.most:,} bytes: refused")
            self._progress(remote.name, part.size, total)
            if clock.monotonic() - began > GRACE and came < SLOWEST * (clock.monotonic() - began):
                raise Passing(f"{response.request.url.host} sends {came:,} bytes in {clock.monotonic() - began:.0f} s")
        if total is not None and part.size != total:
            raise Passing(f"{response.request.url.host} broke off after {part.size:,} of {total:,} bytes", kind="broken off")

    def _finish(self, remote: Remote, part: PartFile, *, seen: _Seen, proof: str) -> Fetched:
        """Verify a part that has all its bytes, check what it holds, and give it its name."""
        expected = remote.digest or part.version.digest
        hashes = of_file(part.path, *([expected.algorithm] if expected else []))
        size = part.path.stat().st_size
        sha256, url = hashes.digest("sha256").value, public_url(remote.asked.url)
        if expected is not None:
            found = hashes.digest(expected.algorithm)
            if found != expected:
                part.discard()
                reason = f"{url} does not match its checksum ({expected.algorithm} {found.value[:12]}…, not {expected.value[:12]}…)"
                raise Passing(reason, most=TRIES, kind="corrupt")
            proof = expected.algorithm
        elif not proof:
            if seen.unproven != sha256:
                seen.unproven = sha256
                part.discard()
                raise Passing(f"nothing shows that {url} came as a whole: fetched again to compare", most=TRIES, kind="unproven")
            proof = "second download"
        verdict = self._check(part.path, remote)
        if not verdict.usable and expected is None and seen.unusable != sha256:
            seen.unusable = sha256
            part.discard()
            raise Passing(f"{url} cannot be used ({verdict.reason})", most=TRIES, kind="unusable")
        record = Record(
            name=remote.name, source=self._origin.source, query=self._origin.query, url=url,
            time=self._client.clock.utc().isoformat(timespec="seconds"), size=size, sha256=sha256, licence=self._origin.licence,
            verified=proof, etag=part.version.etag, last_modified=part.version.last_modified, rows=verdict.rows,
            rejects=dict(verdict.rejects),
        )  # fmt: skip
        if not verdict.usable:
            aside = self._holdings.refuse(part.path, remote.name, line={**asdict(record), "reason": verdict.reason})
            part.forget()
            return Fetched(remote, "rejected", aside, verdict.reason, record)
        self._holdings.add(record)
        path = self._holdings.path(remote.name)
        part.path.replace(path)
        sync_folder(path.parent)
        part.forget()
        return Fetched(remote, "fetched", path, record=record)


def _place(response: httpx.Response, part: PartFile, *, have: int) -> tuple[int, int | None]:
    """At which byte an answer goes on, and how many the whole file has.

    Raises
    ------
    Passing
        The file on the archive is another one by now: the part is deleted.
    """
    url = public_url(str(response.request.url))
    if response.status_code == 200:
        length = response.headers.get("content-length", "")
        return 0, int(length) if length.isdecimal() else None
    match = re.fullmatch(r"bytes (\d+)-\d*/(\d+|\*)", response.headers.get("content-range", ""))
    total = int(match[2]) if match is not None and match[2] != "*" else None
    if response.status_code == 206 and match is not None and have and int(match[1]) == have and part.version.same(response.headers, total):
        return have, total if total is not None else part.version.size
    part.discard()
    raise Passing(f"{url} changed on the archive: fetched anew", most=TRIES, kind="changed")


def check_room(remote: Remote, total: int | None, *, folder: Path, have: int) -> None:
    """Refuse a file that is too large for us or for the disk, before its first byte.

    Raises
    ------
    FetchError
    """
    if total is None:
        return
    if total > remote.most:
        raise FetchError(f"{remote.name} has {total:,} bytes: more than the {remote.most:,} that are taken")
    free = shutil.disk_usage(folder).free
    if total - have + SPARE > free:
        raise FetchError(f"{remote.name} needs {total - have:,} bytes and {free:,} are free on the disk of {folder}")
