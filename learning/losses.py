"""One shard of a training step: draw alerts and light curves, see them worse, embed them, and say how wrong the network is.

`Sets`, a generator → loss

Cross-entropy over the kinds is what the published network rests on; supervised contrast, the clean curve, episodes and views of unlabelled
curves are further terms, each with a weight in `Hyperparameters` (0: none).
"""

from __future__ import annotations

from functools import cache

import numpy as np
import torch
from torch import Tensor
from torch.nn import functional

from data.simulate.classes import SLUGS
from learning.augment import Strength, augment
from learning.augment_curves import augment_curves, augment_space
from learning.dataset import I64, SLUG_OF, Alerts
from learning.encoder import Encoder
from learning.hyperparameters import Hyperparameters
from learning.trainee import Trainee
from operators.lengths import equal_pieces, lengths
from operators.types import STAMP

GROUP_OF: I64 = np.unique([f"{k:03d}" if slug < 0 else f"class {slug:02d}" for k, slug in enumerate(SLUG_OF)], return_inverse=True)[
    1
].astype(np.int64)
"""(K,) the group of each kind: its class of the stream, else itself."""
PARTS = 4
"""A shard is run in so many parts of equal size, short light curves together (`operators.lengths`)."""


def class_of(label: I64) -> I64:
    """The stream's class of each label, -1 without one; a label beyond the kinds is a class of its own."""
    known = np.minimum(label, len(SLUG_OF) - 1)
    return np.where(label < len(SLUG_OF), SLUG_OF[known], len(SLUGS) + label - len(SLUG_OF))


class Sets:
    """What is drawn from.

    Parameters
    ----------
    alerts : with images; each stream class as likely as any other, its kinds as they come
    curves : without images, as they come; None: alerts only
    hyper, strength
    space : of stars, as they come; None: none
    unlabelled : for the views; None: no such term
    labelled : of the stream itself, as they come; None: none
    """

    def __init__(
        self,
        alerts: Alerts,
        curves: Alerts | None,
        *,
        hyper: Hyperparameters,
        strength: Strength,
        space: Alerts | None = None,
        unlabelled: Alerts | None = None,
        labelled: Alerts | None = None,
    ) -> None:
        self.alerts, self.curves, self.space, self.unlabelled, self.strength = alerts, curves, space, unlabelled, strength
        self.labelled = labelled
        size = hyper.batch // hyper.shards
        self.n_space = round(size * hyper.space) if space is not None else 0
        self.n_curves = round((size - self.n_space) * hyper.curves) if curves is not None else 0
        self.n_labelled = round((size - self.n_curves - self.n_space) * hyper.labelled) if labelled is not None else 0
        self.n_alerts = size - self.n_curves - self.n_space - self.n_labelled
        slug = class_of(alerts.label)
        self.members = [rows for k in sorted(set(slug.tolist())) if len(rows := np.flatnonzero(slug == k))]

    def draw(self, rng: np.random.Generator) -> list[Alerts]:
        """Alerts, labelled alerts of the stream, curves, light curves from space, all augmented."""
        parts = []
        if self.n_alerts:
            parts.append(augment(self.alerts.take(balanced(self.members, self.n_alerts, rng=rng)), rng, strength=self.strength))
        if self.labelled is not None and self.n_labelled:
            parts.append(augment(self.labelled.take(rng.integers(0, len(self.labelled), self.n_labelled)), rng, strength=self.strength))
        if self.curves is not None and self.n_curves:
            parts.append(augment_curves(self.curves.take(rng.integers(0, len(self.curves), self.n_curves)), rng))
        if self.space is not None and self.n_space:
            parts.append(augment_space(self.space.take(rng.integers(0, len(self.space), self.n_space)), rng))
        return parts


def loss(
    trainee: Trainee, sets: Sets, *, hyper: Hyperparameters, rng: np.random.Generator, device: torch.device
) -> tuple[float, float, Tensor]:
    """Cross-entropy and accuracy of a shard as numbers, and the loss to descend."""
    embedding, logits, label, target = forward(trainee.encoder, sets.draw(rng), device=device, half=hyper.half)
    logits = trainee.widened(embedding, logits)
    entropy = functional.cross_entropy(logits, label, label_smoothing=hyper.label_smoothing)
    total = entropy
    if hyper.coarse:
        groups = torch.from_numpy(np.append(GROUP_OF, GROUP_OF.max() + 1 + np.arange(trainee.beyond))).to(device)
        total = total + hyper.coarse * coarse(logits, label, groups=groups, smoothing=hyper.label_smoothing)
    if hyper.contrast:
        total = total + hyper.contrast * contrast(embedding, label, temperature=hyper.contrast_temperature)
    if hyper.clean:
        known = target.isfinite().all(dim=1, keepdim=True)
        off = functional.smooth_l1_loss(trainee.clean(embedding), target.nan_to_num(), beta=0.3, reduction="none")
        total = total + hyper.clean * (off * known).sum() / (known.sum() * target.shape[1]).clamp(min=1)
    if hyper.episodic:
        total = total + hyper.episodic * episode(embedding, label)
    if hyper.views and sets.unlabelled is not None:
        rows = rng.integers(0, len(sets.unlabelled), 96)
        both = [
            forward(trainee.encoder, [augment_curves(sets.unlabelled.take(rows), rng)], device=device, half=hyper.half, label=rows)
            for _ in range(2)
        ]
        total = total + hyper.views * contrast(torch.cat([b[0] for b in both]), torch.cat([b[2] for b in both]), temperature=0.15)
    return float(entropy.detach()), float((logits.argmax(1) == label).float().mean()), total


