"""Tables of labelled light curves → the columns of alerts that hold the whole curve.

FILE.parquet (object_id, mjd, band, flux, flux_err, upper_limit, …) and FILE.csv (object_id, coarse) → `Curves`, labels → `AlertBatch`

So any table of this layout goes through the operators and the engine of the stream. There are no images and no surroundings in it: stamps
and context are missing, and the encoder knows what that means. Everything an alert says here follows from the points up to it.
"""

from __future__ import annotations

import csv
from collections.abc import Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
import pyarrow
import pyarrow.parquet

from data.identifiers import InexactIdError, text_id
from errors import UserError
from operators.types import CONTEXT, F32, F64, AlertBatch, Survey

I64 = npt.NDArray[np.int64]
Bools = npt.NDArray[np.bool_]

EFFECTIVE_WAVELENGTH: dict[str, float] = {
    "g": 4770.0, "r": 6230.0, "i": 7630.0, "z": 8910.0, "y": 9700.0, "u": 3600.0, "gr": 4770.0,
    "U": 3600.0, "B": 4400.0, "V": 5500.0, "R": 6500.0, "I": 8050.0,
    "swu": 3465.0, "swb": 4390.0, "swv": 5470.0,
    "c": 5330.0, "o": 6790.0, "w": 6080.0, "G": 6200.0, "clear": 6000.0, "white": 6000.0,
    "F336W": 3360.0, "F435W": 4330.0, "F450W": 4560.0, "F475W": 4750.0, "F555W": 5400.0, "F606W": 5900.0, "F702W": 6900.0,
    "F775W": 7700.0, "F814W": 8060.0, "F850LP": 9050.0,
    "uvw1": 2600.0, "uvm2": 2246.0, "uvw2": 1928.0, "nuv": 2300.0, "fuv": 1530.0,
    "J": 12400.0, "H": 16300.0, "K": 21900.0,
}  # fmt: skip
"""Effective wavelengths [Å] of the canonical bands (SVO Filter Profile Service, rounded). Rows of other bands are left out."""
SEEN_RANGE = (3000.0, 10500.0)
"""Wavelengths that a simulated survey has [Å]: rows outside it mean nothing to the encoder and are left out."""
SEEN = 3.0
"""S/N from which a point counts as a detection: the tables hold known objects down to 3 σ."""
GAP = 40.0
"""Detections further apart [d] than this belong to different outbursts."""
PERSISTENT = (40, 300.0, 0.3)
"""A curve of at least so many points, longer than so many days, whose faintest twentieth stays above this share of its median is a total
flux, not a difference."""
MOST_POINTS = 400
"""The most recent points of a curve that its alert holds: more than a packet does (`MAX_POINTS`), for a period needs the years."""

_SURVEY: tuple[Survey] = ("ztf",)
"""What a table is taken for: the encoder does not see it."""


class TableError(UserError):
    """The table cannot be used. One line that says what to do."""


