"""Rows of a made-up stream, deterministic by seed, as the historian makes them."""

from __future__ import annotations

import numpy as np

from data.history.portion import AlertRow, EmbeddingRow, Moved, Origin, Place, Portion, RejectRow
from schemas.records.table import DETECTION

DETECTIONS, REJECTED = Place("detections", 0), Place("alerts.rejected", 0)
DAY = 86_400_000
NIGHT_MS = 20_400 * DAY
"""A midnight in UTC."""
CLASSES = ("sn-ia", "tde", "agn", "other")


def sky(n: int, *, objects: int = 30, seed: int = 1, survey: str = "ztf", programs: tuple[int, ...] = (1, 1, 1, 2)) -> list[AlertRow]:
    """Alerts of objects, the offsets of their packets in a row on two partitions."""
    rng = np.random.default_rng(seed)
    ra, dec = rng.uniform(0, 360, objects), np.degrees(np.arcsin(rng.uniform(-1, 1, objects)))
    rows = []
    for i in range(n):
        o = int(rng.integers(objects))
        flux = float(rng.normal(50, 20))
        rows.append(
            AlertRow(
                survey, 10**18 + seed * 10**6 + i, rng.bytes(16), f"ZTF{seed}{o:06d}", programs[int(rng.integers(len(programs)))],
                float(ra[o] + rng.normal(0, 1e-5)) % 360, float(np.clip(dec[o] + rng.normal(0, 1e-5), -90, 90)),
                60_000 + 0.01 * i + float(rng.random()) * 0.001, "gri"[o % 3], flux if i % 7 else None, abs(flux) / 10, CLASSES[o % 4],
                float(rng.random()), bool(i % 2), float(rng.random()), NIGHT_MS + 1000 * i, Origin(f"alerts.{survey}", i % 2, i // 2),
                DETECTION, b"body %d" % i,
            )
        )  # fmt: skip
    return rows


def reject(offset: int, *, partition: int = 0, reason: str = "truncated", at: int = 0, records: int = 1) -> RejectRow:
    """A rejected packet."""
    origin = Origin("alerts.ztf", partition, offset)
    return RejectRow(origin, records, "ztf", reason, f"it is {reason}", 1, 100, True, NIGHT_MS + offset, 0, at)


def embeddings(rows: list[AlertRow], *, seed: int = 2, encoder: str = "enc") -> list[EmbeddingRow]:
    """An embedding of each alert, near a direction of its object."""
    rng = np.random.default_rng(seed)
    towards = {name: rng.normal(size=16) for name in sorted({r.object_id for r in rows})}
    return [
        EmbeddingRow(
            r.object_id, r.survey, r.programid, r.mjd, encoder, (towards[r.object_id] + rng.normal(0, 0.01, 16)).astype("<f2").tobytes()
        )
        for r in rows
    ]


def portion(
    rows: list[AlertRow], *, before: int | None = None, rejects: list[RejectRow] | None = None, vectors: list[EmbeddingRow] | None = None
) -> Portion:
    """What is committed at once; the position is that of the detections alone."""
    return Portion(list(rows), vectors or [], rejects or [], {DETECTIONS: Moved(before, (before or 0) + len(rows))})
