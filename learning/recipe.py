"""From a plan to a bundle: simulate, train, export, calibrate, evaluate, write. Read `train` first.

`Plan` (what decides the network), `Workplace` (where and how it is made) → `registry.bundle.Bundle`

The plan's number of steps is fixed before the first, never by the clock, so that a seed gives the same network on a slow machine too. A
run that was cut off goes on from its last checkpoint. Nothing here knows a terminal, a clock or a network: `console.commands.train` is
the command, and the trainer of the stream calls the same function.
"""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np
import torch

from data.simulate.classes import CLASSES, KINDS, SLUGS, TRANSITS
from errors import InternalError
from gpu.ort import OrtSession
from gpu.session import Session
from learning.dataset import NAMES, Alerts, join, kept, simulate, simulate_curves, simulate_space
from learning.encoder import Encoder
from learning.export import compare, restore, to_onnx
from learning.fit import Checkpoint, Initial, fit
from learning.head_calibration import Calibrated
from learning.hyperparameters import DIP_LAYERS, EncoderConfig
from learning.labelled import LabelledAlerts
from learning.losses import has_bfloat16
from learning.plan import BY_THE_INPUTS, SHA256, Plan, PlanError
from learning.real_sky import RealAlerts
from learning.recalibrate import (
    DEMO,
    HELD_CURVES,
    HELD_OUT,
    HELD_SPACE,
    TRAINING,
    assess,
    demo_alerts,
    demo_space,
    fit_head,
    golden_of,
    held_out_alerts,
    held_out_curves,
    held_out_space,
    real_alerts,
)  # fmt: skip
from learning.workplace import Progress, Unattended, Workplace
from operators.budget import ALERTS_A_NIGHT
from operators.context import SURROUNDINGS
from operators.dips import DIPS
from registry.bundle import PUBLISHED, Bundle, BundleError, Parts, load, refuse, save
from schemas.taxonomy import TAXONOMY

LEAST_HELD_OUT = 60
"""Alerts a class of the stream to calibrate with; a quarter of the training set if that is more, `recalibrate.HELD_OUT` at most."""
LEAST_HELD_CURVES = 600
LEAST_HELD_SPACE = 400
LEAST_AGREEMENT = 0.999
"""Of the exported network with the trained one: cosine of the embeddings, share of equal labels."""


