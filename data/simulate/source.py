"""What every class returns, and how an extragalactic event gets its distance, its host and its dust."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Literal, TypeAlias

import numpy as np

from data.simulate.draw import Draw
from data.simulate.sky import F64, arcsec_per_kpc, dimming, flux, modulus, redshift_at

Flux: TypeAlias = Callable[[F64, F64], F64]
Shape: TypeAlias = Callable[[F64, F64], F64]
SkyKind: TypeAlias = Literal["extragalactic", "disc", "halo", "bulge", "star-forming", "ecliptic", "any"]
PIVOT = 4750.0
"""Rest wavelength where absolute peak magnitudes are quoted [Å] (g)."""

RED = 6200.0
"""Observed wavelength at which `Source.peak_time` is the peak [Å] (r)."""


@dataclass(slots=True)
class Host:
    """The galaxy around an event; magnitudes AB."""

    mag_r: float
    g_r: float
    radius: float  # half-light [arcsec]
    offset: float  # of the event from the galaxy's centre [arcsec]
    angle: float  # of that offset [rad]
    axis_ratio: float
    position_angle: float
    bulge: bool


@dataclass(slots=True)
class Star:
    """The quiescent point source under a variable; magnitudes AB, as the reference image shows it."""

    mag_r: float
    g_r: float

    def reference(self, wavelength: F64) -> F64:
        """Flux [µJy]: r, and a colour as a straight line in 1/λ."""
        return flux(self.mag_r) * 10 ** (-0.4 * self.g_r * (1e4 / wavelength - 1e4 / 6200) / (1e4 / 4750 - 1e4 / 6200))


@dataclass(slots=True)
class Source:
    """One object, before anybody looks.

    `flux(t, wavelength)` is the difference flux [µJy] at t [d] on the object's own clock, wavelengths [Å] as observed.
    Alerts can come between `active[0]` and `active[1]` on that clock; `persistent` objects varied before, too. `peak_time` is when an
    event is brightest in r [d on that clock]: NaN for what has no one peak, persistent objects, moving ones and artefacts.
    """

    label: str
    kind: str
    flux: Flux
    active: tuple[float, float]
    sky: SkyKind
    redshift: float = float("nan")
    host: Host | None = None
    star: Star | None = None
    persistent: bool = False
    single: bool = False  # seen at this position once only: moving objects and most artefacts
    motion: float = 0.0  # [arcsec/h]
    peak_time: float = float("nan")
    extra: dict[str, float] = field(default_factory=dict)


def time_of_peak(times: F64, light: F64) -> float:
    """Time of the largest of `light` (n,) at `times` (n,), between the samples by a parabola through the three around it."""
    k = int(np.argmax(light))
    if not 0 < k < len(times) - 1:
        return float(times[k])
    before, after = times[k - 1] - times[k], times[k + 1] - times[k]
    low, high = (light[k - 1] - light[k]) / before, (light[k + 1] - light[k]) / after  # slopes of the two chords
    bend = (high - low) / (after - before)
    if bend >= 0:
        return float(times[k])
    return float(times[k] + np.clip((low - bend * before) / (-2 * bend), before, after))


def host(
    d: Draw, redshift: float, *, nuclear: bool = False, hostless: float = 0.07, dwarf: float = 0.0, remote: float = 1.0
) -> Host | None:
    """A host galaxy, or None for one too faint to be seen.

    Luminosities: a Schechter-like spread around M_r = -20.3 for core-collapse and Ia hosts, `dwarf` mag fainter for SLSNe and long GRBs
    (Schulze et al. 2021); half-light radii follow Shen et al. 2003, offsets an exponential disc in units of the radius
    (Prieto et al. 2008), `remote` times as far out for what prefers the halo.
    """
    if d.chance(hostless):
        return None
    absolute = d.normal("host_mag", -20.3 + dwarf, sd=1.2, low=-23.5, high=-14.5)
    radius_kpc = 3.6 * 10 ** (-0.12 * (absolute + 20.3)) * d.lognormal("host_radius", 1.0, sigma=0.35)
    scale = arcsec_per_kpc(redshift)
    radius = float(np.clip(radius_kpc * scale, 0.25, 25.0))
    offset = abs(d.normal("nuclear", 0.0, sd=0.12)) if nuclear else remote * radius * float(d.rng.gamma(1.7, 0.65))
    return Host(
        mag_r=absolute + modulus(redshift) + 2.5 * np.log10(1 + redshift),
        g_r=d.normal("host_colour", 0.55 + 0.8 * min(redshift, 0.6), sd=0.18),
        radius=radius,
        offset=min(offset, 28.0),
        angle=float(d.rng.uniform(0, 2 * np.pi)),
        axis_ratio=float(d.rng.uniform(0.3, 1.0)),
        position_angle=float(d.rng.uniform(0, np.pi)),
        bulge=d.chance(0.5 if nuclear else 0.3),
    )


@dataclass(slots=True)
class Event:
    """The recipe of an extragalactic transient, in its own rest frame."""

    label: str
    kind: str
    shape: Shape  # relative fν(t [d], λ [Å])
    grid: F64  # times [d] that hold the peak
    absolute: float  # peak AB magnitude at `PIVOT`
    duration: float  # rest days after which it is not observed
    a_v: float = 0.0
    nuclear: bool = False
    hostless: float = 0.07
    dwarf: float = 0.0
    remote: float = 1.0


def transient(d: Draw, event: Event, *, faintest: float, brightest: float = 14.5, slope: float = 0.2) -> Source:
    """Place an event: apparent peak from N(m) ∝ 10^(slope·m) between two limits, the redshift that follows, dust and host.

    The counts are much flatter than Euclid's 0.6: an event is drawn as often as it sends alerts, and a bright one sends them for months,
    most of them long after its peak.
    """
    faintest, brightest = faintest + d.deeper, brightest + 0.5 * d.deeper
    low, high = 10 ** (slope * brightest), 10 ** (slope * faintest)
    apparent = float(np.log10(low + d.rng.random() * (high - low)) / slope)
    dust = event.a_v * 1.2
    z = redshift_at(apparent - event.absolute - dust)
    n = len(event.grid)
    curves = event.shape(np.tile(event.grid, 2), np.repeat([PIVOT, RED / (1 + z)], n))
    scale = float(flux(event.absolute + modulus(z))) / max(float(np.nanmax(curves[:n])), 1e-300)

    def observed(t: F64, wavelength: F64) -> F64:
        rest = wavelength / (1 + z)
        value = np.where(t > 0, event.shape(np.maximum(t, 0.0) / (1 + z), rest), 0.0)
        absorbed = np.where(rest < 1216, 0.02, 1.0)  # hydrogen between and in galaxies
        return np.nan_to_num(scale * value * dimming(rest, event.a_v) * absorbed)

    return Source(
        label=event.label,
        kind=event.kind,
        flux=observed,
        active=(0.0, event.duration * (1 + z)),
        sky="extragalactic",
        redshift=z,
        host=host(d, z, nuclear=event.nuclear, hostless=event.hostless, dwarf=event.dwarf, remote=event.remote),
        peak_time=time_of_peak(event.grid, np.nan_to_num(curves[n:])) * (1 + z),
    )
