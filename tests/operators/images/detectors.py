"""Frames of a made-up detector, and images with stars and cosmic rays whose place is known."""

from __future__ import annotations

import dataclasses
from collections.abc import Callable
from typing import Any

import numpy as np

from operators.images.planes import BAD, Masters, RawFrame, Readout
from operators.namespace import to_host

GAIN, READ_NOISE, EXPOSURE = 1.7, 5.0, 30.0


def to_numpy(array: Any) -> Any:
    return np.asarray(to_host(array))


def frame(electrons: Any, masters: Masters, *, dtype: Any = np.uint16, seed: int = 0, columns: int = 24, border: int = 2) -> RawFrame:
    """A raw frame of that light: what a detector with those masters makes of it, with noise, between a border and an overscan."""
    rng = np.random.default_rng(seed)
    h, w = electrons.shape
    flat = 1 / np.where(masters.inverse_flat > 0, masters.inverse_flat, 1)
    adu = (rng.poisson(electrons * flat) + rng.poisson(np.nan_to_num(masters.dark) * EXPOSURE * GAIN)) / GAIN
    data = np.zeros((h + 2 * border, w + columns))
    data[border : border + h, :w] = adu + masters.bias
    data += rng.normal(0, READ_NOISE / GAIN, data.shape) + 1000 + 3 * rng.standard_normal((len(data), 1))
    whole = np.clip(np.rint(data), 0, 65535) if np.issubdtype(dtype, np.integer) else data
    trim, overscan = (border, border + h, 0, w), (0, h + 2 * border, w, w + columns)
    readout = Readout(GAIN, READ_NOISE, 60_000.0, trim, overscan)
    return RawFrame(whole.astype(dtype), readout, "science", "f1", "ccd1", "r", EXPOSURE, 60_000.0)


def masters(h: int, w: int, *, seed: int = 1) -> Masters:
    rng = np.random.default_rng(seed)
    flat = rng.normal(1, 0.02, (h, w))
    dark = rng.gamma(4, 0.025, (h, w))
    bad = np.zeros((h, w), np.uint8)
    bad[h // 2, w // 3] = BAD
    return Masters(rng.normal(0, 2, (h, w)).astype(np.float32), dark.astype(np.float32), (1 / flat).astype(np.float32), bad, ("a", "b"))


def moved(raw: RawFrame, of: Masters, change: Callable[[Any], Any]) -> tuple[RawFrame, Masters]:
    planes = {name: change(getattr(of, name)) for name in ("bias", "dark", "inverse_flat", "bad")}
    return dataclasses.replace(raw, data=change(raw.data)), dataclasses.replace(of, **planes)


def sky_with_stars(n: int, *, seed: int, sky: float = 200.0, sigma: float = 1.3, stars: int | None = None, brightest: float = 5.5) -> Any:
    """(n, n) expected electrons."""
    rng = np.random.default_rng(seed)
    image = np.full((n, n), sky)
    y, x = np.mgrid[-12:13, -12:13]
    for _ in range(stars if stars is not None else n * n // 2000):
        at = rng.uniform(14, n - 14, 2)
        i, j = at.astype(int)
        psf = np.exp(-((y - at[0] + i) ** 2 + (x - at[1] + j) ** 2) / 2 / sigma**2)
        image[i - 12 : i + 13, j - 12 : j + 13] += 10 ** rng.uniform(2.5, brightest) * psf / psf.sum()
    return image


def with_cosmic_rays(image: Any, *, seed: int, rays: int | None = None) -> tuple[Any, Any]:
    """An image with straight tracks, and where they are: (n, n), (n, n) bool."""
    rng = np.random.default_rng(seed)
    n = len(image)
    hit = np.zeros(image.shape, np.bool_)
    out = image.copy()
    for _ in range(rays if rays is not None else n * n // 4000):
        y, x = rng.integers(3, n - 3, 2)
        angle, charge = rng.uniform(0, np.pi), 10 ** rng.uniform(2.7, 4)
        for k in range(rng.integers(1, 12)):
            i, j = int(y + k * np.sin(angle)), int(x + k * np.cos(angle))
            if 3 <= i < n - 3 and 3 <= j < n - 3:
                out[i, j] += charge * rng.uniform(0.5, 1.5)
                hit[i, j] = True
    return out, hit


def noisy(image: Any, *, seed: int, read_noise: float = READ_NOISE) -> Any:
    rng = np.random.default_rng(seed)
    return (rng.poisson(image) + rng.normal(0, read_noise, image.shape)).astype(np.float32)
