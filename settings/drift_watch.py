"""When the drift process raises an alarm, and how often it may ask for a training."""

from __future__ import annotations

import math
from collections.abc import Mapping
from typing import Annotated, Any, Literal

from pydantic import BaseModel, Field, field_validator
from pydantic_settings import NoDecode

from errors import nearest

DETECTORS = ("cusum", "adwin", "page_hinkley", "kswin")
"""What may monitor a statistic; the first does unless a setting says otherwise."""


class DriftSettings(BaseModel):
    """Drift."""

    drift_detectors: Annotated[dict[str, str], NoDecode] = Field(
        {},
        description="What monitors a statistic in place of the cumulative sums: `[drift_detectors]` in protonova.toml, or "
        f"statistic=detector[:parameter][,…]; detectors: {', '.join(DETECTORS)} (docs/drift.md)",
    )
    drift_settle_alerts: int = Field(
        3_000, ge=512, le=1_000_000, description="Alerts after an alarm within which what moves besides is part of it; then it is diagnosed"
    )
    drift_learn_windows: int = Field(
        16,
        ge=8,
        le=10_000,
        description="Windows of 512 alerts that teach what is usual in a stratum where no reference ships, or the sky differs",
    )
    retrain_cooldown_s: float = Field(3600.0, ge=0, description="Least time between two retrain commands for one model [s]")
    retrain_a_night: int = Field(
        2, ge=0, le=1000, description="Retrain commands a night (noon to noon UTC) for one model; 0: people give them"
    )
    retrain_recipe: Literal["head", "last_layers", "fine_tune"] = Field(
        "head", description="What drift asks to be trained: head (seconds), last_layers (a minute), fine_tune (ten minutes)"
    )

    @field_validator("drift_detectors", mode="before")
    @classmethod
    def _detectors(cls, given: Any) -> dict[str, str]:
        if isinstance(given, str):
            pairs = [row.partition("=") for row in given.split(",") if row.strip()]
            if any(not sign for _, sign, _ in pairs):
                raise ValueError("statistic=detector[:parameter][,…] is meant, such as entropy=adwin:1e-5,energy=kswin")
            given = {name.strip(): detector.strip() for name, _, detector in pairs}
        if not isinstance(given, Mapping):
            raise ValueError('a table of statistics is meant, such as [drift_detectors] with entropy = "adwin"')
        for name, detector in given.items():
            kind, sign, parameter = str(detector).partition(":")
            if kind not in DETECTORS:
                raise ValueError(f"{name}: {kind[:60]!r} is not a detector; did you mean {nearest(kind, DETECTORS)}?")
            if sign and not (_number(parameter) or 0.0) > 0:
                raise ValueError(f"{name}: {parameter[:60]!r} is not a number above 0")
        return {str(name): str(detector) for name, detector in given.items()}

    def drift_detector_of(self, statistic: str) -> tuple[str, float | None]:
        """Which detector monitors a statistic, and its parameter; None: the calibrated one."""
        kind, _, parameter = self.drift_detectors.get(statistic, DETECTORS[0]).partition(":")
        return kind, _number(parameter)


def _number(text: str) -> float | None:
    """A finite number, or None."""
    try:
        number = float(text)
    except ValueError:
        return None
    return number if math.isfinite(number) else None
