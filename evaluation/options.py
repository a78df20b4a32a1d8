"""What an evaluation is asked for: `Options`, whose defaults are the protocol."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

import numpy as np
import numpy.typing as npt

from evaluation import task_head
from evaluation.simulated import Mode

Labels = npt.NDArray[np.str_]
Which = Literal["fast", "all", "none"]
Centre = Literal["bundle", "simulated", "table"]
CENTRES: tuple[Centre, ...] = ("bundle", "simulated", "table")


@dataclass(frozen=True, slots=True)
class Options:
    """What to do; the defaults are the protocol."""

    shots: tuple[int, ...] = (1, 5, 10, 20)
    episodes: int = 500
    baselines: Which = "fast"
    """fast: features and the K-shot forest; all: the random encoder and the forest with simulations too."""
    seed: int = 0
    each: int = 300
    """Simulated curves a class for prototypes; half as many of another population to calibrate on."""
    simulations: int = 20_000
    """Of the control."""
    looks: Mode = "pattern"
    """How simulated curves come to look like the task's: `evaluation.simulated`."""
    processes: int = 1
    """That simulate and make features for the control."""
    head: task_head.Parts = task_head.WHOLE
    blind: task_head.Blind = task_head.SEEING
    unseen: tuple[str, ...] = ()
    """Kinds that neither the network nor the simulation may be taken to know: those of a class left out."""
    centre: Centre = "bundle"
    """bundle: frozen with the model, the one of the stream; simulated: of the simulated classes, looked at as the task is; table: of its
    objects without their labels. The other two are reported beside."""
