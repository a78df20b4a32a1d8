"""Another model scores on two real workers: promoted, rolled back, refused where it is bad; one killed meanwhile comes back with it."""

from __future__ import annotations

import asyncio
import hashlib
import json
import time
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from console.commands import list_models
from console.commands.compare_models import compare
from errors import UserError
from pipeline.state import load as load_state
from registry.bundle import MANIFEST, PUBLISHED, Parts, load, save
from registry.model_store import files_of
from schemas.records import codec
from schemas.records.drift_alarm import DriftAlarm
from schemas.records.model_announced import CHALLENGER, CHAMPION, PREVIOUS, ModelAnnounced
from schemas.records.model_bundle import ModelBundle
from schemas.taxonomy import SLUGS
from streams.agents.teaching import read_events
from streams.bundle_transport import TRAVELS_BYTES
from streams.kafka import topics
from streams.kafka.fenced import ConflictError
from streams.models import announce, announced, fetch, find_bundle, promote, rollback, submit
from tests.flow import real_worker
from tests.flow.conftest import Bench, until
from tests.flow.test_publish_replay_flow import protonova
from tests.flow.test_teach_flow import follow, scored, scoring_id, simulated

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


def printed(capsys: pytest.CaptureFixture[str], command: Callable[[], int]) -> str:
    """What a command prints; the table of the status 0 or 1."""
    capsys.readouterr()
    assert command() in (0, 1)
    return capsys.readouterr().out


async def test_two_promoters_and_what_is_refused(bench: Bench, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
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
        ("announced", first.model), ("announced", second.model), ("announced", base.sha256[:16]), ("promoted", won.model),
        ("promoted", loser.model), ("rolled_back", won.model),
    ]  # fmt: skip
    assert back.revision > then.revision > won.revision

    # What a person sees of it.
    rows = await asyncio.to_thread(printed, capsys, lambda: list_models.ls(bench.settings, as_json=True))
    assert {row["alias"]: row["model"] for row in map(json.loads, rows.splitlines())} == {CHAMPION: won.model, PREVIOUS: loser.model}
    listed = await asyncio.to_thread(printed, capsys, lambda: list_models.ls(bench.settings, as_json=False))
    assert base.sha256[:16] in listed, "a model without an alias"
    shown = await asyncio.to_thread(printed, capsys, lambda: list_models.show(bench.settings, won.model[:8]))
    assert won.sha256 in shown
    with pytest.raises(UserError, match="no model abcd1234 was announced"):
        await asyncio.to_thread(list_models.show, bench.settings, "abcd1234")
    with pytest.raises(UserError, match="is not a model"):
        await asyncio.to_thread(list_models.show, bench.settings, "best")
    packets = tmp_path / "night"
    packets.mkdir()
    for i, packet in enumerate(simulated("sn-ia", 8)):
        (packets / f"{i}.avro").write_bytes(packet)
    report = tmp_path / "compared.json"
    await asyncio.to_thread(
        lambda: compare(bench.settings, a=CHAMPION, b=PREVIOUS, night=[str(packets)], most=6, labels_file=None, report=report)
    )
    compared = json.loads(report.read_text())
    assert (compared["packets"], compared["both"], compared["same"]) == (6, 6, 6), "thresholds alone differ"
    assert (compared["a"]["model"], compared["b"]["model"]) == (won.model, loser.model)

    # What travels is what was submitted, also to a machine that has none of it; a large one by claim.
    far = bench.settings.model_copy(update={"models_folder": tmp_path / "far"})
    for sha256 in (base.sha256, first.sha256, second.sha256):
        wanted = ModelAnnounced(CHAMPION, sha256, sha256[:16], 1, "", "", "", 1)
        assert files_of(await fetch(far, wanted))[0] == sha256
    assert await find_bundle(bench.settings, "ab" * 32) is None


