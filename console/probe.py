"""An address and the security it shall have → why no Kafka client can work with what listens there, in words.

A client library tries for a minute and then reports "does not answer" for a web server, TLS, a wrong password and a silent port alike. Here
a question of Kafka's protocol is asked, and the first bytes of the answer identify what is there: Kafka repeats the number of the question,
a web server begins with HTTP, TLS with a record of its own. The last step is the client library's own connection with its login.
"""

from __future__ import annotations

import asyncio
import ssl
from collections.abc import Awaitable
from contextlib import suppress
from typing import TYPE_CHECKING, Any, Literal

from console.failures import refused
from errors import one_line
from streams.kafka.knock import CLIENT, is_answer, kafka_question

if TYPE_CHECKING:
    from settings.model import Settings

PATIENCE = 5.0
"""How long an address may take in all [s]."""
FIRST_WORD = 1.0
"""After so long without an answer the questions of other protocols are asked beside Kafka's [s]."""
WireProtocol = Literal["kafka", "tls", "http", "closed", "other"]


def tls_question(host: str) -> bytes:
    """The first message of a TLS client."""
    context = ssl.create_default_context()
    context.check_hostname, context.verify_mode = False, ssl.CERT_NONE  # nothing is sent by it: only whether TLS answers is asked
    received, sent = ssl.MemoryBIO(), ssl.MemoryBIO()
    with suppress(ssl.SSLWantReadError):
        context.wrap_bio(received, sent, server_hostname=host).do_handshake()
    return sent.read()


HTTP_QUESTION = b"GET / HTTP/1.0\r\n\r\n"
WEB_SERVER = "uses {}, not Kafka's protocol: it is the port of a web server; set PROTONOVA_KAFKA to the broker's"
CERTIFICATE = "it may want a certificate of ours (PROTONOVA_KAFKA_SSL_CERTFILE and _KEYFILE)"


def protocol_of(answer: bytes) -> WireProtocol:
    """Which protocol the first bytes of an answer are of."""
    if not answer:
        return "closed"
    if is_answer(answer):
        return "kafka"
    if answer[0] in (0x15, 0x16) and answer[1:2] == b"\x03":  # an alert or a handshake of TLS 1.x
        return "tls"
    if answer.startswith(b"HTTP/") or answer[:9].lower() in (b"<!doctype", b"<html>") or answer[:6].lower() == b"<html>":
        return "http"
    return "other"


async def ask(host: str, port: int, *, question: bytes, context: ssl.SSLContext | None = None) -> bytes:
    """The first bytes that come back for a question; none: the connection was closed.

    Raises
    ------
    OSError
        Nothing listens, or (`ssl.SSLError`) no TLS session comes about.
    """
    reader, writer = await asyncio.open_connection(host, port, ssl=context)
    try:
        writer.write(question)
        try:
            return await reader.read(64)
        except ssl.SSLError:
            raise
        except ConnectionError:
            return b""
    finally:
        writer.close()


async def listen(host: str, port: int, *, context: ssl.SSLContext | None = None) -> tuple[WireProtocol, bytes]:
    """The protocol at an address (within TLS, where a context is given), and the first bytes of the answer."""
    asked: dict[asyncio.Task[bytes], WireProtocol] = {
        asyncio.create_task(ask(host, port, question=kafka_question(), context=context)): "kafka"
    }
    try:
        done, _ = await asyncio.wait(asked, timeout=FIRST_WORD)
        for task in done:
            if answer := task.result():
                return protocol_of(answer), answer
        questions: dict[WireProtocol, bytes] = (
            {"http": HTTP_QUESTION} if context is not None else {"http": HTTP_QUESTION, "tls": tls_question(host)}
        )
        for name, question in questions.items():
            asked[asyncio.create_task(ask(host, port, question=question, context=context))] = name
        waiting = {task for task in asked if not task.done()}
        while waiting:
            done, waiting = await asyncio.wait(waiting, return_when=asyncio.FIRST_COMPLETED)
            for task in done:
                answer = b"" if task.exception() is not None else task.result()
                # A server of another protocol may say anything to a question that is not its own: its own question counts.
                if answer and (protocol_of(answer) == asked[task] or asked[task] == "kafka"):
                    return protocol_of(answer), answer
        return "closed", b""
    finally:
        for task in asked:
            task.cancel()
        await asyncio.gather(*asked, return_exceptions=True)


async def within_a_moment(answer: Awaitable[bytes]) -> bytes:
    """What comes back within a moment; nothing where nothing comes, or no session comes about."""
    try:
        async with asyncio.timeout(FIRST_WORD):
            return await answer
    except (TimeoutError, OSError):
        return b""


