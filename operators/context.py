"""Context, measurements, survey scores and folded view → what the encoder sees of an alert besides its light curve and its images.

(n, C), (n, M), (n, S) in the units of `CONTEXT`, `MEASURED`, `SURVEY_SCORES` → (n, 2 N) float32 of the N `SURROUNDINGS`: each value brought
near [-1, 1] and 0 where it is missing, then which ones are there; behind them the V numbers of the folded view (`operators.fold`) and the D
of the dip view (`operators.dips`), zeros where a light curve has none

Every transform is monotone and fixed; nothing is learned from a data set, so nothing drifts with one.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any

import numpy as np

from operators.dips import DIPS
from operators.fold import FOLD, fold_on_host
from operators.namespace import array_namespace
from operators.types import CONTEXT, F32, MEASURED, SURVEY_SCORES, AlertBatch, Array

STAR_SCORE, STAR_DISTANCE, ASTEROID_DISTANCE = 0.9, 1.0, 5.0
"""A catalogue star: star/galaxy score above, its distance below, and no known asteroid nearer [arcsec]."""


def catalogue_star(context: Array) -> Array:
    """Which alerts lie on a star by the catalogue alone; (n, C) → (n,) bool.

    Source: Pan-STARRS star/galaxy scores of Tachibana & Miller 2018 (PASP 130, 128001), as ZTF's packets carry them.
    """
    score, distance, asteroid = (context[:, CONTEXT.index(name)] for name in ("star_galaxy", "source_distance", "solar_system_distance"))
    return (score > STAR_SCORE) & (distance < STAR_DISTANCE) & ~(asteroid < ASTEROID_DISTANCE)  # missing: no asteroid


def _clip(xp: Any, x: Array, *, low: float, high: float) -> Array:
    """The standard's clip; an array of NumPy does it itself, without the detour by which `numpy.clip` takes as long again."""
    return x.clip(low, high) if xp is np else xp.clip(x, low, high)  # type: ignore[attr-defined]


def _share(xp: Any, x: Array) -> Array:
    return 2 * x - 1


def _distance(xp: Any, x: Array) -> Array:
    return xp.log1p(_clip(xp, x, low=0.0, high=1e3)) / 2 - 0.5


def _brightness(xp: Any, x: Array) -> Array:
    return xp.log10(_clip(xp, x, low=1e-2, high=1e8)) / 3 - 0.7


def _signed_brightness(xp: Any, x: Array) -> Array:
    return xp.asinh(x / 5) / 5


def _count(xp: Any, x: Array) -> Array:
    return xp.log1p(_clip(xp, x, low=0.0, high=1e5)) / 3 - 1


def _days(xp: Any, x: Array) -> Array:
    return xp.log1p(_clip(xp, x, low=0.0, high=1e4)) / 4 - 0.7


def _angle(xp: Any, x: Array) -> Array:
    return x / 45 - 1


def _ratio(xp: Any, x: Array) -> Array:
    return xp.asinh(_clip(xp, x, low=-1e4, high=1e4)) / 4 - 0.5


def _redshift(xp: Any, x: Array) -> Array:
    return xp.log10(_clip(xp, x, low=1e-4, high=10.0)) / 2 + 0.5


def _logarithm(xp: Any, x: Array) -> Array:
    return xp.log(_clip(xp, x, low=1e-3, high=1e4)) / 2


def _sharpness(xp: Any, x: Array) -> Array:
    return _clip(xp, x, low=-1.0, high=1.0)


def _error(xp: Any, x: Array) -> Array:
    return xp.log10(_clip(xp, x, low=1e-3, high=1.0)) + 1.5


def _colour(xp: Any, x: Array) -> Array:
    return _clip(xp, x, low=-1.0, high=3.0)


