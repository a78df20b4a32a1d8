"""Which model scores: written under a fence, followed by every worker.

    trainer, operator ──► submit, promote, rollback (fenced) ──► models.bundles, models.announced, loop.events, in one transaction
    models.announced ──► ModelFollower ──► alias → `ModelAnnounced`; models.bundles, or a claim ──► fetch ──► a checked folder

The champion's announcement is what workers follow; the former champion is announced as `previous` in the same transaction, so that there
is something to roll back to. Where no champion was ever announced workers score with the bundle of their settings, and the first promotion
puts that one on the topic as `previous`.
"""

from __future__ import annotations

import asyncio
import time
from collections.abc import Awaitable, Callable, Collection, Mapping, Sequence
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

import structlog

from errors import UserError, one_line
from registry.bundle import PUBLISHED
from registry.model_store import files_of
from schemas.avro.wire import PacketError
from schemas.records import codec
from schemas.records.loop_event import ANNOUNCED, MODEL_STEPS, PROMOTED, ROLLED_BACK, LoopEvent
from schemas.records.model_announced import BASELINE, CHALLENGER, CHAMPION, PREVIOUS, ModelAnnounced
from schemas.records.model_bundle import MODEL_DIGITS, ModelBundle
from streams.agents.teaching import read_events
from streams.bundle_transport import claim_of, travelling
from streams.bundle_transport import fetch as fetch
from streams.bundle_transport import find_bundle as find_bundle
from streams.kafka import topics
from streams.kafka.broadcast import Follower, read_whole
from streams.kafka.fenced import Commit, ConflictError, Entry, fenced

if TYPE_CHECKING:
    from settings.model import Settings

log = structlog.get_logger(__name__)

KIND = "models"
"""Of these changes: their transactional id, behind the app id."""
AT_ONCE = 5
"""Bundles that leave their topic at a step."""

Announced = dict[str, ModelAnnounced]
"""Alias → its model."""


async def announced(settings: Settings) -> Announced:
    """The models that aliases name, as the topic's end has them now; none where nothing was announced."""
    found: Announced = {}
    async for message in read_whole(settings, topics.MODELS_ANNOUNCED):
        _keep(found, message)
    return found


async def submit(
    settings: Settings, folder: Path, *, alias: str = CHALLENGER, author: str, note: str = "", baseline: Path | None = None
) -> ModelAnnounced:
    """Check a bundle, golden batch included, and announce it; the same bundle again changes nothing.

    Parameters
    ----------
    settings : Settings
        With a broker.
    folder : Path
        Of the bundle.
    alias : {"challenger"}
    author, note : str
    baseline : Path, optional
        Folder of the champion with its head made anew, beside which the gates hold a challenger that cost more.

    Raises
    ------
    registry.bundle.BundleError
        It is damaged or of another format.
    gpu.session.EngineError
        The engine here does not give its golden batch.
    UserError
        It is the champion already, or another alias was asked for.
    """
    if alias != CHALLENGER:
        raise UserError(f"a bundle is announced as {CHALLENGER} and promoted from there, not as {alias!r}")
    sha256, files = await asyncio.to_thread(files_of, folder)
    await asyncio.to_thread(_golden, folder)
    beside = None
    if baseline is not None:
        beside = await asyncio.to_thread(files_of, baseline)
        await asyncio.to_thread(_golden, baseline)
    return await announce(settings, sha256, files=files, author=author, note=note, baseline=beside)


def _golden(folder: Path) -> None:
    from pipeline.state import load

    load(folder, "onnxruntime")  # verifies; the check must not take a worker's GPU


async def announce(
    settings: Settings, sha256: str, *, files: Mapping[str, bytes], author: str, note: str = "",
    baseline: tuple[str, Mapping[str, bytes]] | None = None,
) -> ModelAnnounced:  # fmt: skip
    """Put a bundle on its topic and announce it as the challenger, its baseline with it; both were checked before."""
    bundle, claim = await asyncio.to_thread(travelling, settings, sha256, files=files)
    beside = None if baseline is None else await asyncio.to_thread(travelling, settings, baseline[0], files=baseline[1])

    async def attempt(commit: Commit) -> ModelAnnounced:
        known = await announced(settings)
        before = known.get(CHALLENGER)
        if before is not None and before.sha256 == sha256:
            return before
        if (champion := known.get(CHAMPION)) is not None and champion.sha256 == sha256:
            raise UserError(f"{champion.model} is the champion already")
        made = _announcement(CHALLENGER, sha256, known=known, author=author, note=note, claim=claim, now_ms=bundle.made_ms)
        needed = {sha256, *(one.sha256 for one in known.values() if one.alias != BASELINE), *([] if beside is None else [beside[0].sha256])}
        gone = outdated(await read_events(settings), needed, most=settings.challengers_kept)
        entries = [_of_bundle(bundle), _of_alias(made), _of_event(ANNOUNCED, made)]
        if beside is not None:
            said = f"a head made anew, which {made.model} has to beat, too"
            held = replace(made, alias=BASELINE, sha256=beside[0].sha256, model=beside[0].model, claim=beside[1], note=said)
            entries += [_of_bundle(beside[0]), _of_alias(held), _of_event(ANNOUNCED, held)]
        elif BASELINE in known:
            entries.append(Entry(topics.MODELS_ANNOUNCED, known[BASELINE].key, None))
        await commit([*entries, *(Entry(topics.MODELS_BUNDLES, name.encode(), None) for name in gone)])
        return made

    return await fenced(settings, KIND, attempt=attempt, what=f"{bundle.model} could not be announced")


