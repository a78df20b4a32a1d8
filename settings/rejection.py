"""When a worker halts instead of rejecting a whole topic after a bad deploy."""

from __future__ import annotations

from pydantic import BaseModel, Field


class RejectionSettings(BaseModel):
    """Rejected packets."""

    reject_consecutive: int = Field(2_000, ge=0, description="Rejected packets in a row at which a worker halts; 0: it never does")
    reject_ratio: float = Field(0.95, ge=0, le=1, description="Share of rejected packets at which a worker halts; 0: it never does")
    reject_window: int = Field(5_000, ge=1, description="Packets that this share is of")
