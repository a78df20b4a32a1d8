"""Recipes of a retrain: a champion, labelled packets and a window of the stream → a challenger's bundle. Read `make` first.

    head         the head anew, the encoder as it is: seconds (the default)
    last_layers  the layers behind those that read one input each, from the champion's: a minute
    fine_tune    the whole encoder, from the champion's, with a replay buffer of simulated alerts: minutes
    from_scratch a training as `protonova train` does it, with the labelled alerts: an hour

In every one the labels of the model's own classes move the head, and a class that the model does not know becomes a taught share in
the bundle's head (`operators.taught`), bounded by known alerts and by the window. The same packets, labels, champion, recipe and seed give
the same bytes on the same machine; the manifest has the digest of what it was made from.
"""

from __future__ import annotations

import hashlib
import json
from collections import Counter
from collections.abc import Mapping
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np

from errors import UserError
from gpu.ort import OrtSession
from learning.head_update import update
from learning.hyperparameters import LAST_LAYERS
from learning.labelled import Labelled, Seen, Window, labelled_alerts, see_labelled
from learning.plan import Plan
from learning.workplace import Progress, Unattended, Workplace
from operators import taught
from operators.head import Head, Views, judge
from operators.taught import FALSE_CALLS, FALSE_CALLS_IN_SIGHT, LEAST_WINDOW, Reference
from operators.types import F32
from pipeline.examples import see_packets
from pipeline.state import ScoringState, make_state
from registry.bundle import Bundle, Golden, Parts, load, save
from schemas.surveys.decode import Decoder

HEAD, LAST, FINE, SCRATCH = "head", "last_layers", "fine_tune", "from_scratch"
RECIPES = (HEAD, LAST, FINE, SCRATCH)
"""From the cheapest to the dearest: of two commands that are merged the dearer one is made."""
REPLAY = 16_000
"""Simulated alerts of the replay buffer; simulated once, then read."""
WINDOW_CALLS = 0.05
"""Share of the window that may be called a new class, its true ones among them: more than where a person teaches unasked, for a command
says that something has changed."""
MOST_PRIOR = 0.05
"""Largest share of the stream that a new class is taken to have by what the window shows."""
REPEATED = 10
"""Most often that a labelled alert of a known class counts among the known alerts that a new class is solved against."""
TUNING: Mapping[str, float] = {"batch": 320, "weight_decay": 0.0, "average": 0.99, "clean": 0.0, "curves": 0.25, "space": 0.06}
STEPS: Mapping[str, int] = {LAST: 200, FINE: 1000}
"""A minute and four and a half of two cores that compute in float32, with export and head; docs/retraining.md has what they reach."""
RATES: Mapping[str, float] = {LAST: 3e-4, FINE: 4e-4}


