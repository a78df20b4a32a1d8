"""Bundles for the tests of gates: the published model with its probabilities as they are, or with another temperature."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import numpy as np

from operators.head import Views, judge
from registry.bundle import Parts, load, save


def tempered(folder: Path, factor: float, *, seed: int = 1) -> Path:
    """The published model, so many times less sure of what it says; its golden answers are its own."""
    was = load()
    head = replace(was.head, temperature=np.asarray(was.head.temperature * factor, dtype=np.float32))
    answers = np.asarray(judge(Views(was.golden.embedding, was.golden.logits, was.golden.named), head).probability, dtype=np.float32)
    kept = was.manifest.model_dump(exclude={"format", "files"}) | {"seed": seed}
    return save(folder, Parts(kept, was.encoder, head, was.reference, replace(was.golden, probability=answers))).path
