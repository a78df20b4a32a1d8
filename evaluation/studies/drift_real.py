"""Real packets → streams of nights: resampled by field and night, stable and changed.

a folder of ZTF packets, a bundle → `RealSky`

The public packets come from few nights, so a night of a stream is `FIELDS` fields of real nights, each taken as often as it has packets,
with replacement; a pointing draws as many alerts of one field, night and band as it has packets, some 60 at most. What a night's fields
have in common stays together. Of 803 packets 218 are alone in their field and night: drawn sixty at a time, the packet that came most often
was a quarter of a window, and its mean said nothing of a sky. Packets still come again within a night, so thresholds are those of these
streams.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from itertools import islice
from pathlib import Path

import numpy as np
import numpy.typing as npt

from data.connectors.archives import only_packets
from evaluation.studies.drift_changes import CHANGES
from evaluation.studies.drift_streams import A_FIELD, A_NIGHT, STABLE, STRATA, Pool, Scored, joined, scored
from evaluation.studies.drift_study import Sky
from gpu.session import Session
from registry.bundle import Bundle
from schemas.surveys.decode import Decoder

I64 = npt.NDArray[np.int64]
FIELDS = 10
"""Of a night, which are returned to."""
SIDE = 7.0
"""[deg] of a field."""
LEAST = 50
"""Packets, below which no stream is drawn."""
_CHUNK = 128


@dataclass(frozen=True, slots=True)
class RealSky:
    """Streams of real alerts."""

    sky: Sky
    group: I64
    """(n,) field, night and band of each."""

    @property
    def groups(self) -> int:
        """How many fields of a night there are, by band."""
        return len(np.unique(self.group))

    def half(self, which: int) -> RealSky:
        """Every other packet of each field and night; a field of one packet is in both halves."""
        keep = np.zeros(len(self.group), np.bool_)
        for members in (np.flatnonzero(self.group == g) for g in np.unique(self.group)):
            keep[members[which::2] if len(members) > 1 else members] = True
        pool = Pool({name: part.take(keep) for name, part in self.sky.pool.parts.items()})
        return drawn_sky(pool, self.group[keep])


def real_sky(folder: Path, bundle: Bundle, *, session: Session, scenarios: Sequence[str]) -> RealSky | None:
    """Score a folder's packets, stable and changed; None: it has too few.

    Parameters
    ----------
    folder : Path
    bundle, session
    scenarios : sequence of str
        Of `evaluation.studies.drift_changes.CHANGES`.
    """
    if not folder.is_dir():
        return None
    decoder, seen = Decoder(), set[int]()
    parts: dict[str, list[Scored]] = {name: [] for name in (STABLE, *scenarios)}
    places: list[tuple[float, float, float, str]] = []
    packets = iter(only_packets([folder]))
    while chunk := list(islice(packets, _CHUNK)):
        batch = decoder.decode(chunk).batch
        rows = []
        for i in range(len(batch)):
            if batch.survey[i] == "ztf" and batch.candid[i] not in seen:
                seen.add(batch.candid[i])
                rows.append(i)
                places.append((float(batch.mjd[i]) // 1, float(batch.ra[i]) // SIDE, float(batch.dec[i]) // SIDE, batch.band[i]))
        if rows:
            for name, found in parts.items():
                changed = batch if name == STABLE else CHANGES[name](batch)
                found.append(scored(changed, bundle, session=session).take(np.array(rows)))
    if len(places) < LEAST:
        return None
    numbers = {place: i for i, place in enumerate(dict.fromkeys(places))}
    return drawn_sky(Pool({name: joined(found) for name, found in parts.items()}), np.array([numbers[place] for place in places], np.int64))


def drawn_sky(pool: Pool, group: I64) -> RealSky:
    """Streams of scored alerts whose field, night and band are given."""
    members = [np.flatnonzero(group == g) for g in np.unique(group)]
    share = np.array([len(rows) for rows in members]) / len(group)

    def draw(n: int, rng: np.random.Generator) -> tuple[I64, I64]:
        rows: list[I64] = []
        nights: list[I64] = []
        total = night = 0
        while total < n:
            own = rng.choice(len(members), FIELDS, p=share)
            got = 0
            while got < A_NIGHT:
                field = members[int(rng.choice(own))]
                some = rng.choice(field, int(rng.poisson(min(A_FIELD, len(field)))) + 1)
                rows.append(some)
                nights.append(np.full(len(some), night))
                got += len(some)
            total += got
            night += 1
        return np.concatenate(rows)[:n], np.concatenate(nights)[:n]

    return RealSky(Sky(pool, draw, STRATA), group)
