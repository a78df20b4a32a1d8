"""What the keywords of a header mean, one row an instrument; the first row that fits counts, and `COMMON` fills what it leaves open.

in → the cards of a header
out → the row that reads them: keywords, names of filters, figures of the readout that the header lacks

Keywords follow the FITS standard (4.0), the FITS keyword dictionaries of NOAO (IRAF's ``BIASSEC``, ``TRIMSEC``) and HEASARC, and what the
control programs of small observatories write (MaxIm DL, N.I.N.A.).
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import dataclass, field
from types import MappingProxyType

from data.connectors.fits_headers import Header
from operators.images.planes import FrameKind

BANDS = ("U", "B", "V", "R", "I", "u", "g", "r", "i", "z", "y", "clear")
"""Filters of frames, as `operators.types.WAVELENGTH["frames"]` has them."""

COMMON: Mapping[str, tuple[str, ...]] = MappingProxyType(
    {
        "detector": ("DETECTOR", "DETECID", "CCDNAME", "CCDNUM", "CCDID", "DETNAME", "DETSER", "INSTRUME", "CAMERA"),
        "frame_id": ("FRAMEID", "EXPID", "OBSID", "EXPNUM", "ORIGNAME", "OBS_ID", "FILENAME"),
        "filter": ("FILTER", "FILTER1", "FILTERS", "FILTNAM", "FILTERID", "INSFILTE"),
        "kind": ("IMAGETYP", "OBSTYPE", "FRAMETYP", "IMTYPE", "OBS_TYPE", "IMAGETYPE"),
        "exposure": ("EXPTIME", "EXPOSURE", "EXPOSED", "ITIME", "TEXPTIME"),
        "gain": ("GAIN", "EGAIN", "CCDGAIN", "GAINEFF"),
        "read_noise": ("RDNOISE", "READNOIS", "RON", "RONOISE", "ENOISE", "CCDRON"),
        "saturation": ("SATURATE", "SATLEVEL", "SATURAT", "MAXLIN"),
        "linear_to": ("LINLIMIT",),
        "nonlinearity": ("NONLIN",),
        "binning": ("CCDSUM",),
        "binning_x": ("XBINNING", "BINX", "CCDXBIN", "CCDBIN1"),
        "binning_y": ("YBINNING", "BINY", "CCDYBIN", "CCDBIN2"),
        "temperature": ("CCD-TEMP", "CCDTEMP", "CCDATEMP", "DETTEMP", "CCDTEMPS", "SET-TEMP"),
        "trim": ("TRIMSEC", "DATASEC"),
        "overscan": ("BIASSEC",),
        "field": ("FIELD", "FIELDID", "OBJECT", "TARGNAME"),
        "mjd_mid": ("MJD-AVG", "MJD-MID"),
        "date_mid": ("DATE-AVG",),
        "mjd_start": ("MJD-OBS", "MJD-BEG"),
        "date_start": ("DATE-OBS", "DATE-BEG"),
        "time_start": ("TIME-OBS", "UTSTART", "UT", "UTC-OBS", "UTC"),
        "private": ("PROPRIET", "PRIVATE"),
        "public": ("PUBLIC",),
        "public_from": ("L1PUBDAT", "PUBDAT"),
    }
)
"""What we need → keywords that say it, in order."""

_GAPS = ("", "_", "-", " ")
_MAKERS = ("bessell", "bessel", "johnson", "cousins", "harris")
_FILTERS: Mapping[str, str] = MappingProxyType(
    {
        **{band.lower() if band in ("B", "V") else band: band for band in BANDS},
        **{band: band for band in BANDS},
        **{f"{band}p": band for band in "ugriz"},
        **{f"{band}'": band for band in "ugriz"},
        **{f"{band}_prime": band for band in "ugriz"},
        "zs": "z", "Z": "z", "Y": "y", "G": "g",
        **{f"{maker}{gap}{band}": band for maker in ("sdss", "ps1", "ps", "sloan") for gap in _GAPS for band in "ugrizy"},
        **{f"{maker}{gap}{band.lower()}": band for maker in _MAKERS for gap in _GAPS for band in "UBVRI"},
        **dict.fromkeys(("c", "l", "lum", "luminance", "w", "white", "open", "none", "empty", "air", "no filter", "free"), "clear"),
    }
)  # fmt: skip
"""Names of filters → ours: as written where the case of a letter decides (R and r differ), else in small letters."""

_KINDS: tuple[tuple[str, FrameKind], ...] = (
    (r"bias|zero|offset", "bias"),
    (r"dark", "dark"),
    (r"(dome|sky|twilight|lamp|internal)?[ _-]*flat(field)?|twilight", "flat"),
    (r"object|light|science|sci|expose|exposure|target|standard", "science"),
)


@dataclass(frozen=True, slots=True)
class Instrument:
    """A row of the table."""

    name: str
    when: Mapping[str, str]
    """Keyword → regular expression that its whole value must match; all of them."""
    keywords: Mapping[str, tuple[str, ...]] = field(default_factory=dict)
    """As `COMMON`; what is named here comes first."""
    filters: Mapping[str, str] = field(default_factory=dict)
    """Its names of filters → ours."""
    figures: Mapping[str, float] = field(default_factory=dict)
    """gain [e-/ADU], read_noise [e-], saturation, linear_to [ADU], nonlinearity [1/ADU], where no header has them."""

    def fits(self, header: Header) -> bool:
        """Whether a header is this instrument's."""
        return all(re.fullmatch(form, header.text(name), re.IGNORECASE) for name, form in self.when.items())

    def names(self, what: str) -> tuple[str, ...]:
        """Keywords that say something, in order."""
        return (*self.keywords.get(what, ()), *COMMON[what])


INSTRUMENTS: tuple[Instrument, ...] = (
    # Las Cumbres Observatory: INSTRUME is the camera's serial (fa15, kb78, ep02); OBJECT is the target of a request, not a field
    Instrument(
        "lco",
        {"ORIGIN": r"LCOGT|LCO.*", "INSTRUME": r"[a-z]{2}[0-9]{2}"},
        {"detector": ("INSTRUME",), "saturation": ("SATURATE",), "temperature": ("CCDATEMP", "CCDSTEMP"), "linear_to": ("MAXLIN",)},
        {"w": "clear", "zs": "z", "up": "u", "gp": "g", "rp": "r", "ip": "i"},
    ),
    # Gemini's GMOS: one amplifier an extension, each a detector of its own
    Instrument("gmos", {"INSTRUME": r"GMOS-[NS]"}, {"detector": ("CCDNAME", "AMPNAME"), "filter": ("FILTER2", "FILTER1")}),
    # whatever else speaks the common keywords
    Instrument("common", {}),
)


def instrument_of(header: Header) -> Instrument:
    """The first row that fits."""
    return next(row for row in INSTRUMENTS if row.fits(header))


def filter_of(instrument: Instrument, name: str) -> str | None:
    """An instrument's name of a filter → ours; None: not known."""
    text = re.sub(r"\s+", " ", name.strip())
    for table in (instrument.filters, _FILTERS):
        found = table.get(text) or table.get(text.lower() if len(text) > 1 else text)
        if found:
            return found
    return _FILTERS.get(text.lower()) if len(text) == 1 and text.lower() in "clw" else None


def kind_of(name: str) -> FrameKind | None:
    """IMAGETYP and the like (``Light Frame``, ``DARK``, ``Dome Flat``, ``SKYFLAT``) → kind; None: not known."""
    text = re.sub(r"\s*(frame|field|image)$", "", name.strip().lower())
    return next((kind for form, kind in _KINDS if re.fullmatch(form, text)), None)
