"""What may go wrong with a download, divided by what to do: ask again (`Passing`) or not (`FetchError`); and URLs without secrets."""

from __future__ import annotations

from urllib.parse import parse_qsl, urlencode, urlsplit, urlunsplit

from errors import RetryableError, UserError, one_line

_SECRET = ("token", "key", "secret", "password", "passwd", "signature", "credential", "auth", "sig")
"""Parts of the names of URL parameters that hold secrets: ``api_key``, ``X-Amz-Signature`` …"""


class FetchError(UserError):
    """A download that does not succeed by asking again."""


class NotThereError(FetchError):
    """The archive does not have it."""


class Passing(RetryableError):  # noqa: N818 - it is a reason to ask again
    """A fault that may pass by itself.

    Parameters
    ----------
    reason : str
        One line.
    wait : float, optional
        What the server asks to wait [s].
    most : int, optional
        How often a fault of this `kind` may come for one file; None: as often as any.
    kind : str
        What kind of fault it is.
    """

    def __init__(self, reason: str, *, wait: float | None = None, most: int | None = None, kind: str = "") -> None:
        super().__init__(reason)
        self.wait, self.most, self.kind = wait, most, kind


def public_url(url: str) -> str:
    """The URL as it may be logged: without user, password and parameters that hold secrets."""
    parts = urlsplit(url)
    host = parts.netloc.rpartition("@")[2]
    query = urlencode([(k, v) for k, v in parse_qsl(parts.query, keep_blank_values=True) if not _secret(k)])
    return one_line(urlunsplit((parts.scheme, host, parts.path, query, "")), 2000)


def _secret(name: str) -> bool:
    words = name.lower().replace("_", "-").split("-")
    return any(word in _SECRET or word.removeprefix("api").removeprefix("access") in _SECRET for word in words)
