"""An API key's record: `access_token.avsc` as a dataclass."""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from schemas.avro.wire import PacketError
from schemas.records.parts import LONGEST_TEXT, check_counts, check_digests, check_texts

MOST_SCOPES = 32
USED = b"/used"
"""Behind an id: the key of the record that holds the last use, so that it never writes over what was revoked."""
_ID = re.compile(r"[0-9a-f]{12}")


@dataclass(frozen=True, slots=True)
class AccessToken:
    """An API key's record; every field stands in `access_token.avsc`, in the same order."""

    token_id: str
    hash: str
    owner: str
    scopes: tuple[str, ...]
    private_rights: bool
    expires_ms: int
    revoked: bool
    made_ms: int
    last_used_ms: int
    note: str = ""

    @property
    def key(self) -> bytes:
        """Key on the compacted topic of what was granted or revoked."""
        return self.token_id.encode()

    @property
    def used_key(self) -> bytes:
        """Key on the compacted topic of the last use."""
        return self.key + USED


def from_row(row: Mapping[str, Any]) -> AccessToken:
    """A key's record from its plain values.

    Raises
    ------
    schemas.avro.wire.PacketError
        A value that no key of ours has.
    """
    check_texts(row, "owner", "note")
    check_digests("hash", (row["hash"],))
    if _ID.fullmatch(row["token_id"]) is None:
        raise PacketError("bad_value", "token_id has twelve hexadecimal digits")
    if len(row["scopes"]) > MOST_SCOPES or any(len(scope) > LONGEST_TEXT for scope in row["scopes"]):
        raise PacketError("bad_value", f"a key has {MOST_SCOPES} scopes at most")
    check_counts("expires_ms, made_ms and last_used_ms", (row["expires_ms"], row["made_ms"], row["last_used_ms"]))
    return AccessToken(**{**row, "scopes": tuple(row["scopes"])})
