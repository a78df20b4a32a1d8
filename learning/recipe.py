"""From a plan to a bundle: simulate, train, export, calibrate, evaluate, write. Read `train` first.

`Plan` (what decides the network), `Workplace` (where and how it is made) → `registry.bundle.Bundle`

The plan's number of steps is fixed before the first, never by the clock, so that a seed gives the same network on a slow machine too. A
run that was cut off goes on from its last checkpoint. Nothing here knows a terminal, a clock or a network: `console.commands.train` is
the command, and the trainer of the stream calls the same function.
"""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any, Protocol

import numpy as np

from data.simulate.classes import SLUGS, STREAM_MIX
from errors import InternalError
from gpu.ort import OrtSession
from gpu.session import Session
from learning import assessment
from learning.augment import augment
from learning.calibrate import ALERTS_A_NIGHT, calibrate
from learning.dataset import NAMES, SLUG_OF, Alerts, embed_alerts, kept, simulate, simulate_curves
from learning.encoder import Encoder
from learning.export import Agreement, compare, restore, to_onnx
from learning.fit import Checkpoint, Initial, Step, fit
from learning.hyperparameters import EncoderConfig
from learning.losses import has_bfloat16
from learning.plan import BY_THE_INPUTS, SHA256, Plan, PlanError
from operators.head import Head, Views, judge
from operators.types import F32
from pipeline.embed import embed, gather
from registry.bundle import PUBLISHED, Bundle, BundleError, Golden, Parts, load, refuse, save
from schemas.taxonomy import TAXONOMY

HELD_OUT = 12_000
"""Alerts for calibration, at most; a quarter of the training set if that is fewer."""
LEAST_HELD_OUT = 60
"""Of them, a class of the stream."""
DEMO = 6_000
"""Alerts of the demo's population to evaluate on, at most."""
GOLDEN = 8
LEAST_AGREEMENT = 0.999
"""Of the exported network with the trained one: cosine of the embeddings, share of equal labels."""


class Progress(Protocol):
    """Who follows a training. Every method returns at once and raises nothing but to stop it."""

    def stage(self, text: str) -> None:
        """Take note of what begins now."""

    def step(self, step: Step) -> None:
        """Take note of a step of the optimiser."""

    def figures(self, title: str, found: Mapping[str, Any]) -> None:
        """Take note of figures of `assessment.figures`."""


