"""Everything that stands still around an object: its host or star, and the field's stars and galaxies.

One list serves catalogue matches (`context.py`) and images (`stamps.py`), so that a packet never contradicts itself. Counts per square
arcminute are those of Pan-STARRS and of ZTF's reference images (medians of `distpsnr1` 13" and `distnr` 8" around asteroids give 4 to r =
22, 11 to r = 23.3).
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from data.simulate import sky
from data.simulate.draw import generator
from data.simulate.observe import Observed
from data.simulate.sky import F64

RADIUS = 42.0
"""[arcsec] sources are drawn to."""


@dataclass(slots=True)
class Scene:
    """Static sources (s,), the object's own first; offsets from the object [arcsec]."""

    dx: F64
    dy: F64
    mag_r: F64
    g_r: F64
    galaxy: npt.NDArray[np.bool_]
    radius: F64  # half-light [arcsec]
    axis_ratio: F64
    angle: F64
    bulge: npt.NDArray[np.bool_]

    def flux(self, wavelength: float) -> F64:
        """Flux of each source at a wavelength [Å], in µJy."""
        tilt = self.g_r * (1e4 / wavelength - 1e4 / 6200) / (1e4 / 4750 - 1e4 / 6200)
        return 10 ** (0.4 * (23.9 - self.mag_r - tilt))


def scene(o: Observed) -> Scene:
    """The surroundings of an object: a function of the object alone, the same for each of its alerts."""
    rng = generator(o.population, o.seed, o.index, 11)
    latitude = max(abs(float(sky.galactic_latitude(o.ra, o.dec))), 2.0)
    area = np.pi * RADIUS**2 / 3600
    stars = min(int(rng.poisson(area * 2.0 / np.sin(np.radians(latitude)) ** 1.1)), 90)
    galaxies = int(rng.poisson(area * 9.0 * min(1.0, latitude / 25)))
    n = stars + galaxies
    r, phi = RADIUS * np.sqrt(rng.random(n)), rng.uniform(0, 2 * np.pi, n)
    galaxy = np.arange(n) >= stars
    u = rng.random(n)
    mag = np.where(galaxy, _counts(u, 17.0, faint=23.3, slope=0.38), _counts(u, 12.0, faint=23.0, slope=0.2))
    colour = np.where(galaxy, rng.normal(0.75, 0.3, n), rng.choice([0.45, 0.7, 1.4], n) + rng.normal(0, 0.12, n))
    radius = np.where(galaxy, np.clip(10 ** (-0.13 * (mag - 17)) * 2.6 * rng.lognormal(0, 0.3, n), 0.3, 8), 0.0)
    own: list[list[float]] = [[] for _ in range(9)]
    source = o.source
    if source.host is not None:
        h = source.host
        # the event lies `offset` from the centre, seen from the event the centre lies the other way
        values = (
            h.offset * np.cos(h.angle),
            h.offset * np.sin(h.angle),
            h.mag_r,
            h.g_r,
            1,
            h.radius,
            h.axis_ratio,
            h.position_angle,
            h.bulge,
        )
        for k, value in enumerate(values):
            own[k].append(float(value))
    if source.star is not None and source.label not in ("asteroid",):
        near = {"bright-star": rng.uniform(0.5, 7.0), "dipole": rng.uniform(0, 1.2)}.get(source.kind, rng.uniform(0.5, 4.0))
        distance = near if source.label == "bogus" else 0.0
        angle = rng.uniform(0, 2 * np.pi)
        star = (distance * np.cos(angle), distance * np.sin(angle), source.star.mag_r, source.star.g_r, 0, 0, 1, 0, 0)
        for k, value in enumerate(star):
            own[k].append(float(value))
    columns = (
        r * np.cos(phi),
        r * np.sin(phi),
        mag,
        colour,
        galaxy,
        radius,
        rng.uniform(0.35, 1, n),
        rng.uniform(0, np.pi, n),
        rng.random(n) < 0.3,
    )
    merged = [np.concatenate([np.array(first), second]) for first, second in zip(own, columns, strict=True)]
    dx, dy, mag_r, g_r, is_galaxy, size, ratio, turn, is_bulge = merged
    return Scene(dx, dy, mag_r, g_r, is_galaxy > 0.5, size, ratio, turn, is_bulge > 0.5)


def _counts(u: F64, bright: float, *, faint: float, slope: float) -> F64:
    low, high = 10 ** (slope * bright), 10 ** (slope * faint)
    return np.log10(low + u * (high - low)) / slope
