"""A description and a `Draw` → a `Source`: the light curve, colours, distance and surroundings that a description states.

The light in g is a pulse: sin² up to the peak (∝ t² at first, as an expanding fireball: Arnett 1982), a plateau if there is one, then a
decline that leaves the peak smoothly; or Paczyński's magnification; or a period. A black body or a power law through g-r gives the rest.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import TypeAlias

import numpy as np

from data.simulate.described import Colour, Decline, Description
from data.simulate.draw import Draw
from data.simulate.sky import F64, black_body, flux, modulus
from data.simulate.source import PIVOT, Event, Source, Star, transient
from data.simulate.variables import HISTORY, difference, reference_times

FAINTEST = 20.3
"""Of an event's peak in ZTF [mag]; a deeper survey sees as much further (`Draw.deeper`)."""
BRIGHTEST = 14.5
PERIODIC = (14.0, 19.6)
"""Magnitudes of stars that vary for ever."""
HOSTS: dict[str, tuple[bool, float, float]] = {
    "nuclear": (True, 0.03, 0.0),
    "in-disc": (False, 0.07, 0.0),
    "outskirts": (False, 0.2, 0.0),
    "dwarf": (False, 0.25, 2.6),
    "hostless": (False, 1.0, 0.0),
}
"""Environment → in the nucleus, share without a visible host, how much fainter than usual the host is [mag]."""
FAR_OUT = 3.0
"""Offsets of the outskirts, in units of a usual one's (Ca-rich: Perets et al. 2010, Lunnan et al. 2017)."""

Light: TypeAlias = Callable[[F64], F64]
Tint: TypeAlias = Callable[[F64, F64], F64]


def source(description: Description, d: Draw) -> Source:
    """Draw one object of a described class, as any class of `classes.py` gives it.

    Parameters
    ----------
    description : Description
    d : Draw
        The object's named draws, of the survey's depth.

    Returns
    -------
    Source
    """
    if description.period is not None:
        return _periodic(description, d)
    if description.profile == "lens":
        return _lens(description, d)
    if description.colour is None:
        raise ValueError("a pulse has a colour")
    rise, light, second, end = _pulse(description, d)
    tint = _tint(description.colour, d, rise=rise)

    def shape(t: F64, wavelength: F64) -> F64:
        return (light(t) + second(t, wavelength)) * tint(t - rise, wavelength)

    if description.sky == "extragalactic":
        return _event(description, d, shape=shape, rise=rise, end=end)
    return _outburst(description, d, shape=shape, end=end)


def _pulse(description: Description, d: Draw) -> tuple[float, Light, Tint, float]:
    """Time of the peak, light in g, the second peak's light, and when it ends [d, at rest]."""
    if description.rise is None or description.decline is None:
        raise ValueError("a pulse has a rise and a decline")
    rise = description.rise.draw(d, "rise")
    fade = _decline(description.decline, d, rise=rise)
    plateau = description.plateau
    length, slope, drop = (
        (plateau.days.draw(d, "plateau"), plateau.slope.draw(d, "slope"), plateau.drop.draw(d, "drop")) if plateau else (0.0,) * 3
    )
    edge = max(0.04 * length, 1e-3)

    def light(t: F64) -> F64:
        x = t - rise
        up = np.sin(0.5 * np.pi * np.clip(t / rise, 0.0, 1.0)) ** 2
        m = slope * np.clip(x, 0, length) + drop / (1 + np.exp(-np.clip((x - length - 2 * edge) / edge, -50, 50))) * (x > 0)
        m = np.clip(m, -5.0, 100.0)  # no plateau rises further; what is fainter is nothing
        return np.asarray(up * 10 ** (-0.4 * m) * fade(np.maximum(x - length, 0.0)))

    another = description.second_peak
    if another is None or not d.chance(another.chance):
        return rise, light, lambda t, wavelength: np.zeros(np.broadcast_shapes(t.shape, wavelength.shape)), description.duration
    after, height, width = another.after.draw(d, "second_at"), another.height.draw(d, "second"), another.width.draw(d, "second_width")
    above = another.above

    def second(t: F64, wavelength: F64) -> F64:
        bump = height * np.exp(-0.5 * ((t - rise - after) / width) ** 2) * (t > 0)
        return bump * (np.clip((wavelength - above) / 800, 0, 1) if above is not None else np.ones_like(wavelength))

    return rise, light, second, description.duration


