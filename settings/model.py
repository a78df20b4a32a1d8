"""Flags, environment, protonova.toml → `Settings`.

A flag beats the environment (``PROTONOVA_…``), which beats the file ``protonova.toml`` of the working directory, which beats the default.
Nothing is read at import. A setting is a field of one of the sections; a section is a module beside this one.
"""

from __future__ import annotations

import os
import tomllib
from collections.abc import Iterable
from typing import Any, get_args

from pydantic import BaseModel, SecretStr, ValidationError
from pydantic_settings import BaseSettings, PydanticBaseSettingsSource, SettingsConfigDict, TomlConfigSettingsSource
from pydantic_settings.exceptions import SettingsError as SourceError

from errors import SettingsError, nearest, one_line
from settings.announced_models import ModelSettings
from settings.connection import PREFIX, BrokerSettings
from settings.drift_watch import DriftSettings
from settings.filtering import FilterSettings
from settings.gating import GateSettings
from settings.hand_off import HandOffSettings
from settings.history_store import HistorySettings
from settings.http_api import HttpApiSettings
from settings.joiner import IncrementSettings
from settings.outputs import OutputSettings
from settings.raw_frames import FrameSettings
from settings.rejection import RejectionSettings
from settings.scoring import ScoringSettings
from settings.sky_catalogues import CatalogueSettings
from settings.sources import SourceSettings
from settings.storage import StorageSettings
from settings.surfaces import SurfaceSettings
from settings.training import TrainingSettings
from settings.workers import WorkerSettings

FILE = "protonova.toml"
PAGE = "docs/settings.md"
NOT_OURS = frozenset({"PROTONOVA_ALLOW_NO_REAL"})
"""Variables of the same prefix that belong to CI."""
TESTS = "PROTONOVA_TEST_"
"""Prefix of variables by which tests instruct processes that they start."""


class Settings(
    BrokerSettings,
    StorageSettings,
    ScoringSettings,
    CatalogueSettings,
    ModelSettings,
    OutputSettings,
    RejectionSettings,
    WorkerSettings,
    DriftSettings,
    SourceSettings,
    IncrementSettings,
    FrameSettings,
    GateSettings,
    TrainingSettings,
    HistorySettings,
    HandOffSettings,
    FilterSettings,
    SurfaceSettings,
    HttpApiSettings,
    BaseSettings,
):
    """Every setting there is; see `Settings.table`."""

    model_config = SettingsConfigDict(env_prefix=PREFIX, toml_file=FILE, extra="forbid", frozen=True, env_ignore_empty=True)

    def __init__(self, **flags: Any) -> None:
        """Read the settings; a flag that is None was not given.

        Raises
        ------
        SettingsError
            One of them is wrong, or a variable or a key of the file is not a setting.
        """
        _refuse_unknown(os.environ, type(self).model_fields)
        try:
            super().__init__(**{name: value for name, value in flags.items() if value is not None})
        except ValidationError as error:
            raise SettingsError(_explain(error, flags)) from None
        except SourceError as error:
            raise SettingsError(f"a setting cannot be read: {one_line(error, 200)}") from None
        except tomllib.TOMLDecodeError as error:
            raise SettingsError(f"{FILE} is not valid TOML: {error}") from None
        except (OSError, UnicodeDecodeError) as error:
            raise SettingsError(f"{FILE} cannot be read: {one_line(error, 200)}") from None

    @classmethod
    def settings_customise_sources(
        cls,
        settings_cls: type[BaseSettings],
        init_settings: PydanticBaseSettingsSource,
        env_settings: PydanticBaseSettingsSource,
        dotenv_settings: PydanticBaseSettingsSource,
        file_secret_settings: PydanticBaseSettingsSource,
    ) -> tuple[PydanticBaseSettingsSource, ...]:
        """Where values come from, the strongest first."""
        return init_settings, env_settings, TomlConfigSettingsSource(settings_cls)

    @classmethod
    def sections(cls) -> tuple[type[BaseModel], ...]:
        """In the order of docs/settings.md; the first line of a section's docstring is its title there."""
        return tuple(base for base in cls.__bases__ if base is not BaseSettings)

    @classmethod
    def table(cls, section: type[BaseModel] | None = None) -> list[tuple[str, str, str, str]]:
        """Name, environment variable, default and meaning of every setting (of one section)."""
        rows = []
        for part in cls.sections() if section is None else (section,):
            for name, field in part.model_fields.items():
                default = field.default
                shown = "" if default in (None, (), {}) else str(default).lower() if isinstance(default, bool) else str(default)
                rows.append((name, PREFIX + name.upper(), shown, field.description or ""))
        return rows

    def environment(self) -> dict[str, str]:
        """The same settings for a child process, without the secrets: those it reads where we did."""
        out = {}
        for name in type(self).model_fields:
            value = getattr(self, name)
            # A child reads the sources where we did: they may hold secrets.
            if value is not None and not isinstance(value, SecretStr) and name != "source":
                if isinstance(value, dict):
                    text = ",".join(f"{key}={part}" for key, part in value.items())
                else:
                    text = ",".join(value) if isinstance(value, tuple) else str(value)
                out[PREFIX + name.upper()] = text
        return out