TRANSFORMS: dict[Callable[[Any, Array], Array], tuple[str, ...]] = {
    _share: ("star_galaxy", "positive", "catalogue_star", "catalogue_agn", "catalogue_variable", "drb", "rb", "reliability"),
    _distance: ("source_distance", "reference_distance", "solar_system_distance", "host_distance"),
    _brightness: ("source_flux", "solar_system_flux", "host_flux"),
    _signed_brightness: ("flux",),
    _count: ("n_detections", "n_visits"),
    _days: ("history",),
    _angle: ("galactic_latitude", "ecliptic_latitude"),
    _ratio: ("signal_to_noise",),
    _redshift: ("redshift",),
    _colour: ("host_colour",),
    _logarithm: ("reference_chi",),
    _sharpness: ("reference_sharpness",),
    _error: ("reference_error",),
}
"""Transform → the values that go through it, in the order in which the encoder reads them."""
SURROUNDINGS: tuple[str, ...] = tuple(name for names in TRANSFORMS.values() for name in names)
"""Names of the N values: of `CONTEXT`, `MEASURED` or `SURVEY_SCORES`. The real/bogus score of the context is not among them: it is one
of the survey's scores, which are on scales of their own. Nor is what an encoder that was trained on everything leant on to its harm on real
packets (docs/real-alerts.md): shape and pixel statistics of the detection, colours of the source, flux of the reference."""
_RAW = (*CONTEXT, *MEASURED, *SURVEY_SCORES)
_PLACES = tuple((transform, np.array([_RAW.index(name) for name in names])) for transform, names in TRANSFORMS.items())
_ORDER = np.concatenate([places for _, places in _PLACES])
N_CONTEXT = 2 * len(SURROUNDINGS) + len(FOLD) + len(DIPS)
"""Width of what `context` gives."""


def context(batch: AlertBatch, *, dips: F32 | None = None, folded: Mapping[int, F32] | None = None) -> Array:
    """Surroundings, folded view and dip view.

    Parameters
    ----------
    batch : AlertBatch
    dips : (n, len(DIPS)) float32, optional
        On the host, as `folded`; None: zeros.
    folded : row → (len(FOLD),), optional
        Of whole light curves: in the place of what the row's points give.

    Returns
    -------
    (n, N_CONTEXT) float32 array of the batch's namespace.
    """
    xp = array_namespace(batch.context)
    views = fold_on_host(batch)
    if folded:
        views[list(folded)] = np.stack(list(folded.values()))
    if dips is None:
        dips = np.zeros((len(batch), len(DIPS)), dtype=np.float32)
    return xp.concat([surroundings(batch), xp.asarray(views), xp.asarray(dips)], axis=1)


def surroundings(batch: AlertBatch) -> Array:
    """Scale the values and say which are there.

    Returns
    -------
    (n, 2 N) float32 array of the batch's namespace.
    """
    xp = array_namespace(batch.context)
    raw = _raw(batch, xp)
    present = xp.isfinite(raw)
    filled = xp.where(present, raw, xp.asarray(0.0, dtype=xp.float32))
    scaled = xp.concat([transform(xp, _columns(xp, filled, places=places)) for transform, places in _PLACES], axis=1)
    shown = xp.astype(_columns(xp, present, places=_ORDER), xp.float32)
    return xp.concat([_clip(xp, xp.astype(scaled, xp.float32), low=-4.0, high=4.0) * shown, shown], axis=1)


def _columns(xp: Any, values: Array, *, places: Any) -> Array:
    """Some columns, contiguous in rows."""
    return values.take(places, axis=1) if xp is np else xp.take(values, xp.asarray(places), axis=1)  # type: ignore[attr-defined]


def _raw(batch: AlertBatch, xp: Any) -> Array:
    """(n, W) float32 in the order of `_RAW`; what an alert that is not a packet has none of is missing."""
    n = batch.context.shape[0]
    measured, scores = (
        xp.full((n, len(names)), xp.nan, dtype=xp.float32) if values is None else values
        for values, names in ((batch.measured, MEASURED), (batch.survey_scores, SURVEY_SCORES))
    )
    return xp.concat([batch.context, measured, scores], axis=1)