@dataclass(frozen=True, slots=True)
class Curves:
    """Light curves of n objects, one after the other: those of object i are ``start[i]:start[i + 1]``, sorted by time."""

    object_id: tuple[str, ...]
    start: I64  # (n + 1,)
    time: F64  # (m,) [d]
    wavelength: F32  # (m,) [Å]
    flux: F32  # (m,) [µJy]; NaN at a limit
    flux_err: F32  # (m,) [µJy]; NaN at a limit
    limit: F32  # (m,) [µJy]; NaN at a measurement
    reference: F32 = field(default_factory=lambda: np.zeros(0, dtype=np.float32))
    """(n,) [µJy] what `difference` took off the band with most points; NaN where it took nothing; empty where it was not asked."""

    def __len__(self) -> int:
        return len(self.object_id)

    @property
    def owner(self) -> I64:
        """(m,) which object each point belongs to."""
        return np.repeat(np.arange(len(self)), np.diff(self.start))

    def keep(self, points: Bools) -> Curves:
        """Only the points marked; every object stays, if need be without a point."""
        held = np.concatenate([[0], np.cumsum(points)])[self.start]
        columns = {name: getattr(self, name)[points] for name in ("time", "wavelength", "flux", "flux_err", "limit")}
        return replace(self, start=held.astype(np.int64), **columns)

    def take(self, rows: Sequence[int] | I64) -> Curves:
        """Some objects, in the order given."""
        rows = np.asarray(rows, dtype=np.int64)
        lengths = np.diff(self.start)[rows]
        start = np.concatenate([[0], np.cumsum(lengths)]).astype(np.int64)
        index = np.repeat(self.start[rows] - start[:-1], lengths) + np.arange(start[-1])
        columns = {name: getattr(self, name)[index] for name in ("time", "wavelength", "flux", "flux_err", "limit")}
        reference = self.reference[rows] if len(self.reference) else self.reference
        return Curves(tuple(self.object_id[i] for i in rows), start, **columns, reference=reference)

    def signal_to_noise(self) -> F32:
        """(m,) |flux| / error; 0 at a limit."""
        good = np.isfinite(self.flux) & (self.flux_err > 0)
        return np.where(good, np.abs(self.flux) / np.where(good, self.flux_err, 1), 0).astype(np.float32)

    def upto(self, days: float | None = None, detections: int | None = None) -> Curves:
        """What was known so long after the first detection, or with so many detections; strictly causal.

        The first detection is the first point of S/N ≥ `SEEN`: no later point can move it. Points before it stay.

        Parameters
        ----------
        days : float, optional
            Points at most so long after the first detection [d].
        detections : int, optional
            Points up to and including the detection of this number.
        """
        seen = self.signal_to_noise() >= SEEN
        n, owner = len(self), self.owner
        first = np.full(n, np.inf)
        np.minimum.at(first, owner[seen], self.time[seen])
        keep = np.isfinite(first)[owner]
        if days is not None:
            keep &= self.time <= first[owner] + days
        if detections is not None:
            total = np.cumsum(seen)
            before = np.concatenate([[0], total])[self.start[:-1]]
            number = total - before[owner]  # detections up to and including each point
            keep &= (number < detections) | ((number == detections) & seen)
        return self.keep(keep)

    def difference(self) -> Curves:
        """Take each band's median off curves that are total fluxes of a lasting source (`PERSISTENT`); others stay.

        A survey's alerts hold the difference to a reference image; a table of variable stars holds what the telescope saw. The median
        of the band with most points is kept as the star's flux in that image. Cut the curves first (`upto`): nothing later is used then.
        """
        flux = self.flux.copy()
        reference = np.full(len(self), np.nan, dtype=np.float32)
        for i in range(len(self)):
            part = slice(self.start[i], self.start[i + 1])
            own, time = flux[part], self.time[part]
            good = np.isfinite(own)
            if good.sum() < PERSISTENT[0] or np.ptp(time[good]) < PERSISTENT[1]:
                continue
            if np.percentile(own[good], 5) < PERSISTENT[2] * np.median(own[good]):
                continue
            most = 0
            for wavelength in np.unique(self.wavelength[part]):
                band = good & (self.wavelength[part] == wavelength)
                if band.any():
                    median = np.median(own[band])
                    own[band] -= median
                    if band.sum() > most:
                        most, reference[i] = int(band.sum()), median
        return replace(self, flux=flux, reference=reference)

    def batch(self) -> AlertBatch:
        """Each object as an alert at its last point that holds the whole curve, or its last `MOST_POINTS` points.

        `first_detection` is found from the brightest detection by walking back over gaps of at most `GAP` days, so that a spurious point
        years before does not date the event. Of the context only the reference image is known, where `difference` took one off.
        """
        n = len(self)
        lengths = np.minimum(np.diff(self.start), MOST_POINTS)
        width = max(int(lengths.max(initial=1)), 1)
        index = (self.start[1:] - lengths)[:, None] + np.arange(width)
        valid = np.arange(width) < lengths[:, None]
        index = np.where(valid, index, 0)

        def column(name: str, dtype: Any) -> Any:
            values = getattr(self, name)
            held = values[index] if len(values) else np.zeros((n, width))
            return np.where(valid, held, np.nan).astype(dtype)

        ratio = self.signal_to_noise()
        ratio = np.where(valid, ratio[index] if len(ratio) else 0, 0)
        detected = ratio >= SEEN
        time = column("time", np.float64)
        last = np.where(lengths > 0, time[np.arange(n), np.maximum(lengths - 1, 0)], 0.0)
        context = np.full((n, len(CONTEXT)), np.nan, dtype=np.float32)
        if len(self.reference):
            context[:, CONTEXT.index("reference_flux")] = self.reference
            context[:, CONTEXT.index("reference_distance")] = np.where(np.isfinite(self.reference), 0.0, np.nan)
        return AlertBatch(
            survey=_SURVEY * n,
            candid=tuple(range(n)),
            object_id=self.object_id,
            programid=(1,) * n,
            band=("",) * n,
            ra=np.zeros(n),
            dec=np.zeros(n),
            mjd=last,
            first_detection=_first_detection(time, column("flux", np.float32), detected=detected, last=last),
            truncated=np.zeros(n, dtype=bool),
            time=time,
            wavelength=column("wavelength", np.float32),
            flux=column("flux", np.float32),
            flux_err=column("flux_err", np.float32),
            limit=column("limit", np.float32),
            detected=detected,
            valid=valid,
            stamps=np.zeros((n, 3, 0, 0), dtype=np.float32),
            pixel_scale=np.full(n, np.nan, dtype=np.float32),
            context=context,
        )


