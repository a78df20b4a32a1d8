"""Bundles in a folder by their sha256: whole or refused, also where others write there, and the ones used last stay."""

from __future__ import annotations

import hashlib
import json
import os
import shutil
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest

from registry.bundle import LIMITS, MANIFEST, PUBLISHED, BundleError, FileRecord, load
from registry.claimed_files import read_claimed
from registry.model_store import ModelStore, StoreError, checked_manifest, files_of

Files = dict[str, bytes]


@pytest.fixture(scope="module")
def published() -> tuple[str, Files]:
    return files_of(PUBLISHED)


@pytest.fixture
def store(tmp_path: Path) -> ModelStore:
    return ModelStore(tmp_path / "models")


def refused(store: ModelStore, sha256: str, files: Files) -> str:
    with pytest.raises(BundleError) as caught:
        store.put(sha256, files)
    assert store.get(sha256) is None
    assert not list(store.folder.glob(".*")), "nothing half-written stays"
    return str(caught.value)


def with_manifest(before: Files, **changes: object) -> tuple[str, Files]:
    """The files with another manifest, and the sha256 that it has."""
    text = json.dumps(json.loads(before[MANIFEST]) | changes).encode()
    return hashlib.sha256(text).hexdigest(), {**before, MANIFEST: text}


def test_what_is_put_is_taken(published: tuple[str, Files], store: ModelStore) -> None:
    sha256, files = published
    assert store.get(sha256) is None
    path = store.put(sha256, files)
    assert store.get(sha256) == path == store.put(sha256, files)
    assert load(path).sha256 == sha256 == load().sha256
    assert files_of(path) == published
    assert store.folder.stat().st_mode & 0o077 == 0


def test_what_is_not_the_bundle_of_that_sha256_is_refused(published: tuple[str, Files], store: ModelStore) -> None:
    sha256, files = published
    assert "another sha256" in refused(store, "ab" * 32, files)
    assert "another sha256" in refused(store, sha256, {name: blob for name, blob in files.items() if name != MANIFEST})
    damaged = bytearray(files["encoder.onnx"])
    damaged[1000] ^= 1
    assert "its sha256 differs" in refused(store, sha256, {**files, "encoder.onnx": bytes(damaged)})
    assert "came without golden" in refused(store, sha256, {n: b for n, b in files.items() if n != "golden.safetensors"})
    assert "does not list" in refused(store, sha256, {**files, "../../elsewhere": b"x"})
    assert "does not list" in refused(store, sha256, {**files, "start.py": b"x"})
    assert "manifest: format" in refused(store, *with_manifest(files, format=5))
    named = json.loads(files[MANIFEST])["files"]
    assert "which no bundle has" in refused(store, *with_manifest(files, files={**named, "model.pkl": {"sha256": "ab" * 32, "size": 1}}))
    huge = {**named, "encoder.onnx": {"sha256": "ab" * 32, "size": LIMITS["encoder.onnx"] + 1}}
    assert "larger than" in refused(store, *with_manifest(files, files=huge))


def test_what_a_disk_damaged_is_not_taken_and_put_anew(published: tuple[str, Files], store: ModelStore) -> None:
    sha256, files = published
    path = store.put(sha256, files)
    (path / "arrays.safetensors").write_bytes(b"x")
    assert store.get(sha256) is None
    assert store.put(sha256, files) == path
    assert store.get(sha256) == path


def test_a_folder_that_cannot_be_written_may_pass(published: tuple[str, Files], tmp_path: Path) -> None:
    (tmp_path / "models").write_text("a file")
    with pytest.raises(StoreError, match="cannot be kept"):
        ModelStore(tmp_path / "models").put(*published)


def test_what_was_taken_longest_ago_goes_first(published: tuple[str, Files], store: ModelStore) -> None:
    _, files = published
    names = []
    for seed in range(4):
        names.append(sha256 := with_manifest(files, seed=1000 + seed)[0])
        store.put(*with_manifest(files, seed=1000 + seed))
        os.utime(store.path(sha256), (seed, seed))
    assert store.prune({names[0]}, most=3) == [names[1]]
    assert store.get(names[2]) is not None  # taken just now
    assert store.prune({names[0]}, most=2) == [names[3]]
    assert store.get(names[0]) is not None
    assert ModelStore(store.folder / "nowhere").prune((), most=0) == []


def test_files_that_lie_elsewhere_are_those_of_the_manifest(published: tuple[str, Files], tmp_path: Path) -> None:
    sha256, files = published
    folder = Path(shutil.copytree(PUBLISHED, tmp_path / "far"))
    wanted = {name: file for name, file in checked_manifest(sha256, files[MANIFEST]).files.items() if name != "encoder.onnx"}
    claim, prefixes = folder.as_uri(), (tmp_path.as_uri(),)
    assert read_claimed(claim, wanted, prefixes=prefixes) == {name: files[name] for name in wanted}
    with pytest.raises(BundleError, match="prefixes"):
        read_claimed(claim, wanted, prefixes=((tmp_path / "other").as_uri(),))
    other = {"arrays.safetensors": FileRecord(sha256="ab" * 32, size=wanted["arrays.safetensors"].size)}
    with pytest.raises(BundleError, match="another sha256"):
        read_claimed(claim, other, prefixes=prefixes)


def test_two_threads_may_keep_the_same_bundle_at_once(published: tuple[str, Files], store: ModelStore) -> None:
    sha256, files = published
    with ThreadPoolExecutor(4) as pool:
        kept = [future.result() for future in [pool.submit(store.put, sha256, files) for _ in range(12)]]
    assert set(kept) == {store.get(sha256)}
    assert [path.name for path in store.folder.iterdir()] == [sha256]


def test_what_a_killed_process_left_is_removed(published: tuple[str, Files], store: ModelStore) -> None:
    sha256, files = published
    store.put(sha256, files)
    left, fresh = store.folder / f".{sha256}-old", store.folder / f".{sha256}-new"
    for path in (left, fresh):
        path.mkdir()
        (path / "encoder.onnx").write_bytes(b"half")
    os.utime(left, (1.0, 1.0))
    store.put(sha256, files)
    assert (left.exists(), fresh.exists()) == (False, True)
