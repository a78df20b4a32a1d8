"""Confluent schema id → writer schema: ours, Rubin's that ship, those of folders, and at last a schema registry's.

in → an id
out → the schema; a `PacketError` where the id is at fault, a `RegistryError` where the registry is
"""

from __future__ import annotations

import json
import threading
import time
from collections import OrderedDict
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import httpx

from errors import RetryableError, SettingsError
from schemas.avro.wire import PacketError, load_schema

RUBIN_SCHEMAS = Path(__file__).parents[1] / "surveys" / "rubin"
TESS_ID, FRAMES_ID = 1_000_004, 1_000_015
"""Of our packets of TESS and of raw frames in Confluent framing, fixed for ever."""
SHIPPED = {TESS_ID: RUBIN_SCHEMAS.parent / "tess.avsc", FRAMES_ID: RUBIN_SCHEMAS.parent / "frames.avsc"}
"""Schemas of survey packets that are our own, by id."""
MAX_ANSWER = 4_000_000
"""Bytes of a registry's answer; the largest schema in the data has 70 kB."""
REMEMBERED = 300.0
"""How long it is remembered that an id has no schema [s]: schemas are registered late, now and then after their first packet."""
MAX_REMEMBERED = 10_000
FIRST_PAUSE, LONGEST_PAUSE = 0.5, 15.0
"""Between two questions to a registry that does not answer [s]; twice as long each time."""
LONGEST_WISH = 60.0
"""A pause that the registry itself asks for (Retry-After) is kept up to this [s]."""
MAX_REDIRECTS = 3
_FAULTY_ID = (400, 404, 410, 422)
"""Answers that are about the id; any other than 200 is about the registry."""


class RegistryError(RetryableError):
    """The schema registry does not answer as one: no packet's fault, so nothing is rejected or acknowledged.

    Parameters
    ----------
    message : str
    after_s : float
        When it makes sense to ask again [s].
    """

    hint = "check PROTONOVA_SCHEMA_REGISTRY, or put the schema as <id>.json into PROTONOVA_RUBIN_SCHEMAS"

    def __init__(self, message: str = "", after_s: float = FIRST_PAUSE) -> None:
        super().__init__(message)
        self.after_s = after_s


