"""API keys on their compacted topic: written with the broker's acknowledgement, read whole at start, followed by every process.

    protonova keys, POST /v1/tokens ──► access.tokens ──► TokenFollower ──► each process's key ring (`service.auth.key_ring`)

A record is written once when the key is made and once more when it is revoked; both writers may write at the same time, since revoked
counts whatever comes after it. The last use stands under a key of its own on the topic.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping
from dataclasses import replace
from typing import TYPE_CHECKING, Any

import structlog

from schemas.avro.wire import PacketError
from schemas.records import codec
from schemas.records.access_token import USED, AccessToken
from streams.kafka import topics
from streams.kafka.acknowledged import write_acknowledged
from streams.kafka.broadcast import Follower

if TYPE_CHECKING:
    from settings.model import Settings

log = structlog.get_logger(__name__)

Tokens = dict[str, AccessToken]
"""Key id → its record."""


async def read_tokens(settings: Settings) -> Tokens:
    """The keys there are, revoked ones too, as the topic's end has them now."""
    follower = TokenFollower(settings)
    return await follower.catch_up()


async def write_tokens(settings: Settings, tokens: Iterable[AccessToken], *, used: bool = False) -> None:
    """Write records, and wait until the broker has them.

    Parameters
    ----------
    settings : Settings
        With a broker.
    tokens : iterable of AccessToken
    used : bool
        Write the last use instead of what was granted or revoked.

    Raises
    ------
    aiokafka.errors.KafkaError
    """
    records = [(t.used_key if used else t.key, codec.encode(t)) for t in tokens]
    await write_acknowledged(settings, topics.ACCESS_TOKENS, records=records)


class TokenFollower:
    """Keeps up with the keys.

    Parameters
    ----------
    settings : Settings
        With a broker.
    """

    def __init__(self, settings: Settings) -> None:
        self._granted: Tokens = {}
        self._used: dict[str, int] = {}
        self._follower = Follower(settings, topics.ACCESS_TOKENS, take=self._take, what="API keys")

    @property
    def tokens(self) -> Tokens:
        """Every key's record with its last use."""
        return {name: replace(t, last_used_ms=max(t.last_used_ms, self._used.get(name, 0))) for name, t in self._granted.items()}

    async def catch_up(self) -> Tokens:
        """Read to the end that the topic has now."""
        await self._follower.catch_up()
        return self.tokens

    async def follow(self, on_change: Callable[[Mapping[str, AccessToken]], None]) -> None:
        """Call back with all keys after each change, until cancelled."""

        async def changed() -> None:
            on_change(self.tokens)

        await self._follower.follow(changed)

    def _take(self, message: Any) -> bool:
        """Take over one record; whether anything changed."""
        key = message.key or b""
        name = key.removesuffix(USED).decode("utf-8", "replace")
        if message.value is None:
            held: dict[str, Any] = self._used if key.endswith(USED) else self._granted
            return held.pop(name, None) is not None
        try:
            record = codec.expect(message.value, AccessToken)
        except PacketError as error:
            log.warning("an API key's record cannot be read and is left out", key=repr(key[:80]), why=error.reason)
            return False
        if record.token_id != name:
            log.warning("an API key's record stands under another key's id and is left out", key=repr(key[:80]))
            return False
        if key.endswith(USED):
            self._used[name] = max(self._used.get(name, 0), record.last_used_ms)
        else:
            before = self._granted.get(name)
            self._granted[name] = replace(record, revoked=True) if before is not None and before.revoked else record
        return True
