"""`njit` with its machine code kept on disk, under a key over everything that the code is made of.

in → a Python function
out → the same, compiled on its first call or read from the cache

numba keeps machine code by the file of the function alone, so a change in a helper or in a constant of another file would not reach its
callers. Here a function's key covers the source files of every function that is compiled into it, the values of every constant, numba's
version and the processor: whatever changes, the next process compiles anew.
"""

from __future__ import annotations

import hashlib
import importlib
import os
import pickle
import platform
import shutil
import stat
import sys
import types
import uuid
from collections.abc import Callable, Iterator
from contextlib import suppress
from functools import cache, lru_cache, partial
from pathlib import Path
from typing import Any

import llvmlite
import llvmlite.binding
import numba
import numpy as np
from numba.core.dispatcher import Dispatcher

# Half typed, and against itself.
caching: Any = importlib.import_module("numba.core.caching")
config: Any = importlib.import_module("numba.core.config")

ROOT = Path(__file__).parents[2]
"""Where the packages lie."""
PREFIX = "kernels-"
KEPT = 4
"""Versions (of numba, of the processor) beside the newest whose machine code is kept."""
KEPT_OF_ONE = 12
"""Compiled variants of one function that are kept: its signatures, and other states of the sources."""
_OTHERS_MAY_WRITE = stat.S_IWGRP | stat.S_IWOTH
_VALUES = (bool, int, float, complex, str, bytes, type(None))


def compiled(function: Callable[..., Any] | None = None, *, reassociate: bool = False) -> Any:
    """Compile on the first call, without the interpreter lock; the result is kept on disk where there is a folder that is ours alone.

    Parameters
    ----------
    function : callable, optional
        None: what is returned is a decorator.
    reassociate : bool
        Sums may be taken in another order, as many terms at a time as the processor has lanes: results may differ in their last bits from
        one kind of processor to another, never on one.

    Notes
    -----
    Where there is none (a read-only install whose user has no cache folder, or one that others may write) it is compiled at every start:
    machine code is run as it is read, so it is read from nowhere that another user could have filled.
    """
    if function is None:
        return partial(compiled, reassociate=reassociate)
    flags = {"reassoc", "contract", "nsz"} if reassociate else False
    options: dict[str, Any] = {"no_cfunc_wrapper": True}  # nothing calls them from C; known to numba, not to its types
    dispatcher: Any = numba.njit(nogil=True, error_model="numpy", fastmath=flags, **options)(function)
    folder = cache_folder()
    if folder is not None:
        dispatcher._cache = _Cache(function, folder)
    return dispatcher


@lru_cache(maxsize=1)
def cache_folder() -> Path | None:
    """The folder of machine code for this numba and processor; None: there is no safe place.

    Notes
    -----
    In this order: ``NUMBA_CACHE_DIR`` where it is set, the source tree (filled by ``make`` or the container's build), the user's cache
    folder. A tree that was filled and cannot be written is read all the same.
    """
    for parent in _places():
        folder = parent / f"{PREFIX}{_versions()}"
        with suppress(OSError):
            if not folder.is_dir():
                folder.mkdir(mode=0o755, parents=True)
                _prune(parent.glob(f"{PREFIX}*"), KEPT + 1)
            if _trusted(folder):
                return folder
    return None


