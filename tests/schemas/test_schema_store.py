"""What a schema registry answers: the id's fault rejects a packet, the registry's makes it wait; no one is asked too often."""

from __future__ import annotations

import json
import socket
import threading
import time
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer

import pytest

from errors import SettingsError
from schemas.avro import schema_store
from schemas.avro.schema_store import FIRST_PAUSE, LONGEST_PAUSE, REMEMBERED, RegistryError, SchemaStore
from schemas.avro.wire import PacketError

SCHEMA = {"type": "record", "name": "alert", "fields": [{"name": "id", "type": "long"}]}
GOOD = json.dumps({"schema": json.dumps(SCHEMA)}).encode()


@dataclass
class Registry:
    """An HTTP server that answers as it is reported."""

    status: int = 200
    body: bytes = GOOD
    headers: dict[str, str] = field(default_factory=dict)
    delay: float = 0.0
    drip: float = 0.0
    asked: int = 0
    at_once: int = 0
    most_at_once: int = 0
    url: str = ""


@pytest.fixture
def registry() -> Iterator[Registry]:
    reported = Registry()

    class Answer(BaseHTTPRequestHandler):
        def do_GET(self) -> None:
            reported.asked += 1
            reported.at_once += 1
            reported.most_at_once = max(reported.most_at_once, reported.at_once)
            try:
                time.sleep(reported.delay)
                self.send_response(reported.status)
                for name, value in reported.headers.items():
                    self.send_header(name, value)
                if "Content-Length" not in reported.headers:
                    self.send_header("Content-Length", str(len(reported.body)))
                self.end_headers()
                if reported.drip:
                    for k in range(len(reported.body)):
                        self.wfile.write(reported.body[k : k + 1])
                        time.sleep(reported.drip)
                else:
                    self.wfile.write(reported.body)
            except OSError:
                pass  # who asked has gone
            finally:
                reported.at_once -= 1

        def log_message(self, *_: object) -> None: ...

    server = ThreadingHTTPServer(("127.0.0.1", 0), Answer)
    server.daemon_threads = True
    reported.url = f"http://127.0.0.1:{server.server_port}"
    thread = threading.Thread(target=server.serve_forever, daemon=True)
    thread.start()
    yield reported
    server.shutdown()
    server.server_close()


class Clock:
    """Time that passes when it is asked to."""

    now = 1000.0

    def __call__(self) -> float:
        return self.now


def store_of(registry: Registry, clock: Clock | None = None, timeout: float = 5.0) -> SchemaStore:
    return SchemaStore(registry=registry.url, timeout=timeout, clock=clock or time.monotonic)


def test_a_schema_is_asked_for_once(registry: Registry) -> None:
    store = store_of(registry)
    assert [store.get(77_001) for _ in range(5)] == [SCHEMA] * 5
    assert registry.asked == 1
    assert store.get(900)["name"].endswith("alert")  # ships
    assert registry.asked == 1


@pytest.mark.parametrize("status", [500, 502, 503, 504, 429, 401, 403, 407, 408, 301, 204])
def test_an_answer_about_the_registry_makes_packets_wait(registry: Registry, status: int) -> None:
    registry.status, registry.body = status, b"" if status == 204 else b"{}"
    store = store_of(registry)
    for _ in range(50):
        with pytest.raises(RegistryError, match=str(status)) as error:
            store.get(77_001)
        assert error.value.after_s <= FIRST_PAUSE
    assert registry.asked == 1


@pytest.mark.parametrize("status", [404, 400, 410, 422])
def test_an_answer_about_the_id_is_the_packets_fault_for_a_while(registry: Registry, status: int) -> None:
    registry.status, registry.body = status, b'{"error_code": 40403}'
    clock = Clock()
    store = store_of(registry, clock)
    for _ in range(50):
        with pytest.raises(PacketError, match="77001") as error:
            store.get(77_001)
        assert error.value.error_class == "bad_schema_id"
    assert registry.asked == 1
    registry.status, registry.body = 200, GOOD  # it is registered late
    clock.now += REMEMBERED + 1
    assert store.get(77_001) == SCHEMA


@pytest.mark.parametrize(
    "body",
    [b"", b"<html>captive portal</html>", GOOD[:-5], b"[" * 100_000, b"[]", b"{}", b'{"schema": 5}', b"\xff\xfe"],
    ids=["empty", "html", "cut", "deep", "list", "without", "number", "binary"],
)
def test_an_answer_that_no_registry_gives_makes_packets_wait(registry: Registry, body: bytes) -> None:
    registry.body = body
    with pytest.raises(RegistryError):
        store_of(registry).get(77_001)