def train(plan: Plan, workplace: Workplace, *, progress: Progress | None = None, labelled: LabelledAlerts | None = None) -> Bundle:
    """Make a bundle.

    Parameters
    ----------
    plan : Plan
    workplace : Workplace
    progress : Progress, optional
        Where progress is reported; nowhere by default.
    labelled : LabelledAlerts, optional
        Of the stream itself, to train and to fit the head on. What is of no class of the simulation shapes the embedding alone: the
        bundle does not know its class (`learning.challengers` teaches it).

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
    initial = initial_of(plan)
    if initial is not None and labelled is not None and labelled.new is not None:
        initial = replace(initial, beyond=_directions(initial.encoder, labelled.new, number=len(labelled.names)))
    data = Sets.of(plan, workplace, progress=progress)
    made = train_encoder(plan, workplace, data=data, initial=initial, progress=progress, labelled=labelled)
    session = OrtSession(made.model)
    real = real_alerts(workplace, session, progress=progress)
    real = real if labelled is None else labelled.real(session, real)
    calibrated, reference = fit_head(data.held_out, data.held_curves, space=data.held_space, session=session, real=real)
    found = evaluate(plan, workplace, session=session, calibrated=calibrated, real=real, progress=progress)
    golden = golden_of(data.held_out, session, head=calibrated.head)
    figures = found | {"export": made.agreement}
    manifest = manifest_of(plan, made, initial=initial, created_on=workplace.created_on, figures=figures)
    bundle = save(workplace.out, Parts(manifest, made.model, calibrated.head, reference, golden, calibrated.unseen))
    progress.stage("done")
    return bundle


@dataclass(frozen=True, slots=True)
class Trained:
    """An encoder as it is exported."""

    model: bytes
    """The ONNX file."""
    config: dict[str, Any]
    parameters: int
    agreement: dict[str, float]
    """Of the exported network with the trained one."""


def train_encoder(
    plan: Plan, workplace: Workplace, *, data: Sets, initial: Initial | None, progress: Progress, labelled: LabelledAlerts | None = None
) -> Trained:
    """Train and export the encoder; see `train`."""
    workplace.checkpoint.mkdir(parents=True, exist_ok=True)
    encoder = _fit(plan, workplace, data=data, initial=initial, progress=progress, labelled=labelled)
    if initial is not None and plan.trainable and not set(plan.trainable) - set(DIP_LAYERS):
        encoder = with_directions_of(initial.encoder, encoder, kinds=initial.kinds)
    progress.stage(f"{encoder.count():,} parameters; exporting")
    model = to_onnx(encoder)
    tokens, stamps, context = data.held_out.take(slice(0, 1000)).inputs()
    agreement = compare(encoder, model, tokens=tokens, stamps=stamps, context=context)
    if min(agreement.cosine, agreement.same_label) < LEAST_AGREEMENT:
        raise InternalError(f"the exported network is not the trained one: {agreement}")
    return Trained(model, json.loads(encoder.config.to_json()), encoder.count(), asdict(agreement))


def evaluate(
    plan: Plan, workplace: Workplace, *, session: Session, calibrated: Calibrated, real: RealAlerts | None, progress: Progress
) -> dict[str, Any]:
    """Figures of an encoder and its head on alerts that neither has seen."""
    size = min(DEMO, held_out_size(plan))
    progress.stage(f"evaluating on {size:,} alerts of the demo's population")
    return assess(
        demo_alerts(size, plan.seed, workplace=workplace),
        session,
        space=demo_space(held_space_size(plan) // 2, plan.seed, workplace=workplace),
        found=calibrated,
        real=real,
        progress=progress,
    )


def manifest_of(plan: Plan, made: Trained, *, initial: Initial | None, created_on: str, figures: Mapping[str, Any]) -> dict[str, Any]:
    """All of a bundle's manifest but its files."""
    kept_plan = plan.resolved(initial.sha256 if initial is not None else None)
    return {
        "classes": SLUGS,
        "kinds": NAMES,
        "taxonomy": TAXONOMY,
        "encoder": made.config,
        "parameters": made.parameters,
        "created_by": "protonova train",
        "created_on": created_on,
        "command": command_of(kept_plan),
        "seed": plan.seed,
        "stream": {"alerts_a_night": ALERTS_A_NIGHT},
        "figures": dict(figures) | {"recipe": asdict(plan.numbers())},
        "plan": kept_plan.record(),
    }


def command_of(plan: Plan) -> str:
    """The command that a plan is, as the manifest and the model card name it."""
    words = [f"--{name.replace('_', '-')} {getattr(plan, name)}" for name in ("steps", "alerts", "curves", "space", "seed")]
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


def initial_of(plan: Plan) -> Initial | None:
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
    if not set(bundle.kinds) <= set(NAMES):
        raise PlanError("start_from", f"knows kinds that are not simulated now ({len(bundle.kinds)} and {len(NAMES)}): train from a seed")
    if not _same_inputs(encoder.config):
        raise PlanError("start_from", "reads other inputs than the operators make now: train from a seed")
    return Initial(widened(encoder, bundle.kinds), bundle.sha256, bundle.kinds)


def with_directions_of(before: Encoder, trained: Encoder, *, kinds: Sequence[str]) -> Encoder:
    """The trained encoder with the directions and biases that kinds had before, but for planets.

    Where only the dip view was trained, the embedding of everything else is what it was; so shall be what it is called. The directions
    moved by up to 20 degrees for the sake of stars from space, whose embedding the dip view can move instead.
    """
    rows = [NAMES.index(kind) for kind in kinds if KINDS[kind] not in TRANSITS]
    state, old = trained.state_dict(), before.state_dict()
    for name in ("direction", "bias"):
        state[name][rows] = old[name][rows]
    trained.load_state_dict(state)
    return trained


def _same_inputs(config: EncoderConfig) -> bool:
    now = asdict(EncoderConfig(classes=len(NAMES)))
    return all(asdict(config)[name] == now[name] for name in BY_THE_INPUTS if name not in ("values", "classes", "dips"))


SUCCESSORS: Mapping[str, str] = {"drb": "real_bogus", "reliability": "real_bogus"}
"""Value of the surroundings → the one of an older encoder that it begins as."""


