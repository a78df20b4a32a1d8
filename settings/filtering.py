"""Users' filters of detections, and where their matches are posted."""

from __future__ import annotations

import ipaddress

from pydantic import BaseModel, Field, SecretStr, field_validator


class FilterSettings(BaseModel):
    """Filters and watchlists."""

    filters: bool = Field(False, description="`protonova run` asks users' filters of detections (docs/filters.md)")
    filters_webhook_key: SecretStr | None = Field(
        None, min_length=16, description="Secret that the keys follow from by which webhooks are signed; none: no webhooks"
    )
    filters_webhook_networks: str = Field(
        "", description="Networks that are not public and may be posted to, as in 10.1.0.0/16,fd00::/8; none: public addresses alone"
    )
    stream_clients: int = Field(800, ge=1, le=10_000, description="Clients of the live stream (`GET /v1/stream`) of one process")
    stream_kept: int = Field(20_000, ge=100, le=1_000_000, description="Latest detections that a process keeps for its live stream")

    @field_validator("filters_webhook_networks")
    @classmethod
    def _of_networks(cls, text: str) -> str:
        for part in text.split(","):
            if part.strip():
                ipaddress.ip_network(part.strip())
        return text
