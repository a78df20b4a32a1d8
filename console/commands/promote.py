"""``protonova promote`` and ``rollback``: another model scores on every worker, a few seconds later."""

from __future__ import annotations

import asyncio
from typing import TYPE_CHECKING

from console import report as reports
from console.commands.teach import author_of
from errors import say
from schemas.records.model_announced import CHAMPION
from streams.named_models import folder_named, model_named

if TYPE_CHECKING:
    from schemas.records.model_announced import ModelAnnounced
    from settings.model import Settings


def promote(settings: Settings, name: str, *, author: str | None, note: str, based_on: int | None) -> int:
    """Make a model the champion; a folder is announced first."""
    from streams.models import announced, submit
    from streams.models import promote as promote_model
    from streams.worker import configure_logging

    configure_logging("error")
    who, folder = author_of(author), folder_named(name)

    async def run() -> ModelAnnounced:
        champion = (await announced(settings)).get(CHAMPION)
        seen = based_on if based_on is not None else champion.revision if champion is not None else 0
        if folder is not None:
            sha256 = (await submit(settings, folder, author=who, note=note)).sha256
        else:
            named = await model_named(settings, name)
            sha256 = named.announced.sha256 if named.announced is not None else named.bundle().sha256
        return await promote_model(settings, sha256=sha256, based_on=seen, author=who, note=note)

    return _done(settings, asyncio.run(run()), what="is the champion")


def rollback(settings: Settings, *, author: str | None, note: str) -> int:
    """Make the previous model the champion again."""
    from streams.models import rollback as roll_back
    from streams.worker import configure_logging

    configure_logging("error")
    made = asyncio.run(roll_back(settings, author=author_of(author), note=note))
    return _done(settings, made, what="is the champion again")


def _done(settings: Settings, made: ModelAnnounced, *, what: str) -> int:
    from streams.model_ledger import bring_up

    reports.output().print(
        f"{made.model} {what}: revision {made.revision}; workers follow within seconds. `protonova rollback` makes the model before it the "
        "champion",
        soft_wrap=True,
    )
    if (why := asyncio.run(bring_up(settings))) is not None:
        say(why)
    return 0
