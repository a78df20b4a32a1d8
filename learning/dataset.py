"""Simulated alerts and light curves in memory, ready to train on.

`data.simulate.arrays`, `data.simulate.curves` → `Alerts`: light-curve columns as float32, network stamps as float16, context as it comes,
the folded view, the clean curve behind it, labels

The columns stay columns: tokens are made anew for every batch, by the operator that makes them in the stream, after the augmentation
has changed the light curve.
"""

from __future__ import annotations

import multiprocessing
from collections.abc import Callable, Iterator, Mapping
from concurrent.futures import ProcessPoolExecutor
from dataclasses import dataclass, fields, replace
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
import safetensors.numpy

from data.simulate import arrays, curves
from data.simulate.arrays import ADDED
from data.simulate.classes import KINDS, SLUGS
from data.simulate.curves import TARGETS
from data.simulate.draw import PopulationName, generator
from data.simulate.space_curves import ANOMALIES, SPACE_KINDS, packet, space_curve
from gpu.session import Session
from operators.context import surroundings
from operators.dips import DIPS
from operators.fold import FOLD, fold
from operators.stamps import stamps
from operators.tokens import tokens
from operators.types import CONTEXT, F32, F64, MEASURED, RAW_STAMP, STAMP, SURVEY_SCORES, AlertBatch, Survey
from pipeline.embed import Embeddings, Inputs, embed, gather
from pipeline.select import select
from schemas.surveys.decode import Decoder

Bools = npt.NDArray[np.bool_]
I64 = npt.NDArray[np.int64]
Rows = I64 | Bools | slice
_CHUNK = 2000
_SECTOR = 100
SPACE_WEIGHT: dict[str, float] = {
    **dict.fromkeys(SPACE_KINDS, 1.0), "transit": 8.0, **dict.fromkeys(ANOMALIES, 2.5), "quiet": 6.0, "instrumental": 4.0, "EA": 5.0,
    "EB": 2.0, "EW": 2.0, "flare": 3.0, "ACV": 2.0,
}  # fmt: skip
"""Of the kinds in a training set of light curves from space."""
EMBEDDED = 512
"""Alerts that are embedded at once."""
NAMES: tuple[str, ...] = tuple(KINDS)
"""Kinds in the order of the labels and of the network's logits."""
SLUG_OF: I64 = np.array([SLUGS.index(slug) if slug is not None else -1 for slug in KINDS.values()], dtype=np.int64)
"""(K,) class of the stream that each kind belongs to; -1: none."""
REFERENCE, REFERENCE_DISTANCE = CONTEXT.index("reference_flux"), CONTEXT.index("reference_distance")
_SURVEY: tuple[Survey] = ("ztf",)  # stands for any: identity plays no part in what the encoder sees


@dataclass(slots=True)
class Alerts:
    """n alerts; T points, P stamp side, C context values. Times are days before the alert, ≤ 0: float32 is exact enough for them."""

    label: I64  # (n,) index of the kind
    number: I64  # (n,) detections in the packet's light curve
    first_detection: F32  # (n,) [d] relative to the alert
    truncated: Bools  # (n,)
    time: F32  # (n, T) [d] relative to the alert
    wavelength: F32  # (n, T) [Å]
    flux: F32  # (n, T) [µJy]
    flux_err: F32  # (n, T) [µJy]
    limit: F32  # (n, T) [µJy]
    detected: Bools  # (n, T)
    valid: Bools  # (n, T)
    stamps: npt.NDArray[np.float16]  # (n, 4, P, P) as the network sees them; (n, 4, 0, 0): light curves without images
    context: F32  # (n, C)
    measured: F32  # (n, M)
    scores: F32  # (n, S) the surveys' own
    added: F32  # (n, A) the truth behind `ADDED`; the augmentation gives some alerts what a catalogue would have of it
    folded: F32  # (n, V) the folded view
    dips: F32  # (n, D) the dip view; zeros: none
    target: F32  # (n, TARGETS) the clean curve; NaN: none

    def __len__(self) -> int:
        return len(self.label)

    def take(self, rows: Rows) -> Alerts:
        """A copy of some rows."""
        return Alerts(**{f.name: np.array(getattr(self, f.name)[rows]) for f in fields(self)})

    def inputs(self) -> Inputs:
        """What the encoder is shown: by the operators of the stream, where they were not applied already when the set was made."""
        batch = self.batch()
        images = self.stamps.astype(np.float32) if self.stamps.shape[-1] else np.zeros((len(self), 4, STAMP, STAMP), dtype=np.float32)
        return Inputs(tokens(batch), images, np.concatenate([surroundings(batch), self.folded, self.dips], axis=1))

    def chunks(self, size: int) -> Iterator[Alerts]:
        """Yield parts of at most so many rows, in order."""
        for start in range(0, len(self), size):
            yield self.take(slice(start, start + size))

    def batch(self) -> AlertBatch:
        """The columns as the operators know them; the alert is at time 0 and identity plays no part."""
        n = len(self)
        zeros: F64 = np.zeros(n)
        return AlertBatch(
            survey=_SURVEY * n,
            candid=tuple(range(n)),
            object_id=("",) * n,
            programid=(1,) * n,
            band=("",) * n,
            ra=zeros,
            dec=zeros,
            mjd=zeros,
            first_detection=self.first_detection.astype(np.float64),
            truncated=self.truncated,
            time=self.time.astype(np.float64),
            wavelength=self.wavelength,
            flux=self.flux,
            flux_err=self.flux_err,
            limit=self.limit,
            detected=self.detected,
            valid=self.valid,
            stamps=np.zeros((n, 3, 0, 0), dtype=np.float32),
            pixel_scale=np.full(n, np.nan, dtype=np.float32),
            context=self.context,
            measured=self.measured,
            survey_scores=self.scores,
        )


