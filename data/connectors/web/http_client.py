"""Requests to archives → answers, by rules that hold for all of them.

https only, but for loopback; a redirect is followed by hand, so that each hop is held to the same rule and none leads from the web to this
machine; credentials go to no other host. What may pass by itself is `Passing`, everything else `FetchError`. No message holds a header.
"""

from __future__ import annotations

import ipaddress
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, field
from typing import Any

import httpx
import orjson

from data.connectors.web.faults import FetchError, NotThereError, Passing, public_url
from data.connectors.web.throttle import Clock, Patience, Throttle, retry_after
from errors import one_line

AGENT = "protonova (fetch; resumes and backs off)"
REDIRECTS = 5
CONNECT, STALL = 20.0, 60.0
"""[s] to connect, and without a byte."""
_PASSING = (408, 425, 429, 500, 502, 503, 504)
MOST_OF_AN_ANSWER = 256 * 2**20
"""Bytes of a list or an object that is read into memory."""
_LOOPBACK = ("localhost", "127.0.0.1", "[::1]")


@dataclass(frozen=True, slots=True)
class Request:
    """What is asked of an archive; `headers` may hold a credential and are never printed."""

    url: str
    form: Mapping[str, str] | None = None
    """Of a POST with a form."""
    json: Mapping[str, Any] | None = None
    """Of a POST with JSON."""
    headers: Mapping[str, str] = field(default_factory=dict, repr=False)


def loopback(host: str) -> bool:
    """Whether a host is this machine."""
    try:
        return host == "localhost" or ipaddress.ip_address(host.strip("[]")).is_loopback
    except ValueError:
        return False


def check_url(url: str, *, before: str | None = None) -> None:
    """Hold a URL to the rules.

    Parameters
    ----------
    url : str
    before : str, optional
        The one that redirected to it.

    Raises
    ------
    FetchError
        Not https and not loopback; or a redirect from the web to this machine.
    """
    try:
        parts = httpx.URL(url)
    except httpx.InvalidURL as error:
        raise FetchError(f"{one_line(url, 200)!r} is not a URL ({one_line(error, 80)})") from None
    near = loopback(parts.host)
    if not parts.host or parts.scheme not in ("https", "http") or (parts.scheme == "http" and not near):
        raise FetchError(f"{public_url(url)} is refused: archives are asked by https only (http on this machine's own addresses)")
    if before is not None and near and not loopback(httpx.URL(before).host):
        raise FetchError(f"{public_url(before)} redirects to an address of this machine: refused")


