"""A challenger beside the champion, and what it has to show to take its place."""

from __future__ import annotations

from typing import Literal

from pydantic import BaseModel, Field


class GateSettings(BaseModel):
    """Shadow and gates."""

    shadow: bool = Field(
        False, description="`protonova run` has challengers score beside the champion, and gates judge them (docs/gates.md)"
    )
    shadow_share: float = Field(0.1, gt=0, le=1, description="Share of the alerts that a challenger scores; 1 where a worker is spare")
    shadow_core: float = Field(0.25, gt=0, le=1, description="Share of a core that the shadow may take; beyond it alerts are left out")
    gates_promote: Literal["operator", "automatic"] = Field(
        "operator", description="Who promotes a challenger that passed its gates: `protonova promote`, or the gates themselves"
    )
    gates_rollback: Literal["operator", "automatic"] = Field(
        "automatic", description="Who takes back a promotion after which the gates show a regression"
    )
    gates_alerts: int = Field(500, ge=50, le=20_000, description="Alerts that both models scored before anything is decided")
    gates_ask: int = Field(20, ge=0, le=500, description="Alerts that people are asked about at once (`labels.wanted`); 0: none")
    gates_days: float = Field(14.0, gt=0, le=365, description="A challenger that was not shown to be better after so long is refused [d]")
    gates_watch_hours: float = Field(24.0, ge=0, le=24 * 30, description="How long the previous model shadows after a promotion [h]")
    gates_false_calls: float = Field(
        0.01, gt=0, lt=1, description="Share of other alerts that a challenger's new class may be called, where its record names none"
    )
    gates_confidence: float = Field(0.5, ge=0, le=1, description="A label of less confidence does not count")
