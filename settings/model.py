"""Flags, environment, protonova.toml → `Settings`.

A flag beats the environment (``PROTONOVA_…``), which beats the file ``protonova.toml`` of the working directory, which beats the default.
Nothing is read at import.
"""

from __future__ import annotations

import difflib
import os
import ssl
import tomllib
from pathlib import Path
from typing import Any, Literal, Self

from pydantic import Field, SecretStr, ValidationError, model_validator
from pydantic_settings import BaseSettings, PydanticBaseSettingsSource, SettingsConfigDict, TomlConfigSettingsSource
from pydantic_settings.exceptions import SettingsError as SourceError

from errors import USAGE, UserError
from settings.sources import Source

PREFIX = "PROTONOVA_"
FILE = "protonova.toml"
NOT_OURS = frozenset({"PROTONOVA_ALLOW_NO_REAL"})
"""Variables of the same prefix that belong to CI."""


class SettingsError(UserError):
    """A setting is wrong; the message is one line that says which and what to do."""

    def __init__(self, message: str = "") -> None:
        super().__init__(message, USAGE)


class Settings(BaseSettings):
    """Every setting there is; see `Settings.table`."""

    model_config = SettingsConfigDict(env_prefix=PREFIX, toml_file=FILE, extra="forbid", frozen=True, env_ignore_empty=True)

    # --- the broker
    kafka: str | None = Field(None, description="Bootstrap servers, host:port[,host:port]; none: `protonova run` starts Kafka itself")
    kafka_security_protocol: Literal["PLAINTEXT", "SSL", "SASL_PLAINTEXT", "SASL_SSL"] = Field(
        "PLAINTEXT", description="How clients talk to the broker"
    )
    kafka_sasl_mechanism: Literal["PLAIN", "SCRAM-SHA-256", "SCRAM-SHA-512"] = Field("SCRAM-SHA-512", description="SASL mechanism")
    kafka_sasl_username: str | None = Field(None, description="SASL user")
    kafka_sasl_password: SecretStr | None = Field(None, description="SASL password (better: the next one)")
    kafka_sasl_password_file: Path | None = Field(None, description="File that holds the SASL password")
    kafka_ssl_cafile: Path | None = Field(None, description="Certificate authorities to trust (PEM); none: the system's")
    kafka_ssl_certfile: Path | None = Field(None, description="Our own certificate (PEM), for mutual TLS")
    kafka_ssl_keyfile: Path | None = Field(None, description="Its private key (PEM)")
    kafka_ssl_key_password: SecretStr | None = Field(None, description="Password of that key (better: the next one)")
    kafka_ssl_key_password_file: Path | None = Field(None, description="File that holds the key's password")
    partitions: int = Field(4, ge=1, le=1024, description="Partitions of a topic when it is made; bounds how many workers share it")
    replication: int = Field(1, ge=1, le=9, description="Replicas of a topic when it is made; 3 on a cluster")

    # --- where things lie
    state: Path = Field(Path("state"), description="Folder of everything kept between runs: Kafka's data, logs")
    shared: Path = Field(Path("../shared"), description="Folder whose data/real holds real packets, for tests and the demo")
    rubin_schemas: Path | None = Field(None, description="Folder with more of Rubin's schemas than ship here")
    schema_registry: str | None = Field(None, description="URL of a Confluent-compatible registry for framed packets of unknown schema id")

    # --- scoring
    bundle: Path | None = Field(None, description="Model bundle to score with; none: the one that ships")
    engine: Literal["auto", "onnxruntime", "tensorrt", "torch"] = Field("auto", description="What runs the network; auto: the fastest here")
    batch_size: int = Field(64, ge=1, le=4096, description="Packets of a micro-batch at most")
    batch_wait_ms: float = Field(20.0, ge=0, le=60_000, description="A batch closes at the latest this long after its first packet [ms]")
    container_output: bool = Field(False, description="Detections as Avro object containers instead of Confluent framing")

    # --- rejected packets
    reject_consecutive: int = Field(2_000, ge=0, description="Rejected packets in a row at which a worker halts; 0: it never does")
    reject_ratio: float = Field(0.95, ge=0, le=1, description="Share of rejected packets at which a worker halts; 0: it never does")
    reject_window: int = Field(5_000, ge=1, description="Packets that this share is of")

    # --- workers
    app_id: str = Field("protonova", pattern=r"^[A-Za-z0-9._-]+$", description="Consumer group of the workers")
    workers: int = Field(1, ge=0, le=256, description="Worker processes of `protonova run`; 0: broker, drift and status page only")
    remembered: int = Field(65_536, ge=0, description="Digests of packets remembered to find doubles; 0: none")
    stall_s: float = Field(60.0, gt=0, description="A worker with lag whose committed offsets have not moved for this long exits [s]")
    max_engine_failures: int = Field(3, ge=1, description="Workers that fail on the engine in a row before `protonova run` gives up")

    # --- other clusters
    source: tuple[Source, ...] = Field(
        (), description="Topics of other clusters that are mirrored into ours: `[[source]]` in protonova.toml (docs/sources.md)"
    )

    # --- what is seen from outside
    status_host: str = Field("127.0.0.1", description="Address of the status page")
    status_port: int = Field(8580, ge=0, le=65_535, description="Port of the status page; 0: a free one")
    metrics_host: str = Field("127.0.0.1", description="Address of a worker's Prometheus metrics")
    metrics_port: int = Field(0, ge=0, le=65_535, description="Port of a worker's Prometheus metrics, plus its slot; 0: a free one")
    log_level: Literal["debug", "info", "warning", "error"] = Field("info", description="Least level that is logged")
    retrain_cooldown_s: float = Field(3600.0, ge=0, description="Least time between two retrain commands for one model [s]")

    def __init__(self, **flags: Any) -> None:
        """Read the settings; a flag that is None was not given.

        Raises
        ------
        SettingsError
            One of them is wrong.
        """
        _refuse_misspelt(type(self).model_fields)
        try:
            super().__init__(**{name: value for name, value in flags.items() if value is not None})
        except ValidationError as error:
            raise SettingsError(_explain(error, flags)) from None
        except SourceError as error:
            raise SettingsError(f"a setting cannot be read: {error}") from None
        except tomllib.TOMLDecodeError as error:
            raise SettingsError(f"{FILE} is not valid TOML: {error}") from None

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

    @model_validator(mode="after")
    def _consistent(self) -> Self:
        names = [source.name for source in self.source]
        if len(set(names)) < len(names):
            raise ValueError(f"source: the name {max(names, key=names.count)!r} stands twice")
        if self.kafka is not None:
            for server in self.kafka.split(","):
                host, _, port = server.rpartition(":")
                if not host or not port.isdigit() or not 0 < int(port) < 65_536:
                    raise ValueError(f"kafka: {server!r} is not host:port")
        if self.kafka_security_protocol.startswith("SASL"):
            if not self.kafka_sasl_username:
                raise ValueError("kafka_sasl_username: needed by kafka_security_protocol " + self.kafka_security_protocol)
            if self.kafka_sasl_password is None and self.kafka_sasl_password_file is None:
                raise ValueError("kafka_sasl_password_file: needed by kafka_security_protocol " + self.kafka_security_protocol)
        if (self.kafka_ssl_certfile is None) != (self.kafka_ssl_keyfile is None):
            raise ValueError("kafka_ssl_certfile and kafka_ssl_keyfile: give both or neither")
        for name in (
            "kafka_ssl_cafile",
            "kafka_ssl_certfile",
            "kafka_ssl_keyfile",
            "kafka_sasl_password_file",
            "kafka_ssl_key_password_file",
        ):
            path = getattr(self, name)
            if path is not None and not path.is_file():
                raise ValueError(f"{name}: there is no file {path}")
        return self

    @classmethod
    def table(cls) -> list[tuple[str, str, str, str]]:
        """Name, environment variable, default and meaning of every setting."""
        rows = []
        for name, field in cls.model_fields.items():
            default = "" if field.default is None else str(field.default).lower() if isinstance(field.default, bool) else str(field.default)
            rows.append((name, PREFIX + name.upper(), default, field.description or ""))
        return rows

    def environment(self) -> dict[str, str]:
        """The same settings for a child process, without the secrets: those it reads where we did."""
        out = {}
        for name in type(self).model_fields:
            value = getattr(self, name)
            if name == "source":  # a child reads them where we did: they may hold secrets
                continue
            if value is not None and not isinstance(value, SecretStr):
                out[PREFIX + name.upper()] = str(value)
        return out

    def sasl_password(self) -> str | None:
        """The SASL password in clear."""
        return _secret(self.kafka_sasl_password, self.kafka_sasl_password_file)

    def ssl_context(self) -> ssl.SSLContext | None:
        """What TLS needs; None where the protocol has none."""
        if not self.kafka_security_protocol.endswith("SSL"):
            return None
        try:
            context = ssl.create_default_context(cafile=None if self.kafka_ssl_cafile is None else str(self.kafka_ssl_cafile))
            if self.kafka_ssl_certfile is not None and self.kafka_ssl_keyfile is not None:
                password = _secret(self.kafka_ssl_key_password, self.kafka_ssl_key_password_file)
                context.load_cert_chain(str(self.kafka_ssl_certfile), str(self.kafka_ssl_keyfile), password)
        except (ssl.SSLError, OSError) as error:
            raise SettingsError(f"the TLS files cannot be used ({error}): check {PREFIX}KAFKA_SSL_*") from None
        return context

    def client_options(self) -> dict[str, Any]:
        """Keyword arguments by which any aiokafka client reaches the broker.

        Raises
        ------
        SettingsError
            No broker is configured.
        """
        if self.kafka is None:
            raise SettingsError(f"no broker is configured: start `protonova run`, or set {PREFIX}KAFKA=host:port")
        options: dict[str, Any] = {"bootstrap_servers": self.kafka.split(","), "security_protocol": self.kafka_security_protocol}
        context = self.ssl_context()
        if context is not None:
            options["ssl_context"] = context
        if self.kafka_security_protocol.startswith("SASL"):
            options |= {
                "sasl_mechanism": self.kafka_sasl_mechanism,
                "sasl_plain_username": self.kafka_sasl_username,
                "sasl_plain_password": self.sasl_password(),
            }
        return options


