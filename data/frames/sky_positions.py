"""The cards of a header's world coordinates → positions of pixels on the sky and back, or why there are none.

in → a header's cards, as text of the trimmed image (`wcs_cards`)
out → `SkyMap`: (y, x) [pixel, 0-based] ↔ ra, dec [deg, ICRS or FK5 at J2000]

astropy.wcs (wcslib) does the projections. It sees cards only that were written here out of checked values.
"""

from __future__ import annotations

import math
import re
import warnings
from dataclasses import dataclass
from typing import Any

import numpy as np

from data.connectors.fits_headers import Header
from data.frames.frame_error import FrameError
from errors import UserError, one_line
from operators.types import F64

LEAST_SCALE, LARGEST_SCALE = 1e-3, 900.0
"""[arcsec/pixel] from interferometers to all-sky cameras."""
ROUND_TRIP = 0.1
"""A position must come back to its pixel this near [pixel]."""
_NUMBERS = re.compile(r"CRVAL[12]|CRPIX[12]|CDELT[12]|CROTA[12]|(CD|PC)[12]_[12]|PV[12]_([0-9]|[123][0-9])|LONPOLE|LATPOLE|EQUINOX|EPOCH")
_SIP = re.compile(r"(A|B|AP|BP)_(ORDER|[0-9]_[0-9])")
_TEXTS = ("CTYPE1", "CTYPE2", "CUNIT1", "CUNIT2", "RADESYS", "RADECSYS")


def wcs_cards(header: Header, *, y0: int = 0, x0: int = 0) -> str | None:
    """The cards of a header's world coordinates, shifted to an image that begins at (y0, x0) of it; None: it has none at all.

    Raises
    ------
    FrameError
        `no_wcs`: some are there and cannot be.
    """
    if not header.text("CTYPE1") and not header.text("CTYPE2"):
        return None
    cards: list[str] = []
    distorted = "-SIP" in header.text("CTYPE1") and "A_ORDER" in header and "B_ORDER" in header
    for name, value in header.items():
        if name in _TEXTS:
            text = one_line(value, 30).replace("'", "")
            if name.startswith("CTYPE") and not distorted:
                text = text.removesuffix("-SIP")
            cards.append(f"{name:<8}= {f'{text!r:<10}':<20}")
        elif _NUMBERS.fullmatch(name) or (distorted and _SIP.fullmatch(name)):
            number = header.number(name)
            if number is None or abs(number) > 1e30:
                raise FrameError("no_wcs", f"{name} is {value!r:.40}: not a number that can be")
            number -= {"CRPIX1": x0, "CRPIX2": y0}.get(name, 0)
            whole = name.endswith("ORDER")
            if whole and not 0 <= number <= 9:
                raise FrameError("no_wcs", f"{name} is {number:g}: 0 to 9 can be")
            cards.append(f"{name:<8}= {int(number) if whole else repr(float(number)).upper():>20}")
    return "\n".join(cards)


def cards_of_text(text: str) -> Header:
    """The text of `wcs_cards` → cards by keyword."""
    from data.connectors.fits_headers import card_value

    return Header({line[:8].strip(): card_value(line[10:]) for line in text.splitlines() if line[8:10] == "= "})


@dataclass(frozen=True, slots=True)
class SkyMap:
    """Where the pixels of an image lie on the sky."""

    text: str
    """The cards."""
    shape: tuple[int, int]
    """(h, w)"""
    scale: float
    """[arcsec/pixel] at the centre"""
    wcs: Any
    """astropy.wcs.WCS"""

    def to_sky(self, yx: F64) -> tuple[F64, F64]:
        """(k, 2) positions (y, x) → right ascension and declination [deg]; NaN where a pixel is not on the sky."""
        yx = np.asarray(yx, np.float64).reshape(-1, 2)
        if not len(yx):
            return np.zeros(0), np.zeros(0)
        with np.errstate(all="ignore"):
            ra, dec = self.wcs.all_pix2world(yx[:, 1], yx[:, 0], 0)
        return np.asarray(ra) % 360.0, np.asarray(dec)

    def to_pixels(self, ra: F64, dec: F64) -> F64:
        """Right ascension and declination [deg] → (k, 2) positions (y, x); NaN where a direction is not on the image's projection."""
        ra, dec = np.atleast_1d(np.asarray(ra, np.float64)), np.atleast_1d(np.asarray(dec, np.float64))
        if not len(ra):
            return np.zeros((0, 2))
        with np.errstate(all="ignore"), warnings.catch_warnings():
            warnings.simplefilter("ignore")
            x, y = self.wcs.wcs_world2pix(ra, dec, 0)
            near = (
                np.isfinite(x) & (np.abs(x - self.shape[1] / 2) < 2 * self.shape[1]) & (np.abs(y - self.shape[0] / 2) < 2 * self.shape[0])
            )
            if near.any():  # a distortion holds near the image only, and its inverse does not converge elsewhere
                x[near], y[near] = self.wcs.all_world2pix(ra[near], dec[near], 0, quiet=True)
        return np.stack([y, x], axis=1)

    def holds(self, ra: F64, dec: F64) -> Any:
        """Whether directions lie on the image."""
        y, x = self.to_pixels(ra, dec).T
        h, w = self.shape
        with np.errstate(invalid="ignore"):
            return (y >= -0.5) & (y < h - 0.5) & (x >= -0.5) & (x < w - 0.5)

    def corners(self) -> tuple[F64, F64]:
        """Right ascension and declination of the four corners [deg], in turn round the image."""
        h, w = self.shape
        return self.to_sky(np.array([(-0.5, -0.5), (-0.5, w - 0.5), (h - 0.5, w - 0.5), (h - 0.5, -0.5)]))


