"""Science, template and difference images of an alert, in counts, as ZTF cuts them out.

63 × 63 pixels of 1.01", the target in the middle.

Every source is a sum of round or elliptical Gaussians, so that convolution with the point-spread function is exact: the function itself
has a core and wings, galaxies are exponential or de Vaucouleurs profiles as Gaussian mixtures (Hogg & Lang 2013). Noise levels,
backgrounds, the noise's covariance and zero points are the medians of 803 public packets.
"""

from __future__ import annotations

import numpy as np
import numpy.typing as npt

from data.simulate.draw import generator
from data.simulate.measured import PIXEL, WIDER
from data.simulate.observe import Alert
from data.simulate.scene import Scene
from data.simulate.surroundings import band_of, position_error
from operators.kernels.compiled import compiled
from operators.types import F32, RAW_STAMP

ZERO_POINT: dict[str, float] = {"g": 26.25, "r": 26.15, "i": 25.6}
SKY: dict[str, float] = {"g": 90.0, "r": 185.0, "i": 200.0}
"""Background of a reference image [counts], which the science image is given too."""
GAIN, READ_NOISE = 6.2, 3.1
"""[electrons/count], [counts]"""
APERTURE = 3.35
"""Noise of a measured flux over that of a pixel, per pixel of full width at half maximum: limit = zp - 2.5 log10(5 · 3.35 · fwhm · σ)."""
READOUT = (-0.07, 0.035)
"""Covariance of neighbours along a row of a science image, from its readout: mean and scatter from image to image."""
RESAMPLED = (0.105, -0.06, 0.033)
"""Filter taps 1, 2 and 3 pixels from the centre that give a template, which is a sum of resampled images, its covariance: 0.19 to the next
pixel in a row or column, -0.10 to the second, 0.05 to the third."""
CENTRE = RAW_STAMP // 2
SATURATION = 54_000.0
SPIKE = 100_000.0
"""Counts from which a star shows diffraction spikes."""
MASKED = 600_000.0
"""Counts from which a star's core is masked in all three images."""

EXPONENTIAL = np.array([[0.00196, 0.01895, 0.10017, 0.3686, 0.5103], [0.0088, 0.0391, 0.1400, 0.4610, 1.5016]])
DE_VAUCOULEURS = np.array([[0.0330, 0.0738, 0.1379, 0.2171, 0.2784, 0.2598], [0.0042, 0.0169, 0.0685, 0.2872, 1.3332, 8.4022]])
"""Shares of the light, and variances in units of the half-light radius squared, of Gaussians that make a disc and a spheroid."""


PSF = np.array([[0.60, 0.32, 0.08], [1.0, 4.0, 11.5]])
"""Core, wing and far wing of the point-spread function: shares of the light, variances in units of the core's. Fitted to the profiles of
430 real stars within ten pixels: at 3 to 4 pixels a template's star has 0.033 of its central light."""
BLURRED = 6.0
"""A profile so much wider than the core (in variances) is convolved with one Gaussian of the function's mean variance."""


@compiled
def add_gaussian(image: F32, x: float, y: float, flux: float, xx: float, xy: float, yy: float, floor: float) -> None:
    """Add one Gaussian of total `flux` and covariance (xx, xy, yy), out to where it falls below `floor` a pixel.

    Along a row its logarithm is a parabola: each pixel is the last one times a factor, which itself shrinks by a constant one.
    """
    det = xx * yy - xy * xy
    peak = flux / (2 * np.pi * np.sqrt(det))
    if abs(peak) <= floor:
        return
    depth = 2 * np.log(abs(peak) / floor)
    wide, high = np.sqrt(depth * xx), np.sqrt(depth * yy)
    a, b, c = yy / det, -xy / det, xx / det
    shrink = np.exp(-a)
    height, width = image.shape
    first, last = max(0, int(np.ceil(x - wide))), min(width, int(np.floor(x + wide)) + 1)
    dx = first - x
    for j in range(max(0, int(np.ceil(y - high))), min(height, int(np.floor(y + high)) + 1)):
        dy = j - y
        value = peak * np.exp(-0.5 * (a * dx * dx + 2 * b * dx * dy + c * dy * dy))
        factor = np.exp(-a * (dx + 0.5) - b * dy)
        for i in range(first, last):
            image[j, i] += value
            value *= factor
            factor *= shrink


