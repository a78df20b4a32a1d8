"""A ``[[source]]`` of ``protonova.toml``: topics of another cluster that are mirrored into ours."""

from __future__ import annotations

import datetime
import re
import ssl
from pathlib import Path
from typing import Literal, Self

from pydantic import BaseModel, ConfigDict, Field, SecretStr, model_validator

NAME = r"^[a-z0-9][a-z0-9._-]{0,62}$"


class Source(BaseModel):
    """A cluster, which of its topics are mirrored, and how it is reached."""

    model_config = ConfigDict(extra="forbid", frozen=True, populate_by_name=True)

    name: str = Field(pattern=NAME, description="Name of the source, in headers, positions and `protonova sources`")
    bootstrap: str = Field(description="Its bootstrap servers, host:port[,host:port]")
    topics: tuple[str, ...] = Field(
        min_length=1, description=r"Names of topics, or patterns that begin with ^, such as ^ztf_\d{8}_programid1$"
    )
    survey: Literal["ztf", "lsst", "tess", "frames"] = Field(description="Which alert topic the packets go to")
    increments: bool = Field(False, description="They hold new cadences only and go to `tess.increments` (survey tess)")
    start: str = Field(
        "earliest", alias="from", description="Where a topic begins that was never read: earliest, latest, or a time (ISO 8601)"
    )
    group: str | None = Field(None, description="Consumer group to name, where the cluster asks for one; offsets are not committed there")
    security_protocol: Literal["PLAINTEXT", "SSL", "SASL_PLAINTEXT", "SASL_SSL"] = Field("PLAINTEXT", description="How clients talk to it")
    sasl_mechanism: Literal["PLAIN", "SCRAM-SHA-256", "SCRAM-SHA-512", "OAUTHBEARER"] = Field("SCRAM-SHA-512", description="SASL mechanism")
    username: str | None = Field(None, description="SASL user")
    password: SecretStr | None = Field(None, description="SASL password (better: the next one)")
    password_file: Path | None = Field(None, description="File that holds the SASL password")
    cafile: Path | None = Field(None, description="Certificate authorities to trust (PEM); none: the system's")
    token_url: str | None = Field(None, description="OAuth 2 token endpoint, for OAUTHBEARER")
    client_id: str | None = Field(None, description="OAuth 2 client")
    client_secret_file: Path | None = Field(None, description="File that holds the OAuth 2 client secret")
    scope: str | None = Field(None, description="OAuth 2 scope")

    @model_validator(mode="after")
    def _consistent(self) -> Self:
        for server in self.bootstrap.split(","):
            host, _, port = server.rpartition(":")
            if not host or not port.isdigit() or not 0 < int(port) < 65_536:
                raise ValueError(f"source {self.name}: bootstrap {server!r} is not host:port")
        if self.increments and self.survey != "tess":
            raise ValueError(f"source {self.name}: increments are of survey tess, not {self.survey}")
        for wanted in self.topics:
            if wanted.startswith("^"):
                try:
                    re.compile(wanted)
                except re.error as error:
                    raise ValueError(f"source {self.name}: the topic pattern {wanted!r} is not a regular expression ({error})") from None
            elif not re.fullmatch(r"[A-Za-z0-9._-]{1,249}", wanted):
                raise ValueError(f"source {self.name}: {wanted!r} is not a topic name; a pattern begins with ^")
        if self.start not in ("earliest", "latest") and self.start_ms() is None:
            raise ValueError(f"source {self.name}: from is {self.start!r}: earliest, latest, or a time such as 2026-11-23T04:00:00Z")
        if self.security_protocol.startswith("SASL"):
            if self.sasl_mechanism == "OAUTHBEARER":
                if not (self.token_url and self.client_id and self.client_secret_file):
                    raise ValueError(f"source {self.name}: OAUTHBEARER needs token_url, client_id and client_secret_file")
            elif not self.username or (self.password is None and self.password_file is None):
                raise ValueError(f"source {self.name}: {self.sasl_mechanism} needs username and password_file")
        for name in ("password_file", "cafile", "client_secret_file"):
            path = getattr(self, name)
            if path is not None and not path.is_file():
                raise ValueError(f"source {self.name}: {name}: there is no file {path}")
        return self

    def start_ms(self) -> int | None:
        """Time from which a topic is read [ms since 1970]; None: from its start or end."""
        try:
            at = datetime.datetime.fromisoformat(self.start)
        except ValueError:
            return None
        return round((at if at.tzinfo else at.replace(tzinfo=datetime.UTC)).timestamp() * 1000)

    def wants(self, topic: str) -> bool:
        """Whether a topic of the cluster is mirrored."""
        return any(re.fullmatch(t, topic) is not None if t.startswith("^") else t == topic for t in self.topics)

    def secret(self) -> str | None:
        """The SASL password in clear."""
        if self.password_file is not None:
            return self.password_file.read_text(encoding="utf-8").strip()
        return None if self.password is None else self.password.get_secret_value()

    def ssl_context(self) -> ssl.SSLContext | None:
        """What TLS needs; None where the protocol has none."""
        if not self.security_protocol.endswith("SSL"):
            return None
        return ssl.create_default_context(cafile=None if self.cafile is None else str(self.cafile))


class SourceSettings(BaseModel):
    """Other clusters."""

    source: tuple[Source, ...] = Field(
        (), description="Topics of other clusters that are mirrored into ours: `[[source]]` in protonova.toml (docs/sources.md)"
    )

    @model_validator(mode="after")
    def _unique(self) -> Self:
        names = [source.name for source in self.source]
        if len(set(names)) < len(names):
            raise ValueError(f"source: the name {max(names, key=names.count)!r} stands twice")
        return self