class RecipeError(UserError):
    """A challenger cannot be made of this. One line."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Workshop:
    """Where a challenger is made and by what means; of it only `replay`, `minutes` and what lies in `real` change the bundle."""

    created_on: str
    """A date for the manifest, year-month-day."""
    version: str = ""
    """Of the code, for the manifest."""
    sets: Path | None = None
    """Folder of the replay buffer; None: it is simulated each time."""
    replay: int = REPLAY
    """Alerts of the replay buffer."""
    processes: int = 2
    real: Path | None = None
    """Folder of labelled real packets that a fitted head reads too."""
    minutes: float = 60.0
    """Of a training from scratch."""


def make(
    recipe: str,
    champion: Path,
    *,
    labelled: Labelled,
    window: Window,
    seed: int,
    to: Path,
    workshop: Workshop,
    progress: Progress | None = None,
) -> Bundle:
    """Make a challenger.

    Parameters
    ----------
    recipe : str
        One of `RECIPES`.
    champion : Path
        Folder of its bundle.
    labelled : Labelled
    window : Window
    seed : int
        Of every draw.
    to : Path
        Folder of the challenger's bundle.
    workshop : Workshop
    progress : Progress, optional

    Raises
    ------
    RecipeError
        There is no such recipe, or nothing to learn from.
    registry.bundle.BundleError
        The champion is not a bundle, or `to` holds something else.
    learning.plan.PlanError
        The champion cannot be trained further.
    """
    if recipe not in RECIPES:
        raise RecipeError(f"{recipe!r} is not a recipe; there are {', '.join(RECIPES)}")
    progress = progress or Unattended()
    before = load(champion)
    state = _state(before)
    progress.stage(f"embedding {len(labelled.packets):,} labelled packets and a window of {len(window.packets):,}")
    seen = see_labelled(labelled, state, classes=before.classes)
    if not seen.packets and recipe == HEAD:
        raise RecipeError(f"nothing to learn from: none of {len(labelled.packets):,} labelled packets can be used ({_why(seen)})")
    # What is labelled is in the stream as well: the window is what is left.
    apart = set(labelled.packets)
    rest = [packet for packet in window.packets if packet not in apart]
    if recipe == HEAD:
        progress.stage("fitting the head")
        head, unseen = update(before, seen.of_known, label=seen.known[seen.known >= 0], object_id=_objects_of_known(seen))
        base, kept = replace(before, head=head, unseen=unseen), _kept(before, seen)
    else:
        _refuse_lost(before, seen)
        base = _trained(recipe, before, champion=champion, seen=seen, state=state, seed=seed, to=to, workshop=workshop, progress=progress)
        kept = {}
        state = _state(base)
        seen = see_labelled(labelled, state, classes=base.classes)
    progress.stage(f"teaching {', '.join(seen.names) or 'no new class'}")
    views = see_packets(rest, state).views
    head, facts = _taught(base, seen, window=views, kept=kept)
    revisions = {name: labelled.taught.get(name, (before.manifest.taught or {}).get(name, 0)) for name in head.taught}
    record = {
        "recipe": recipe,
        "champion": before.sha256,
        "seed": seed,
        "data": digest_of(labelled, window),
        "labels": dict(sorted(Counter(_names(seen, before)).items())),
        "left_out": dict(sorted(seen.left_out.items())),
        "window": len(rest),
        "version": workshop.version,
        **({"replay": workshop.replay} if recipe in STEPS else {}),
    }
    manifest = base.manifest.model_dump(exclude={"format", "files"}) | {
        "created_by": "protonova retrain",
        "created_on": workshop.created_on,
        "head_command": f"protonova retrain --recipe {recipe}" if recipe == HEAD else "",
        "lock": "",
        "taught": revisions or None,
        "retrain": record,
    }
    held = before.manifest.figures.get("taught") or {}
    manifest["figures"] = {**manifest["figures"], "taught": {**{name: held[name] for name in kept if name in held}, **facts}}
    progress.stage("writing the bundle")
    shown = Views(base.golden.embedding, base.golden.logits, base.golden.named)
    golden = Golden(**{**_arrays(base.golden), "probability": np.asarray(judge(shown, head).probability)})
    unseen = tuple(replace(head, ridge=one.ridge, offset=one.offset) for one in base.unseen)
    return save(to, Parts(manifest, base.encoder, head, base.reference, golden, unseen))


def digest_of(labelled: Labelled, window: Window) -> str:
    """sha256 of what a challenger learns from: packets, labels, the window; in whatever order they came."""
    whole = hashlib.sha256()
    rows = sorted(zip(labelled.packet_ids, labelled.labels, map(_sha256, labelled.packets), strict=True))
    whole.update(json.dumps([rows, sorted(map(_sha256, window.packets)), sorted(labelled.taught.items())]).encode())
    return whole.hexdigest()


def plan_of(recipe: str, champion: Path, *, seed: int, workshop: Workshop) -> Plan:
    """The plan of a recipe that trains."""
    if recipe == SCRATCH:
        return Plan(seed=seed, minutes=workshop.minutes)
    return Plan(
        alerts=workshop.replay,
        curves=workshop.replay * 3 // 4,
        space=workshop.replay // 12,
        steps=STEPS[recipe],
        seed=seed,
        start_from=str(champion),
        trainable=LAST_LAYERS if recipe == LAST else (),
        hyperparameters={**TUNING, "learning_rate": RATES[recipe]},
    )


def _trained(
    recipe: str, before: Bundle, *, champion: Path, seen: Seen, state: ScoringState, seed: int, to: Path, workshop: Workshop,
    progress: Progress,
) -> Bundle:  # fmt: skip
    """A bundle with another encoder and a head fitted on it, without the new classes."""
    from learning.recipe import train

    place = Workplace(
        out=to.with_name(f"{to.name}.encoder"),
        created_on=workshop.created_on,
        processes=workshop.processes,
        sets=workshop.sets,
        real=workshop.real,
    )
    plan = plan_of(recipe, champion, seed=seed, workshop=workshop)
    return train(plan, place, progress=progress, labelled=labelled_alerts(seen, state))


def _taught(base: Bundle, seen: Seen, *, window: Views, kept: Mapping[str, Mapping[str, Any]]) -> tuple[Head, dict[str, Any]]:
    """The head with the new classes beside what it keeps, and what is known of each."""
    bounded = window.embedding.shape[0] >= LEAST_WINDOW
    false_calls = FALSE_CALLS_IN_SIGHT if bounded else FALSE_CALLS
    reference = with_labelled(base.reference, seen)
    bare = taught.bare(base.head)
    columns, facts = dict(kept), {}
    for name in seen.names:
        examples = seen.of_new(name)
        given: dict[str, Any] = {
            "examples": examples, "reference": reference, "window": window if bounded else None, "false_calls": false_calls,
            "window_calls": WINDOW_CALLS,
        }  # fmt: skip
        first = taught.teach(bare, name, **given)
        called = _called(window, first) if bounded else 0.0
        prior = float(np.clip(called - 2 * false_calls, taught.PRIOR, MOST_PRIOR))
        alone = taught.teach(bare, name, prior=prior, **given)
        columns[name] = taught.taught_columns(alone)[name]
        alike = taught.alike(alone, name, examples=examples, reference=reference)
        facts[name] = {
            "examples": len(alike),
            "recall": round(float(alike.mean()), 4),
            "false_calls": {which: round(rate, 5) for which, rate in _false_calls(base.reference, alone).items()},
            "window": round(called, 5),
            "prior": prior,
        }
    return taught.put(bare, columns), facts


def with_labelled(reference: Reference, seen: Seen) -> Reference:
    """The bundle's known alerts, and labelled ones of known classes, some of them several times: a new class is solved against both."""
    n = int((seen.known >= 0).sum())
    if not n:
        return reference
    times = min(REPEATED, max(1, len(reference.label) // (5 * n)))
    own = seen.of_known
    joined = Views(
        *(
            np.concatenate([np.asarray(a, dtype=np.float32), *[np.asarray(b, dtype=np.float32)] * times])
            for a, b in zip(reference.views, own, strict=True)
        )
    )
    label = np.concatenate([reference.label, *[seen.known[seen.known >= 0]] * times])
    copies = np.concatenate([np.zeros(len(reference.label), dtype=np.int64), np.full(n * times, times)])
    return Reference(joined, label, np.concatenate([reference.images, np.ones(n * times, dtype=bool)]), copies)


def _kept(before: Bundle, seen: Seen) -> dict[str, Mapping[str, Any]]:
    """Classes that the champion was taught and that have no label now stay as they are."""
    return {name: columns for name, columns in taught.taught_columns(before.head).items() if name not in seen.names}


def _refuse_lost(before: Bundle, seen: Seen) -> None:
    """An embedding that changes takes the champion's taught classes with it, unless their examples are at hand."""
    lost = sorted(set(before.head.taught) - set(seen.names))
    if lost:
        raise RecipeError(f"{', '.join(lost)}: no example is at hand any more, and another encoder needs some; label or teach a few first")


def _called(views: Views, head: Head) -> float:
    """Share of alerts whose most probable class is the last taught one."""
    probability = judge(Views(*(np.asarray(column, dtype=np.float32) for column in views)), head).probability
    return float((probability[:, :-1].argmax(axis=1) == probability.shape[1] - 2).mean())


def _false_calls(reference: Reference, head: Head) -> dict[str, float]:
    return {
        name: _called(reference.keep(rows).views, head)
        for name, rows in (("with images", reference.images), ("without", ~reference.images))
        if rows.any()
    }


def _state(bundle: Bundle) -> ScoringState:
    return make_state(bundle, OrtSession(bundle.encoder), why="a retrain", decoder=Decoder())


def _objects_of_known(seen: Seen) -> tuple[str, ...]:
    return tuple(name for name, known in zip(seen.object_ids, seen.known.tolist(), strict=True) if known >= 0)


def _names(seen: Seen, before: Bundle) -> list[str]:
    pairs = zip(seen.known.tolist(), seen.new.tolist(), strict=True)
    return [before.classes[known] if known >= 0 else seen.names[new] for known, new in pairs]


def _arrays(golden: Golden) -> dict[str, F32]:
    return {name: getattr(golden, name) for name in Golden.__dataclass_fields__}


def _why(seen: Seen) -> str:
    return "; ".join(f"{n}: {why}" for why, n in seen.left_out.items()) or "there are none"


def _sha256(packet: bytes) -> str:
    return hashlib.sha256(packet).hexdigest()
