"""A FITS file from MAST → whether it is whole and holds a light curve or target pixels, in the units we know.

The file's structure is walked header by header (FITS standard 4.0, https://fits.gsfc.nasa.gov/fits_standard.html): every unit must lie in
the file, and its data must match their DATASUM where they have one. Of the data only the times of the first table are looked at.
"""

from __future__ import annotations

import mmap
import re
from collections import Counter
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import numpy.typing as npt

from data.connectors.web.download import Remote, Verdict
from errors import one_line

BLOCK = 2880
CARD = 80
MOST_CARDS, MOST_UNITS = 20_000, 200
FLUXES = ("PDCSAP_FLUX", "SAP_FLUX", "KSPSAP_FLUX", "DET_FLUX", "FCOR", "FLUX_CORR", "FLUX")
"""Of SPOC and Kepler, QLP, K2SFF, TASOC and others."""
RATES = ("e-/s", "electron / s", "electron/s", "e/s")
_SIZES = {"L": 1, "X": 0, "B": 1, "I": 2, "J": 4, "K": 8, "A": 1, "E": 4, "D": 8, "C": 8, "M": 16, "P": 8, "Q": 16}
_TIME = (-2_000.0, 60_000.0)
"""[d] since BJD 2457000 (TESS) or 2454833 (Kepler)."""


class _BrokenError(ValueError):
    """The structure is not FITS, and why."""


@dataclass(frozen=True, slots=True)
class _Unit:
    """A header and where its data lie."""

    cards: dict[str, str]
    start: int
    size: int

    def whole(self, name: str, default: int | None = None) -> int:
        """An integer of the header."""
        text = self.cards.get(name, "" if default is None else str(default))
        if not re.fullmatch(r"[+-]?\d{1,18}", text):
            raise _BrokenError(f"{name} is {one_line(text, 20)!r}")
        return int(text)


def fits_verdict(path: Path, remote: Remote) -> Verdict:
    """Judge a light-curve file (`fits-light-curve`) or target pixels (`fits-pixels`)."""
    try:
        with path.open("rb") as file:
            if path.stat().st_size < BLOCK:
                return Verdict(False, "it is too short for a FITS file")
            with mmap.mmap(file.fileno(), 0, access=mmap.ACCESS_READ) as data:
                return _judge(data, remote)
    except _BrokenError as error:
        return Verdict(False, f"it is not a whole FITS file: {error}")


def _judge(data: mmap.mmap, remote: Remote) -> Verdict:
    units = _units(data)
    target = units[0].cards
    wanted = remote.about.get("target")
    have = target.get("TICID") or target.get("KEPLERID")
    if wanted is not None and have is not None and have != str(wanted):
        return Verdict(False, f"it is of target {one_line(have, 20)} and not of {wanted}")
    table = next((u for u in units[1:] if u.cards.get("XTENSION") == "BINTABLE"), None)
    if table is None:
        return Verdict(False, "it holds no table")
    names = {table.cards[k].upper(): k[5:] for k in table.cards if k.startswith("TTYPE")}
    if remote.kind == "fits-pixels":
        missing = [n for n in ("TIME", "FLUX") if n not in names]
    else:
        missing = [n for n in ("TIME",) if n not in names] + ([] if any(n in names for n in FLUXES) else ["PDCSAP_FLUX"])
    if missing:
        return Verdict(False, f"its table has no column {', '.join(missing)} (it has {one_line(', '.join(list(names)[:6]), 120)}, …)")
    flux = next(n for n in (("FLUX",) if remote.kind == "fits-pixels" else FLUXES) if n in names)
    unit = table.cards.get(f"TUNIT{names[flux]}", "")
    if unit and unit.lower() not in RATES and not unit.lower().startswith(("normalized", "relative")) and unit.strip() not in ("", "1"):
        return Verdict(False, f"its {flux} is in {one_line(unit, 30)!r} and not in e-/s")
    time_unit = table.cards.get(f"TUNIT{names['TIME']}", "")
    if time_unit and not re.search(r"day|^d$|jd", time_unit.lower()):
        return Verdict(False, f"its TIME is in {one_line(time_unit, 30)!r} and not in days")
    return _rows(data, table, column=names["TIME"])


