"""`njit` with its machine code kept on disk where a place can be found for it, else in memory."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numba


def compiled(function: Callable[..., Any]) -> Any:
    """Compile on the first call, without the interpreter lock; the result is cached beside the source or in the user's cache.

    A read-only install whose user has no cache folder gets it compiled at every start instead of a crash.
    """
    try:
        return numba.njit(cache=True, nogil=True, error_model="numpy")(function)
    except RuntimeError:  # numba: "no locator available"
        return numba.njit(nogil=True, error_model="numpy")(function)
