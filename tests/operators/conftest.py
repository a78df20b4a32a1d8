"""Every namespace an operator must run in."""

from __future__ import annotations

import dataclasses
from collections.abc import Callable
from typing import Any

import array_api_strict
import numpy as np
import pytest

from operators.types import AlertBatch

Moved = Callable[[AlertBatch], AlertBatch]


def _arrays(batch: AlertBatch, change: Callable[[Any], Any]) -> AlertBatch:
    moved = {f.name: change(v) for f in dataclasses.fields(batch) if isinstance(v := getattr(batch, f.name), np.ndarray)}
    return dataclasses.replace(batch, **moved)


def _readonly(array: Any) -> Any:
    view = array.view()
    view.flags.writeable = False
    return view


def _cupy(array: Any) -> Any:
    cupy = pytest.importorskip("cupy")
    return cupy.asarray(array)


@pytest.fixture(params=["read-only numpy", "strict", pytest.param("cupy", marks=pytest.mark.gpu)])
def moved(request: pytest.FixtureRequest) -> Moved:
    """Brings a batch to a namespace in which a mutation or a function outside the array standard fails."""
    if request.param == "cupy":
        cupy = pytest.importorskip("cupy", reason="no CuPy here")
        if not cupy.is_available():
            pytest.skip("no CUDA device here")
    change = {"read-only numpy": _readonly, "strict": array_api_strict.asarray, "cupy": _cupy}[request.param]
    return lambda batch: _arrays(batch, change)
