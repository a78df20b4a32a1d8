"""Keys that are given and taken back, as records."""

from __future__ import annotations

import difflib
from collections.abc import Sequence
from dataclasses import replace

from errors import UserError
from schemas.records.access_token import AccessToken
from service.auth.api_keys import NewKey, make_key
from service.auth.caller import SCOPES

LONGEST_OWNER = 200
"""[characters]"""
DAY = 86_400.0
"""[s]"""


def issue(
    owner: str, scopes: Sequence[str], *, now: float, days: float | None = None, private: bool = False, note: str = ""
) -> tuple[NewKey, AccessToken]:
    """Make a key and its record.

    Parameters
    ----------
    owner : str
        Person or program that gets it.
    scopes : sequence of str
        Of `SCOPES`.
    now : float
        [s since 1970]
    days : float, optional
        How long it holds; until it is revoked if None.
    private : bool
        Whether it may see what is not public.
    note : str
        What it is for.

    Raises
    ------
    UserError
        A scope that there is not, or a name that is none.
    """
    held = sorted(set(scopes), key=list(SCOPES).index) if set(scopes) <= SCOPES.keys() else []
    if not held:
        unknown = next((scope for scope in scopes if scope not in SCOPES), None)
        close = difflib.get_close_matches(unknown or "", SCOPES, 1)
        guess = f"did you mean {close[0]}? " if close else ""
        raise UserError(f"{unknown!r} is not a scope: {guess}Scopes are {', '.join(SCOPES)}", 2)
    if not owner.strip() or len(owner) > LONGEST_OWNER or not owner.isprintable():
        raise UserError(f"an owner is a printable name of {LONGEST_OWNER} characters at most", 2)
    made = make_key()
    expires = 0 if days is None else int(1000 * (now + DAY * days))
    record = AccessToken(made.key_id, made.digest.hex(), owner.strip(), tuple(held), private, expires, False, int(1000 * now), 0, note)
    return made, record


def revoked(record: AccessToken) -> AccessToken:
    """The record of the key once it is taken back."""
    return replace(record, revoked=True, last_used_ms=0)
