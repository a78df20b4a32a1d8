"""Light curves in parts, for the tests of joining."""

from __future__ import annotations

import json
from typing import Any

import fastavro
import numpy as np

from schemas.avro.container import Container
from schemas.surveys import tess

WITH_REVISION = json.loads(tess.SCHEMA.read_text(encoding="utf-8"))
WITH_REVISION["fields"].append({"name": "revision", "type": "int", "default": 0})


def record(tic: int = 42, sector: int = 70, *, n: int = 60, seed: int = 1, **changes: Any) -> dict[str, Any]:
    """A whole light curve of two-minute cadences, with gaps of every kind a value may have."""
    rng = np.random.default_rng([seed, tic, sector])
    flux = rng.normal(1000, 3, n).astype(np.float32)
    points: list[dict[str, Any]] = []
    for i in range(n):
        points.append(
            {
                "btjd": 3000.0 + i / 720,
                "flux": None if i % 17 == 5 else float(flux[i]),
                "flux_err": None if i % 19 == 7 else 2.5,
                "quality": [0, 0, 0, 32, 0, 175, 2**30][i % 7],
            }
        )
    return {
        "tic": tic,
        "sector": sector,
        "cadence": n - 1,
        "ra": 10.5,
        "dec": -20.25,
        "tmag": 9.5,
        "baseline": 1000.0,
        "light_curve": points,
    } | changes


def part(whole: dict[str, Any], begin: int, end: int, **changes: Any) -> dict[str, Any]:
    """An increment: some cadences of a light curve."""
    return {**whole, "light_curve": whole["light_curve"][begin:end], "cadence": end - 1, **changes}


def encode(increment: dict[str, Any]) -> bytes:
    """Its packet; with a revision where it has one."""
    return Container(WITH_REVISION).encode(increment) if "revision" in increment else tess.encode(increment)


def decode(packet: bytes) -> dict[str, Any]:
    """A packet's record, by fastavro."""
    import io

    [found] = fastavro.reader(io.BytesIO(packet))
    assert isinstance(found, dict)
    return found
