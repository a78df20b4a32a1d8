"""A claim of a file: its own bytes or a named refusal, whatever the address, the links on the way or the store do."""

from __future__ import annotations

import contextlib
import hashlib
import os
from collections.abc import Iterator
from pathlib import Path

import httpx
import pytest

from data.frames.claims import claim_of, open_claim
from data.frames.fits_units import MOST_OF_FILE
from data.frames.frame_error import FrameError
from errors import RetryableError
from tests.data.archive_server import ArchiveServer, Step

DATA = b"a night of frames" * 5_000
SUM = hashlib.sha256(DATA).hexdigest()


@pytest.fixture
def store(tmp_path: Path) -> Path:
    folder = tmp_path / "store"
    (folder / "night 1").mkdir(parents=True)
    (folder / "night 1" / "a.fits").write_bytes(DATA)
    (tmp_path / "secret.fits").write_bytes(DATA)
    return folder


def opened(uri: str, *prefixes: str | Path, length: int = len(DATA), sha256: str = SUM, **how: object) -> bytes:
    return open_claim(uri, length=length, sha256=sha256, prefixes=[str(p) for p in prefixes], **how)  # type: ignore[arg-type]


def refused(uri: str, *prefixes: str | Path, **how: object) -> tuple[str, str]:
    with pytest.raises(FrameError) as caught:
        opened(uri, *prefixes, **how)  # type: ignore[arg-type]
    return caught.value.reason, str(caught.value)


def test_a_file_under_a_prefix_is_opened(store: Path) -> None:
    uri, length, sha256 = claim_of(store / "night 1" / "a.fits")
    assert "%20" in uri
    assert opened(uri, store, length=length, sha256=sha256) == DATA
    assert opened(uri, "https://host/x/", store.as_uri(), store.as_uri() + "/") == DATA


@pytest.mark.parametrize(
    "path",
    ["/../secret.fits", "/night%201/../../secret.fits", "/%2e%2e/secret.fits", "/night%201/%2E%2E%2F%2E%2E%2Fsecret.fits",
     "/night%201/./a.fits", "/night%201",
     "/night%201/a.fits?x=1", "/night%201/a.fits#1", "/night%201/a.fits%00", "/night%201\\a.fits", "-other/a.fits", ""],
)  # fmt: skip
def test_what_is_not_a_plain_path_under_it_is_refused(store: Path, path: str) -> None:
    (store.parent / "store-other").mkdir()
    (store.parent / "store-other" / "a.fits").write_bytes(DATA)
    assert refused(store.as_uri() + path, store)[0] == "claim_refused"


@pytest.mark.parametrize(
    "uri",
    ["http://host/a", "ftp://host/a", "/etc/passwd", "file://other/etc/passwd", "https://", "https://u:p@host/a", "file:///ä", "x"],
)
def test_other_addresses_are_refused(store: Path, uri: str) -> None:
    assert refused(uri, "/", "https://host/")[0] == "claim_refused"


def test_links_do_not_lead_out(store: Path) -> None:
    (store / "link.fits").symlink_to(store.parent / "secret.fits")
    (store / "up").symlink_to(store.parent)
    (store / "inside.fits").symlink_to(store / "night 1" / "a.fits")
    for name in ("link.fits", "up/secret.fits", "inside.fits"):
        why, text = refused(f"{store.as_uri()}/{name}", store)
        assert why == "claim_refused"
        assert "link" in text
    linked = store.parent / "mounted"
    linked.symlink_to(store)
    assert opened(linked.as_uri() + "/night%201/a.fits", linked) == DATA, "the prefix itself is the operator's word"


def test_a_pipe_is_not_waited_for(store: Path) -> None:
    os.mkfifo(store / "pipe")
    assert refused(store.as_uri() + "/pipe", store)[0] == "claim_refused"


