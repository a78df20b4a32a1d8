"""The protocol, in order: a task, a bundle → the report.

Every figure of a task uses the same episodes, the same resampled objects and nothing that a user with K examples would not have.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass, replace
from typing import Any, Literal

import numpy as np
import numpy.typing as npt

from gpu.session import Session
from learning.protocol import baselines, measures, ours, stages
from learning.protocol.episodes import QUERIES, Episodes, make
from learning.protocol.features import bookkeeping, hand_made
from learning.protocol.measures import Resampling
from learning.protocol.simulated import Cut, slug_of
from learning.tables import Curves, TableError
from operators import fewshot
from operators.types import F64
from registry.bundle import Bundle

BY_K = (
    "accuracy", "interval", "episode_error", "per_class", "by_physics", "ece", "ece_null", "ece_above_null", "brier", "temperature",
    "conformal", "purity", "baselines", "baseline_intervals", "gains",
)  # fmt: skip
"""Keys of the report that hold one entry a K."""

Labels = npt.NDArray[np.str_]
Which = Literal["fast", "all", "none"]
Centre = Literal["bundle", "simulated", "table"]
CENTRES: tuple[Centre, ...] = ("bundle", "simulated", "table")
Tell = Callable[[str, int], None]


@dataclass(frozen=True, slots=True)
class Options:
    """What to do; the defaults are the protocol."""

    shots: tuple[int, ...] = (1, 5, 10, 20)
    episodes: int = 500
    baselines: Which = "fast"
    """fast: features and the K-shot forest; all: the random encoder and the forest with simulations too."""
    seed: int = 0
    each: int = 300
    """Simulated curves a class for prototypes; half as many of another population to calibrate on."""
    simulations: int = 20_000
    """Of the control."""
    centre: Centre = "simulated"
    """simulated: of the simulated classes, cut as the task is; bundle: frozen with the model, as in the stream, where alerts have images
    and surroundings; table: of its objects without their labels. The other two are reported beside."""


@dataclass(frozen=True, slots=True)
class Task:
    """A task seen by the encoder, once for all episodes."""

    curves: Curves
    """As the table has them."""
    labels: Labels
    views: ours.Views
    made: ours.Simulations | None
    knowledge: ours.Knowledge | None
    persistent: bool
    """Total fluxes of lasting sources: their medians were taken off."""


def evaluate(
    curves: Curves, labels: Labels, bundle: Bundle, session: Session, options: Options, tell: Tell = lambda _, __: None
) -> dict[str, Any]:
    """Evaluate a bundle on a task.

    Parameters
    ----------
    curves, labels : of n objects
    bundle, session
        The session runs the bundle's encoder.
    options : Options
    tell : callable
        Told what is being done and how many steps are done.

    Raises
    ------
    TableError
        No K leaves two classes with enough objects.
    """
    begun = time.perf_counter()
    planned = {k: make(labels, k, options.episodes, options.seed) for k in options.shots}
    plans = {k: e for k, e in planned.items() if e is not None}
    if not plans:
        raise TableError(f"no two classes have {min(options.shots)} + 5 objects: give more labels or fewer --shots")
    tell("embedding", 0)
    task = _see(curves, labels, bundle, session, options)
    tell("embedding", 1)
    rivals = _Rivals.of(task, bundle, session, plans, options, tell)
    report = _head(task, bundle, session, options, plans) | {"missing_baselines": dict(rivals.missing)}
    for k, e in plans.items():
        tell(f"K = {k}", 0)
        _one_k(report, str(k), e, task, bundle, rivals, options, tell)
        tell(f"K = {k}", 1)
    k = 5 if 5 in plans else max(plans)
    tell("novelty and time", 0)
    report["open_set"] = {str(n): stages.open_set(task.views, labels, n, task.knowledge, bundle, options) for n in plans if n <= 5}
    report["over_time"] = None if task.persistent else stages.over_time(task.curves, plans[k], task.made, bundle, session, options)
    tell("novelty and time", 1)
    report["seconds"] = round(time.perf_counter() - begun, 1)
    return report


def _see(curves: Curves, labels: Labels, bundle: Bundle, session: Session, options: Options) -> Task:
    difference = curves.difference()
    persistent = bool((difference.flux != curves.flux).mean() > 0.5)
    slugs = tuple(sorted({s for c in sorted(set(labels.tolist())) if (s := slug_of(c, bundle.classes))}))
    made = ours.Simulations.of(difference, slugs, bundle.classes, options.each, options.seed) if slugs and options.each else None
    knowledge = ours.learn(made, session) if made is not None else None
    return Task(curves, labels, ours.embed(difference, session), made, knowledge, persistent)


@dataclass(frozen=True, slots=True)
class _Rivals:
    """What the baselines need, once for all episodes; None where it was not asked for or cannot be had."""

    features: F64 | None
    bookkeeping: F64 | None
    random: ours.Views | None
    control: baselines.Control | None
    missing: Mapping[str, str]

    @classmethod
    def of(cls, task: Task, bundle: Bundle, session: Session, plans: Mapping[int, Episodes], options: Options, tell: Tell) -> _Rivals:
        if options.baselines == "none":
            return cls(None, None, None, None, {"all": "not asked for"})
        tell("features", 0)
        x = hand_made(task.curves)
        tell("features", 1)
        missing, random, control = {}, None, None
        if options.baselines == "fast":
            missing = dict.fromkeys(("random_encoder", "forest_with_simulations"), "only with --baselines all")
        else:
            try:
                random = ours.embed(task.curves.difference(), baselines.random_session(bundle, options.seed))
            except ImportError as error:
                missing["random_encoder"] = f"{error.name} is not installed"
            slugs = tuple(sorted(set(task.made.anchors_label.tolist()))) if task.made is not None else ()
            if task.persistent or len(slugs) < 2:
                missing["forest_with_simulations"] = "the simulation has no such table, or fewer than two of its classes"
            else:
                tell("forest with simulations", 0)
                try:
                    control = baselines.control(
                        task.curves, x, slugs, tuple(plans), options.simulations, options.seed, lambda n: tell("forest with simulations", n)
                    )
                except ImportError as error:
                    missing["forest_with_simulations"] = f"{error.name} is not installed"
        return cls(x, bookkeeping(task.curves), random, control, missing)


def _head(task: Task, bundle: Bundle, session: Session, options: Options, plans: Mapping[int, Episodes]) -> dict[str, Any]:
    """What the report says before any figure."""
    names, number = np.unique(task.labels, return_counts=True)
    meant = {str(c): slug_of(str(c), bundle.classes) for c in names}
    cut = Cut.of(task.curves)
    return {
        "task": {
            "objects": len(task.curves),
            "classes": {str(c): int(n) for c, n in zip(names, number, strict=True)},
            "simulated_as": meant,
            "persistent": task.persistent,
            "cut": {name: getattr(cut, name) if np.isfinite(getattr(cut, name)) else None for name in cut.__slots__},
        },
        "protocol": {
            "episodes": options.episodes,
            "queries_a_class": QUERIES,
            "seed": options.seed,
            "simulated_curves_a_class": options.each,
            "units": "accuracy, recall and errors are shares of 1",
            "interval": "95 %, query objects resampled within their class, support not; episode_error: 1.96 standard errors over episodes",
            "centre": options.centre,
            "tuned": "on the shared tasks: the head's weights (by prototypes/fewshot) and the centre, the best of three",
        },
        "model": {"sha256": bundle.sha256, "engine": session.engine, "command": bundle.manifest.command, "classes": list(bundle.classes)},
        "zero_shot": _zero_shot(task, bundle),
        "classes_by_k": {str(k): list(e.classes) for k, e in plans.items()},
        "too_small": {str(k): list(e.left_out) for k, e in plans.items()} | {str(k): "all" for k in options.shots if k not in plans},
        **{name: {} for name in BY_K},
    }


def _zero_shot(task: Task, bundle: Bundle) -> dict[str, Any] | None:
    """Without any example, all objects once; None where no class is simulated."""
    names = sorted(set(task.labels.tolist()))
    slugs = tuple(slug_of(c, bundle.classes) for c in names)
    spoken, known = ours.speak(task.views, slugs, bundle.classes)
    if not known.any():
        return None
    right = measures.hits(spoken[:, None, :].swapaxes(0, 1), np.searchsorted(names, task.labels))[0]
    recall = {c: float(right[task.labels == c].mean()) for c in names}
    simulated = [recall[c] for c, k in zip(names, known, strict=True) if k]
    return {"accuracy": float(np.mean(list(recall.values()))), "accuracy_simulated": float(np.mean(simulated)), "per_class": recall}


def _one_k(
    report: dict[str, Any], key: str, e: Episodes, task: Task, bundle: Bundle, rivals: _Rivals, options: Options, tell: Tell
) -> None:
    """Every figure at one K."""
    shots, truth = e.shots, e.query_class
    slugs = tuple(slug_of(c, bundle.classes) for c in e.classes)
    spoken, known = ours.speak(task.views, slugs, bundle.classes)
    voice = spoken if known.any() else None
    centre = stages.centre_of(bundle, task.knowledge, options)
    anchor = ours.physics(slugs, task.knowledge, centre)
    read = ours.examples(task.views, e, centre)
    score = fewshot.taught(read, shots, anchor, None if voice is None else voice[e.query])
    resampling = Resampling.of(e)

    # Confidence: what simulations say, moved by the K examples' own left-out scores.
    calibration = ours.calibrate(shots, task.knowledge, bundle.classes, options.seed, centre)
    aside = fewshot.left_out(read, shots, anchor, None if voice is None else voice[e.support]) if shots > 1 else None
    if aside is None:
        temperature = np.full(len(e), calibration.temperature)
    else:
        temperature = ours.temperatures(aside, e.support_class, calibration.temperature)
    probability = fewshot.softmax(score, temperature[:, None, None])
    right = measures.hits(score, truth)
    confidence = probability.max(axis=-1)
    error = measures.calibration_error(confidence, right)
    null = measures.calibration_null(confidence, e.query)
    recall = measures.per_class(right, e)

    report["accuracy"][key] = float(recall.mean())
    report["interval"][key] = resampling.interval(right)
    report["episode_error"][key] = measures.episode_error(right, e)
    report["per_class"][key] = {c: float(r) for c, r in zip(e.classes, recall, strict=True)}
    report["by_physics"][key] = {
        name: float(recall[rows].mean()) if rows.any() else None for name, rows in (("simulated", known > 0), ("not simulated", known == 0))
    }
    report["ece"][key] = error
    report["ece_null"][key] = {"mean": float(null.mean()), "95 %": float(np.percentile(null, 95))}
    report["ece_above_null"][key] = error - float(null.mean())
    report["brier"][key] = float(measures.per_class(measures.brier(probability, truth), e).mean())
    report["temperature"][key] = {"simulations": calibration.temperature, "median": float(np.median(temperature))}
    report["conformal"][key] = _conformal(probability, aside, temperature, calibration, e, resampling)
    report["purity"][key] = {c: measures.purity(probability, truth, j) for j, c in enumerate(e.classes)}

    scores = _rivals(e, read, task, slugs, voice, bundle, rivals, options, tell)
    values = {name: measures.hits(s, truth) for name, s in scores.items()}
    report["baselines"][key] = {name: float(measures.per_class(h, e).mean()) for name, h in values.items()}
    report["baseline_intervals"][key] = {name: resampling.interval(h) for name, h in values.items()}
    report["gains"][key] = {
        name: {"gain": float(measures.per_class(right - h, e).mean()), "interval": resampling.interval(right - h)}
        for name, h in values.items()
    }


def _conformal(
    probability: F64, aside: F64 | None, temperature: F64, calibration: ours.Calibration, e: Episodes, resampling: Resampling
) -> dict[str, Any] | None:
    """Coverage and size of the 90 % set: calibrated on the examples left out one by one from K = 10 on, on simulated tasks
    of as many classes below; None at K = 1 where there are none."""
    quantile, how = None, ""
    alike = len(calibration.scores) > 0 and calibration.ways == len(e.classes)
    if aside is not None and (e.shots >= 10 or not alike):
        own = measures.own_scores(fewshot.softmax(aside, temperature[:, None, None]), e.support_class)
        quantile, how = measures.conformal_quantile(own), "the examples, each left out"
    elif alike:
        quantile, how = measures.conformal_quantile(calibration.scores), "simulated tasks"
    if quantile is None:
        return None
    inside, size = measures.conformal(probability, e.query_class, quantile)
    finite = {"coverage": calibration.coverage, "size": calibration.size} if np.isfinite(calibration.coverage) else None
    return {
        "calibrated_on": how,
        "coverage": float(measures.per_class(inside, e).mean()),
        "interval": resampling.interval(inside),
        "size": float(size.mean()),
        "simulated": finite,
    }


def _rivals(
    e: Episodes,
    read: fewshot.Examples,
    task: Task,
    slugs: tuple[str | None, ...],
    voice: F64 | None,
    bundle: Bundle,
    rivals: _Rivals,
    options: Options,
    tell: Tell,
) -> dict[str, F64]:
    """Scores of everything that is not the head, in the same episodes; (E, Q, k) by name."""
    shots = e.shots
    out = {"prototypes": fewshot.plain(read), "no_simulation": fewshot.taught(read, shots, None, None)}
    if voice is not None:
        out["zero_shot"] = voice[e.query]
    for other in CENTRES:
        if other != options.centre:
            centre = stages.centre_of(bundle, task.knowledge, replace(options, centre=other))
            anchor = ours.physics(slugs, task.knowledge, centre)
            own = None if voice is None else voice[e.query]
            out[f"{other}_centre"] = fewshot.taught(ours.examples(task.views, e, centre), shots, anchor, own)
    if rivals.random is not None:
        out["random_encoder"] = fewshot.taught(ours.examples(rivals.random, e, None), shots, None, None)
    if rivals.features is not None and rivals.bookkeeping is not None:
        forest = baselines.k_shot_forest(rivals.features, e, lambda n: tell(f"K = {shots}: forest", n))
        out["forest"] = forest
        out["bookkeeping"] = baselines.k_shot_forest(rivals.bookkeeping, e, lambda n: tell(f"K = {shots}: bookkeeping", n))
        out["ridge"], out["nearest_centroid"] = baselines.linear(rivals.features, e)
        if rivals.control is not None:
            out["forest_with_simulations"] = rivals.control.scores(forest, e, slugs)
    return out