def _rows(data: mmap.mmap, table: _Unit, *, column: str) -> Verdict:
    """Count the rows whose time is missing or cannot be."""
    rows, width = table.whole("NAXIS2"), table.whole("NAXIS1")
    offset = sum(_width(table.cards.get(f"TFORM{k}", "")) for k in range(1, int(column)))
    form = table.cards.get(f"TFORM{column}", "").strip()
    if form not in ("D", "1D", "E", "1E") or not 0 <= offset <= width - (8 if form.endswith("D") else 4):
        return Verdict(False, f"its TIME has the form {one_line(form, 10)!r} and not D")
    if rows * width > table.size:
        raise _BrokenError(f"{rows:,} rows of {width:,} bytes are more than its table has")
    kind = np.dtype(">f8" if form.endswith("D") else ">f4")
    if not rows:
        return Verdict(False, "its table has no row")
    times: npt.NDArray[np.floating] = np.ndarray((rows,), kind, data, table.start + offset, (width,)).astype(np.float64)
    rejects: Counter[str] = Counter()
    missing = int(np.isnan(times).sum())
    with np.errstate(invalid="ignore"):
        outside = int(((times < _TIME[0]) | (times > _TIME[1])).sum())
        backward = int((np.diff(times[~np.isnan(times)]) <= 0).sum())
    found = {"TIME is missing": missing, f"TIME is outside {_TIME[0]:g} to {_TIME[1]:g} d": outside, "TIME goes back": backward}
    rejects.update({why: n for why, n in found.items() if n})
    if missing + outside >= rows:
        return Verdict(False, f"none of its {rows:,} rows has a time that can be", rows, rejects)
    return Verdict(True, rows=rows, rejects=rejects)


def _width(form: str) -> int:
    """Bytes of a column of a binary table in each row."""
    match = re.match(r"\s*(\d*)([LXBIJKAEDCMPQ])", form)
    if match is None:
        raise _BrokenError(f"a column has the form {one_line(form, 20)!r}")
    count = int(match[1] or 1)
    return (count + 7) // 8 if match[2] == "X" else count * _SIZES[match[2]]


def _units(data: mmap.mmap) -> list[_Unit]:
    """Every header and its data, to the end of the file."""
    if data[:CARD].replace(b" ", b"")[:8] != b"SIMPLE=T":
        raise _BrokenError("it does not begin with SIMPLE = T")
    units: list[_Unit] = []
    at = 0
    while at < len(data):
        if len(units) == MOST_UNITS:
            raise _BrokenError(f"more than {MOST_UNITS} units")
        cards, start = _header(data, at)
        unit = _Unit(cards, start, 0)
        axes = [unit.whole(f"NAXIS{k + 1}") for k in range(_axes(unit))]
        if any(n < 0 for n in axes):
            raise _BrokenError("a negative axis")
        size = int(abs(unit.whole("BITPIX")) // 8 * unit.whole("GCOUNT", 1) * (unit.whole("PCOUNT", 0) + np.prod(axes, dtype=object)))
        size = size if axes else 0
        end = start + -(-size // BLOCK) * BLOCK
        if size < 0 or start + size > len(data) or end > len(data):
            raise _BrokenError(f"it ends after {len(data):,} of at least {max(end, 0):,} bytes")
        if cards.get("DATASUM", "").isdecimal() and datasum(data, start, end=end) != int(cards["DATASUM"]):
            raise _BrokenError(f"the data of unit {len(units)} do not match their DATASUM")
        units.append(_Unit(cards, start, size))
        at = end
    return units


def _axes(unit: _Unit) -> int:
    count = unit.whole("NAXIS")
    if not 0 <= count <= 999:
        raise _BrokenError(f"NAXIS is {count}")
    return count


def _header(data: mmap.mmap, at: int) -> tuple[dict[str, str], int]:
    """The cards of a header that are needed here, and where its data begin."""
    cards: dict[str, str] = {}
    for n in range(MOST_CARDS):
        card = data[at + n * CARD : at + (n + 1) * CARD]
        if len(card) < CARD:
            raise _BrokenError("a header without an END")
        name = card[:8].rstrip().decode("ascii", "replace")
        if name == "END":
            return cards, at + -(-(n + 1) * CARD // BLOCK) * BLOCK
        if card[8:10] == b"= ":
            text = card[10:].decode("ascii", "replace")
            quoted = re.match(r"\s*'((?:[^']|'')*)'", text)
            cards.setdefault(name, quoted[1].rstrip().replace("''", "'") if quoted else text.partition("/")[0].strip())
    raise _BrokenError(f"a header with more than {MOST_CARDS:,} cards")


def datasum(data: mmap.mmap, start: int, *, end: int) -> int:
    """The ones'-complement sum of the data as 32-bit words (FITS standard 4.0, appendix J)."""
    total = 0
    for at in range(start, end, BLOCK * 4096):
        total += int(np.frombuffer(data[at : min(end, at + BLOCK * 4096)], ">u4").sum(dtype=np.uint64))
    while total >> 32:
        total = (total & 0xFFFFFFFF) + (total >> 32)
    return total
