"""A model as a folder: what a worker needs to score, and proof that it is whole.

    encoder.onnx        tokens, stamps, context → embedding, logits
    arrays.safetensors  the head (`operators.head.Head`); where real alerts helped to fit it, the ridges that did without a fold of them
    reference.safetensors  known simulated alerts as the head reads them, float16: a class taught beside them is calibrated on these
    golden.safetensors  a few simulated inputs and what this encoder and head answered when the bundle was made
    manifest.json       classes, versions, sha256 and size of the other files, how it was made and what it reached

folder → `Bundle`; `Parts` → folder. Nothing in it can run code (no pickle); every size is bounded before a byte is parsed. The bundle's
identity is the sha256 of its manifest, which holds the sha256 of everything else.
"""

from __future__ import annotations

import hashlib
import os
import shutil
from collections.abc import Mapping
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any, Literal

import numpy as np
import numpy.typing as npt
import pydantic
import safetensors
import safetensors.numpy

from operators.budget import ALERTS_A_NIGHT
from operators.decision import BOGUS, NEVER, novelty_threshold
from operators.features import COMPARABLE
from operators.head import ARRAYS, Head, Views, head_of, judge
from operators.taught import Reference
from registry.manifest import OPTIONAL, Manifest, manifest_of
from registry.manifest import BundleError as BundleError  # what is caught by who loads a bundle
from registry.manifest import FileRecord as FileRecord
from schemas.records.parts import TaughtClass
from schemas.taxonomy import class_name_problem

FORMAT: Literal[4] = 4
FOLDS = 5
"""Of real objects; each is left out of one ridge."""
PUBLISHED = Path(__file__).parent / "published"
"""The bundle that ships."""
MANIFEST = "manifest.json"
LIMITS = {
    MANIFEST: 1_000_000,
    "encoder.onnx": 8_000_000,
    "arrays.safetensors": 4_000_000,
    "reference.safetensors": 2_000_000,
    "golden.safetensors": 4_000_000,
}
"""Largest size of each file [bytes]. What ships is below 4 MB altogether (a test)."""
DRIFT = "drift.safetensors"
"""What is usual in a stream that this bundle scores (`tools.remake_drift_reference`); beside a bundle, and no part of what it is."""

APART = ("ridge", "offset")
"""What a head without a fold of the real objects has of its own."""

Arrays = dict[str, npt.NDArray[Any]]
REFERENCE = {"embedding": "float16", "logits": "float16", "named": "float16", "label": "int16", "images": "uint8"}
"""Arrays of `reference.safetensors` and their kinds: a half of a per mille is nothing to a view."""


@dataclass(frozen=True, slots=True)
class Golden:
    """Inputs of a few alerts and the answers recorded with them; m alerts, k classes."""

    tokens: npt.NDArray[np.float32]  # (m, L, F)
    stamps: npt.NDArray[np.float32]  # (m, 4, P, P)
    context: npt.NDArray[np.float32]  # (m, 2 C + V)
    named: npt.NDArray[np.float32]  # (m, F)
    embedding: npt.NDArray[np.float32]  # (m, E)
    logits: npt.NDArray[np.float32]  # (m, K)
    probability: npt.NDArray[np.float32]  # (m, k + 1)


@dataclass(frozen=True, slots=True)
class Bundle:
    """A verified bundle."""

    path: Path
    sha256: str
    """Of the manifest, hence of everything."""
    manifest: Manifest
    encoder: bytes
    """The ONNX file."""
    head: Head
    reference: Reference
    golden: Golden
    unseen: tuple[Head, ...] = ()
    """Heads fitted without one fold of the real objects each, for figures on those; empty: no real object was fitted on."""

    def head_for(self, object_id: str) -> Head:
        """The head that has not seen an object: what its score would be if its label were not known."""
        return self.unseen[fold_of(object_id)] if self.unseen else self.head

    @property
    def classes(self) -> tuple[str, ...]:
        """The classes of the head."""
        return self.manifest.classes

    @property
    def lessons(self) -> tuple[TaughtClass, ...]:
        """What each taught class of the head was taught from; 0 examples: not known any more."""
        facts = self.manifest.figures.get("taught")
        known = facts if isinstance(facts, dict) else {}

        def examples(name: str) -> int:
            fact = known.get(name)
            found = fact.get("examples") if isinstance(fact, dict) else None
            return found if isinstance(found, int) and 0 <= found < 1 << 31 else 0

        revisions = self.manifest.taught or {}
        return tuple(TaughtClass(name, revisions.get(name, 0), examples(name)) for name in self.head.taught)

    @property
    def kinds(self) -> tuple[str, ...]:
        """Simulated kinds, in the order of the network's logits."""
        return self.manifest.kinds


