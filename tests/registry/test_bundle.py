"""A bundle is whole or it is refused, in one line that says why."""

from __future__ import annotations

import dataclasses
import hashlib
import json
import shutil
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import safetensors.numpy

from gpu.ort import OrtSession
from operators.head import ARRAYS, Views, judge
from registry.bundle import FOLDS, PUBLISHED, Bundle, BundleError, Parts, fold_of, load, save


@pytest.fixture(scope="module")
def published() -> Bundle:
    return load()


def parts(of: Bundle, **manifest: Any) -> Parts:
    kept = of.manifest.model_dump(exclude={"format", "files"})
    return Parts({**kept, **manifest}, of.encoder, of.head, of.reference, of.golden, of.unseen)


@pytest.fixture
def copy(tmp_path: Path) -> Path:
    return Path(shutil.copytree(PUBLISHED, tmp_path / "bundle"))


def refused(path: Path) -> str:
    with pytest.raises(BundleError) as caught:
        load(path)
    message = str(caught.value)
    assert "\n" not in message
    return message


def rewrite(folder: Path, name: str, blob: bytes) -> None:
    """Put another file in and let the manifest agree: what a hash cannot catch must be caught by the checks behind it."""
    (folder / name).write_bytes(blob)
    manifest = json.loads((folder / "manifest.json").read_text())
    manifest["files"][name] = {"sha256": hashlib.sha256(blob).hexdigest(), "size": len(blob)}
    (folder / "manifest.json").write_text(json.dumps(manifest))


def arrays_of(folder: Path) -> dict[str, Any]:
    return dict(safetensors.numpy.load_file(folder / "arrays.safetensors"))


def test_what_ships_is_small_and_whole(published: Bundle) -> None:
    assert sum(f.stat().st_size for f in PUBLISHED.iterdir()) <= 4_000_000
    assert published.manifest.parameters <= 900_000
    assert len(published.classes) == len(set(published.classes)) >= 16
    assert len(published.sha256) == 64


def test_golden_batch_repeats(published: Bundle) -> None:
    golden = published.golden
    answer = OrtSession(published.encoder).run(golden.tokens, golden.stamps, golden.context)
    np.testing.assert_allclose(answer.embedding, golden.embedding, atol=1e-4)
    np.testing.assert_allclose(answer.logits, golden.logits, atol=1e-4)
    probability = judge(Views(answer.embedding, answer.logits, golden.named), published.head).probability
    np.testing.assert_allclose(probability, golden.probability, atol=1e-5)


def test_round_trip(published: Bundle, tmp_path: Path) -> None:
    again = save(tmp_path / "again", parts(published))
    twice = save(tmp_path / "twice", parts(again))
    assert twice.sha256 == again.sha256, "the same parts are the same bytes"
    if "novelty_threshold" in arrays_of(published.path):
        assert again.sha256 == published.sha256
    assert again.encoder == published.encoder
    for name in ARRAYS:
        np.testing.assert_array_equal(getattr(again.head, name), getattr(published.head, name))
        assert getattr(again.head, name).shape == getattr(published.head, name).shape


def test_heads_without_a_fold_of_the_real_objects(published: Bundle, tmp_path: Path) -> None:
    """Whose label was fitted on is judged by the head that did without it; a bundle that saw no real object has one head."""
    heads = tuple(dataclasses.replace(published.head, ridge=published.head.ridge * np.float32(1 + i / 10)) for i in range(FOLDS))
    loaded = save(tmp_path / "real", dataclasses.replace(parts(published), unseen=heads))
    names = [f"ZTF18aa{i}" for i in range(200)]
    assert {fold_of(name) for name in names} == set(range(FOLDS))
    for name in names[:20]:
        np.testing.assert_array_equal(loaded.head_for(name).ridge, heads[fold_of(name)].ridge)
        np.testing.assert_array_equal(loaded.head_for(name).prototypes, published.head.prototypes)
    alone = save(tmp_path / "alone", dataclasses.replace(parts(published), unseen=()))
    assert alone.head_for("ZTF18aa1") is alone.head
    arrays = arrays_of(tmp_path / "real")
    rewrite(tmp_path / "real", "arrays.safetensors", safetensors.numpy.save(arrays | {"unseen_ridge": arrays["unseen_ridge"][1:]}))
    assert "unseen_ridge has the shape" in refused(tmp_path / "real")
    del arrays["unseen_offset"]
    rewrite(tmp_path / "real", "arrays.safetensors", safetensors.numpy.save(arrays))
    assert refused(tmp_path / "real").endswith("lacks the array unseen_offset")


