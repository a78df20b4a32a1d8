"""The array namespace comes from the input: one code path for NumPy, CuPy and any other array of the standard.

array → its module. Source: the Python array API standard, `__array_namespace__`; the idea of inferring it is array-api-extra's.
"""

from __future__ import annotations

from typing import Any

import numpy as np
import numpy.typing as npt

from operators.types import Array


def array_namespace(*arrays: Array) -> Any:
    """Return the namespace that all arrays share.

    Raises
    ------
    TypeError
        They come from different namespaces, or one is not an array.
    """
    if all(type(a) is np.ndarray for a in arrays):  # some twenty questions a batch: this one costs a tenth of asking the array
        return np
    found = {id(xp): xp for xp in (_namespace(a) for a in arrays)}
    if len(found) != 1:
        raise TypeError(f"arrays of one namespace are needed, got {sorted(xp.__name__ for xp in found.values())}")
    return next(iter(found.values()))


def stable_argsort(array: Array) -> Array:
    """Indices that sort along axis 1, equal ones in their order; (n, m) → (n, m).

    The standard's sort is stable unless stated otherwise and CuPy's always is, but CuPy's (14.2) does not take the word for it; NumPy's is
    stable only when asked.
    """
    xp = array_namespace(array)
    return np.argsort(array, axis=1, kind="stable") if xp is np else xp.argsort(array, axis=1)


def _namespace(array: Array) -> Any:
    if hasattr(array, "__array_namespace__"):
        return array.__array_namespace__()
    module = type(array).__module__.partition(".")[0]
    if module == "cupy":  # older releases follow the standard without saying so
        import cupy

        return cupy
    raise TypeError(f"{type(array).__name__} is not an array")


def to_host(array: Array) -> npt.NDArray[Any]:
    """Bring an array from a device to the host; one that is there already is returned as it is."""
    host: npt.NDArray[Any] = array.get() if hasattr(array, "get") else array  # type: ignore[assignment]
    return host