@dataclass(frozen=True, slots=True)
class Parts:
    """What a bundle is made of."""

    manifest: dict[str, Any]
    """Every field of `Manifest` but `format` and `files`."""
    encoder: bytes
    head: Head
    reference: Reference
    golden: Golden
    unseen: tuple[Head, ...] = ()


def fold_of(object_id: str) -> int:
    """Fold of an object, 0 … `FOLDS` - 1: by its name alone, so that a bundle needs no list of names."""
    return int.from_bytes(hashlib.blake2b(object_id.encode(), digest_size=8).digest()) % FOLDS


def load(path: Path | None = None) -> Bundle:
    """Read a bundle and prove it whole.

    Parameters
    ----------
    path : Path, optional
        Its folder; the bundle that ships.

    Raises
    ------
    BundleError
        A file is missing, too large, not the one the manifest names, or does not fit the others.
    """
    folder = Path(path) if path is not None else PUBLISHED
    text = _read(folder, MANIFEST)
    manifest = manifest_of(text, where=str(folder / MANIFEST))
    blobs = {name: _verified(folder, name, manifest=manifest) for name in LIMITS if name != MANIFEST}
    arrays = _arrays(folder, "arrays.safetensors", blobs=blobs)
    golden = _arrays(folder, "golden.safetensors", blobs=blobs)
    reference = _reference(_arrays(folder, "reference.safetensors", blobs=blobs, kinds=REFERENCE))
    try:
        given = of_format_3(arrays) if manifest.format == 3 else arrays
        # A bundle made before anomalies had a topic has no threshold of it: it follows from the known alerts that ship with it.
        names = tuple(sorted(manifest.taught or ()))
        head = head_of({"novelty_threshold": np.asarray(NEVER, dtype=np.float32), **given}, names)
        bundle = Bundle(
            path=folder,
            sha256=hashlib.sha256(text).hexdigest(),
            manifest=manifest,
            encoder=blobs["encoder.onnx"],
            head=head,
            reference=reference,
            golden=Golden(**{name: golden[name] for name in Golden.__dataclass_fields__}),
            unseen=_unseen(folder, head, arrays=arrays),
        )
    except KeyError as error:
        raise BundleError(f"{folder} lacks the array {error.args[0]}") from None
    _check(folder, bundle)
    return bundle if "novelty_threshold" in arrays else _with_novelty_threshold(bundle)


def _with_novelty_threshold(bundle: Bundle) -> Bundle:
    """The bundle with a threshold of novelty that its own reference alerts give."""
    head, known = bundle.head, bundle.reference
    views = Views(*(np.asarray(column[known.images], dtype=np.float32) for column in known.views))
    threshold = novelty_threshold(
        judge(views, head),
        known.label[known.images],
        prior=head.prior,
        bogus=bundle.classes.index(BOGUS) if BOGUS in bundle.classes else None,
        alerts_a_night=ALERTS_A_NIGHT,
    )
    heads = (replace(one, novelty_threshold=np.asarray(threshold, dtype=np.float32)) for one in (head, *bundle.unseen))
    return replace(bundle, head=next(heads), unseen=tuple(heads))


