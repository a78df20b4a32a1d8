"""The API keys there are, in memory: a key → whose it is, in a microsecond.

Fed by the compacted topic `access.tokens` (`streams.access_tokens`), which every process follows: a key that is revoked is refused as soon
as its record arrives. The local key of this machine is apart: it counts for callers on loopback alone.
"""

from __future__ import annotations

import math
import time
from collections.abc import Callable, Mapping
from hashlib import sha256
from hmac import compare_digest
from typing import NamedTuple

from schemas.records.access_token import AccessToken
from service.auth.api_keys import BEGIN, END
from service.auth.caller import SCOPES, Identity


class Held(NamedTuple):
    """What is known of a key."""

    digest: bytes
    identity: Identity
    until: float
    """[s since 1970]"""


_NONE = Held(bytes(32), Identity("", "", "key", frozenset()), -math.inf)


class KeyRing:
    """Keys by their ids.

    Parameters
    ----------
    clock : callable
        Seconds since 1970.
    """

    def __init__(self, clock: Callable[[], float] = time.time) -> None:
        self._clock = clock
        self._held: dict[str, Held] = {}
        self._local: Held = _NONE
        self._local_id = ""
        self.records: dict[str, AccessToken] = {}
        """As the topic has them, revoked ones too."""
        self.complete = False
        """Whether the topic was read to its end once: until then a key that is not known may be one."""
        self.used: dict[str, float] = {}
        """Key id → when it was last accepted by this process [s since 1970]."""

    def __len__(self) -> int:
        return len(self._held)

    def replace(self, records: Mapping[str, AccessToken]) -> None:
        """Take over the records of the topic."""
        self.records = dict(records)
        self._held = {key_id: _held(record) for key_id, record in records.items() if not record.revoked}

    def keep_local(self, key_id: str, digest: bytes) -> None:
        """Accept the local key: every scope, for callers on loopback."""
        identity = Identity("local", key_id, "local key", frozenset(SCOPES), private=True)
        self._local, self._local_id = Held(digest, identity, math.inf), key_id

    def identify(self, key: str, *, on_loopback: bool = False) -> Identity | None:
        """Whose a key is; None: it is not known, revoked or expired, or it is the local key and the caller is elsewhere.

        Parameters
        ----------
        key : str
            As it was sent.
        on_loopback : bool
            Whether the caller is on this machine.
        """
        key_id = key[BEGIN:END]
        held = self._held.get(key_id)
        if held is None:
            held = self._local if on_loopback and key_id == self._local_id else _NONE
        # Compared even where nothing is known, so that the time taken does not say which ids exist.
        right = compare_digest(held.digest, sha256(key.encode()).digest())
        now = self._clock()
        if not right or held.until <= now:
            return None
        self.used[key_id] = now
        return held.identity


def _held(record: AccessToken) -> Held:
    until = record.expires_ms / 1000 if record.expires_ms else math.inf
    identity = Identity(record.owner, record.token_id, "key", frozenset(record.scopes) & SCOPES.keys(), record.private_rights, until)
    return Held(bytes.fromhex(record.hash), identity, until)
