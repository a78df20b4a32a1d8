"""The work on raw frames in a process that kills itself (SIGKILL) at a named place, as a power cut would.

`python killed_calibrator.py PLACE N`: at the N-th time that it comes there; PLACE "" lets it run.

    file       behind the calibrated file's writing, before anything is sent
    sent       within the transaction, all records sent and none committed
    committed  behind the commit, before the state knows it
"""

from __future__ import annotations

import os
import signal
import sys
from collections import Counter
from typing import Any

from aiokafka import AIOKafkaProducer

import data.frames.calibrated_file as calibrated_file
from console.commands.run_calibrator import run
from settings.model import Settings
from streams.kafka.exactly_once import FencedReader


def main() -> int:
    """Arm the places and run."""
    place, number = sys.argv[1], int(sys.argv[2])
    seen: Counter[str] = Counter()

    def here(name: str) -> None:
        seen[name] += 1
        if name == place and seen[name] == number:
            os.kill(os.getpid(), signal.SIGKILL)

    write, commit, end = calibrated_file.write, FencedReader.commit, AIOKafkaProducer.commit_transaction

    def writes(*args: Any, **options: Any) -> str:
        digest = write(*args, **options)
        here("file")
        return digest

    async def commits(self: FencedReader, *args: Any, **options: Any) -> list[Any]:
        placed = await commit(self, *args, **options)
        here("committed")
        return placed

    async def ends(self: AIOKafkaProducer) -> None:
        here("sent")
        await end(self)

    calibrated_file.write, FencedReader.commit, AIOKafkaProducer.commit_transaction = writes, commits, ends  # type: ignore[method-assign]
    return run(Settings())


if __name__ == "__main__":
    status = main()
    sys.stderr.flush()
    os._exit(status)
