"""Confidence where simulations are true: tasks that are simulated themselves, so that nothing but the method can be off.

a real task's looks, a bundle → coverage of the 90 % sets and calibration error on simulated tasks looked at in the same way
"""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import numpy as np

from data.tables import Curves
from evaluation import confidence
from evaluation.drawn import DRAWN
from evaluation.kinds import kinds_of
from evaluation.options import Labels, Options
from evaluation.protocol import evaluate
from evaluation.simulated import Looks, simulate
from gpu.session import Session
from registry.bundle import Bundle

SEED = 900


def coverage(
    curves: Curves, labels: Labels, *, bundle: Bundle, session: Session, shots: tuple[int, ...], objects: int, options: Options
) -> dict[str, Any]:
    """Coverage and calibration by K on a simulated task of the same classes, looks and number of objects a class.

    ``alike``: off by as much as the tasks it was calibrated on (`confidence.worse`), so that calibration and test are exchangeable;
    ``clean``: as simulated, which the calibration on purpose does not believe the sky to be.
    """
    persistent = bool((curves.difference().flux != curves.flux).mean() > 0.5)
    looks, every = Looks.of(curves, persistent), DRAWN
    names = tuple(c for c in sorted(set(labels.tolist())) if kinds_of(c, every))
    made, label = simulate(
        tuple(kinds_of(c, every) for c in names),
        objects,
        looks=looks,
        seed=SEED,
        population="demo",
        mode=options.looks,
        processes=options.processes,
    )
    truth = np.array([names[j] for j in label], dtype=str)
    out: dict[str, Any] = {}
    for way, seen in (("alike", confidence.worse(made, np.random.default_rng(SEED))), ("clean", made)):
        found = evaluate(seen, truth, bundle=bundle, session=session, options=replace(options, shots=shots, baselines="none"))
        out[way] = {name: found[name] for name in ("accuracy", "conformal", "ece", "ece_above_null", "temperature")}
    return out
