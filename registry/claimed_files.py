"""Files of a bundle that lie elsewhere → their bytes, those that its manifest names and no others.

in → the address of a folder, what its manifest says of the files, the prefixes that may be opened
out → file → bytes; a `BundleError` where they are others; `errors.RetryableError` where the store does not answer
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence

from data.frames.claims import open_claim
from data.frames.frame_error import FrameError
from registry.bundle import BundleError, FileRecord


def read_claimed(claim: str, wanted: Mapping[str, FileRecord], *, prefixes: Sequence[str]) -> dict[str, bytes]:
    """Read files of a bundle.

    Parameters
    ----------
    claim : str
        Address of their folder, ``file:///…`` or ``https://…``.
    wanted : mapping of str to FileRecord
        Of the bundle's manifest: length and sha256 of each.
    prefixes : sequence of str
        What lies under one of them may be opened, nothing else.

    Raises
    ------
    BundleError
        A file is outside of every prefix, is not there, or is another one.
    errors.RetryableError
        The store does not answer.
    """
    try:
        return {
            name: open_claim(f"{claim.rstrip('/')}/{name}", length=file.size, sha256=file.sha256, prefixes=prefixes)
            for name, file in wanted.items()
        }
    except FrameError as error:
        raise BundleError(f"a bundle's file cannot be had: {error}") from None