def _decline(decline: Decline, d: Draw, *, rise: float) -> Light:
    """Light some time after the peak or the plateau, 1 at its beginning, where it is level."""
    late = decline.late
    if decline.index is not None:
        index, scale = decline.index.draw(d, "index"), decline.scale.draw(d, "scale") if decline.scale else rise
        turn, further = (late.after.draw(d, "late_after"), late.index.draw(d, "late_index")) if late and late.index else (1.0, index)
        return lambda y: (1 + y / scale) ** -index * (1 + (y / turn) ** 2) ** (-0.5 * (further - index))
    rate = decline.rate.draw(d, "rate") if decline.rate else 1.0857 / decline.e_folding.draw(d, "e_folding") if decline.e_folding else 0.0
    turn, slow = (late.after.draw(d, "late_after"), late.rate.draw(d, "late_rate")) if late and late.rate else (np.inf, rate)
    soft = 0.4 * rise

    def fade(y: F64) -> F64:
        # a hyperbola: level at the peak, a straight line of the same rate soon after
        m = rate * (np.sqrt(np.minimum(y, turn) ** 2 + soft**2) - soft) + slow * np.maximum(y - turn, 0.0)
        return np.asarray(10 ** (-0.4 * np.minimum(m, 100.0)))

    return fade


def _tint(colour: Colour, d: Draw, *, rise: float) -> Tint:
    """Colour at x [d] from the peak, relative to g."""
    ultraviolet, blanketing = colour.ultraviolet.draw(d, "ultraviolet"), colour.blanketing.draw(d, "blanketing")
    soon = max(rise, 1e-3)

    def missing(x: F64, wavelength: F64) -> F64:
        m = ultraviolet * np.clip((3900 - wavelength) / 1000, 0, 2)
        m = m + blanketing * np.clip((5000 - wavelength) / 1000, 0, 1.6) * np.clip((x + soon) / (2.5 * soon), 0, 1)
        level = blanketing * (5000 - PIVOT) / 1000 * np.clip((x + soon) / (2.5 * soon), 0, 1)  # light is stated in g: g stays
        return np.asarray(10 ** (-0.4 * (m - level)))

    if colour.temperature is not None:
        peak = colour.temperature.draw(d, "temperature")
        early = colour.early.draw(d, "early") if colour.early else peak
        later = colour.later.draw(d, "later") if colour.later else peak
        cooling = colour.cooling.draw(d, "cooling") if colour.cooling else 1.0

        def hot(x: F64, wavelength: F64) -> F64:
            before = peak + (early - peak) * np.clip(-x / soon, 0, 1)
            kelvin = np.where(x < 0, before, later + (peak - later) * np.exp(-np.maximum(x, 0) / cooling))
            return np.asarray(black_body(wavelength, kelvin) / black_body(PIVOT, kelvin)) * missing(x, wavelength)

        return hot
    if colour.g_r is None:
        raise ValueError("a colour has a temperature or g-r")
    at_peak, trend = colour.g_r.draw(d, "g_r"), colour.trend.draw(d, "trend")
    until = colour.until.draw(d, "until") if colour.until else np.inf

    def red(x: F64, wavelength: F64) -> F64:
        g_r = np.clip(at_peak + trend * np.clip(x, -soon, until), -1.0, 3.5)
        return np.asarray((wavelength / PIVOT) ** (g_r / (2.5 * np.log10(6200 / PIVOT)))) * missing(x, wavelength)

    return red


def _event(description: Description, d: Draw, *, shape: Tint, rise: float, end: float) -> Source:
    """Place it as `transient` does: the counts by magnitude down to the survey's limit, within the redshifts if any are stated."""
    if description.peak.absolute is None:
        raise ValueError("an extragalactic event has an absolute magnitude")
    absolute = description.peak.absolute.draw(d, "peak")
    a_v = float(d.rng.exponential(description.dust)) if description.dust else 0.0
    nuclear, hostless, dwarf = HOSTS[description.environment]
    another = description.second_peak
    reach = max(end, rise + (another.after.median + 3 * another.width.median if another else 0.0))
    grid = np.unique(np.concatenate([np.linspace(0, 2 * rise, 41), np.geomspace(max(0.01 * rise, 1e-4), reach, 80)]))
    bright, faint = BRIGHTEST + 0.5 * d.deeper, FAINTEST + d.deeper  # as `transient` moves them with the survey's depth
    if description.redshift is not None:
        near, far = (absolute + 1.2 * a_v + modulus(z) for z in description.redshift)
        bright, faint = max(bright, near), min(faint, far)
        if bright > faint:  # all of them are too faint (or too bright): the redshifts stand, and the survey must see what it can
            bright, faint = (near, min(far, near + 1.0)) if near >= bright else (far, far)
    event = Event(description.name, description.name[:16], shape, grid, absolute, end, a_v, nuclear, hostless, dwarf)
    found = transient(d, event, faintest=faint - d.deeper, brightest=bright - 0.5 * d.deeper)
    if description.environment == "outskirts" and found.host is not None:
        found.host.offset = min(FAR_OUT * found.host.offset, 28.0)
    return found


