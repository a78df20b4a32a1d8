"""Which names the page answers to, and that nothing in an address or a head brings it to an internal error."""

from __future__ import annotations

import socket
import time
from collections.abc import Iterator
from typing import Any
from urllib.parse import quote

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from starlette.testclient import TestClient

from schemas.records.table import subjects
from service.hosts import MOST_HEADERS, AllowedHosts, host_of
from service.status.app import make_app
from service.status.figures import Figures


def app(host: str = "127.0.0.1", **options: Any) -> Any:
    return make_app(Figures(time.time, ""), subjects(), host=host, **options)


@pytest.mark.parametrize(
    ("header", "host"),
    [
        (b"localhost", "localhost"), (b"LocalHost:8580", "localhost"), (b"page.example.", "page.example"), (b"127.0.0.1:1", "127.0.0.1"),
        (b"[::1]:8580", "::1"), (b"[::1]", "::1"), (b"[::1]x", None), (b"[::1", None), (b"", None), (b":80", None), (b"a:b", None),
        (b"evil.example:80@127.0.0.1", None), (b"\xc3\xa9", None),
    ],
)  # fmt: skip
def test_a_host_header_is_read_as_it_is_meant(header: bytes, host: str | None) -> None:
    assert host_of(header) == host


OWN = socket.gethostname().lower()


@pytest.mark.parametrize(
    ("bound_to", "further", "host", "answered"),
    [
        ("127.0.0.1", (), "localhost:8580", True),
        ("127.0.0.1", (), "[::1]:8580", True),
        ("127.0.0.1", (), "evil.example", False),
        ("127.0.0.1", (), "localhost.evil.example", False),
        ("127.0.0.1", (), "192.168.1.7:8580", False),
        ("127.0.0.1", ("page.example",), "page.example", True),
        ("0.0.0.0", (), "evil.example:8580", False),
        ("0.0.0.0", (), "localhost", True),
        ("0.0.0.0", (), OWN, True),
        ("0.0.0.0", (), OWN.upper() + ".", True),
        ("0.0.0.0", (), "10.1.2.3:8580", True),
        ("0.0.0.0", (), "[fe80::1]", True),
        ("0.0.0.0", ("Status", " proxy.example "), "status:8580", True),
        ("0.0.0.0", ("status", "proxy.example"), "proxy.example", True),
        ("0.0.0.0", ("status",), "status.evil.example", False),
        ("::", (), "evil.example", False),
        ("::", (), "127.0.0.1", True),
    ],
)
def test_only_names_that_are_ours_are_answered(bound_to: str, further: tuple[str, ...], host: str, answered: bool) -> None:
    client = TestClient(app(bound_to, allowed_hosts=further), raise_server_exceptions=False)
    answer = client.get("/status.json", headers={"Host": host})
    assert answer.status_code == (200 if answered else 400)
    assert ("broker" in answer.text) is answered
    assert "content-security-policy" in answer.headers


def test_two_hosts_or_none_are_refused(serving: Any) -> None:
    with serving(app()) as port:
        for hosts in ("", "Host: localhost\r\nHost: evil.example\r\n"):
            with socket.create_connection(("127.0.0.1", port), 10) as s:
                s.sendall(f"GET /status.json HTTP/1.1\r\n{hosts}Connection: close\r\n\r\n".encode())
                assert s.recv(12) == b"HTTP/1.1 400"


def test_heads_beyond_measure_are_refused() -> None:
    client = TestClient(app(), raise_server_exceptions=False, headers={"Host": "localhost"})
    assert client.get("/" + "x" * 9000).status_code == 414
    assert client.get("/?" + "x" * 9000).status_code == 414
    assert client.get("/", headers={"X": "y" * 20_000}).status_code == 431
    assert client.get("/", headers={f"x-{n}": "y" for n in range(MOST_HEADERS)}).status_code == 431
    assert client.get("/", headers={"X": "y" * 2_000}).status_code == 200


def test_a_head_that_never_ends_is_refused_by_its_size(serving: Any) -> None:
    with serving(app()) as port, socket.create_connection(("127.0.0.1", port), 10) as s:
        s.sendall(b"GET / HTTP/1.1\r\nHost: localhost\r\nX: " + b"y" * 400_000)
        assert s.recv(12) == b"HTTP/1.1 400"


PLACES = (
    "/subjects/{}/versions", "/subjects/{}/versions/1", "/subjects/detections-value/versions/{}", "/subjects/{}", "/config/{}",
    "/subjects/detections-value/versions/{}/schema", "/schemas/ids/{}", "/schemas/ids/{}/schema", "/schemas/ids/{}/versions",
    "/compatibility/{}", "/static/{}", "/{}", "/subjects?subjectPrefix={}", "/subjects/detections.{}-value/versions/latest",
)  # fmt: skip


@pytest.fixture(scope="module")
def client() -> Iterator[TestClient]:
    with TestClient(app(), raise_server_exceptions=False, headers={"Host": "localhost"}) as found:
        yield found


@pytest.mark.parametrize("place", PLACES)
@pytest.mark.parametrize(
    "value", ["9" * 5000, "-" + "9" * 5000, "1" * 4301, "²", "٣", "0x1", "1e9", "%00", "..%2f..%2fapp.py", "a" * 5000, "é" * 800, "\x1b[2J"]
)
def test_nothing_in_an_address_is_an_internal_error(client: TestClient, place: str, value: str) -> None:
    for method in ("GET", "POST"):
        answer = client.request(method, place.format(quote(value, safe="%./")))
        assert answer.status_code < 500, (method, place, value[:20])
        assert len(answer.content) < 40_000


@settings(max_examples=150, deadline=None)
@given(place=st.sampled_from(PLACES), value=st.text(st.characters(codec="utf-8", exclude_characters="#?"), min_size=1, max_size=80))
def test_no_text_in_an_address_is_an_internal_error(place: str, value: str) -> None:
    client = TestClient(_APP, raise_server_exceptions=False, headers={"Host": "localhost"})
    answer = client.get(place.format(quote(value, safe="%/")))
    assert answer.status_code < 500


_APP = app()


async def test_other_scopes_pass() -> None:
    seen: list[str] = []

    async def inner(scope: Any, receive: Any, send: Any) -> None:
        seen.append(scope["type"])

    await AllowedHosts(inner, "127.0.0.1")({"type": "lifespan"}, None, None)  # type: ignore[arg-type]
    assert seen == ["lifespan"]
