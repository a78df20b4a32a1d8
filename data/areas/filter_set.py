"""Definitions of filters and watchlists, made ready → what records pass which filter, and which positions they lie near.

Pure: the process of filters, the preview of the HTTP API and its live stream ask the same set.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import lru_cache
from typing import NamedTuple

import numpy as np
import numpy.typing as npt

from data.areas.area_error import AreaError
from data.areas.position_index import check_positions, index_positions
from data.history.cells import cells_of
from operators.areas import I64, Areas, Level, PositionIndex, areas_of, inside, near
from operators.filters import Programs, matches
from operators.types import F64
from schemas.filters.filter_columns import columns_of
from schemas.filters.filter_expression import Expression, FilterError, bind, read_expression
from schemas.filters.filter_fields import Columns
from schemas.records.filter_defined import FilterDefined, owned_key
from schemas.records.filter_match import MOST_WATCHED, Watched
from schemas.records.watchlist import Watchlist

Bools = npt.NDArray[np.bool_]
Lists = Mapping[bytes, Watchlist]
"""Key → list."""


class Looked(NamedTuple):
    """What n records pass."""

    hits: Bools
    """(filters, n)"""
    fine: Bools
    """(n,) Which of them are records."""
    near: tuple[tuple[int, int, float], ...]
    """Row, position of all lists one after another, separation [arcsec]."""


class _List(NamedTuple):
    """A list of the set."""

    record: Watchlist
    first: int
    """Its first position among those of all lists."""
    names: tuple[str, ...]


@dataclass(frozen=True, slots=True)
class FilterSet:
    """Filters that are asked together."""

    filters: tuple[FilterDefined, ...]
    faults: tuple[tuple[FilterDefined, str], ...]
    """Those that cannot be asked, and why."""
    programs: Programs
    columns: Columns
    areas: Areas
    area_of: I64
    """(filters,) Row among the areas; -1: none."""
    lists: tuple[_List, ...]
    lists_of: tuple[tuple[int, ...], ...]
    """Lists of each filter, one of which has to be near; empty: none is asked for."""
    cones_of: I64
    """(filters,) The list that is the filter's own circles; -1: none."""
    index: PositionIndex

    def look(self, bodies: Sequence[bytes]) -> Looked:
        """Ask all filters of records, without framing, in the latest version of their schema."""
        read = columns_of(bodies, self.columns)
        hits = matches(self.programs, read.columns)
        hits &= read.fine
        pairs: tuple[tuple[int, int, float], ...] = ()
        if (len(self.index) or (self.area_of >= 0).any()) and len(bodies):
            ra, dec = read.columns[self.columns.index["ra"]], read.columns[self.columns.index["dec"]]
            cells = cells_of(ra, dec)
            held = np.zeros((len(self.lists), len(bodies)), np.bool_)
            if len(self.index):
                found = near(self.index, cells, ra=ra, dec=dec)
                held[self._list_at(found.entries), found.rows] = True
                pairs = tuple(zip(found.rows.tolist(), found.entries.tolist(), found.separation.tolist(), strict=True))
            covered = inside(self.areas, cells)
            for f in range(len(self.filters)):
                area, cones = int(self.area_of[f]), int(self.cones_of[f])
                if area >= 0 or cones >= 0:
                    within = covered[area] if area >= 0 else np.zeros(len(bodies), np.bool_)
                    hits[f] &= within | held[cones] if cones >= 0 else within
                if self.lists_of[f]:
                    hits[f] &= held[list(self.lists_of[f])].any(axis=0)
        return Looked(hits, read.fine, pairs)

    def watched(self, looked: Looked, row: int, *, filter_at: int) -> tuple[Watched, ...]:
        """The positions of a filter's lists near a record, the nearest first."""
        own = set(self.lists_of[filter_at])
        found = []
        for at, entry, separation in looked.near:
            if at == row and (k := int(self._list_at(np.array([entry]))[0])) in own:
                listed = self.lists[k]
                number = entry - listed.first
                name = listed.names[number] if listed.names else str(number + 1)
                found.append(Watched(listed.record.name, listed.record.revision, name, separation))
        return tuple(sorted(found, key=lambda w: w.separation)[:MOST_WATCHED])

    def _list_at(self, entries: I64) -> I64:
        return np.searchsorted([listed.first for listed in self.lists], entries, side="right").astype(np.int64) - 1


