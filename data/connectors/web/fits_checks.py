"""A FITS file from MAST → whether it is whole and holds a light curve or target pixels, in the units we know.

Every unit must lie in the file, its header must be sound (`fits_headers`: one parser for files fetched and files read as packets), and its
data must match their DATASUM where they have one. Of the data only the times of the first table are looked at.
"""

from __future__ import annotations

import mmap
import re
from collections import Counter
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import numpy.typing as npt

from data.connectors.fits_headers import BLOCK, MOST_UNITS, FitsError, Header, data_size, fill, read_header, too_short
from data.connectors.fits_tables import Column, Unit, unit_of
from data.connectors.light_curve_files import FLUXES, Flux, product_of
from data.connectors.web.download import Remote, Verdict
from errors import one_line

_UNITS = {
    "e-/s": r"(e-|electrons?|e)\s*/\s*s",
    "relative": r"1?|normalized.*|relative.*",
    "ppm": r"ppm|parts per million",
}
"""How products write a flux's unit; what has none is taken for its product's."""
_PIXELS = Flux("target pixels", "FLUX", "FLUX_ERR")
_TIME = (-2_000.0, 60_000.0)
"""[d] since BJD 2457000 (TESS) or 2454833 (Kepler)."""


@dataclass(frozen=True, slots=True)
class _Place:
    """A header and where its data begin."""

    header: Header
    start: int


def fits_verdict(path: Path, remote: Remote) -> Verdict:
    """Judge a light-curve file (`fits-light-curve`) or target pixels (`fits-pixels`)."""
    try:
        with path.open("rb") as file:
            if path.stat().st_size < BLOCK:
                return Verdict(False, "it is too short for a FITS file")
            with mmap.mmap(file.fileno(), 0, access=mmap.ACCESS_READ) as data:
                return _judge(data, remote)
    except FitsError as error:
        return Verdict(False, f"it is not a whole FITS file: {error}")


def _judge(data: mmap.mmap, remote: Remote) -> Verdict:
    places = list(_places(data))
    target = places[0].header
    wanted = remote.about.get("target")
    have = target.text("TICID") or target.text("KEPLERID")
    if wanted is not None and have and have != str(wanted):
        return Verdict(False, f"it is of target {one_line(have, 20)} and not of {wanted}")
    table = next((place for place in places[1:] if place.header.text("XTENSION") == "BINTABLE"), None)
    if table is None:
        return Verdict(False, "it holds no table")
    unit = unit_of(table.header)
    pixels = remote.kind == "fits-pixels"
    product = _PIXELS if pixels else product_of(unit) or FLUXES[0]
    if missing := [name for name in (product.time, product.flux) if name not in unit.columns]:
        names = one_line(", ".join(list(unit.columns)[:6]), 120)
        return Verdict(False, f"its table has no column {', '.join(missing)} (it has {names}, …)")
    time, flux = unit.columns[product.time], unit.columns[product.flux]
    if not any(re.fullmatch(form, flux.unit, re.IGNORECASE) for form in ("", _UNITS[product.unit], _UNITS["relative"])):
        return Verdict(False, f"its {flux.name} is in {one_line(flux.unit, 30)!r} and not in {product.unit}")
    if time.unit and not re.search(r"day|^d$|jd", time.unit.lower()):
        return Verdict(False, f"its {time.name} is in {one_line(time.unit, 30)!r} and not in days")
    return _rows(data, unit, start=table.start, time=time)


def _rows(data: mmap.mmap, unit: Unit, *, start: int, time: Column) -> Verdict:
    """Count the rows whose time is missing or cannot be."""
    if time.count != 1 or time.code not in (">f8", ">f4"):
        return Verdict(False, f"its {time.name} is not one floating-point number a row")
    if not unit.rows:
        return Verdict(False, "its table has no row")
    shape, stride = (unit.rows,), (unit.width,)
    times: npt.NDArray[np.floating] = np.ndarray(shape, np.dtype(time.code), data, start + time.start, stride).astype(np.float64)
    rejects: Counter[str] = Counter()
    missing = int(np.isnan(times).sum())
    with np.errstate(invalid="ignore"):
        outside = int(((times < _TIME[0]) | (times > _TIME[1])).sum())
        backward = int((np.diff(times[~np.isnan(times)]) <= 0).sum())
    found = {"TIME is missing": missing, f"TIME is outside {_TIME[0]:g} to {_TIME[1]:g} d": outside, "TIME goes back": backward}
    rejects.update({why: n for why, n in found.items() if n})
    if missing + outside >= unit.rows:
        return Verdict(False, f"none of its {unit.rows:,} rows has a time that can be", unit.rows, rejects)
    return Verdict(True, rows=unit.rows, rejects=rejects)


def _places(data: mmap.mmap) -> Iterator[_Place]:
    """Every header, to the end of the file; its data are there as a whole and match their sum."""
    for k in range(MOST_UNITS):
        header = read_header(data, first=k == 0)
        if header is None:
            return
        start, size = data.tell(), data_size(header)
        end = start + size + fill(size)
        if end > len(data):
            raise too_short(end - len(data))
        stated = header.text("DATASUM")
        if re.fullmatch(r"[0-9]{1,20}", stated) and datasum(data, start, end=end) != int(stated):
            raise FitsError(f"the data of unit {k} do not match their DATASUM")
        yield _Place(header, start)
        data.seek(end)
    raise FitsError(f"more than {MOST_UNITS} headers")


def datasum(data: mmap.mmap, start: int, *, end: int) -> int:
    """The ones'-complement sum of the data as 32-bit words (FITS standard 4.0, appendix J)."""
    total = 0
    for at in range(start, end, BLOCK * 4096):
        total += int(np.frombuffer(data[at : min(end, at + BLOCK * 4096)], ">u4").sum(dtype=np.uint64))
    while total >> 32:
        total = (total & 0xFFFFFFFF) + (total >> 32)
    return total
