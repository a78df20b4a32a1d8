"""A plan → the exposures of a run, in the order of time.

`Plan(seed=1).schedule()` → frames of bias, dark and flat, those for the references, the nights'; `MISHAPS` among these
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, replace
from typing import Literal, TypeAlias

from data.simulate.frames.ccd import Ccd
from data.simulate.frames.star_field import FieldKind
from operators.images.planes import FrameKind

Mishap: TypeAlias = Literal["", "trail", "no_wcs", "no_master", "saturated"]
MISHAPS: tuple[Mishap, ...] = ("trail", "no_wcs", "no_master", "saturated")
EXPOSURE, OVERHEAD = 60.0, 30.0
"""[s]"""


@dataclass(frozen=True, slots=True)
class Plan:
    """What is observed."""

    seed: int = 1
    side: int = 512
    """Of a detector [pixel]."""
    fields: tuple[FieldKind, ...] = ("sparse", "crowded")
    filters: tuple[str, ...] = ("g", "r")
    nights: int = 7
    every: float = 3.0
    """From night to night [d]."""
    exposures: int = 1
    """A night, field and filter."""
    references: int = 5
    """Exposures a field and filter before the nights, of which the reference image is made."""
    start: float = 60_900.2
    """MJD TAI of the first night's first exposure."""
    objects: int = 14
    """Injected a field and detector."""
    mishaps: tuple[Mishap, ...] = MISHAPS
    detectors: int = 2

    def ccds(self) -> tuple[Ccd, ...]:
        """The detectors: mounted, read out and biased unlike each other."""
        shape = (self.side, self.side)
        all_of_them = (
            Ccd("ccd1", shape, seed=11),
            Ccd(
                "ccd2", shape, seed=12, gain=1.3, read_noise=7.5, full_well=80_000.0, bias_level=1_050.0,
                overscan_left=True, n_unused_rows=4, turned=2, off_axis=-0.1,
            ),
        )  # fmt: skip
        return all_of_them[: self.detectors]

    def schedule(self) -> tuple[Exposure, ...]:
        """All exposures of the run."""
        return tuple(_schedule(self))

    def field_name(self, field: int) -> str:
        """Name of a pointing."""
        return f"{self.fields[field]}-{field}"


WITHOUT_MASTER = "ccd9"
"""The detector of which no calibration frame is taken."""


@dataclass(frozen=True, slots=True)
class Exposure:
    """One frame to be taken."""

    number: int
    """Unique in the run: with the seed it fixes every random number of the frame."""
    frame_id: str
    kind: FrameKind
    detector: int
    filter: str
    field: int
    """Index in `Plan.fields`; -1 of a calibration frame."""
    mjd: float
    """Mid-exposure, TAI."""
    seconds: float
    night: int
    """-1: before the nights."""
    mishap: Mishap = ""


def _schedule(plan: Plan) -> Iterator[Exposure]:
    number = 0
    step = (EXPOSURE + OVERHEAD) / 86_400
    detectors = range(len(plan.ccds()))

    def taken(kind: FrameKind, mjd: float, *, seconds: float, of: int, band: str = "", f: int = -1, night: int = -1) -> Exposure:
        nonlocal number
        number += 1
        return Exposure(number, f"{kind}-{plan.seed}-{number:05d}", kind, of, band, f, mjd, seconds, night)

    before = plan.start - 46.0
    for d in detectors:
        for k in range(9):
            yield taken("bias", before + k * step, seconds=0.0, of=d)
        for k in range(5):
            yield taken("dark", before + (10 + 3 * k) * step, seconds=180.0, of=d)
        for b, band in enumerate(plan.filters):
            for k in range(5):
                yield taken("flat", before + (40 + 10 * b + k) * step, seconds=8.0, of=d, band=band)
    visits = [(f, band) for f in range(len(plan.fields)) for band in plan.filters]
    for k in range(plan.references):
        for v, (f, band) in enumerate(visits):
            for d in detectors:
                yield taken("science", plan.start - 40.0 + 1.7 * k + v * step, seconds=EXPOSURE, of=d, band=band, f=f)
    science: list[Exposure] = []
    for night in range(plan.nights):
        for again in range(plan.exposures):
            for v, (f, band) in enumerate(visits):
                mjd = plan.start + night * plan.every + (v + again * len(visits)) * step
                science += [taken("science", mjd, seconds=EXPOSURE, of=d, band=band, f=f, night=night) for d in detectors]
    # spread over the nights, not the first: a mishap in the middle of what goes well
    where = {m: (k + 1) * len(science) // (len(plan.mishaps) + 1) for k, m in enumerate(plan.mishaps)}
    by_place = {place: m for m, place in where.items()}
    for place, exposure in enumerate(science):
        mishap = by_place.get(place, "")
        yield replace(exposure, mishap=mishap, detector=len(plan.ccds()) if mishap == "no_master" else exposure.detector)
