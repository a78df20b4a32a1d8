"""What the survey knows beside the light curve: catalogue matches, scores, shape and history of one alert, in ZTF's own terms."""

from __future__ import annotations

from typing import Any

import numpy as np

from data.simulate.draw import generator
from data.simulate.observe import BEGAN, DRB_SINCE, Alert
from data.simulate.scene import Scene
from operators.types import F64, WAVELENGTH

PIXEL = 1.01
"""ZTF's pixel scale [arcsec]."""
WIDER = 1.15
"""Full width at half maximum of a source's core over the seeing that the survey states."""
NOTHING = -999.0
"""How ZTF writes that a catalogue has no match."""


def context(alert: Alert, scene: Scene) -> dict[str, Any]:
    """The non-photometric fields of a ZTF candidate (names and units of its schema; `None` where a packet has null)."""
    o, v, now = alert.observed, alert.observed.visits, alert.now
    rng = generator(o.population, o.seed, o.index, 13, now)
    out: dict[str, Any] = {}
    signal = float(abs(o.flux[now]) / o.error[now])
    shift = position_error(alert)
    _catalogue(out, rng, scene=scene, shift=shift)
    _reference(out, rng, scene=scene, shift=shift, wavelength=float(v.wavelength[now]))
    _solar_system(out, rng, alert=alert)
    _scores(out, rng, alert=alert, signal=signal)
    _shape(out, rng, alert=alert, signal=signal)
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
        if rng.random() < (0.12 if scene.radius[k] < 4 else 0.45):
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


def _reference(out: dict[str, Any], rng: np.random.Generator, *, scene: Scene, shift: Any, wavelength: float) -> None:
    """The nearest source of ZTF's reference image [pixels, mag], which ends near 23, and the nearest Gaia star."""
    mags = 23.9 - 2.5 * np.log10(scene.flux(wavelength))
    distance = np.hypot(scene.dx + shift[0], scene.dy + shift[1])
    near = np.where(mags + rng.normal(0, 0.1, len(mags)) < 23.1, distance, np.inf)
    if len(near) and np.isfinite(near).any():
        k = int(np.argmin(near))
        noise = 0.01 + 0.1 * 10 ** (0.3 * (float(mags[k]) - 22.5))
        out["distnr"], out["magnr"] = float(near[k] / PIXEL), float(mags[k] + rng.normal(0, noise))
        out["sigmagnr"] = float(noise)
        out["chinr"] = float(rng.lognormal(0.9 if scene.galaxy[k] else -0.45, 0.4))
        out["sharpnr"] = float(rng.normal(0.35, 0.2) if scene.galaxy[k] else rng.normal(-0.02, 0.06 + 0.04 * noise))
    else:
        out["distnr"], out["magnr"], out["sigmagnr"], out["chinr"], out["sharpnr"] = float(rng.uniform(15, 30)), 23.2, 0.3, 0.6, 0.0
    gaia = np.where(~scene.galaxy & (scene.mag_r < 20.7), distance, np.inf)
    for key, limit, mag_key in (("neargaia", 99.0, "maggaia"), ("neargaiabright", 14.0, "maggaiabright")):
        close = np.where(scene.mag_r < limit, gaia, np.inf)
        found = bool(len(close) and np.isfinite(close).any())
        k = int(np.argmin(close)) if found else -1
        out[key] = float(close[k]) if found else float(rng.uniform(43, 90))
        out[mag_key] = float(scene.mag_r[k]) if found else float(rng.uniform(12, min(limit, 20)))


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


def _scores(out: dict[str, Any], rng: np.random.Generator, *, alert: Alert, signal: float) -> None:
    """Real/bogus scores: the forest's `rb` (Mahabal et al. 2019) and the network's `drb` (Duev et al. 2019). They overlap."""
    o = alert.observed
    weak = float(np.clip((12.0 - signal) / 8.0, 0, 1))
    if o.label == "bogus":
        fooled = rng.random() < 0.14
        out["rb"] = float(rng.beta(4, 4) if fooled else rng.beta(2.5, 5.5))
        out["drb"] = float(rng.beta(3, 1.2) if fooled else rng.beta(0.28, 2.2))
    else:
        missed = rng.random() < 0.02 + 0.05 * weak
        out["rb"] = float(rng.beta(6.5 - 1.5 * weak, 3.0))
        out["drb"] = float(rng.beta(1.0, 1.0) if missed else 1 - rng.beta(0.25 + 0.25 * weak, 22 - 15 * weak))
    if o.survey == "ztf" and o.visits.mjd[alert.now] < DRB_SINCE:
        out["drb"] = None


def _shape(out: dict[str, Any], rng: np.random.Generator, *, alert: Alert, signal: float) -> None:
    """Width, elongation and pixel statistics of the detection on the difference image."""
    o = alert.observed
    kind = o.source.kind
    seeing = WIDER * float(o.visits.fwhm[alert.now]) / PIXEL
    spread = 0.08 + 1.2 / signal
    if o.source.star is not None:
        seeing *= 0.85  # what is left of a star is narrower than the star
    width, elongation = seeing * float(rng.lognormal(0.08 + 0.8 / signal, spread)), 1.02 + float(rng.gamma(1.5, 0.04 + 0.3 / signal))
    negative, ratio, quality = int(rng.poisson(6.0 / signal)), float(1 - rng.gamma(0.6, 0.15 / signal)), float(rng.lognormal(0.4, 0.5))
    if o.label == "asteroid":
        trail = o.source.motion * 30 / 3600 / PIXEL
        width, elongation = float(np.hypot(width * 1.2, 0.7 * trail)), elongation * float(np.hypot(1, trail / seeing))
    elif o.label == "bogus":
        narrow = kind in ("cosmic-ray", "hot-pixel")
        width = float(rng.uniform(0.7, 1.5) if narrow else seeing * rng.lognormal(0.05, 0.45))
        elongation = 1.05 + float(rng.gamma(1.3, 0.9 if kind == "bad-column" else 0.25))
        negative = int(rng.integers(4, 13)) if kind in ("dipole", "bright-star") else int(rng.integers(0, 9))
        ratio, quality = float(rng.uniform(0.1, 0.95)), float(rng.lognormal(1.2, 0.9))
    elif o.source.star is not None and o.source.star.mag_r < 16:
        negative, ratio = negative + int(rng.integers(0, 5)), ratio - float(rng.gamma(1.0, 0.06))
        quality *= float(rng.lognormal(0.8, 0.6))
    out["fwhm"], out["elong"] = float(np.clip(width, 0.6, 25)), float(np.clip(elongation, 1.0, 6.0))
    out["aimage"] = out["fwhm"] * 0.27 * float(np.sqrt(out["elong"]))
    out["bimage"] = out["aimage"] / out["elong"]
    out["aimagerat"], out["bimagerat"] = out["aimage"] / out["fwhm"], out["bimage"] / out["fwhm"]
    out["nneg"], out["nbad"], out["sumrat"] = (
        min(negative, 24),
        int(o.label == "bogus" and rng.random() < 0.15),
        float(np.clip(ratio, -0.2, 1.0)),
    )
    out["chipsf"], out["classtar"] = quality, float(np.clip(rng.beta(8, 1) if o.label != "bogus" else rng.beta(2, 1.5), 0, 1))
    out["seeratio"] = float(np.clip(rng.normal(0.95, 0.15), 0.5, 2.0) if o.label != "bogus" or rng.random() < 0.5 else 2.0)
    out["sky"] = float(rng.normal(0, 0.3))
    out["scorr"] = float(signal * rng.uniform(0.95, 1.25))


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
