"""Whose catalogue a table is → what its columns are called, its epoch, and within which radius it matches.

A column's names are compared in small letters without blanks, underscores and dashes. Radii are those of the catalogues' and the surveys'
errors together, for galaxies about the size of a distant one; a galaxy whose size is known matches as far as it reaches.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field

NUMBERS: tuple[str, ...] = (
    "pm_ra",  # along ra cos dec [mas/yr]
    "pm_dec",  # [mas/yr]
    "parallax",  # [mas]
    "redshift",  # [1]
    "redshift_err",  # [1]
    "photo_z",  # from photometry, where there is none from a spectrum [1]
    "photo_z_err",  # [1]
    "distance",  # [Mpc]
    "size",  # a galaxy's radius: half of its major axis [arcsec]
)
"""What a catalogue may hold of a source besides its name, kind, place and magnitudes."""
MINUTES = 30.0
"""A major axis in arcminutes → its half in arcseconds."""

_MOTION = {"pm_ra": ("pmra", "pmracosdec", "pmrastar"), "pm_dec": ("pmdec", "pmde")}
_PLACE = {
    "ra": ("ra", "raj2000", "radeg", "raicrs", "ra(deg)", "ramean"),
    "dec": ("dec", "dej2000", "dedeg", "deicrs", "dec(deg)", "decmean"),
}


@dataclass(frozen=True, slots=True, kw_only=True)
class CatalogueKind:
    """How a catalogue is read and matched."""

    title: str
    columns: Mapping[str, tuple[str, ...]]
    """Role (name, kind, ra, dec, one of `NUMBERS`) → the column's possible names."""
    bands: Mapping[str, tuple[str, ...]] = field(default_factory=dict)
    """Band → the possible names of its magnitude's column."""
    radius: float
    """[arcsec]"""
    epoch: float = 2000.0
    """Julian year of its places."""
    scale: Mapping[str, float] = field(default_factory=dict)
    """Role → factor to our unit."""
    hosts: bool = False
    """Its sources are galaxies, or say which of them are, that a transient may lie in."""
    left_out: frozenset[str] = frozenset()
    """Kinds of rows that are not sources of their own."""


KINDS: dict[str, CatalogueKind] = {
    "gaia": CatalogueKind(
        title="Gaia DR3 (also EDR3, DR2): stars",
        columns={**_PLACE, **_MOTION, "name": ("sourceid", "source", "dr3name"), "parallax": ("parallax", "plx")},
        bands={"G": ("photgmeanmag", "gmag"), "BP": ("photbpmeanmag", "bpmag"), "RP": ("photrpmeanmag", "rpmag")},
        radius=1.5,
        epoch=2016.0,
    ),
    "legacy": CatalogueKind(
        title="Legacy Surveys or Pan-STARRS with photometric redshifts: hosts",
        columns={
            **_PLACE,
            "name": ("lsid", "objid", "id"),
            "kind": ("type", "class"),
            "redshift": ("zspec",),
            "photo_z": ("zphotmedian", "zphot", "zphotmean"),
            "photo_z_err": ("zphotstd", "zphoterr"),
            "size": ("shaper", "shapersize"),
        },
        bands={b: (f"deredmag{b}", f"mag{b}", f"{b}meankronmag", f"{b}kronmag") for b in "griz"},
        radius=5.0,
        hosts=True,
    ),
    "ned": CatalogueKind(
        title="NASA/IPAC Extragalactic Database, or its Local Volume Sample",
        columns={
            **_PLACE,
            "name": ("objname", "objectname", "name"),
            "kind": ("objtype", "type", "prettype"),
            "redshift": ("z", "redshift"),
            "redshift_err": ("zunc",),
            "distance": ("distmpc",),
            "size": ("diam",),
        },
        radius=5.0,
        hosts=True,
        scale={"size": 0.5},
    ),
    "glade": CatalogueKind(
        title="GLADE+: galaxies of the nearby Universe",
        columns={
            **_PLACE,
            "name": ("glade+", "gladeno", "glade", "pgc"),
            "redshift": ("zhelio", "z"),
            "redshift_err": ("ezhelio", "zerr"),
            "distance": ("dl", "dist"),
        },
        bands={"B": ("bmag", "b"), "K": ("kmag", "k")},
        radius=10.0,
        hosts=True,
    ),
    "simbad": CatalogueKind(
        title="SIMBAD",
        columns={
            **_PLACE,
            **_MOTION,
            "name": ("mainid",),
            "kind": ("otype", "maintype"),
            "parallax": ("plxvalue", "plx"),
            "redshift": ("zvalue", "rvzredshift", "redshift"),
        },
        bands={b: (f"flux{b.lower()}", b.lower()) for b in "BVG"},
        radius=3.0,
    ),
    "vsx": CatalogueKind(
        title="AAVSO International Variable Star Index, or another list of variable stars",
        columns={**_PLACE, "name": ("name", "oid"), "kind": ("type", "vartype")},
        bands={"max": ("max", "maxmag")},
        radius=3.0,
    ),
    "openngc": CatalogueKind(
        title="OpenNGC: NGC and IC objects",
        columns={
            **_PLACE,
            "name": ("name",),
            "kind": ("type",),
            "redshift": ("redshift",),
            "size": ("majax",),
            **_MOTION,
        },
        bands={"B": ("bmag", "b-mag"), "V": ("vmag", "v-mag"), "K": ("kmag", "k-mag")},
        radius=20.0,
        scale={"size": MINUTES},
        hosts=True,
        left_out=frozenset({"Dup", "NonEx"}),
    ),
    "hipparcos": CatalogueKind(
        title="Hipparcos, the new reduction (ESA 1997; van Leeuwen 2007): bright stars",
        columns={**_PLACE, **_MOTION, "name": ("hip",), "parallax": ("plx", "parallax")},
        bands={"Hp": ("hpmag",), "V": ("vmag",)},
        radius=3.0,
        epoch=1991.25,
    ),
    "own": CatalogueKind(
        title="a table of your own: ra, dec, and what it likes of name, kind, redshift, size, pm_ra…",
        columns={
            **_PLACE,
            **_MOTION,
            "name": ("name", "id", "objectid"),
            "kind": ("kind", "type", "class"),
            **{role: (role.replace("_", ""),) for role in NUMBERS if not role.startswith("pm")},
        },
        bands={b: (f"mag{b}",) for b in "ugrizyGBVRIJHK"},
        radius=3.0,
    ),
}
GALAXIES: frozenset[str] = frozenset({"G", "GPair", "GTrpl", "GGroup", "galaxy", "REX", "EXP", "DEV", "SER", "COMP"})
"""Kinds of sources that are galaxies, in the catalogues' own words; a catalogue of hosts that names no kinds holds nothing else."""