def _first_detection(time: F64, flux: F32, *, detected: Bools, last: F64) -> F64:
    """(n,) start of the outburst that holds the brightest detection; the last point where nothing was detected."""
    first = last.copy()
    for i in np.flatnonzero(detected.any(axis=1)):
        at = np.flatnonzero(detected[i])
        k = int(np.argmax(np.abs(flux[i, at])))
        apart = np.flatnonzero(np.diff(time[i, at[: k + 1]]) > GAP)
        first[i] = time[i, at[apart[-1] + 1 if len(apart) else 0]]
    return first


def from_arrays(object_id: Sequence[str], parts: Sequence[dict[str, Any]]) -> Curves:
    """Curves of one dict of columns an object (time, wavelength, flux, flux_err, limit)."""
    start = np.concatenate([[0], np.cumsum([len(p["time"]) for p in parts])]).astype(np.int64)

    def column(name: str, dtype: Any) -> Any:
        return np.concatenate([np.asarray(p[name], dtype=dtype) for p in parts]) if parts else np.zeros(0, dtype)

    f32 = np.float32
    return Curves(
        tuple(object_id), start, column("time", np.float64), column("wavelength", f32),
        column("flux", f32), column("flux_err", f32), column("limit", f32),
    )  # fmt: skip


def read(path: Path, objects: Sequence[str] | None = None) -> Curves:
    """Read the light curves of a table.

    Parameters
    ----------
    path : Path
        A parquet file with object_id, mjd, band, flux, flux_err and, if there are limits, upper_limit.
    objects : sequence of str, optional
        These objects in this order (one that the table lacks has no point); default: every object, sorted.

    Raises
    ------
    TableError
        The file is not there, is not parquet, or lacks a column.
    """
    needed = ["object_id", "mjd", "band", "flux", "flux_err"]
    try:
        schema = pyarrow.parquet.read_schema(path)
        missing = [name for name in needed if name not in schema.names]
        if missing:
            raise TableError(f"{path} has no column {missing[0]}: a table of light curves has {', '.join(needed)} and upper_limit")
        table = pyarrow.parquet.read_table(path, columns=needed + [c for c in ("upper_limit",) if c in schema.names])
    except FileNotFoundError:
        raise TableError(f"{path} is not there: name the parquet file of the light curves") from None
    except (pyarrow.ArrowException, OSError) as fault:
        raise TableError(f"{path} is not a parquet file that can be read: {str(fault).splitlines()[0][:120]}") from None
    try:
        name = np.array([text_id(x, "object_id") for x in table["object_id"].to_pylist()])
        band = np.array([str(x) for x in table["band"].to_pylist()])
        values = {c: np.asarray(table[c].to_numpy(), dtype=np.float64) for c in table.column_names if c not in ("object_id", "band")}
    except InexactIdError as fault:
        raise TableError(f"{path}: {fault}") from None
    except (ValueError, TypeError, pyarrow.ArrowException):
        raise TableError(f"{path}: mjd, flux, flux_err and upper_limit must be numbers") from None
    wavelength = np.array([EFFECTIVE_WAVELENGTH.get(b, np.nan) for b in band])
    flux, error, limit = values["flux"], values["flux_err"], values.get("upper_limit", np.full(len(name), np.nan))
    measured = np.isfinite(flux) & np.isfinite(error) & (error > 0)
    limited = ~np.isfinite(flux) & np.isfinite(limit) & (limit > 0)
    good = (measured | limited) & np.isfinite(values["mjd"]) & (wavelength >= SEEN_RANGE[0]) & (wavelength <= SEEN_RANGE[1])
    if not good.any():
        raise TableError(f"{path} holds no usable row: a flux with an error above 0, or an upper limit, in a known optical band")
    order = np.array(sorted(set(name.tolist())) if objects is None else list(objects))
    rank = {o: i for i, o in enumerate(order.tolist())}
    owner = np.array([rank.get(o, -1) for o in name.tolist()])
    rows = np.flatnonzero(good & (owner >= 0))
    rows = rows[np.lexsort((values["mjd"][rows], owner[rows]))]
    f32 = np.float32
    return Curves(
        object_id=tuple(order.tolist()),
        start=np.searchsorted(owner[rows], np.arange(len(order) + 1)).astype(np.int64),
        time=values["mjd"][rows],
        wavelength=wavelength[rows].astype(f32),
        flux=np.where(measured, flux, np.nan)[rows].astype(f32),
        flux_err=np.where(measured, error, np.nan)[rows].astype(f32),
        limit=np.where(limited, limit, np.nan)[rows].astype(f32),
    )


