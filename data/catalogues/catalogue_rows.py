"""A table's rows → those of a catalogue: every place is one, no source stands twice.

`Rows` → `Rows`, and how many were left out

A fault is one line that names the first bad rows; nothing of the table is taken then, unless bad rows are to be left out.
"""

from __future__ import annotations

import dataclasses
from typing import Any

import numpy as np
import numpy.typing as npt

from data.catalogues.catalogue_kinds import CatalogueKind
from data.catalogues.catalogue_tables import Rows, pa, pc
from errors import UserError, one_line

SHOWN = 3
"""Bad rows that are named."""
LONGEST_NAME = 100
LONGEST_KIND = 60
FASTEST = 11_000.0
"""Barnard's star moves 10,400 mas/yr; no star is faster."""
DAY = 24.0
HOURS_FROM = 30
"""Rows from which right ascensions below 24 over a wide range of declinations are taken for hours."""
WIDE = 60.0
"""[deg]"""


def checked(rows: Rows, kind: CatalogueKind, *, hours: bool = False, degrees: bool = False, skip_bad: bool = False) -> tuple[Rows, int]:
    """Check rows.

    Parameters
    ----------
    rows : Rows
    kind : CatalogueKind
    hours : bool
        Right ascensions are decimal hours.
    degrees : bool
        They are degrees, though they look like hours.
    skip_bad : bool
        Leave bad rows out, and of a source that stands twice all but the first.

    Raises
    ------
    UserError
    """
    ra, dec = (rows.ra * 15.0 if hours else rows.ra), rows.dec
    if rows.kind is not None and kind.left_out:
        kept = pc.invert(pc.is_in(rows.kind, pa.array(sorted(kind.left_out), rows.kind.type))).to_numpy(zero_copy_only=False)
        rows, ra, dec = _take(rows, kept), ra[kept], dec[kept]
    total = len(ra)
    finite = np.isfinite(ra) & np.isfinite(dec)
    if not finite.any():
        raise UserError("no row has a place: every right ascension or declination is missing")
    beyond = finite & (np.abs(dec) > 90.0)
    if beyond.sum() > 0.2 * total and (np.abs(ra[finite]) <= 90.0).all():
        raise UserError(f"declinations reach {np.abs(dec[finite]).max():.1f}: right ascension and declination are swapped")
    outside = finite & ((ra < 0.0) | (ra > 360.0))
    if not hours and not degrees and _like_hours(ra[finite], dec[finite]):
        raise UserError(
            f"right ascensions end at {ra[finite].max():.2f} while declinations go from {dec[finite].min():.0f} to "
            f"{dec[finite].max():.0f}: they look like hours; say --hours, or --degrees if they are not"
        )
    names = rows.name
    bad = ~finite | beyond | outside
    reasons = [(~finite, "have no place (a missing or not finite ra or dec)"), (beyond, "lie beyond a pole (dec outside -90 to 90)")]
    reasons.append((outside, "have a right ascension outside 0 to 360"))
    fast = np.zeros(total, bool)
    for role in ("pm_ra", "pm_dec"):
        if role in rows.numbers:
            fast |= np.abs(np.nan_to_num(rows.numbers[role])) > FASTEST
    reasons.append((fast, f"move more than {FASTEST:,.0f} mas/yr: proper motions are in mas/yr"))
    unnamed = pc.equal(pc.utf8_length(names), 0).to_numpy(zero_copy_only=False)
    long = pc.greater(pc.utf8_length(names), LONGEST_NAME).to_numpy(zero_copy_only=False)
    reasons += [(unnamed, "have no name"), (long, f"have a name of more than {LONGEST_NAME} characters")]
    bad |= fast | unnamed | long
    twice = ~bad & _repeated(names)
    reasons.append((twice, "have the name of a row before"))
    bad |= twice
    if bad.any() and not skip_bad:
        mask, why = next((mask, why) for mask, why in reasons if mask.any())
        where = np.flatnonzero(mask)
        shown = ", ".join(f"{i + 1} ({one_line(names[int(i)].as_py(), 30) or 'no name'})" for i in where[:SHOWN])
        more = f" and {len(where) - SHOWN:,} more" if len(where) > SHOWN else ""
        raise UserError(f"{len(where):,} of {total:,} rows {why}: {shown}{more}; mend them, or leave them out with --skip-bad")
    if bad.all():
        raise UserError("no row is left when the bad ones are left out")
    fine = dataclasses.replace(rows, ra=ra % 360.0, dec=dec)
    return (_take(fine, ~bad), int(bad.sum())) if bad.any() else (fine, 0)


def _like_hours(ra: npt.NDArray[np.float64], dec: npt.NDArray[np.float64]) -> bool:
    return bool(len(ra) >= HOURS_FROM and ra.max() <= DAY and ra.min() >= 0 and np.ptp(ra) > DAY / 2 and np.ptp(dec) > WIDE)


def _repeated(names: Any) -> npt.NDArray[np.bool_]:
    """Rows whose name stands before."""
    coded = names.dictionary_encode()
    codes = coded.indices.to_numpy(zero_copy_only=False)
    if len(coded.dictionary) == len(codes):
        return np.zeros(len(codes), bool)
    first = np.full(len(coded.dictionary), len(codes), np.int64)
    np.minimum.at(first, codes, np.arange(len(codes)))
    return np.asarray(first[codes] != np.arange(len(codes)))


def _take(rows: Rows, kept: npt.NDArray[np.bool_]) -> Rows:
    mask = pa.array(kept)
    return Rows(
        rows.name.filter(mask),
        None if rows.kind is None else rows.kind.filter(mask),
        rows.ra[kept],
        rows.dec[kept],
        {name: column[kept] for name, column in rows.numbers.items()},
        {band: column[kept] for band, column in rows.magnitudes.items()},
    )