def source_key(function: Callable[..., Any]) -> str:
    """A hash over all that a function's machine code is made of: the files of what it calls, the values of what it names.

    What it cannot account for counts as every source file of its package's neighbours, so that in doubt code is compiled anew.
    """
    digest = hashlib.sha256()
    seen: set[int] = set()
    left: list[tuple[str, Any]] = [("", function)]
    while left:
        name, item = left.pop()
        item = item.py_func if isinstance(item, Dispatcher) else item
        value = _value(item)
        if value is not None:
            digest.update(name.encode() + b"=" + value + b"\0")
        elif id(item) in seen or isinstance(item, types.BuiltinFunctionType | np.ufunc):
            continue  # numpy's and Python's own: the versions say it
        elif isinstance(item, types.FunctionType):
            if _is_ours(item.__code__.co_filename):
                digest.update(_file_hash(item.__code__.co_filename) + f"{name}={item.__qualname__}\0".encode())
                named = [n for n in sorted(_names(item.__code__)) if n in item.__globals__]
                left += [(n, item.__globals__[n]) for n in named]
                left += [(n, cell.cell_contents) for n, cell in zip(item.__code__.co_freevars, item.__closure__ or (), strict=True)]
        elif isinstance(item, types.ModuleType | type):
            module = item if isinstance(item, types.ModuleType) else sys.modules.get(item.__module__)
            path = getattr(module, "__file__", None)
            if path is not None and _is_ours(path):
                digest.update(name.encode() + _file_hash(path))
        else:
            digest.update(_every_source())
        seen.add(id(item))
    return digest.hexdigest()


def _names(code: types.CodeType) -> set[str]:
    """Global names (and attributes) that a function's code mentions, those of functions inside it too."""
    inner = [const for const in code.co_consts if isinstance(const, types.CodeType)]
    return set(code.co_names).union(*map(_names, inner))


def _value(item: Any) -> bytes | None:
    """A constant as bytes; None for what is not a constant we know."""
    if isinstance(item, np.ndarray | np.generic) and item.dtype != object:
        return repr((str(item.dtype), item.shape)).encode() + item.tobytes()
    if isinstance(item, numba.types.ExternalFunction):
        return f"{item.symbol} {item.sig}".encode()
    if isinstance(item, _VALUES):
        return f"{type(item).__name__} {item!r}".encode()
    if isinstance(item, tuple | list | frozenset):
        parts = [_value(part) for part in (sorted(item, key=repr) if isinstance(item, frozenset) else item)]
        return None if None in parts else b"(" + b",".join(part for part in parts if part is not None) + b")"
    return None


@cache
def _file_hash(path: str) -> bytes:
    return hashlib.sha256(Path(path).read_bytes()).digest()


@cache
def _is_ours(path: str) -> bool:
    return Path(path).is_relative_to(ROOT) and "site-packages" not in path and os.path.exists(path)


@lru_cache(maxsize=1)
def _every_source() -> bytes:
    """A hash over the packages that hold compiled code."""
    digest = hashlib.sha256()
    for package in ("operators", "schemas", "data", "evaluation"):
        for path in sorted((ROOT / package).rglob("*.py")):
            digest.update(_file_hash(str(path)))
    return digest.digest()


@lru_cache(maxsize=1)
def _versions() -> str:
    """What machine code depends on beside its sources, as 16 hex digits."""
    processor = config.CPU_NAME or llvmlite.binding.get_host_cpu_name()
    features = config.CPU_FEATURES or llvmlite.binding.get_host_cpu_features().flatten()
    parts = (numba.__version__, llvmlite.__version__, np.__version__, sys.version, platform.machine(), processor, features, config.OPT)
    return hashlib.sha256(repr(parts).encode() + _file_hash(__file__)).hexdigest()[:16]


def _places() -> Iterator[Path]:
    if config.CACHE_DIR:
        yield Path(config.CACHE_DIR)
        return
    yield ROOT / "operators" / "kernels" / "__pycache__"
    named = os.environ.get("XDG_CACHE_HOME")
    with suppress(RuntimeError):  # a user without a home
        yield (Path(named) if named else Path.home() / ".cache") / "protonova"


def _trusted(folder: Path) -> bool:
    """Whether only we, the administrator and the owner of the sources can have written into it."""
    found = folder.stat()
    if not hasattr(os, "getuid"):
        return True
    return found.st_uid in (os.getuid(), 0, ROOT.stat().st_uid) and not found.st_mode & _OTHERS_MAY_WRITE