async def test_a_bundle_larger_than_a_record_is_claimed(bench: Bench, tmp_path: Path) -> None:
    folder = other_model(tmp_path / "large", seed=3)
    assert sum(f.stat().st_size for f in folder.iterdir()) < TRAVELS_BYTES
    blob = (folder / "encoder.onnx").read_bytes() + bytes(5_700_000)
    resize(folder, "encoder.onnx", blob)
    # ONNX Runtime does not load an encoder with zeros behind it, so it is announced without its golden batch.
    sha256, files = files_of(folder)
    made = await announce(bench.settings, sha256, files=files, author="ada")
    assert made.claim.startswith("file:///")
    assert (await find_bundle(bench.settings, sha256) or ModelBundle("", "", {}, 0)).files.keys() < files.keys()
    far = bench.settings.model_copy(update={"models_folder": tmp_path / "far"})
    with pytest.raises(UserError, match="prefixes"):
        await fetch(far, made)
    allowed = far.model_copy(update={"models_prefixes": (made.claim.rsplit("/", 1)[0] + "/",)})
    assert files_of(await fetch(allowed, made)) == (sha256, files)


def stamp() -> str:
    """Now, as ``--as-of`` takes it."""
    return time.strftime("%Y-%m-%dT%H:%M:%S", time.gmtime())


def resize(folder: Path, name: str, blob: bytes) -> None:
    """Put another file in, and let the manifest agree."""
    manifest = json.loads((folder / MANIFEST).read_text())
    manifest["files"][name] = {"sha256": hashlib.sha256(blob).hexdigest(), "size": len(blob)}
    (folder / name).write_bytes(blob)
    (folder / MANIFEST).write_text(json.dumps(manifest))


def other_encoder(folder: Path) -> Path:
    """A bundle whose model file is another one that computes the same."""
    import onnx

    was = load()
    model = onnx.load_from_string(was.encoder)
    model.producer_name = "another"
    kept = was.manifest.model_dump(exclude={"format", "files"})
    return save(folder, Parts(kept, model.SerializeToString(), was.head, was.reference, was.golden)).path


def changed_manifest(**changes: Any) -> dict[str, bytes]:
    """The published files with another manifest."""
    _, files = files_of(PUBLISHED)
    return files | {MANIFEST: json.dumps(json.loads(files[MANIFEST]) | changes).encode()}


def bad_bundles(folder: Path) -> dict[str, dict[str, bytes]]:
    """What is wrong → files that are announced as the champion all the same, by a program of another release or on purpose."""
    was = load()
    golden = replace(was.golden, probability=np.roll(was.golden.probability, 1, axis=1))
    kept = was.manifest.model_dump(exclude={"format", "files"}) | {"seed": 77}
    save(folder / "golden", Parts(kept, was.encoder, was.head, was.reference, golden))
    huge = was.manifest.model_dump(mode="json")["files"] | {"encoder.onnx": {"sha256": "ab" * 32, "size": 4_000_000_000}}
    corrupt = changed_manifest(seed=78)
    return {
        "another answer to the golden batch": files_of(folder / "golden")[1],
        "an unknown format": changed_manifest(format=9),
        "a file that is too large": changed_manifest(files=huge),
        "a corrupt file": {**corrupt, "encoder.onnx": corrupt["encoder.onnx"][:-1] + b"x"},
        "no files": {},
    }


async def force(bench: Bench, files: dict[str, bytes]) -> ModelAnnounced:
    """Announce files as the champion, unchecked."""
    sha256 = hashlib.sha256(files.get(MANIFEST, b"")).hexdigest()
    known = await announced(bench.settings)
    revision = 1 + max((one.revision for one in known.values()), default=0)
    made = ModelAnnounced(CHAMPION, sha256, sha256[:16], revision, "mallory", "", "", int(time.time() * 1000))
    async with bench.producer() as producer:
        await producer.send_and_wait(topics.MODELS_BUNDLES, codec.encode(ModelBundle(sha256, sha256[:16], files, 1)), key=sha256.encode())
        await producer.send_and_wait(topics.MODELS_ANNOUNCED, codec.encode(made), key=made.key)
    return made


async def alarmed(bench: Bench, model: str) -> None:
    """Wait for the alarm about a bundle that is not used."""
    async with bench.reader(topics.ALARMS) as consumer, asyncio.timeout(60):
        async for message in consumer:
            record = codec.decode(message.value)
            if isinstance(record, DriftAlarm) and (record.statistic, record.stratum) == ("bad_bundle", model):
                return