def sky_map(text: str | None, shape: tuple[int, ...]) -> SkyMap | None:
    """The map of an image; None where there is none (`checked_sky_map` says why)."""
    try:
        return checked_sky_map(text, shape)
    except FrameError:
        return None


def checked_sky_map(text: str | None, shape: tuple[int, ...]) -> SkyMap:
    """The map of an image of (h, w) pixels.

    Raises
    ------
    FrameError
        `no_wcs`: what is missing or broken.
    """
    if not text:
        raise FrameError("no_wcs", "the header has no world coordinates (CTYPE1, CTYPE2)")
    header = cards_of_text(text)
    kinds = [header.text("CTYPE1"), header.text("CTYPE2")]
    if sorted(kind[:4] for kind in kinds) not in (["DEC-", "RA--"],):
        raise FrameError("no_wcs", f"CTYPE is {one_line(kinds[0], 20)!r}, {one_line(kinds[1], 20)!r}, not right ascension and declination")
    if "TAB" in kinds[0]:
        raise FrameError("no_wcs", "world coordinates by tables (-TAB) are not read")
    system, equinox = header.text("RADESYS") or header.text("RADECSYS") or "ICRS", header.number("EQUINOX")
    if system.upper() not in ("ICRS", "FK5") or (equinox is not None and abs(equinox - 2000) > 0.01):
        raise FrameError("no_wcs", f"coordinates are {one_line(system, 20)} at equinox {equinox or 2000:g}: ICRS, or FK5 at J2000, is read")
    for name in ("CRVAL1", "CRVAL2", "CRPIX1", "CRPIX2"):
        if name not in header:
            raise FrameError("no_wcs", f"{name} is missing")
    if not any(name.startswith(("CD", "PC")) for name in header):
        raise FrameError("no_wcs", "neither CDi_j nor CDELTi: the scale is missing")
    wcs = _wcs(text)
    h, w = int(shape[0]), int(shape[1])
    try:
        with np.errstate(all="ignore"):
            matrix = np.asarray(wcs.pixel_scale_matrix)
            scale = 3600 * math.sqrt(abs(float(np.linalg.det(matrix))))
            condition = float(np.linalg.cond(matrix))
    except (ValueError, np.linalg.LinAlgError) as error:
        raise FrameError("no_wcs", one_line(error, 120)) from None
    if not LEAST_SCALE <= scale <= LARGEST_SCALE or condition > 10:
        raise FrameError("no_wcs", f"pixels of {scale:.3g} arcsec (axes unlike by {condition:.3g}): not an image's")
    found = SkyMap(text, (h, w), scale, wcs)
    places = np.array([(y * (h - 1), x * (w - 1)) for y in (0.0, 0.5, 1.0) for x in (0.0, 0.5, 1.0)])
    try:
        there = found.to_sky(places)
        off = np.hypot(*(found.to_pixels(*there) - places).T)
    except Exception as error:  # wcslib's errors have no common type
        raise FrameError("no_wcs", one_line(error, 120)) from None
    if not np.isfinite(off).all() or off.max() > ROUND_TRIP:
        raise FrameError("no_wcs", "a pixel's position on the sky does not lead back to it: the distortion or projection is broken")
    there = found.to_sky(np.array([(h / 2, w / 2), (h / 2 + 1, w / 2), (h / 2, w / 2 + 1)]))
    ends = _directions(*there)
    stretched = 3600 * np.degrees(np.hypot.reduce(ends[1:] - ends[0], axis=1)) / scale
    if not (stretched.min() > 0.5 and stretched.max() < 2):
        raise FrameError("no_wcs", "its pixels have another scale than its matrix: the image lies far from the reference point")
    return found


def _directions(ra: F64, dec: F64) -> F64:
    """(k, 3) unit vectors."""
    a, d = np.radians(ra), np.radians(dec)
    return np.stack([np.cos(d) * np.cos(a), np.cos(d) * np.sin(a), np.sin(d)], axis=1)


def _wcs(text: str) -> Any:
    try:
        from astropy import wcs
        from astropy.io import fits
        from astropy.utils import iers
    except ImportError:
        raise UserError("world coordinates need astropy: pip install -e '.[frames]'") from None
    iers.conf.auto_download = False
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            found = wcs.WCS(fits.Header.fromstring(text, sep="\n"), relax=True, fix=True)
            found.wcs.set()
    except Exception as error:  # wcslib's errors, and what astropy makes of a card, have no common type
        raise FrameError("no_wcs", one_line(error, 120)) from None
    if not found.has_celestial or found.naxis != 2:
        raise FrameError("no_wcs", "they are not celestial coordinates on two axes")
    return found
