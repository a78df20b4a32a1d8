"""What each input and each part of the head is worth.

a task and a bundle → accuracy of every variant in the same episodes, with its paired difference to the whole

Only at inference: the encoder was taught to do without each of them. What a loss is worth needs another training (`protonova train --set`);
its bundle is another row of the same table (``--other NAME=BUNDLE``).
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import replace
from typing import Any

import numpy as np

from data.tables import Curves
from evaluation import measures, task_head
from evaluation.clock import Clock
from evaluation.episodes import Episodes, make
from evaluation.measures import Resampling
from evaluation.options import Labels, Options
from evaluation.protocol import judge, see, zero_shot
from gpu.session import Session
from operators.types import F64, N_TOKENS
from registry.bundle import Bundle

TOKENS = (8, 16, 24, 32, 48)
Loaded = tuple[Bundle, Session]


def variants() -> dict[str, Options]:
    """Options by name; `whole` is what all are compared with."""
    base = Options()
    out = {
        "whole": base,
        "no folded view": replace(base, blind=task_head.Blind(fold=True)),
        "no surroundings": replace(base, blind=task_head.Blind(context=True)),
        "no named features": replace(base, blind=task_head.Blind(features=True)),
        "no simulated prototypes": replace(base, head=task_head.Parts(prior=False)),
        "no zero-shot view": replace(base, head=task_head.Parts(zero_shot=False)),
        "no ridge": replace(base, head=task_head.Parts(ridge=False)),
        "no simulation at all": replace(base, head=task_head.Parts(prior=False, zero_shot=False)),
        "simulations by cuts": replace(base, looks="cut"),
    }
    for n in TOKENS:
        if n < N_TOKENS:
            out[f"{n} tokens, no named features"] = replace(base, blind=task_head.Blind(tokens=n))
    return out


def ablation(
    tables: Mapping[str, tuple[Curves, Labels]], loaded: Loaded, *, others: Mapping[str, Loaded], shots: tuple[int, ...], episodes: int,
    each: int, progress: Callable[[str], None] = lambda _: None,
) -> dict[str, Any]:  # fmt: skip
    """Every variant on every task.

    Returns
    -------
    dict
        ``tasks``: task → variant → ``zero_shot``, and by K ``accuracy``, ``difference`` to the whole with its paired ``interval``.
    """
    out: dict[str, Any] = {"tokens_of_the_whole": N_TOKENS, "stamps": "tables have none: see `rare`", "tasks": {}}
    for task, (curves, labels) in tables.items():
        rows: dict[str, Any] = {}
        plans = {k: e for k in shots if (e := make(labels, k, episodes=episodes)) is not None}
        whole: dict[int, F64] = {}
        made: dict[tuple[str, int], task_head.Simulations | None] = {}  # only how curves are made to look changes them
        runs: list[tuple[str, Curves, Loaded, Options]] = [(name, curves, loaded, o) for name, o in variants().items()]
        limits = ~np.isfinite(curves.flux)
        if limits.any():
            runs.append(("no upper limits", curves.keep(~limits), loaded, Options()))
        runs += [(name, curves, bundle, Options()) for name, bundle in others.items()]
        for name, seen, (bundle, session), options in runs:
            progress(f"{task}: {name}")
            key = (options.looks, len(seen.time))
            settings = replace(options, each=each, episodes=episodes)
            found, hits, made[key] = _one(seen, labels, bundle=bundle, session=session, options=settings, plans=plans, made=made.get(key))
            if name == "whole":
                whole = hits
            for k, e in plans.items():
                change = hits[k] - whole[k]
                found[str(k)] |= {
                    "difference": float(measures.per_class(change, e).mean()),
                    "interval": Resampling.of(e).interval(change),
                }
            rows[name] = found
        if not limits.any():
            rows["no upper limits"] = {"note": "the table has none"}
        out["tasks"][task] = rows
    return out


def _one(
    curves: Curves, labels: Labels, *, bundle: Bundle, session: Session, options: Options, plans: Mapping[int, Episodes],
    made: task_head.Simulations | None,
) -> tuple[dict[str, Any], dict[int, F64], task_head.Simulations | None]:  # fmt: skip
    task = see(curves, labels, bundle=bundle, session=session, options=options, clock=Clock(), made=made)
    without = zero_shot(task)
    found: dict[str, Any] = {"zero_shot": None if without is None else without["accuracy"]}
    hits = {}
    for k, e in plans.items():
        score = judge(e, task, options=options)[0]
        hits[k] = measures.hits(score, e.query_class)
        found[str(k)] = {"accuracy": float(measures.per_class(hits[k], e).mean())}
    return found, hits, task.made
