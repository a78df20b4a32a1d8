"""Rows of an answer → pandas or Astropy tables, with units."""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any

UNITS = {
    "ra": "deg", "dec": "deg", "mjd": "d", "first_mjd": "d", "last_mjd": "d", "flux": "uJy", "flux_err": "uJy", "separation": "arcsec",
}  # fmt: skip
"""Of the columns that have one, as the service's description states them."""


class Rows(list[dict[str, Any]]):
    """Rows by names of columns; a list, with two ways to a table.

    Parameters
    ----------
    rows : iterable of dict
    more : bool
        Whether the service has more than were asked for.
    """

    def __init__(self, rows: Iterable[dict[str, Any]] = (), *, more: bool = False) -> None:
        super().__init__(rows)
        self.more = more

    def to_pandas(self) -> Any:
        """A `pandas.DataFrame`; ids stay text."""
        import pandas

        return pandas.DataFrame(list(self))

    def to_astropy(self) -> Any:
        """An `astropy.table.Table` with units; what is missing is masked."""
        import numpy as np
        from astropy.table import MaskedColumn, Table

        names = list(dict.fromkeys(name for row in self for name in row))
        columns = []
        for name in names:
            values = [row.get(name) for row in self]
            missing = [value is None for value in values]
            kinds = {type(value) for value in values if value is not None}
            if kinds <= {float, int} and kinds:
                data: Any = np.array(
                    [np.nan if value is None else value for value in values], np.int64 if kinds == {int} and not any(missing) else float
                )
            elif kinds == {bool}:
                data = np.array([bool(value) for value in values])
            elif kinds <= {str}:
                data = np.array([value or "" for value in values], str)
            else:
                data = np.empty(len(values), object)
                data[:] = values
            columns.append(MaskedColumn(data, name=name, mask=missing, unit=UNITS.get(name)))
        return Table(columns)
