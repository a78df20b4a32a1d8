"""Scored alerts, stable and changed → streams of nights: what a drift detector would have been shown.

a bundle, simulated alerts of the stream's mix (or real ones) → `Pool`; a seed → rows of it in order of observation, and the night of each

A night has a phase of the moon and a seeing of its own and looks at one field after the other, some 60 alerts each: windows of alerts are
far from independent, which is what thresholds have to allow for. `real_nights` draws real packets by field and night instead.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, fields
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
import safetensors.numpy

from data.simulate import arrays
from data.simulate.classes import STREAM_MIX
from data.simulate.described import shipped
from data.simulate.observe import choose
from data.simulate.sample import sample
from evaluation.studies.drift_changes import CHANGES
from gpu.session import Session
from operators.alert_statistics import alert_statistics
from operators.drift_panel import WINDOW, Window, windows_of
from operators.drift_thresholds import Placed
from operators.head import Judged, judge
from operators.types import CONTEXT, F32, F64, AlertBatch
from pipeline.embed import embed
from registry.bundle import Bundle

I64 = npt.NDArray[np.int64]
STABLE = "stable"
NEW = ("luminous-fast-cooler", "fbot")
"""Described populations that no class of the stream is made of; the encoder was trained on the second as a kind."""
NEW_SHARE = 0.05
A_NIGHT, A_FIELD = 3000, 60
"""Alerts."""
PLANE = 15.0
"""[deg] of galactic latitude: the region of a stratum, as in `streams.telemetry`."""
_C = {name: i for i, name in enumerate(CONTEXT)}
_CHUNK = 500
BANDS = ("g", "r", "i")


@dataclass(frozen=True, slots=True)
class Scored:
    """n alerts as telemetry would know them."""

    values: F32  # (n, S)
    context: F32  # (n, C)
    band: I64  # (n,) index into `BANDS`
    decided: I64  # (n,) most probable class
    mjd: F64  # (n,)
    ra: F64  # (n,)

    def __len__(self) -> int:
        return len(self.mjd)

    def take(self, rows: Any) -> Scored:
        """Some of them."""
        return Scored(*(getattr(self, f.name)[rows] for f in fields(self)))

    @property
    def plane(self) -> npt.NDArray[np.bool_]:
        """(n,) near the galactic plane."""
        near: npt.NDArray[np.bool_] = self.context[:, _C["galactic_latitude"]] < PLANE
        return near

    @property
    def stratum(self) -> I64:
        """(n,) twice the band, and one more near the plane."""
        return 2 * self.band + self.plane


STRATA: tuple[str, ...] = tuple(f"ztf/{band}/{region}" for band in BANDS for region in ("sky", "plane"))


def joined(parts: Sequence[Scored]) -> Scored:
    """One after the other."""
    return Scored(*(np.concatenate([getattr(part, f.name) for part in parts]) for f in fields(Scored)))


def scored(batch: AlertBatch, bundle: Bundle, *, session: Session) -> Scored:
    """Score decoded or simulated alerts as the stream does."""
    seen = embed(batch, session)
    judged: Judged = judge(seen.views, bundle.head)
    values = alert_statistics(batch, seen.logits, judged=judged)
    band = np.array([BANDS.index(b) if b in BANDS else 0 for b in batch.band], np.int64)
    decided = np.asarray(judged.probability).argmax(axis=1)
    return Scored(np.asarray(values), np.asarray(batch.context), band, decided, np.asarray(batch.mjd), np.asarray(batch.ra))


@dataclass(frozen=True, slots=True)
class Pool:
    """Scored alerts of every scenario: those of a change are the stable ones, row by row, changed; a population's are its own."""

    parts: Mapping[str, Scored]

    @property
    def stable(self) -> Scored:
        """As the sky is."""
        return self.parts[STABLE]

    def half(self, which: int) -> Pool:
        """Every other alert: thresholds are set on one half and judged on the other."""
        return Pool({name: part.take(slice(which, None, 2)) for name, part in self.parts.items()})

    def stream(self, rows: I64, scenario: str, *, rng: np.random.Generator, share: float = NEW_SHARE) -> Scored:
        """The stable rows under a scenario."""
        if scenario not in NEW:
            return self.parts[scenario].take(rows)
        new = self.parts[scenario]
        whole, size = joined([self.stable, new]), len(self.stable)
        here = rng.random(len(rows)) < share
        return whole.take(np.where(here, size + rng.integers(0, len(new), len(rows)), rows))