def _refuse_unknown(environment: Iterable[str], fields: Iterable[str]) -> None:
    """Refuse a variable with our prefix that is not a setting: it would silently change nothing."""
    names = {PREFIX + name.upper() for name in fields}
    upper = {variable.upper(): variable for variable in environment if variable.upper().startswith(PREFIX)}
    # Kubernetes names the services beside a container in <SERVICE>_SERVICE_HOST, <SERVICE>_PORT, <SERVICE>_PORT_80_TCP …
    services = [name.removesuffix("_SERVICE_HOST") for name in upper if name.endswith("_SERVICE_HOST")]
    for name, variable in sorted(upper.items()):
        linked = any(name.startswith((f"{service}_SERVICE_", f"{service}_PORT")) for service in services)
        if name not in names and name not in NOT_OURS and not name.startswith(TESTS) and not linked:
            close = nearest(name, names, cutoff=0.85)
            guess = f"did you mean {close}?" if close else f"the nearest is {nearest(name, names)} ({PAGE} lists all)"
            raise SettingsError(f"{variable} is not a setting; {guess}")


def _explain(error: ValidationError, flags: dict[str, Any]) -> str:
    """The first fault as one line; a secret's value is never shown."""
    fault = error.errors(include_url=False, include_context=False)[0]
    if not fault["loc"]:
        return fault["msg"].removeprefix("Value error, ")
    name = str(fault["loc"][0])
    variable = PREFIX + name.upper()
    if fault["type"] == "extra_forbidden" and len(fault["loc"]) == 1:
        close = nearest(name, Settings.model_fields, cutoff=0.6)
        guess = f"did you mean {close}?" if close else f"the nearest is {nearest(name, Settings.model_fields)} ({PAGE} lists all)"
        return f"{name} in {FILE} is not a setting; {guess}"
    given = next((v for v in os.environ if v.upper() == variable), None)
    where = f"the flag or argument {name}" if flags.get(name) is not None else given or f"{name} in {FILE}"
    # Nothing of a source is shown: a fault of one names it, and its fields may hold secrets.
    if name == "source":
        field = ".".join(str(part) for part in fault["loc"][1:])
        reason = "is not a key of a source" if fault["type"] == "extra_forbidden" else fault["msg"].removeprefix("Value error, ")
        return f"{where}{f'.{field}' if field else ''}: {reason}"
    kept_secret = "password" in name or SecretStr in get_args(Settings.model_fields[name].annotation)
    shown = "" if kept_secret else f" is {one_line(repr(fault['input']), 120)}:"
    reason = fault["msg"].removeprefix("Value error, ")
    return f"{where}{shown} {reason[0].lower()}{reason[1:]}"
