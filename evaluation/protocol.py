"""The protocol, in order: a task, a bundle → the report.

Every figure of a task uses the same episodes, the same resampled objects and nothing that a user with K examples would not have.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, replace
from typing import Any

import numpy as np
import numpy.typing as npt

from data.tables import Curves, TableError
from evaluation import baselines, confidence, measures, report_pictures, stages, task_head
from evaluation.clock import Clock
from evaluation.drawn import DRAWN
from evaluation.episodes import QUERIES, Episodes, make
from evaluation.handmade import bookkeeping, hand_made
from evaluation.kinds import Rule, kinds_of
from evaluation.measures import Resampling
from evaluation.novelty import Known
from evaluation.options import CENTRES, Labels, Options
from evaluation.simulated import Looks
from gpu.session import Session
from operators.head import softmax
from operators.support import Physics, Support, balance, left_out, plain
from operators.types import F64
from registry.bundle import Bundle

BY_K = (
    "accuracy", "interval", "episode_error", "per_class", "by_physics", "ece", "ece_null", "ece_above_null", "brier", "temperature",
    "conformal", "purity", "confusion", "reliability", "baselines", "baseline_intervals", "gains",
)  # fmt: skip
"""Keys of the report that hold one entry a K."""

TUNED = (
    "on the shared tasks: the head's weights (by prototypes/fewshot; the ridge's, the named features' and their scale, and what an "
    "unsimulated class changes in them, here), the centre (the bundle's, of three) and the offsets a class from five examples on. "
    "Both ways of making simulations look like a task were tried there: pattern is the default for its confidence"
)

LEAST_FOR_OFFSETS = 5
"""Examples a class from which they say how much a class is preferred; with one each they say nothing of it."""
Progress = Callable[[str, int], None]


@dataclass(frozen=True, slots=True)
class Task:
    """A task seen by the encoder, once for all episodes."""

    curves: Curves
    """As the table has them."""
    labels: Labels
    looks: Looks
    views: task_head.Views
    made: task_head.Simulations | None
    known: Known

    @property
    def knowledge(self) -> task_head.Knowledge | None:
        """What the head takes from simulation; None without it."""
        return self.known.knowledge

    @property
    def names(self) -> tuple[str, ...]:
        """The classes of the labels, sorted."""
        return tuple(sorted(set(self.labels.tolist())))

    def simulated(self, name: str) -> bool:
        """Whether a class has a simulated prototype."""
        return self.knowledge is not None and bool((self.knowledge.anchors_label == name).any())

    def made_of(self, names: tuple[str, ...]) -> F64 | None:
        """(K, k) which kinds make which of some classes; None where the network has no kind for any of them."""
        made_of, known = task_head.zero_shot_map(names, self.known.kinds, rule=self.known.rule)
        return made_of if known.any() else None


def evaluate(
    curves: Curves, labels: Labels, *, bundle: Bundle, session: Session, options: Options, progress: Progress = lambda _, __: None
) -> dict[str, Any]:
    """Evaluate a bundle on a task.

    Parameters
    ----------
    curves, labels : of n objects
    bundle, session
        The session runs the bundle's encoder.
    options : Options
    progress : callable
        Called with what is being done and how many steps are done.

    Raises
    ------
    TableError
        No K leaves two classes with enough objects.
    """
    clock = Clock()
    planned = {k: make(labels, k, episodes=options.episodes, seed=options.seed) for k in options.shots}
    plans = {k: e for k, e in planned.items() if e is not None}
    if not plans:
        raise TableError(f"no two classes have {min(options.shots)} + 5 objects: give more labels or fewer --shots")
    progress("embedding", 0)
    task = see(curves, labels, bundle=bundle, session=session, options=options, clock=clock)
    progress("embedding", 1)
    inputs = _BaselineInputs.of(task, bundle, plans=plans, options=options, progress=progress, clock=clock)
    report = _head(task, bundle, session=session, options=options, plans=plans) | {"missing_baselines": dict(inputs.missing)}
    if inputs.control is not None:
        report["control"] = inputs.control.chosen()
    for k, e in plans.items():
        progress(f"K = {k}", 0)
        _one_k(report, str(k), e=e, task=task, bundle=bundle, inputs=inputs, options=options, progress=progress, clock=clock)
        progress(f"K = {k}", 1)
    k = 5 if 5 in plans else max(plans)
    progress("novelty and time", 0)
    with clock("novelty"):
        report["open_set"] = {
            str(n): stages.open_set(task.views, labels, shots=n, known=task.known, options=options) for n in plans if n <= 5
        }
    with clock("over time"):
        lasting = task.looks.persistent
        report["over_time"] = (
            None
            if lasting
            else stages.over_time(task.curves, plans[k], made=task.made, known=task.known, bundle=bundle, session=session, options=options)
        )
    progress("novelty and time", 1)
    held = task.knowledge
    report["map"] = report_pictures.embedding_map(
        task.views, labels, middle=stages.centre_of(bundle, held, options=options), anchors=None if held is None else held.anchors,
        anchors_label=None if held is None else held.anchors_label, seed=options.seed,
    )  # fmt: skip
    report["seconds"] = clock.seconds | {"all": clock.all()}
    return report


def see(
    curves: Curves,
    labels: Labels,
    *,
    bundle: Bundle,
    session: Session,
    options: Options,
    clock: Clock,
    made: task_head.Simulations | None = None,
) -> Task:
    """Embed a task, simulate its classes as it was looked at, and embed those.

    Parameters
    ----------
    made : Simulations, optional
        Of this task by the same options, so that variants of a head or of an encoder need not simulate again.
    """
    with clock("embedding"):
        difference = curves.difference()
        persistent = bool((difference.flux != curves.flux).mean() > 0.5)
        looks = Looks.of(curves, persistent)
        views = task_head.embed(difference, session, blind=options.blind)
    every = tuple(k for k in DRAWN if k not in options.unseen)
    kinds = tuple("" if k in options.unseen else k for k in bundle.kinds)
    names = tuple(c for c in sorted(set(labels.tolist())) if kinds_of(c, every))
    knowledge = None
    if made is None and names and options.each:
        with clock("simulation"):
            made = task_head.Simulations.of(
                looks, names, each=options.each, seed=options.seed, mode=options.looks, processes=options.processes, every=every
            )
        if not len(made.anchors):
            made = None
    if made is not None:
        with clock("embedding of simulations"):
            knowledge = task_head.learn(
                replace(made, aside=confidence.worse(made.aside, np.random.default_rng(options.seed))), session, blind=options.blind
            )
    rule: Rule = task_head.rule_of(knowledge, kinds)
    return Task(curves, labels, looks, views, made, Known(knowledge, kinds, rule, stages.centre_of(bundle, knowledge, options=options)))


@dataclass(frozen=True, slots=True)
class _BaselineInputs:
    """What the baselines need, once for all episodes; None where it was not asked for or cannot be had."""

    features: F64 | None
    bookkeeping: F64 | None
    random: task_head.Views | None
    control: baselines.Control | None
    missing: Mapping[str, str]

    @classmethod
    def of(
        cls, task: Task, bundle: Bundle, *, plans: Mapping[int, Episodes], options: Options, progress: Progress, clock: Clock
    ) -> _BaselineInputs:
        if options.baselines == "none":
            return cls(None, None, None, None, {"all": "not asked for"})
        progress("features", 0)
        with clock("features"):
            x = hand_made(task.curves)
        progress("features", 1)
        missing, random, control = {}, None, None
        if options.baselines == "fast":
            missing = dict.fromkeys(("random_encoder", "forest_with_simulations"), "only with --baselines all")
        else:
            try:
                random = task_head.embed(task.curves.difference(), baselines.random_session(bundle, options.seed))
            except ImportError as error:
                missing["random_encoder"] = f"{error.name} is not installed"
            progress("forest with simulations", 0)
            with clock("forest with simulations"):
                control = baselines.control(
                    x, task.looks, names=task.names, shots=tuple(plans), curves=options.simulations, seed=options.seed,
                    mode=options.looks, processes=options.processes, progress=lambda n: progress("forest with simulations", n),
                )  # fmt: skip
            if control is None:
                missing["forest_with_simulations"] = "fewer than two of the task's classes are simulated"
        return cls(x, bookkeeping(task.curves), random, control, missing)


def _head(task: Task, bundle: Bundle, *, session: Session, options: Options, plans: Mapping[int, Episodes]) -> dict[str, Any]:
    """What the report says before any figure."""
    names, number = np.unique(task.labels, return_counts=True)
    every = DRAWN
    meant = {str(c): {"kinds": list(kinds_of(str(c), every)), "zero_shot_kinds": list(kinds_of(str(c), task.known.kinds))} for c in names}
    cut = task.looks.cut
    return {
        "task": {
            "objects": len(task.curves),
            "classes": {str(c): int(n) for c, n in zip(names, number, strict=True)},
            "simulated_as": meant,
            "persistent": task.looks.persistent,
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
            "looks": options.looks,
            "zero_shot_rule": task.known.rule,
            "tuned": TUNED,
        },
        "model": {
            "sha256": bundle.sha256,
            "engine": session.engine,
            "command": bundle.manifest.command,
            "classes": list(bundle.classes),
            "kinds": len(task.known.kinds),
        },
        "zero_shot": zero_shot(task),
        "classes_by_k": {str(k): list(e.classes) for k, e in plans.items()},
        "too_small": {str(k): list(e.left_out) for k, e in plans.items()} | {str(k): "all" for k in options.shots if k not in plans},
        **{name: {} for name in BY_K},
    }


def zero_shot(task: Task) -> dict[str, Any] | None:
    """Without any example, all objects once; None where no class is simulated."""
    names = task.names
    zero_shot_log, known = task_head.zero_shot_log_probability(task.views, names, kinds=task.known.kinds, rule=task.known.rule)
    if not known.any():
        return None
    right = measures.hits(zero_shot_log[:, None, :].swapaxes(0, 1), np.searchsorted(names, task.labels))[0]
    recall = {c: float(right[task.labels == c].mean()) for c in names}
    simulated = [recall[c] for c, k in zip(names, known, strict=True) if k]
    return {"accuracy": float(np.mean(list(recall.values()))), "accuracy_simulated": float(np.mean(simulated)), "per_class": recall}


def _one_k(
    report: dict[str, Any],
    key: str,
    *,
    e: Episodes,
    task: Task,
    bundle: Bundle,
    inputs: _BaselineInputs,
    options: Options,
    progress: Progress,
    clock: Clock,
) -> None:
    """Every figure at one K."""
    with clock("head"):
        score, probability, temperature, calibration, aside = judge(e, task, options=options)
        resampling = Resampling.of(e)
        right = measures.hits(score, e.query_class)
        known = np.array([task.simulated(c) for c in e.classes])
        _figures(report, key, e=e, right=right, known=known, resampling=resampling)
        _sureness(report, key, e=e, right=right, score=score, probability=probability, temperature=temperature, calibration=calibration)
        report["conformal"][key] = _conformal(
            probability, aside, temperature=temperature, calibration=calibration, e=e, resampling=resampling
        )
    scores = _baseline_scores(e, task, bundle=bundle, inputs=inputs, options=options, progress=progress, clock=clock)
    values = {name: measures.hits(s, e.query_class) for name, s in scores.items()}
    report["baselines"][key] = {name: float(measures.per_class(h, e).mean()) for name, h in values.items()}
    report["baseline_intervals"][key] = {name: resampling.interval(h) for name, h in values.items()}
    report["gains"][key] = {
        name: {"gain": float(measures.per_class(right - h, e).mean()), "interval": resampling.interval(right - h)}
        for name, h in values.items()
    }


def judge(e: Episodes, task: Task, *, options: Options) -> tuple[F64, F64, F64, confidence.Calibration, F64 | None]:
    """Scores and probabilities (E, Q, k) of the queries, temperatures (E,), what simulations say, left-out scores of the examples."""
    made_of, centre, shots, unseen = task.made_of(e.classes), task.known.centre, e.shots, task.known.unseen(e.classes)
    anchor = task_head.physics(e.classes, task.knowledge, centre=centre)
    read = task_head.examples(task.views, e, centre=centre)
    support = task_head.support_of(read, shots, anchor=anchor, made_of=made_of, unseen=unseen, parts=options.head)
    score = task_head.score(read, support)
    # Confidence: what simulations say, moved by the K examples' own left-out scores.
    known = task.known
    calibration = confidence.calibrate(
        shots, known.knowledge, kinds=known.kinds, rule=known.rule, seed=options.seed, centre=centre, head=options.head, unseen=unseen
    )
    aside = None
    if confidence.uses_left_out(shots, anchor):
        aside = np.asarray(left_out(support))
    temperature = confidence.temperatures(aside, e.support_class, calibration=calibration, episodes=len(e))
    if aside is not None and options.head.offsets and shots >= LEAST_FOR_OFFSETS:
        by = temperature[:, None, None]
        offset = np.asarray(balance(aside / by, np.eye(len(e.classes))[e.support_class])) * by
        score, aside = score + offset, aside + offset
    probability = np.asarray(softmax(score, temperature[:, None, None]))
    return score, probability, temperature, calibration, aside


def _figures(report: dict[str, Any], key: str, *, e: Episodes, right: F64, known: npt.NDArray[np.bool_], resampling: Resampling) -> None:
    recall = measures.per_class(right, e)
    report["accuracy"][key] = float(recall.mean())
    report["interval"][key] = resampling.interval(right)
    report["episode_error"][key] = measures.episode_error(right, e)
    report["per_class"][key] = {c: float(r) for c, r in zip(e.classes, recall, strict=True)}
    report["by_physics"][key] = {
        name: float(recall[rows].mean()) if rows.any() else None for name, rows in (("simulated", known), ("not simulated", ~known))
    }


def _sureness(
    report: dict[str, Any], key: str, *, e: Episodes, right: F64, score: F64, probability: F64, temperature: F64,
    calibration: confidence.Calibration,
) -> None:  # fmt: skip
    truth, sure = e.query_class, probability.max(axis=-1)
    error = measures.calibration_error(sure, right)
    null = measures.calibration_null(sure, e.query)
    report["ece"][key] = error
    report["ece_null"][key] = {"mean": float(null.mean()), "95 %": float(np.percentile(null, 95))}
    report["ece_above_null"][key] = error - float(null.mean())
    report["brier"][key] = float(measures.per_class(measures.brier(probability, truth), e).mean())
    report["temperature"][key] = {"simulations": calibration.temperature, "median": float(np.median(temperature))}
    report["purity"][key] = {c: measures.purity(probability, truth, c=j) for j, c in enumerate(e.classes)}
    report["confusion"][key] = report_pictures.confusion(score, e)
    report["reliability"][key] = report_pictures.reliability(sure, right)


def _conformal(
    probability: F64, aside: F64 | None, *, temperature: F64, calibration: confidence.Calibration, e: Episodes, resampling: Resampling
) -> dict[str, Any] | None:
    """Coverage and size of the 90 % set; None at K = 1 where not every class is simulated."""
    own = None
    if aside is not None:
        own = measures.own_scores(np.asarray(softmax(aside, temperature[:, None, None])), e.support_class)
    found = confidence.quantile(own, calibration, ways=len(e.classes))
    if found is None:
        return None
    quantile, how = found
    inside, size = measures.conformal(probability, e.query_class, quantile=quantile)
    finite = {"coverage": calibration.coverage, "size": calibration.size} if np.isfinite(calibration.coverage) else None
    return {
        "calibrated_on": how,
        "coverage": float(measures.per_class(inside, e).mean()),
        "interval": resampling.interval(inside),
        "size": float(size.mean()),
        "simulated": finite,
    }


def _baseline_scores(
    e: Episodes, task: Task, *, bundle: Bundle, inputs: _BaselineInputs, options: Options, progress: Progress, clock: Clock
) -> dict[str, F64]:
    """Scores of everything that is not the head, in the same episodes; (E, Q, k) by name."""
    shots, made_of, unseen = e.shots, task.made_of(e.classes), task.known.unseen(e.classes)

    def scored(read: task_head.Read, anchor: Physics | None, *, made_of: F64 | None, unseen: bool) -> F64:
        return task_head.score(read, task_head.support_of(read, shots, anchor=anchor, made_of=made_of, unseen=unseen, parts=options.head))

    read = task_head.examples(task.views, e, centre=task.known.centre)
    bare = Support(read.support, read.label, shots)
    out: dict[str, F64] = {"prototypes": np.asarray(plain(bare, read.query.unit)), "no_simulation": task_head.score(read, bare)}
    if made_of is not None:
        out["zero_shot"] = task_head.zero_shot_log_probability(task.views, e.classes, kinds=task.known.kinds, rule=task.known.rule)[0][
            e.query
        ]
    for other in CENTRES:
        if other != options.centre:
            centre = stages.centre_of(bundle, task.knowledge, options=replace(options, centre=other))
            anchor = task_head.physics(e.classes, task.knowledge, centre=centre)
            out[f"{other}_centre"] = scored(task_head.examples(task.views, e, centre=centre), anchor, made_of=made_of, unseen=unseen)
    if inputs.random is not None:
        out["random_encoder"] = scored(task_head.examples(inputs.random, e, centre=None), None, made_of=None, unseen=True)
    if inputs.features is not None and inputs.bookkeeping is not None:
        with clock("forests of the examples"):
            forest = baselines.k_shot_forest(inputs.features, e, progress=lambda n: progress(f"K = {shots}: forest", n))
            out["forest"] = forest
            out["bookkeeping"] = baselines.k_shot_forest(inputs.bookkeeping, e, progress=lambda n: progress(f"K = {shots}: bookkeeping", n))
        with clock("ridge and centroids of features"):
            out["ridge"], out["nearest_centroid"] = baselines.linear(inputs.features, e)
        if inputs.control is not None:
            out["forest_with_simulations"] = inputs.control.scores(forest, e)
    return out
