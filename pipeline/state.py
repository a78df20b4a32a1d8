"""Everything a score depends on besides the packet: one immutable value of three parts.

model bundle, engine → ScoringState = `EncoderPart` + `HeadPart` + `ReferencePart`

Each part has an id of its own; `scoring_id` is the sha256 of the three, the scoring rules and the taxonomy. Teaching a class makes another
head part and so another id, a new model another encoder; forgetting the class gives the former id again. The engine is in no id: two
engines give one model's scores within a stated bound.

A state is never changed, only replaced by another (`streams.scorer.StateHolder`): `with_head` and `make_state` build one beside it.
"""

from __future__ import annotations

import hashlib
from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from pathlib import Path
from types import MappingProxyType
from typing import Any

import numpy as np

from gpu.choose import choose
from gpu.session import Session
from operators.context import N_CONTEXT
from operators.decision import DECISION_RULES, Rule, rule_of
from operators.head import Head, identity, whole_thresholds
from operators.namespace import to_host
from operators.types import Array
from pipeline.state_parts import ID_DIGITS as ID_DIGITS
from pipeline.state_parts import ReferencePart as ReferencePart
from pipeline.state_parts import id_of
from pipeline.verify import verify
from registry.bundle import Bundle, BundleError
from registry.bundle import load as load_bundle
from schemas.avro.schema_store import SchemaStore
from schemas.records.parts import TaughtClass
from schemas.surveys.decode import Decoder
from schemas.taxonomy import OTHER, TAXONOMY

SCORING_RULES = "2"
"""Of the code between packet and detection: raised when the same model gives other scores because an operator changed."""


def encoder_id(model: bytes) -> str:
    """Give a model file an id: what the network is shown is as much a part of an embedding as the network."""
    return id_of((hashlib.sha256(model).hexdigest(), SCORING_RULES))


@dataclass(frozen=True, slots=True)
class EncoderPart:
    """Columns → embeddings and logits: the compiled network."""

    session: Session
    id: str
    """sha256 of the model file and the scoring rules, its beginning."""
    bundle: str
    """sha256 of the bundle that it came in, its beginning: a detection's `model`."""
    why: str
    """Why this engine was chosen, for the log and `protonova doctor`."""


@dataclass(frozen=True, slots=True)
class HeadPart:
    """Embeddings → probabilities: what is known of each class, and from which probability on it is reported."""

    weights: Head
    """Support set and prototypes, temperatures, prior and thresholds, solved; in the engine's namespace."""
    known: tuple[str, ...]
    """Slugs of the model's own classes, in the order of the prototypes."""
    lessons: tuple[TaughtClass, ...] = ()
    """What each taught class was taught from, in the weights' order: a detection's `taught`, and no part of an id."""
    classes: tuple[str, ...] = field(init=False)
    """Slugs of known and taught classes; `other` is not among them."""
    thresholds: Mapping[str, float] = field(init=False)
    """Class → least probability under the stream prior at which an alert goes to the class's topic; `other` → least novelty."""
    rule: Rule = field(init=False)
    """By which an alert's published class is decided."""
    id: str = field(init=False)
    """sha256 of all of it and of the decision's rules, its beginning."""

    def __post_init__(self) -> None:
        weights = self.weights.map(_read_only)
        classes = (*self.known, *weights.taught)
        if len(set(classes)) < len(classes):
            raise ValueError(f"a class stands twice in {', '.join(classes)}")
        least = [*to_host(whole_thresholds(weights)).tolist(), float(to_host(weights.novelty_threshold))]
        if self.lessons and tuple(one.name for one in self.lessons) != weights.taught:
            raise ValueError(f"lessons of {', '.join(one.name for one in self.lessons)} beside a head with {', '.join(weights.taught)}")
        derived = {
            "weights": weights,
            "classes": classes,
            "thresholds": MappingProxyType(dict(zip((*classes, OTHER), least, strict=True))),
            "rule": rule_of(weights, classes),
            "id": id_of((identity(weights), DECISION_RULES, *self.known)),
        }
        for name, value in derived.items():
            object.__setattr__(self, name, value)  # frozen for every caller


