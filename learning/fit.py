"""Training itself: alerts and a recipe → trained weights.

`Alerts`, `Recipe` → `Encoder` with averaged weights

Every random number comes from (seed, step, shard), the number of steps is fixed and a batch is always summed from the same shards in
the same order: a seed gives the same weights on the same machine, and a run that was cut off goes on as if it had not been.
"""

from __future__ import annotations

import copy
import dataclasses
import json
import math
import os
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import safetensors.torch
import torch
from torch import Tensor
from torch.nn import functional as F

from learning.augment import Strength, augment
from learning.dataset import I64, Alerts
from learning.encoder import Encoder, EncoderConfig

SHORT = 24
"""Tokens of a light curve that is trained apart from the longer ones: three in four."""


@dataclass(frozen=True, slots=True)
class Recipe:
    """How to train. The defaults made the published bundle."""

    steps: int
    seed: int = 0
    batch: int = 256
    shards: int = 2
    """Parts of a batch, each on a thread and a copy of the network of its own: two cores give 1.5 times the speed of one here, where more
    threads inside the recurrent layers give nothing."""
    learning_rate: float = 3e-3
    weight_decay: float = 0.02
    warm_up: float = 0.03
    """Share of the steps."""
    label_smoothing: float = 0.03
    contrast: float = 0.1
    """Weight of the supervised contrastive loss (Khosla et al. 2020); it tightens the prototypes, not the labels."""
    contrast_temperature: float = 0.1
    average: float = 0.998
    """Decay of the weights' moving average."""
    clip: float = 1.0
    """Largest norm of the gradient."""


@dataclass(frozen=True, slots=True)
class Progress:
    """What a step reports."""

    step: int
    steps: int
    loss: float
    """Cross-entropy of this batch."""
    accuracy: float


class Checkpoint:
    """A run's state in a folder: weights, averages and moments as safetensors, the rest as JSON. Nothing in it can run code."""

    def __init__(self, folder: Path) -> None:
        self.weights = folder / "training.safetensors"
        self.facts = folder / "training.json"

    def clear(self) -> None:
        for file in (self.weights, self.facts):
            file.unlink(missing_ok=True)

    def write(self, facts: dict[str, object], tensors: dict[str, Tensor]) -> None:
        self.weights.parent.mkdir(parents=True, exist_ok=True)
        part = self.weights.with_suffix(".part")
        safetensors.torch.save_file(
            {k: v.detach().cpu().contiguous().clone() for k, v in tensors.items()}, part, {"facts": json.dumps(facts)}
        )
        os.replace(part, self.weights)  # one file, replaced in one step: a crash leaves the one before
        self.facts.write_text(json.dumps(facts, indent=1) + "\n", encoding="utf-8")

    def read(self) -> tuple[dict[str, object], dict[str, Tensor]] | None:
        if not self.weights.is_file():
            return None
        with safetensors.safe_open(self.weights, "pt") as file:
            facts = json.loads(file.metadata()["facts"])
            return facts, {name: file.get_tensor(name) for name in file.keys()}  # noqa: SIM118


