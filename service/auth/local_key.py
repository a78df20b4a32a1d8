"""The local key: made at the first run on a state folder, printed once, accepted of callers on this machine alone.

state folder → id and digest of the key; the key itself the first time
"""

from __future__ import annotations

import time
from pathlib import Path
from typing import NamedTuple

import orjson

from errors import UserError
from service.auth.api_keys import is_key_id, make_key
from settings.private import private_file, private_folder

FILE = "auth/local-key.json"


class LocalKey(NamedTuple):
    """What is known of the local key."""

    key_id: str
    digest: bytes
    new: str | None
    """The key, if it was made now."""


def local_key(state: Path) -> LocalKey:
    """The local key of a state folder; it is made where there is none.

    Parameters
    ----------
    state : Path

    Raises
    ------
    UserError
        Its file is not ours.
    """
    path = state / FILE
    if path.exists():
        try:
            found = orjson.loads(path.read_bytes())
            key_id, digest = found["key_id"], bytes.fromhex(found["sha256"])
            if not is_key_id(key_id) or len(digest) != 32:
                raise ValueError("not a key")
        except (OSError, ValueError, KeyError, TypeError) as error:
            raise UserError(f"{path} cannot be read ({error}): delete it, and the next start makes another key") from None
        return LocalKey(key_id, digest, None)
    made = make_key()
    private_folder(path.parent)
    part = path.with_suffix(".part")
    with open(private_file(part), "wb") as file:
        file.write(orjson.dumps({"key_id": made.key_id, "sha256": made.digest.hex(), "made_ms": int(1000 * time.time())}))
    part.replace(path)
    return LocalKey(made.key_id, made.digest, made.key)
