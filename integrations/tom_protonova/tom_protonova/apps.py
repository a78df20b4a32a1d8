"""The Django app: it names the data service."""

from __future__ import annotations

from django.apps import AppConfig


class TomProtonovaConfig(AppConfig):
    """Found by `tom_dataservices`."""

    name = "tom_protonova"
    label = "tom_protonova"

    def data_services(self) -> list[dict[str, str]]:
        """The services of this app."""
        return [{"class": "tom_protonova.protonova_service.ProtonovaService"}]