def _secret(value: SecretStr | None, path: Path | None) -> str | None:
    """A secret, from its file where one is named."""
    if path is not None:
        return path.read_text().strip()
    return None if value is None else value.get_secret_value()


def _refuse_misspelt(known: Any) -> None:
    """A variable that looks like one of ours but is none would silently change nothing."""
    names = {PREFIX + name.upper() for name in known}
    for variable in sorted(os.environ):
        if variable.upper().startswith(PREFIX) and variable.upper() not in names | NOT_OURS:
            close = difflib.get_close_matches(variable.upper(), names, 1, 0.85)
            if close:
                raise SettingsError(f"{variable} is no setting; did you mean {close[0]}?")


def _explain(error: ValidationError, flags: dict[str, Any]) -> str:
    """The first fault as one line; a secret's value is never shown."""
    fault = error.errors(include_url=False, include_context=False)[0]
    if not fault["loc"]:
        return fault["msg"].removeprefix("Value error, ")
    name = str(fault["loc"][0])
    variable = PREFIX + name.upper()
    if fault["type"] == "extra_forbidden":
        close = difflib.get_close_matches(name, Settings.model_fields, 1, 0.6)
        return f"{name} in {FILE} is no setting" + (f"; did you mean {close[0]}?" if close else "")
    where = f"the flag or argument {name}" if flags.get(name) is not None else variable if variable in os.environ else f"{name} in {FILE}"
    shown = "" if "password" in name else f" is {fault['input']!r}:"
    return f"{where}{shown} {fault['msg'][0].lower()}{fault['msg'][1:]}"
