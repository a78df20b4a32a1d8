"""What archives say of an object beside its light curve → one row of facts an object; what is not stated is None, never imputed.

headers of a light-curve file, a broker's JSON, rows of the TESS Input Catalog → `Facts`; with a position and a map of dust → `row`
"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any

from data.connectors.dust_map import DustMap
from data.connectors.fits_headers import Header
from schemas.surveys.times import galactic_latitude

SUN_LOGG = 4.43807
"""[log10 cm/s2] of the nominal solar mass parameter and radius (IAU 2015, resolution B3)."""
BOUNDS: Mapping[str, tuple[float, float]] = {
    "ra": (0.0, 360.0),
    "dec": (-90.0, 90.0),
    "star_galaxy": (0.0, 1.0),
    "redshift": (-0.01, 20.0),
    "teff": (500.0, 500_000.0),
    "radius": (1e-3, 3_000.0),
    "mass": (1e-3, 500.0),
    "logg": (-3.0, 10.0),
    "tmag": (-5.0, 30.0),
}
"""What a number can be; another one (ZTF's -999, 0 for "unknown") is missing."""


@dataclass(frozen=True, slots=True)
class Facts:
    """What is stated of one object."""

    object: str
    ra: float | None = None
    """[deg, ICRS]"""
    dec: float | None = None
    star_galaxy: float | None = None
    """Of the nearest catalogue source: 1 star, 0 galaxy (PS1's score in ZTF's alerts, the object type in the TIC)."""
    redshift: float | None = None
    """Spectroscopic, of the object or of its host."""
    teff: float | None = None
    """[K]"""
    radius: float | None = None
    """[solar radii]"""
    mass: float | None = None
    """[solar masses]"""
    logg: float | None = None
    """[log10 cm/s2]"""
    tmag: float | None = None
    """[mag] in TESS's passband."""
    stated_by: str | None = None
    """Whose the star's parameters are."""


_STAR = ("teff", "radius", "mass", "logg", "tmag")


def stellar_density(radius: float | None, logg: float | None) -> float | None:
    """Mean density of a star from its radius and surface gravity, which transit durations are checked against.

    Parameters
    ----------
    radius : float or None
        [solar radii]
    logg : float or None
        [log10 cm/s2]

    Returns
    -------
    float or None
        [solar densities; the Sun's is 1.41 g/cm3]: g/R in the Sun's, since the density is 3 g / (4 pi G R). None where either is missing
        or the radius is not positive.
    """
    if radius is None or logg is None or not radius > 0 or not math.isfinite(radius) or not abs(logg) <= 20:
        return None
    return 10 ** (logg - SUN_LOGG) / radius


def sound(name: str, value: Any) -> float | None:
    """A number that the quantity can be, or None."""
    low, high = BOUNDS[name]
    if isinstance(value, bool) or not isinstance(value, int | float | str):
        return None
    try:
        number = float(value)
    except (ValueError, OverflowError):
        return None
    return number if low <= number <= high else None


def of_headers(headers: Sequence[Header], *, target: str) -> Facts:
    """What the headers of a light curve or of target pixels state (SPOC, QLP and Kepler have these cards)."""

    def card(*names: str) -> Any:
        return next((header[name] for name in names for header in headers if header.get(name, "") != ""), None)

    star = {name: sound(name, card(key)) for name, key in (("teff", "TEFF"), ("radius", "RADIUS"), ("logg", "LOGG"), ("tmag", "TESSMAG"))}
    stated = "header" if any(value is not None for value in star.values()) else None
    return Facts(target, sound("ra", card("RA_OBJ", "RA")), sound("dec", card("DEC_OBJ", "DEC")), stated_by=stated, **star)


def of_tic(row: Mapping[str, Any]) -> Facts:
    """What a row of the TESS Input Catalog states (Stassun et al. 2019, AJ 158, 138; columns of MAST's service)."""
    columns = (("teff", "Teff"), ("radius", "rad"), ("mass", "mass"), ("logg", "logg"), ("tmag", "Tmag"))
    star = {name: sound(name, row.get(key)) for name, key in columns}
    kind = {"STAR": 1.0, "EXTENDED": 0.0}.get(str(row.get("objType")).upper())
    place = sound("ra", row.get("ra")), sound("dec", row.get("dec"))
    return Facts(f"TIC {row.get('ID')}", *place, star_galaxy=kind, stated_by="TIC", **star)


def of_broker(name: str, answer: Any) -> Facts:
    """What ALeRCE's, Fink's or Lasair's JSON states of a ZTF object."""
    whole = answer if isinstance(answer, Mapping) else {}
    rows = answer if isinstance(answer, list) else whole.get("detections") or whole.get("candidates") or []
    rows = [row for row in rows if isinstance(row, Mapping)]

    def middle(key: str) -> float | None:
        found = sorted(v for row in rows if (v := sound(key, row.get(key, row.get(f"i:{key}")))) is not None)
        return found[len(found) // 2] if found else None

    stated = whole.get("objectData")
    about: Mapping[str, Any] = stated if isinstance(stated, Mapping) else {}
    score = next((v for row in (about, *rows) if (v := sound("star_galaxy", row.get("sgscore1", row.get("i:sgscore1")))) is not None), None)
    spectra = [part for part in (whole.get("TNS"), whole.get("sherlock"), about) if isinstance(part, Mapping)]
    redshift = next((v for part in spectra if (v := sound("redshift", part.get("z"))) is not None), None)
    ra, dec = sound("ra", about.get("ramean")), sound("dec", about.get("decmean"))
    return Facts(name, middle("ra") if ra is None else ra, middle("dec") if dec is None else dec, star_galaxy=score, redshift=redshift)


def merged(facts: Facts, catalogue: Facts | None) -> Facts:
    """A file's own facts, completed by the catalogue's.

    The star's parameters are taken together from one of them, since a radius and a gravity of two fits give a density of neither: the
    catalogue's where it has the radius, for it states the mass as well.
    """
    if catalogue is None:
        return facts
    star = catalogue if catalogue.radius is not None or facts.stated_by is None else facts
    both = replace(
        facts,
        ra=catalogue.ra if facts.ra is None else facts.ra,
        dec=catalogue.dec if facts.dec is None else facts.dec,
        star_galaxy=catalogue.star_galaxy if facts.star_galaxy is None else facts.star_galaxy,
        redshift=catalogue.redshift if facts.redshift is None else facts.redshift,
    )
    return replace(both, stated_by=star.stated_by, **{name: getattr(star, name) for name in _STAR})


def row(facts: Facts, dust: DustMap | None) -> dict[str, Any]:
    """A line of ``enriched.jsonl``: the facts, and what follows from them."""
    placed = facts.ra is not None and facts.dec is not None
    ebv = dust.ebv(facts.ra, facts.dec) if dust is not None and facts.ra is not None and facts.dec is not None else None
    return {
        "object": facts.object,
        "ra": facts.ra,
        "dec": facts.dec,
        "galactic_latitude": float(galactic_latitude(facts.ra, facts.dec)) if placed else None,
        "ebv": ebv,
        "ebv_map": dust.name if dust is not None and ebv is not None else None,
        "star_galaxy": facts.star_galaxy,
        "redshift": facts.redshift,
        **{name: getattr(facts, name) for name in _STAR},
        "density": stellar_density(facts.radius, facts.logg),
        "parameters_from": facts.stated_by,
    }
