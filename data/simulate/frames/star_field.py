"""What stands in one detector's field, and the objects injected into it.

a seed, a place on the sky → stars, galaxies and hosts as a `Scene`; injected objects with the light curves of our classes

Positions are offsets (ξ, η) on the plane that touches the sky in the field's centre, east and north [arcsec].
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Literal, TypeAlias

import numpy as np

from data.simulate import classes, sky
from data.simulate.draw import generator
from data.simulate.scene import FAINTEST, SLOPE, Scene, counts, star_density
from data.simulate.source import Source
from operators.types import F64

FieldKind: TypeAlias = Literal["crowded", "sparse"]
LATITUDE: dict[FieldKind, float] = {"crowded": 6.0, "sparse": 50.0}
"""Galactic latitude [deg]."""
GALAXIES = 12.7
"""A square arcminute away from the Milky Way, down to r = 23.9."""
BRIGHT = 10.5
"""Of the stars [mag]: those above 13 saturate."""
EDGE = 22.0
"""Objects are injected so far inside the field [arcsec]."""
BRIEF = 20.0
"""[d] An event that is shorter begins soon before an exposure."""
DEEPER = (0.2, 1.6)
"""Injected objects are so much fainter than those that ZTF sends alerts of [mag]."""

MIX: dict[FieldKind, dict[str, float]] = {
    "crowded": {
        "rr-lyrae": 2, "eclipsing-binary": 2, "cv": 2, "lpv": 1, "yso": 1.5, "microlensing": 1, "m-dwarf-flare": 1,
        "sn-ia": 2, "sn-ii": 2, "asteroid": 1,
    },
    "sparse": {
        "sn-ia": 4, "sn-ii": 2, "sn-ibc": 1.5, "sn-iin": 1, "slsn": 1.5, "tde": 1.5, "kilonova": 1, "afterglow": 1, "agn": 2,
        "rr-lyrae": 0.7, "cv": 0.7, "asteroid": 1,
    },
}  # fmt: skip
"""Injected objects by class, weights; the rare ones far too common, so that a few nights hold each."""


@dataclass(frozen=True, slots=True)
class Injected:
    """One injected object."""

    object_id: str
    label: str
    """Class slug."""
    source: Source
    xi: float
    eta: float
    zero: float
    """MJD TAI at which its own clock shows 0."""
    direction: float = 0.0
    """In which it moves [rad]."""

    @property
    def kind(self) -> str:
        """The finer class."""
        return self.source.kind

    @property
    def hosted(self) -> bool:
        """Whether it lies in a visible galaxy."""
        return self.source.host is not None

    def place(self, mjd: float) -> tuple[float, float]:
        """(ξ, η) at a time [arcsec]."""
        moved = self.source.motion * 24 * (mjd - self.zero)
        return self.xi + moved * float(np.cos(self.direction)), self.eta + moved * float(np.sin(self.direction))

    def flux(self, mjd: F64, wavelength: float) -> F64:
        """(n,) all of its light at times [µJy]."""
        t = np.asarray(mjd, np.float64) - self.zero
        lam = np.full_like(t, wavelength)
        if self.source.single:  # moving: it is in its place in one night only
            return np.where(np.abs(t) < 0.25, self.source.flux(np.zeros_like(t), lam), 0.0)
        still = self.source.star.reference(lam) if self.source.star is not None else 0.0
        varying = np.where((t >= self.source.active[0]) | self.source.persistent, self.source.flux(t, lam), 0.0)
        return np.asarray(np.maximum(still + varying, 0.0), np.float64)


@dataclass(frozen=True, slots=True)
class StarField:
    """One detector's field."""

    ra: float
    """Of the centre [deg]."""
    dec: float
    scene: Scene
    """What stands still, hosts included."""
    injected: tuple[Injected, ...]

    def sky(self, xi: F64, eta: F64) -> tuple[F64, F64]:
        """(ra, dec) [deg] of offsets: the inverse gnomonic projection (Calabretta & Greisen 2002, sect. 5.1.3)."""
        x, y = np.radians(np.asarray(xi) / 3600), np.radians(np.asarray(eta) / 3600)
        ra0, dec0 = np.radians(self.ra), np.radians(self.dec)
        below = np.cos(dec0) - y * np.sin(dec0)
        ra = ra0 + np.arctan2(x, below)
        dec = np.arctan2((np.sin(dec0) + y * np.cos(dec0)) * np.cos(ra - ra0), below)
        return np.degrees(ra) % 360, np.degrees(dec)