def read_labels(path: Path) -> dict[str, str]:
    """object_id → coarse class.

    Raises
    ------
    TableError
        The file is not there or lacks one of the two columns, or an object has two classes.
    """
    labels: dict[str, str] = {}
    try:
        with path.open(newline="", encoding="utf-8") as file:
            rows = csv.DictReader(file)
            if not {"object_id", "coarse"} <= set(rows.fieldnames or ()):
                raise TableError(f"{path} needs the columns object_id and coarse, it has {', '.join(rows.fieldnames or ()) or 'none'}")
            for row in rows:
                name, label = text_id(row["object_id"], "object_id"), str(row["coarse"] or "").strip()
                if label and labels.setdefault(name, label) != label:
                    raise TableError(f"{path}: {name} is labelled both {labels[name]} and {label}")
    except InexactIdError as fault:
        raise TableError(f"{path}, line {rows.line_num}: {fault}") from None
    except FileNotFoundError:
        raise TableError(f"{path} is not there: name the CSV of the labels") from None
    except (OSError, UnicodeDecodeError, csv.Error) as error:
        raise TableError(f"{path} is not a CSV that can be read: {str(error)[:120]}") from None
    if not labels:
        raise TableError(f"{path} holds no label")
    return labels


def read_task(task: Path, labels: Path) -> tuple[Curves, npt.NDArray[np.str_]]:
    """The curves that have a label and a point, and their classes.

    Returns
    -------
    (Curves, (n,) str)
        Sorted by object.
    """
    known = read_labels(labels)
    curves = read(task, sorted(known))
    rows = np.flatnonzero(np.diff(curves.start) > 0)
    if not len(rows):
        raise TableError(f"no object of {labels} has a light curve in {task}: their object_id must be the same")
    curves = curves.take(rows)
    return curves, np.array([known[o] for o in curves.object_id])
