"""Training itself: alerts, light curves and hyperparameters → trained weights.

`Alerts` with images, `Alerts` of light curves alone, `Hyperparameters` → `Encoder` with averaged weights

Every random number comes from (seed, step, shard), the number of steps is fixed and a batch is always summed from the same shards in
the same order: a seed gives the same weights on the same machine, and a run that was cut off goes on as if it had not been.
"""

from __future__ import annotations

import dataclasses
import functools
import hashlib
import json
import math
import os
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import safetensors.torch
import torch
from torch import Tensor, nn

from learning.augment import Strength
from learning.dataset import Alerts
from learning.encoder import Encoder
from learning.hyperparameters import EncoderConfig, Hyperparameters
from learning.losses import Sets
from learning.shards import Shards
from learning.trainee import Trainee
from learning.workplace import Step


@dataclass(frozen=True, slots=True)
class Initial:
    """Weights to go on from."""

    encoder: Encoder
    sha256: str
    """Of the bundle they are from."""
    kinds: tuple[str, ...] = ()
    """That it knows."""
    beyond: Tensor | None = None
    """(c, E) directions with which classes beyond the kinds begin; None: drawn by the seed."""


class Checkpoint:
    """A run's state in a folder: weights, averages and moments as safetensors, the rest as JSON. Nothing in it can run code."""

    def __init__(self, folder: Path) -> None:
        self.weights = folder / "training.safetensors"
        self.facts = folder / "training.json"

    def clear(self) -> None:
        """Forget the run."""
        for file in (self.weights, self.facts):
            file.unlink(missing_ok=True)

    def write(self, facts: dict[str, object], tensors: dict[str, Tensor]) -> None:
        """Replace what is kept."""
        self.weights.parent.mkdir(parents=True, exist_ok=True)
        part = self.weights.with_suffix(".part")
        safetensors.torch.save_file(
            {k: v.detach().cpu().contiguous().clone() for k, v in tensors.items()}, part, {"facts": json.dumps(facts)}
        )
        os.replace(part, self.weights)  # one file, replaced in one step: a crash leaves the one before
        self.facts.write_text(json.dumps(facts, indent=1) + "\n", encoding="utf-8")

    def read(self) -> tuple[dict[str, object], dict[str, Tensor]] | None:
        """Read what is kept; None: nothing."""
        if not self.weights.is_file():
            return None
        with safetensors.safe_open(self.weights, "pt") as file:
            facts = json.loads(file.metadata()["facts"])
            return facts, {name: file.get_tensor(name) for name in file.keys()}  # noqa: SIM118


def fit(
    alerts: Alerts,
    config: EncoderConfig,
    *,
    hyper: Hyperparameters,
    checkpoint: Checkpoint | None = None,
    every: int = 250,
    report: Callable[[Step], None] = lambda step: None,
    strength: Strength = Strength(),
    curves: Alerts | None = None,
    space: Alerts | None = None,
    unlabelled: Alerts | None = None,
    apart: bool = True,
    initial: Initial | None = None,
    trainable: Sequence[str] = (),
    labelled: Alerts | None = None,
    beyond: int = 0,
) -> Encoder:
    """Train an encoder.

    Parameters
    ----------
    alerts : labelled alerts with images, every class of the stream as likely as any other
    config, hyper, strength : sizes, training, augmentation of the alerts
    checkpoint : written each `every` steps; a run of the same hyperparameters goes on from it
    report : called after every step
    curves : labelled light curves without images, drawn as they come
    space : labelled light curves of stars from space, drawn as they come
    unlabelled : curves for `Hyperparameters.views`
    apart : the shards in processes of their own (never on a GPU); the same weights as without
    initial : weights to go on from; none: drawn by the seed
    trainable : parts of the encoder that are trained (`hyperparameters.PARTS`); none named: all of them
    labelled : labelled alerts of the stream itself, drawn as they come
    beyond : classes beyond the kinds; an alert of the first of them has as its label the number of kinds, and so on
    """
    torch.manual_seed(hyper.seed)
    torch.set_num_threads(1)  # the shards are the parallel part
    device = torch.device("cuda" if torch.cuda.is_available() else "cpu")
    make = functools.partial(Trainee, trainable=tuple(trainable), beyond=beyond)
    trainee = make(config).to(device).train()
    if initial is not None:
        trainee.encoder.load_state_dict(initial.encoder.state_dict())
        if beyond and initial.beyond is not None:
            with torch.no_grad():
                trainee.direction_beyond.copy_(initial.beyond)
    average = {name: p.detach().clone() for name, p in trainee.named_parameters()}
    optimiser = torch.optim.AdamW(trainee.trained(), lr=hyper.learning_rate, weight_decay=hyper.weight_decay)
    identity: dict[str, object] = {
        "hyperparameters": dataclasses.asdict(hyper),
        "encoder": config.to_json(),
        "alerts": len(alerts),
        "curves": len(curves) if curves is not None else 0,
        "space": len(space) if space is not None else 0,
        "augmentation": dataclasses.asdict(strength),
        "initial": initial.sha256 if initial is not None else None,
        "trainable": list(trainable),
        **({"labelled": digest(labelled), "beyond": beyond} if labelled is not None or beyond else {}),
    }
    start = _resume(checkpoint, identity, trainee=trainee, optimiser=optimiser, average=average) if checkpoint else 0
    sets = Sets(alerts, curves, hyper=hyper, strength=strength, space=space, unlabelled=unlabelled, labelled=labelled)
    with Shards(trainee, config, make=make, sets=sets, hyper=hyper, apart=apart and device.type == "cpu" and start < hyper.steps) as shards:
        for step in range(start, hyper.steps):
            for group in optimiser.param_groups:
                group["lr"] = hyper.learning_rate * schedule(step, hyper)
            results = shards.gradient(step)
            torch.nn.utils.clip_grad_norm_(trainee.trained(), hyper.clip)
            optimiser.step()
            decay = min(hyper.average, (step + 1) / (step + 10))
            with torch.no_grad():
                for name, p in trainee.named_parameters():
                    average[name].lerp_(p, 1 - decay)
            loss, accuracy = (float(np.mean(x)) for x in zip(*results, strict=True))
            if not math.isfinite(loss):
                raise FloatingPointError(f"the loss is {loss} at step {step}")
            report(Step(step + 1, hyper.steps, loss, accuracy))
            if checkpoint and ((step + 1) % every == 0 or step + 1 == hyper.steps):
                _keep(checkpoint, identity, step=step + 1, trainee=trainee, optimiser=optimiser, average=average)
    trainee.load_state_dict(average, strict=False)
    return trainee.encoder.eval().cpu()


