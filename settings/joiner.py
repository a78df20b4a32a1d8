"""Increments of TESS light curves that are joined to whole packets."""

from __future__ import annotations

from pydantic import BaseModel, Field


class IncrementSettings(BaseModel):
    """Increments of light curves."""

    increments: bool = Field(
        False, description="`protonova run` joins the increments on `tess.increments` to whole packets on `alerts.tess`"
    )
    increments_wait_s: float = Field(
        0.0, ge=0, le=600, description="Increments of a target that come within this time give one packet [s]; 0: each gives one"
    )
    increments_store_gb: float = Field(
        20.0, gt=0, description="Largest store of light curves so far [GB]; beyond it nothing more is joined until there is room"
    )