def from_batch(batch: AlertBatch, label: I64) -> Alerts:
    """Columns of decoded or simulated alerts, with their stamps as the network sees them.

    Parameters
    ----------
    batch : AlertBatch
        On the host.
    label : (n,) int
    """
    f32 = np.float32
    if batch.stamps.shape[-1] != RAW_STAMP or batch.context.shape[-1] != len(CONTEXT):
        raise ValueError(f"stamps of {batch.stamps.shape} and context of {batch.context.shape} are of another layout")
    return Alerts(
        label=np.asarray(label, dtype=np.int64),
        number=np.sum(batch.detected & batch.valid, axis=1, dtype=np.int64),
        first_detection=(batch.first_detection - batch.mjd).astype(f32),
        truncated=np.asarray(batch.truncated),
        time=np.where(batch.valid, batch.time - batch.mjd[:, None], 0.0).astype(f32),
        wavelength=np.asarray(batch.wavelength, dtype=f32),
        flux=np.asarray(batch.flux, dtype=f32),
        flux_err=np.asarray(batch.flux_err, dtype=f32),
        limit=np.asarray(batch.limit, dtype=f32),
        detected=np.asarray(batch.detected),
        valid=np.asarray(batch.valid),
        stamps=np.asarray(stamps(batch), dtype=np.float16),
        context=np.asarray(batch.context, dtype=f32),
        measured=_column(batch.measured, len(batch), width=len(MEASURED)),
        scores=_column(batch.survey_scores, len(batch), width=len(SURVEY_SCORES)),
        added=_column(None, len(batch), width=len(ADDED)),
        folded=np.asarray(fold(batch)),
        dips=np.zeros((len(batch), len(DIPS)), dtype=f32),
        target=np.full((len(batch), TARGETS), np.nan, dtype=f32),
    )


def _column(values: Any, n: int, *, width: int) -> F32:
    """(n, width), missing where the alerts have none."""
    return np.full((n, width), np.nan, dtype=np.float32) if values is None else np.asarray(values, dtype=np.float32)


def embed_alerts(alerts: Alerts, session: Session, *, see: Callable[[Inputs], Inputs] = lambda inputs: inputs) -> Embeddings:
    """Embed alerts as the stream does; on the host.

    Parameters
    ----------
    alerts : Alerts
        One at least.
    session : Session
    see : callable
        What the encoder is shown of its inputs.

    Raises
    ------
    gpu.session.EngineError
        The engine failed.
    """
    return gather(embed(chunk.batch(), session, inputs=see(chunk.inputs())) for chunk in alerts.chunks(EMBEDDED))


def join(parts: list[Alerts]) -> Alerts:
    """Put chunks one after the other."""
    return Alerts(**{f.name: np.concatenate([getattr(p, f.name) for p in parts]) for f in fields(Alerts)})


def simulate(
    n: int, seed: int, *, population: PopulationName = "train", processes: int = 2, surveys: Mapping[Survey, float] | None = None
) -> Alerts:
    """Draw n labelled alerts of all classes alike; the same n and seed give the same alerts.

    Parameters
    ----------
    n, seed : how many, and which
    population : "train", or "demo": other parameters, dates and cadences
    processes : to simulate in
    surveys : weights; the simulator's mix if None
    """
    columns = arrays.make(n, seed, population=population, processes=processes, surveys=surveys)
    parts = []
    for start in range(0, n, _CHUNK):  # raw frames of all alerts at once would be gigabytes
        chunk = {name: values[start : start + _CHUNK] for name, values in columns.items()}
        part = from_batch(arrays.to_batch(chunk), np.array([NAMES.index(str(kind)) for kind in chunk["kind"]]))
        part.added[:] = chunk["added"]
        parts.append(part)
    return join(parts)


