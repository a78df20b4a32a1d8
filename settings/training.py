"""What a retrain may use, and whether `protonova run` has a trainer."""

from __future__ import annotations

from pathlib import Path

from pydantic import BaseModel, Field


class TrainingSettings(BaseModel):
    """Retraining."""

    trainer: bool = Field(False, description="`protonova run` starts the trainer, which answers retrain commands; needs the extra `train`")
    retrain_memory_mb: int = Field(6000, ge=500, description="Most data that a process of an attempt may hold [MB]")
    retrain_minutes: float = Field(90.0, gt=0, le=10_000, description="An attempt that takes longer is ended [min]")
    retrain_threads: int = Field(2, ge=1, le=256, description="Processes of an attempt that compute at once, each of one thread")
    retrain_window: int = Field(1000, ge=0, le=50_000, description="Recent packets without a label that a new class is calibrated on")
    retrain_search: int = Field(20_000, ge=1, le=2_000_000, description="Recent packets among which labelled ones are looked for")
    retrain_replay: int = Field(
        16_000, ge=400, le=1_000_000, description="Simulated alerts of the replay buffer; made once, kept in the state folder"
    )
    retrain_real: Path | None = Field(None, description="Folder of labelled real packets with LABELS.csv that a head fitted anew reads too")
