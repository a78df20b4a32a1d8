"""Context values and folded view → what the encoder sees of an alert besides its light curve and its images.

(n, C) in the units of `CONTEXT` → (n, 2 C) float32: each value brought near [-1, 1] and 0 where it is missing, then which ones are there;
behind them the V numbers of the folded view (`operators.fold`), zeros where a light curve has none

Every transform is monotone and fixed; nothing is learned from a data set, so nothing drifts with one.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from operators.fold import FOLD, fold
from operators.namespace import array_namespace
from operators.types import CONTEXT, AlertBatch, Array

STAR_SCORE, STAR_DISTANCE, ASTEROID_DISTANCE = 0.9, 1.0, 5.0
"""A catalogue star: star/galaxy score above, its distance below, and no known asteroid nearer [arcsec]."""


def catalogue_star(context: Array) -> Array:
    """Which alerts lie on a star by the catalogue alone; (n, C) → (n,) bool.

    Source: Pan-STARRS star/galaxy scores of Tachibana & Miller 2018 (PASP 130, 128001), as ZTF's packets carry them.
    """
    score, distance, asteroid = (context[:, CONTEXT.index(name)] for name in ("star_galaxy", "source_distance", "solar_system_distance"))
    return (score > STAR_SCORE) & (distance < STAR_DISTANCE) & ~(asteroid < ASTEROID_DISTANCE)  # missing: no asteroid


def _share(xp: Any, x: Array) -> Array:
    return 2 * x - 1


def _distance(xp: Any, x: Array) -> Array:
    return xp.log1p(xp.clip(x, 0.0, 1e3)) / 2 - 0.5


def _brightness(xp: Any, x: Array) -> Array:
    return xp.log10(xp.clip(x, 1e-2, 1e8)) / 3 - 0.7


def _signed_brightness(xp: Any, x: Array) -> Array:
    return xp.asinh(x / 5) / 5


def _count(xp: Any, x: Array) -> Array:
    return xp.log1p(xp.clip(x, 0.0, 1e5)) / 3 - 1


def _days(xp: Any, x: Array) -> Array:
    return xp.log1p(xp.clip(x, 0.0, 1e4)) / 4 - 0.7


def _angle(xp: Any, x: Array) -> Array:
    return x / 45 - 1


def _width(xp: Any, x: Array) -> Array:
    return xp.clip(x, 0.0, 15.0) / 3 - 1


def _shape(xp: Any, x: Array) -> Array:
    return xp.log(xp.clip(x, 1.0, 100.0))


def _ratio(xp: Any, x: Array) -> Array:
    return xp.asinh(xp.clip(x, -1e4, 1e4)) / 4 - 0.5


def _redshift(xp: Any, x: Array) -> Array:
    return xp.log10(xp.clip(x, 1e-4, 10.0)) / 2 + 0.5


TRANSFORMS: dict[str, Callable[[Any, Array], Array]] = {
    "real_bogus": _share,
    "star_galaxy": _share,
    "source_distance": _distance,
    "source_flux": _brightness,
    "reference_distance": _distance,
    "reference_flux": _brightness,
    "solar_system_distance": _distance,
    "solar_system_flux": _brightness,
    "positive": _share,
    "n_detections": _count,
    "n_visits": _count,
    "history": _days,
    "galactic_latitude": _angle,
    "ecliptic_latitude": _angle,
    "fwhm": _width,
    "elongation": _shape,
    "flux": _signed_brightness,
    "signal_to_noise": _ratio,
    "redshift": _redshift,
}


N_CONTEXT = 2 * len(CONTEXT) + len(FOLD)
"""Width of what `context` gives."""


def context(batch: AlertBatch) -> Array:
    """Surroundings and folded view.

    Returns
    -------
    (n, N_CONTEXT) float32 array of the batch's namespace.
    """
    return array_namespace(batch.context).concat([surroundings(batch), fold(batch)], axis=1)


def surroundings(batch: AlertBatch) -> Array:
    """Scale the context columns and say which are there.

    Returns
    -------
    (n, 2 C) float32 array of the batch's namespace.
    """
    xp = array_namespace(batch.context)
    values = batch.context
    present = xp.isfinite(values)
    zero = xp.asarray(0.0, dtype=xp.float32)
    filled = xp.where(present, values, zero)
    scaled = xp.stack([TRANSFORMS[name](xp, filled[:, i]) for i, name in enumerate(CONTEXT)], axis=1)
    scaled = xp.clip(xp.where(present, scaled, zero), -4.0, 4.0)
    return xp.astype(xp.concat([scaled, xp.astype(present, scaled.dtype)], axis=1), xp.float32)