@compiled
def _paint(
    image: F32,
    x: npt.NDArray[np.float64],
    y: npt.NDArray[np.float64],
    flux: npt.NDArray[np.float64],
    radius: npt.NDArray[np.float64],
    ratio: npt.NDArray[np.float64],
    angle: npt.NDArray[np.float64],
    bulge: npt.NDArray[np.bool_],
    sigma: float,
    floor: float,
    disc: npt.NDArray[np.float64],
    spheroid: npt.NDArray[np.float64],
    psf: npt.NDArray[np.float64],
) -> None:
    """Add sources to an image: stars where `radius` is 0, galaxies of that half-light radius [pixel] elsewhere."""
    v = sigma * sigma
    mean = 0.0  # in loops: expressions of whole arrays take the compiler 4 s
    for q in range(psf.shape[1]):
        mean += psf[0, q] * psf[1, q]
    mean *= v
    for k in range(len(x)):
        if radius[k] <= 0:
            for q in range(psf.shape[1]):
                u = psf[1, q] * v
                add_gaussian(image, x[k], y[k], psf[0, q] * flux[k], u, 0.0, u, floor)
            if flux[k] > SPIKE:  # diffraction along the rows
                add_gaussian(image, x[k], y[k], 0.002 * flux[k], 60.0, 0.0, 0.7 * v, floor)
                add_gaussian(image, x[k], y[k], 0.001 * flux[k], 400.0, 0.0, 0.7 * v, floor)
            continue
        mixture = spheroid if bulge[k] else disc
        c, s = np.cos(angle[k]), np.sin(angle[k])
        for m in range(mixture.shape[1]):
            long = mixture[1, m] * radius[k] ** 2
            short = long * ratio[k] ** 2
            xx, yy, xy = long * c * c + short * s * s, long * s * s + short * c * c, (long - short) * c * s
            if short > BLURRED * v:
                add_gaussian(image, x[k], y[k], mixture[0, m] * flux[k], xx + mean, xy, yy + mean, floor)
                continue
            for q in range(psf.shape[1]):
                u = psf[1, q] * v
                add_gaussian(image, x[k], y[k], psf[0, q] * mixture[0, m] * flux[k], xx + u, xy, yy + u, floor)


def _sources(
    image: F32, scene: Scene, *, flux: npt.NDArray[np.float64], at: tuple[float, float], fwhm: float, floor: float, pixel: float
) -> None:
    x, y = at[0] + scene.dx / pixel, at[1] + scene.dy / pixel
    radius = np.where(scene.galaxy, scene.radius / pixel, 0.0)
    sigma = fwhm / pixel / 2.3548
    _paint(image, x, y, flux, radius, scene.axis_ratio, scene.angle, scene.bulge, sigma, floor, EXPONENTIAL, DE_VAUCOULEURS, PSF)


def _points(
    image: F32, x: npt.NDArray[np.float64], *, y: npt.NDArray[np.float64], flux: npt.NDArray[np.float64], sigma: float, floor: float
) -> None:
    zero = np.zeros(len(x))
    _paint(image, x, y, flux, zero, zero + 1, zero, zero > 1, sigma, floor, EXPONENTIAL, DE_VAUCOULEURS, PSF)


def zero_point(alert: Alert) -> float:
    """Of the science image [mag]: a flux of 1 µJy is 10^(0.4 (zp - 23.9)) counts."""
    o = alert.observed
    band = band_of(alert)
    return ZERO_POINT[band] + 0.03 * float(np.sin(o.index * 12.9898 + alert.now * 78.233)) if o.survey == "ztf" else 31.4


