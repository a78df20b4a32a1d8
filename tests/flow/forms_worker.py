"""A worker with the published model whose class topics get every public detection: python tests/flow/forms_worker.py SLOT …"""

from __future__ import annotations

import os
import sys
from collections.abc import Mapping

from pipeline.state import load
from streams.scorer import Pipeline

CLASSES = ("sn-ia", "tde", "agn")
"""Whose topics are used."""


class EveryDetection(Pipeline):
    """The same scores, with thresholds that any detection passes."""

    @property
    def thresholds(self) -> Mapping[str, float]:
        return dict.fromkeys(CLASSES, 0.0)


if __name__ == "__main__":
    from settings.model import Settings
    from streams.worker import run_worker

    os._exit(run_worker(Settings(), int(sys.argv[1]), make_scorer=lambda settings: EveryDetection(load())))