class SchemaStore:
    """Writer schemas by Confluent id. May be shared by threads.

    Parameters
    ----------
    directories : searched for ``<id>.json`` or ``<id>.avsc``, before the ones that ship (Rubin's, and our own of TESS and frames)
    registry : address of a schema registry that speaks Confluent's API; asked last, one question at a time
    timeout : [s] for the registry's whole answer
    clock : monotonic time [s]

    Raises
    ------
    errors.SettingsError
        The address is not one.

    Notes
    -----
    A schema is asked for once. That an id has none is remembered for `REMEMBERED` seconds. A registry that does not answer, or not as a
    registry does, is left alone for a pause that grows from `FIRST_PAUSE` to `LONGEST_PAUSE`: until then every packet that needs it waits.
    """

    def __init__(
        self,
        directories: Sequence[Path] = (),
        registry: str | None = None,
        *,
        timeout: float = 5.0,
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        self._directories = (*directories, RUBIN_SCHEMAS)
        self._registry = _address(registry) if registry else None
        self._shown = httpx.URL(self._registry).copy_with(userinfo=b"") if self._registry else None  # without a password
        self._timeout, self._clock = timeout, clock
        self._known: dict[int, dict[str, Any]] = {}
        self._missing: OrderedDict[int, tuple[float, str]] = OrderedDict()
        self._silent_until, self._pause, self._why = 0.0, FIRST_PAUSE, ""
        self._lock = threading.Lock()

    def get(self, schema_id: int) -> dict[str, Any]:
        """The writer schema of an id.

        Raises
        ------
        PacketError
            bad_schema_id, which names the id: it is not known, or what it leads to is not an Avro record.
        RegistryError
            The registry cannot say.
        """
        known = self._known.get(schema_id)
        if known is None:
            with self._lock:
                known = self._known.get(schema_id) or self._find(schema_id)
                if len(self._known) < MAX_REMEMBERED:
                    self._known[schema_id] = known
        return known

    def _find(self, schema_id: int) -> dict[str, Any]:
        if schema_id in SHIPPED:
            return _record(load_schema(SHIPPED[schema_id].read_bytes()), schema_id)
        for directory in self._directories:
            for suffix in ("json", "avsc"):
                path = directory / f"{schema_id}.{suffix}"
                if path.is_file():
                    return _record(load_schema(path.read_bytes()), schema_id)
        if self._registry is None:
            raise PacketError("bad_schema_id", f"no schema with id {schema_id} is known; put {schema_id}.json into the schema directory")
        until, reason = self._missing.get(schema_id, (0.0, ""))
        if self._clock() < until:
            raise PacketError("bad_schema_id", reason)
        try:
            return self._ask(schema_id)
        except PacketError as error:
            self._missing[schema_id] = (self._clock() + REMEMBERED, error.reason)
            self._missing.move_to_end(schema_id)
            if len(self._missing) > MAX_REMEMBERED:
                self._missing.popitem(last=False)
            raise

    def _ask(self, schema_id: int) -> dict[str, Any]:
        """Ask the registry, unless it is being left alone."""
        now = self._clock()
        if now < self._silent_until:
            raise RegistryError(self._why, self._silent_until - now)
        wish = 0.0
        try:
            status, wish, body = self._answer(schema_id)
            schema = _read(status, body, schema_id=schema_id)
        except (_NotARegistryError, httpx.HTTPError, httpx.InvalidURL, OSError) as error:
            ours = isinstance(error, _NotARegistryError)
            said = str(error) if ours else f"{type(error).__name__}: {error}".rstrip(": ")
            pause = max(self._pause, wish)
            self._silent_until = self._clock() + pause
            self._pause = min(2 * self._pause, LONGEST_PAUSE)
            self._why = f"the schema registry {self._shown} does not say what id {schema_id} is: {said}; packets of unknown ids wait for it"
            raise RegistryError(self._why, pause) from None
        self._pause = FIRST_PAUSE  # it answered, whatever it said of this id
        if isinstance(schema, PacketError):
            raise schema
        return schema

    def _answer(self, schema_id: int) -> tuple[int, float, bytes]:
        """Status, the pause that is asked for [s], and the body; bounded in time and length, however slowly it drips."""
        deadline = self._clock() + self._timeout
        with (
            httpx.Client(timeout=self._timeout, follow_redirects=True, max_redirects=MAX_REDIRECTS) as client,
            client.stream("GET", f"{self._registry}/schemas/ids/{schema_id}", headers={"Accept-Encoding": "identity"}) as answer,
        ):
            body = b""
            for part in answer.iter_raw():
                body += part
                if len(body) > MAX_ANSWER:
                    break
                if self._clock() > deadline:
                    raise httpx.ReadTimeout(f"not whole after {self._timeout:g} s")
            asked = answer.headers.get("retry-after", "")
            return answer.status_code, min(float(asked), LONGEST_WISH) if asked.isdecimal() else 0.0, body


class _NotARegistryError(Exception):
    """What came is not what a registry answers."""


def _read(status: int, body: bytes, *, schema_id: int) -> dict[str, Any] | PacketError:
    """The schema in an answer, or what is wrong with the id."""
    if status in _FAULTY_ID:
        return PacketError("bad_schema_id", f"the schema registry knows no schema with id {schema_id} (it answers {status})")
    if status != 200:
        raise _NotARegistryError(f"it answers {status}")
    if len(body) > MAX_ANSWER:
        return PacketError("bad_schema_id", f"the schema with id {schema_id} is longer than {MAX_ANSWER:,} bytes")
    try:
        found = json.loads(body)
    except (ValueError, RecursionError):
        raise _NotARegistryError("its answer is not JSON") from None
    if not isinstance(found, dict) or not isinstance(found.get("schema"), str):
        raise _NotARegistryError("its answer holds no schema")
    kind = str(found.get("schemaType") or "AVRO")[:40]
    if kind.upper() != "AVRO":
        return PacketError("bad_schema_id", f"the schema with id {schema_id} is {kind}, not Avro")
    try:
        return _record(load_schema(found["schema"]), schema_id)
    except PacketError:
        return PacketError("bad_schema_id", f"what the schema registry has under id {schema_id} is not an Avro record")


def _address(registry: str) -> str:
    """The address without a slash at its end."""
    try:
        url = httpx.URL(registry)
        good = url.scheme in ("http", "https") and bool(url.host)
    except httpx.InvalidURL:
        good = False
    if not good:
        raise SettingsError(f"PROTONOVA_SCHEMA_REGISTRY {registry!r} is not an address such as http://127.0.0.1:8081")
    return registry.rstrip("/")


def _record(schema: Any, schema_id: int) -> dict[str, Any]:
    if not isinstance(schema, dict):
        raise PacketError("bad_schema_id", f"the schema with id {schema_id} is not a record")
    return schema
