"""Columns of a light curve → the JSON that the service scores."""

from __future__ import annotations

import math
from collections.abc import Iterable
from typing import Any


def light_curve(
    survey: str, *, ra: float, dec: float, mjd: Iterable[float], band: str | Iterable[str], flux: Iterable[float],
    flux_err: Iterable[float], **more: Any,
) -> dict[str, Any]:  # fmt: skip
    """Make a light curve of columns: lists, arrays, columns of a table.

    Parameters
    ----------
    survey : str
        Whose bands: ztf, lsst or tess.
    ra, dec : float
        ICRS [deg].
    mjd : iterable of float
        Mid-exposure, TAI [d]. The last one in time is scored.
    band : str or iterable of str
    flux, flux_err : iterable of float
        Difference flux, signed, and its 1 sigma error [µJy]; of TESS the star's whole flux.
    **more
        object_id, candid (as text), real_bogus, magnitude, sector.

    Raises
    ------
    ValueError
        The columns are not of one length, or hold what is not a number.
    """
    times, fluxes, errors = ([float(value) for value in column] for column in (mjd, flux, flux_err))
    bands = band if isinstance(band, str) else [str(value) for value in band]
    if len({len(times), len(fluxes), len(errors), len(times) if isinstance(bands, str) else len(bands)}) > 1:
        raise ValueError("mjd, band, flux and flux_err have one length")
    if not all(math.isfinite(value) for column in (times, fluxes, errors) for value in column):
        raise ValueError("a light curve has finite numbers alone: leave out the points that have none")
    made = {"survey": survey, "ra": float(ra), "dec": float(dec), "mjd": times, "band": bands, "flux": fluxes, "flux_err": errors}
    return {**made, **{name: value for name, value in more.items() if value is not None}}
