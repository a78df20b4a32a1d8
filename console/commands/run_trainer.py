"""``protonova trainer``: the answering of retrain commands alone, as production runs it."""

from __future__ import annotations

import importlib.util
from typing import TYPE_CHECKING

from console.claim import claim
from errors import UserError

if TYPE_CHECKING:
    from settings.model import Settings

NEEDED = ("torch", "onnx", "onnxscript")
"""Of the extra `train`: what an attempt's process imports."""


def missing() -> list[str]:
    """What of the extra `train` is not installed."""
    return [name for name in NEEDED if importlib.util.find_spec(name) is None]


def run(settings: Settings) -> int:
    """Answer retrain commands until it is asked to end; returns the exit status.

    Raises
    ------
    UserError
        What trains is not installed, or another trainer uses the state folder.
    """
    if found := missing():
        raise UserError(f"the trainer needs {', '.join(found)}: pip install 'protonova[train]'")
    from streams.agents import trainer
    from streams.until_ended import run_until_ended
    from streams.worker import configure_logging

    with claim(settings.state / "training", settings.state):
        configure_logging(settings.log_level)
        run_until_ended(lambda: trainer.run(settings))
    return 0
