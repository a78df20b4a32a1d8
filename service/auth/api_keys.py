"""API keys: made, taken apart, hashed.

``pn_<id>_<secret>``: the id, twelve hexadecimal digits, finds the record; the secret, 256 random bits, is kept nowhere. What is kept is the
SHA-256 of the whole key: a random key of that length cannot be guessed, so a slow hash would only slow the caller.
"""

from __future__ import annotations

import hashlib
import re
import secrets
from typing import NamedTuple

PREFIX = "pn_"
ID_DIGITS = 12
SECRET_BYTES = 32
BEGIN, END = len(PREFIX), len(PREFIX) + ID_DIGITS
"""Where a key's id stands."""
_ID = re.compile(rf"[0-9a-f]{{{ID_DIGITS}}}")


class NewKey(NamedTuple):
    """A key that was just made: the only time it is known."""

    key: str
    key_id: str
    digest: bytes
    """SHA-256 of the key."""


def make_key() -> NewKey:
    """Make a key."""
    key_id = secrets.token_hex(ID_DIGITS // 2)
    key = f"{PREFIX}{key_id}_{secrets.token_urlsafe(SECRET_BYTES)}"
    return NewKey(key, key_id, digest_of(key))


def digest_of(key: str) -> bytes:
    """SHA-256 of a key."""
    return hashlib.sha256(key.encode()).digest()


def is_key_id(text: str) -> bool:
    """Whether a text may be a key's id."""
    return _ID.fullmatch(text) is not None
