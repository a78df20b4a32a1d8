"""Everything a score depends on besides the packet: one immutable value.

model bundle, engine → ScoringState

Its `scoring_id` is the sha256 of its parts, so that teaching a class changes the id as a new model does. The engine is not a part:
two engines give one model's scores within a stated bound.
"""

from __future__ import annotations

import hashlib
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from gpu.choose import choose
from gpu.session import Session
from operators.head import Head
from operators.namespace import to_host
from operators.types import Array
from pipeline.verify import verify
from registry.bundle import Bundle
from registry.bundle import load as load_bundle
from schemas.avro.schema_store import SchemaStore
from schemas.surveys.decode import Decoder
from schemas.taxonomy import TAXONOMY

SCORING_RULES = "2"
"""Of the code between packet and detection: raised when the same model gives other scores because an operator changed."""


@dataclass(frozen=True, slots=True)
class ScoringState:
    """What `score` needs. Build it with `load`."""

    decoder: Decoder
    session: Session
    head: Head
    classes: tuple[str, ...]
    """Slugs in the order of the prototypes; `other` is not among them."""
    thresholds: Mapping[str, float]
    """Class → least probability under the stream prior at which an alert goes to the class's topic."""
    model: str
    """sha256 of the bundle, first 16 hex digits."""
    scoring_id: str
    taxonomy: str
    why: str
    """Why this engine was chosen, for the log and `protonova doctor`."""
    namespace: Any = np

    @property
    def engine(self) -> str:
        return self.session.engine

    def fetch(self, array: Array) -> Array:
        """Bring an array back to the host."""
        return to_host(array)


def load(bundle: Path | None = None, engine: str = "auto", store: SchemaStore | None = None) -> ScoringState:
    """Load, check and prepare a bundle.

    Parameters
    ----------
    bundle : Path, optional
        Its folder; the one that ships if None.
    engine : {"auto", "onnxruntime", "tensorrt"}
    store : SchemaStore, optional
        Where the schemas of framed packets come from; the local store if None.

    Raises
    ------
    registry.bundle.BundleError
        The bundle is damaged or of another format.
    gpu.session.EngineError
        The engine asked for is not here.
    """
    loaded = load_bundle(bundle)
    session, why = choose(loaded.encoder, engine)
    verify(loaded, session)
    return make_state(loaded, session, why, Decoder(store or SchemaStore()))


def make_state(bundle: Bundle, session: Session, why: str, decoder: Decoder) -> ScoringState:
    """Put a bundle and a session together."""
    namespace = session.namespace
    # The manifest's hash stands for every file of the bundle.
    parts = "\0".join((bundle.sha256, SCORING_RULES, TAXONOMY))
    return ScoringState(
        decoder=decoder,
        session=session,
        head=bundle.head.map(namespace.asarray),
        classes=bundle.classes,
        thresholds={name: float(least) for name, least in zip(bundle.classes, bundle.head.thresholds, strict=True)},
        model=bundle.sha256[:16],
        scoring_id=hashlib.sha256(parts.encode()).hexdigest()[:16],
        taxonomy=TAXONOMY,
        why=why,
        namespace=namespace,
    )
