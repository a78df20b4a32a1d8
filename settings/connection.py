"""How clients reach the broker: address, security, and what topics are made with."""

from __future__ import annotations

import ssl
from pathlib import Path
from typing import Any, Literal, Self

from pydantic import BaseModel, Field, SecretStr, model_validator

from errors import SettingsError

PREFIX = "PROTONOVA_"


class BrokerSettings(BaseModel):
    """The broker."""

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

    @model_validator(mode="after")
    def _consistent(self) -> Self:
        if self.kafka is not None:
            for server in self.kafka.split(","):
                host, _, port = server.rpartition(":")
                if not host or not (port.isascii() and port.isdigit()) or not 0 < int(port[:6]) < 65_536:
                    raise ValueError(f"kafka: {server!r} is not host:port")
        if self.kafka_security_protocol.startswith("SASL"):
            if not self.kafka_sasl_username:
                raise ValueError("kafka_sasl_username: needed by kafka_security_protocol " + self.kafka_security_protocol)
            if self.kafka_sasl_password is None and self.kafka_sasl_password_file is None:
                raise ValueError("kafka_sasl_password_file: needed by kafka_security_protocol " + self.kafka_security_protocol)
        if (self.kafka_ssl_certfile is None) != (self.kafka_ssl_keyfile is None):
            raise ValueError("kafka_ssl_certfile and kafka_ssl_keyfile: give both or neither")
        for name, value in self:
            if name.startswith("kafka_") and isinstance(value, Path) and not value.is_file():
                raise ValueError(f"{name}: the file {value} is missing")
        return self

    def sasl_password(self) -> str | None:
        """The SASL password in clear."""
        return secret(self.kafka_sasl_password, self.kafka_sasl_password_file)

    def ssl_context(self) -> ssl.SSLContext | None:
        """What TLS needs; None where the protocol has none."""
        if not self.kafka_security_protocol.endswith("SSL"):
            return None
        try:
            context = ssl.create_default_context(cafile=None if self.kafka_ssl_cafile is None else str(self.kafka_ssl_cafile))
            if self.kafka_ssl_certfile is not None and self.kafka_ssl_keyfile is not None:
                password = secret(self.kafka_ssl_key_password, self.kafka_ssl_key_password_file)
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


def secret(value: SecretStr | None, path: Path | None) -> str | None:
    """A secret in clear, from its file where one is named.

    Raises
    ------
    SettingsError
        The file cannot be read, or is not text; its content is never part of the message.
    """
    if path is None:
        return None if value is None else value.get_secret_value()
    try:
        return path.read_text().strip()
    except OSError as error:
        raise SettingsError(f"the secret's file {path} cannot be read: {error.strerror}") from None
    except UnicodeDecodeError:
        raise SettingsError(f"the secret's file {path} is not text") from None