async def test_workers_follow_and_refuse(two: Bench, tmp_path: Path) -> None:
    base, at_first = scoring_id(two, 0), stamp()
    await scored(two, simulated("sn-ia", 40))
    good = other_model(tmp_path / "good")
    began = time.monotonic()
    await asyncio.to_thread(protonova, two.settings, "promote", str(good), "--author", "ada", "--note", "finds more")
    command = time.monotonic() - began
    print(f"promoted: the command took {command:.1f} s, both workers followed {await follow(two, id_of(good), WITHIN):.2f} s after it")
    found = await scored(two, simulated("sn-ia", 40, seed=6))
    assert {(d.model, d.scoring_id) for d in found} == {(load(good).sha256[:16], id_of(good))}

    # Whatever is announced: it is reported, and the state before goes on.
    for what, files in bad_bundles(tmp_path).items():
        bad = await force(two, files)
        await alarmed(two, bad.model)
        assert {scoring_id(two, slot) for slot in (0, 1)} == {id_of(good)}, what
    assert len(await scored(two, simulated("cv", 20, seed=7))) == 20
    # A worker that starts meanwhile scores with the model before: the first promotion made that the previous one.
    two.workers[0].kill()
    two.start(0, program=real_worker.__file__)
    await two.ready(0)
    assert scoring_id(two, 0) == base

    # Another model file, and a kill while it is loaded.
    other = other_encoder(tmp_path / "other")
    challenger = await submit(two.settings, other, author="ada")
    champion = (await announced(two.settings))[CHAMPION]
    await promote(two.settings, sha256=challenger.sha256, based_on=champion.revision, author="ada")
    await asyncio.sleep(0.3)
    two.workers[1].kill()
    two.start(1, program=real_worker.__file__)
    await two.ready(1)
    await follow(two, id_of(other), WITHIN)
    await promote(two.settings, sha256=load(good).sha256, based_on=(await announced(two.settings))[CHAMPION].revision, author="ada")
    await follow(two, id_of(good), WITHIN)
    began = time.monotonic()
    await rollback(two.settings, author="ada")
    await follow(two, id_of(other), WITHIN)
    print(f"rolled back on both workers in {time.monotonic() - began:.2f} s")
    found = await scored(two, simulated("rr-lyrae", 40, seed=8))
    assert {d.model for d in found} == {challenger.model}

    # What scored then scores again: by the id of the state, across bundles.
    night_file = tmp_path / "night.avro"
    night_file.write_bytes(simulated("tde", 1, seed=9)[0])
    for wanted, which in (
        (base, ("--state-id", base)), (id_of(good), ("--state-id", id_of(good))), (id_of(other), ("--state-id", id_of(other))),
        (base, ("--as-of", at_first)), (id_of(other), ("--as-of", stamp())),
    ):  # fmt: skip
        report = tmp_path / "report.json"
        await asyncio.to_thread(
            protonova, two.settings, "replay", str(night_file), *which, "--out", str(tmp_path / "then.parquet"),
            "--report", str(report),
        )  # fmt: skip
        assert json.loads(report.read_text())["scoring_id"] == wanted


@pytest.mark.slow
async def test_a_folder_that_cannot_be_written_passes(bench: Bench, tmp_path: Path) -> None:
    """As where a disk is full: the worker starts with the bundle of its settings, and follows once there is room."""
    await topics.declare(bench.settings, SLUGS)
    good = other_model(tmp_path / "good")
    made = await submit(bench.settings, good, author="ada")
    await promote(bench.settings, sha256=made.sha256, based_on=0, author="ada")
    folder = tmp_path / "elsewhere"
    folder.write_text("a file where the folder should be")
    bench.start(0, program=real_worker.__file__, PROTONOVA_MODELS_FOLDER=str(folder))
    await bench.ready(0)
    assert scoring_id(bench, 0) == id_of(load().path)
    assert "cannot be fetched" in bench.log(0)
    folder.unlink()
    await until(lambda: scoring_id(bench, 0) == id_of(good), 60, lambda: bench.log(0))
