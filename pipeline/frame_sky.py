"""The sky, its noise and the stars of a calibrated image: what is measured before anything is subtracted.

Calibrated (h, w) → `Seen`
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from functools import lru_cache

import numpy as np

from data.frames.sky_positions import SkyMap, sky_map
from operators.images.background import background
from operators.images.planes import Calibrated, Stars
from operators.images.stars import empty, stars
from operators.namespace import array_namespace, to_host
from operators.types import Array

BOX = 64
"""Side of a box of the sky [pixel]."""
STEP = 2
"""Every how many pixels in both directions the sky is looked at: a box keeps a thousand, and the level its hundredths of the noise."""


@dataclass(frozen=True, slots=True)
class Seen:
    """Sky and stars of an image."""

    sky: float
    """Median level [e-/pixel]; NaN: no part shows the sky."""
    noise: float
    """1 sigma of the sky's pixels [e-]."""
    stars: Stars
    image: Array | None = None
    """(h, w) float32 [e-], sky subtracted; None: no sky."""


def seen_in(planes: Calibrated) -> Seen:
    """Measure sky and stars."""
    level, noise, _ = background(planes.science[::STEP, ::STEP], planes.mask[::STEP, ::STEP], box=BOX // STEP)
    if not (math.isfinite(noise) and noise > 0):
        return Seen(math.nan, math.nan, empty())
    image = planes.science - _spread(level, planes.science.shape)
    sky = float(np.median(np.asarray(to_host(level))[::4, ::4]))
    return Seen(sky, noise, stars(image, noise, mask=planes.mask), image)


def _spread(level: Array, shape: tuple[int, ...]) -> Array:
    """Every value of a level on the pixels it stands for: from one to the next it changes by far less than the noise."""
    xp = array_namespace(level)
    return xp.repeat(xp.repeat(level, STEP, axis=0), STEP, axis=1)[: shape[0], : shape[1]]


@lru_cache(maxsize=64)
def sky_of(cards: str | None, shape: tuple[int, ...]) -> SkyMap | None:
    """Where the pixels of an image lie on the sky; read once a header, which costs more than all its use."""
    return sky_map(cards, shape)
