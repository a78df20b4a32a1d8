"""Simulated alerts in memory, ready to train on.

`data.simulate.arrays` → `Alerts`: light-curve columns as float32, network stamps as float16, context as it comes, labels

The columns stay columns: tokens are made anew for every batch, by the operator that makes them in the stream, after the augmentation
has changed the light curve.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass, fields

import numpy as np
import numpy.typing as npt

from data.simulate import arrays
from data.simulate.draw import PopulationName
from operators.context import context
from operators.stamps import stamps
from operators.tokens import tokens
from operators.types import CONTEXT, F32, F64, RAW_STAMP, AlertBatch, Survey

Bools = npt.NDArray[np.bool_]
I64 = npt.NDArray[np.int64]
Rows = I64 | slice
_CHUNK = 2000
_SURVEY: tuple[Survey] = ("ztf",)  # stands for any: identity plays no part in what the encoder sees


@dataclass(slots=True)
class Alerts:
    """n alerts; T points, P stamp side, C context values. Times are days before the alert, ≤ 0: float32 is exact enough for them."""

    label: I64  # (n,) index of the class
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
    stamps: npt.NDArray[np.float16]  # (n, 4, P, P) as the network sees them
    context: F32  # (n, C)

    def __len__(self) -> int:
        return len(self.label)

    def take(self, rows: Rows) -> Alerts:
        """A copy of some rows."""
        return Alerts(**{f.name: np.array(getattr(self, f.name)[rows]) for f in fields(self)})

    def inputs(self) -> tuple[F32, F32, F32]:
        """Tokens, stamps and context as the encoder takes them, by the operators of the stream."""
        batch = self._batch()
        return tokens(batch), self.stamps.astype(np.float32), context(batch)

    def chunks(self, size: int) -> Iterator[Alerts]:
        for start in range(0, len(self), size):
            yield self.take(slice(start, start + size))

    def _batch(self) -> AlertBatch:
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
        number=(batch.detected & batch.valid).sum(axis=1).astype(np.int64),
        first_detection=(batch.first_detection - batch.mjd).astype(f32),
        truncated=np.asarray(batch.truncated),
        time=np.where(batch.valid, batch.time - batch.mjd[:, None], 0.0).astype(f32),
        wavelength=batch.wavelength.astype(f32),
        flux=batch.flux.astype(f32),
        flux_err=batch.flux_err.astype(f32),
        limit=batch.limit.astype(f32),
        detected=np.asarray(batch.detected),
        valid=np.asarray(batch.valid),
        stamps=stamps(batch).astype(np.float16),
        context=batch.context.astype(f32),
    )


def join(parts: list[Alerts]) -> Alerts:
    """Put chunks one after the other."""
    return Alerts(**{f.name: np.concatenate([getattr(p, f.name) for p in parts]) for f in fields(Alerts)})


def simulate(
    n: int, seed: int, population: PopulationName = "train", processes: int = 2, surveys: Mapping[Survey, float] | None = None
) -> Alerts:
    """Draw n labelled alerts of all classes alike; the same n and seed give the same alerts.

    Parameters
    ----------
    n, seed : how many, and which
    population : "train", or "demo": other parameters, dates and cadences
    processes : to simulate in
    surveys : weights; the simulator's mix if None
    """
    columns = arrays.make(n, seed, population, processes, surveys)
    parts = []
    for start in range(0, n, _CHUNK):  # raw frames of all alerts at once would be gigabytes
        chunk = {name: values[start : start + _CHUNK] for name, values in columns.items()}
        parts.append(from_batch(arrays.to_batch(chunk), chunk["label"]))
    return join(parts)