def save(path: Path, parts: Parts) -> Bundle:
    """Write a bundle and read it back; a bundle that was at `path` is replaced once the new one is whole.

    Raises
    ------
    BundleError
        The parts do not fit each other, or `path` holds something else than a bundle.
    OSError
        Nothing can be written there.
    """
    path = path.resolve()  # "." has no name to stage beside
    refuse(path)
    path.parent.mkdir(parents=True, exist_ok=True)
    staging = path.with_name(f".{path.name}-{os.getpid()}")
    shutil.rmtree(staging, ignore_errors=True)  # of a process that was killed
    staging.mkdir()
    try:
        arrays: Arrays = {name: np.asarray(getattr(parts.head, name), dtype=np.float32) for name in ARRAYS}
        if parts.unseen:
            arrays |= {
                f"unseen_{name}": np.stack([np.asarray(getattr(one, name), dtype=np.float32) for one in parts.unseen]) for name in APART
            }
        golden = {name: np.asarray(getattr(parts.golden, name), dtype=np.float32) for name in Golden.__dataclass_fields__}
        blobs = {
            "encoder.onnx": parts.encoder,
            "arrays.safetensors": _safe(arrays),
            "reference.safetensors": _safe(_reference_arrays(parts.reference)),
            "golden.safetensors": _safe(golden),
        }
        files = {name: FileRecord(sha256=hashlib.sha256(blob).hexdigest(), size=len(blob)) for name, blob in blobs.items()}
        manifest = Manifest(format=FORMAT, files=files, **parts.manifest)
        for name, blob in blobs.items():
            (staging / name).write_bytes(blob)
        text = manifest.model_dump_json(indent=1, exclude={name for name in OPTIONAL if getattr(manifest, name) in (None, "")})
        (staging / MANIFEST).write_text(text + "\n", encoding="utf-8")
        load(staging)
        if path.exists():
            shutil.rmtree(path)
        os.replace(staging, path)
    except pydantic.ValidationError as error:
        first = error.errors()[0]
        raise BundleError(f"the manifest's {'.'.join(map(str, first['loc']))}: {first['msg']}") from None
    finally:
        shutil.rmtree(staging, ignore_errors=True)
    return load(path)


def refuse(path: Path) -> None:
    """Refuse a place where a bundle must not be written: what is there is deleted, so it may be a bundle and nothing else.

    Raises
    ------
    BundleError
        `path` is a file, or a folder with anything in it that no bundle has.
    """
    if path.exists() and not path.is_dir():
        raise BundleError(f"{path} is a file: a bundle is a folder")
    others = sorted({entry.name for entry in path.iterdir()} - {*LIMITS, DRIFT}) if path.is_dir() else []
    if others:
        raise BundleError(f"{path} holds {others[0]}, which is not a part of a bundle: name a folder of its own")


def _unseen(folder: Path, head: Head, *, arrays: Arrays) -> tuple[Head, ...]:
    """Heads without a fold: all but `APART` is the head's own."""
    names = {name: f"unseen_{name}" for name in APART}
    if not any(name in arrays for name in names.values()):
        return ()
    for name, stacked in names.items():
        expected = (FOLDS, *np.shape(getattr(head, name)))
        if arrays[stacked].shape != expected:
            raise BundleError(f"{folder}: {stacked} has the shape {arrays[stacked].shape}, expected {expected}")
    return tuple(replace(head, **{name: arrays[stacked][fold] for name, stacked in names.items()}) for fold in range(FOLDS))


def of_format_3(arrays: Arrays) -> Arrays:
    """Arrays of the present format that score the same."""
    k, f32 = len(arrays["prototypes"]), np.float32
    measures = {name: np.full(k, arrays[name].reshape(-1)[:1], dtype=f32) for name in ("novelty_location", "novelty_scale")}
    return arrays | measures | {"prototype_class": np.arange(k, dtype=f32), "novelty_share": np.ones(k, dtype=f32)}


def _safe(arrays: Arrays) -> bytes:
    """The bytes of a safetensors file: its arrays contiguous and sorted, so that the same arrays give the same bytes."""
    return safetensors.numpy.save({name: np.ascontiguousarray(array).reshape(array.shape) for name, array in sorted(arrays.items())})


def _read(folder: Path, name: str) -> bytes:
    file = folder / name
    try:
        with file.open("rb") as handle:
            blob = handle.read(LIMITS[name] + 1)
    except OSError as error:
        raise BundleError(f"{file}: {error.strerror or 'cannot be read'}") from None
    if len(blob) > LIMITS[name]:
        raise BundleError(f"{file} is larger than {LIMITS[name]:,} bytes")
    return blob


def _verified(folder: Path, name: str, *, manifest: Manifest) -> bytes:
    record = manifest.files.get(name)
    if record is None:
        raise BundleError(f"{folder / MANIFEST} does not list {name}")
    blob = _read(folder, name)
    if hashlib.sha256(blob).hexdigest() != record.sha256:
        raise BundleError(f"{folder / name} is not the file that the manifest names: its sha256 differs")
    return blob


def _reference(arrays: Arrays) -> Reference:
    views = Views(arrays["embedding"], arrays["logits"], arrays["named"])
    return Reference(views, arrays["label"].astype(np.int64), arrays["images"] > 0)


def _reference_arrays(reference: Reference) -> Arrays:
    columns = {**reference.views._asdict(), "label": reference.label, "images": reference.images}
    return {name: np.asarray(columns[name], dtype=kind) for name, kind in REFERENCE.items()}


