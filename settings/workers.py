"""How many processes share the work, and when one of them gives up."""

from __future__ import annotations

from pydantic import BaseModel, Field


class WorkerSettings(BaseModel):
    """Workers."""

    app_id: str = Field("protonova", pattern=r"^[A-Za-z0-9._-]+$", description="Consumer group of the workers")
    workers: int = Field(1, ge=0, le=256, description="Worker processes of `protonova run`; 0: broker, drift and status page only")
    remembered: int = Field(65_536, ge=0, description="Digests of packets remembered to find duplicates; 0: none")
    stall_s: float = Field(60.0, gt=0, description="A worker with lag whose committed offsets have not moved for this long exits [s]")
    max_engine_failures: int = Field(3, ge=1, description="Workers that fail on the engine in a row before `protonova run` gives up")
