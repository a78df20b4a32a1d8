"""Shadow and gatekeeper in a process that kills itself (SIGKILL) at a named place, as a power cut would.

`python killed_gatekeeper.py PLACE N`: at the N-th time that it comes there; PLACE "" lets it run.

    scored     the shadow has sent what its model says of an alert, and others of the same block not yet
    copied     the champion's detection was copied beside it
    reported   within the transaction of a report and its questions, all records sent and none committed
    judged     behind its commit, before anything follows from it
    changing   within the transaction of a promotion or of its taking back, all records sent and none committed
    changed    behind its commit, before the gatekeeper knows it
"""

from __future__ import annotations

import os
import signal
import sys
from collections import Counter
from typing import Any

from aiokafka import AIOKafkaProducer

from console.commands.run_shadow import run
from settings.model import Settings
from streams import models
from streams.agents.champion_match import ChampionMatch
from streams.agents.gatekeeper import Gatekeeper
from streams.agents.shadow import Shadow


def main() -> int:
    """Arm the places and run."""
    place, number = sys.argv[1], int(sys.argv[2])
    seen: Counter[str] = Counter()
    within: list[str] = []
    """In whose transaction it is."""

    def here(name: str) -> None:
        seen[name] += 1
        if name == place and seen[name] == number:
            os.kill(os.getpid(), signal.SIGKILL)

    def behind(owner: Any, name: str, *, place: str, transaction: str = "") -> None:
        """Come to a place when a method returns."""
        method = getattr(owner, name)

        async def patched(*args: Any, **options: Any) -> Any:
            within.append(transaction)
            try:
                result = await method(*args, **options)
            finally:
                within.pop()
            here(place)
            return result

        setattr(owner, name, patched)

    commit = AIOKafkaProducer.commit_transaction

    async def commits(self: AIOKafkaProducer) -> None:
        await self.flush()
        here(next((name for name in reversed(within) if name), ""))
        await commit(self)

    AIOKafkaProducer.commit_transaction = commits  # type: ignore[method-assign]
    behind(Shadow, "_send", place="scored")
    behind(ChampionMatch, "_copy", place="copied")
    behind(Gatekeeper, "_write", place="judged", transaction="reported")
    behind(models, "promote", place="changed", transaction="changing")
    behind(models, "rollback", place="changed", transaction="changing")
    return run(Settings())


if __name__ == "__main__":
    status = main()
    sys.stderr.flush()
    os._exit(status)
