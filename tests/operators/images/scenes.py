"""Two images of one field with known truth: winged PSFs that change over the frame, hosts, a crowd, saturation that bleeds, a dither."""

from __future__ import annotations

from dataclasses import dataclass, field

import numpy as np

from operators.images.planes import BAD, COSMIC_RAY, SATURATED, Reference
from operators.images.psf import psf_of
from operators.images.stars import stars

FULL_WELL = 90_000.0


@dataclass(frozen=True)
class Optics:
    """A Moffat profile whose width and elongation change over the frame."""

    fwhm: float = 3.2
    beta: float = 3.0
    widening: float = 0.0  # of the FWHM from the middle to the corner
    elongation: float = 1.0  # at the right edge; 1 in the middle

    def draw(self, image: np.ndarray, y: float, x: float, flux: float) -> None:
        h, w = image.shape
        reach = int(np.clip(6 * (flux / 300) ** 0.25, 8, 120))
        y0, y1 = max(int(y) - reach, 0), min(int(y) + reach + 2, h)
        x0, x1 = max(int(x) - reach, 0), min(int(x) + reach + 2, w)
        if y0 >= y1 or x0 >= x1:
            return
        u, v = 2 * y / h - 1, 2 * x / w - 1
        fwhm = self.fwhm * (1 + self.widening * (u * u + v * v) / 2)
        long = self.elongation ** (v / 2)
        a = fwhm / (2 * np.sqrt(2 ** (1 / self.beta) - 1))
        at = np.array([-1 / 3, 0, 1 / 3])
        yy = ((np.arange(y0, y1)[:, None] + at).ravel() - y) / (a * long)
        xx = ((np.arange(x0, x1)[:, None] + at).ravel() - x) * long / a
        p = (1 + yy[:, None] ** 2 + xx[None, :] ** 2) ** -self.beta
        p = p.reshape(y1 - y0, 3, x1 - x0, 3).mean((1, 3)) * (self.beta - 1) / (np.pi * a * a)
        image[y0:y1, x0:x1] += (flux * p).astype(np.float32)


@dataclass
class Field:
    """What is on the sky, in pixels of the reference and electrons of the new image."""

    stars: np.ndarray  # (k, 3) y, x, flux
    hosts: list[np.ndarray] = field(default_factory=list)  # of (m, 3)
    transients: np.ndarray = field(default_factory=lambda: np.zeros((0, 3)))


def field_of(
    seed: int,
    *,
    size: int = 512,
    n: int = 120,
    hosts: int = 0,
    transients: int = 0,
    brightest: float = 4e5,
    on_hosts: float = 0.5,
    flux: tuple[float, float] = (300.0, 5000.0),
) -> Field:
    rng = np.random.default_rng(seed)
    light = 900 * (1 - rng.random(n)) ** -1.1
    where = rng.random((n, 2)) * (size + 40) - 20
    points = np.column_stack([where, np.minimum(light, brightest)])
    discs = []
    for _ in range(hosts):
        at = 20 + rng.random(2) * (size - 40)
        m, scale, total = 150, rng.uniform(1.5, 5), 10 ** rng.uniform(3.3, 5)
        r = rng.gamma(2, scale, m)
        angle, flat = rng.random(m) * 2 * np.pi, rng.uniform(0.4, 1)
        discs.append(np.column_stack([at[0] + r * np.sin(angle) * flat, at[1] + r * np.cos(angle), np.full(m, total / m)]))
    new: list[tuple[float, float, float]] = []
    while len(new) < transients:
        if hosts and rng.random() < on_hosts:
            disc = discs[rng.integers(hosts)]
            at = disc[:, :2].mean(0) + rng.normal(0, 2.5, 2)
        else:
            at = 25 + rng.random(2) * (size - 50)
        if any(np.hypot(at[0] - y, at[1] - x) < 15 for y, x, _ in new):
            continue  # two within one PSF are another question
        new.append((*at, np.exp(rng.uniform(*np.log(flux)))))
    return Field(points, discs, np.array(new).reshape(-1, 3))


def expose(
    what: Field,
    optics: Optics,
    *,
    size: int,
    sky: float,
    rng: np.random.Generator,
    read: float = 5.0,
    depth: int = 1,
    affine: np.ndarray | None = None,
    gain: float = 1.0,
    transients: bool = False,
    saturate: bool = True,
) -> tuple[np.ndarray, np.ndarray]:
    """Electrons less the sky, mask. `affine` brings the field's pixels to this image's; `gain`: flux here over flux in the field."""
    light = np.zeros((size, size), np.float32)
    lists = [what.stars, *what.hosts] + ([what.transients] if transients else [])
    for y, x, flux in np.concatenate(lists):
        if affine is not None:
            y, x = affine @ (y, x, 1)
        optics.draw(light, y, x, flux * gain)
    mask = np.zeros(light.shape, np.uint8)
    counts = light + sky
    if saturate:
        over = counts > FULL_WELL
        if over.any():
            spilt = np.where(over, counts - FULL_WELL, 0).sum(0)
            for x in np.flatnonzero(spilt):
                rows = np.flatnonzero(over[:, x])
                extra = int(spilt[x] / FULL_WELL / 2) + 2
                mask[max(rows[0] - extra, 0) : rows[-1] + extra + 1, x] |= SATURATED
                counts[max(rows[0] - extra, 0) : rows[-1] + extra + 1, x] = FULL_WELL
    noisy = rng.poisson(counts * depth).astype(np.float32) / depth + rng.normal(0, read / np.sqrt(depth), light.shape).astype(np.float32)
    return (noisy - np.float32(sky)).astype(np.float32), mask


def spoil(image: np.ndarray, mask: np.ndarray, rng: np.random.Generator, *, rays: int = 40, columns: int = 2) -> None:
    """Bad columns, and cosmic rays that were flagged."""
    for x in rng.choice(image.shape[1], columns, replace=False):
        image[:, x] = -500
        mask[:, x] |= BAD
    for y, x in rng.integers(5, image.shape[0] - 5, (rays, 2)):
        image[y, x : x + 3] += 3000
        mask[y, x : x + 3] |= COSMIC_RAY


def reference_of(image: np.ndarray, mask: np.ndarray, noise: float, *, depth: float = 1.0, zero_point: float = 25.0) -> Reference:
    found = stars(image, noise, mask=mask)
    return Reference(image=image, mask=mask, psf=psf_of(image, found), noise=noise, zero_point=zero_point, stars=found, wcs=None,
                     field="f", filter="r", detector="d", depth=depth)  # fmt: skip
