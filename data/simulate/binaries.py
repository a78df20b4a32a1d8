"""Stars that vary by geometry: eclipsing binaries, spotted magnetic stars, transits.

Draw → Source. Light curves come from two discs with limb darkening, tides and mutual heating, not from drawn dips.
"""

from __future__ import annotations

import numpy as np

from data.simulate.draw import Draw
from data.simulate.profiles import PHASES, at, fourier
from data.simulate.sky import F64
from data.simulate.source import SkyKind, Source, Star
from data.simulate.starlight import difference, reference_times

_RINGS = 12


def eclipse_light(r1: float, r2: float, *, surface: float, inclination: float, phase: F64, limb: float = 0.6) -> F64:
    """Flux of two limb-darkened spheres on a circular orbit against phase, 1 out of eclipse; star 1 is hidden at phase 0.

    Parameters
    ----------
    r1, r2 : radii over the separation
    surface : surface brightness of star 2 over that of star 1
    inclination : [rad]
    phase : (m,) turns
    limb : linear coefficient of limb darkening

    Each disc is a stack of `_RINGS` uniform ones, the eclipsed share of each follows from the overlap of two circles.
    """
    apart = np.sqrt(np.clip(1 - (np.cos(2 * np.pi * phase) * np.sin(inclination)) ** 2, 0, None))
    front = np.cos(2 * np.pi * phase) > 0  # star 2 is in front
    one = _visible(r1, r2, apart=np.where(front, apart, 9.0), limb=limb)
    two = _visible(r2, r1, apart=np.where(front, 9.0, apart), limb=limb)
    light1, light2 = r1**2, surface * r2**2
    return (light1 * one + light2 * two) / (light1 + light2)


def _visible(own: float, other: float, *, apart: F64, limb: float) -> F64:
    """Share of a limb-darkened disc that another one leaves to be seen."""
    edges = np.linspace(0, 1, _RINGS + 1)[1:]
    steps = np.diff(np.concatenate([1 - limb * (1 - np.sqrt(1 - edges**2 + 0.5 / _RINGS / _RINGS)), [0.0]]))
    # I(ρ) as a sum of uniform discs of radii ρ_k: the weight of each is the drop of I at its edge.
    weights = -steps
    hidden = np.zeros_like(apart)
    total = 0.0
    for edge, weight in zip(edges, weights, strict=True):
        radius = own * float(edge)
        hidden += weight * _overlap(radius, other, d=apart)
        total += float(weight) * np.pi * radius**2
    return 1 - hidden / total


def _overlap(a: float, b: float, *, d: F64) -> F64:
    """Area common to two circles of radii a and b whose centres are d apart."""
    d = np.maximum(d, 1e-9)
    x = np.clip((d**2 + a**2 - b**2) / (2 * d * a), -1, 1)
    y = np.clip((d**2 + b**2 - a**2) / (2 * d * b), -1, 1)
    kite = np.sqrt(np.clip((a + b - d) * (d + a - b) * (d - a + b) * (d + a + b), 0, None))
    lens = a**2 * np.arccos(x) + b**2 * np.arccos(y) - 0.5 * kite
    return np.where(d >= a + b, 0.0, np.where(d <= abs(a - b), np.pi * min(a, b) ** 2, lens))