class HttpClient:
    """The one way to an archive.

    Parameters
    ----------
    clock : Clock
    per_second : float
        Requests to each host.
    say : callable, optional
        Called with a line before each wait.
    """

    def __init__(self, clock: Clock, *, per_second: float = 2.0, say: Callable[[str], None] | None = None) -> None:
        self.clock = clock
        self.say = say
        self._throttle = Throttle(clock, per_second)
        context = httpx.create_ssl_context()
        self._client = httpx.Client(
            verify=context,
            follow_redirects=False,
            timeout=httpx.Timeout(STALL, connect=CONNECT),
            # A length and a range count the file's own bytes.
            headers={"User-Agent": AGENT, "Accept-Encoding": "identity"},
            mounts={f"all://{host}": httpx.HTTPTransport(verify=context) for host in _LOOPBACK},  # past any proxy
        )

    def __enter__(self) -> HttpClient:
        return self

    def __exit__(self, *exc: object) -> None:
        self._client.close()

    @contextmanager
    def open(self, asked: Request, headers: Mapping[str, str] | None = None) -> Iterator[httpx.Response]:
        """Ask once; the body is read by the caller. Its status is 200, 206 or 416.

        Raises
        ------
        Passing
        FetchError
        """
        check_url(asked.url)
        method = "GET" if asked.form is None and asked.json is None else "POST"
        given = {**asked.headers, **(headers or {})}
        request = self._client.build_request(method, asked.url, headers=given, data=asked.form, json=asked.json)
        try:
            response = self._follow(request)
        except httpx.TimeoutException as error:
            raise Passing(f"{request.url.host} does not answer in time ({type(error).__name__})") from error
        except httpx.TransportError as error:
            raise Passing(f"{request.url.host} cannot be reached ({one_line(error, 120) or type(error).__name__})") from error
        try:
            if response.status_code not in (200, 206, 416):
                self._refuse(response)
            yield response
        except httpx.TimeoutException as error:
            raise Passing(f"{request.url.host} sends nothing more for {STALL:.0f} s") from error
        except httpx.TransportError as error:
            raise Passing(f"{request.url.host} broke off: {one_line(error, 120)}", kind="broken off") from error
        finally:
            response.close()

    def _follow(self, request: httpx.Request) -> httpx.Response:
        for _ in range(REDIRECTS + 1):
            self._throttle.wait(request.url.host)
            response = self._client.send(request, stream=True)
            if response.next_request is None:
                return response
            response.close()
            check_url(str(response.next_request.url), before=str(request.url))
            request = response.next_request
        raise FetchError(f"{public_url(str(request.url))}: more than {REDIRECTS} redirects")

    def _refuse(self, response: httpx.Response) -> None:
        """What any other status means."""
        status, url = response.status_code, public_url(str(response.request.url))
        if status in _PASSING:
            wait = retry_after(response.headers.get("retry-after"), self.clock.utc())
            why = "asks for fewer requests" if status == 429 else "is unavailable" if status == 503 else "fails"
            raise Passing(f"{response.request.url.host} {why} ({status})", wait=wait)
        if status in (404, 410):
            raise NotThereError(f"{url} is not there ({status})")
        if status in (401, 403):
            raise FetchError(f"{url} is refused ({status}): it needs a token, or this one has no right to it (docs/fetch.md)")
        body = b""
        for part in response.iter_raw(2048):
            body += part
            if len(body) >= 2048:
                break
        raise FetchError(f"{url} answers {status}: {one_line(body.decode('utf-8', 'replace'), 160)}")

    def read(self, asked: Request, most: int = MOST_OF_AN_ANSWER) -> bytes:
        """A short answer as a whole, asked for again where that may help.

        Raises
        ------
        FetchError
        """
        patience = Patience(self.clock, say=self.say)
        while True:
            try:
                with self.open(asked) as response:
                    body = bytearray()
                    for part in response.iter_raw(65_536):
                        body += part
                        if len(body) > most:
                            raise FetchError(f"{public_url(asked.url)}: the answer has more than {most:,} bytes")
                    check_plain(response.headers, bytes(body[:512]), url=asked.url)
                    return bytes(body)
            except Passing as fault:
                patience.after(fault)

    def read_json(self, asked: Request) -> Any:
        """The same, as JSON."""
        body = self.read(asked)
        try:
            return orjson.loads(body)
        except orjson.JSONDecodeError as error:
            raise FetchError(f"{public_url(asked.url)}: the answer is not JSON ({one_line(error, 80)})") from None


def check_plain(headers: Mapping[str, str], head: bytes, *, url: str) -> None:
    """Refuse a web page where data were asked for, and a body that is encoded though we asked that it is not.

    Raises
    ------
    Passing
        A page: often of a server that is being worked on.
    FetchError
        An encoding.
    """
    start = head.lstrip()[:15].lower()
    if start.startswith((b"<!doctype html", b"<html")) or headers.get("content-type", "").lower().startswith("text/html"):
        page = head.decode("utf-8", "replace")
        title = page.partition("<title>")[2].partition("</title>")[0] or page
        reason = f"{public_url(url)} answers with a web page and not with data ({one_line(title, 80)})"
        raise Passing(reason, most=3, kind="web page")
    encoding = headers.get("content-encoding", "identity").lower()
    # Servers that call a .gz file gzip-encoded send its own bytes.
    if encoding not in ("identity", "") and not url.partition("?")[0].endswith((".gz", ".tgz")):
        raise FetchError(f"{public_url(url)} is sent as {one_line(encoding, 40)} though it was asked for as it is")
