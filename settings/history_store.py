"""The history: objects, alerts and counts of the past, as the HTTP API serves them."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated, Any

from pydantic import BaseModel, Field, SecretStr, TypeAdapter, ValidationError, field_validator

ENGINES = ("postgresql://", "postgres://")
_switch = TypeAdapter(bool)


class HistorySettings(BaseModel):
    """History of objects and alerts."""

    history: Annotated[bool | SecretStr, Field(union_mode="left_to_right")] = Field(
        False,
        description="`protonova run` keeps the history that the HTTP API reads: true in a file of the state folder, or postgresql://… in a"
        " PostgreSQL database",
    )
    history_folder: Path | None = Field(None, description="Folder of the history; `history` in the state folder where none is given")
    candidates: bool = Field(True, description="The historian's process writes which objects are candidates (`candidates`), too")
    history_embeddings: bool = Field(True, description="Keep each object's latest embedding, by which neighbours are found")

    history_scans: bool = Field(
        False, description="The historian writes each night, once it is over, and all objects as Parquet in the HATS layout"
    )
    history_scans_folder: Path | None = Field(None, description="Folder of these; `scans` in the state folder where none is given")

    @field_validator("history", mode="before")
    @classmethod
    def _switch_or_address(cls, value: Any) -> Any:
        if isinstance(value, bool | SecretStr):
            return value
        if isinstance(value, str) and value.startswith(ENGINES):
            return SecretStr(value)
        try:
            return _switch.validate_python(value)
        except ValidationError:
            raise ValueError("neither true nor false nor an address postgresql://…") from None

    def history_path(self) -> Path:
        """The folder of the history."""
        return self.history_folder or getattr(self, "state", Path("state")) / "history"

    def scans_path(self) -> Path:
        """The folder of the catalogues for scans."""
        return self.history_scans_folder or getattr(self, "state", Path("state")) / "scans"

    def history_url(self) -> str | None:
        """The address of the history's database; None: it is a file in `history_path`."""
        return self.history.get_secret_value() if isinstance(self.history, SecretStr) else None