def star_field(
    kind: FieldKind, *, seed: int, number: int, side: float, centre: tuple[float, float], times: F64, objects: int, mix: Mapping[str, float]
) -> StarField:
    """Draw a field.

    Parameters
    ----------
    number : of the field and detector, unique in the run
    side : of the detector on the sky [arcsec]
    centre : (ra, dec) [deg]
    times : MJD TAI of the exposures that will be taken, in order
    objects : how many are injected
    mix : weights by class
    """
    rng = generator("demo", seed, number, 40)
    still = _standing(rng, kind, side=side)
    injected = tuple(_inject(seed, number, index=k, side=side, times=times, mix=mix) for k in range(objects))
    hosts = [_host_row(o) for o in injected if o.source.host is not None]
    if hosts:
        rows = np.array(hosts, np.float64).T
        for name, row in zip(Scene.__slots__, rows, strict=True):
            column = getattr(still, name)
            setattr(still, name, np.concatenate([column, row.astype(column.dtype)]))
    return StarField(centre[0], centre[1], still, injected)


def centre_of(kind: FieldKind, *, seed: int) -> tuple[float, float]:
    """(ra, dec) [deg] of a field: a longitude that the seed draws, at the kind's galactic latitude."""
    longitude = float(generator("demo", seed, len(kind), 41).uniform(40, 200))
    return sky.from_galactic(longitude, LATITUDE[kind])


def _standing(rng: np.random.Generator, kind: FieldKind, *, side: float) -> Scene:
    area = ((side + 60) / 60) ** 2  # dithered frames look beyond the edge
    latitude = LATITUDE[kind]
    n_stars = int(rng.poisson(area * star_density(latitude)))
    n = n_stars + int(rng.poisson(area * GALAXIES * min(1.0, latitude / 25)))
    galaxy = np.arange(n) >= n_stars
    u = rng.random(n)
    mag = np.where(galaxy, counts(u, 17.0, faint=23.9, slope=0.38), counts(u, BRIGHT, faint=FAINTEST, slope=SLOPE))
    half = side / 2 + 30
    return Scene(
        dx=rng.uniform(-half, half, n),
        dy=rng.uniform(-half, half, n),
        mag_r=mag,
        g_r=np.where(galaxy, rng.normal(0.75, 0.3, n), rng.choice([0.45, 0.7, 1.4], n) + rng.normal(0, 0.12, n)),
        galaxy=galaxy,
        radius=np.where(galaxy, np.clip(10 ** (-0.13 * (mag - 17)) * 2.6 * rng.lognormal(0, 0.3, n), 0.3, 8), 0.0),
        axis_ratio=rng.uniform(0.35, 1, n),
        angle=rng.uniform(0, np.pi, n),
        bulge=rng.random(n) < 0.3,
    )


def _inject(seed: int, number: int, *, index: int, side: float, times: F64, mix: Mapping[str, float]) -> Injected:
    rng = generator("demo", seed, number, 42, index)
    names = list(mix)
    edges = np.cumsum([mix[name] for name in names])
    label = names[int(np.searchsorted(edges, rng.random() * edges[-1], side="right"))]
    source = classes.draw(label, rng, population="demo", deeper=float(rng.uniform(*DEEPER)))
    half = side / 2 - EDGE
    xi, eta = rng.uniform(-half, half, 2)
    return Injected(
        object_id=f"sim-{seed}-{number}-{index}",
        label=label,
        source=source,
        xi=float(xi),
        eta=float(eta),
        zero=_clock(rng, source, times=times),
        direction=float(rng.uniform(0, 2 * np.pi)),
    )


def _clock(rng: np.random.Generator, source: Source, *, times: F64) -> float:
    """When the object's clock shows 0, so that the run sees it vary."""
    first, last = float(times[0]), float(times[-1])
    low, high = source.active
    shown = float(times[int(rng.integers(len(times)))])
    if source.single:
        return shown
    if source.persistent:
        return first - min(25.0, 0.3 * (high - low)) - low
    if high - low < BRIEF:
        return shown - low - float((high - low) * rng.uniform(0.02, 0.6) ** 2)
    if np.isfinite(source.peak_time):
        return float(rng.uniform(first, first + 0.8 * (last - first)) - source.peak_time)
    return float(rng.uniform(first - 0.5 * (high - low), last) - low)


def _host_row(o: Injected) -> tuple[float, ...]:
    """The host's columns of a `Scene`: seen from the event its centre lies `offset` away."""
    h = o.source.host
    assert h is not None
    x, y = o.xi + h.offset * np.cos(h.angle), o.eta + h.offset * np.sin(h.angle)
    return float(x), float(y), h.mag_r, h.g_r, 1.0, h.radius, h.axis_ratio, h.position_angle, float(h.bulge)