def _arrays(folder: Path, name: str, *, blobs: dict[str, bytes], kinds: Mapping[str, str] | None = None) -> Arrays:
    try:
        arrays: Arrays = safetensors.numpy.load(blobs[name])
    except (safetensors.SafetensorError, KeyError, ValueError, TypeError) as error:
        raise BundleError(f"{folder / name} is not a safetensors file: {str(error).splitlines()[0]}") from None
    for key, array in arrays.items():
        expected = "float32" if kinds is None else kinds.get(key, "nothing of that name")
        if array.dtype != expected:
            raise BundleError(f"{folder / name}: {key} is {array.dtype}, expected {expected}")
        if not np.isfinite(array).all():
            raise BundleError(f"{folder / name}: {key} holds a number that is not finite")
    return arrays


def _check(folder: Path, bundle: Bundle) -> None:
    """The arrays must fit each other and the classes."""
    head, golden = bundle.head, bundle.golden
    k, m, simulated = len(bundle.classes), len(golden.tokens), len(bundle.manifest.kinds)
    names = (*bundle.classes, *head.taught)
    t = len(head.taught)
    if len(set(names)) != len(names) or len(set(bundle.manifest.kinds)) != simulated:
        raise BundleError(f"{folder}: a class or a kind is named twice")
    for name in names:
        if (problem := class_name_problem(name)) is not None:
            raise BundleError(f"{folder}: {problem}")
    width = head.centre.shape[-1] if head.centre.ndim == 1 else -1
    view = width + simulated + COMPARABLE
    known = bundle.reference
    if known.label.ndim != 1 or not len(known.label) or known.label.min() < 0 or known.label.max() >= k:
        raise BundleError(f"{folder}: the reference alerts are none of the {k} classes")
    n = len(known.label)
    numbers = ("cosine_weight", "kind_scale", "temperature", "novelty_threshold", "conformal")
    shapes = {
        "centre": (width,),
        "prototypes": (head.prototype_class.shape[0], width),
        "zero_shot": (simulated, k),
        "zero_shot_weight": (k,),
        "ridge": (k, view),
        "offset": (k,),
        "prior": (k + 1,),
        "star_prior": (k + 1,),
        "thresholds": (k,),
        **dict.fromkeys(("novelty_location", "novelty_scale", "novelty_share"), (k,)),
        "taught_prototypes": (t, width),
        "taught_weights": (t, view),
        "taught_location": (t,),
        **dict.fromkeys(("taught_scale", "taught_prior", "taught_thresholds", "taught_conformal"), (t,)),
        **dict.fromkeys(numbers, ()),
    }
    expected = {
        **{name: (getattr(head, name), shape) for name, shape in shapes.items()},
        "reference embedding": (known.views.embedding, (n, width)),
        "reference logits": (known.views.logits, (n, simulated)),
        "reference named features": (known.views.named, (n, COMPARABLE)),
        "reference images": (known.images, (n,)),
        "golden named features": (golden.named, (m, COMPARABLE)),
        "golden embedding": (golden.embedding, (m, width)),
        "golden logits": (golden.logits, (m, simulated)),
        "golden probability": (golden.probability, (m, k + t + 1)),
        "golden stamps": (golden.stamps, (m, *golden.stamps.shape[1:])),
        "golden context": (golden.context, (m, *golden.context.shape[1:])),
    }
    for name, (array, shape) in expected.items():
        if array.shape != shape:
            raise BundleError(f"{folder}: {name} has the shape {array.shape}, expected {shape}")
    for name, prior in (("stream", head.prior), ("stars'", head.star_prior)):
        if abs(float(np.sum(prior)) - 1) > 1e-4 or np.any(prior < 0):
            raise BundleError(f"{folder}: the {name} prior does not sum to 1")
    if head.prototype_class.ndim != 1 or set(np.asarray(head.prototype_class).tolist()) != set(range(k)):
        raise BundleError(f"{folder}: each of the {k} classes needs a prototype")
    if np.any((head.novelty_share < 0) | (head.novelty_share > 1)):
        raise BundleError(f"{folder}: a share that novelty may take lies between 0 and 1")
    scales = (head.temperature, head.novelty_scale, head.kind_scale, head.taught_scale)
    if min(float(np.min(scale, initial=1.0)) for scale in scales) <= 0:
        raise BundleError(f"{folder}: temperature, novelty scale and kind scale must be above 0")