def fit(
    alerts: Alerts,
    config: EncoderConfig,
    recipe: Recipe,
    checkpoint: Checkpoint | None = None,
    every: int = 250,
    report: Callable[[Progress], None] = lambda progress: None,
    strength: Strength = Strength(),
) -> Encoder:
    """Train an encoder.

    Parameters
    ----------
    alerts : labelled alerts
    config, recipe, strength : sizes, training, augmentation
    checkpoint : written each `every` steps; a run of the same recipe goes on from it
    report : called after every step
    """
    torch.manual_seed(recipe.seed)
    torch.set_num_threads(1)  # the shards are the parallel part
    device = torch.device("cuda" if torch.cuda.is_available() else "cpu")
    encoder = Encoder(config).to(device).train()
    replicas = [encoder, *(copy.deepcopy(encoder) for _ in range(recipe.shards - 1))]
    average = {name: p.detach().clone() for name, p in encoder.named_parameters()}
    optimiser = torch.optim.AdamW(encoder.parameters(), lr=recipe.learning_rate, weight_decay=recipe.weight_decay)
    identity: dict[str, object] = {"recipe": dataclasses.asdict(recipe), "encoder": config.to_json(), "alerts": len(alerts)}
    start = _resume(checkpoint, identity, encoder, optimiser, average) if checkpoint else 0
    members = [np.flatnonzero(alerts.label == k) for k in range(config.classes)]
    members = [m for m in members if len(m)]

    def shard(step: int, k: int) -> tuple[float, float]:
        rng = np.random.default_rng([recipe.seed, step, k])
        part = augment(alerts.take(_balanced(members, recipe.batch // recipe.shards, rng)), rng, strength)
        replicas[k].zero_grad(set_to_none=True)
        embedding, logits, label = _forward(replicas[k], part, device)
        entropy = F.cross_entropy(logits, label, label_smoothing=recipe.label_smoothing)
        loss = entropy + recipe.contrast * contrast(embedding, label, recipe.contrast_temperature)
        (loss / recipe.shards).backward()  # type: ignore[no-untyped-call]
        return float(entropy.detach()), float((logits.argmax(1) == label).float().mean())

    with ThreadPoolExecutor(recipe.shards) as pool:
        for step in range(start, recipe.steps):
            for group in optimiser.param_groups:
                group["lr"] = recipe.learning_rate * schedule(step, recipe)
            for replica in replicas[1:]:
                replica.load_state_dict(encoder.state_dict())
            results = list(pool.map(shard, [step] * recipe.shards, range(recipe.shards)))
            for parameters in zip(*(r.parameters() for r in replicas), strict=True):
                parameters[0].grad = torch.stack([p.grad for p in parameters]).sum(dim=0)
            torch.nn.utils.clip_grad_norm_(encoder.parameters(), recipe.clip)
            optimiser.step()
            decay = min(recipe.average, (step + 1) / (step + 10))
            with torch.no_grad():
                for name, p in encoder.named_parameters():
                    average[name].lerp_(p, 1 - decay)
            loss, accuracy = (float(np.mean(x)) for x in zip(*results, strict=True))
            if not math.isfinite(loss):
                raise FloatingPointError(f"the loss is {loss} at step {step}")
            report(Progress(step + 1, recipe.steps, loss, accuracy))
            if checkpoint and ((step + 1) % every == 0 or step + 1 == recipe.steps):
                _keep(checkpoint, identity, step + 1, encoder, optimiser, average)
    encoder.load_state_dict(average, strict=False)
    return encoder.eval().cpu()


def schedule(step: int, recipe: Recipe) -> float:
    """Learning rate's factor: a short rise, then half a cosine down to 2 %."""
    rise = max(1.0, recipe.warm_up * recipe.steps)
    return min(1.0, (step + 1) / rise) * (0.02 + 0.98 * 0.5 * (1 + math.cos(math.pi * step / recipe.steps)))


def contrast(embedding: Tensor, label: Tensor, temperature: float) -> Tensor:
    """Supervised contrastive loss of a batch; 0 where no class has two members."""
    z = F.normalize(embedding, dim=-1)
    itself = torch.eye(len(z), dtype=torch.bool, device=z.device)
    similarity = (z @ z.T / temperature).masked_fill(itself, -1e9)
    log_share = similarity - similarity.logsumexp(dim=1, keepdim=True)
    same = (label[:, None] == label[None, :]) & ~itself
    partners = same.sum(dim=1)
    each = -(log_share * same).sum(dim=1) / partners.clamp(min=1)
    return (each * (partners > 0)).sum() / (partners > 0).sum().clamp(min=1)


def _forward(replica: Encoder, part: Alerts, device: torch.device) -> tuple[Tensor, Tensor, Tensor]:
    """Embed alerts, those with a short light curve apart: padding changes nothing and costs as much as tokens do.

    Returns
    -------
    embedding (n, E), logits (n, K), label (n,), in one order of their own.
    """
    tokens, stamps, context = part.inputs()
    short = tokens[:, SHORT:, -1].sum(axis=1) == 0
    answers = []
    for rows, length in ((short, SHORT), (~short, tokens.shape[1])):
        if rows.any():
            inputs = (np.ascontiguousarray(tokens[rows, :length]), stamps[rows], context[rows])
            embedding, logits = replica(*(torch.from_numpy(a).to(device) for a in inputs))
            answers.append((embedding, logits, torch.from_numpy(part.label[rows]).to(device)))
    embeddings, scores, labels = (torch.cat(x) for x in zip(*answers, strict=True))
    return embeddings, scores, labels


def _balanced(members: list[I64], n: int, rng: np.random.Generator) -> I64:
    """Rows of n alerts, every class as likely as any other."""
    picks = [members[k] for k in rng.integers(0, len(members), n)]
    return np.array([rows[int(rng.integers(len(rows)))] for rows in picks], dtype=np.int64)


def _keep(
    checkpoint: Checkpoint,
    identity: dict[str, object],
    step: int,
    encoder: Encoder,
    optimiser: torch.optim.Optimizer,
    average: dict[str, Tensor],
) -> None:
    tensors = {f"average.{name}": value for name, value in average.items()}
    for name, p in encoder.named_parameters():
        state = optimiser.state[p]
        tensors |= {f"weight.{name}": p, f"first.{name}": state["exp_avg"], f"second.{name}": state["exp_avg_sq"]}
    checkpoint.write({**identity, "step": step}, tensors)


def _resume(
    checkpoint: Checkpoint, identity: dict[str, object], encoder: Encoder, optimiser: torch.optim.Optimizer, average: dict[str, Tensor]
) -> int:
    """Step to go on from; 0 where there is no checkpoint of the same run."""
    found = checkpoint.read()
    if found is None or {k: v for k, v in found[0].items() if k != "step"} != json.loads(json.dumps(identity)):
        return 0
    facts, tensors = found
    step = int(str(facts["step"]))
    with torch.no_grad():
        for name, p in encoder.named_parameters():
            p.copy_(tensors[f"weight.{name}"])
            average[name].copy_(tensors[f"average.{name}"])
            optimiser.state[p] = {
                "step": torch.tensor(float(step)),
                "exp_avg": tensors[f"first.{name}"].to(p.device),
                "exp_avg_sq": tensors[f"second.{name}"].to(p.device),
            }
    return step
