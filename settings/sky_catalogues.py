"""The catalogues that alerts are matched with."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated, Any

from pydantic import BaseModel, Field, field_validator
from pydantic_settings import NoDecode


class CatalogueSettings(BaseModel):
    """Catalogues."""

    catalogues: Annotated[tuple[str, ...], NoDecode] = Field(
        (), description="Catalogues that alerts are matched with, by name or NAME-DIGEST (`protonova catalogue ls`), with commas between"
    )
    catalogue_folder: Path | None = Field(None, description="Folder of catalogues; `catalogues` in the state folder where none is given")

    @field_validator("catalogues", mode="before")
    @classmethod
    def _names(cls, given: Any) -> Any:
        rows = given.split(",") if isinstance(given, str) else given
        return tuple(name.strip() for name in rows if name.strip()) if isinstance(rows, list | tuple) else rows

    @field_validator("catalogues")
    @classmethod
    def _once(cls, names: tuple[str, ...]) -> tuple[str, ...]:
        if len(set(names)) < len(names):
            raise ValueError("names a catalogue twice")
        return names

    def catalogue_path(self) -> Path:
        """The folder of the catalogues."""
        return self.catalogue_folder or getattr(self, "state", Path("state")) / "catalogues"
