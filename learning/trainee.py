"""What is trained: the encoder and what only training needs."""

from __future__ import annotations

from collections.abc import Sequence

from torch import nn

from data.simulate.curves import TARGETS
from learning.encoder import Encoder
from learning.hyperparameters import EncoderConfig


class Trainee(nn.Module):
    """The encoder and what only training needs: a reader of the clean curve.

    Parameters
    ----------
    config : EncoderConfig
    trainable : sequence of str
        Parts of the encoder that are trained (`hyperparameters.PARTS`), the rest stays as it is; none named: all of them.
    """

    def __init__(self, config: EncoderConfig, trainable: Sequence[str] = ()) -> None:
        super().__init__()
        self.encoder = Encoder(config)
        self.clean = nn.Sequential(nn.Linear(config.embedding, 192), nn.SiLU(), nn.Linear(192, TARGETS))
        for name, p in self.encoder.named_parameters():
            p.requires_grad_(not trainable or name.partition(".")[0] in trainable)

    def trained(self) -> list[nn.Parameter]:
        """The parameters that training changes."""
        return [p for p in self.parameters() if p.requires_grad]
