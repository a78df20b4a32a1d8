"""A catalogue of stars as CSV → magnitudes by filter; a reference image gets its zero point by it.

in → columns `ra`, `dec` [deg], and one named as each filter, AB magnitudes; an empty cell is a star not measured in that filter
out → `StarCatalogue`, `calibrated_by`: a `Reference` with the magnitude of one electron
"""

from __future__ import annotations

import csv
import math
from collections.abc import Mapping
from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np

from data.frames.sky_positions import sky_map
from errors import UserError, one_line
from operators.images.planes import Reference
from operators.images.zero_point import zero_point
from operators.types import F64, WAVELENGTH

LEAST_STARS = 3
"""In common with the catalogue, below which there is no zero point."""
MOST_ROWS = 5_000_000


@dataclass(frozen=True, slots=True)
class StarCatalogue:
    """Stars whose magnitudes are known."""

    ra: F64
    dec: F64
    magnitudes: Mapping[str, F64]
    """Filter → AB magnitudes, NaN where there is none."""


def read_catalogue(path: Path) -> StarCatalogue:
    """Read a CSV.

    Raises
    ------
    UserError
        It cannot be read, has no columns `ra` and `dec` or none of a filter, or a value that is not a number.
    """
    filters = WAVELENGTH["frames"]
    try:
        with path.open(newline="", encoding="utf-8-sig") as file:
            rows = csv.reader(file)
            header = [name.strip() for name in next(rows, [])]
            bands = [name for name in header if name in filters]
            if not {"ra", "dec"} <= set(header) or not bands:
                known, there = ", ".join(filters), one_line(", ".join(header), 80)
                raise UserError(f"{path} needs columns ra, dec and one or more of {known}: it has {there}")
            wanted = {name: header.index(name) for name in ("ra", "dec", *bands)}
            columns: dict[str, list[float]] = {name: [] for name in wanted}
            for line, row in enumerate(rows, 2):
                if not row:
                    continue
                if line > MOST_ROWS:
                    raise UserError(f"{path} has more than {MOST_ROWS:,} rows")
                if len(row) != len(header):
                    raise UserError(f"{path}, line {line}: {len(row)} cells, not {len(header)}")
                for name, place in wanted.items():
                    columns[name].append(_number(row[place], path=path, line=line, optional=name in filters))
    except (OSError, UnicodeDecodeError, csv.Error) as error:
        raise UserError(f"{path} cannot be read as a catalogue: {one_line(error, 120)}") from None
    made = {name: np.array(values, np.float64) for name, values in columns.items()}
    return StarCatalogue(made["ra"], made["dec"], {name: made[name] for name in bands})


def calibrated_by(reference: Reference, catalogue: StarCatalogue) -> tuple[Reference, str]:
    """The reference with its zero point, and one line of what it rests on; unchanged where too few stars are in common."""
    magnitude, sky = catalogue.magnitudes.get(reference.filter), sky_map(reference.wcs, reference.image.shape)
    if magnitude is None:
        return reference, f"no zero point: the catalogue has no column {reference.filter}"
    if sky is None:
        return reference, "no zero point: the reference has no world coordinates"
    inside = sky.holds(catalogue.ra, catalogue.dec)
    yx = sky.to_pixels(catalogue.ra[inside], catalogue.dec[inside])
    zero, error, n = zero_point(reference.stars, yx, catalogue_mag=magnitude[inside], psf=reference.psf)
    if n < LEAST_STARS or not math.isfinite(zero):
        return reference, f"no zero point: {n} stars in common with the catalogue"
    return replace(reference, zero_point=zero), f"zero point {zero:.4f} +- {error:.4f} mag by {n} stars of a catalogue"


def _number(text: str, *, path: Path, line: int, optional: bool) -> float:
    if optional and not text.strip():
        return math.nan
    try:
        value = float(text)
    except ValueError:
        value = math.inf
    if math.isinf(value) or (math.isnan(value) and not optional):
        raise UserError(f"{path}, line {line}: {one_line(text, 30)!r} is not a number")
    return value