def test_what_changed_is_refused_and_a_store_that_is_away_is_waited_for(store: Path) -> None:
    uri = store.as_uri() + "/night%201/a.fits"
    assert refused(uri, store, length=len(DATA) - 1)[0] == "claim_changed"
    assert refused(uri, store, length=len(DATA) + 1)[0] == "claim_changed"
    assert refused(uri, store, sha256="0" * 64)[0] == "claim_changed"
    assert refused(uri, store, sha256="0")[0] == "claim_refused"
    assert refused(uri, store, length=MOST_OF_FILE + 1)[0] == "frame_too_large"
    (store / "night 1" / "a.fits").write_bytes(DATA[::-1])
    assert refused(uri, store)[0] == "claim_changed"
    (store / "night 1" / "a.fits").unlink()
    assert refused(uri, store)[0] == "claim_changed"
    store.rename(store.parent / "away")
    with pytest.raises(RetryableError):
        opened(uri, store)


class Redirected(httpx.BaseTransport):
    """https://store… goes to the server on loopback, which has no certificate."""

    def __init__(self, url: str) -> None:
        self._to = httpx.URL(url)
        self._transport = httpx.HTTPTransport()

    def handle_request(self, request: httpx.Request) -> httpx.Response:
        here = request.url.copy_with(scheme="http", host=self._to.host, port=self._to.port)
        return self._transport.handle_request(httpx.Request(request.method, here, headers=request.headers))


@pytest.fixture
def server() -> Iterator[tuple[ArchiveServer, httpx.Client]]:
    with ArchiveServer({"/frames/a.fits": DATA, "/secret.fits": DATA}) as found, httpx.Client(transport=Redirected(found.url)) as client:
        yield found, client


def test_a_store_on_the_web(server: tuple[ArchiveServer, httpx.Client]) -> None:
    found, client = server
    prefix, uri = "https://store.example/frames", "https://store.example/frames/a.fits"
    assert opened(uri, prefix, client=client) == DATA
    assert refused("https://store.example/secret.fits", prefix, client=client)[0] == "claim_refused"
    assert refused("https://store.example/frames/..%2fsecret.fits", prefix, client=client)[0] == "claim_refused"
    assert refused("https://store.example/frames/%252e%252e/secret.fits", prefix, client=client)[0] == "claim_refused"
    assert refused("https://other.example/frames/a.fits", prefix, client=client)[0] == "claim_refused"
    assert refused("https://store.example:444/frames/a.fits", prefix, client=client)[0] == "claim_refused"
    assert refused(uri, prefix, client=client, sha256="0" * 64)[0] == "claim_changed"
    assert refused(uri, prefix, client=client, length=1_000)[0] == "claim_changed"
    found.script["/frames/a.fits"].append(Step(302, {"Location": "/secret.fits"}, b""))
    why, text = refused(uri, prefix, client=client)
    assert why == "claim_refused"
    assert "redirects" in text
    found.script["/frames/a.fits"].append(Step(403, {}, b""))
    assert refused(uri, prefix, client=client)[0] == "claim_refused"
    found.script["/frames/a.fits"].append(Step(404, {}, b""))
    assert refused(uri, prefix, client=client)[0] == "claim_changed"
    for step in (Step(503, {}, b""), Step(429, {}, b""), Step(cut=2_000)):
        found.script["/frames/a.fits"].append(step)
        with pytest.raises(RetryableError):
            opened(uri, prefix, client=client)
    assert opened(uri, prefix, client=client) == DATA


def test_a_store_that_is_not_there_is_waited_for() -> None:
    with httpx.Client(transport=Redirected("http://127.0.0.1:9")) as client, pytest.raises(RetryableError):
        opened("https://store.example/a.fits", "https://store.example", client=client)


def test_nothing_stays_open(store: Path) -> None:
    before = len(os.listdir("/proc/self/fd")) if os.path.isdir("/proc/self/fd") else 0
    for name in ("night%201/a.fits", "night%201/b.fits", "night%201"):
        with contextlib.suppress(FrameError):
            opened(f"{store.as_uri()}/{name}", store)
    assert not before or len(os.listdir("/proc/self/fd")) == before