def widened(encoder: Encoder, kinds: Sequence[str] = NAMES) -> Encoder:
    """The encoder with weights for all that is read and simulated now.

    Values of the surroundings that it never read begin at zero; a dip view and kinds that it did not know begin as in any training.

    Parameters
    ----------
    encoder : Encoder
    kinds : sequence of str
        That it knows, in the order of its logits.
    """
    then, now = encoder.config.values, SURROUNDINGS
    if then == now and encoder.config.dips == len(DIPS) and tuple(kinds) == NAMES:
        return encoder
    wider = Encoder(replace(encoder.config, values=now, dips=len(DIPS), classes=len(NAMES)))
    state = encoder.state_dict()
    fresh = wider.state_dict()
    if encoder.config.dips != len(DIPS):
        state = {name: value for name, value in state.items() if name.partition(".")[0] not in ("dips", "beside")}
    for name in ("direction", "bias"):
        rows = fresh[name].clone()
        rows[[NAMES.index(kind) for kind in kinds]] = state[name]
        state[name] = rows
    before = state["surroundings.0.weight"]
    after = torch.zeros(before.shape[0], 2 * len(now))
    for i, name in enumerate(now):
        name = name if name in then else SUCCESSORS.get(name, "")
        if name in then:
            k = then.index(name)
            after[:, i], after[:, len(now) + i] = before[:, k], before[:, len(then) + k]
    wider.load_state_dict({**fresh, **state, "surroundings.0.weight": after})
    return wider.eval()


@dataclass(frozen=True, slots=True)
class Sets:
    """Simulated alerts and curves; training, calibration and evaluation never share one."""

    alerts: Alerts
    curves: Alerts | None
    space: Alerts | None
    held_out: Alerts
    held_curves: Alerts
    held_space: Alerts

    @classmethod
    def of(cls, plan: Plan, workplace: Workplace, *, progress: Progress) -> Sets:
        """Make them, or read those that the workplace keeps."""
        size, seed, processes = held_out_size(plan), plan.seed, workplace.processes
        progress.stage(f"simulating {plan.alerts:,} alerts to train on and {size:,} to calibrate with")
        first = TRAINING.of(seed)
        alerts = kept(workplace.file("alerts", plan.alerts, seed=seed), lambda: simulate(plan.alerts, first, processes=processes))
        held_out = held_out_alerts(size, seed, workplace=workplace)
        held_curves = held_out_curves(held_curves_size(plan), seed, workplace=workplace)
        progress.stage(f"simulating {plan.curves:,} light curves and {plan.space:,} from space")
        held_space = held_out_space(held_space_size(plan), seed, workplace=workplace)
        curves = space = None
        if plan.curves:
            curves = kept(
                workplace.file("curves", plan.curves, seed=seed), lambda: simulate_curves(plan.curves, first, processes=processes)
            )
            curves = without(curves, plan.without)
        if plan.space:
            space = kept(workplace.file("space", plan.space, seed=seed), lambda: simulate_space(plan.space, first, processes=processes))
            space = without(space, plan.without)
        return cls(without(alerts, plan.without), curves, space, held_out, held_curves, held_space)


def held_out_size(plan: Plan) -> int:
    """Alerts that calibrate the head."""
    return min(HELD_OUT, max(plan.alerts // 4, LEAST_HELD_OUT * len(CLASSES)))


def held_curves_size(plan: Plan) -> int:
    """Light curves without images for the reference."""
    return min(HELD_CURVES, max(plan.curves // 4, LEAST_HELD_CURVES))


def held_space_size(plan: Plan) -> int:
    """Light curves from space that calibrate it."""
    return min(HELD_SPACE, max(plan.space // 3, LEAST_HELD_SPACE))


def _directions(encoder: Encoder, alerts: Alerts, *, number: int) -> torch.Tensor:
    """(number, E) the mean direction of each class beyond the kinds, as an encoder embeds its alerts."""
    with torch.inference_mode():
        inputs = (torch.from_numpy(np.ascontiguousarray(array)) for array in alerts.inputs())
        unit = torch.nn.functional.normalize(encoder.eval()(*inputs)[0], dim=-1).numpy()
    return torch.from_numpy(np.stack([unit[alerts.label == len(NAMES) + i].mean(axis=0) for i in range(number)]))


def _fit(
    plan: Plan, workplace: Workplace, *, data: Sets, initial: Initial | None, progress: Progress, labelled: LabelledAlerts | None
) -> Encoder:
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
    new = None if labelled is None else labelled.new
    return fit(
        data.alerts if new is None else join([data.alerts, new]),
        config,
        hyper=numbers,
        checkpoint=checkpoint,
        report=progress.step,
        strength=plan.strength(),
        curves=data.curves,
        space=data.space,
        initial=initial,
        trainable=plan.trainable,
        labelled=None if labelled is None else labelled.known,
        beyond=0 if labelled is None else len(labelled.names),
    )
