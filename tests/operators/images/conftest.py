"""Every namespace an operator on images must run in."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import array_api_strict
import numpy as np
import pytest

Moved = Callable[[Any], Any]


def _readonly(array: Any) -> Any:
    view = np.asarray(array).view()
    view.flags.writeable = False
    return view


@pytest.fixture(params=["numpy", "read-only numpy", "strict", pytest.param("cupy", marks=pytest.mark.gpu)])
def to_xp(request: pytest.FixtureRequest) -> Moved:
    """Brings a NumPy array to a namespace; in three of the four a mutation or a function outside the array standard fails."""
    if request.param == "cupy":
        cupy = pytest.importorskip("cupy", reason="no CuPy here")
        if not cupy.is_available():
            pytest.skip("no CUDA device here")
        return cupy.asarray  # type: ignore[no-any-return]
    return {"numpy": np.asarray, "read-only numpy": _readonly, "strict": array_api_strict.asarray}[request.param]