def stamps(alert: Alert, scene: Scene, *, context: dict[str, object]) -> tuple[F32, tuple[int, int, int, int]]:
    """The three images of one alert.

    Returns
    -------
    images : (3, S, S) science, template, difference; NaN where bad or outside
    box : rows and columns (y0, y1, x0, x1) that lie on the chip: what a packet holds
    """
    o, now = alert.observed, alert.now
    rng = generator(o.population, o.seed, o.index, 17, now)
    rubin = o.survey == "lsst"
    pixel = 1.0 if rubin else PIXEL
    zp = zero_point(alert)
    counts = 10 ** (0.4 * (zp - 23.9))
    limit, fwhm = float(o.visits.limit[now]), WIDER * float(o.visits.fwhm[now])
    if rubin:
        background, sigma_sky = 0.0, float(10 ** (0.4 * (31.4 - limit)) / 5 / 2.6)
        sigma_template = 0.2 * sigma_sky
    else:
        background = SKY[band_of(alert)] * float(rng.lognormal(0, 0.15))
        dark = float(np.sqrt(background / GAIN + READ_NOISE**2))
        stated = 10 ** (0.4 * (zp - limit)) / (5 * APERTURE * fwhm / PIXEL) * float(rng.lognormal(0, 0.1))
        sigma_sky = min(max(stated, 0.97 * dark), 60.0)
        sigma_template = 0.21 * float(np.sqrt(dark * sigma_sky) * rng.lognormal(0, 0.12))
    at = (CENTRE + float(rng.uniform(-0.5, 0.5)), CENTRE + float(rng.uniform(-0.5, 0.5)))
    # the alert's position is where the change is seen: what stands still lies off it by the position's error, as in the catalogue matches
    shift = position_error(alert) / pixel
    still = (at[0] + float(shift[0]), at[1] + float(shift[1]))
    floor = 0.02 * sigma_sky
    flux = scene.flux(float(o.visits.wavelength[now])) * counts
    near = (np.abs(scene.dx) < 36) & (np.abs(scene.dy) < 36) | (scene.mag_r < 14)
    part = Scene(*(getattr(scene, name)[near] for name in Scene.__slots__))
    static, template = np.zeros((RAW_STAMP, RAW_STAMP), np.float32), np.zeros((RAW_STAMP, RAW_STAMP), np.float32)
    _sources(static, part, flux=flux[near], at=still, fwhm=fwhm, floor=floor, pixel=pixel)
    _sources(
        template,
        part,
        flux=flux[near],
        at=still,
        fwhm=(2.05 if not rubin else 0.85) * float(rng.lognormal(0, 0.06)),
        floor=0.2 * floor,
        pixel=pixel,
    )

    change = np.zeros((RAW_STAMP, RAW_STAMP), np.float32)
    sign = 1.0 if o.flux[now] >= 0 else -1.0
    _target(change, rng, alert=alert, flux=float(o.flux[now]) * counts, at=at, sigma=fwhm / pixel / 2.3548, floor=floor)
    noise = rng.standard_normal((2, RAW_STAMP, RAW_STAMP), dtype=np.float32)
    if not rubin:
        tap = float(np.clip(rng.normal(*READOUT), -0.2, 0.1))
        _filter(noise[0], np.array([1.0, tap]), np.ones(1))
        taps = np.array(RESAMPLED) + rng.normal(0, 0.012)
        kernel = np.concatenate([taps[::-1], [1.0], taps])
        _filter(noise[1], kernel, kernel)
    gain = GAIN if not rubin else 0.01
    noise[0] *= np.sqrt(sigma_sky**2 + np.maximum(static + change, 0) / gain)
    noise[1] *= np.sqrt(sigma_template**2 + template / gain / 15)
    residual = _residual(rng, alert, static=static, sigma=sigma_sky)
    artefact = _artefact(rng, alert, at=at, sigma=sigma_sky, counts=counts)
    science = background + static + change + noise[0] + artefact
    reference = background + template + noise[1]
    difference = sign * (change + noise[0] - noise[1] + residual + artefact)
    if not rubin:
        saturated = science > SATURATION
        science, reference = np.minimum(science, SATURATION), np.minimum(reference, SATURATION)
        difference[saturated] = rng.normal(0, 300, int(saturated.sum()))
    images = np.stack([science, reference, difference]).astype(np.float32)
    if not rubin:
        _mask_cores(images, rng, scene=part, flux=flux[near], at=still)
    return images, _cut(rng, images, context=context, rubin=rubin)


