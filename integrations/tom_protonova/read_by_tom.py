"""What a TOM does with the service, in a TOM of its own: `python read_by_tom.py URL KEY OBJECT RA DEC`, where tomtoolkit is installed.

→ one JSON line: what was found by name, in a cone, and by class; the target that was made and its photometry; what a wrong key says
"""

from __future__ import annotations

import json
import os
import sys
import tempfile
from pathlib import Path


def main(url: str, key: str, object_id: str, ra: str, dec: str) -> int:
    """Run."""
    import django
    from django.conf import settings
    from tom_common.default_settings import TOMTOOLKIT_INSTALLED_APPS, TOMTOOLKIT_MIDDLEWARE

    service = {"base_url": url, "api_key": key}
    settings.configure(
        SECRET_KEY=os.urandom(16).hex(),
        INSTALLED_APPS=[*TOMTOOLKIT_INSTALLED_APPS, "tom_protonova"], MIDDLEWARE=TOMTOOLKIT_MIDDLEWARE,
        DATABASES={"default": {"ENGINE": "django.db.backends.sqlite3", "NAME": str(Path(tempfile.mkdtemp()) / "tom.db")}},
        SITE_ID=1, USE_TZ=True, TIME_ZONE="UTC", TARGET_TYPE="SIDEREAL", ROOT_URLCONF="tom_common.urls",
        DATA_SERVICES={"Protonova": service},
        DEFAULT_AUTO_FIELD="django.db.models.AutoField", STATIC_URL="/static/", EXTRA_FIELDS=[], TARGET_PERMISSIONS_ONLY=True,
        DATA_PRODUCT_TYPES={"photometry": ("photometry", "Photometry")},
        AUTHENTICATION_BACKENDS=["django.contrib.auth.backends.ModelBackend"],
        TEMPLATES=[{"BACKEND": "django.template.backends.django.DjangoTemplates", "APP_DIRS": True}], HOOKS={},
    )  # fmt: skip
    django.setup()
    from django.core.management import call_command

    call_command("migrate", verbosity=0)
    from tom_dataservices.dataservices import QueryServiceError, get_data_service_class

    made = get_data_service_class("Protonova")
    form = made.get_form_class()({"data_service": "Protonova", "object_id": object_id})
    assert form.is_valid(), form.errors

    def ask(**fields: object) -> list[str]:
        one = made()
        return [row["name"] for row in one.query_targets(one.build_query_parameters(fields))]

    out = {"by_name": ask(object_id=object_id), "nothing": ask(object_id="no such object")}
    out["cone"] = ask(ra=float(ra), dec=float(dec), radius=5.0)
    out["class"] = ask(class_name="tde")
    one = made()
    [found] = one.query_targets(one.build_query_parameters(form.cleaned_data))
    target = one.to_target(found)
    for _ in range(2):  # the second time nothing is added
        one.to_reduced_datums(target, one.query_reduced_data(target))
    from tom_dataproducts.models import PhotometryReducedDatum

    rows = PhotometryReducedDatum.objects.filter(target=target).order_by("timestamp")
    out["target"] = [target.name, target.ra, target.dec]
    out["photometry"] = [[row.bandpass, row.timestamp.isoformat(), round(row.brightness, 4)] for row in rows]
    service["api_key"] = "pn_wrong"
    try:
        ask(object_id=object_id)
    except QueryServiceError as error:
        out["wrong_key"] = str(error)
    print(json.dumps(out))
    return 0


if __name__ == "__main__":
    sys.exit(main(*sys.argv[1:6]))
