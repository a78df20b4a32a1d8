"""Small packets worked out by hand, for tests."""

from __future__ import annotations

import json
from typing import Any

from schemas.avro.container import varint
from schemas.avro.schema_store import SchemaStore

CANDIDATE: dict[str, Any] = {"jd": "double", "fid": "int", "programid": "int", "candid": "long", "isdiffpos": "string", "magpsf": "float",
                             "sigmapsf": "float", "ra": "double", "dec": "double"}  # fmt: skip


def container(schema: Any, body: bytes, codec: str = "null", *, records: int = 1) -> bytes:
    """An Avro container of one block, by hand."""
    text = json.dumps(schema).encode()
    sync = bytes(range(16))

    def chunk(data: bytes) -> bytes:
        return varint(len(data)) + data

    header = b"Obj\x01" + varint(2) + chunk(b"avro.codec") + chunk(codec.encode()) + chunk(b"avro.schema") + chunk(text) + b"\0" + sync
    return header + varint(records) + chunk(body) + sync


def ztf_record() -> dict[str, Any]:
    """A ZTF alert with one earlier detection, one limit and two forced points, in round numbers."""
    needed: dict[str, Any] = {"pid": 1, "ranr": 0.0, "decnr": 0.0, "ndethist": 4, "ncovhist": 50, "nmtchps": 0, "rfid": 1,
                              "jdstartref": 0.0, "jdendref": 0.0, "nframesref": 1, "rbversion": "t17",
                              "nmatches": 1, "drbversion": "d6"}  # fmt: skip
    candidate = {**needed, "jd": 2460000.5, "fid": 1, "programid": 1, "candid": 99, "isdiffpos": "f", "magpsf": 18.9, "sigmapsf": 0.1,
                 "ra": 150.0, "dec": 2.0, "drb": 0.75, "rb": 0.5, "sgscore1": 0.25, "distpsnr1": 1.5, "srmag1": 21.4, "distnr": 0.5,
                 "magnr": 16.4, "ssdistnr": -999.0, "ssmagnr": -999.0, "jdstarthist": 2459990.5, "fwhm": 2.0, "elong": 1.25}  # fmt: skip
    before = {"pid": 1, "programid": 1, "rbversion": ""}
    forced = {"pid": 1, "rfid": 1, "programid": 1, "ranr": 0.0, "decnr": 0.0, "magzpsci": 26.4}
    return {
        "schemavsn": "4.02",
        "publisher": "ZTF (www.ztf.caltech.edu)",
        "objectId": "ZTF18abcdefg",
        "candid": 99,
        "candidate": candidate,
        "prv_candidates": [
            {**before, "jd": 2459998.5, "fid": 2, "isdiffpos": "1", "magpsf": 21.4, "sigmapsf": 0.2, "diffmaglim": 22.0},
            {**before, "jd": 2459992.5, "fid": 1, "diffmaglim": 20.15},
        ],
        "fp_hists": [
            {**forced, "jd": 2459992.5, "fid": 1, "forcediffimflux": 50.0, "forcediffimfluxunc": 20.0, "procstatus": "0"},
            {**forced, "jd": 2459993.5, "fid": 1, "forcediffimflux": -99999.0, "forcediffimfluxunc": -99999.0, "procstatus": "61",
             "diffmaglim": 21.4},
        ],
    }  # fmt: skip


def tess_record() -> dict[str, Any]:
    """A star of TESS magnitude 10 that brightens by 100 e-/s, with one flagged cadence."""
    curve = [{"btjd": 2000.0 + i, "flux": 15000.0, "flux_err": 10.0, "quality": 0} for i in range(3)]
    curve += [
        {"btjd": 2003.0, "flux": 1e6, "flux_err": 10.0, "quality": 128},
        {"btjd": 2004.0, "flux": 15100.0, "flux_err": 10.0, "quality": 0},
    ]
    return {"tic": 1234, "sector": 5, "cadence": 7, "ra": 10.0, "dec": 20.0, "tmag": 10.0, "baseline": 15000.0, "light_curve": curve}


def frames_record() -> dict[str, Any]:
    """An alert of a raw frame in r: one earlier detection, one forced point that shows nothing, one limit, in round numbers."""
    return {
        "candid": 77, "object_id": "PNJ100000.00-300000.0", "frame_id": "n1-003", "detector": "ccd1", "public": True, "ra": 150.0,
        "dec": -30.0, "mjd": 61000.25, "filter": "r", "flux": 50.0, "flux_err": 2.5, "snr": 21.0, "limit": 12.5, "fwhm": 2.0,
        "elongation": 1.25, "seeing": 1.75, "seeing_ratio": 1.125, "negative_pixels": 2.0, "bad_pixels": 1.0, "sky": 350.0,
        "reference_distance": 1.5, "reference_flux": 300.0, "reference_id": "abc", "n_detections": 2, "n_visits": 9,
        "first_detection": 60998.25, "pixel_scale": 1.0,
        "history": [
            {"mjd": 60990.25, "filter": "clear", "limit": 8.0},
            {"mjd": 60996.25, "filter": "I", "flux": -1.5, "flux_err": 1.0, "limit": 5.0},
            {"mjd": 60998.25, "filter": "r", "flux": 25.0, "flux_err": 2.0, "limit": 10.0, "detected": True},
        ],
    }  # fmt: skip


def least_rubin(schema_id: int = 900) -> dict[str, Any]:
    """The smallest Rubin alert of a schema: what may not be null is 0 or empty; a source of 1 µJy with a tenth of error."""

    def least(kind: Any) -> Any:
        if isinstance(kind, list):
            return None
        if isinstance(kind, dict) and kind["type"] == "record":
            return {f["name"]: least(f["type"]) for f in kind["fields"]}
        return {"string": "r", "bytes": b"", "boolean": False}.get(kind if isinstance(kind, str) else kind["type"], 0)

    record: dict[str, Any] = least(SchemaStore().get(schema_id))
    record["diaSource"] |= {"diaSourceId": 7, "midpointMjdTai": 61000.0, "ra": 10.0, "dec": -10.0, "psfFlux": 1000.0, "psfFluxErr": 100.0}
    return record