def test_a_bundle_of_the_former_format_scores_as_it_did(published: Bundle, tmp_path: Path) -> None:
    """One prototype a class, one measure of novelty."""
    k, f32 = len(published.classes), np.float32
    first = [int(np.flatnonzero(published.head.prototype_class == c)[0]) for c in range(k)]
    same = {"novelty_location": np.full(k, 0.4, f32), "novelty_scale": np.full(k, 0.05, f32), "novelty_share": np.ones(k, f32)}
    head = dataclasses.replace(published.head, prototypes=published.head.prototypes[first], prototype_class=np.arange(k, dtype=f32), **same)
    save(tmp_path / "old", dataclasses.replace(parts(published), head=head, unseen=()))
    arrays = arrays_of(tmp_path / "old")
    del arrays["prototype_class"], arrays["novelty_share"]
    arrays |= {"novelty_location": np.asarray(0.4, f32), "novelty_scale": np.asarray(0.05, f32)}
    rewrite(tmp_path / "old", "arrays.safetensors", safetensors.numpy.save(arrays))
    manifest = json.loads((tmp_path / "old" / "manifest.json").read_text())
    (tmp_path / "old" / "manifest.json").write_text(json.dumps(manifest | {"format": 3}))
    loaded = load(tmp_path / "old")
    golden = published.golden
    views = Views(golden.embedding, golden.logits, golden.named)
    for got, right in zip(judge(views, loaded.head), judge(views, head), strict=True):
        np.testing.assert_array_equal(got, right)
    (tmp_path / "old" / "manifest.json").write_text(json.dumps(manifest | {"format": 4}))
    assert "lacks the array" in refused(tmp_path / "old")


@pytest.mark.parametrize(
    ("change", "said"),
    [
        (lambda a: a | {"prototype_class": np.zeros_like(a["prototype_class"])}, "needs a prototype"),
        (lambda a: a | {"prototype_class": a["prototype_class"] + np.float32(0.5)}, "needs a prototype"),
        (lambda a: a | {"novelty_share": a["novelty_share"] + np.float32(1)}, "between 0 and 1"),
        (lambda a: a | {"novelty_scale": 0 * a["novelty_scale"]}, "must be above 0"),
        (lambda a: a | {"novelty_location": a["novelty_location"][1:]}, "novelty_location has the shape"),
    ],
)
def test_prototypes_and_measures_of_novelty_must_fit(copy: Path, change: Any, said: str) -> None:
    rewrite(copy, "arrays.safetensors", safetensors.numpy.save(change(arrays_of(copy))))
    assert said in refused(copy)


def test_saving_replaces_what_was_there(published: Bundle, tmp_path: Path) -> None:
    target = tmp_path / "bundle"
    first = save(target, parts(published, seed=1))
    second = save(target, parts(published, seed=2))
    assert first.sha256 != second.sha256
    assert load(target).manifest.seed == 2
    assert [p.name for p in tmp_path.iterdir()] == ["bundle"]


def test_only_a_bundle_is_replaced(published: Bundle, tmp_path: Path) -> None:
    (tmp_path / "work").mkdir()
    (tmp_path / "work" / "thesis.tex").write_text("years")
    (tmp_path / "file").write_text("")
    for name in ("work", "file"):
        with pytest.raises(BundleError, match=r"thesis.tex, which is not a part|is a file"):
            save(tmp_path / name, parts(published))
    assert (tmp_path / "work" / "thesis.tex").read_text() == "years"


@pytest.mark.parametrize("name", ["encoder.onnx", "arrays.safetensors", "reference.safetensors", "golden.safetensors"])
@pytest.mark.parametrize("where", [0, 1000, -1])
def test_one_changed_byte_is_found(copy: Path, name: str, where: int) -> None:
    blob = bytearray((copy / name).read_bytes())
    blob[where] ^= 1
    (copy / name).write_bytes(blob)
    assert refused(copy) == f"{copy / name} is not the file that the manifest names: its sha256 differs"