def outdated(events: Sequence[LoopEvent], keep: Collection[str], *, most: int) -> list[str]:
    """Bundles that leave their topic: challengers that never scored for subscribers, beyond the latest so many.

    Parameters
    ----------
    events : sequence of LoopEvent
        Every step, in order.
    keep : collection of str
        sha256 of bundles that are in use.
    most : int

    Returns
    -------
    list of str
        sha256; the last ones that fell out, `AT_ONCE` at most, for those before them left at earlier steps.
    """
    records = [codec.expect(event.record, ModelAnnounced) for event in events if event.event in MODEL_STEPS]
    scored = {record.sha256 for record in records if record.alias not in (CHALLENGER, BASELINE)}
    only_tried = dict.fromkeys(record.sha256 for record in records if record.sha256 not in scored and record.sha256 not in keep)
    return list(only_tried)[: max(0, len(only_tried) - most)][-AT_ONCE:]


async def promote(settings: Settings, *, sha256: str, based_on: int, author: str, note: str = "") -> ModelAnnounced:
    """Make a model the champion, and the champion the previous one.

    Parameters
    ----------
    settings : Settings
        With a broker.
    sha256 : str
        Of a bundle that was announced.
    based_on : int
        Revision of the champion that the author saw; 0: there was none.
    author, note : str

    Raises
    ------
    ConflictError
        Another model was made the champion meanwhile.
    UserError
        It is the champion already, or such a bundle was never announced.
    """
    now_ms = int(time.time() * 1000)
    # What takes long is done before: the shorter an attempt, the less it is fenced off.
    was_announced = await find_bundle(settings, sha256) is not None
    base = None if based_on else await asyncio.to_thread(_base_bundle, settings)

    async def attempt(commit: Commit) -> ModelAnnounced:
        known = await announced(settings)
        champion = known.get(CHAMPION)
        if champion is not None and _same(champion, sha256, author=author, note=note, now_ms=now_ms):
            return champion  # a try whose answer was lost had written it
        _compare(champion, based_on)
        if champion is not None and champion.sha256 == sha256:
            raise UserError(f"{champion.model} is the champion already, since revision {champion.revision}")
        named = next((one for one in known.values() if one.sha256 == sha256), None)
        if named is None and not was_announced:
            raise UserError(f"no bundle {sha256[:MODEL_DIGITS]} was ever announced: `protonova models` lists them")
        claim = named.claim if named is not None else claim_of(settings, sha256)
        made = _announcement(CHAMPION, sha256, known=known, author=author, note=note, claim=claim, now_ms=now_ms)
        entries = [_of_alias(made)]
        if champion is not None:
            entries.append(_of_alias(replace(champion, alias=PREVIOUS, revision=made.revision)))
        elif base is not None and base[0].sha256 != sha256:
            note_of_base = "the bundle that workers were started with"
            was = replace(made, alias=PREVIOUS, sha256=base[0].sha256, model=base[0].model, note=note_of_base, claim=base[1])
            entries += [_of_bundle(base[0]), _of_alias(was), _of_event(ANNOUNCED, was)]
        if (challenger := known.get(CHALLENGER)) is not None and challenger.sha256 == sha256:
            entries.append(Entry(topics.MODELS_ANNOUNCED, challenger.key, None))
            if BASELINE in known:
                entries.append(Entry(topics.MODELS_ANNOUNCED, known[BASELINE].key, None))
        await commit([*entries, _of_event(PROMOTED, made)])
        return made

    return await fenced(settings, KIND, attempt=attempt, what=f"{sha256[:MODEL_DIGITS]} could not be promoted")


