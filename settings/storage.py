"""Where things lie."""

from __future__ import annotations

from pathlib import Path

from pydantic import BaseModel, Field


class StorageSettings(BaseModel):
    """Folders and stores."""

    state: Path = Field(Path("state"), description="Folder of everything kept between runs: Kafka's data, logs")
    shared: Path = Field(Path("../shared"), description="Folder whose data/real holds real packets, for tests and the demo")
    rubin_schemas: Path | None = Field(None, description="Folder with more of Rubin's schemas than ship here")
    schema_registry: str | None = Field(None, description="URL of a Confluent-compatible registry for framed packets of unknown schema id")
