"""What the survey knows beside the light curve: catalogue matches and history of one alert, and what it measured, in ZTF's own terms."""

from __future__ import annotations

from typing import Any

import numpy as np

from data.simulate import sky
from data.simulate.draw import generator
from data.simulate.measured import PIXEL, measured
from data.simulate.observe import BEGAN, Alert
from data.simulate.scene import RADIUS, Scene, as_catalogued, host_share, star_density
from operators.types import F64, WAVELENGTH

NUCLEUS_EXTENDED = 0.25
"""Least extent of an active nucleus in the reference image, between a star (0) and a galaxy (1): a quasar's host is never quite dark."""
REFERENCE_LIMIT = 23.5
"""[mag] of sources in the reference image."""
NOTHING = -999.0
"""How ZTF writes that a catalogue has no match."""


def context(alert: Alert, scene: Scene) -> dict[str, Any]:
    """The non-photometric fields of a ZTF candidate (names and units of its schema; `None` where a packet has null)."""
    o, v, now = alert.observed, alert.observed.visits, alert.now
    rng = generator(o.population, o.seed, o.index, 13, now)
    out: dict[str, Any] = {}
    nucleus = None
    if o.label == "agn":
        nucleus = max(NUCLEUS_EXTENDED, host_share(o, scene) ** 0.5)
        scene = as_catalogued(o, scene)
    shift = position_error(alert)
    _catalogue(out, rng, scene=scene, shift=shift)
    _reference(out, rng, scene=scene, shift=shift, wavelength=float(v.wavelength[now]), nucleus=nucleus)
    _gaia(out, rng, scene=scene, shift=shift, latitude=float(sky.galactic_latitude(o.ra, o.dec)))
    _solar_system(out, rng, alert=alert)
    out |= measured(alert)
    _history(out, rng, alert=alert)
    return out


def position_error(alert: Alert) -> F64:
    """(2,) how far every catalogued source seems to lie from where it is, as the alert's own position is a peak among noise [arcsec]."""
    o, now = alert.observed, alert.now
    signal = float(abs(o.flux[now]) / o.error[now])
    return generator(o.population, o.seed, o.index, 14, now).normal(0, float(np.hypot(0.1, 0.8 / np.sqrt(signal))), 2)


def _catalogue(out: dict[str, Any], rng: np.random.Generator, *, scene: Scene, shift: Any) -> None:
    """The three nearest Pan-STARRS sources within 30 arcsec, their magnitudes and star/galaxy scores (Tachibana & Miller 2018)."""
    seen = scene.mag_r + rng.normal(0, 0.15, len(scene.mag_r)) < 22.2
    index = np.flatnonzero(seen)
    distance = np.hypot(scene.dx[index] + shift[0], scene.dy[index] + shift[1])
    # a very extended galaxy is often catalogued by a knot nearer to the event than its centre
    knot = scene.galaxy[index] & (scene.radius[index] > 4) & (distance > 3) & (rng.random(len(index)) < 0.3)
    distance = np.where(knot, distance * rng.uniform(0.2, 0.9, len(index)), distance)
    order = np.argsort(distance)
    index, distance = index[order], distance[order]
    inside = int(np.sum(distance < 30))
    out["nmtchps"] = inside
    for slot in (1, 2, 3):
        keys = [f"{k}{slot}" for k in ("sgmag", "srmag", "simag", "szmag", "sgscore", "distpsnr")]
        if slot > inside:
            out.update(dict.fromkeys(keys, NOTHING))
            out[f"objectidps{slot}"] = 0
            continue
        k = int(index[slot - 1])
        r, colour = float(scene.mag_r[k]), float(scene.g_r[k])
        faint = float(np.clip((r - 19.0) / 3.0, 0, 1))
        if rng.random() < (0.08 if scene.radius[k] < 4 else 0.4):
            score = 0.5  # the catalogue has no opinion
        elif scene.galaxy[k]:
            score = float(rng.beta(0.35 + 1.1 * faint, 5.0 - 3.0 * faint))
        else:
            score = float(1 - rng.beta(0.3 + 1.0 * faint, 9.0 - 7.0 * faint))
        mags = [r + colour, r, r - 0.45 * colour, r - 0.65 * colour]
        lost = rng.random(4) < 0.04 + 0.25 * faint
        values = [NOTHING if gone else float(m + rng.normal(0, 0.03)) for m, gone in zip(mags, lost, strict=True)]
        out.update(zip(keys, [*values, score, float(distance[slot - 1])], strict=True))
        out[f"objectidps{slot}"] = int(rng.integers(10**17, 2 * 10**17))


def _reference(
    out: dict[str, Any], rng: np.random.Generator, *, scene: Scene, shift: Any, wavelength: float, nucleus: float | None
) -> None:
    """The nearest source of ZTF's reference image [pixels, mag], which ends near 23.5.

    `nucleus`: how extended an active nucleus, which is the first source, looks; None: there is none.
    """
    mags = 23.9 - 2.5 * np.log10(scene.flux(wavelength))
    distance = np.hypot(scene.dx + shift[0], scene.dy + shift[1])
    near = np.where(mags + rng.normal(0, 0.1, len(mags)) < REFERENCE_LIMIT, distance, np.inf)
    if len(near) and np.isfinite(near).any():
        k = int(np.argmin(near))
        magnitude, extended = float(mags[k]), float(scene.galaxy[k]) if k or nucleus is None else nucleus
        slope = 0.3 - 0.1 * min(2 * extended, 1.0)
        noise = (0.012 + 0.28 * 10 ** (slope * (magnitude - 23.0))) * float(rng.lognormal(0, 0.15))
        out["distnr"], out["magnr"] = float(near[k] / PIXEL), float(magnitude + rng.normal(0, noise))
        out["sigmagnr"] = float(noise)
        out |= _point_source_fit(rng, magnitude, extended=extended)
    else:
        out["distnr"], out["magnr"], out["sigmagnr"], out["chinr"], out["sharpnr"] = float(rng.uniform(15, 30)), 23.2, 0.3, 0.6, 0.0


