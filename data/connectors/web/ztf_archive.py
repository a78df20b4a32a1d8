"""ZTF's two public archives: nights of alerts (University of Washington) and light curves by position (IRSA)."""

from __future__ import annotations

import re
from datetime import date, timedelta
from urllib.parse import urlencode

from data.connectors.web.digests import from_list
from data.connectors.web.download import Remote
from data.connectors.web.faults import FetchError, NotThereError
from data.connectors.web.http_client import HttpClient, Request
from data.connectors.web.source_query import Query, position
from errors import one_line, usage

NIGHT = "ztf_public_{}.tar.gz"
MOST_NIGHTS = 400
MOST_OF_A_NIGHT = 64 * 2**30
"""Bytes; the largest nights have 16 GB."""
FIRST_NIGHT = date(2018, 6, 1)


def nights(query: Query, client: HttpClient) -> list[Remote]:
    """Nights of public alerts, each a ``tar.gz`` of Avro files with its MD5 in ``MD5SUMS`` (https://ztf.uw.edu/alerts/public/).

    Parameters
    ----------
    query : Query
        Words: nights as YYYYMMDD (UTC), or from..to.
    client : HttpClient
    """
    wanted = _nights(query.words)
    listed = from_list(client.read(Request(f"{query.base}/MD5SUMS")).decode("utf-8", "replace"))
    if not any(re.fullmatch(r"ztf_public_\d{8}\.tar\.gz", name) for name in listed):
        raise FetchError(f"{query.base}/MD5SUMS lists no night: the archive's form changed")
    missing = [night for night in wanted if NIGHT.format(night) not in listed]
    if missing and (len(wanted) == 1 or len(missing) == len(wanted)):
        have = sorted(re.findall(r"ztf_public_(\d{8})\.tar\.gz", " ".join(listed)))
        near = [max((n for n in have if n < missing[0]), default=None), min((n for n in have if n > missing[0]), default=None)]
        raise NotThereError(f"the archive has no night {missing[0]}: the nearest are {', '.join(n for n in near if n)}")
    return [
        Remote(
            Request(f"{query.base}/{NIGHT.format(night)}"),
            NIGHT.format(night),
            "ztf-night",
            digest=listed[NIGHT.format(night)],
            most=MOST_OF_A_NIGHT,
            about={"night": night},
        )
        for night in wanted
        if night not in missing
    ]


def _nights(words: tuple[str, ...]) -> list[str]:
    found: list[str] = []
    for word in words:
        first, dots, last = word.partition("..")
        begin, end = _date(first), _date(last if dots else first)
        if not FIRST_NIGHT <= begin <= end:
            raise usage(
                f"{one_line(word, 40)}: the archive begins with {FIRST_NIGHT:%Y%m%d}, and a range goes from an earlier night to a later one"
            )
        if (end - begin).days >= MOST_NIGHTS:
            raise usage(f"{one_line(word, 40)} has more than {MOST_NIGHTS} nights: ask for fewer at a time")
        found += [f"{begin + timedelta(days=k):%Y%m%d}" for k in range((end - begin).days + 1)]
    if not found:
        raise usage("ztf-nights needs a night: YYYYMMDD (UTC), or a range such as 20240617..20240619")
    return list(dict.fromkeys(found))


def _date(text: str) -> date:
    if re.fullmatch(r"\d{8}", text) and text.isascii():
        try:
            return date(int(text[:4]), int(text[4:6]), int(text[6:]))
        except ValueError:
            pass
    raise usage(f"{one_line(text, 40)!r} is not a night: write YYYYMMDD (UTC), such as 20240617")


BANDS = ("g", "r", "i")


def light_curves(query: Query, client: HttpClient) -> list[Remote]:
    """Light curves of the data releases around positions, as CSV [mag, MJD UTC].

    IRSA's ZTF light-curve service: https://irsa.ipac.caltech.edu/docs/program_interface/ztf_lightcurve_api.html

    Parameters
    ----------
    query : Query
        Words: RA,DEC [deg]; options: radius [arcsec], band, collection.
    client : HttpClient
        Not asked: the answer itself is the file.
    """
    if not query.words:
        raise usage("ztf-lightcurves needs a position: RA,DEC in degrees, such as 298.0025,29.87147")
    radius = query.number("radius", 2.0, low=0.1, high=60.0)
    bands = query.options.get("band", ",".join(BANDS)).split(",")
    if any(band not in BANDS for band in bands):
        raise usage(f"band={one_line(query.options['band'], 40)}: write some of g,r,i")
    collection = query.options.get("collection")
    if collection is not None and not re.fullmatch(r"ztf(_dr\d{1,3})?", collection):
        raise usage(f"collection={one_line(collection, 40)}: write a data release, such as ztf_dr24")
    found = []
    for word in query.words:
        ra, dec = position(word)
        asked = {"POS": f"CIRCLE {ra:.6f} {dec:.6f} {radius / 3600:.7f}", "BANDNAME": ",".join(bands), "FORMAT": "csv"}
        asked |= {"COLLECTION": collection} if collection else {}
        name = f"ztf_{ra:010.6f}{dec:+010.6f}_{radius:g}arcsec_{''.join(bands)}{f'_{collection}' if collection else ''}.csv"
        about = {"ra": ra, "dec": dec, "radius": radius / 3600}
        url = f"{query.base}/cgi-bin/ZTF/nph_light_curves?{urlencode(asked)}"
        found.append(Remote(Request(url), name, "ztf-light-curve", most=2**30, about=about))
    return found