def simulated_pool(
    bundle: Bundle,
    session: Session,
    *,
    alerts: int,
    new: int,
    seed: int,
    keep: Path | None = None,
    progress: Callable[[int], None] = lambda n: None,
) -> Pool:
    """Simulate alerts of the demo's sky in the stream's mix, change and score them.

    Parameters
    ----------
    bundle, session
    alerts, new : int
        Of the stream, and of each new population.
    seed : int
    keep : Path, optional
        Folder for the scored alerts: what is there is not made again.
    progress : callable
        Is given how many alerts more are done.
    """
    parts: dict[str, list[Scored]] = {}

    def add(name: str, chunk: int, *, make: Callable[[], Scored], n: int) -> None:
        file = None if keep is None else keep / f"{name.replace('/', '-').replace(' ', '-')}-{seed}-{chunk}.safetensors"
        parts.setdefault(name, []).append(_kept(file, make))
        progress(n)

    for chunk in range(0, alerts, _CHUNK):
        n = min(_CHUNK, alerts - chunk)
        made: list[AlertBatch] = []

        def batch(*, chunk: int = chunk, n: int = n, made: list[AlertBatch] = made) -> AlertBatch:
            if not made:
                columns = arrays.make(n, seed + chunk, population="demo", processes=1, surveys={"ztf": 1.0}, classes=STREAM_MIX)
                made.append(arrays.to_batch(columns))
            return made[0]

        add(STABLE, chunk, make=lambda: scored(batch(), bundle, session=session), n=n)
        for name, change in CHANGES.items():
            add(name, chunk, make=lambda change=change: scored(change(batch()), bundle, session=session), n=n)  # type: ignore[misc]
    for name in NEW:
        add(name, 0, make=lambda name=name: _described(name, new, bundle=bundle, session=session, seed=seed), n=new)  # type: ignore[misc]
    return Pool({name: joined(chunks) for name, chunks in parts.items()})


def _described(name: str, n: int, *, bundle: Bundle, session: Session, seed: int) -> Scored:
    found = sample(shipped()[name], n, seed=seed, population="demo").objects
    chunks = (found[k : k + _CHUNK] for k in range(0, len(found), _CHUNK))
    return joined([scored(arrays.to_batch(arrays.columns(choose(o) for o in chunk)), bundle, session=session) for chunk in chunks])


def _kept(file: Path | None, make: Callable[[], Scored]) -> Scored:
    if file is not None and file.exists():
        return Scored(**safetensors.numpy.load_file(file))
    made = make()
    if file is not None:
        file.parent.mkdir(parents=True, exist_ok=True)
        part = file.with_suffix(".part")
        safetensors.numpy.save_file({f.name: np.ascontiguousarray(getattr(made, f.name)) for f in fields(made)}, part)
        part.replace(file)
    return made


class Nights:
    """Streams of rows of stable alerts in nights: by cell of the sky, moon and seeing.

    Parameters
    ----------
    stable : Scored
    """

    def __init__(self, stable: Scored) -> None:
        latitude = np.digitize(stable.context[:, _C["galactic_latitude"]], [6, 15, 35])
        self._cell = latitude * 6 + (stable.ra // 60).astype(int) % 6
        self._moon = ((stable.mjd - 51549.6) / 29.530588) % 1
        self._seeing = np.log(np.nan_to_num(stable.context[:, _C["fwhm"]], nan=2.0) / 2)
        self._band = stable.band
        self._share = np.bincount(self._cell, minlength=24) / len(stable)

    def draw(self, n: int, rng: np.random.Generator) -> tuple[I64, I64]:
        """N rows in order of observation, and the night of each."""
        out: list[I64] = []
        nights: list[I64] = []
        total, first = 0, int(rng.integers(0, 30))
        night = first
        while total < n:
            got = 0
            for rows in self._fields(night, rng):
                out.append(rows)
                nights.append(np.full(len(rows), night - first))
                got += len(rows)
                if got >= A_NIGHT:
                    break
            total += got
            night += 1
        return np.concatenate(out)[:n], np.concatenate(nights)[:n]

    def _fields(self, night: int, rng: np.random.Generator) -> Iterator[I64]:
        moon, see = (night / 29.53) % 1, rng.normal(0, 0.12)
        up = rng.choice(6, 4, replace=False)  # hours of right ascension
        far = np.abs((self._moon - moon + 0.5) % 1 - 0.5)
        weight = np.exp(-0.5 * (far / 0.15) ** 2 - 0.5 * ((self._seeing - see) / 0.2) ** 2)
        while True:
            cell = rng.choice(24, p=self._share)
            if cell % 6 not in up:
                continue
            rows = np.flatnonzero((self._cell == cell) & (self._band == rng.choice(3, p=[0.49, 0.49, 0.02])))
            if len(rows) >= 20:
                chance = weight[rows] + 1e-12
                yield rng.choice(rows, int(rng.poisson(A_FIELD)) + 1, p=chance / chance.sum())


def windows(stream: Scored, night: I64, *, strata: Sequence[str] = STRATA) -> list[tuple[int, Placed]]:
    """Consecutive windows of each stratum with the position at which each is full, in that order; a rest that is not full is left out."""
    out = []
    of = stream.stratum
    for k, stratum in enumerate(strata):
        where = np.flatnonzero(of == k)
        for start in range(0, len(where) - WINDOW + 1, WINDOW):
            rows = where[start : start + WINDOW]
            names = [str(c) for c in stream.decided[rows]]
            made: Window = windows_of(stream.values[rows], stream.context[rows], strata=[stratum] * WINDOW, classes=names)[stratum]
            out.append((int(rows[-1]), Placed(int(night[rows[-1]]), stratum, made)))
    return sorted(out, key=lambda pair: pair[0])
