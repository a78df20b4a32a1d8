"""What a person gives as a filter or a list, checked → its record, without revision and time."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from typing import Any

import numpy as np

from data.areas.area_error import AreaError
from data.areas.area_ranges import moc_of_json, moc_ranges, polygon_ranges, ranges_of_fits
from data.areas.filter_set import packed_positions, packed_ranges
from data.areas.position_index import check_positions
from schemas.filters.filter_expression import read_expression
from schemas.records.filter_defined import MOST_BACKFILL, MOST_BUDGET, MOST_WATCHLISTS, FilterDefined, name_problem
from schemas.records.watchlist import Watchlist

MOST_CONES = 1_000
"""Of a filter's own area; more are a watchlist."""
RESERVED = frozenset({"preview"})
LONGEST_POSITION_NAME = 60
"""[bytes]"""
Position = Sequence[float]
"""ra, dec, radius [deg]."""


def draft_filter(
    owner: str, name: str, *, expression: str, moc: str | dict[str, Any] | None = None, polygon: Sequence[Any] | None = None,
    cones: Sequence[Position] | None = None, fits: bytes | None = None, level: float = 0.9, watchlists: Sequence[str] = (),
    private_rights: bool = False, budget: int = 1000, webhook: str = "", backfill_days: float = 0.0, active: bool = True, note: str = "",
    taught: Iterable[str] = (),
) -> FilterDefined:  # fmt: skip
    """A filter of revision 0.

    Parameters
    ----------
    owner, name : str
    expression : str
    moc, polygon, cones, fits
        The area, one of them at most: a MOC as text or JSON; corners (ra, dec); circles (ra, dec, radius) [deg]; a MOC or sky map in FITS.
    level : float
        Of a sky map: share of the probability.
    taught : iterable of str
        Classes that are taught.

    Raises
    ------
    AreaError, schemas.filters.filter_expression.FilterError
    """
    _check_name(name)
    read_expression(expression, taught=taught)
    if len([part for part in (moc, polygon, cones, fits) if part is not None]) > 1:
        raise AreaError("an area is one of moc, polygon, cones and fits")
    if len(watchlists) > MOST_WATCHLISTS or len(set(watchlists)) < len(watchlists):
        raise AreaError(f"a filter names {MOST_WATCHLISTS} watchlists at most, each once")
    if not 0 < budget <= MOST_BUDGET or not 0 <= backfill_days <= MOST_BACKFILL:
        raise AreaError(f"a budget is 1 to {MOST_BUDGET:,} matches a night, a backfill 0 to {MOST_BACKFILL:g} days")
    area, ranges, circles = "", b"", b""
    if moc is not None:
        area, ranges = "moc", packed_ranges(moc_ranges(moc) if isinstance(moc, str) else moc_of_json(moc))
    elif polygon is not None:
        area, ranges = "polygon", packed_ranges(polygon_ranges([(float(ra), float(dec)) for ra, dec in polygon]))
    elif fits is not None:
        area, ranges = f"FITS, {level:g} of a sky map's probability", packed_ranges(ranges_of_fits(fits, level=level))
    elif cones is not None:
        if not 0 < len(cones) <= MOST_CONES:
            raise AreaError(f"an area has 1 to {MOST_CONES:,} cones; more are a watchlist")
        area, circles = "cones", _packed(cones)
    return FilterDefined(
        owner, name, 0, expression, area, ranges, circles, tuple(watchlists), private_rights, budget, webhook, backfill_days, active, note
    )


def draft_list(owner: str, name: str, *, positions: Sequence[Position], names: Sequence[str] | None = None, note: str = "") -> Watchlist:
    """A list of revision 0.

    Parameters
    ----------
    owner, name : str
    positions : sequence of (ra, dec, radius) [deg]
    names : sequence of str, optional
        One a position.

    Raises
    ------
    AreaError
    """
    _check_name(name)
    if names is not None and len(names) != len(positions):
        raise AreaError(f"{len(names):,} names of {len(positions):,} positions: each has one, or none has")
    for i, text in enumerate(names or ()):
        if not text or len(text.encode()) > LONGEST_POSITION_NAME or not text.isprintable():
            raise AreaError(f"the name of position {i + 1} is empty, has a line break, or has more than {LONGEST_POSITION_NAME} bytes")
    packed = _packed(positions)
    return Watchlist(owner, name, 0, packed, "\n".join(names).encode() if names else b"", note)


def _check_name(name: str) -> None:
    if (problem := name_problem(name)) is not None:
        raise AreaError(problem)
    if name in RESERVED:
        raise AreaError(f"{name} cannot be the name of a filter: it means something else")


def _packed(positions: Sequence[Position]) -> bytes:
    try:
        ra, dec, radius = (np.array(column, np.float64) for column in zip(*positions, strict=True)) if positions else [np.empty(0)] * 3
    except (TypeError, ValueError):
        raise AreaError("a position is ra, dec and radius, three numbers") from None
    check_positions(ra, dec, radius=radius)
    return packed_positions(ra, dec, radius=radius)
