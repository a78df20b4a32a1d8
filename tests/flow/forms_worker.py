"""A worker with the published model whose class topics get every public detection: python tests/flow/forms_worker.py SLOT …"""

from __future__ import annotations

import os
import sys

from schemas.records.detection import Detection
from streams.kafka import producer, topics

CLASSES = ("sn-ia", "tde", "agn")
"""Whose topics are used."""


def everywhere(detection: Detection) -> list[str]:
    """The topics of a detection, were it of every class."""
    if detection.programid != producer.PUBLIC:
        return [topics.PRIVATE]
    return [topics.DETECTIONS, *map(topics.class_topic, CLASSES)]


if __name__ == "__main__":
    from pipeline.state import load
    from settings.model import Settings
    from streams.scorer import Pipeline
    from streams.worker import run_worker

    producer.topics_of = everywhere
    os._exit(run_worker(Settings(), int(sys.argv[1]), make_scorer=lambda settings: Pipeline(load())))