def filter_set(definitions: Sequence[FilterDefined], watchlists: Lists) -> FilterSet:
    """Make filters ready; one that cannot be asked (a list of it is gone) is left out and named."""
    kept: list[FilterDefined] = []
    expressions: list[Expression] = []
    faults: list[tuple[FilterDefined, str]] = []
    for one in definitions:
        missing = [name for name in one.watchlists if owned_key(one.owner, name) not in watchlists]
        try:
            expression = read_expression(one.expression, taught=None)
            for name in one.watchlists:
                if name not in missing:
                    _indexed(watchlists[owned_key(one.owner, name)].positions)
            _indexed(one.cones)
        except (FilterError, AreaError) as error:
            faults.append((one, str(error)))
            continue
        if missing:
            faults.append((one, f"there is no watchlist {missing[0]}"))
            continue
        kept.append(one)
        expressions.append(expression)
    programs, columns = bind(expressions)
    used = sorted({owned_key(one.owner, name) for one in kept for name in one.watchlists})
    records = [watchlists[key] for key in used]
    places = {key: i for i, key in enumerate(used)}
    cones_of = np.full(len(kept), -1, np.int64)
    for f, one in enumerate(kept):
        if one.cones:
            cones_of[f] = len(records)
            records.append(Watchlist(one.owner, one.name, one.revision, one.cones))
    lists, first = [], 0
    for record in records:
        lists.append(_List(record, first, tuple(record.names.decode().split("\n")) if record.names else ()))
        first += len(record)
    with_area = [f for f, one in enumerate(kept) if one.ranges]
    area_of = np.full(len(kept), -1, np.int64)
    area_of[with_area] = np.arange(len(with_area))
    return FilterSet(
        tuple(kept), tuple(faults), programs, columns, areas_of([ranges_of(kept[f].ranges) for f in with_area]), area_of, tuple(lists),
        tuple(tuple(places[owned_key(one.owner, name)] for name in one.watchlists) for one in kept), cones_of,
        _together([_indexed(record.positions) for record in records]),
    )  # fmt: skip


def ranges_of(packed: bytes) -> I64:
    """Ranges (r, 2) from the bytes of a record."""
    return np.frombuffer(packed, "<i8").reshape(-1, 2).astype(np.int64)


def packed_ranges(ranges: I64) -> bytes:
    """The inverse of `ranges_of`."""
    return np.ascontiguousarray(ranges, "<i8").tobytes()


def positions_of(packed: bytes) -> F64:
    """Positions (p, 3): ra, dec, radius [deg], from the bytes of a record."""
    return np.frombuffer(packed, "<f8").reshape(-1, 3).astype(np.float64)


def packed_positions(ra: F64, dec: F64, *, radius: F64) -> bytes:
    """The inverse of `positions_of`."""
    return np.ascontiguousarray(np.stack([ra, dec, radius], axis=1), "<f8").tobytes()


@lru_cache(maxsize=512)
def _indexed(packed: bytes) -> PositionIndex:
    """The index of a list; a list that did not change is not indexed again."""
    ra, dec, radius = positions_of(packed).T
    check_positions(ra, dec, radius=radius)
    return index_positions(ra, dec, radius=radius)


def _together(indexes: Sequence[PositionIndex]) -> PositionIndex:
    """One index of several lists' positions."""
    firsts = np.cumsum([0, *map(len, indexes)])
    by_order: dict[int, list[tuple[I64, I64]]] = {}
    for first, index in zip(firsts.tolist(), indexes, strict=False):
        for level in index.levels:
            by_order.setdefault(level.order, []).append((level.keys, level.entries + first))
    levels = []
    for order, parts in sorted(by_order.items()):
        keys, entries = (np.concatenate(column) for column in zip(*parts, strict=True))
        sort = np.argsort(keys, kind="stable")
        levels.append(Level(order, keys[sort], entries[sort]))
    joined = [np.concatenate([np.empty(0), *(getattr(index, name) for index in indexes)]) for name in ("x", "y", "z", "chord2")]
    return PositionIndex(tuple(levels), *joined)
