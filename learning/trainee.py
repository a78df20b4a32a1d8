"""What is trained, and the numbers by which: `Trainee` (the encoder and what only training needs) and `Hyperparameters`."""

from __future__ import annotations

from dataclasses import dataclass

from torch import nn

from data.simulate.curves import TARGETS
from learning.encoder import Encoder, EncoderConfig


@dataclass(frozen=True, slots=True)
class Hyperparameters:
    """How to train. The defaults, and the steps in its manifest, made the published bundle."""

    steps: int
    seed: int = 0
    batch: int = 512
    curves: float = 7 / 11
    """Share of a batch that is light curves without images, where there are any."""
    shards: int = 2
    """Parts of a batch, each after the first in a process of its own (on a GPU one after the other); as many as cores."""
    learning_rate: float = 2e-3
    weight_decay: float = 0.02
    warm_up: float = 0.03
    """Share of the steps of the first cycle."""
    restart: int = 0
    """Steps of the first cycle of the learning rate; the rest are a second one from half the rate (warm restart, Loshchilov & Hutter 2017).
    A shorter training, or 0, has one cycle."""
    label_smoothing: float = 0.03
    coarse: float = 0.5
    """Weight of the cross-entropy over the stream's classes, a kind without one being its own: what a supernova of type Ia is taken for
    matters more than which of them it is."""
    contrast: float = 0.0
    """Weight of the supervised contrastive loss (Khosla et al. 2020); it tightens the prototypes, not the labels."""
    contrast_temperature: float = 0.1
    clean: float = 0.5
    """Weight of the loss of reading the noiseless curve, the redshift and the time of the peak out of the embedding."""
    episodic: float = 0.0
    """Weight of the prototypical loss inside a batch (Snell et al. 2017): half of each class are examples for the other half."""
    views: float = 0.0
    """Weight of the contrast of two views of unlabelled curves (NT-Xent, Chen et al. 2020), where `fit` gets any."""
    average: float = 0.998
    """Decay of the weights' moving average."""
    clip: float = 1.0
    """Largest norm of the gradient."""
    half: bool = True
    """Compute in bfloat16 where the weights allow it and the device has it: half the time there, the same network within noise."""


class Trainee(nn.Module):
    """The encoder and what only training needs: a reader of the clean curve."""

    def __init__(self, config: EncoderConfig) -> None:
        super().__init__()
        self.encoder = Encoder(config)
        self.clean = nn.Sequential(nn.Linear(config.embedding, 192), nn.SiLU(), nn.Linear(192, TARGETS))
