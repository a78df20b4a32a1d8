"""What is scored, and with what."""

from __future__ import annotations

from pathlib import Path
from typing import Literal

from pydantic import BaseModel, Field


class ScoringSettings(BaseModel):
    """Scoring."""

    bundle: Path | None = Field(None, description="Model bundle to score with; none: the one that ships")
    engine: Literal["auto", "onnxruntime", "onnxruntime-cuda", "tensorrt"] = Field(
        "auto", description="What runs the network; auto: the fastest here"
    )
    precision: Literal["f32", "f16"] = Field("f32", description="Of the network's arithmetic; f16 with engine tensorrt only")
    batch_size: int | None = Field(
        None, ge=1, le=4096, description="Packets of a micro-batch at most; none: the engine's largest batch (64 on a CPU, 1024 on a GPU)"
    )
    batch_wait_ms: float = Field(20.0, ge=0, le=60_000, description="A batch closes at the latest this long after its first packet [ms]")
