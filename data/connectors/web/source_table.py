"""The archives that can be asked, a row each."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from types import MappingProxyType

from data.connectors.web import broker_objects, mast_archive, ztf_archive
from data.connectors.web.download import Remote
from data.connectors.web.http_client import HttpClient
from data.connectors.web.source_query import Query


@dataclass(frozen=True, slots=True)
class Source:
    """An archive.

    Attributes
    ----------
    name, summary, example : str
        As typed, what it gives, and a query.
    base : str
        Its address.
    page : str
        Of its documentation.
    licence : str
        Terms of its data.
    per_second : float
        Requests it is sent at most.
    plan : callable
        Query → the files that it stands for.
    keys : mapping
        Keys of a query → what they are.
    token : str, optional
        Variable of the environment with the caller's token.
    probe : tuple of str
        A small query that ``make check-archives`` asks.
    no_packets : str
        Why its files hold no packets; empty: they may hold some.
    """

    name: str
    summary: str
    example: str
    base: str
    page: str
    licence: str
    per_second: float
    plan: Callable[[Query, HttpClient], list[Remote]]
    keys: Mapping[str, str] = field(default_factory=lambda: MappingProxyType({}))
    token: str | None = None
    probe: tuple[str, ...] = ()
    no_packets: str = ""


_ZTF = "public, without restriction; acknowledge ZTF (https://irsa.ipac.caltech.edu/data_use_terms.html)"
_MAST = "public domain; acknowledge the mission and MAST; HLSP: CC BY 4.0 (https://archive.stsci.edu/publishing/data-use)"
_BROKER = "public ZTF alerts; acknowledge ZTF and the broker (https://{})"
_FEW = "its record has a dozen of the fields of an alert; fink gives whole ones"
_MAST_KEYS = {
    "cone": "RA,DEC [deg]",
    "radius": "of the cone [arcsec], 21",
    "product": "lc or tp",
    "author": "pipeline",
    "limit": "most files, 200",
}

SOURCES: Mapping[str, Source] = {
    source.name: source
    for source in (
        Source(
            "ztf-nights", "public alerts of a night, as packets", "20240617", "https://ztf.uw.edu/alerts/public",
            "https://ztf.uw.edu/alerts/public/", _ZTF, 1.0, ztf_archive.nights,
        ),
        Source(
            "ztf-lightcurves", "light curves of the data releases around a position, as CSV", "298.0025,29.87147 radius=2",
            "https://irsa.ipac.caltech.edu", "https://irsa.ipac.caltech.edu/docs/program_interface/ztf_lightcurve_api.html", _ZTF, 1.0,
            ztf_archive.light_curves, {"radius": "[arcsec], 2", "band": "some of g,r,i", "collection": "data release, such as ztf_dr24"},
            probe=("298.0025,29.87147", "radius=1", "band=g"),
            no_packets="magnitudes of the data releases, not alerts",
        ),
        Source(
            "tess", "light curves or target pixels of TESS, as FITS", "tic=261136679 sector=1", "https://mast.stsci.edu",
            "https://mast.stsci.edu/api/v0/", _MAST, 2.0, mast_archive.tess,
            {"tic": "number in the TESS Input Catalog", "sector": "of the mission", **_MAST_KEYS, "cadence": "120, 20 [s] or all",
             "catalog": "tic: the stars' parameters too"},
            probe=("tic=261136679", "sector=1"),
        ),
        Source(
            "kepler", "light curves or target pixels of Kepler, as FITS", "kic=10002792 quarter=5", "https://mast.stsci.edu",
            "https://mast.stsci.edu/api/v0/", _MAST, 2.0, mast_archive.kepler,
            {"kic": "number in the Kepler Input Catalog", "quarter": "0 to 17", **_MAST_KEYS, "cadence": "long, short or all"},
            probe=("kic=10002792", "quarter=5"),
        ),
        Source(
            "alerce", "ALeRCE's light curve of a ZTF object, as JSON", "ZTF18abbuksn", "https://api.alerce.online",
            "https://api.alerce.online/ztf/v1/", _BROKER.format("alerce.science"), 2.0, broker_objects.alerce, probe=("ZTF18abbuksn",),
            no_packets=_FEW,
        ),
        Source(
            "fink", "Fink's rows of a ZTF object, as JSON", "ZTF21aaxtctv", "https://api.ztf.fink-portal.org",
            "https://doc.ztf.fink-broker.org", _BROKER.format("fink-broker.org"), 1.0, broker_objects.fink, probe=("ZTF21aaxtctv",),
        ),
        Source(
            "lasair", "Lasair's record of a ZTF object, as JSON; needs a token", "ZTF18abbuksn", "https://lasair-ztf.lsst.ac.uk",
            "https://lasair.readthedocs.io/en/main/core_functions/rest-api.html", _BROKER.format("lasair-ztf.lsst.ac.uk"), 100 / 3600,
            broker_objects.lasair, token=broker_objects.TOKEN, probe=("ZTF18abbuksn",), no_packets=_FEW,
        ),
    )
}  # fmt: skip
