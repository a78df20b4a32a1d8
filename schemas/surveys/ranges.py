"""Which numbers a survey's field can hold: everything else there means "none".

in → the scalars and columns that a program read, a survey's table (field → least and largest value)
out → the same, with NaN for a sentinel, an infinity, or a number outside its range

Surveys and archives mark "none" in many ways (-999, -9999, 10000, a float32 that was never filled). What no score, magnitude or error can
be is missing; it is neither passed on nor shown to the network.
"""

from __future__ import annotations

from collections.abc import Mapping

import numpy as np
import numpy.typing as npt

from operators.kernels.compiled import compiled
from operators.types import F64
from schemas.avro.program import Want

SENTINELS = (-999.0, -9999.0, -99999.0)
"""Missing wherever they stand in a field with a range, as in one of flux, which may be negative."""
_FIRST, _SECOND, _THIRD = SENTINELS

Range = tuple[float, float]
SHARE: Range = (0.0, 1.0)
"""A score or probability."""
MAGNITUDE: Range = (1e-3, 50.0)
"""0 is a mark for "none"."""
DISTANCE: Range = (0.0, 3600.0)
"""[arcsec], or pixels."""
COUNT: Range = (0.0, 1e7)


def bounds(want: Want, valid: Mapping[str, Range]) -> tuple[F64, F64]:
    """A survey's table by slot.

    Parameters
    ----------
    want : Want
    valid : field (the last part of its path) → least and largest value

    Returns
    -------
    (scalars, 2), (columns, 2)
        Of every slot; infinite where the table says nothing.

    Raises
    ------
    KeyError
        The table names a field that the survey does not read.
    """
    paths = [path.rpartition(".")[2] for path in want.scalars], [field for fields in want.arrays.values() for field in fields]
    unknown = valid.keys() - {*paths[0], *paths[1]}
    if unknown:
        raise KeyError(f"no field of these is read: {', '.join(sorted(unknown))}")
    anything = (-np.inf, np.inf)
    scalars, columns = (np.array([valid.get(name, anything) for name in names]).reshape(-1, 2) for names in paths)
    return scalars, columns


@compiled
def blank(number, table, count, spans, of_scalars, of_columns):  # type: ignore[no-untyped-def] # pragma: no cover
    """Put NaN in place of every number outside its range.

    number (scalars,), table (columns, capacity), count (arrays,) as the machine fills them; spans (arrays, 2): first column of each array
    and the one after its last; of_scalars, of_columns as `bounds` gives them.
    """
    for k in range(len(number)):
        low, high = of_scalars[k, 0], of_scalars[k, 1]
        if low > -np.inf:
            number[k] = kept(number[k], low, high)
    for a in range(len(count)):
        for c in range(spans[a, 0], spans[a, 1]):
            low, high = of_columns[c, 0], of_columns[c, 1]
            if low > -np.inf:
                column = table[c]
                for j in range(count[a]):
                    column[j] = kept(column[j], low, high)


@compiled
def kept(value, low, high):  # type: ignore[no-untyped-def] # pragma: no cover
    """The value where it lies in its range and is not a sentinel, else NaN."""
    good = (value >= low) & (value <= high) & (value != _FIRST) & (value != _SECOND) & (value != _THIRD)
    return value if good else np.nan


def spans(want: Want) -> npt.NDArray[np.int64]:
    """(arrays, 2) int64: the columns of every array."""
    ends = np.cumsum([0, *(len(fields) for fields in want.arrays.values())])
    return np.stack([ends[:-1], ends[1:]], axis=1).astype(np.int64)