@pytest.mark.parametrize("name", ["manifest.json", "encoder.onnx", "arrays.safetensors", "reference.safetensors", "golden.safetensors"])
def test_a_missing_file(copy: Path, name: str) -> None:
    (copy / name).unlink()
    assert refused(copy) == f"{copy / name}: No such file or directory"


def test_no_folder(tmp_path: Path) -> None:
    assert "No such file" in refused(tmp_path / "nothing")


def test_a_file_too_large_is_not_read(copy: Path) -> None:
    with (copy / "manifest.json").open("ab") as file:
        file.truncate(10_000_000)
    assert refused(copy).endswith("is larger than 1,000,000 bytes")


@pytest.mark.parametrize("text", ["", "{", "[]", "null", '{"format": 1}', "\x00\xff"])
def test_a_manifest_that_is_none(copy: Path, text: str) -> None:
    (copy / "manifest.json").write_text(text, encoding="latin-1")
    assert "is not a bundle's manifest" in refused(copy)


def test_another_format(copy: Path) -> None:
    manifest = json.loads((copy / "manifest.json").read_text())
    (copy / "manifest.json").write_text(json.dumps({**manifest, "format": 2}))
    assert "format" in refused(copy)


def test_a_pickle_is_not_loaded(copy: Path) -> None:
    rewrite(copy, "arrays.safetensors", b"\x80\x04\x95\x1a\x00\x00\x00\x00\x00\x00\x00\x8c\x05posix\x94\x8c\x06system\x94\x93\x94.")
    assert "is not a safetensors file" in refused(copy)


def test_a_missing_array(copy: Path) -> None:
    arrays = arrays_of(copy)
    del arrays["centre"]
    rewrite(copy, "arrays.safetensors", safetensors.numpy.save(arrays))
    assert refused(copy) == f"{copy} lacks the array centre"


@pytest.mark.parametrize(
    ("name", "change", "reason"),
    [
        ("prototypes", lambda a: a[:-1], "prototypes has the shape"),
        ("thresholds", lambda a: a[:-1], "thresholds has the shape"),
        ("centre", lambda a: a * np.nan, "not finite"),
        ("centre", lambda a: a.astype(np.float64), "is float64"),
        ("prior", lambda a: a * 2, "does not sum to 1"),
        ("temperature", lambda a: a * 0, "must be above 0"),
    ],
)
def test_arrays_that_do_not_fit(copy: Path, name: str, change: Any, reason: str) -> None:
    arrays = arrays_of(copy)
    arrays[name] = np.ascontiguousarray(change(arrays[name])).reshape(np.shape(change(arrays[name])))
    rewrite(copy, "arrays.safetensors", safetensors.numpy.save(arrays))
    assert reason in refused(copy)


def test_a_bundle_of_before_anomalies_gets_its_threshold_from_its_own_reference(copy: Path, published: Bundle, tmp_path: Path) -> None:
    """It follows from the alerts that ship with it, and is kept when the bundle is written."""
    arrays = arrays_of(copy)
    arrays.pop("novelty_threshold", None)
    rewrite(copy, "arrays.safetensors", safetensors.numpy.save(arrays))
    old = load(copy)
    assert 0.5 <= float(old.head.novelty_threshold) <= 0.9
    kept = save(tmp_path / "kept", parts(old))
    assert arrays_of(kept.path)["novelty_threshold"] == old.head.novelty_threshold
    head = dataclasses.replace(old.head, novelty_threshold=np.asarray(0.625, np.float32))
    assert float(save(tmp_path / "made", dataclasses.replace(parts(old), head=head)).head.novelty_threshold) == 0.625


def test_parts_that_do_not_fit_are_not_written(published: Bundle, tmp_path: Path) -> None:
    head = dataclasses.replace(published.head, thresholds=published.head.thresholds[:-1])
    wrong = dataclasses.replace(parts(published), head=head)
    with pytest.raises(BundleError, match="thresholds has the shape"):
        save(tmp_path / "bundle", wrong)
    assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize("name", ["private", "other", "SN Ia", "detections.x", "a" * 65, "", "ä"])
def test_a_class_that_cannot_have_a_topic_of_its_own(published: Bundle, tmp_path: Path, name: str) -> None:
    with pytest.raises(BundleError, match="cannot be a class"):
        save(tmp_path / "new", parts(published, classes=(name, *published.classes[1:])))
    assert not (tmp_path / "new").exists()
