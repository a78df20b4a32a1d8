"""The history: objects, alerts and counts of the past, as the HTTP API serves them."""

from __future__ import annotations

from pathlib import Path

from pydantic import BaseModel, Field


class HistorySettings(BaseModel):
    """History of objects and alerts."""

    history: bool = Field(False, description="`protonova run` keeps the history that the HTTP API reads")
    history_folder: Path | None = Field(None, description="Folder of the history; `history` in the state folder where none is given")
    history_embeddings: bool = Field(True, description="Keep each object's latest embedding, by which neighbours are found")

    def history_path(self) -> Path:
        """The folder of the history."""
        return self.history_folder or getattr(self, "state", Path("state")) / "history"
