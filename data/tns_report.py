"""An object as the Transient Name Server takes it: its AT report, as JSON.

an object, its public light curve, who reports → the `at_report` of TNS' bulk report

Form: https://www.wis-tns.org/sites/default/files/api/TNS_bulk_reports_manual.pdf (JSON of the bulk report; ids of
filters, instruments and units: https://www.wis-tns.org/api/values). `AT_REPORT` is that form as a JSON schema, as far as we fill it.
"""

from __future__ import annotations

import datetime as dt
import math
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

from data.history.store import PUBLIC, ObjectRow, PointRow
from errors import UserError

LIVE, SANDBOX = "https://www.wis-tns.org/api/set/bulk-report", "https://sandbox.wis-tns.org/api/set/bulk-report"
AB_MAGNITUDES = "1"
"""TNS' id of the unit."""
FILTERS = {("ztf", "g"): "110", ("ztf", "r"): "111", ("ztf", "i"): "112"}
"""Survey and band → TNS' id of the filter."""
INSTRUMENTS = {"ztf": "196"}
"""Survey → TNS' id of its camera."""
EXPOSURE = {"ztf": "30"}
"""[s]"""
AT_TYPES = {"cv": "2", "agn": "3", "tde": "4"}
"""Class → TNS' AT type: possible nova, AGN, nuclear; else possible supernova."""
POSSIBLE_SUPERNOVA = "1"
NO_LIMIT = "0"
"""TNS' id of an archive: other. With a remark it stands in the place of a last non-detection."""
LEAST_DETECTIONS = 2
PLACE_ERROR = "0.3"
"""[arcsec]"""
_TAI_UTC = 37.0
"""Since 2017 [s]."""
_text = {"type": "string"}
_number = {"type": "string", "pattern": r"^-?[0-9]+(\.[0-9]+)?$"}
_date = {"type": "string", "pattern": r"^[0-9]{4}-[0-9]{2}-[0-9]{2} [0-9]{2}:[0-9]{2}:[0-9]{2}$"}
_place = {
    "type": "object", "required": ["value", "error", "units"], "additionalProperties": False,
    "properties": {"value": _number, "error": _number, "units": {"const": "arcsec"}},
}  # fmt: skip
_point = {
    "type": "object", "additionalProperties": False,
    "required": ["obsdate", "flux", "flux_error", "flux_units", "filter_value", "instrument_value"],
    "properties": {
        "obsdate": _date, "flux": _number, "flux_error": _number, "limiting_flux": _text, "flux_units": {"enum": ["1"]},
        "filter_value": _number, "instrument_value": _number, "exptime": _text, "observer": _text, "comments": _text,
    },
}  # fmt: skip
AT_REPORT: dict[str, Any] = {
    "$schema": "https://json-schema.org/draft/2020-12/schema", "type": "object", "required": ["at_report"], "additionalProperties": False,
    "properties": {"at_report": {"type": "object", "minProperties": 1, "patternProperties": {"^[0-9]+$": {
        "type": "object", "additionalProperties": False,
        "required": ["ra", "dec", "reporting_group_id", "discovery_data_source_id", "reporter", "discovery_datetime", "at_type",
                     "non_detection", "photometry"],
        "properties": {
            "ra": _place, "dec": _place, "reporting_group_id": _number, "discovery_data_source_id": _number,
            "reporter": {"type": "string", "minLength": 3}, "discovery_datetime": _date, "at_type": {"enum": ["0", "1", "2", "3", "4"]},
            "host_name": _text, "host_redshift": _text, "transient_redshift": _text, "internal_name": _text, "remarks": _text,
            "non_detection": {
                "type": "object", "required": ["archiveid", "archival_remarks"],
                "properties": {"archiveid": _number, "archival_remarks": {"type": "string", "minLength": 1}},
            },
            "photometry": {"type": "object", "required": ["photometry_group"], "properties": {"photometry_group": {
                "type": "object", "minProperties": 1, "additionalProperties": False, "patternProperties": {"^[0-9]+$": _point}}}},
        },
    }}, "additionalProperties": False}},
}  # fmt: skip
"""What we send, by TNS' documentation; a test holds every report to it."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Reporting:
    """Who reports: ids that TNS has given, and the authors as they shall stand there."""

    group_id: int
    source_id: int
    reporter: str
    remarks: str = ""


def at_report(
    found: ObjectRow, points: Sequence[PointRow], *, by: Reporting, host: str | None = None, redshift: float | None = None
) -> dict[str, Any]:
    """Report an object.

    Parameters
    ----------
    found : ObjectRow
    points : sequence of PointRow
        Its light curve; what is not public, fainter than its reference or of an unknown filter is left out.
    by : Reporting
    host : str, optional
        Name of its host galaxy.
    redshift : float, optional
        The host's.

    Raises
    ------
    UserError
        It has too little that may be reported, or of its survey TNS' ids are not known.
    """
    if found.survey not in INSTRUMENTS:
        known = ", ".join(INSTRUMENTS)
        raise UserError(f"reports of {found.survey} are not made: TNS' numbers of instrument and filters are known here of {known} only")
    seen = [p for p in points if p.programid == PUBLIC and p.flux is not None and p.flux > 0 and (p.survey, p.band) in FILTERS]
    if len(seen) < LEAST_DETECTIONS:
        n = f"{len(seen)} public detections above its reference"
        raise UserError(f"{found.object_id} has {n}: a report has {LEAST_DETECTIONS} at least")
    first = seen[0]
    report: dict[str, Any] = {
        "ra": _placed(found.ra), "dec": _placed(found.dec), "reporting_group_id": str(by.group_id),
        "discovery_data_source_id": str(by.source_id), "reporter": by.reporter, "discovery_datetime": _utc(first.mjd),
        "at_type": AT_TYPES.get(found.class_name, POSSIBLE_SUPERNOVA), "internal_name": found.object_id, "remarks": by.remarks,
        "non_detection": {"archiveid": NO_LIMIT, "archival_remarks": "absent from the survey's reference image"},
        "photometry": {"photometry_group": {str(k): _photometry(p) for k, p in enumerate((first, seen[-1]))}},
    }  # fmt: skip
    if host is not None:
        report["host_name"] = host
    if redshift is not None and math.isfinite(redshift):
        report["host_redshift"] = f"{redshift:.5f}"
    return {"at_report": {"0": report}}


def marker(bot_id: int, name: str) -> str:
    """The User-Agent by which TNS knows a bot."""
    return f'tns_marker{{"tns_id": {bot_id}, "type": "bot", "name": "{name}"}}'


def _placed(degrees: float) -> dict[str, str]:
    return {"value": f"{degrees:.6f}", "error": PLACE_ERROR, "units": "arcsec"}


def _photometry(point: PointRow) -> dict[str, str]:
    flux = float(point.flux or 0.0)
    error = 2.5 / math.log(10.0) * point.flux_err / flux if point.flux_err else 0.1
    return {
        "obsdate": _utc(point.mjd), "flux": f"{23.9 - 2.5 * math.log10(flux):.3f}", "flux_error": f"{error:.3f}", "limiting_flux": "",
        "flux_units": AB_MAGNITUDES, "filter_value": FILTERS[point.survey, point.band], "instrument_value": INSTRUMENTS[point.survey],
        "exptime": EXPOSURE[point.survey], "observer": "Robot", "comments": "difference flux",
    }  # fmt: skip


def _utc(mjd: float) -> str:
    """MJD TAI → UTC to a second, as TNS writes it."""
    moment = dt.datetime(1858, 11, 17) + dt.timedelta(days=mjd, seconds=-_TAI_UTC)
    return moment.strftime("%Y-%m-%d %H:%M:%S")
