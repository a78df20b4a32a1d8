"""Which bundle a report is of, and whether it is the one that ships.

a bundle → ids for a report; a report, a bundle → the parts that are others by now

A report depends on parts of a bundle: tables are judged by a head of their own examples, so that of the stream's head only the centre
counts; a study of packets depends on all of it.
"""

from __future__ import annotations

import hashlib
from collections.abc import Mapping
from typing import Any, Literal

import numpy as np

from pipeline.state import ID_DIGITS, HeadPart, encoder_id
from registry.bundle import Bundle

Part = Literal["encoder", "head", "centre"]
TABLES: tuple[Part, ...] = ("encoder", "centre")
"""What figures on tables of light curves depend on."""
STREAM: tuple[Part, ...] = ("encoder", "head")
"""What figures on packets depend on."""


def made_with(bundle: Bundle, parts: tuple[Part, ...] = STREAM) -> dict[str, Any]:
    """Ids of a bundle for a report: ``bundle``, ``encoder``, ``head``, ``centre``; ``depends_on``: which of them count."""
    return {
        "bundle": bundle.sha256,
        "encoder": encoder_id(bundle.encoder),
        "head": HeadPart(bundle.head, bundle.classes).id,
        "centre": hashlib.sha256(np.ascontiguousarray(bundle.head.centre).tobytes()).hexdigest()[:ID_DIGITS],
        "depends_on": list(parts),
    }


def stale(report: Mapping[str, Any], bundle: Bundle) -> list[str]:
    """Parts that a report depends on and that the bundle has otherwise, or ``made_with`` where the report does not say."""
    found = report.get("made_with")
    if not found:
        return ["made_with"]
    now = made_with(bundle)
    return [part for part in found.get("depends_on", STREAM) if found.get(part) != now[part]]
