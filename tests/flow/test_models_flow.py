"""Another model scores on two real workers: promoted, rolled back, refused where it is bad; one killed meanwhile comes back with it."""

from __future__ import annotations

import asyncio
import hashlib
import json
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import safetensors.numpy

from errors import UserError
from pipeline.state import load as load_state
from registry.bundle import MANIFEST, Parts, load, save
from registry.model_store import files_of
from schemas.records.model_announced import CHALLENGER, CHAMPION, PREVIOUS, ModelAnnounced
from schemas.records.model_bundle import ModelBundle
from streams.agents.teaching import read_events
from streams.kafka.fenced import ConflictError
from streams.models import TRAVELS_BYTES, announced, fetch, find_bundle, promote, rollback, submit
from tests.flow.conftest import Bench

WITHIN = 15.0
"""Three times the five seconds in which every worker has to follow [s]."""


def other_model(folder: Path, *, seed: int = 1, padding: int = 0) -> Path:
    """A bundle that scores otherwise: the published one with other thresholds, its golden answers unchanged by them."""
    was = load()
    head = replace(was.head, thresholds=np.clip(was.head.thresholds + np.float32(seed / 1000), 0, 1).astype(np.float32))
    kept = was.manifest.model_dump(exclude={"format", "files"}) | {"seed": seed, "command": "c" * padding}
    return save(folder, Parts(kept, was.encoder, head, was.reference, was.golden)).path


def id_of(folder: Path) -> str:
    return load_state(folder).scoring_id


async def test_two_promoters_and_what_is_refused(bench: Bench, tmp_path: Path) -> None:
    """Without a worker: what the topics hold after each step."""
    one, two = (other_model(tmp_path / f"{seed}", seed=seed) for seed in (1, 2))
    base = load()
    first = await submit(bench.settings, one, author="ada", note="finds more")
    assert (first.alias, first.model, first.revision, first.claim) == (CHALLENGER, load(one).sha256[:16], 1, "")
    assert await submit(bench.settings, one, author="ada") == first, "the same bundle again changes nothing"
    with pytest.raises(UserError, match="nothing to roll back"):
        await rollback(bench.settings, author="ada")
    with pytest.raises(UserError, match="announced as challenger"):
        await submit(bench.settings, one, alias=CHAMPION, author="ada")
    with pytest.raises(UserError, match="was ever announced"):
        await promote(bench.settings, sha256="ab" * 32, based_on=0, author="ada")

    # Two at once, both based on what they saw: the second learns of the first.
    second = await submit(bench.settings, two, author="bob")
    both = await asyncio.gather(
        promote(bench.settings, sha256=first.sha256, based_on=0, author="ada"),
        promote(bench.settings, sha256=second.sha256, based_on=0, author="bob"),
        return_exceptions=True,
    )
    assert {type(one) for one in both} == {ConflictError, ModelAnnounced}, both
    [lost] = [one for one in both if isinstance(one, ConflictError)]
    [won] = [one for one in both if isinstance(one, ModelAnnounced)]
    known = await announced(bench.settings)
    assert known[CHAMPION] == won
    assert f"{won.author} made {won.model}" in str(lost)
    assert (known[PREVIOUS].sha256, known[PREVIOUS].revision) == (base.sha256, won.revision)
    assert (CHALLENGER in known) == (won.sha256 != second.sha256), "a challenger that was promoted is none any more"

    loser = second if won.sha256 == first.sha256 else first
    then = await promote(bench.settings, sha256=loser.sha256, based_on=won.revision, author="bob")
    assert {a: m.sha256 for a, m in (await announced(bench.settings)).items()} == {CHAMPION: loser.sha256, PREVIOUS: won.sha256}
    with pytest.raises(UserError, match="the champion already"):
        await promote(bench.settings, sha256=loser.sha256, based_on=then.revision, author="bob")
    with pytest.raises(ConflictError):
        await rollback(bench.settings, author="ada", based_on=won.revision)
    back = await rollback(bench.settings, author="ada", note="worse")
    assert {a: m.sha256 for a, m in (await announced(bench.settings)).items()} == {CHAMPION: won.sha256, PREVIOUS: loser.sha256}
    steps = [(e.event, e.subject) for e in await read_events(bench.settings)]
    assert steps == [
        ("announced", first.model), ("announced", second.model), ("promoted", won.model), ("promoted", loser.model),
        ("rolled_back", won.model),
    ]  # fmt: skip
    assert back.revision > then.revision > won.revision

    # What travels is what was submitted, also to a machine that has none of it; a large one by claim.
    far = bench.settings.model_copy(update={"models_folder": tmp_path / "far"})
    for sha256 in (base.sha256, first.sha256, second.sha256):
        wanted = ModelAnnounced(CHAMPION, sha256, sha256[:16], 1, "", "", "", 1)
        assert files_of(await fetch(far, wanted))[0] == sha256
    assert await find_bundle(bench.settings, "ab" * 32) is None


async def test_a_bundle_larger_than_a_record_is_claimed(bench: Bench, tmp_path: Path) -> None:
    folder = other_model(tmp_path / "large", seed=3)
    arrays = safetensors.numpy.load_file(folder / "reference.safetensors")
    assert sum(f.stat().st_size for f in folder.iterdir()) < TRAVELS_BYTES
    blob = (folder / "encoder.onnx").read_bytes() + bytes(5_700_000)
    resize(folder, "encoder.onnx", blob)
    del arrays
    # ONNX Runtime does not load an encoder with zeros behind it, so it is announced without its golden batch.
    from streams.models import announce

    sha256, files = files_of(folder)
    made = await announce(bench.settings, sha256, files=files, author="ada")
    assert made.claim.startswith("file:///")
    assert (await find_bundle(bench.settings, sha256) or ModelBundle("", "", {}, 0)).files.keys() < files.keys()
    far = bench.settings.model_copy(update={"models_folder": tmp_path / "far"})
    with pytest.raises(UserError, match="prefixes"):
        await fetch(far, made)
    allowed = far.model_copy(update={"models_prefixes": (made.claim.rsplit("/", 1)[0] + "/",)})
    assert files_of(await fetch(allowed, made)) == (sha256, files)


def resize(folder: Path, name: str, blob: bytes) -> None:
    """Put another file in, and let the manifest agree."""
    manifest = json.loads((folder / MANIFEST).read_text())
    manifest["files"][name] = {"sha256": hashlib.sha256(blob).hexdigest(), "size": len(blob)}
    (folder / name).write_bytes(blob)
    (folder / MANIFEST).write_text(json.dumps(manifest))
