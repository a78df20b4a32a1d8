"""Webhooks reach the public internet and nothing else."""

from __future__ import annotations

import asyncio
import ipaddress
import socket
import threading
import time
from collections.abc import Iterator

import pytest

from settings.model import Settings
from streams.safe_post import PostError, RefusedAddressError, allowed_networks, check_address, post, resolved
from streams.webhooks import key_of, signature

LOOPBACK = (ipaddress.ip_network("127.0.0.0/8"),)


@pytest.mark.parametrize(
    "address",
    ["https://127.0.0.1/x", "https://127.1.2.3", "https://[::1]/", "https://10.0.0.1/", "https://192.168.1.1/", "https://172.16.0.9/",
     "https://169.254.169.254/latest/meta-data/", "https://[fe80::1]/", "https://[fd00::1]/", "https://0.0.0.0/", "https://[::]/",
     "https://[::ffff:127.0.0.1]/", "https://[::ffff:169.254.169.254]/", "https://[64:ff9b::a00:1]/", "https://[2002:7f00:1::]/",
     "https://100.64.0.1/", "https://224.0.0.1/", "https://255.255.255.255/", "https://192.0.2.1/", "http://example.org/",
     "ftp://example.org/", "file:///etc/passwd", "gopher://x", "https://", "https://user:secret@example.org/", "https://ex ample.org/",
     "https://example.org/\r\nHost: x", "https://example.org:99999/", "https://[::1", "x" * 3000],
)  # fmt: skip
def test_an_address_that_is_not_public_is_refused_before_anything_is_sent(address: str) -> None:
    with pytest.raises(RefusedAddressError) as caught:
        check_address(address, ())
    assert "\n" not in str(caught.value)
    assert "secret" not in str(caught.value)


@pytest.mark.parametrize("address", ["https://example.org/alerts?x=1", "https://93.184.215.14/", "https://example.org:8443"])
def test_public_ones_are_taken(address: str) -> None:
    check_address(address, ())


async def test_a_name_is_judged_by_all_its_addresses(monkeypatch: pytest.MonkeyPatch) -> None:
    with pytest.raises(RefusedAddressError):
        await resolved("localhost", 443, networks=())
    assert await resolved("localhost", 443, networks=(*LOOPBACK, ipaddress.ip_network("::1/128"))) in ("127.0.0.1", "::1")

    async def both(*args: object, **kwargs: object) -> list[tuple[int, int, int, str, tuple[str, int]]]:
        return [(socket.AF_INET, 1, 6, "", (ip, 443)) for ip in ("93.184.215.14", "10.0.0.1")]

    monkeypatch.setattr(asyncio.get_running_loop(), "getaddrinfo", both)
    with pytest.raises(RefusedAddressError):
        await resolved("example.org", 443, networks=())


@pytest.fixture
def silent() -> Iterator[int]:
    """A server that takes a request and answers the first line for ever."""
    listener = socket.create_server(("127.0.0.1", 0))
    ended = threading.Event()

    def serve() -> None:
        listener.settimeout(5)
        try:
            connection, _ = listener.accept()
        except OSError:
            return
        with connection:
            while not ended.wait(0.05):
                try:
                    connection.send(b"H")
                except OSError:
                    return

    thread = threading.Thread(target=serve, daemon=True)
    thread.start()
    yield listener.getsockname()[1]
    ended.set()
    thread.join(5)
    listener.close()


async def test_one_that_never_answers_costs_its_time_and_no_more(silent: int) -> None:
    begun = time.monotonic()
    with pytest.raises(PostError):
        await post(f"http://127.0.0.1:{silent}/", b"{}", headers={}, networks=LOOPBACK, within=0.5)
    assert time.monotonic() - begun < 2


async def test_a_refused_connection_is_tried_again_later() -> None:
    with socket.create_server(("127.0.0.1", 0)) as taken:
        port = taken.getsockname()[1]
    with pytest.raises(PostError):
        await post(f"http://127.0.0.1:{port}/", b"{}", headers={}, networks=LOOPBACK)
    with pytest.raises(RefusedAddressError):
        await post(f"https://127.0.0.1:{port}/", b"{}", headers={})


def test_keys_follow_from_the_installations_and_are_each_filters_own() -> None:
    keys = {key_of("master", owner, name=name) for owner in ("ada", "grace") for name in ("a", "b")}
    assert len(keys | {key_of("other", "ada", name="a")}) == 5
    assert signature("k", 1, body=b"x") != signature("k", 2, body=b"x") != signature("k", 2, body=b"y")


def test_networks_are_settings_and_the_key_is_shown_nowhere() -> None:
    found = Settings(filters_webhook_networks="10.1.0.0/16, fd00::/8", filters_webhook_key="0123456789abcdef-secret")
    assert [str(network) for network in allowed_networks(found)] == ["10.1.0.0/16", "fd00::/8"]
    assert "secret" not in repr(found) + str(found.environment())
    with pytest.raises(Exception, match=r"(?i)filters_webhook_key") as caught:
        Settings(filters_webhook_key="tooshortkey")
    assert "tooshortkey" not in str(caught.value)
    with pytest.raises(Exception, match="filters_webhook_networks"):
        Settings(filters_webhook_networks="10.1.0.0/99")