class Unattended:
    """Nobody follows."""

    def stage(self, text: str) -> None:
        """See `Progress`."""

    def step(self, step: Step) -> None:
        """See `Progress`."""

    def figures(self, title: str, found: Mapping[str, Any]) -> None:
        """See `Progress`."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Workplace:
    """Where a bundle is made and how; nothing of it changes a bit of the network."""

    out: Path
    """Folder of the bundle; what lies there is replaced once the new one is whole."""
    created_on: str
    """A date for the manifest, year-month-day: this package knows no clock."""
    processes: int = 2
    """That simulate."""
    sets: Path | None = None
    """Folder that keeps the simulated sets or has them (to be deleted when the simulator changes); None: they are not kept."""
    real: Path | None = None
    """Folder of labelled real packets with their LABELS.csv, to report on where it is there."""
    fresh: bool = False
    """Forget the checkpoint of an earlier run."""

    @property
    def checkpoint(self) -> Path:
        """Folder of the checkpoint, beside the bundle."""
        return self.out.with_name(f"{self.out.name}.training")


def train(plan: Plan, workplace: Workplace, progress: Progress | None = None) -> Bundle:
    """Make a bundle.

    Parameters
    ----------
    plan : Plan
    workplace : Workplace
    progress : Progress, optional
        Who follows; nobody by default.

    Returns
    -------
    Bundle
        As written and read back; its manifest holds the plan.

    Raises
    ------
    PlanError
        `Plan.start_from` is not a bundle that this plan can go on from.
    BundleError
        `Workplace.out` holds something else than a bundle, or the parts do not fit.
    FloatingPointError
        The loss is no longer finite.
    learning.shards.WorkerError
        A training process ended before its time.
    OSError
        Something cannot be written.
    """
    progress = progress or Unattended()
    refuse(workplace.out)  # now, not after twenty minutes
    initial = _initial(plan)
    workplace.checkpoint.mkdir(parents=True, exist_ok=True)
    data = _Sets.of(plan, workplace, progress)
    encoder = _fit(plan, workplace, data, initial, progress)
    progress.stage(f"{encoder.count():,} parameters; exporting")
    model = to_onnx(encoder)
    inputs = data.held_out.take(slice(0, 1000)).inputs()
    agreement = compare(encoder, model, *inputs)
    if min(agreement.cosine, agreement.same_label) < LEAST_AGREEMENT:
        raise InternalError(f"the exported network is not the trained one: {agreement}")
    session = OrtSession(model)
    head = calibrated(data.held_out, session)
    found = _figures(plan, workplace, session, head, agreement, progress)
    kept_plan = plan.resolved(initial.sha256 if initial is not None else None)
    manifest = {
        "classes": SLUGS,
        "kinds": NAMES,
        "taxonomy": TAXONOMY,
        "encoder": json.loads(encoder.config.to_json()),
        "parameters": encoder.count(),
        "created_by": "protonova train",
        "created_on": workplace.created_on,
        "command": command_of(kept_plan),
        "seed": plan.seed,
        "stream": {"alerts_a_night": ALERTS_A_NIGHT},
        "figures": found | {"recipe": asdict(plan.numbers())},
        "plan": kept_plan.record(),
    }
    bundle = save(workplace.out, Parts(manifest, model, head, _golden(data.held_out, session, head)))
    progress.stage("done")
    return bundle


def command_of(plan: Plan) -> str:
    """The command that a plan is, as the manifest and the model card name it."""
    words = [f"--{name.replace('_', '-')} {getattr(plan, name)}" for name in ("steps", "alerts", "curves", "seed")]
    words += [f"--without {kind}" for kind in plan.without]
    words += [f"--start-from {plan.start_from}"] if plan.start_from is not None else []
    words += [f"--trainable {part}" for part in plan.trainable]
    for flag, numbers in (("set", plan.hyperparameters), ("augment", plan.augmentation), ("missing", plan.missing), ("size", plan.encoder)):
        words += [f"--{flag} {name}={_plain(value)}" for name, value in numbers.items()]
    return " ".join(["protonova train", *words])


def _plain(value: object) -> str:
    return ",".join(map(str, value)) if isinstance(value, tuple) else str(int(value) if isinstance(value, bool) else value)


def without(alerts: Alerts, kinds: Sequence[str]) -> Alerts:
    """All but some kinds: what an encoder that never saw them is trained on."""
    return alerts.take(~np.isin(alerts.label, [NAMES.index(kind) for kind in kinds])) if kinds else alerts


def class_of_kinds() -> F32:
    """(K, k) 1 where a kind belongs to a class of the stream."""
    return np.asarray(SLUG_OF[:, None] == np.arange(len(SLUGS)), dtype=np.float32)


def calibrated(held_out: Alerts, session: Session) -> Head:
    """Fit the head on alerts half of which are seen as badly as in training: the sky is not the simulation, and confidence should know."""
    rng = np.random.default_rng(len(held_out))
    rows = rng.permutation(len(held_out))
    worse = augment(held_out.take(rows[::2]), rng)
    seen = gather(embed_alerts(chosen, session) for chosen in (worse, held_out.take(rows[1::2]))).views
    label = SLUG_OF[held_out.label[np.concatenate([rows[::2], rows[1::2]])]]
    order = rng.permutation(len(label))
    return calibrate(Views(*(column[order] for column in seen)), label[order], SLUGS, STREAM_MIX, class_of_kinds())


def _initial(plan: Plan) -> Initial | None:
    """The encoder to go on from."""
    if plan.start_from is None:
        return None
    folder = PUBLISHED if plan.start_from == "published" else Path(plan.start_from)
    if not folder.is_dir() and SHA256.fullmatch(plan.start_from):
        raise PlanError("start_from", "names a bundle by its sha256: give the folder where it lies")
    try:
        bundle = load(folder)
        encoder = restore(bundle.encoder)
    except (BundleError, ValueError) as error:
        raise PlanError("start_from", f"is not a bundle that can be trained further: {error}") from None
    if bundle.kinds != NAMES:
        raise PlanError("start_from", f"knows other kinds than are simulated now ({len(bundle.kinds)} and {len(NAMES)}): train from a seed")
    if not _same_inputs(encoder.config):
        raise PlanError("start_from", "reads other inputs than the operators make now: train from a seed")
    return Initial(encoder, bundle.sha256)


def _same_inputs(config: EncoderConfig) -> bool:
    now = asdict(EncoderConfig(classes=len(NAMES)))
    return all(asdict(config)[name] == now[name] for name in BY_THE_INPUTS)


@dataclass(frozen=True, slots=True)
class _Sets:
    """Simulated alerts and curves; training, calibration and evaluation never share one."""

    alerts: Alerts
    curves: Alerts | None
    held_out: Alerts

    @classmethod
    def of(cls, plan: Plan, workplace: Workplace, progress: Progress) -> _Sets:
        size = held_out_size(plan)
        progress.stage(f"simulating {plan.alerts:,} alerts to train on and {size:,} to calibrate with")
        seeds, processes = _seeds(plan), workplace.processes
        alerts = kept(_file(plan, workplace, "alerts", plan.alerts), lambda: simulate(plan.alerts, seeds[0], processes=processes))
        held_out = kept(_file(plan, workplace, "held-out", size), lambda: simulate(size, seeds[1], processes=processes))
        if not plan.curves:
            return cls(without(alerts, plan.without), None, held_out)
        progress.stage(f"simulating {plan.curves:,} light curves")
        curves = kept(_file(plan, workplace, "curves", plan.curves), lambda: simulate_curves(plan.curves, seeds[0], processes=processes))
        return cls(without(alerts, plan.without), without(curves, plan.without), held_out)


def held_out_size(plan: Plan) -> int:
    """Alerts that calibrate the head."""
    return min(HELD_OUT, max(plan.alerts // 4, LEAST_HELD_OUT * len(SLUGS)))


def _seeds(plan: Plan) -> list[int]:
    """Of training, calibration and evaluation."""
    return [3 * plan.seed + i for i in range(3)]


def _file(plan: Plan, workplace: Workplace, name: str, number: int) -> Path | None:
    """Where a simulated set is kept; None: nowhere."""
    return workplace.sets / f"{name}-{number}-{plan.seed}.safetensors" if workplace.sets is not None else None


def _fit(plan: Plan, workplace: Workplace, data: _Sets, initial: Initial | None, progress: Progress) -> Encoder:
    numbers = plan.numbers()
    config = plan.config() if initial is None else initial.encoder.config
    slow = numbers.half and not has_bfloat16("cpu")
    progress.stage(
        f"training {numbers.steps:,} steps of {numbers.batch}"
        f"{f', from the bundle {initial.sha256[:16]}' if initial is not None else ''}"
        f"{', in float32: this processor has no bfloat16' if slow else ''}"
    )
    checkpoint = Checkpoint(workplace.checkpoint)
    if workplace.fresh:
        checkpoint.clear()
    return fit(
        data.alerts,
        config,
        numbers,
        checkpoint,
        report=progress.step,
        strength=plan.strength(),
        curves=data.curves,
        initial=initial,
        trainable=plan.trainable,
    )


def _figures(plan: Plan, workplace: Workplace, session: Session, head: Head, agreement: Agreement, progress: Progress) -> dict[str, Any]:
    """What the bundle reaches on the demo's population and, where they are, on labelled real packets."""
    size = min(DEMO, held_out_size(plan))
    progress.stage(f"evaluating on {size:,} alerts of the demo's population")
    demo = kept(
        _file(plan, workplace, "demo", size),
        lambda: simulate(size, _seeds(plan)[2], "demo", workplace.processes, surveys={"ztf": 1.0}),
    )
    judged, _ = assessment.judge_alerts(demo, session, head)
    found: dict[str, Any] = {"demo": assessment.figures(judged, SLUG_OF[demo.label], demo.number, SLUGS), "export": asdict(agreement)}
    progress.figures("simulated alerts of the demo's population", found["demo"])
    if workplace.real is not None and (workplace.real / "LABELS.csv").is_file():
        found["real"] = assessment.real_packets(workplace.real, session, head, SLUGS)
        progress.figures("labelled real ZTF packets", found["real"])
    return found


def _golden(held_out: Alerts, session: Session, head: Head) -> Golden:
    """A few alerts, and what encoder and head answer."""
    few = held_out.take(slice(0, GOLDEN))
    inputs = few.inputs()
    seen = embed(few.batch(), session, inputs=inputs)
    return Golden(*inputs, seen.views.named, seen.embedding, seen.logits, judge(seen.views, head).probability)
