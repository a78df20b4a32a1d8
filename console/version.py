"""Which Protonova this is."""

from __future__ import annotations

import importlib.metadata
import tomllib
from pathlib import Path

PROJECT = Path(__file__).parents[1] / "pyproject.toml"


def version() -> str:
    """The version that is installed; of a checkout that is not installed, the one it declares."""
    try:
        return importlib.metadata.version("protonova")
    except importlib.metadata.PackageNotFoundError:
        return str(tomllib.loads(PROJECT.read_text())["project"]["version"])
