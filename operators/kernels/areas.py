"""`operators.areas` as loops: which areas hold a cell, which positions lie near a place."""

from __future__ import annotations

from operators.kernels.compiled import compiled


@compiled
def fill_inside(starts, begins, ends, cells, hits):  # type: ignore[no-untyped-def]
    """Areas of ascending ranges, cells (n,) → hits (areas, n)."""
    for a in range(len(starts) - 1):
        first, last = starts[a], starts[a + 1]
        for i in range(len(cells)):
            low, high = first, last
            while low < high:
                middle = (low + high) // 2
                if begins[middle] <= cells[i]:
                    low = middle + 1
                else:
                    high = middle
            hits[a, i] = low > first and cells[i] < ends[low - 1] and cells[i] >= 0


@compiled
def find_near(keys, entries, shift, x, y, z, chord2, cells, px, py, pz, rows, found, square, count):  # type: ignore[no-untyped-def]
    """Entries within their own radius of places, added behind `count`; the new count, also where it is beyond the room.

    keys (c,) ascending cells of one order, entries (c,) the position of each; x, y, z, chord2 of positions; px, py, pz of places.
    """
    for i in range(len(cells)):
        if cells[i] < 0:
            continue
        key = cells[i] >> shift
        low, high = 0, len(keys)
        while low < high:
            middle = (low + high) // 2
            if keys[middle] < key:
                low = middle + 1
            else:
                high = middle
        while low < len(keys) and keys[low] == key:
            e = entries[low]
            d = (x[e] - px[i]) ** 2 + (y[e] - py[i]) ** 2 + (z[e] - pz[i]) ** 2
            if d <= chord2[e]:
                if count < len(rows):
                    rows[count], found[count], square[count] = i, e, d
                count += 1
            low += 1
    return count
