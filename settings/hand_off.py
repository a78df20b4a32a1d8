"""What other systems have to know us by where objects are handed to them."""

from __future__ import annotations

from pydantic import BaseModel, Field, SecretStr


class HandOffSettings(BaseModel):
    """Hand-off."""

    tns_password: SecretStr | None = Field(None, description="API key of a bot of the Transient Name Server (docs/handoff.md)")
    tns_bot_id: int = Field(0, ge=0, description="The bot's number there")
    tns_bot_name: str = Field("", max_length=100, pattern=r'^[^"\\]*$', description="The bot's name there")
    tns_group: int = Field(0, ge=0, description="Number of the group that reports")
    tns_source: int = Field(0, ge=0, description="Number of the data source of the discoveries")
    tns_reporter: str = Field("", max_length=2000, description="Authors of a report, as they shall stand there")
