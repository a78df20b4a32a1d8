"""The flags that several commands share, and the settings they lead to."""

from __future__ import annotations

import os
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from console.arguments import existing

if TYPE_CHECKING:
    from settings.model import Settings

Kafka = Annotated[str | None, typer.Option("--kafka", metavar="HOST:PORT", help="Kafka to use; default: the node of `protonova run`.")]
State = Annotated[Path | None, typer.Option("--state", metavar="FOLDER", help="State folder (default ./state).")]
Bundle = Annotated[Path | None, typer.Option("--bundle", metavar="FOLDER", help="Model bundle (default: the one that ships).")]
Report = Annotated[Path | None, typer.Option("--report", metavar="FILE", help="Write every figure printed as JSON.")]
Paths = Annotated[list[str], typer.Argument(metavar="PATH…", help="Files, folders, tar, zip, parquet, compressed or not, or - for stdin.")]
Engine = Annotated[str | None, typer.Option("--engine", help="Which engine runs the network: auto, onnxruntime, tensorrt.")]
PACKETS = "a file or a folder of packets"
BUNDLE = "a bundle's folder, as `make train` makes it"

_state = Path(os.environ.get("PROTONOVA_STATE", "state"))


def state_folder() -> Path:
    """Where the log of an unexpected error goes: what is known of the state folder so far."""
    return _state


def settings_of(*, diagnose: bool = False, **flags: Any) -> Settings:
    """The settings, with the flags that were given on top; a bundle that is not there is refused, unless `diagnose` is to report it."""
    global _state
    from settings.model import Settings

    if flags.get("state") is not None:
        _state = Path(flags["state"])
    found = Settings(**flags)
    _state = found.state
    if not diagnose:
        existing([found.bundle], BUNDLE)
    return found