@compiled
def _filter(noise: F32, along: npt.NDArray[np.float64], across: npt.NDArray[np.float64]) -> None:
    """Give white noise of variance 1 a covariance, in place: convolve its rows with one filter, its columns with another, periodically."""
    height, width = noise.shape
    rows, columns = 0.0, 0.0
    for tap in along:
        rows += tap * tap
    for tap in across:
        columns += tap * tap
    scale = 1 / np.sqrt(rows * columns)
    line = np.empty(max(height, width))
    for j in range(height):
        for i in range(width):
            line[i] = noise[j, i]
        for i in range(width):
            total = 0.0
            for k in range(len(along)):
                total += along[k] * line[(i + k) % width]
            noise[j, i] = total * scale
    if len(across) == 1:
        return
    for i in range(width):
        for j in range(height):
            line[j] = noise[j, i]
        for j in range(height):
            total = 0.0
            for k in range(len(across)):
                total += across[k] * line[(j + k) % height]
            noise[j, i] = total


def _target(
    image: F32, rng: np.random.Generator, *, alert: Alert, flux: float, at: tuple[float, float], sigma: float, floor: float
) -> None:
    """The alert's own light: a point, an asteroid's trail, or, for an artefact, nothing."""
    o = alert.observed
    if o.label == "bogus":
        if o.source.kind == "noise":
            _points(image, np.array([at[0]]), y=np.array([at[1]]), flux=np.array([0.8 * flux]), sigma=0.75 * sigma, floor=floor)
        return
    length = o.source.motion * 30 / 3600 / PIXEL
    if length < 0.2:
        _points(image, np.array([at[0]]), y=np.array([at[1]]), flux=np.array([flux]), sigma=sigma, floor=floor)
        return
    angle = rng.uniform(0, np.pi)
    steps = np.linspace(-0.5, 0.5, max(3, int(length) + 2)) * length
    _points(
        image,
        at[0] + steps * np.cos(angle),
        y=at[1] + steps * np.sin(angle),
        flux=np.full(len(steps), flux / len(steps)),
        sigma=sigma,
        floor=floor,
    )


def _residual(rng: np.random.Generator, alert: Alert, *, static: F32, sigma: float) -> F32:
    """What subtraction leaves of static sources: the gradient times a registration error, and a mismatch of the seeing in bright cores."""
    o = alert.observed
    dipole = o.label == "bogus" and o.source.kind == "dipole"
    error = rng.uniform(0.12, 0.5) if dipole else abs(rng.normal(0, 0.025))
    angle = rng.uniform(0, 2 * np.pi)
    gy, gx = np.gradient(static)
    out: F32 = error * (np.cos(angle) * gx + np.sin(angle) * gy)
    core = np.maximum(static - 40 * sigma, 0)
    wobble = 0.35 if o.label == "bogus" and o.source.kind == "bright-star" else 0.05
    if core.any():
        ring = np.gradient(gx, axis=1) + np.gradient(gy, axis=0)
        out = out + rng.normal(0, wobble) * ring * (core > 0) + rng.normal(0, 0.12 * wobble, static.shape) * core
    return out.astype(np.float32)