@cache
def has_bfloat16(kind: str) -> bool:
    """Whether a device computes in bfloat16 itself: a processor that has to emulate it takes twelve times as long as in float32."""
    return kind != "cpu" or bool(torch.cpu._is_avx512_bf16_supported())


def forward(encoder: Encoder, sets: list[Alerts], *, device: torch.device, half: bool, label: I64 | None = None) -> tuple[Tensor, ...]:
    """Embed alerts in parts of like length.

    Parameters
    ----------
    sets : those with images and those without
    label : of all of them together; None: their own

    Returns
    -------
    embedding (n, E), logits (n, K), label (n,), target (n, TARGETS), in one order of their own.
    """
    inputs = [part.inputs() for part in sets]
    tokens, context = (np.concatenate([x[i] for x in inputs]) for i in (0, 2))
    label = np.concatenate([part.label for part in sets]) if label is None else label
    target = np.concatenate([part.target for part in sets])
    length = lengths(tokens)
    order = np.argsort(length, kind="stable")
    answers = []
    with torch.autocast(device.type, dtype=torch.bfloat16, enabled=half and has_bfloat16(device.type)):
        images = []
        for part, (_, stamps, _) in zip(sets, inputs, strict=True):
            if part.stamps.shape[-1]:
                images.append(encoder.image(torch.from_numpy(stamps).to(device)))
            else:  # one image of nothing serves them all
                images.append(encoder.image(torch.zeros(1, 4, STAMP, STAMP, device=device)).expand(len(part), -1))
        image = torch.cat(images)
        for piece in equal_pieces(length[order].tolist(), PARTS, longest=tokens.shape[1]):
            rows = order[piece.part]
            curve, around = (torch.from_numpy(np.ascontiguousarray(a)).to(device) for a in (tokens[rows, : piece.tokens], context[rows]))
            embedding, logits = encoder.embed(curve, image[torch.from_numpy(rows).to(device)], context=around)
            rest = [torch.from_numpy(a[rows]).to(device) for a in (label, target)]
            answers.append((embedding.float(), logits.float(), *rest))
    return tuple(torch.cat(x) for x in zip(*answers, strict=True))


def contrast(embedding: Tensor, label: Tensor, *, temperature: float) -> Tensor:
    """Supervised contrastive loss of a batch; 0 where no class has two members."""
    z = functional.normalize(embedding, dim=-1)
    itself = torch.eye(len(z), dtype=torch.bool, device=z.device)
    similarity = (z @ z.T / temperature).masked_fill(itself, -1e9)
    log_share = similarity - similarity.logsumexp(dim=1, keepdim=True)
    same = (label[:, None] == label[None, :]) & ~itself
    partners = same.sum(dim=1)
    each = -(log_share * same).sum(dim=1) / partners.clamp(min=1)
    return (each * (partners > 0)).sum() / (partners > 0).sum().clamp(min=1)


def coarse(logits: Tensor, label: Tensor, *, groups: Tensor, smoothing: float) -> Tensor:
    """Cross-entropy over groups of kinds: a group is as probable as its members together."""
    member = functional.one_hot(groups).to(logits.dtype)
    share = (logits.softmax(dim=1) @ member).clamp(min=1e-9)
    return functional.cross_entropy(share.log(), groups[label], label_smoothing=smoothing)


def episode(embedding: Tensor, label: Tensor) -> Tensor:
    """Prototypical loss of a batch: every other member of a class is an example, the rest are queries; 0 without any query."""
    z = functional.normalize(embedding - embedding.mean(dim=0), dim=-1)
    kinds, index = torch.unique(label, return_inverse=True)
    member = functional.one_hot(index, len(kinds)).to(z.dtype)
    number = (member.cumsum(dim=0) * member).sum(dim=1)  # 1, 2, … within the class
    support = (number % 2 == 1).to(z.dtype)[:, None] * member
    prototypes = functional.normalize(support.T @ z, dim=-1)
    queries = number % 2 == 0
    if not queries.any():
        return embedding.sum() * 0
    return functional.cross_entropy(10 * z[queries] @ prototypes.T, index[queries])


def balanced(members: list[I64], n: int, *, rng: np.random.Generator) -> I64:
    """Rows of n alerts, every class as likely as any other."""
    picks = [members[k] for k in rng.integers(0, len(members), n)]
    return np.array([rows[int(rng.integers(len(rows)))] for rows in picks], dtype=np.int64)
