"""The numbers of a training: `Hyperparameters` (how it goes) and `EncoderConfig` (sizes of the network). Neither needs torch."""

from __future__ import annotations

import json
from dataclasses import asdict, dataclass

from operators.context import SURROUNDINGS
from operators.dips import DIPS
from operators.fold import FOLD
from operators.tokens import N_FEATURES

PARTS = ("embed_token", "recurrent", "norm", "query", "image", "surroundings", "folded", "dips", "beside", "fuse", "direction",
         "sharpness", "bias")  # fmt: skip
"""Parts of the encoder by name, from its inputs to its logits."""
BEFORE_NAMES: tuple[str, ...] = (
    "real_bogus", "star_galaxy", "source_distance", "source_flux", "reference_distance", "reference_flux", "solar_system_distance",
    "solar_system_flux", "positive", "n_detections", "n_visits", "history", "galactic_latitude", "ecliptic_latitude", "fwhm", "elongation",
    "flux", "signal_to_noise", "redshift",
)  # fmt: skip
"""Values of the surroundings that an encoder reads whose file does not name them."""
DIP_LAYERS = ("dips", "beside", "direction", "bias")
"""Parts that read the dip view, and the directions of the kinds: what new kinds of stars need; the embedding of all else stays."""
LAST_LAYERS = ("fuse", "direction", "sharpness", "bias")
"""Parts behind those that read one input each: what the cheapest fine-tuning trains."""


@dataclass(frozen=True, slots=True)
class Hyperparameters:
    """How to train. The defaults, and the steps in its manifest, made the published bundle; no name, unit or default has another place."""

    steps: int
    seed: int = 0
    batch: int = 512
    curves: float = 7 / 11
    """Share of a batch that is light curves without images, where there are any."""
    space: float = 0.12
    """Share of a batch that is light curves of stars from space, where there are any; the other two share the rest."""
    labelled: float = 0.2
    """Share of the rest's alerts with images that is labelled alerts of the stream itself, where there are any."""
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


@dataclass(frozen=True, slots=True)
class EncoderConfig:
    """Sizes of the network. Travels in the model file as JSON."""

    classes: int
    """K: simulated kinds of the zero-shot view."""
    features: int = N_FEATURES
    width: int = 80
    """Of the recurrent layers."""
    layers: int = 2
    queries: int = 4
    """Attention pools over time."""
    channels: tuple[int, ...] = (16, 32, 64, 96)
    """Of the convolutions; each halves the image."""
    image: int = 96
    values: tuple[str, ...] = SURROUNDINGS
    """Names of the N values of the surroundings, in order."""
    context: int = 64
    folded: int = len(FOLD)
    fold: int = 128
    dips: int = len(DIPS)
    dip: int = 128
    hidden: int = 256
    embedding: int = 128

    @property
    def surroundings(self) -> int:
        """2 N: numbers of the context of the surroundings; what is behind them is the folded view."""
        return 2 * len(self.values)

    def to_json(self) -> str:
        """Write the sizes as a model file keeps them."""
        return json.dumps(asdict(self), sort_keys=True)

    @classmethod
    def from_json(cls, text: str) -> EncoderConfig:
        """Read the sizes of a model file."""
        values = json.loads(text)
        values["channels"] = tuple(values["channels"])
        values.pop("surroundings", None)
        values.setdefault("dips", 0)  # a file from before there was such a view
        values["values"] = tuple(values.get("values", BEFORE_NAMES))
        return cls(**values)
