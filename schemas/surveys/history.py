"""Points of any survey → one sorted light curve without doubles.

in → m points in any order: time, wavelength, flux, error, limit, rank
out → row i of the batch's light-curve columns, filled, padded, and whether it reaches back to the first detection
"""

from __future__ import annotations

import numpy as np

from operators.kernels.compiled import compiled

LIMIT, FORCED, DETECTION, OWN = 0.0, 1.0, 2.0, 3.0
"""Rank of a point: of two at the same time in the same band the higher one stays; OWN is the detection that the alert is about."""
SAME_TIME = 1e-4
"""[d]: two points of one band nearer than this (9 s, less than an exposure) are one measurement."""
REACH = 1.0
"""[d]: a light curve reaches back to the first detection if it begins at most this much later."""
SIGNIFICANT = 5.0
"""Signal to noise from which a forced measurement counts as detected."""

TIME, WAVELENGTH, FLUX, ERROR, LIMITS, RANK = range(6)
"""Rows of the (6, m) points."""


@compiled
def put(points, m, time, wavelength, flux, error, limit, rank):  # type: ignore[no-untyped-def] # pragma: no cover
    """Append a point; the number of points."""
    points[TIME, m] = time
    points[WAVELENGTH, m] = wavelength
    points[FLUX, m] = flux
    points[ERROR, m] = error
    points[LIMITS, m] = limit
    points[RANK, m] = rank
    return m + 1


@compiled
def settle(points, m, i, first_known, here, time, wavelength, flux, flux_err, limit, detected, valid, first, truncated):  # type: ignore[no-untyped-def] # pragma: no cover
    """Write m points (6, ≥ m) into row i of the (n, T) columns; of more than T points the latest stay.

    first_known : [d, TAI] the survey's own first detection, NaN if it gives none; first (n,) becomes the earlier of it and of the
    packet's earliest detection, truncated (n,) tells that the row begins more than `REACH` after it.
    here : [d, TAI] the alert's own time. A point later than it (an archive that puts a whole history into each packet) is left out: what
    was not known then must not speak.
    """
    length = time.shape[1]
    order = np.argsort(points[TIME, :m], kind="mergesort")
    kept = np.empty(m, np.int64)
    k = 0
    earliest = first_known
    for j in range(m):
        p = order[j]
        t = points[TIME, p]
        if t > here + SAME_TIME:
            break
        if points[RANK, p] >= DETECTION and not earliest <= t:
            earliest = t
        keep = True
        back = k - 1
        while back >= 0 and t - points[TIME, kept[back]] < SAME_TIME:
            q = kept[back]
            if points[WAVELENGTH, q] == points[WAVELENGTH, p]:
                if points[RANK, p] > points[RANK, q]:  # the earlier one goes; those of other bands in between close up
                    for move in range(back, k - 1):
                        kept[move] = kept[move + 1]
                    k -= 1
                else:
                    keep = False
                break
            back -= 1
        if keep:
            kept[k] = p
            k += 1
    start = max(0, k - length)
    used = k - start
    for j in range(used):
        p = kept[start + j]
        rank = points[RANK, p]
        time[i, j] = points[TIME, p]
        wavelength[i, j] = points[WAVELENGTH, p]
        valid[i, j] = True
        if rank == LIMIT:
            flux[i, j] = np.nan
            flux_err[i, j] = np.nan
            limit[i, j] = points[LIMITS, p]
            detected[i, j] = False
        else:
            flux[i, j] = points[FLUX, p]
            flux_err[i, j] = points[ERROR, p]
            limit[i, j] = np.nan
            detected[i, j] = rank >= DETECTION or abs(points[FLUX, p]) >= SIGNIFICANT * points[ERROR, p]
    for j in range(used, length):
        time[i, j] = np.nan
        wavelength[i, j] = np.nan
        flux[i, j] = np.nan
        flux_err[i, j] = np.nan
        limit[i, j] = np.nan
        detected[i, j] = False
        valid[i, j] = False
    first[i] = earliest
    truncated[i] = used > 0 and time[i, 0] > earliest + REACH