def simulate_curves(
    n: int, seed: int, *, population: PopulationName = "train", processes: int = 2, weights: Mapping[str, float] | None = None
) -> Alerts:
    """Draw n labelled light curves of any cadence (`data.simulate.curves.make`), without images.

    The folded view is made of all their points, the tokens of at most `curves.POINTS` of them.
    """
    columns = curves.make(n, seed, population=population, processes=processes, weights=weights)
    width = curves.STAR_POINTS
    context = np.full((n, len(CONTEXT)), np.nan, dtype=np.float32)
    known = np.isfinite(columns["reference"])
    context[known, REFERENCE], context[known, REFERENCE_DISTANCE] = columns["reference"][known], 0.0
    whole = Alerts(
        label=columns["label"],
        number=columns["number"],
        first_detection=columns["first_detection"],
        truncated=np.zeros(n, dtype=bool),
        limit=np.full((n, width), np.nan, dtype=np.float32),
        stamps=np.zeros((n, 4, 0, 0), dtype=np.float16),
        context=context,
        measured=_column(None, n, width=len(MEASURED)),
        scores=_column(None, n, width=len(SURVEY_SCORES)),
        added=_column(None, n, width=len(ADDED)),
        folded=np.zeros((n, len(FOLD)), dtype=np.float32),
        dips=np.zeros((n, len(DIPS)), dtype=np.float32),
        target=columns["target"],
        **{name: columns[name] for name in ("time", "wavelength", "flux", "flux_err", "detected", "valid")},
    )
    rng = np.random.default_rng([seed, n, 12])
    return join([thinned(part, curves.POINTS, rng=rng) for part in _folded(whole, processes)])


def simulate_space(
    n: int, seed: int, *, population: PopulationName = "train", processes: int = 2, weights: Mapping[str, float] | None = None
) -> Alerts:
    """Draw n labelled light curves of stars as TESS sees them for a sector, as packets read by the stream's own decoder and stages.

    Parameters
    ----------
    weights : by kind; default `SPACE_WEIGHT`
    """
    weights = weights or SPACE_WEIGHT
    names, share = list(weights), np.array(list(weights.values()))
    chosen = generator(population, seed, n, 13).choice(len(names), size=n, p=share / share.sum())
    jobs = [([names[i] for i in chosen[k : k + _SECTOR]], (seed, k), population) for k in range(0, n, _SECTOR)]
    if processes == 1 or len(jobs) == 1:
        return join([_sector(job) for job in jobs])
    with ProcessPoolExecutor(processes, mp_context=multiprocessing.get_context("spawn")) as pool:
        return join(list(pool.map(_sector, jobs)))


def _sector(job: tuple[list[str], tuple[int, int], PopulationName]) -> Alerts:
    """Targets of these kinds, numbered from the first on, of a seed and a population."""
    kinds, (seed, first), population = job
    packets = []
    for k, kind in enumerate(kinds, first):
        curve = space_curve(kind, generator(population, seed, k, 14), population=population)
        packets.append(packet(curve, tic=1 + k, sector=1 + k % 90))
    batch = Decoder().decode(packets).batch
    selected = select(batch)
    made = from_batch(batch, np.array([NAMES.index(kind) for kind in kinds]))
    made.stamps = made.stamps[:, :, :0, :0]
    made.dips[:] = selected.dips
    for row, view in selected.folded.items():
        made.folded[row] = view
    return made


def kept(path: Path | None, make: Callable[[], Alerts]) -> Alerts:
    """What `make` gives, kept in a file: made once, read by every other training of a study.

    Parameters
    ----------
    path : Path, optional
        A safetensors file; None: nothing is kept.
    """
    if path is None:
        return make()
    if path.is_file():
        return Alerts(**safetensors.numpy.load_file(path))
    made = make()
    path.parent.mkdir(parents=True, exist_ok=True)
    part = path.with_suffix(".part")
    safetensors.numpy.save_file({f.name: np.ascontiguousarray(getattr(made, f.name)) for f in fields(made)}, part)
    part.replace(path)  # a file of this name is whole
    return made


def _folded(whole: Alerts, processes: int) -> list[Alerts]:
    """The same curves in chunks, with their folded views."""
    parts = list(whole.chunks(_CHUNK))
    batches = [part.batch() for part in parts]
    if processes == 1 or len(parts) == 1:
        views = [fold(batch) for batch in batches]
    else:  # processes: a periodogram is many small steps of one interpreter
        with ProcessPoolExecutor(processes, mp_context=multiprocessing.get_context("spawn")) as pool:
            views = list(pool.map(fold, batches))
    for part, view in zip(parts, views, strict=True):
        part.folded[:] = view
    return parts


def thinned(alerts: Alerts, most: int, *, rng: np.random.Generator) -> Alerts:
    """At most so many points an alert, any of them; they are moved to the front, in time order."""
    key = np.where(alerts.valid, rng.random(alerts.valid.shape), 2.0)
    rows = np.argsort(key, axis=1)[:, :most]
    rows = np.take_along_axis(rows, np.argsort(np.where(np.take_along_axis(alerts.valid, rows, 1), rows, 10**6), axis=1), axis=1)
    columns = ("time", "wavelength", "flux", "flux_err", "limit", "detected", "valid")
    return replace(alerts, **{name: np.take_along_axis(getattr(alerts, name), rows, axis=1) for name in columns})
