"""Which model workers follow, and where models are kept and noted."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated, Any, Protocol

from pydantic import BaseModel, Field, field_validator
from pydantic_settings import NoDecode

from settings.raw_frames import as_address

LEDGER_OFF = "off"


class ModelSettings(BaseModel):
    """Models."""

    follow_champion: bool = Field(
        True,
        description="Workers score with the champion on `models.announced` once there is one; false: with `bundle` whatever is announced",
    )
    models_folder: Path | None = Field(
        None, description="Folder of the bundles that were fetched from `models.bundles`; none: models in the state folder"
    )
    models_kept: int = Field(20, ge=3, le=10_000, description="Bundles kept in that folder; the oldest that no alias names go first")
    challengers_kept: int = Field(
        100, ge=0, le=100_000, description="Bundles kept on `models.bundles` that were challengers and never champion; the oldest go first"
    )
    models_prefixes: Annotated[tuple[str, ...], NoDecode] = Field(
        (),
        description="Where bundles of more than 8 MB may lie beside that folder: folders, or https addresses, that a claim's address must "
        "begin with; prefix[,prefix] or a list",
    )
    ledger: str | None = Field(
        None,
        description="MLflow's store of trainings and aliases, such as http://127.0.0.1:5000; none: mlflow.db in the state folder, where "
        "MLflow is installed; off: nowhere",
    )

    @field_validator("models_prefixes", mode="before")
    @classmethod
    def _addresses(cls, given: Any) -> tuple[str, ...]:
        rows = given.split(",") if isinstance(given, str) else given
        if not isinstance(rows, list | tuple) or not all(isinstance(row, str) for row in rows):
            raise ValueError("prefix[,prefix] is meant, or a list of them: folders, or https://host/path/")
        return tuple(as_address(row.strip()) for row in rows if row.strip())


class _Places(Protocol):
    """The settings, as far as they say where models lie."""

    @property
    def state(self) -> Path: ...
    @property
    def models_folder(self) -> Path | None: ...
    @property
    def ledger(self) -> str | None: ...


def models_folder(settings: _Places) -> Path:
    """Folder of the bundles."""
    return settings.models_folder or settings.state / "models"


def ledger_uri(settings: _Places) -> str | None:
    """Where MLflow keeps its records; None: nowhere."""
    if settings.ledger == LEDGER_OFF:
        return None
    return settings.ledger or f"sqlite:///{(settings.state / 'mlflow.db').absolute()}"
