"""A subject of a topic that carries another topic's records → the subject its schemas are registered under.

Each class has a topic of detections, private ones have theirs, and classes are taught while the stream runs: what is on them is what is on
`detections`, so their subjects answer with its versions and ids.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import replace

from schemas.records.table import RegisteredSchema
from streams.kafka.topics import ANOMALY, DETECTIONS, EMBEDDINGS, EMBEDDINGS_PRIVATE, PRIVATE, class_topic

_SUBTOPIC = re.compile(rf"({DETECTIONS}|{EMBEDDINGS})\.[a-z0-9][a-z0-9-]{{0,99}}-value")

Subjects = Mapping[str, Sequence[RegisteredSchema]]


def registered(subjects: Subjects, name: str) -> Sequence[RegisteredSchema] | None:
    """The versions of a subject, its own or another's; None: the subject is unknown."""
    found = subjects.get(name)
    if found is None and (match := _SUBTOPIC.fullmatch(name)) is not None:
        found = [replace(schema, subject=name) for schema in subjects.get(f"{match[1]}-value", ())]
    return found or None


def listed(subjects: Subjects, classes: Iterable[str]) -> list[str]:
    """Every subject by name: those registered, and those of the topics that share a schema."""
    shared = [
        topic for topic in (PRIVATE, ANOMALY, EMBEDDINGS_PRIVATE, *map(class_topic, classes)) if registered(subjects, f"{topic}-value")
    ]
    return sorted({*subjects, *(f"{topic}-value" for topic in shared)})
