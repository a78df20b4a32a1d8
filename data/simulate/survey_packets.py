"""One alert → a ZTF 4.02 packet."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import numpy as np

from data.simulate.arrays import candid_of, object_name
from data.simulate.images import ZERO_POINT, stamps, zero_point
from data.simulate.observe import Alert, points
from data.simulate.scene import scene
from data.simulate.surroundings import context
from operators.types import WAVELENGTH
from schemas.avro.container import encode_ztf, make_cutout

JD = 2_400_000.5
_BANDS = tuple(WAVELENGTH["ztf"])
_RB, _DRB = "t17_f5_c3", "d6_m7"


def packet(alert: Alert) -> bytes:
    """The alert as ZTF would have sent it: a pure function of the alert."""
    surroundings = scene(alert.observed)
    facts = context(alert, surroundings)
    images, (y0, y1, x0, x1) = stamps(alert, surroundings, context=facts)
    candid = candid_of(alert)
    exposures = _exposures(alert)
    cut = [make_cutout(image[y0:y1, x0:x1]) for image in images]
    sign = "scimref" if alert.observed.flux[alert.now] >= 0 else "refmsci"
    names = (f"candid{candid}_targ_sci.fits.gz", f"candid{candid}_ref.fits.gz", f"candid{candid}_targ_{sign}.fits.gz")
    return encode_ztf(
        {
            "schemavsn": "4.02",
            "publisher": "Protonova simulation",
            "objectId": object_name(alert),
            "candid": candid,
            "candidate": _candidate(alert, candid, facts=facts, exposure=exposures[-1]),
            "prv_candidates": _previous(alert, facts, exposures=exposures) or None,
            "fp_hists": _forced(alert, facts, exposures=exposures) or None,
            **{
                key: {"fileName": name, "stampData": data}
                for key, name, data in zip(("cutoutScience", "cutoutTemplate", "cutoutDifference"), names, cut, strict=True)
            },
        }
    )


def _exposures(alert: Alert) -> list[dict[str, Any]]:
    """What every row of a packet says about its image; the alert's own last."""
    o, held = alert.observed, slice(alert.first, alert.now + 1)
    v = o.visits
    jd = np.round(v.mjd[held] + JD, 7).tolist()
    image = (np.floor(v.mjd[held]).astype(np.int64) - 57754) * 10**6 + (v.mjd[held] % 1 * 1e6).astype(np.int64)
    channel, field = o.index % 64, 200 + o.index % 1600
    rows = zip(jd, (v.band[held] + 1).tolist(), (image * 1000 + channel * 10 + 5).tolist(), v.limit[held].tolist(), strict=True)
    return [
        {"jd": t, "fid": fid, "pid": pid, "diffmaglim": limit, "programid": 1, "rcid": channel, "field": field}
        for t, fid, pid, limit in rows
    ]


def _photometry(flux: float, error: float, *, aperture: float = 0.05) -> dict[str, Any]:
    """A measurement in magnitudes; `aperture`: how much fainter the aperture's is."""
    size = max(abs(flux), 1e-9)
    magnitude, sigma = float(23.9 - 2.5 * np.log10(size)), float(2.5 / np.log(10) * error / size)
    return {
        "isdiffpos": "t" if flux >= 0 else "f",
        "magpsf": magnitude,
        "sigmapsf": sigma,
        "magap": magnitude + aperture,
        "sigmagap": 1.2 * sigma,
    }


def _candidate(alert: Alert, candid: int, *, facts: Mapping[str, Any], exposure: dict[str, Any]) -> dict[str, Any]:
    o, now = alert.observed, alert.now
    photometry = _photometry(float(o.flux[now]), float(o.error[now]), aperture=facts["magdiff"])
    known = {key: value for key, value in facts.items() if key != "mjdstarthist"}
    return {
        **exposure,
        **photometry,
        **known,
        "candid": candid,
        "pid": candid // 10**6,
        "programpi": "Simulation",
        "nid": int(np.floor(o.visits.mjd[now])) - 57754,
        "tblid": 1 + now % 40,
        "ra": o.ra,
        "dec": o.dec,
        "magfromlim": exposure["diffmaglim"] - photometry["magap"],
        "magapbig": photometry["magpsf"],
        "sigmagapbig": 1.6 * photometry["sigmapsf"],
        "ranr": o.ra,
        "decnr": o.dec,
        "jdstarthist": facts["mjdstarthist"] + JD,
        "jdendhist": exposure["jd"],
        "tooflag": 0,
        "rfid": (200 + o.index % 1600) * 10**6 + exposure["rcid"] * 10**4 + exposure["fid"] * 100,
        "jdstartref": 2_458_203.8,
        "jdendref": 2_458_240.9,
        "nframesref": 20,
        "rbversion": _RB,
        "drbversion": _DRB if facts["drb"] is not None else "",
        "magzpsci": zero_point(alert),
        "nmatches": 600,
        "exptime": 30.0,
    }


def _previous(alert: Alert, facts: Mapping[str, Any], *, exposures: list[dict[str, Any]]) -> list[dict[str, Any]]:
    """Earlier visits of the last 30 d: detections, and limits where there was none."""
    o = alert.observed
    out = []
    for k in range(alert.first, alert.now):
        row = {**exposures[k - alert.first], "rbversion": _RB, "magzpsci": ZERO_POINT[_BANDS[int(o.visits.band[k])]]}
        if o.detected[k]:
            earlier = Alert(o, k, k)
            row |= {**_photometry(float(o.flux[k]), float(o.error[k])), "candid": candid_of(earlier), "ra": o.ra, "dec": o.dec}
            row |= {key: facts[key] for key in ("distnr", "magnr", "sigmagnr", "chinr", "sharpnr", "rb", "elong")}
            row |= {"fwhm": float(o.visits.fwhm[k]), "ranr": o.ra, "decnr": o.dec}
        out.append(row)
    return out


def _forced(alert: Alert, facts: Mapping[str, Any], *, exposures: list[dict[str, Any]]) -> list[dict[str, Any]]:
    """Forced photometry in counts, with the zero point that makes it a flux."""
    o = alert.observed
    out = []
    for k in range(alert.first, alert.now):
        if not o.forced_rows[k]:
            continue
        zp = ZERO_POINT[_BANDS[int(o.visits.band[k])]]
        counts = 10 ** (0.4 * (zp - 23.9))
        row = dict(exposures[k - alert.first])
        row |= {
            "rfid": row["field"] * 10**6 + row["rcid"] * 10**4 + row["fid"] * 100,
            "magzpsci": zp,
            "sciinpseeing": float(o.visits.fwhm[k]),
            "forcediffimflux": float(o.forced[k] * counts),
            "forcediffimfluxunc": float(o.forced_error[k] * counts),
            "procstatus": "0",
            "exptime": 30.0,
            "ranr": o.ra,
            "decnr": o.dec,
        }
        row |= {key: facts[key] for key in ("distnr", "magnr", "sigmagnr", "chinr", "sharpnr")}
        out.append(row)
    return out


def n_detections(alert: Alert) -> int:
    """Detected points of the packet's light curve, as a decoder counts them."""
    return int(points(alert).detected.sum())