def _prune(paths: Iterator[Path], kept: int) -> None:
    """Remove all but the newest."""
    with suppress(OSError):  # another process prunes too
        for old in sorted(paths, key=lambda path: path.stat().st_mtime, reverse=True)[kept:]:
            if old.is_dir():
                shutil.rmtree(old, ignore_errors=True)
            else:
                old.unlink(missing_ok=True)


class _Locator(caching._CacheLocator):  # type: ignore[misc]
    """Where numba is asked to keep a function's code: the folder is known, and nothing has to be looked for."""

    def __init__(self, function: Callable[..., Any], folder: Path) -> None:
        self._function, self._folder = function, folder
        self._py_file = function.__code__.co_filename  # numba names it in a warning

    def get_cache_path(self) -> str:
        return str(self._folder)

    def get_source_stamp(self) -> str:
        return source_key(self._function)

    def get_disambiguator(self) -> str:
        return self._function.__module__

    def ensure_cache_path(self) -> None:
        self._folder.mkdir(mode=0o755, parents=True, exist_ok=True)


class _Files:
    """One file for each compiled signature, named by it: no index that two processes could write at the same time."""

    def __init__(self, folder: Path, name: str) -> None:
        self._folder, self._name = folder, name

    def _path(self, key: Any) -> Path:
        return self._folder / f"{self._name}.{hashlib.sha256(repr(key).encode()).hexdigest()[:24]}.code"

    def load(self, key: Any) -> Any:
        """The code of a signature; None: there is none, or the file is damaged (a disk was full, a machine lost power)."""
        try:
            found, data = pickle.loads(self._path(key).read_bytes())  # noqa: S301 - the folder is ours, see `_trusted`
        except Exception:
            return None
        return data if found == repr(key) else None

    def save(self, key: Any, data: Any) -> None:
        """Keep the code of a signature."""
        path = self._path(key)
        part = path.with_suffix(f".{uuid.uuid4().hex[:8]}.part")
        try:
            part.write_bytes(caching.dumps((repr(key), data)))
            part.replace(path)
        except OSError:
            with suppress(OSError):
                part.unlink(missing_ok=True)
            raise
        _prune(self._folder.glob(f"{self._name}.*.code"), KEPT_OF_ONE)

    def flush(self) -> None:
        """Forget what is kept of this function."""
        for path in self._folder.glob(f"{self._name}.*.code"):
            path.unlink(missing_ok=True)


class _Implementation(caching.CompileResultCacheImpl):  # type: ignore[misc]
    """How a compile result becomes bytes (numba's own), beside our locator."""

    def __init__(self, function: Callable[..., Any], folder: Path) -> None:
        self._lineno = function.__code__.co_firstlineno
        self._locator = _Locator(function, folder)
        self._filename_base = self.get_filename_base(function.__qualname__, getattr(sys, "abiflags", ""))


class _Cache(caching.FunctionCache):  # type: ignore[misc]
    """numba's cache of one function, in our folder and under our key."""

    def __init__(self, function: Callable[..., Any], folder: Path) -> None:
        self._name = repr(function)
        self._py_func = function
        self._impl = _Implementation(function, folder)
        self._cache_path = str(folder)
        self._cache_file = _Files(folder, self._impl.filename_base)
        self._key: str | None = None
        self.enable()

    def _index_key(self, sig: Any, codegen: Any) -> Any:
        if self._key is None:  # not before the first call: the module's names must be complete
            self._key = source_key(self._py_func)
        return sig, codegen.magic_tuple(), self._key

    def load_overload(self, sig: Any, target_context: Any) -> Any:
        """As numba's; what cannot be put together again is compiled anew."""
        try:
            return super().load_overload(sig, target_context)
        except Exception:
            return None

    def save_overload(self, sig: Any, data: Any) -> None:
        """As numba's; a folder that cannot be written is not a fault: it is compiled again next time."""
        with suppress(OSError):
            super().save_overload(sig, data)