def binary_profile(d: Draw, kind: str, *, period: float) -> F64:
    """Magnitudes of a binary against phase, primary minimum at 0; drawn again until the deeper eclipse is at least 0.08 mag."""
    for _ in range(60):
        if kind == "EA":
            # Two dwarfs or a dwarf and a subgiant; a = 4.2 R☉ (M P²)^(1/3) makes slow ones narrow.
            reach = d.lognormal("radii_ea", 3.4, sigma=0.45) / (4.2 * (d.lognormal("mass_ea", 2.4, sigma=0.4) * period**2) ** (1 / 3))
            reach = float(np.clip(reach, 0.04, 0.52))
            share, q = d.uniform("share_ea", 0.3, high=0.7), d.uniform("q_ea", 0.3, high=1.0)
            surface = (
                d.uniform("surface_ea", 0.03, high=1.0) if d.chance(0.6) else d.normal("surface_twin", 0.95, sd=0.08, low=0.6, high=1.0)
            )
        elif kind == "EB":
            reach, share, q = (
                d.uniform("radii_eb", 0.5, high=0.74),
                d.uniform("share_eb", 0.4, high=0.65),
                d.uniform("q_eb", 0.25, high=1.0),
            )
            surface = d.uniform("surface_eb", 0.1, high=0.85)
        else:
            # Lobe-filling stars add up to 0.75 but are drawn out toward each other: end on, as they eclipse, they are smaller.
            reach, q = d.uniform("radii_ew", 0.55, high=0.66), d.lognormal("q_ew", 0.4, sigma=0.5, low=0.1, high=1.0)
            share = 1 / (1 + q**0.46)  # both fill their lobes: r2 / r1 ≈ q^0.46 (Kuiper)
            surface = d.normal("surface_ew", 0.97, sd=0.08, low=0.6, high=1.2)
        r1, r2 = reach * share, reach * (1 - share)
        # Random orientations, of those that eclipse at all.
        cosine = float(d.rng.random()) * min(reach * (0.95 if kind == "EA" else 0.9 if kind == "EB" else 1.2), 0.95)
        light = eclipse_light(r1, r2, surface=surface, inclination=float(np.arccos(cosine)), phase=PHASES)
        light = light + _proximity(r1, r2, surface=surface, q=q, cosine=cosine, kind=kind)
        magnitudes = -2.5 * np.log10(np.maximum(light, 0.02))
        if np.ptp(magnitudes) > (0.08 if kind != "EW" else 0.1):
            break
    if kind == "EA" and period > 2 and d.chance(0.5):  # eccentric: the second minimum leaves the middle
        e, turn = abs(d.normal("e", 0.0, sd=0.18)), float(d.rng.uniform(0, 2 * np.pi))
        middle = 0.5 + float(np.clip(2 / np.pi * e * np.cos(turn), -0.25, 0.25))
        before = PHASES * 0.5 / middle
        magnitudes = at(magnitudes, np.where(before < 0.5, before, 1 - (1 - PHASES) * 0.5 / (1 - middle)))
    return magnitudes - float(np.median(magnitudes))


def _proximity(r1: float, r2: float, *, surface: float, q: float, cosine: float, kind: str) -> F64:
    """Tides and heating, in units of the whole light: leading terms of Morris & Naftilan 1993 for both stars."""
    light1, light2 = r1**2, surface * r2**2
    share1, share2 = light1 / (light1 + light2), light2 / (light1 + light2)
    sine2 = 1 - cosine**2
    # The leading term holds for round stars; it saturates where they fill their lobes.
    bulge = 1.35 * sine2 * (share1 * q * r1**3 + share2 / q * min(r2, 0.45) ** 3)
    bulge = sine2 * (0.19 + 0.05 * q) if kind == "EW" else min(1.3 * bulge, 0.13)
    heating = 0.35 * np.sqrt(sine2) * (share1 * r2**2 * surface - share2 * r1**2 / max(surface, 0.05) * min(surface, 0.4))
    x = 2 * np.pi * PHASES
    return -bulge * np.cos(2 * x) + float(np.clip(heating, -0.04, 0.04)) * np.cos(x)