def _star(description: Description, d: Draw, *, peak: float) -> tuple[Star, float]:
    """The star that brightens to `peak` [mag], and by how much."""
    if description.peak.amplitude is None:
        raise ValueError("a star has an amplitude")
    amplitude = description.peak.amplitude.draw(d, "amplitude")
    return Star(peak + amplitude, description.peak.star_g_r.draw(d, "star_g_r")), amplitude


def _outburst(description: Description, d: Draw, *, shape: Tint, end: float) -> Source:
    """Light that a star adds to itself, once or again and again."""
    peak = d.magnitude("apparent", BRIGHTEST - 1.0, faint=FAINTEST - 0.8)
    star, _ = _star(description, d, peak=peak)
    pivot = np.linspace(0, end, 400)
    top = float(np.max(shape(pivot, np.full_like(pivot, PIVOT))))
    starts = [(0.0, 1.0)]
    if description.recurrence is not None:
        every, t = description.recurrence.draw(d, "recurrence"), 0.0
        for _ in range(200):
            t -= every * d.lognormal("irregular", 1.0, sigma=0.25)
            if t < -HISTORY - 100:
                break
            starts.append((t, 10 ** (-0.4 * 0.2 * float(d.rng.standard_normal()))))
    scale = float(flux(peak)) / max(top, 1e-300)

    def observed(t: F64, wavelength: F64) -> F64:
        light = np.zeros(np.broadcast_shapes(t.shape, wavelength.shape))
        for start, height in starts:
            light += np.where(t > start, height * shape(np.maximum(t - start, 0.0), wavelength), 0.0)
        return np.nan_to_num(scale * light)

    return Source(
        description.name,
        description.name[:16],
        observed,
        (0.0, end),
        description.sky,
        star=star,
        persistent=description.recurrence is not None,
    )


def _lens(description: Description, d: Draw) -> Source:
    """A point lens before a point source (Paczyński 1986): `rise` is the Einstein time, the amplitude the magnification at the peak."""
    if description.rise is None:
        raise ValueError("a lens has an Einstein time")
    einstein = description.rise.draw(d, "rise")
    peak = d.magnitude("apparent", BRIGHTEST, faint=FAINTEST - 0.5)
    star, amplitude = _star(description, d, peak=peak)
    magnified = 10 ** (0.4 * amplitude)
    closest = 2 * (magnified / np.sqrt(magnified**2 - 1) - 1)  # u₀²

    def observed(t: F64, wavelength: F64) -> F64:
        u2 = closest + (t / einstein) ** 2
        return np.asarray(star.reference(wavelength) * ((u2 + 2) / np.sqrt(u2 * (u2 + 4)) - 1))

    return Source(description.name, description.name[:16], observed, (-2.2 * einstein, 2.2 * einstein), description.sky, star=star)


def _periodic(description: Description, d: Draw) -> Source:
    """A star that varies for ever: up in a share of the period, down in the rest."""
    period = description.period
    if period is None:
        raise ValueError("no period")
    days, up, phase = period.days.draw(d, "period"), period.rise.draw(d, "rise_share"), float(d.rng.random())
    star, amplitude = _star(description, d, peak=0.0)
    star.mag_r = d.magnitude("apparent", PERIODIC[0], faint=PERIODIC[1])

    def magnitudes(t: F64, wavelength: F64) -> F64:
        x = (t / days + phase) % 1
        y = np.where(x < up, np.cos(np.pi * x / up), -np.cos(np.pi * (x - up) / (1 - up)))
        return 0.5 * amplitude * y * (wavelength / PIVOT) ** -period.bluer

    light = difference(star, magnitudes, reference=reference_times(d))
    return Source(description.name, description.name[:16], light, (0.0, description.duration), description.sky, star=star, persistent=True)