def _point_source_fit(rng: np.random.Generator, magnitude: float, *, extended: float) -> dict[str, float]:
    """How well a point source fits the reference's nearest one: near the limit a galaxy is as sharp as noise, and as good a fit.

    `extended`: 0 a star, 1 a galaxy, between them a nucleus in its host.
    """
    faint = float(np.clip((magnitude - 19.5 - extended) / (3.0 - 0.7 * extended), 0, 1))
    chi = (1 - faint) * (-0.8 + 2.2 * extended) + faint * -0.22
    sharp = (1 - faint) * (-0.01 + 0.34 * extended) + faint * -0.2
    spread = (0.02 + 0.13 * extended) * (1 - faint) + 0.22 * faint
    return {"chinr": float(rng.lognormal(chi, 0.45)), "sharpnr": float(rng.normal(sharp, spread))}


GAIA: dict[str, tuple[str, float]] = {"neargaia": ("maggaia", 20.7), "neargaiabright": ("maggaiabright", 14.0)}
"""Distance to the nearest Gaia source as bright [mag] within `GAIA_REACH` → its magnitude."""
GAIA_REACH = 90.0


def _gaia(out: dict[str, Any], rng: np.random.Generator, *, scene: Scene, shift: Any, latitude: float) -> None:
    """The nearest Gaia sources: stars, and one compact galaxy in three; beyond the scene by their density alone."""
    distance = np.hypot(scene.dx + shift[0], scene.dy + shift[1])
    listed = ~scene.galaxy | ((scene.radius < 3) & (rng.random(len(distance)) < 0.35))
    for key, (magnitude, limit) in GAIA.items():
        close = np.where(listed & (scene.mag_r < limit), distance, np.inf)
        if len(close) and np.isfinite(close).any():
            k = int(np.argmin(close))
            out[key], out[magnitude] = float(close[k]), float(scene.mag_r[k])
            continue
        inside, rest = RADIUS**2, GAIA_REACH**2 - RADIUS**2
        if rng.random() < 1 - np.exp(-star_density(latitude, limit) * np.pi * rest / 3600):
            out[key] = float(np.sqrt(inside + rng.random() * rest))
            out[magnitude] = float(limit - rng.exponential(1.6))
        else:
            out[key] = out[magnitude] = NOTHING


def _solar_system(out: dict[str, Any], rng: np.random.Generator, *, alert: Alert) -> None:
    """The nearest predicted minor planet within 30 arcsec: the asteroid itself, or now and then another one near the ecliptic."""
    o = alert.observed
    out["ssdistnr"], out["ssmagnr"], out["ssnamenr"] = NOTHING, NOTHING, None
    if o.label == "asteroid" and o.source.extra["known"]:
        mag = 23.9 - 2.5 * np.log10(max(abs(float(o.flux[alert.now])), 1e-3))
        out["ssdistnr"] = float(rng.choice([0.0, 0.0, 0.0, 0.0, 1.0, 2.0, 5.0]))
        out["ssmagnr"], out["ssnamenr"] = float(np.round(mag - 0.3 + rng.normal(0, 0.3), 1)), str(int(rng.integers(1, 700_000)))
    elif rng.random() < 0.006:
        out["ssdistnr"], out["ssmagnr"] = float(np.round(30 * np.sqrt(rng.random()))), float(np.round(rng.uniform(17, 21), 1))
        out["ssnamenr"] = str(int(rng.integers(1, 700_000)))


def _history(out: dict[str, Any], rng: np.random.Generator, *, alert: Alert) -> None:
    """The survey's own counts at this position since its beginning, down to 3 σ, on the same field and channel."""
    o, now = alert.observed, alert.now
    begun = o.visits.mjd[:now] >= BEGAN
    past = np.flatnonzero(o.faint[:now] & begun)
    before = max(float(o.visits.mjd[0]) - BEGAN, 0.0)  # [d] of the survey that were not simulated
    if o.label == "agn" or o.source.persistent:
        simulated = max(float(o.visits.mjd[now] - max(float(o.visits.mjd[0]), BEGAN)), 1.0)
        more = len(past) * before / simulated * float(rng.uniform(0, 1.2))
    else:
        past = past[o.visits.mjd[past] > o.visits.mjd[now] - 400]
        more = 0.0
        stray = o.source.host is not None and rng.random() < 0.04  # a subtraction residual of the host, long ago
        if not o.source.single and o.source.star is None and not stray:
            past = past[(np.abs(o.flux[past]) / o.error[past] >= 4.0) | o.detected[past]]
    # what the packet itself shows as detected is never missing from the count
    inside = np.flatnonzero(o.detected[alert.first : now]) + alert.first
    past = np.union1d(past, inside)
    out["ndethist"] = 1 + len(past) + int(more)
    first = float(o.visits.mjd[past[0]]) if len(past) else float(o.visits.mjd[now])
    if more >= 1:
        first = min(first, float(o.visits.mjd[0]) - before * (1 - float(rng.random()) ** 3))  # most were seen in the first months
    out["mjdstarthist"] = first  # [MJD UTC], written as a Julian date by packets.py
    out["ncovhist"] = max(o.earlier_visits + int(np.sum(o.visits.same_field[:now] & begun)) + 1, out["ndethist"])


def band_of(alert: Alert) -> str:
    """The filter of this alert's own exposure."""
    o = alert.observed
    return tuple(WAVELENGTH[o.survey])[int(o.visits.band[alert.now])]