def _artefact(rng: np.random.Generator, alert: Alert, *, at: tuple[float, float], sigma: float, counts: float) -> F32:
    """Cosmic rays, hot pixels and bad columns: sharper than any star."""
    o = alert.observed
    image = np.zeros((RAW_STAMP, RAW_STAMP), np.float32)
    if o.label != "bogus" or o.source.kind not in ("cosmic-ray", "hot-pixel", "bad-column"):
        return image
    peak = float(o.source.extra["sign"]) * max(abs(float(o.flux[alert.now])) * counts, 12 * sigma)
    x, y = round(at[0]), round(at[1])
    if o.source.kind == "hot-pixel":
        image[y, x] = 0.8 * peak
        image[y, x + int(rng.integers(-1, 2))] += 0.2 * peak
    elif o.source.kind == "cosmic-ray":
        angle, length = rng.uniform(0, np.pi), rng.exponential(2.5)
        for step in np.arange(-length / 2, length / 2 + 0.5, 0.5):
            image[round(y + step * np.sin(angle)) % RAW_STAMP, round(x + step * np.cos(angle)) % RAW_STAMP] = (
                peak / (1 + length) * rng.uniform(0.6, 1.6)
            )
    else:
        start, end = sorted(rng.integers(0, RAW_STAMP, 2)) if rng.random() < 0.5 else (0, RAW_STAMP)
        start, end = min(start, y - 2), max(end, y + 3)
        image[start:end, x : x + int(rng.integers(1, 3))] = peak * 0.25 * rng.uniform(0.5, 1.2)
        image[y - 1 : y + 2, x] *= 2
    return image


def _mask_cores(images: F32, rng: np.random.Generator, *, scene: Scene, flux: npt.NDArray[np.float64], at: tuple[float, float]) -> None:
    """Very bright stars are masked by squares, in all three images."""
    for k in np.flatnonzero((flux > MASKED) & ~scene.galaxy):
        half = int(3 + 3 * np.log2(flux[k] / MASKED) + rng.integers(0, 3))
        x, y = round(at[0] + scene.dx[k] / PIXEL), round(at[1] + scene.dy[k] / PIXEL)
        if x + half >= 0 and y + half >= 0:
            images[:, max(0, y - half) : y + half + 1, max(0, x - half) : x + half + 1] = np.nan


def _cut(rng: np.random.Generator, images: F32, *, context: dict[str, object], rubin: bool) -> tuple[int, int, int, int]:
    """Bad pixels become NaN; near the chip's edge (4 % of packets) the cut-out is smaller, and its position on the chip says so."""
    if rubin:
        mask = np.ones((RAW_STAMP, RAW_STAMP), bool)
        mask[CENTRE - 3 : CENTRE + 3, CENTRE - 3 : CENTRE + 3] = False  # 30 pixels of 0.2"
        images[:, mask] = np.nan
        return 0, RAW_STAMP, 0, RAW_STAMP
    x, y = float(rng.uniform(40, 3032)), float(rng.uniform(40, 3040))
    box = [0, RAW_STAMP, 0, RAW_STAMP]
    if rng.random() < 0.04:
        lost = int(rng.integers(1, 30))
        side = int(rng.integers(0, 4))
        if side == 0:
            box[0], y = lost, 32.0 - lost
        elif side == 1:
            box[1], y = RAW_STAMP - lost, 3080.0 - (31 - lost)
        elif side == 2:
            box[2], x = lost, 32.0 - lost
        else:
            box[3], x = RAW_STAMP - lost, 3072.0 - (31 - lost)
        keep = np.zeros((RAW_STAMP, RAW_STAMP), bool)
        keep[box[0] : box[1], box[2] : box[3]] = True
        images[:, ~keep] = np.nan
    elif rng.random() < 0.10:
        # the reference's ragged edge, in steps of some pixels
        steps = np.repeat(rng.integers(1, 29) + rng.integers(-3, 4, 9), 7)[:, None]
        gone = np.broadcast_to(np.arange(RAW_STAMP)[None, :] < steps, (RAW_STAMP, RAW_STAMP))
        gone = np.rot90(gone, int(rng.integers(0, 4)))
        images[:, gone] = np.nan
    context["xpos"], context["ypos"] = x, y
    context["mindtoedge"] = min(x, y, 3072 - x, 3080 - y)
    return box[0], box[1], box[2], box[3]
