"""What is seen from outside: the status page, metrics, logs."""

from __future__ import annotations

from typing import Literal

from pydantic import BaseModel, Field


class SurfaceSettings(BaseModel):
    """Status page, metrics, logs."""

    status_host: str = Field("127.0.0.1", description="Address of the status page")
    status_port: int = Field(8580, ge=0, le=65_535, description="Port of the status page; 0: a free one")
    status_allowed_hosts: str = Field(
        "",
        pattern=r"^[A-Za-z0-9._,-]*$",
        description="Further names the status page answers to, name[,name]; this machine's names and any IP address always do",
    )
    metrics_host: str = Field("127.0.0.1", description="Address of a worker's Prometheus metrics")
    metrics_port: int = Field(0, ge=0, le=65_535, description="Port of a worker's Prometheus metrics, plus its slot; 0: a free one")
    log_level: Literal["debug", "info", "warning", "error"] = Field("info", description="Least level that is logged")
