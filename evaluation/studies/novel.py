"""Kilonovae to a bundle that never saw one: whether they are called new, and whether a description puts a real one in its place.

a bundle without some kinds, a table that holds one real object of them → AUROC against everything else; the nearest class once it is known

Nothing here knows the kinds left out: not the encoder, not the prototypes (simulated, of every other class of the stream), not the
negatives. What is new is learned by leaving out each of the other classes in turn.
"""

from __future__ import annotations

from typing import Any

import numpy as np

from data.simulate.curves import kinds as with_curves
from data.simulate.draw import PopulationName
from data.tables import Curves, from_arrays
from evaluation import drawn, measures, pattern, task_head
from evaluation.drawn import KINDS
from evaluation.novelty import logistic
from evaluation.options import Labels
from evaluation.pattern import Patterns
from evaluation.simulated import DEEPER
from gpu.session import Session
from operators.head import centred
from operators.support import SHARPNESS
from operators.types import F64
from registry.bundle import Bundle

LEFT_OUT = ("KN", "KN-red", "GRB", "orphan")
NUMBERS = ("energy", "distance", "neighbours", "entropy", "unsure")
NEIGHBOURS = 10
MOST_LEARNED = 20_000


def novel(
    bundle: Bundle,
    session: Session,
    *,
    objects: Curves,
    labels: Labels,
    real: tuple[str, ...],
    left_out: tuple[str, ...] = LEFT_OUT,
    each: int = 60,
    unseen: int = 240,
    seed: int = 0,
) -> dict[str, Any]:
    """AUROC of the kinds left out against the rest.

    Parameters
    ----------
    objects, labels
        A table of real objects; those with ``labels`` empty are left out. `real`: ids of the objects that are new.
    each : int
        Simulated curves of each known kind: as many of the training's population for prototypes, of the demo's for "the rest".
    """
    known = tuple(k for k in with_curves() if k not in left_out)
    kinds = bundle.kinds
    train, train_kind = _curves(known, each, seed=seed, population="train")
    rest, rest_kind = _curves(known, max(each // 3, 10), seed=seed + 1, population="demo")
    new, _ = _curves(tuple(k for k in left_out if k.startswith("KN")) or left_out, unseen, seed=seed + 2, population="demo")
    views = {n: task_head.embed(c.difference(), session) for n, c in (("train", train), ("rest", rest), ("new", new), ("real", objects))}
    home = np.array([KINDS[k] or k for k in train_kind])
    centre = views["train"].embedding.mean(axis=0)
    columns = np.array([k not in left_out and k in known for k in kinds])

    rule = _learn(views["train"], train_kind, home=home, kinds=kinds, columns=columns, centre=centre, seed=seed)
    value = {
        n: _rate(rule, _numbers(v, views["train"], home=home, columns=columns, centre=centre)) for n, v in views.items() if n != "train"
    }
    is_new = np.isin(np.array(objects.object_id), real)
    other = ~is_new & (labels != "")
    out: dict[str, Any] = {
        "left_out": list(left_out),
        "simulated": {"new": len(new), "rest": len(rest), "auroc": measures.auroc(value["new"], value["rest"])},
        "numbers": dict(zip(NUMBERS, np.round(rule[2], 3).tolist(), strict=True)),
        "single_numbers": {
            n: measures.auroc(a, b)
            for n, a, b in zip(
                NUMBERS,
                _numbers(views["new"], views["train"], home=home, columns=columns, centre=centre).T,
                _numbers(views["rest"], views["train"], home=home, columns=columns, centre=centre).T,
                strict=True,
            )
        },
        "by_kind_of_the_rest": {k: measures.auroc(value["new"], value["rest"][rest_kind == k]) for k in sorted(set(rest_kind.tolist()))},
    }
    if is_new.any() and other.any():
        both = np.concatenate([value["new"], value["real"][is_new]])
        everything = np.concatenate([value["rest"], value["real"][other]])
        out["real"] = {
            "rest": int(other.sum()),
            "auroc_of_simulated_new": measures.auroc(value["new"], value["real"][other]),
            "objects": {
                o: {
                    "more_novel_than_share_of_the_real_rest": float((v > value["real"][other]).mean()),
                    "more_novel_than_share_of_the_simulated_rest": float((v > value["rest"]).mean()),
                }
                for o, v in zip(np.array(objects.object_id)[is_new], value["real"][is_new], strict=True)
            },
        }
        out["auroc"] = measures.auroc(both, everything)
        out["described"] = {
            o: described(
                objects.take([i]), views["real"].take(np.array([i])), session=session, known=known, added=left_out, each=each, seed=seed
            )
            for i, o in ((int(j), objects.object_id[int(j)]) for j in np.flatnonzero(is_new))
        }
    return out


def described(
    one: Curves, view: task_head.Views, *, session: Session, known: tuple[str, ...], added: tuple[str, ...], each: int, seed: int
) -> dict[str, Any]:
    """The nearest simulated prototype of an object, once the kinds left out are described.

    Every class is simulated under the object's own observing pattern, so that nothing but the light differs.
    """
    patterns = Patterns.of(one, False)
    classes: dict[str, list[F64]] = {}
    for kind in (*known, *added):
        parts = []
        for number in range(each):
            rng = drawn.rng_of(kind, number, seed=seed, population="train", purpose=13)
            found = pattern.look(drawn.draw(kind, rng, population="train", deeper=float(rng.uniform(*DEEPER))), patterns, rng=rng)
            if found is not None:
                parts.append(found)
            elif number == 7 and not parts:
                break  # nothing of this kind can be seen so
        if len(parts) >= each // 6:
            made = from_arrays([str(i) for i in range(len(parts))], parts)
            classes.setdefault(KINDS[kind] or kind, []).append(task_head.embed(made, session).embedding)
    means = {name: np.mean([z.mean(axis=0) for z in groups], axis=0) for name, groups in classes.items()}
    middle = np.mean(list(means.values()), axis=0)
    z = centred(view.embedding, middle)[0]
    cosine = {name: float(z @ centred(mean[None], middle)[0]) for name, mean in means.items()}
    order = sorted(cosine, key=lambda name: -cosine[name])
    return {"nearest": order[0], "cosine": {name: round(cosine[name], 3) for name in order[:6]}, "seen_so": len(order)}


def _curves(kinds: tuple[str, ...], each: int, *, seed: int, population: PopulationName) -> tuple[Curves, Any]:
    parts, label = [], []
    for kind in kinds:
        for part in drawn.streamed(kind, each, seed=seed, population=population):
            limit = np.full(len(part["time"]), np.nan)
            parts.append({**part, "flux": 1000 * part["flux"], "flux_err": 1000 * part["flux_err"], "limit": limit})
            label.append(kind)
    return from_arrays([f"{k}-{i}" for i, k in enumerate(label)], parts), np.array(label)


def _numbers(views: task_head.Views, train: task_head.Views, *, home: Any, columns: Any, centre: F64) -> F64:
    """(n, len(NUMBERS)); larger is newer."""
    names = sorted(set(home.tolist()))
    z, own = centred(views.embedding, centre), centred(train.embedding, centre)
    prototypes = np.stack([own[home == c].mean(axis=0) for c in names])
    prototypes = prototypes / np.maximum(np.linalg.norm(prototypes, axis=1, keepdims=True), 1e-6)
    cosine = z @ prototypes.T
    near = np.sort(z @ own.T, axis=1)[:, -NEIGHBOURS - 1 : -1].mean(axis=1)  # not the nearest: in training it is itself
    log = views.log_probability[:, columns]
    log = log - np.log(np.exp(log).sum(axis=1, keepdims=True))
    entropy = -(np.exp(log) * log).sum(axis=1)
    energy = -np.log(np.exp(SHARPNESS * cosine).sum(axis=1))
    return np.stack([energy, 1 - cosine.max(axis=1), 1 - near, entropy, -log.max(axis=1)], axis=1)


def _learn(
    train: task_head.Views, kind: Any, *, home: Any, kinds: tuple[str, ...], columns: Any, centre: F64, seed: int
) -> tuple[F64, F64, F64]:
    """Mean, spread and weights of the numbers: each class of the stream is unseen once."""
    values, new = [], []
    for c in sorted(set(home.tolist())):
        inside = np.flatnonzero(home != c)
        without = columns & ~np.isin(kinds, sorted(set(kind[home == c].tolist())))
        found = _numbers(train, train.take(inside), home=home[inside], columns=without, centre=centre)
        values.append(found)
        new.append((home == c).astype(np.float64))
    x, y = np.concatenate(values), np.concatenate(new)
    rng = np.random.default_rng(seed)
    positive, negative = np.flatnonzero(y == 1), np.flatnonzero(y == 0)
    rows = np.concatenate([positive, rng.choice(negative, min(len(positive), len(negative)), replace=False)])[:MOST_LEARNED]
    mean, spread = x[rows].mean(axis=0), x[rows].std(axis=0) + 1e-6
    return mean, spread, logistic((x[rows] - mean) / spread, y[rows])


def _rate(rule: tuple[F64, F64, F64], values: F64) -> F64:
    mean, spread, weight = rule
    return np.asarray(((values - mean) / spread) @ weight)
