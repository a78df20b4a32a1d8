"""Who calls and what they may."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

SCOPES: dict[str, str] = {
    "score": "Score packets and light curves.",
    "push": "Push alert packets into the stream.",
    "read": "Read alerts, objects, classes, counts and models.",
    "subscribe": "Define filters and watchlists of one's own.",
    "teach": "Teach and forget classes, and give labels.",
    "operate": "Promote and roll back models, re-drive rejected packets.",
    "admin": "Give and revoke API keys.",
}
"""What a credential may hold, and what each allows; none includes another."""
ANY = "any"
"""In a scope's place: any credential that is accepted will do."""


@dataclass(frozen=True, slots=True)
class Identity:
    """A caller whose credential was accepted."""

    name: str
    """Owner of the key, or subject of the token."""
    credential: str
    """Id of the key, or the beginning of the token's digest: what the audit log and the rate limits count by."""
    kind: Literal["key", "local key", "token"]
    scopes: frozenset[str]
    private: bool = False
    """Whether alerts that are not public (ZTF programid 2, 3) may be seen."""
    until: float = float("inf")
    """When the credential expires [s since 1970]."""

    def may(self, scope: str) -> bool:
        """Whether the credential holds a scope."""
        return scope == ANY or scope in self.scopes
