"""What names a model → the model: an alias, the beginning of its id, or, on the command line, a bundle's folder."""

from __future__ import annotations

import asyncio
import re
from pathlib import Path
from typing import TYPE_CHECKING, NamedTuple

from errors import UserError, usage
from registry.bundle import Bundle
from registry.bundle import load as load_bundle
from schemas.records import codec
from schemas.records.loop_event import MODEL_STEPS, LoopEvent
from schemas.records.model_announced import ALIASES, CHAMPION, ModelAnnounced
from streams.agents.teaching import read_events
from streams.models import Announced, announced, fetch

if TYPE_CHECKING:
    from settings.model import Settings

LEAST_DIGITS = 4


class Named(NamedTuple):
    """A model that was meant."""

    folder: Path
    announced: ModelAnnounced | None
    """None: it is a folder, and on no topic."""

    def bundle(self) -> Bundle:
        """The bundle, proved whole."""
        return load_bundle(self.folder)


def announced_models(known: Announced, events: list[LoopEvent]) -> list[ModelAnnounced]:
    """Every model that was ever announced, as it was announced last, in the order in which they first were."""
    found: dict[str, ModelAnnounced] = {}
    for event in events:
        if event.event in MODEL_STEPS and event.record:
            record = codec.expect(event.record, ModelAnnounced)
            found[record.sha256] = record
    return [*found.values(), *(one for one in known.values() if one.sha256 not in found)]


def folder_named(text: str) -> Path | None:
    """The folder that was typed; None: it is none."""
    return Path(text) if Path(text).is_dir() else None


async def model_named(settings: Settings, text: str, *, folders: bool = True) -> Named:
    """The model that is meant.

    Parameters
    ----------
    settings : Settings
        With a broker.
    text : str
        champion, challenger or previous; the beginning of an id; or a folder.
    folders : bool
        Whether it may be a folder: never where the text comes from another machine.

    Raises
    ------
    UserError
        There is none, or there are several.
    """
    known = await announced(settings)
    if text in known:
        return Named(await fetch(settings, known[text]), known[text])
    if text == CHAMPION:
        return Named(load_bundle(settings.bundle).path, None)  # none was announced: workers score with the bundle of the settings
    if text in ALIASES:
        raise UserError(f"there is no {text}: `protonova models` lists the models")
    if folders and (folder := folder_named(text)) is not None:
        return Named(folder, None)
    if not re.fullmatch(rf"[0-9a-f]{{{LEAST_DIGITS},64}}", text):
        folder_too = ", or a bundle's folder" if folders else ""
        raise usage(f"{text!r} is not a model: name {', '.join(ALIASES)}, the beginning of an id{folder_too}")
    found = [one for one in announced_models(known, await read_events(settings)) if one.sha256.startswith(text)]
    if not found:
        own = load_bundle(settings.bundle)
        if own.sha256.startswith(text):
            return Named(own.path, None)
        raise UserError(f"no model {text} was announced: `protonova models` lists them")
    if len(found) > 1:
        raise UserError(f"{text} is the beginning of {len(found)} models: {', '.join(one.model for one in found)}")
    return Named(await fetch(settings, found[0]), found[0])


async def champion_settings(settings: Settings) -> Settings:
    """The same settings with the champion's bundle, which workers score with; as they are where none was announced or is followed."""
    if not settings.follow_champion:
        return settings
    champion = (await announced(settings)).get(CHAMPION)
    return settings if champion is None else settings.model_copy(update={"bundle": await fetch(settings, champion)})


def with_champion(settings: Settings) -> Settings:
    """`champion_settings`, where no event loop runs."""
    return asyncio.run(champion_settings(settings))
