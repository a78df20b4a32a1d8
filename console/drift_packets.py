"""Packets of a sky that changes, made by processes beside the demo: a phase's night → files of some hundred packets each, in order.

``python -m console.drift_packets FOLDER SEED CHANGE SHARE PART OF``: every `OF`-th file from `PART` on, without end. A file has its name
when it is whole; who reads it deletes it, and no process makes more than `AHEAD` that are not read.
"""

from __future__ import annotations

import sys
import time
from collections.abc import Iterator
from dataclasses import asdict, dataclass
from pathlib import Path
from types import TracebackType
from typing import Self

from console import night_file
from console.child import Child
from console.night_file import Made
from errors import UserError, one_line

GROUP = 100
"""Packets of a file."""
AHEAD = 24
"""Files that a process makes before one is read."""
PAUSE = 0.05
"""Between two looks for a file [s]."""
NEWCOMER = "luminous-fast-cooler"
"""A class that was never taught: no encoder was trained on it."""


@dataclass(frozen=True, slots=True)
class Sky:
    """What a phase's night is like."""

    seed: int
    change: str = ""
    """Of `data.simulate.changes.CHANGES`, with its strength behind a colon where it is not the usual one; empty: none."""
    share: float = 0.0
    """Of the new population."""


class PacketSource:
    """The packets of a sky, in order, for as long as anyone asks.

    Parameters
    ----------
    sky : Sky
    folder : Path
        For the files; it must be empty.
    processes : int
        That make them.
    """

    def __init__(self, sky: Sky, folder: Path, *, processes: int = 2) -> None:
        self._folder = folder
        folder.mkdir(parents=True, exist_ok=True)
        command = [sys.executable, "-m", "console.drift_packets", str(folder), *map(str, (sky.seed, sky.change, sky.share))]
        self._makers = [
            Child([*command, str(part), str(processes)], folder / f"maker-{part}.log", environment={"OMP_NUM_THREADS": "1"})
            for part in range(processes)
        ]
        self._next = 0
        self._held: list[Made] = []

    def __enter__(self) -> Self:
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None) -> None:
        self.close()

    def close(self) -> None:
        """End the processes."""
        for maker in self._makers:
            maker.kill()

    def take(self, n: int) -> list[Made]:
        """The next packets.

        Raises
        ------
        UserError
            They cannot be made.
        """
        while len(self._held) < n:
            path = self._folder / _name(self._next)
            while not path.exists():
                self._check()
                time.sleep(PAUSE)
            self._held += night_file.read(path)
            path.unlink()
            self._next += 1
        taken, self._held = self._held[:n], self._held[n:]
        return taken

    def _check(self) -> None:
        for maker in self._makers:
            if (status := maker.poll()) is not None:
                said = maker.log.read_text(encoding="utf-8", errors="replace").strip().splitlines()
                why = said[-1] if said else f"status {status}"
                raise UserError(f"the packets could not be simulated: {one_line(why, 200)}")


def make(folder: Path, sky: Sky, *, part: int, of: int) -> None:
    """Make files until killed."""
    number = part
    while True:
        while sum(int(path.stem) % of == part for path in folder.glob("*.parquet")) >= AHEAD:
            time.sleep(PAUSE)
        path = folder / _name(number)
        night_file.write(path.with_suffix(".part"), rows(sky, range(number * GROUP, (number + 1) * GROUP)))
        path.with_suffix(".part").replace(path)
        number += of


def rows(sky: Sky, wanted: range) -> Iterator[dict[str, object]]:
    """Rows of a file of packets and truths."""
    from data.simulate.changes import CHANGES, Change, changed_night, zero_point
    from data.simulate.described import shipped

    name, _, strength = sky.change.partition(":")
    change: Change | None = CHANGES[name] if name else None
    if name == "zero-point" and strength:
        magnitudes = float(strength)

        def change(packet: bytes) -> bytes:
            return zero_point(packet, magnitudes)

    newcomer = shipped()[NEWCOMER] if sky.share else None
    for packet, truth in changed_night(sky.seed, wanted, change=change, newcomer=newcomer, share=sky.share):
        yield {"packet": packet, **asdict(truth), "figures": {}}


def _name(number: int) -> str:
    return f"{number:06d}.parquet"


if __name__ == "__main__":
    folder, seed, change, share, part, of = sys.argv[1:]
    make(Path(folder), Sky(int(seed), change, float(share)), part=int(part), of=int(of))
