"""``protonova keys``: keys of the HTTP API, made, shown, revoked."""

from __future__ import annotations

import asyncio
import time
from collections.abc import Sequence
from typing import TYPE_CHECKING

import orjson
from rich.console import Console
from rich.table import Table

from console.report import cell
from errors import UserError, say
from service.auth.issuing import issue, revoked
from streams.access_tokens import read_tokens, write_tokens
from streams.kafka.topics import ensure_access

if TYPE_CHECKING:
    from settings.model import Settings


def add_key(settings: Settings, owner: str, *, scopes: Sequence[str], days: float | None, private: bool, note: str) -> int:
    """Make a key; its text is printed on standard output alone, so that it can be caught by a script."""
    made, record = issue(owner, scopes, days=days, private=private, note=note, now=time.time())

    async def write() -> None:
        await ensure_access(settings)
        await write_tokens(settings, [record])

    asyncio.run(write())
    say(f"key {record.token_id} of {owner}: {', '.join(record.scopes)}; it is shown this once")
    print(made.key)
    return 0


def list_keys(settings: Settings, *, as_json: bool) -> int:
    """Show the keys."""
    tokens = sorted(asyncio.run(read_tokens(settings)).values(), key=lambda token: token.made_ms)
    if as_json:
        for token in tokens:
            row = {"id": token.token_id, "owner": token.owner, "scopes": list(token.scopes), "private": token.private_rights,
                   "revoked": token.revoked, "made": _time(token.made_ms), "expires": _time(token.expires_ms),
                   "last_used": _time(token.last_used_ms), "note": token.note}  # fmt: skip
            print(orjson.dumps(row).decode())
        return 0
    table = Table(pad_edge=False)
    for name in ("id", "owner", "scopes", "private", "state", "made", "last used", "note"):
        table.add_column(name)
    now = 1000 * time.time()
    for token in tokens:
        state = "revoked" if token.revoked else "expired" if token.expires_ms and token.expires_ms <= now else "valid"
        private = "yes" if token.private_rights else ""
        times = [_time(ms) or "" for ms in (token.made_ms, token.last_used_ms)]
        table.add_row(token.token_id, cell(token.owner), cell(" ".join(token.scopes)), private, state, *times, cell(token.note))
    Console().print(table)
    return 0


def revoke_key(settings: Settings, key_id: str) -> int:
    """Take a key back.

    Raises
    ------
    UserError
        There is no such key.
    """

    async def revoke() -> str:
        found = (await read_tokens(settings)).get(key_id)
        if found is None:
            raise UserError(f"{key_id[:40]!r} is not the id of a key: `protonova keys ls` lists them", 2)
        await write_tokens(settings, [revoked(found)])
        return found.owner

    say(f"key {key_id} of {asyncio.run(revoke())} is revoked")
    return 0


def _time(ms: int) -> str | None:
    """A time as ISO 8601 in UTC; None: there is none."""
    return time.strftime("%Y-%m-%dT%H:%M:%SZ", time.gmtime(ms / 1000)) if ms else None
