"""Points of any survey → one sorted light curve without duplicates.

in → m points in any order: time, wavelength, rank, whether the source shows, flux, error, limit
out → row i of the batch's light-curve columns, filled, padded; the true number of detections; whether the row reaches back to the first

`select` looks at times, bands and ranks of all points and picks those that stay; what costs more (magnitudes to fluxes) a survey does
for the picked ones only, before `write`. So a history of thousands of points costs little more than the window that is kept of it.
"""

from __future__ import annotations

import numpy as np

from operators.kernels.compiled import compiled
from operators.kernels.order import stable_order

LIMIT, FORCED, DETECTION, OWN = 0.0, 1.0, 2.0, 3.0
"""Rank of a point: of two at the same time in the same band the higher one stays; OWN is the detection that the alert is about."""
SAME_TIME = 1e-4
"""[d]: two points of one band nearer than this (9 s, less than an exposure) are one measurement."""
REACH = 1.0
"""[d]: a light curve reaches back to the first detection if it begins at most this much later."""
SIGNIFICANT = 5.0
"""Signal to noise from which a forced measurement counts as detected."""

TIME, WAVELENGTH, RANK, SHOWN, FLUX, ERROR, LIMITS = range(7)
"""Rows of the (7, m) points."""
ROWS = 7


@compiled
def put(points, m, time, wavelength, flux, error, limit, rank):  # type: ignore[no-untyped-def] # pragma: no cover
    """Append a point; the number of points. Flux and error may have any unit yet, if both have the same."""
    points[TIME, m] = time
    points[WAVELENGTH, m] = wavelength
    points[RANK, m] = rank
    points[SHOWN, m] = 1.0 if rank >= DETECTION or abs(flux) >= SIGNIFICANT * error else 0.0
    points[FLUX, m] = flux
    points[ERROR, m] = error
    points[LIMITS, m] = limit
    return m + 1


@compiled
def select(points, m, first_known, here):  # type: ignore[no-untyped-def] # pragma: no cover
    """Sort m points (ROWS, ≥ m) and drop duplicates.

    first_known : [d] the survey's own first detection, NaN if it gives none.
    here : [d] the alert's own time. A point later than it (an archive that puts a whole history into each packet) is left out: what was
    not known then must not speak.

    Returns the kept indices in time order (only the first so many count), how many, how many of them show the source, and the earlier
    of first_known and of the earliest detection.
    """
    order = stable_order(points[TIME], m)
    kept = np.empty(m, np.int64)
    k = 0
    shown = 0
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
                    shown -= int(points[SHOWN, q])
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
            shown += int(points[SHOWN, p])
    return kept, k, shown, earliest


@compiled
def write(points, kept, begin, end, i, time, wavelength, flux, flux_err, limit, detected, valid):  # type: ignore[no-untyped-def] # pragma: no cover
    """Fill row i of the (n, T) columns with the points kept[begin:end], at most T of them, and pad it."""
    length = time.shape[1]
    used = end - begin
    for j in range(used):
        p = kept[begin + j]
        time[i, j] = points[TIME, p]
        wavelength[i, j] = points[WAVELENGTH, p]
        valid[i, j] = True
        detected[i, j] = points[SHOWN, p] > 0
        if points[RANK, p] == LIMIT:
            flux[i, j] = np.nan
            flux_err[i, j] = np.nan
            limit[i, j] = points[LIMITS, p]
        else:
            flux[i, j] = points[FLUX, p]
            flux_err[i, j] = points[ERROR, p]
            limit[i, j] = np.nan
    for j in range(used, length):
        time[i, j] = np.nan
        wavelength[i, j] = np.nan
        flux[i, j] = np.nan
        flux_err[i, j] = np.nan
        limit[i, j] = np.nan
        detected[i, j] = False
        valid[i, j] = False


@compiled
def settle(points, m, i, first_known, here, time, wavelength, flux, flux_err, limit, detected, valid, first, truncated):  # type: ignore[no-untyped-def] # pragma: no cover
    """Write m points that have their units already into row i; of more than T points the latest stay. The number that show the source.

    first (n,) becomes the earlier of first_known and of the packet's earliest detection, truncated (n,) states that the row begins more
    than `REACH` after it.
    """
    kept, k, shown, earliest = select(points, m, first_known, here)
    begin = max(0, k - time.shape[1])
    write(points, kept, begin, k, i, time, wavelength, flux, flux_err, limit, detected, valid)
    first[i] = earliest
    truncated[i] = k > begin and time[i, 0] > earliest + REACH
    return shown
