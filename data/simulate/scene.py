"""Everything that stands still around an object: its host or star, and the field's stars and galaxies.

One list serves catalogue matches (`context.py`) and images (`stamps.py`), so that a packet never contradicts itself. Counts per square
arcminute are those of Pan-STARRS and of ZTF's reference images (medians of `distpsnr1` 13" and `distnr` 8" around asteroids give 4 to r =
22, 10 to r = 23.5).
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
BRIGHTEST, FAINTEST, SLOPE = 12.0, 23.0, 0.2
"""Counts of field stars, 10^(slope m) [mag]."""
NUCLEUS = 1 / 3
"""A nucleus and its host are one catalogued source: a galaxy where the host gives more than this share of the light."""


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


def star_density(latitude: float, faintest: float = FAINTEST) -> float:
    """Field stars a square arcminute at a galactic latitude [deg], down to a magnitude."""
    whole = 10 ** (SLOPE * FAINTEST) - 10 ** (SLOPE * BRIGHTEST)
    share = max(10 ** (SLOPE * faintest) - 10 ** (SLOPE * BRIGHTEST), 0.0) / whole
    return float(2.0 * share / np.sin(np.radians(max(abs(latitude), 2.0))) ** 1.1)


def host_share(o: Observed, scene: Scene) -> float:
    """Share of the host in the light of a nucleus and its host; 0 where one of them is not seen."""
    if o.source.host is None or o.source.star is None:
        return 0.0
    light = 10 ** (-0.4 * scene.mag_r[:2])  # host, nucleus
    return float(light[0] / light.sum())


def as_catalogued(o: Observed, scene: Scene) -> Scene:
    """The scene as catalogues list it: an active nucleus and its host, which the images show one on the other, are one source."""
    share = host_share(o, scene)
    if share == 0:
        return scene
    kept = 0 if share > NUCLEUS else 1
    one = Scene(*(np.delete(getattr(scene, name), 1 - kept) for name in Scene.__slots__))
    one.mag_r[0] = scene.mag_r[0] + 2.5 * np.log10(share)
    one.dx[0], one.dy[0] = scene.dx[1], scene.dy[1]
    return one


def scene(o: Observed) -> Scene:
    """The surroundings of an object: a function of the object alone, the same for each of its alerts."""
    rng = generator(o.population, o.seed, o.index, 11)
    latitude = max(abs(float(sky.galactic_latitude(o.ra, o.dec))), 2.0)
    area = np.pi * RADIUS**2 / 3600
    stars = min(int(rng.poisson(area * star_density(latitude))), 90)
    galaxies = int(rng.poisson(area * 12.7 * min(1.0, latitude / 25)))
    n = stars + galaxies
    r, phi = RADIUS * np.sqrt(rng.random(n)), rng.uniform(0, 2 * np.pi, n)
    galaxy = np.arange(n) >= stars
    u = rng.random(n)
    mag = np.where(galaxy, counts(u, 17.0, faint=23.9, slope=0.38), counts(u, BRIGHTEST, faint=FAINTEST, slope=SLOPE))
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


def counts(u: F64, bright: float, *, faint: float, slope: float) -> F64:
    """Magnitudes whose numbers grow as 10^(slope m) between two limits, from uniform numbers `u`."""
    low, high = 10 ** (slope * bright), 10 ** (slope * faint)
    return np.log10(low + u * (high - low)) / slope
