"""What is trained: the encoder and what only training needs."""

from __future__ import annotations

from collections.abc import Sequence

import torch
from torch import Tensor, nn
from torch.nn import functional

from data.simulate.curves import TARGETS
from learning.encoder import Encoder
from learning.hyperparameters import EncoderConfig

BEGIN = -2.0
"""Bias with which a class beyond the kinds begins: below those that are known."""


class Trainee(nn.Module):
    """The encoder and what only training needs: a reader of the clean curve.

    Parameters
    ----------
    config : EncoderConfig
    trainable : sequence of str
        Parts of the encoder that are trained (`hyperparameters.PARTS`), the rest stays as it is; none named: all of them.
    beyond : int
        Classes beyond the kinds of the simulation, known from labelled alerts alone: each has a direction here that shapes the embedding
        and that the exported network does not have. What calls them in the stream is taught on the finished embedding.
    """

    def __init__(self, config: EncoderConfig, trainable: Sequence[str] = (), *, beyond: int = 0) -> None:
        super().__init__()
        self.encoder = Encoder(config)
        self.clean = nn.Sequential(nn.Linear(config.embedding, 192), nn.SiLU(), nn.Linear(192, TARGETS))
        if beyond:
            self.direction_beyond = nn.Parameter(torch.randn(beyond, config.embedding))
            self.bias_beyond = nn.Parameter(torch.full((beyond,), BEGIN))
        self.beyond = beyond
        for name, p in self.encoder.named_parameters():
            p.requires_grad_(not trainable or name.partition(".")[0] in trainable)

    def widened(self, embedding: Tensor, logits: Tensor) -> Tensor:
        """Logits of the kinds and of the classes beyond them; (n, E), (n, K) → (n, K + beyond)."""
        if not self.beyond:
            return logits
        cosine = functional.normalize(embedding, dim=-1) @ functional.normalize(self.direction_beyond, dim=-1).T
        return torch.cat([logits, self.encoder.sharpness.exp() * cosine + self.bias_beyond], dim=1)

    def trained(self) -> list[nn.Parameter]:
        """The parameters that training changes."""
        return [p for p in self.parameters() if p.requires_grad]
