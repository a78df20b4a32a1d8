"""One process owns a GPU.

state folder, the devices of this machine → the device that is this process's own from now on, or whose it is

Two workers on one GPU halve each other's speed and need twice the memory. So the first process that asks gets the first free device, by a
lock on a file that names its process and ends with it (kill -9 too); the others stay on the processor. A process that owns a device sees
no other: `CUDA_VISIBLE_DEVICES` is set before CUDA is first called, whatever thread calls it.
"""

from __future__ import annotations

import fcntl
import os
import re
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import IO

from gpu.session import EngineError
from settings.private import private_folder

VISIBLE = "CUDA_VISIBLE_DEVICES"
_held: dict[Path, tuple[str, IO[str]]] = {}
"""Lock file → the device and the open file: what this process owns, as long as it lives."""


@dataclass(frozen=True, slots=True)
class Owned:
    """Whose a device is."""

    device: str
    process: int | None
    """None: it is free."""


def devices(environment: dict[str, str] | None = None, folder: Path = Path("/dev")) -> tuple[str, ...]:
    """Names of this machine's devices as CUDA takes them, without calling CUDA: those visible, else the driver's files in order."""
    stated = (os.environ if environment is None else environment).get(VISIBLE)
    if stated is not None:
        return tuple(name for part in stated.split(",") if (name := part.strip()) and name != "-1")
    numbers = sorted(int(found[1]) for path in folder.glob("nvidia*") if (found := re.fullmatch(r"nvidia(\d+)", path.name)))
    return tuple(map(str, numbers)) or (("0",) if (folder / "dxg").exists() else ())


def own(state: Path, *, among: Sequence[str] | None = None) -> str:
    """Take a device for this process, or give the one it has.

    Parameters
    ----------
    state : Path
        The state folder, which all processes of a flow share.
    among : sequence of str, optional
        Devices; None: all that are there.

    Raises
    ------
    EngineError
        There is no device, another process has each, or the folder cannot be used. One line.
    """
    for path, (device, _) in _held.items():
        if path.parent == _folder(state):
            return device
    there = devices() if among is None else tuple(among)
    if not there:
        raise EngineError("there is no CUDA device")
    try:
        private_folder(_folder(state))
        for device in there:
            guard = _path(state, device).open("a+")
            try:
                fcntl.flock(guard, fcntl.LOCK_EX | fcntl.LOCK_NB)
            except OSError:
                guard.close()
                continue
            guard.seek(0)
            guard.truncate()
            guard.write(str(os.getpid()))
            guard.flush()
            _held[_path(state, device)] = device, guard
            os.environ.update({VISIBLE: device, "CUDA_DEVICE_ORDER": "PCI_BUS_ID"})
            return device
    except OSError as error:
        raise EngineError(f"the GPU cannot be claimed in {_folder(state)}: {error.strerror}") from None
    whose = ", ".join(f"GPU {one.device} is process {one.process}'s" for one in owners(state, among=there))
    raise EngineError(f"{whose} ({_folder(state)})")


def owners(state: Path, *, among: Sequence[str] | None = None) -> Iterator[Owned]:
    """Whose each device is; takes none."""
    for device in devices() if among is None else among:
        path = _path(state, device)
        if path in _held:
            yield Owned(device, os.getpid())
            continue
        process: int | None = None
        try:
            with path.open() as guard:
                fcntl.flock(guard, fcntl.LOCK_SH | fcntl.LOCK_NB)
        except FileNotFoundError:
            pass
        except OSError:
            text = path.read_text(encoding="ascii", errors="replace").strip()
            process = int(text) if text.isdigit() else 0
        yield Owned(device, process)


def release() -> None:
    """Let go of what this process owns; the end of the process does it too."""
    for _, guard in _held.values():
        guard.close()
    _held.clear()


def _folder(state: Path) -> Path:
    return state.absolute() / "run"


def _path(state: Path, device: str) -> Path:
    return _folder(state) / f"gpu-{re.sub(r'[^A-Za-z0-9-]', '_', device)}.lock"