async def rollback(settings: Settings, *, author: str, note: str = "", based_on: int | None = None) -> ModelAnnounced:
    """Make the previous model the champion again, and the champion the previous one: a second rollback takes the first one back.

    Parameters
    ----------
    settings : Settings
        With a broker.
    author, note : str
    based_on : int, optional
        Revision of the champion that the author saw; None: whichever it is now.

    Raises
    ------
    ConflictError
        Another model was made the champion meanwhile.
    UserError
        There is no previous model.
    """
    now_ms = int(time.time() * 1000)

    async def attempt(commit: Commit) -> ModelAnnounced:
        known = await announced(settings)
        champion, previous = known.get(CHAMPION), known.get(PREVIOUS)
        if champion is not None and _same(champion, champion.sha256, author=author, note=note, now_ms=now_ms):
            return champion
        if based_on is not None:
            _compare(champion, based_on)
        if champion is None or previous is None:
            raise UserError("no model was promoted yet: there is nothing to roll back to")
        made = _announcement(CHAMPION, previous.sha256, known=known, author=author, note=note, claim=previous.claim, now_ms=now_ms)
        was = replace(champion, alias=PREVIOUS, revision=made.revision)
        await commit((_of_alias(made), _of_alias(was), _of_event(ROLLED_BACK, made)))
        return made

    return await fenced(settings, KIND, attempt=attempt, what="the champion could not be rolled back")


class ModelFollower:
    """Keeps up with which model each alias names.

    Parameters
    ----------
    settings : Settings
        With a broker.
    """

    def __init__(self, settings: Settings) -> None:
        self.announced: Announced = {}
        self._follower = Follower(
            settings, topics.MODELS_ANNOUNCED, take=lambda message: _keep(self.announced, message), what="which model is announced"
        )

    async def catch_up(self) -> Announced:
        """Read to the end that the topic has now; returns the models that aliases name."""
        self.announced.clear()
        await self._follower.catch_up()
        return dict(self.announced)

    async def follow(self, callback: Callable[[Announced], Awaitable[None]], *, due: bool = False) -> None:
        """Call back with all aliases after each change, until cancelled; where the broker fails it, it is called again.

        Parameters
        ----------
        callback : callable
        due : bool
            Call back at once, too.
        """

        async def changed() -> None:
            await callback(dict(self.announced))

        await self._follower.follow(changed, due=due)


def _keep(found: Announced, message: Any) -> bool:
    key = (message.key or b"").decode("utf-8", "replace")
    if message.value is None:
        return found.pop(key, None) is not None
    try:
        record = codec.expect(message.value, ModelAnnounced)
    except PacketError as error:
        log.warning("an announcement cannot be read and is left out", key=one_line(key, 80), why=error.reason)
        return False
    if record.alias != key:
        log.warning("an announcement stands under another alias's key and is left out", key=one_line(key, 80), alias=record.alias)
        return False
    changed = found.get(key) != record
    found[key] = record
    return changed


def _compare(champion: ModelAnnounced | None, based_on: int) -> None:
    if (champion.revision if champion is not None else 0) != based_on:
        what = f"{champion.author} made {champion.model} the champion (revision {champion.revision})" if champion else "there is none now"
        raise ConflictError(f"the champion was changed meanwhile: {what}")


def _same(champion: ModelAnnounced, sha256: str, *, author: str, note: str, now_ms: int) -> bool:
    return (champion.sha256, champion.author, champion.note, champion.announced_ms) == (sha256, author, note, now_ms)


def _announcement(
    alias: str, sha256: str, *, known: Mapping[str, ModelAnnounced], author: str, note: str, claim: str, now_ms: int
) -> ModelAnnounced:
    # A challenger is withdrawn only together with a promotion, so the highest revision always stands on the topic.
    revision = 1 + max((one.revision for one in known.values()), default=0)
    return ModelAnnounced(alias, sha256, sha256[:MODEL_DIGITS], revision, author, note, claim, now_ms)


def _base_bundle(settings: Settings) -> tuple[ModelBundle, str]:
    """The bundle of the settings, which workers score with until one is promoted, and its claim."""
    sha256, files = files_of(settings.bundle or PUBLISHED)
    return travelling(settings, sha256, files=files)


def _of_bundle(bundle: ModelBundle) -> Entry:
    return Entry(topics.MODELS_BUNDLES, bundle.key, codec.encode(bundle))


def _of_alias(made: ModelAnnounced) -> Entry:
    return Entry(topics.MODELS_ANNOUNCED, made.key, codec.encode(made))


def _of_event(event: str, made: ModelAnnounced) -> Entry:
    step = LoopEvent(event, made.model, made.revision, made.author, made.note, codec.encode(made), made.announced_ms)
    return Entry(topics.LOOP_EVENTS, made.model.encode(), codec.encode(step))