async def unusable(settings: Settings, server: str) -> str | None:
    """Why a Kafka client with these settings cannot work with what listens at host:port; None: it can."""
    host, _, number = server.rpartition(":")
    host = host.strip("[]")
    loop = asyncio.get_running_loop()
    began = loop.time()
    connected = False
    try:
        async with asyncio.timeout(PATIENCE):
            _, writer = await asyncio.open_connection(host, int(number))
            writer.close()
            connected = True
            secure = settings.kafka_security_protocol.endswith("SSL")
            wrong = await (_not_tls if secure else _not_plain)(settings, host, port=int(number))
            return wrong or await _login(settings, host, port=int(number))
    except TimeoutError:
        if not connected:
            return f"does not answer (no connection within {loop.time() - began:.0f} s): correct PROTONOVA_KAFKA=host:port, or the network"
        return f"takes the connection, but sends nothing within {PATIENCE:.0f} s: it hangs, is overloaded, or is not a Kafka broker"
    except OSError as error:
        if connected:
            return f"ends the connection ({one_line(error.strerror or error, 160)}): its log has the reason"
        return f"does not answer ({one_line(error.strerror or error, 160)}): start it, or correct PROTONOVA_KAFKA=host:port"


async def _not_plain(settings: Settings, host: str, *, port: int) -> str | None:
    """Why an address that shall work without TLS is not Kafka's; None: it is."""
    found, answer = await listen(host, port)
    if found == "tls":
        context = ssl.create_default_context()
        context.check_hostname, context.verify_mode = False, ssl.CERT_NONE
        if protocol_of(await within_a_moment(ask(host, port, question=HTTP_QUESTION, context=context))) == "http":
            return WEB_SERVER.format("HTTPS")
        wanted = "SASL_SSL" if settings.kafka_security_protocol.startswith("SASL") else "SSL (or SASL_SSL, with a login)"
        return f"uses TLS: set PROTONOVA_KAFKA_SECURITY_PROTOCOL={wanted}, or name its port without TLS"
    return _other(found, answer)


async def _not_tls(settings: Settings, host: str, *, port: int) -> str | None:
    """Why an address that shall use TLS is not Kafka's; None: it is."""
    if protocol_of(await within_a_moment(ask(host, port, question=tls_question(host)))) != "tls":
        found, answer = await listen(host, port)
        if found == "kafka":
            wanted = "SASL_PLAINTEXT" if settings.kafka_security_protocol.startswith("SASL") else "PLAINTEXT"
            return f"is a Kafka broker without TLS: set PROTONOVA_KAFKA_SECURITY_PROTOCOL={wanted}, or name its port with TLS"
        if found != "tls":
            return _other(found, answer)
    try:
        found, answer = await listen(host, port, context=settings.ssl_context())
    except ssl.SSLCertVerificationError as error:
        return f"shows a certificate that is not trusted ({error.verify_message}): set PROTONOVA_KAFKA_SSL_CAFILE, or the name it is for"
    except ssl.SSLError as error:
        return f"refuses the TLS session ({one_line(error.reason or error, 160)}): {CERTIFICATE}"
    if found == "closed":
        return f"ends the TLS session: {CERTIFICATE}"
    return WEB_SERVER.format("HTTPS") if found == "http" else _other(found, answer)


def _other(found: WireProtocol, answer: bytes) -> str | None:
    """What to say of a protocol that is not the one meant; None: it is Kafka."""
    match found:
        case "kafka":
            return None
        case "http":
            return WEB_SERVER.format("HTTP")
        case "tls":
            return "uses TLS"
        case "closed":
            return "ends the connection without an answer: it is not a Kafka broker, or it does not take clients from here"
        case _:
            return f"uses another protocol, not Kafka's (it sends {one_line(answer[:40].decode('latin-1'), 40)!r})"


async def _login(settings: Settings, host: str, *, port: int) -> str | None:
    """Why the broker refuses the client library's own connection, with the login that is configured; None: it accepts it."""
    from aiokafka import errors as kafka
    from aiokafka.conn import create_conn
    from aiokafka.protocol.metadata import MetadataRequest

    options: dict[str, Any] = {k: v for k, v in settings.client_options().items() if k != "bootstrap_servers"}
    try:
        connection = await create_conn(host, port, client_id=CLIENT.decode(), request_timeout_ms=int(PATIENCE * 1000), **options)
        try:
            await connection.send(MetadataRequest([]))  # a listener with a login refuses this to who has none
        finally:
            connection.close()
    except (kafka.AuthenticationFailedError, kafka.SaslAuthenticationFailed) as error:
        return refused(one_line(str(error).partition("] ")[2] or error, 160))
    except kafka.UnsupportedSaslMechanismError as error:
        return f"does not know the login {settings.kafka_sasl_mechanism} ({one_line(error, 160)}): set PROTONOVA_KAFKA_SASL_MECHANISM"
    except kafka.IllegalSaslStateError:
        return "asks for no login: set PROTONOVA_KAFKA_SECURITY_PROTOCOL without SASL_"
    except (kafka.KafkaConnectionError, EOFError, ConnectionError):
        if settings.kafka_security_protocol.startswith("SASL"):
            return refused("it ends the connection at the login")
        return f"wants a login: set PROTONOVA_KAFKA_SECURITY_PROTOCOL=SASL_{settings.kafka_security_protocol} and PROTONOVA_KAFKA_SASL_…"
    return None