@dataclass(frozen=True, slots=True)
class ScoringState:
    """What `score` needs. Build it with `load`, or of another one with `with_head`."""

    decoder: Decoder
    encoder: EncoderPart
    head: HeadPart
    reference: ReferencePart = field(default_factory=ReferencePart)
    taxonomy: str = TAXONOMY
    unseen: tuple[Head, ...] = ()
    """Heads that were fitted without one fold of the real objects each (`registry.bundle.fold_of`): for figures, and no part of an id."""
    scoring_id: str = field(init=False)
    """sha256 of the parts' ids, the scoring rules and the taxonomy, its beginning."""

    def __post_init__(self) -> None:
        parts = (self.encoder.id, self.head.id, self.reference.id, SCORING_RULES, self.taxonomy)
        object.__setattr__(self, "scoring_id", id_of(parts))

    @property
    def session(self) -> Session:
        """The compiled encoder."""
        return self.encoder.session

    @property
    def namespace(self) -> Any:
        """Module of the encoder's arrays: numpy or cupy."""
        return self.encoder.session.namespace

    @property
    def engine(self) -> str:
        """Name and version of the engine."""
        return self.encoder.session.engine

    @property
    def model(self) -> str:
        """sha256 of the encoder's bundle, its beginning: a detection's `model`."""
        return self.encoder.bundle

    @property
    def why(self) -> str:
        """Why this engine was chosen."""
        return self.encoder.why

    @property
    def classes(self) -> tuple[str, ...]:
        """The head's classes."""
        return self.head.classes

    @property
    def thresholds(self) -> Mapping[str, float]:
        """Threshold of each class on its prior probability."""
        return self.head.thresholds

    def with_head(self, weights: Head, lessons: tuple[TaughtClass, ...] = ()) -> ScoringState:
        """Build the state that scores with another head of the same encoder: a class taught or forgotten, a prior or threshold changed.

        Parameters
        ----------
        weights : Head
        lessons : tuple of TaughtClass
            One a taught class, in the head's order; none: detections do not say what they were taught from.

        Raises
        ------
        ValueError
            The head names a class twice, its arrays are not of one length, or the lessons are not its taught classes'.
        """
        return replace(self, head=HeadPart(weights.map(self.namespace.asarray), self.head.known, lessons), unseen=())


def load(
    bundle: Path | None = None,
    engine: str = "auto",
    store: SchemaStore | None = None,
    *,
    claims: Path | None = None,
    precision: str = "f32",
    like: ScoringState | None = None,
    reference: ReferencePart | None = None,
) -> ScoringState:
    """Load, check and prepare a bundle.

    Parameters
    ----------
    bundle : Path, optional
        Its folder; the one that ships if None.
    engine : str
        One of `gpu.choose.ENGINES`.
    store : SchemaStore, optional
        Where the schemas of framed packets come from; the local store if None.
    claims : Path, optional
        State folder in which a GPU is claimed for this process (`gpu.owner`).
    precision : {"f32", "f16"}
    like : ScoringState, optional
        Of the same engine and precision: its decoder and its reference are shared, and its session where it runs the same model file.
    reference : ReferencePart, optional
        Catalogues (`pipeline.reference.reference_of`); none if None.

    Raises
    ------
    registry.bundle.BundleError
        The bundle is damaged or of another format.
    gpu.session.EngineError
        The engine asked for is not here.
    """
    loaded = load_bundle(bundle)
    if loaded.golden.context.shape[1] != N_CONTEXT:
        raise BundleError(
            f"{loaded.path} reads {loaded.golden.context.shape[1]} numbers of context, and the operators now make {N_CONTEXT}: train it "
            "further with `protonova train --start-from` its folder, or choose another with PROTONOVA_BUNDLE"
        )
    if like is not None and like.encoder.id == encoder_id(loaded.encoder):
        session, why = like.session, like.why
    else:
        session, why = choose(loaded.encoder, engine, state=claims, precision=precision)
    verify(loaded, session)
    decoder = Decoder(store or SchemaStore()) if like is None else like.decoder
    if reference is None and like is not None:
        reference = like.reference
    return make_state(loaded, session, why=why, decoder=decoder, reference=reference)


def make_state(bundle: Bundle, session: Session, *, why: str, decoder: Decoder, reference: ReferencePart | None = None) -> ScoringState:
    """Put a bundle, a session and catalogues together."""
    encoder = EncoderPart(session, encoder_id(bundle.encoder), bundle.sha256[:ID_DIGITS], why)
    head = HeadPart(bundle.head.map(session.namespace.asarray), bundle.classes, bundle.lessons)
    return ScoringState(decoder, encoder, head, reference or ReferencePart(), unseen=bundle.unseen)


def _read_only(array: Array) -> Array:
    """A read-only copy, where the namespace knows such."""
    if not isinstance(array, np.ndarray):
        return array
    copy = array.copy()
    copy.setflags(write=False)
    return copy
