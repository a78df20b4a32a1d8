"""What listens where a Kafka broker is meant: real sockets of every kind."""

from __future__ import annotations

import asyncio
import datetime
import ssl
import threading
import time
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path

import pytest

from console import probe
from settings.model import Settings

Handler = Callable[[asyncio.StreamReader, asyncio.StreamWriter], Awaitable[None]]


def self_signed(path: Path) -> Path:
    """A certificate for localhost that signs itself, with its key, in one file."""
    from cryptography import x509
    from cryptography.hazmat.primitives import hashes, serialization
    from cryptography.hazmat.primitives.asymmetric import ec

    key = ec.generate_private_key(ec.SECP256R1())
    name = x509.Name([x509.NameAttribute(x509.NameOID.COMMON_NAME, "localhost")])
    now = datetime.datetime.now(datetime.UTC)
    signed = (
        x509.CertificateBuilder()
        .subject_name(name)
        .issuer_name(name)
        .public_key(key.public_key())
        .serial_number(1)
        .not_valid_before(now - datetime.timedelta(days=1))
        .not_valid_after(now + datetime.timedelta(days=1))
        .add_extension(x509.SubjectAlternativeName([x509.DNSName("localhost")]), critical=False)
        .sign(key, hashes.SHA256())
    )
    pem, pkcs8 = serialization.Encoding.PEM, serialization.PrivateFormat.PKCS8
    path.write_bytes(signed.public_bytes(pem) + key.private_bytes(pem, pkcs8, serialization.NoEncryption()))
    return path


@pytest.fixture(scope="module")
def certificate(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return self_signed(tmp_path_factory.mktemp("tls") / "localhost.pem")


def context(certificate: Path) -> ssl.SSLContext:
    found = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    found.load_cert_chain(certificate)
    return found


@asynccontextmanager
async def listening(handle: Handler, tls: ssl.SSLContext | None = None) -> AsyncIterator[str]:
    """A server on loopback; its address."""

    async def guarded(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        try:
            await handle(reader, writer)
        except (OSError, asyncio.IncompleteReadError):
            pass
        finally:
            writer.close()

    server = await asyncio.start_server(guarded, "127.0.0.1", 0, ssl=tls)
    try:
        yield f"127.0.0.1:{server.sockets[0].getsockname()[1]}"
    finally:
        server.close()


async def mute(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
    while await reader.read(1024):
        pass


async def closing(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
    await reader.read(4)


async def web(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
    """As nginx: it waits for a line, and then finds that it is none."""
    await reader.readline()
    writer.write(b"HTTP/1.1 400 Bad Request\r\n\r\n")
    await writer.drain()


async def banner(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
    writer.write(b"SSH-2.0-\x1b[2JOpenSSH_9.2\r\n")
    await writer.drain()
    await reader.read()


@pytest.mark.parametrize(
    ("handle", "tls", "protocol", "words"),
    [
        (web, False, "PLAINTEXT", "uses HTTP, not Kafka"),
        (web, True, "PLAINTEXT", "uses HTTPS, not Kafka"),
        (mute, True, "PLAINTEXT", "PROTONOVA_KAFKA_SECURITY_PROTOCOL=SSL"),
        (mute, True, "SASL_PLAINTEXT", "PROTONOVA_KAFKA_SECURITY_PROTOCOL=SASL_SSL"),
        (web, False, "SSL", "uses HTTP, not Kafka"),
        (web, True, "SSL", "certificate that is not trusted"),
        (closing, False, "PLAINTEXT", "ends the connection without an answer"),
        (closing, False, "SASL_SSL", "ends the connection without an answer"),
        (banner, False, "PLAINTEXT", "uses another protocol, not Kafka's (it sends 'SSH-2.0- [2JOpenSSH"),
    ],
)
async def test_what_listens_is_named(handle: Handler, tls: bool, protocol: str, words: str, certificate: Path) -> None:
    async with listening(handle, context(certificate) if tls else None) as server:
        settings = Settings(kafka=server, kafka_security_protocol=protocol, kafka_sasl_username="u", kafka_sasl_password="hunter2")
        found = await probe.unusable(settings, server)
    assert found is not None
    assert words in found
    assert "hunter2" not in found
    assert found.isprintable()


async def test_a_trusted_web_server_with_tls_is_named_too(certificate: Path) -> None:
    async with listening(web, context(certificate)) as server:
        there = server.replace("127.0.0.1", "localhost")
        found = await probe.unusable(Settings(kafka=there, kafka_security_protocol="SSL", kafka_ssl_cafile=certificate), there)
    assert found is not None
    assert found.startswith("uses HTTPS, not Kafka")


@pytest.mark.parametrize("protocol", ["PLAINTEXT", "SSL"])
async def test_a_mute_port_is_named_in_time(protocol: str, monkeypatch: pytest.MonkeyPatch) -> None:
    assert probe.PATIENCE <= 5
    monkeypatch.setattr(probe, "PATIENCE", 1.5)
    monkeypatch.setattr(probe, "FIRST_WORD", 0.2)
    async with listening(mute) as server:
        found = await probe.unusable(Settings(kafka=server, kafka_security_protocol=protocol), server)
    assert found is not None
    assert "sends nothing within" in found


async def test_a_port_where_nothing_listens_is_named() -> None:
    found = await probe.unusable(Settings(kafka="127.0.0.1:1"), "127.0.0.1:1")
    assert found is not None
    assert found.startswith("does not answer")


async def test_a_broker_that_is_slow_to_say_its_first_word_is_not_taken_for_another_protocol() -> None:
    """The other questions are asked after a moment; what they provoke must not outvote Kafka's own answer."""

    async def slow(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        question = await reader.read(1024)
        if question != probe.kafka_question():
            return  # as Kafka ends what asks it in HTTP or TLS
        await asyncio.sleep(0.6)
        writer.write((10).to_bytes(4, "big") + question[8:12] + bytes(6))
        await writer.drain()

    async with listening(slow) as server:
        host, _, port = server.partition(":")
        found, _ = await asyncio.wait_for(_listen(host, int(port)), 5)
    assert found == "kafka"


async def _listen(host: str, port: int) -> tuple[probe.WireProtocol, bytes]:
    before, probe.FIRST_WORD = probe.FIRST_WORD, 0.1
    try:
        return await probe.listen(host, port)
    finally:
        probe.FIRST_WORD = before


def test_pythons_own_web_server_is_named_by_every_command(tmp_path: Path) -> None:
    """It does not answer a line that never ends: only its own question gets an answer."""
    from tests.console.test_cli import protonova

    server = ThreadingHTTPServer(("127.0.0.1", 0), BaseHTTPRequestHandler)
    threading.Thread(target=server.serve_forever, daemon=True).start()
    try:
        for arguments in (("status",), ("watch",), ("topics",)):
            began = time.monotonic()
            done = protonova(*arguments, "--kafka", f"127.0.0.1:{server.server_port}", folder=tmp_path)
            assert (done.returncode, done.stderr.count("\n"), done.stdout) == (1, 1, ""), done.stderr
            assert "uses HTTP" in done.stderr
            assert time.monotonic() - began < 60
    finally:
        server.shutdown()
        server.server_close()
    assert list(tmp_path.iterdir()) == []
