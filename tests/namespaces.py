"""The namespaces in which every operator must run, as the fixture `xp` gives them.

A test that takes `xp` runs in each:

    numpy            the kernels
    numpy-readonly   every array that is made is read-only: who changes what was handed in fails
    strict           array-api-strict: a function, a dtype or a conversion beyond the standard fails. Its arrays lie on a device that is
                     not the host, as far as that can be had without one: NumPy must not take them (`np.asarray` raises, as CuPy's
                     does), and each transfer is counted
    cupy             where a GPU is

`xp.asarray(numpy_array)` brings an array in, `to_numpy(array)` out. `xp.batch(AlertBatch)` brings all columns in, and `xp.tree` likewise
any named tuple or dataclass of arrays.
"""

from __future__ import annotations

import dataclasses
from typing import Any, TypeVar

import array_api_strict
import numpy as np
import pytest

NAMES = ("numpy", "numpy-readonly", "strict", "cupy")
PARAMS = [pytest.param(name, marks=pytest.mark.gpu) if name == "cupy" else name for name in NAMES]
Tree = TypeVar("Tree")
_STRICT: Any = type(array_api_strict.asarray(0.0))


class Namespace:
    """A namespace's functions, and how arrays get in."""

    def __init__(self, name: str, module: Any) -> None:
        self.name, self.module = name, module
        self.fetched: list[int] = []
        """Bytes of each transfer to the host (strict only)."""

    def __getattr__(self, name: str) -> Any:
        return getattr(self.module, name)

    def __repr__(self) -> str:
        return self.name

    def asarray(self, array: Any, **options: Any) -> Any:
        """Bring an array in."""
        out = self.module.asarray(array, **options)
        if self.name == "numpy-readonly":
            out = out.view()
            out.flags.writeable = False
        return out

    def tree(self, value: Tree) -> Tree:
        """Bring in every NumPy array of a dataclass, named tuple, dict or tuple; the rest stays as it is."""
        moved: Any = value
        if isinstance(value, np.ndarray | np.generic):
            moved = self.asarray(np.asarray(value))
        elif isinstance(value, dict):
            moved = {key: self.tree(part) for key, part in value.items()}
        elif isinstance(value, tuple):
            parts = [self.tree(part) for part in value]
            moved = type(value)(*parts) if hasattr(value, "_fields") else tuple(parts)
        elif dataclasses.is_dataclass(value) and not isinstance(value, type):
            fields = {f.name: getattr(value, f.name) for f in dataclasses.fields(value) if f.init}
            moved = dataclasses.replace(value, **{name: self.tree(part) for name, part in fields.items()})
        return moved

    def batch(self, batch: Tree) -> Tree:
        """Bring in the columns of a batch; its whole light curves stay on the host."""
        moved = {f.name: self.asarray(v) for f in dataclasses.fields(batch) if isinstance(v := getattr(batch, f.name), np.ndarray)}  # type: ignore[arg-type]
        return dataclasses.replace(batch, **moved)  # type: ignore[type-var]


def namespace(name: str, patch: pytest.MonkeyPatch) -> Namespace:
    """Make one; skips the test where it cannot be had."""
    if name == "cupy":
        cupy = pytest.importorskip("cupy", reason="no CuPy here")
        if not cupy.is_available():
            pytest.skip("no CUDA device here")
        return Namespace(name, cupy)
    if name != "strict":
        return Namespace(name, np)
    made = Namespace(name, array_api_strict)

    def refused(self: Any, *args: Any, **kwargs: Any) -> Any:
        raise TypeError("implicit conversion to a NumPy array: `operators.namespace.to_host` fetches")

    def get(self: Any) -> Any:
        made.fetched.append(self._array.nbytes)
        return self._array.copy()

    patch.setattr(_STRICT, "__array__", refused)
    patch.setattr(_STRICT, "__buffer__", refused, raising=False)
    patch.setattr(_STRICT, "get", get, raising=False)
    return made


def to_numpy(array: Any) -> np.ndarray[Any, Any]:
    """Bring an array out."""
    return np.asarray(array.get() if hasattr(array, "get") else array)


@pytest.fixture(params=PARAMS)
def xp(request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch) -> Namespace:
    """Each namespace; see the module."""
    return namespace(request.param, monkeypatch)


@pytest.fixture
def strict(monkeypatch: pytest.MonkeyPatch) -> Namespace:
    """The strict one alone, as for counting transfers."""
    return namespace("strict", monkeypatch)
