"""A night's alerts → files of a folder, a file a part; what is there and whole is not fetched again.

A part's file has its name only once its bytes have the digest that the service states. What came before a transfer broke off stays beside
it as `.part`, and the transfer goes on behind it by `Range` with `If-Range`: where the part is another one by now, it comes whole.
"""

from __future__ import annotations

import base64
import hashlib
import json
import re
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import httpx

from protonova_client.calls import data_of
from protonova_client.client_faults import ApiError, BrokenTransferError, UnreachableError
from protonova_client.exchange import TRIES, Ask, Pause, Steps, asked

_HREF = re.compile(r"^/v1/bulk/\d{4}-\d{2}-\d{2}/\d{1,18}-\d{1,18}\.(ndjson|avro)$")
MANIFEST = "manifest.json"


def fetch_night(night: str, folder: Path, *, records: str) -> Steps[list[Path]]:
    """Fetch a night, or what is missing of it.

    Returns
    -------
    list of Path
        The parts' files, in the order of arrival. Files of parts that the night has no more are removed.

    Raises
    ------
    BrokenTransferError
    """
    manifest = yield from data_of(Ask(path="/v1/bulk", params={"night": night, "records": records}))
    folder.mkdir(parents=True, exist_ok=True)
    files = []
    for part in manifest["parts"]:
        if not _HREF.match(part["href"]):
            raise BrokenTransferError(f"the service names a part in a way that is not one of its ways: {part['href']!r}")
        file = folder / part["href"].rpartition("/")[2]
        files.append(file)
        if not (part.get("sha256") and file.exists() and digest_of(file) == part["sha256"]):
            yield from _fetch_part(part["href"], file)
    kept = {file.name for file in files}
    for old in folder.iterdir():
        if re.fullmatch(r"\d+-\d+\.(ndjson|avro)(\.part|\.etag)?", old.name) and old.name.removesuffix(".etag") not in kept:
            old.unlink()
    (folder / MANIFEST).write_text(json.dumps(manifest, indent=1) + "\n", encoding="utf-8")
    return files


def _fetch_part(href: str, file: Path) -> Steps[None]:
    part, etag_file = file.with_name(file.name + ".part"), file.with_name(file.name + ".etag")
    if file.exists():  # whole as of an ETag: its last byte is asked for, which says whether it is still the same
        file.replace(part)
        with part.open("r+b") as out:
            out.truncate(max(0, part.stat().st_size - 1))
    for turn in range(TRIES):
        held = part.stat().st_size if part.exists() else 0
        etag = etag_file.read_text() if etag_file.exists() and held else ""
        headers = {"Range": f"bytes={held}-", "If-Range": etag} if etag and held else {}
        try:
            answer = yield from asked(Ask(path=href, headers={**headers, "Accept-Encoding": "identity"}, into=part), tries=1)
        except (UnreachableError, ApiError) as error:
            if isinstance(error, ApiError) and error.status not in (429, 502, 503, 504):
                raise
            if turn == TRIES - 1:
                raise
            yield Pause(min(30.0, 0.5 * 2**turn))
            continue
        if digest_of(part) == stated_digest(answer):
            part.replace(file)
            return
        part.unlink()
        etag_file.unlink(missing_ok=True)
    raise BrokenTransferError(f"{href} came {TRIES} times and never with the digest that the service states")


def begin_file(answer: httpx.Response, file: Path) -> str:
    """How the file of a body that begins to come is opened; its ETag is kept beside it before the first byte is."""
    if answer.status_code == 206:
        return "ab"
    if etag := answer.headers.get("etag"):
        file.with_name(file.name.removesuffix(".part") + ".etag").write_text(etag)
    return "wb"


def stated_digest(answer: httpx.Response) -> str:
    """The sha256 that an answer states of the whole part."""
    found = re.search(r"sha-256=:([A-Za-z0-9+/=]+):", answer.headers.get("repr-digest", ""))
    return base64.b64decode(found[1]).hex() if found else ""


def digest_of(file: Path) -> str:
    """The sha256 of a file."""
    with file.open("rb") as data:
        return hashlib.file_digest(data, "sha256").hexdigest()


def read_night(folder: Path | str) -> Iterator[dict[str, Any]]:
    """The detections of a night that was fetched as JSON, in the order of arrival."""
    files = sorted(Path(folder).glob("*.ndjson"), key=lambda file: int(file.name.partition("-")[0]))
    for file in files:
        with file.open(encoding="utf-8") as lines:
            for line in lines:
                yield json.loads(line)
