"""What a bundle says of itself, and by what two differ.

`Bundle` → text by name; two of them → rows of what differs
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import Any

import numpy as np

from operators.head import ARRAYS
from operators.namespace import to_host
from registry.bundle import Bundle


def facts(bundle: Bundle) -> dict[str, str]:
    """What a bundle says of itself."""
    manifest = bundle.manifest
    reached = {f"{name}, {key}": value for name in ("demo", "real") for key, value in _macro(manifest.figures.get(name)).items()}
    return {
        "sha256": bundle.sha256,
        "made": f"{manifest.created_on} by {manifest.created_by}",
        "command": manifest.command,
        "head": manifest.head_command or "made with the encoder",
        "encoder": f"{manifest.files['encoder.onnx'].sha256[:16]}, {manifest.parameters:,} parameters",
        "classes": str(len(bundle.classes)),
        "seed": str(manifest.seed),
        **{key: f"{value:.4g}" for key, value in reached.items()},
    }


def differences(one: Bundle, other: Bundle) -> Iterator[tuple[str, str, str]]:
    """What differs, on the left and on the right: encoder, classes, thresholds, arrays of the head, plan, figures."""
    left, right = one.manifest, other.manifest
    files = (left.files["encoder.onnx"].sha256[:16], right.files["encoder.onnx"].sha256[:16])
    if files[0] != files[1]:
        yield "encoder", *files
    for slug in (*one.classes, *(slug for slug in other.classes if slug not in one.classes)):
        was, now = (thresholds(bundle).get(slug) for bundle in (one, other))
        if was != now:
            yield f"threshold of {slug}", _number(was), _number(now)
    for name in ARRAYS:
        a, b = to_host(getattr(one.head, name)), to_host(getattr(other.head, name))
        if a.shape != b.shape:
            yield f"head: {name}", str(a.shape), str(b.shape)
        elif not np.array_equal(a, b) and name != "thresholds":
            yield f"head: {name}", "", f"differs by {float(np.max(np.abs(a - b))):.3g} at most"
    for section, pair in {"plan": (left.plan, right.plan), "figures": (left.figures, right.figures)}.items():
        was_in, now_in = (dict(_flat(values or {})) for values in pair)
        for key in sorted(was_in.keys() | now_in.keys()):
            if was_in.get(key) != now_in.get(key):
                yield f"{section}: {key}", str(was_in.get(key, "–")), str(now_in.get(key, "–"))


def thresholds(bundle: Bundle) -> dict[str, float]:
    """Class → its threshold on the prior probability."""
    return dict(zip(bundle.classes, to_host(bundle.head.thresholds).tolist(), strict=True))


def _number(threshold: float | None) -> str:
    return "no such class" if threshold is None else f"{threshold:.4f}"


def _macro(figures: Any) -> Mapping[str, float]:
    found = figures.get("macro") if isinstance(figures, Mapping) else None
    return {f"macro at {n} detections": value for n, value in found.items()} if isinstance(found, Mapping) else {}


def _flat(values: Mapping[str, Any], before: str = "") -> Iterator[tuple[str, Any]]:
    """Numbers and words of nested mappings by their path; longer things, such as confusions, are left out."""
    for key, value in values.items():
        if isinstance(value, Mapping):
            yield from _flat(value, f"{before}{key}.")
        elif isinstance(value, int | float | str):
            yield f"{before}{key}", value
