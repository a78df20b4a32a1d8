"""A class that neither the encoder nor the simulation ever saw, against the same with it: what K examples alone must do.

a task, a bundle that saw the class and one of the same budget that did not → recall of the class and macro accuracy, with and without
"""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import numpy as np

from data.tables import Curves, TableError
from evaluation import measures
from evaluation.clock import Clock
from evaluation.drawn import KINDS
from evaluation.episodes import make
from evaluation.kinds import kinds_of
from evaluation.measures import Resampling
from evaluation.options import Labels, Options
from evaluation.protocol import judge, see
from gpu.session import Session
from operators.types import F64
from registry.bundle import Bundle

Loaded = tuple[Bundle, Session]


def leave_out(
    curves: Curves, labels: Labels, *, name: str, seen: Loaded, unseen: Loaded, shots: tuple[int, ...], options: Options
) -> dict[str, Any]:
    """Recall of class `name` and macro accuracy by K, in the same episodes.

    Four rows: the encoder that saw the class (``with``); the other one, without a simulated prototype or a zero-shot view of it
    (``without``); and each half of that alone: only the head does not know it (``head without``), only the encoder never saw it
    (``encoder without``, where the simulation still makes its prototype).

    Raises
    ------
    TableError
        The task has no such class, or too few of it.
    """
    if name not in set(labels.tolist()):
        raise TableError(f"the task has no class {name!r}, only {', '.join(sorted(set(labels.tolist())))}")
    gone = kinds_of(name, tuple(KINDS))
    rows = {
        "with": (seen, ()),
        "without": (unseen, gone),
        "head without": (seen, gone),
        "encoder without": (unseen, ()),
    }
    out: dict[str, Any] = {"class": name, "kinds": list(gone), "by_k": {}}
    tasks = {
        row: see(curves, labels, bundle=bundle, session=session, options=_options(options, kinds), clock=Clock())
        for row, ((bundle, session), kinds) in rows.items()
    }
    for k in shots:
        e = make(labels, k, episodes=options.episodes, seed=options.seed)
        if e is None or name not in e.classes:
            continue
        c, resampling = e.classes.index(name), Resampling.of(e)
        own = np.flatnonzero(e.query_class == c)
        hits: dict[str, F64] = {
            row: measures.hits(judge(e, task, options=_options(options, rows[row][1]))[0], e.query_class) for row, task in tasks.items()
        }
        out["by_k"][str(k)] = {
            row: {
                "recall": float(h[:, own].mean()),
                "macro": float(measures.per_class(h, e).mean()),
                "recall_change": float((h - hits["with"])[:, own].mean()),
                "macro_change": float(measures.per_class(h - hits["with"], e).mean()),
                "macro_change_interval": resampling.interval(h - hits["with"]),
            }
            for row, h in hits.items()
        }
    if not out["by_k"]:
        raise TableError(f"{name!r} has too few objects for any of these K")
    return out


def _options(options: Options, unseen: tuple[str, ...]) -> Options:
    return replace(options, unseen=unseen)
