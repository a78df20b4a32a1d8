"""Protonova as a TOM asks it: a name, a cone or a class → targets; a target → its light curve."""

from __future__ import annotations

import math
from datetime import UTC, datetime, timedelta
from typing import Any
from urllib.parse import quote

import httpx
from django import forms
from tom_dataproducts.models import PhotometryReducedDatum
from tom_dataservices.dataservices import DataService, QueryServiceError
from tom_dataservices.forms import BaseQueryForm
from tom_targets.models import Target

TIME_OUT = 20.0
MOST = 100
_TAI_UTC = 37.0
"""Since 2017 [s]."""


class ProtonovaForm(BaseQueryForm):
    """What is asked: one of the three."""

    object_id = forms.CharField(required=False, max_length=200, help_text="An object's name, as its survey has it")
    ra = forms.FloatField(required=False, min_value=0, max_value=360, help_text="[deg], with dec and radius: objects of a cone")
    dec = forms.FloatField(required=False, min_value=-90, max_value=90)
    radius = forms.FloatField(required=False, min_value=0.001, max_value=3600, initial=5, help_text="[arcsec]")
    class_name = forms.CharField(required=False, max_length=64, help_text="Candidates of a class that stand, such as tde")


class ProtonovaService(DataService):
    """Objects, candidates and light curves of a Protonova."""

    name = "Protonova"
    verbose_name = "Protonova: rare events in alert streams"
    info_url = "https://protonova.example.org/docs"
    service_notes = "By an object's name, a cone, or a class whose candidates stand."

    @classmethod
    def get_form_class(cls) -> type[ProtonovaForm]:
        """The form."""
        return ProtonovaForm

    @classmethod
    def urls(cls, **kwargs: Any) -> dict[str, Any]:
        """Of this installation."""
        return {"base_url": cls.get_configuration("base_url"), "info_url": cls.info_url}

    def build_headers(self, *args: Any, **kwargs: Any) -> dict[str, str]:
        """The key that the settings name."""
        key = self.get_credentials()
        return {"Authorization": f"Bearer {key}"} if key else {}

    def build_query_parameters(self, parameters: dict[str, Any], **kwargs: Any) -> dict[str, Any]:
        """The form's fields that were filled."""
        self.query_parameters = {k: parameters.get(k) for k in ProtonovaForm.declared_fields if parameters.get(k) not in (None, "")}
        return self.query_parameters

    def build_query_parameters_from_target(self, target: Target, **kwargs: Any) -> dict[str, Any]:
        """A target is asked for by its name."""
        return {"object_id": target.name}

    def query_service(self, query_parameters: dict[str, Any], **kwargs: Any) -> list[dict[str, Any]]:
        """Objects, each with its name and place."""
        q = query_parameters
        if q.get("object_id"):
            found = self._ask(f"/v1/objects/{quote(str(q['object_id']), safe='')}", missing=True)
            self.query_results = [] if found is None else [found["data"]]
        elif q.get("ra") is not None and q.get("dec") is not None:
            cone = {"ra": q["ra"], "dec": q["dec"], "radius": q.get("radius") or 5.0}
            self.query_results = self._ask("/v1/cone", **cone, limit=MOST)["data"]
        elif q.get("class_name"):
            self.query_results = self._ask("/v1/candidates", **{"class": q["class_name"], "standing": True, "limit": MOST})["data"]
        else:
            raise QueryServiceError("give a name, a place or a class")
        return self.query_results

    def query_targets(self, query_parameters: dict[str, Any], **kwargs: Any) -> list[dict[str, Any]]:
        """Targets, as the TOM lists them."""
        found = {row["object_id"]: row for row in self.query_service(query_parameters)}
        return [
            {"name": name, "ra": row["ra"], "dec": row["dec"], "class": row.get("class") or row.get("class_name"), "aliases": []}
            for name, row in found.items()
        ]

    def create_target_from_query(self, target_result: dict[str, Any], **kwargs: Any) -> Target:
        """A target that is not saved yet."""
        return Target(name=target_result["name"], type="SIDEREAL", ra=target_result["ra"], dec=target_result["dec"])

    def query_photometry(self, query_parameters: dict[str, Any], **kwargs: Any) -> list[dict[str, Any]]:
        """The light curve of an object: what is above its reference."""
        found = self._ask(f"/v1/objects/{quote(str(query_parameters['object_id']), safe='')}/lightcurve", missing=True)
        points = []
        for row in [] if found is None else found["data"]:
            flux, error = row.get("flux"), row.get("flux_err")
            if flux is None or flux <= 0:
                continue
            points.append(
                {
                    "timestamp": datetime(1858, 11, 17, tzinfo=UTC) + timedelta(days=row["mjd"], seconds=-_TAI_UTC),
                    "bandpass": f"{row['alert'].partition(':')[0]} {row['band']}", "brightness": 23.9 - 2.5 * math.log10(flux),
                    "brightness_error": None if not error else 2.5 / math.log(10) * error / flux,
                }
            )  # fmt: skip
        self.photometry_results = points
        return points

    def create_reduced_datums_from_query(self, target: Target, data: Any, data_type: str | None = None, **kwargs: Any) -> list[Any]:
        """Photometry in the TOM's own table; what is there already stays."""
        if data_type != "photometry":
            return []
        made = []
        for point in data:
            datum, _ = PhotometryReducedDatum.objects.get_or_create(
                target=target, timestamp=point["timestamp"], bandpass=point["bandpass"], source_name=self.name,
                defaults={"brightness": point["brightness"], "brightness_error": point["brightness_error"], "unit": "AB mag"},
            )  # fmt: skip
            made.append(datum)
        return made

    def _ask(self, path: str, *, missing: bool = False, **query: Any) -> Any:
        """An answer; None where it is missing and may be."""
        base = str(self.get_configuration("base_url")).rstrip("/")
        try:
            answer = httpx.get(f"{base}{path}", params=query, headers=self.build_headers(), timeout=TIME_OUT)
        except httpx.HTTPError as error:
            raise QueryServiceError(f"Protonova cannot be reached ({type(error).__name__})") from None
        if missing and answer.status_code == 404:
            return None
        if answer.status_code != 200:
            detail = answer.json().get("detail", "") if "json" in answer.headers.get("content-type", "") else ""
            raise QueryServiceError(f"Protonova answers {answer.status_code}: {str(detail)[:200]}")
        return answer.json()