def digest(alerts: Alerts | None) -> str:
    """What alerts are, for the identity of a run: a sum over their light curves and labels."""
    if alerts is None:
        return ""
    return hashlib.sha256(
        b"".join(np.ascontiguousarray(column).tobytes() for column in (alerts.label, alerts.time, alerts.flux))
    ).hexdigest()


def schedule(step: int, hyper: Hyperparameters) -> float:
    """Learning rate's factor: a short rise, then half a cosine down to 2 %; once more, half as high, after a restart."""
    first = hyper.restart if 0 < hyper.restart < hyper.steps else hyper.steps
    if step >= first:
        step, height, length = step - first, 0.5, hyper.steps - first
    else:
        height, length = 1.0, first
    rise = max(1.0, hyper.warm_up * first)
    return height * min(1.0, (step + 1) / rise) * (0.02 + 0.98 * 0.5 * (1 + math.cos(math.pi * step / length)))


def _trained(trainee: Trainee) -> Iterator[tuple[str, nn.Parameter]]:
    return ((name, p) for name, p in trainee.named_parameters() if p.requires_grad)


def _keep(
    checkpoint: Checkpoint,
    identity: dict[str, object],
    *,
    step: int,
    trainee: Trainee,
    optimiser: torch.optim.Optimizer,
    average: dict[str, Tensor],
) -> None:
    tensors = {f"average.{name}": value for name, value in average.items()}
    for name, p in _trained(trainee):
        state = optimiser.state[p]
        tensors |= {f"weight.{name}": p, f"first.{name}": state["exp_avg"], f"second.{name}": state["exp_avg_sq"]}
    checkpoint.write({**identity, "step": step}, tensors)


def _resume(
    checkpoint: Checkpoint, identity: dict[str, object], *, trainee: Trainee, optimiser: torch.optim.Optimizer, average: dict[str, Tensor]
) -> int:
    """Step to go on from; 0 where there is no checkpoint of the same run."""
    found = checkpoint.read()
    if found is None or {k: v for k, v in found[0].items() if k != "step"} != json.loads(json.dumps(identity)):
        return 0
    facts, tensors = found
    step = int(str(facts["step"]))
    with torch.no_grad():
        for name, p in _trained(trainee):
            p.copy_(tensors[f"weight.{name}"])
            average[name].copy_(tensors[f"average.{name}"])
            optimiser.state[p] = {
                "step": torch.tensor(float(step)),
                "exp_avg": tensors[f"first.{name}"].to(p.device),
                "exp_avg_sq": tensors[f"second.{name}"].to(p.device),
            }
    return step
