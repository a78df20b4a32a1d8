"""Bundles on their way: files in a folder ↔ a record of `models.bundles`, and beside it what is too large for one.

a bundle's files → `ModelBundle` and a claim; an announcement → the folder of the bundle, proved whole
"""

from __future__ import annotations

import asyncio
import time
from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING

from registry.bundle import MANIFEST, BundleError
from registry.claimed_files import read_claimed
from registry.model_store import ModelStore, checked_manifest
from schemas.avro.wire import PacketError
from schemas.records import codec
from schemas.records.model_announced import ModelAnnounced
from schemas.records.model_bundle import MODEL_DIGITS, ModelBundle
from settings.announced_models import models_folder
from streams.kafka import topics
from streams.kafka.consumer import make_consumer, read_to

if TYPE_CHECKING:
    from settings.model import Settings

TRAVELS_BYTES = 8_000_000
"""Of a bundle that travels whole on its topic; files beyond it are claimed [bytes]."""
FIRST_LOOK = 4
"""Bundles at the topic's end that are looked at first; four times as many each time after."""


def travelling(settings: Settings, sha256: str, *, files: Mapping[str, bytes]) -> tuple[ModelBundle, str]:
    """A bundle's record, and the address of the folder of what does not fit into it; empty: everything fits."""
    ModelStore(models_folder(settings)).put(sha256, files)  # this machine's workers need not fetch it
    inside: dict[str, bytes] = {}
    for name in sorted(files, key=lambda name: (name != MANIFEST, len(files[name]))):
        if sum(map(len, inside.values())) + len(files[name]) > TRAVELS_BYTES:
            break
        inside[name] = files[name]
    if len(inside) < len(files):
        _claimed(settings).put(sha256, files)
    claim = claim_of(settings, sha256) if len(inside) < len(files) else ""
    return ModelBundle(sha256, sha256[:MODEL_DIGITS], inside, int(time.time() * 1000)), claim


def claim_of(settings: Settings, sha256: str) -> str:
    """The address of a bundle that lies here for others; empty: it travels whole."""
    path = _claimed(settings).path(sha256)
    return path.absolute().as_uri() if path.exists() else ""


def _claimed(settings: Settings) -> ModelStore:
    """Bundles that lie here for others to fetch; nothing of them is ever pruned."""
    return ModelStore(models_folder(settings) / "claimed")


async def fetch(settings: Settings, wanted: ModelAnnounced) -> Path:
    """The folder of an announced bundle, fetched where it is not at hand, proved whole; who loads it runs its golden batch.

    Raises
    ------
    registry.bundle.BundleError
        What lies under its sha256 is not that bundle, is damaged, too large or of another format; or it is not there.
    RetryableError
        The disk is full, or the store of a claim does not answer.
    aiokafka.errors.KafkaError
    """
    store = ModelStore(models_folder(settings))
    if (path := await asyncio.to_thread(store.get, wanted.sha256)) is not None:
        return path
    record = await find_bundle(settings, wanted.sha256)
    if record is None:
        raise BundleError(f"bundle {wanted.model} is not on {topics.MODELS_BUNDLES}: announce it anew")
    return await asyncio.to_thread(_stored, settings, record, claim=wanted.claim)


async def find_bundle(settings: Settings, sha256: str) -> ModelBundle | None:
    """A bundle's record; None: the topic has none of that sha256. The latest are looked at first.

    Raises
    ------
    registry.bundle.BundleError
        What lies under that key is not a bundle.
    """
    key = sha256.encode()
    async with topics.admin_client(settings) as admin:
        places = (await topics.places_of(admin, [topics.MODELS_BUNDLES])).get(topics.MODELS_BUNDLES, [])
    if not places:
        return None
    consumer = make_consumer(settings, auto_offset_reset="earliest", fetch_max_wait_ms=50, max_partition_fetch_bytes=topics.PACKET_BYTES)
    await consumer.start()
    try:
        consumer.assign(places)
        begins, ends = await consumer.beginning_offsets(places), await consumer.end_offsets(places)
        for place in places:
            upto, step = ends[place], FIRST_LOOK
            while upto > begins[place]:
                first = max(begins[place], upto - step)
                consumer.resume(place)
                consumer.seek(place, first)
                value, found = None, False
                async for message in read_to(consumer, {place: upto}, at_once=FIRST_LOOK):
                    if message.key == key:
                        value, found = message.value, True
                if found:
                    return None if value is None else _bundle_of(value, sha256)
                upto, step = first, 4 * step
        return None
    finally:
        await consumer.stop()


def _stored(settings: Settings, record: ModelBundle, *, claim: str) -> Path:
    """Keep a bundle that came, with what it claims."""
    manifest = checked_manifest(record.sha256, record.files.get(MANIFEST, b""))
    files = dict(record.files)
    missing = {name: file for name, file in manifest.files.items() if name not in files}
    if missing:
        if not claim:
            raise BundleError(f"bundle {record.model} came without {min(missing)}, and no claim says where it lies")
        prefixes = (models_folder(settings).absolute().as_uri(), *settings.models_prefixes)
        files |= read_claimed(claim, missing, prefixes=prefixes)
    store = ModelStore(models_folder(settings))
    path = store.put(record.sha256, files)
    store.prune({record.sha256}, most=settings.models_kept)
    return path


def _bundle_of(value: bytes, sha256: str) -> ModelBundle:
    try:
        found = codec.expect(value, ModelBundle)
    except PacketError as error:
        raise BundleError(f"bundle {sha256[:MODEL_DIGITS]} on {topics.MODELS_BUNDLES} cannot be read: {error.reason}") from None
    if found.sha256 != sha256:
        raise BundleError(f"bundle {sha256[:MODEL_DIGITS]} on {topics.MODELS_BUNDLES} is another one: {found.model}")
    return found
