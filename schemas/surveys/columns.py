"""The columns of an `AlertBatch` while they are being filled, and what one record gives a survey's reader."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, Protocol

import numpy as np

from operators.types import CONTEXT, MAX_POINTS, MEASURED, RAW_STAMP, SURVEY_SCORES, AlertBatch, Survey
from operators.whole_curves import Curve, Curves
from schemas.avro.machine import Scratch
from schemas.avro.program import Want
from schemas.avro.wire import PacketError
from schemas.surveys.cutouts import Cutouts

CONTEXT_INDEX = {name: i for i, name in enumerate(CONTEXT)}
SCORE_INDEX = {name: i for i, name in enumerate(SURVEY_SCORES)}
STAMPS = range(3)
"""Science, template, difference."""

NO_CURVE = Curve(np.empty(0), np.empty(0), np.empty(0), np.empty(0, np.int64))


@dataclass(frozen=True, slots=True)
class Record:
    """One record after its program ran."""

    data: bytes
    """The body; `Scratch.whole` says where texts and bytes lie in it."""
    values: Scratch

    def text(self, slot: int, name: str) -> str:
        """A text field, "" where absent."""
        start, size = self.values.whole[slot]
        if size <= 0:
            return ""
        try:
            return self.data[start : start + size].decode()
        except UnicodeDecodeError:
            raise PacketError("bad_value", f"{name} is not UTF-8") from None

    def bytes(self, slot: int) -> bytes | None:
        """A bytes field, None where absent."""
        start, size = self.values.whole[slot]
        return self.data[start : start + size] if size > 0 else None

    def long(self, *slots: int) -> int | None:
        """The first of these integer fields that is there."""
        for slot in slots:
            value, size = self.values.whole[slot]
            if size == 0:
                return int(value)
        return None


class Columns:
    """Room for n alerts; `batch` gives those filled."""

    def __init__(self, n: int) -> None:
        self.survey: list[Survey] = []
        self.candid: list[int] = []
        self.object_id: list[str] = []
        self.programid: list[int] = []
        self.band: list[str] = []
        self.curves: dict[int, Curve] = {}
        """Row → whole light curve, where there is one."""
        self.digest: list[str] = []
        """Of each counted row's record; the decoder's."""
        self.schema: list[int] = []
        """Of each counted row, the number of its schema; the decoder's."""
        self.ra = np.empty(n)
        self.dec = np.empty(n)
        self.mjd = np.empty(n)
        self.first_detection = np.empty(n)
        self.truncated = np.empty(n, np.bool_)
        self.time = np.empty((n, MAX_POINTS))
        self.wavelength = np.empty((n, MAX_POINTS), np.float32)
        self.flux = np.empty((n, MAX_POINTS), np.float32)
        self.flux_err = np.empty((n, MAX_POINTS), np.float32)
        self.limit = np.empty((n, MAX_POINTS), np.float32)
        self.detected = np.empty((n, MAX_POINTS), np.bool_)
        self.valid = np.empty((n, MAX_POINTS), np.bool_)
        self.stamps = np.empty((n, len(STAMPS), RAW_STAMP, RAW_STAMP), np.float32)
        self.pixel_scale = np.empty(n, np.float32)
        self.context = np.empty((n, len(CONTEXT)), np.float32)
        self.measured = np.full((n, len(MEASURED)), np.nan, np.float32)
        self.light_curve = (self.time, self.wavelength, self.flux, self.flux_err, self.limit, self.detected, self.valid,
                            self.first_detection, self.truncated)  # fmt: skip
        self.own_err = np.empty(n, np.float32)
        self.n_detected = np.empty(n, np.int64)
        self.n_dropped = np.empty(n, np.int64)
        self.survey_scores = np.full((n, len(SURVEY_SCORES)), np.nan, np.float32)
        self.own_limit = np.full(n, np.nan, np.float32)
        self.zero_point = np.full(n, np.nan, np.float32)
        self.own = (self.ra, self.dec, self.mjd, self.own_err, self.n_detected, self.n_dropped)

    def identify(self, survey: Survey, candid: int, *, object_id: str, programid: int, band: str) -> None:
        """The last step of a row: from here on it counts."""
        self.survey.append(survey)
        self.candid.append(candid)
        self.object_id.append(object_id)
        self.programid.append(programid)
        self.band.append(band)

    def put_stamps(self, i: int, images: Sequence[bytes | None], *, cutouts: Cutouts, pixel_scale: float, **edges: bool | None) -> None:
        """Fill row i's stamps; `pixel_scale` [arcsec/pixel] is used where no header states one."""
        seen: float | None = None
        for k in STAMPS:
            stamp = self.stamps[i, k]
            image = images[k]
            scale = cutouts.read(image, stamp, **edges) if image else None
            if scale is None:
                stamp[...] = np.nan
            elif seen is None or seen != seen:
                seen = scale
        self.pixel_scale[i] = np.nan if seen is None else (pixel_scale if seen != seen else seen)

    def put_windows(self, i: int, record: Record, *, slots: slice, cutouts: Cutouts, pixel_scale: float) -> bool:
        """Fill the middle of row i's stamps, where that is all the network sees; False: they are other images, see `put_stamps`.

        `slots` are the three cut-outs'; `pixel_scale` [arcsec/pixel] is used where no header states one.
        """
        stated = cutouts.read_windows(record.data, record.values.whole[slots], stamps=self.stamps[i])
        if stated is None:
            return False
        self.pixel_scale[i] = stated if stated == stated else pixel_scale
        return True

    def batch(self) -> AlertBatch:
        """The filled rows."""
        n = len(self.candid)
        names = ("ra", "dec", "mjd", "first_detection", "truncated", "time", "wavelength", "flux", "flux_err", "limit", "detected", "valid",
                 "stamps", "pixel_scale", "context", "measured", "own_err", "n_detected", "n_dropped",
                 "survey_scores", "own_limit", "zero_point")  # fmt: skip
        arrays: dict[str, Any] = {name: getattr(self, name)[:n] for name in names}
        return AlertBatch(
            tuple(self.survey),
            tuple(self.candid),
            tuple(self.object_id),
            tuple(self.programid),
            tuple(self.band),
            **arrays,
            curves=Curves.of([self.curves.get(i, NO_CURVE) for i in range(n)]) if self.curves else None,
            digest=tuple(self.digest),
            schema=tuple(self.schema),
        )


class Reader(Protocol):
    """A survey: which schemas are its own, which fields it reads, and what they mean."""

    SURVEY: Survey
    WANT: Want
    fill_row: Any
    """The compiled part of `fill`: (number, table, count, i, *light_curve, *own, context) → 0, or why not."""

    def claims(self, schema: Any) -> bool:
        """Whether packets of this writer schema are this survey's, by the fields present."""
        ...

    def fill(self, record: Record, columns: Columns, *, i: int, cutouts: Cutouts) -> None:
        """Write row i, or raise `PacketError` and leave the row uncounted."""
        ...