@pytest.mark.parametrize(
    "answer",
    [
        {"schema": 'syntax = "proto3"; message A {}', "schemaType": "PROTOBUF"},
        {"schema": '{"type": "object"}', "schemaType": "JSON"},
        {"schema": "no JSON"},
        {"schema": '"string"'},
        {"schema": '["null", "long"]'},
    ],
    ids=["protobuf", "json schema", "text", "primitive", "union"],
)
def test_a_schema_that_is_not_an_avro_record_is_the_ids_fault(registry: Registry, answer: dict[str, str]) -> None:
    registry.body = json.dumps(answer).encode()
    store = store_of(registry)
    for _ in range(3):
        with pytest.raises(PacketError) as error:
            store.get(77_001)
        assert error.value.error_class == "bad_schema_id"
    assert registry.asked == 1


def test_an_endless_answer_is_not_read(registry: Registry, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(schema_store, "MAX_ANSWER", 100_000)
    registry.body = json.dumps({"schema": json.dumps({**SCHEMA, "doc": "x" * 50_000_000})}).encode()
    with pytest.raises(PacketError, match="longer"):
        store_of(registry).get(77_001)


def test_an_answer_that_drips_has_an_end(registry: Registry) -> None:
    registry.drip = 0.05
    began = time.monotonic()
    with pytest.raises(RegistryError):
        store_of(registry, timeout=0.4).get(77_001)
    assert time.monotonic() - began < 10


def test_a_mute_a_closed_a_rude_and_a_tls_port(registry: Registry) -> None:
    with socket.socket() as mute:
        mute.bind(("127.0.0.1", 0))
        mute.listen()
        port = mute.getsockname()[1]
        for url in (
            f"http://127.0.0.1:{port}",  # accepts and says nothing
            "http://127.0.0.1:9",  # closed
            registry.url.replace("http:", "https:"),  # speaks plain HTTP
            "http://no-such-host.invalid",
        ):
            with pytest.raises(RegistryError):
                SchemaStore(registry=url, timeout=0.3).get(77_001)


def test_redirects_are_followed_a_few_times(registry: Registry) -> None:
    registry.status, registry.headers = 302, {"Location": registry.url + "/schemas/ids/1"}
    with pytest.raises(RegistryError, match="redirect"):
        store_of(registry).get(77_001)
    assert registry.asked <= 5
    registry.headers = {"Location": "http://[broken"}
    with pytest.raises(RegistryError):
        store_of(registry).get(77_001)


def test_the_pause_grows_ends_and_starts_anew(registry: Registry) -> None:
    clock = Clock()
    store = store_of(registry, clock)
    registry.status = 503
    pauses = []
    for _ in range(8):
        with pytest.raises(RegistryError) as error:
            store.get(77_001)
        pauses.append(error.value.after_s)
        clock.now += error.value.after_s
    assert pauses == [0.5, 1.0, 2.0, 4.0, 8.0, LONGEST_PAUSE, LONGEST_PAUSE, LONGEST_PAUSE]
    registry.status = 200
    assert store.get(77_001) == SCHEMA
    registry.status = 503
    with pytest.raises(RegistryError) as error:
        store.get(77_002)
    assert error.value.after_s == FIRST_PAUSE


def test_a_pause_that_the_registry_asks_for_is_kept(registry: Registry) -> None:
    registry.status, registry.headers = 429, {"Retry-After": "20"}
    with pytest.raises(RegistryError) as error:
        store_of(registry).get(77_001)
    assert error.value.after_s == 20
    registry.headers = {"Retry-After": "9" * 30}
    with pytest.raises(RegistryError) as error:
        store_of(registry).get(77_001)
    assert error.value.after_s == schema_store.LONGEST_WISH


def test_threads_ask_one_question_at_a_time(registry: Registry) -> None:
    registry.delay = 0.1
    store = store_of(registry)
    with ThreadPoolExecutor(8) as pool:
        assert list(pool.map(store.get, [77_001] * 8)) == [SCHEMA] * 8
    assert (registry.asked, registry.most_at_once) == (1, 1)


def test_what_is_remembered_is_bounded(registry: Registry, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(schema_store, "MAX_REMEMBERED", 3)
    registry.status = 404
    store = store_of(registry)
    for schema_id in range(70_000, 70_010):
        with pytest.raises(PacketError):
            store.get(schema_id)
    assert len(store._missing) == 3


def test_a_password_in_the_address_is_not_said(registry: Registry) -> None:
    registry.status = 503
    with pytest.raises(RegistryError) as error:
        SchemaStore(registry=registry.url.replace("http://", "http://me:secret@")).get(77_001)
    assert "secret" not in str(error.value)


@pytest.mark.parametrize("address", ["localhost:8081", "ftp://host", "http://", "kafka"])
def test_an_address_that_is_none_is_reported_at_once(address: str) -> None:
    with pytest.raises(SettingsError, match="PROTONOVA_SCHEMA_REGISTRY"):
        SchemaStore(registry=address)