def eclipsing_binary(d: Draw) -> Source:
    """Eclipsing binaries EA, EB and EW: detached, close and contact.

    Of radii, surface brightnesses and orientations; limb darkening, tides and heating (Morris & Naftilan 1993), eccentric orbits above 2
    d, unequal maxima (O'Connell effect). Periods as in the ASAS and Kepler catalogues (Paczyński et al. 2006, Prša et al. 2011, Jayasinghe
    et al. 2019); nearly grey, so colours hardly change.
    """
    kind = d.pick({"EA": 0.4, "EB": 0.25, "EW": 0.35})
    period = {
        "EA": lambda: d.lognormal("p_ea", 2.6, sigma=0.85, low=0.35, high=60),
        "EB": lambda: d.lognormal("p_eb", 1.0, sigma=0.65, low=0.3, high=12),
        "EW": lambda: d.lognormal("p_ew", 0.38, sigma=0.27, low=0.21, high=1.3),
    }[kind]()
    profile, phase = binary_profile(d, kind, period=period), float(d.rng.random())
    spots = d.normal("spots", 0.0, sd={"EA": 0.005, "EB": 0.012, "EW": 0.015}[kind])
    profile = profile + spots * np.sin(2 * np.pi * PHASES)
    tilt = d.normal("grey", 0.0, sd=0.12)
    star = Star(d.magnitude("mag", 13.8, faint=19.3), d.normal("colour", 0.6, sd=0.3, low=-0.3, high=1.6))

    def magnitudes(t: F64, wavelength: F64) -> F64:
        return at(profile, t / period + phase) * (wavelength / 6200.0) ** -tilt

    sky: SkyKind = "disc" if d.chance(0.4) else "halo"
    light = difference(star, magnitudes, reference=reference_times(d), mean=True)
    return Source("eclipsing-binary", kind, light, (0.0, 120.0), sky, star=star, persistent=True)


def rotator(d: Draw) -> Source:
    """α² Canum Venaticorum stars: magnetic A and B stars whose spots turn with them.

    Periods 0.5–60 d around 3 d, 0.01–0.12 mag, one wave or two a turn, stable over decades (Netopil et al. 2017, Bernhard et al. 2015).
    """
    kind = d.pick({"ACV": 1.0})
    period = d.lognormal("p_acv", 3.1, sigma=0.85, low=0.5, high=60)
    amplitude = d.lognormal("a_acv", 0.045, sigma=0.5, low=0.01, high=0.16)
    double = d.lognormal("double", 1.8, sigma=0.7) if d.chance(0.35) else d.uniform("second", 0.0, high=0.45)
    profile = fourier([double, d.uniform("third", 0.0, high=0.1)], [float(x) for x in d.rng.uniform(0, 2 * np.pi, 2)])
    phase, blue = float(d.rng.random()), d.normal("blue", 0.6, sd=0.6)
    star = Star(d.magnitude("mag", 13.0, faint=18.5), d.normal("colour", -0.1, sd=0.15, low=-0.4, high=0.6))

    def magnitudes(t: F64, wavelength: F64) -> F64:
        return amplitude * at(profile, t / period + phase) * (wavelength / 5500.0) ** -blue

    light = difference(star, magnitudes, reference=reference_times(d), mean=True)
    return Source("", kind, light, (0.0, 120.0), "disc", star=star, persistent=True, extra={"period": period})


def transit(d: Draw) -> Source:
    """A planet in front of its star.

    The eclipse of `eclipse_light` by a dark disc of 0.03–0.16 radii, periods 0.5–30 d (Winn 2010, Batalha et al. 2013); seen from space or
    with millimagnitudes only.
    """
    kind = d.pick({"transit": 1.0})
    period = d.lognormal("p_planet", 4.0, sigma=0.8, low=0.5, high=30.0)
    radius = d.lognormal("r_star", 1.0, sigma=0.25) / (4.2 * period ** (2 / 3))
    ratio = d.lognormal("r_planet", 0.09, sigma=0.4, low=0.03, high=0.18)
    cosine = float(d.rng.random()) * radius * 0.85
    # A transit is short: phases are finer where it is.
    fine = np.concatenate([np.linspace(-1.3, 1.3, 400) * radius / (2 * np.pi) * 1.3, [0.5]])
    dip = -2.5 * np.log10(
        np.maximum(eclipse_light(radius, radius * ratio, surface=0.0, inclination=float(np.arccos(cosine)), phase=fine), 0.1)
    )
    phase = float(d.rng.random())
    star = Star(d.magnitude("mag", 11.0, faint=15.5), d.normal("colour", 0.6, sd=0.25, low=0.0, high=1.5))

    def magnitudes(t: F64, wavelength: F64) -> F64:
        x = (t / period + phase + 0.5) % 1.0 - 0.5
        return np.interp(x, fine[:-1], dip[:-1], left=0.0, right=0.0)

    light = difference(star, magnitudes, reference=reference_times(d), mean=True)
    return Source("exoplanet-transit", kind, light, (0.0, 120.0), "disc", star=star, persistent=True)
