"""A real Kafka with a login, with TLS and with certificates for clients: what is configured wrongly is named, what is right works."""

from __future__ import annotations

import asyncio
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from console.kafka_node.node import LocalKafka, free_port
from console.probe import unusable
from errors import UserError
from settings.model import Settings
from tests.console.test_cli import protonova
from tests.console.test_probe import self_signed

RIGHT, WRONG = "correct-horse", "hunter2"
SECURITY = """
listeners={listeners},CONTROLLER://127.0.0.1:{controller}
advertised.listeners={listeners}
listener.security.protocol.map=CONTROLLER:PLAINTEXT,PLAINTEXT:PLAINTEXT,LOGIN:SASL_PLAINTEXT,TLS:SSL,MUTUAL:SSL
listener.name.login.sasl.enabled.mechanisms=PLAIN
listener.name.login.plain.sasl.jaas.config=org.apache.kafka.common.security.plain.PlainLoginModule required \\
  user_protonova="{password}";
ssl.keystore.type=PEM
ssl.keystore.location={certificate}
ssl.truststore.type=PEM
ssl.truststore.location={trusted}
listener.name.mutual.ssl.client.auth=required
"""


class SecureKafka(LocalKafka):
    """A node with a listener of each kind beside its own."""

    def __init__(self, certificate: Path) -> None:
        super().__init__()
        self.certificate = certificate
        self.ports: dict[str, int] = {}

    def _prepare(self, jars: list[Path], known: dict[str, int]) -> None:
        super()._prepare(jars, known)
        ports = self._known()
        for name in ("LOGIN", "TLS", "MUTUAL"):
            self.ports[name] = free_port(0, *self.ports.values(), *ports.values())
        self.ports["PLAINTEXT"] = ports["broker"]
        trusted = self._folder / "trusted.pem"
        trusted.write_text(self.certificate.read_text().partition("-----BEGIN PRIVATE KEY-----")[0])
        text = SECURITY.format(
            listeners=",".join(f"{name}://127.0.0.1:{port}" for name, port in self.ports.items()),
            controller=ports["controller"], password=RIGHT, certificate=self.certificate, trusted=trusted,
        )  # fmt: skip
        with (self._folder / "server.properties").open("a") as file:
            file.write(text)


@pytest.fixture(scope="module")
def secure(tmp_path_factory: pytest.TempPathFactory) -> Iterator[SecureKafka]:
    folder = tmp_path_factory.mktemp("secure")
    node = SecureKafka(self_signed(folder / "broker.pem"))
    try:
        node.start(folder / "state")
    except UserError as error:
        if "cannot be fetched" not in str(error):
            raise
        pytest.skip(str(error))
    yield node
    node.stop()


LOGIN = {"kafka_security_protocol": "SASL_PLAINTEXT", "kafka_sasl_mechanism": "PLAIN", "kafka_sasl_username": "protonova"}

CASES: list[tuple[str, dict[str, Any], str | None]] = [
    ("PLAINTEXT", {}, None),
    ("LOGIN", {**LOGIN, "kafka_sasl_password": RIGHT}, None),
    ("LOGIN", {**LOGIN, "kafka_sasl_password": WRONG}, "refuses the user or the password"),
    ("LOGIN", {**LOGIN, "kafka_sasl_username": "stray", "kafka_sasl_password": RIGHT}, "refuses the user or the password"),
    ("LOGIN", {**LOGIN, "kafka_sasl_mechanism": "SCRAM-SHA-512", "kafka_sasl_password": RIGHT}, "PROTONOVA_KAFKA_SASL_MECHANISM"),
    ("LOGIN", {}, "PROTONOVA_KAFKA_SECURITY_PROTOCOL=SASL_PLAINTEXT"),
    ("LOGIN", {"kafka_security_protocol": "SSL"}, "without TLS"),
    ("PLAINTEXT", {**LOGIN, "kafka_sasl_password": RIGHT}, "without SASL_"),
    ("PLAINTEXT", {"kafka_security_protocol": "SSL"}, "PROTONOVA_KAFKA_SECURITY_PROTOCOL=PLAINTEXT"),
    ("TLS", {"kafka_security_protocol": "SSL", "kafka_ssl_cafile": ...}, None),
    ("TLS", {"kafka_security_protocol": "SSL"}, "PROTONOVA_KAFKA_SSL_CAFILE"),
    ("TLS", {}, "PROTONOVA_KAFKA_SECURITY_PROTOCOL=SSL"),
    ("TLS", {**LOGIN, "kafka_sasl_password": RIGHT}, "PROTONOVA_KAFKA_SECURITY_PROTOCOL=SASL_SSL"),
    ("MUTUAL", {"kafka_security_protocol": "SSL", "kafka_ssl_cafile": ...}, "PROTONOVA_KAFKA_SSL_CERTFILE"),
    ("MUTUAL", {"kafka_security_protocol": "SSL", "kafka_ssl_cafile": ..., "kafka_ssl_certfile": ..., "kafka_ssl_keyfile": ...}, None),
]


@pytest.mark.flow
@pytest.mark.timeout(400)
def test_every_kind_of_wrong_security_is_named_and_the_right_one_works(secure: SecureKafka) -> None:
    """One test for all, so that the node starts once."""
    found = {}
    for listener, given, words in CASES:
        server = f"localhost:{secure.ports[listener]}"
        settings = Settings(kafka=server, **{k: secure.certificate if v is ... else v for k, v in given.items()})
        why = asyncio.run(unusable(settings, server))
        good = why is None if words is None else why is not None and words in why
        if not good or (why is not None and (RIGHT in why or WRONG in why)):
            found[listener, str(given)] = why
    assert not found


@pytest.mark.flow
@pytest.mark.timeout(400)
def test_a_wrong_password_is_one_line_of_every_command(secure: SecureKafka, tmp_path: Path) -> None:
    environment = {f"PROTONOVA_{name.upper()}": value for name, value in LOGIN.items()} | {"PROTONOVA_KAFKA_SASL_PASSWORD": WRONG}
    for arguments in (("status",), ("watch", "--count", "1"), ("publish", __file__), ("topics", "--repair")):
        done = protonova(*arguments, "--kafka", f"localhost:{secure.ports['LOGIN']}", folder=tmp_path, **environment)
        assert (done.returncode, done.stderr.count("\n")) == (1, 1), done.stderr
        assert "refuses the user or the password" in done.stderr
        assert WRONG not in done.stderr + done.stdout
    assert list(tmp_path.iterdir()) == []
