"""Where a bundle is made and who follows: what a training is given beside its plan, and what it reports."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Protocol


@dataclass(frozen=True, slots=True)
class Step:
    """What a step of the optimiser reports."""

    step: int
    steps: int
    loss: float
    """Cross-entropy of this batch."""
    accuracy: float


class Progress(Protocol):
    """Who follows a training. Every method returns at once and raises nothing but to stop it."""

    def stage(self, text: str) -> None:
        """Take note of what begins now."""

    def step(self, step: Step) -> None:
        """Take note of a step of the optimiser."""

    def figures(self, title: str, found: Mapping[str, Any]) -> None:
        """Take note of figures of `assessment.figures`."""


class Unattended:
    """Report nowhere."""

    def stage(self, text: str) -> None:
        """See `Progress`."""

    def step(self, step: Step) -> None:
        """See `Progress`."""

    def figures(self, title: str, found: Mapping[str, Any]) -> None:
        """See `Progress`."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Workplace:
    """Where a bundle is made and how; nothing of it changes a bit of the network or of the head."""

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

    def file(self, name: str, number: int, *, seed: int) -> Path | None:
        """Where a simulated set is kept; None: nowhere."""
        return self.sets / f"{name}-{number}-{seed}.safetensors" if self.sets is not None else None
