"""A packet that could not be scored. It has no body: `rejected.avsc` documents the headers of its message."""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(frozen=True, slots=True)
class Rejected:
    """A packet that could not be scored, and why."""

    error_class: str
    reason: str
    survey: str | None = None
