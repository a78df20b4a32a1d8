"""Packets of any survey → one `AlertBatch`.

in → packets (bytes)
out → columns of those that can be read, and for each other one the reason why not

The writer schema says whose packet it is. Compiled programs are kept by the container's header: a packet that starts with the same bytes
as one before it costs one comparison of memory (a quarter of a ZTF packet is its schema).
"""

from __future__ import annotations

import hashlib
import threading
import zlib
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any, NamedTuple

import numpy as np

from operators.types import AlertBatch
from schemas.avro.machine import Scratch, run
from schemas.avro.program import Program, compile_schema
from schemas.avro.schema_store import SchemaStore
from schemas.avro.wire import MAX_PACKET, PacketError, load_schema, read_body, read_header, sniff
from schemas.surveys import cutout_window, frame_alerts, lsst, tess, ztf
from schemas.surveys.columns import Columns, Reader, Record
from schemas.surveys.cutouts import Cutouts
from schemas.surveys.identity import digest

READERS: tuple[Reader, ...] = (ztf, lsst, tess, frame_alerts)
MAX_HEADERS = 16
MAX_PROGRAMS = 256
OF_TEXT = 1 << 31
"""Set in the number of a schema that is a checksum of its text: no registry has so many."""
FRAMED = "framed"
"""In the place of a container's codec: the rest of the packet is the record."""
_NAMES = "ZTF, Rubin, TESS or our own of frames"


class Compiled(NamedTuple):
    """What is known of a writer schema."""

    reader: Reader
    program: Program
    number: int
    """Its id in a registry; of a container's, a checksum of its text with the highest of 32 bits set."""


@dataclass(frozen=True, slots=True)
class Decoded:
    """What became of a list of packets."""

    batch: AlertBatch
    index: tuple[int, ...]
    """Position in the input of each alert of the batch."""
    rejected: tuple[tuple[int, PacketError], ...]
    """Position and reason of every other one."""


class _Workspace(threading.local):
    """What a thread writes into while it reads one record."""

    def __init__(self, cutouts: Callable[[], Cutouts]) -> None:
        self.scratch: dict[int, Scratch] = {}
        self.cutouts = cutouts()


class Decoder:
    """Decodes packets; remembers headers and programs. May be shared by threads.

    Parameters
    ----------
    store : where the schemas of framed packets come from
    cutouts : makes the reader of cut-outs, one a thread
    """

    def __init__(self, store: SchemaStore | None = None, cutouts: Callable[[], Cutouts] = Cutouts) -> None:
        self._store = store or SchemaStore()
        self._headers: list[tuple[bytes, str, Compiled]] = []  # the latest first; bytes up to the sync marker
        self._texts: dict[bytes, Compiled | PacketError] = {}
        self._ids: dict[int, Compiled] = {}
        self._workspace = _Workspace(cutouts)

    def decode(self, packets: Sequence[bytes]) -> Decoded:
        """Decode packets, each for itself.

        Returns
        -------
        the batch in the order of the input, and the rejected ones
        """
        columns = Columns(len(packets))
        index: list[int] = []
        rejected: list[tuple[int, PacketError]] = []
        for position, packet in enumerate(packets):
            try:
                self._read(packet, columns, i=len(index))
                index.append(position)
            except PacketError as error:
                rejected.append((position, error))
        return Decoded(columns.batch(), tuple(index), tuple(rejected))

    def _read(self, packet: bytes, columns: Columns, *, i: int) -> None:
        if len(packet) > MAX_PACKET:
            raise PacketError("too_large", f"the packet has {len(packet):,} bytes; {MAX_PACKET:,} are read at most")
        at, codec, compiled = self._open(packet)
        try:
            self._fill(packet, at, codec=codec, compiled=compiled, columns=columns, i=i)
        except PacketError as error:
            if error.error_class != "unknown_survey":
                error.survey = compiled.reader.SURVEY
            raise

    def _fill(self, packet: bytes, at: int, *, codec: str, compiled: Compiled, columns: Columns, i: int) -> None:
        """Read the body of a packet, which begins at `at`, into row i."""
        data, start, end = (packet, at, len(packet)) if codec == FRAMED else read_body(packet, at, codec=codec)
        reader, program, number = compiled
        scratch = self._workspace.scratch.get(id(reader))
        if scratch is None:
            scratch = Scratch(program.n_scalars, program.n_columns, n_arrays=len(program.columns))
            self._workspace.scratch[id(reader)] = scratch
        run(program, np.frombuffer(data, np.uint8), start=start, end=end, scratch=scratch)
        reader.fill(Record(data, scratch), columns, i=i, cutouts=self._workspace.cutouts)
        columns.schema.append(number)
        columns.digest.append(digest(memoryview(data)[start:end]))  # last: what was just read lies in the cache

    def _open(self, packet: bytes) -> tuple[int, str, Compiled]:
        """Where the header ends, how the body is packed, and whose it is."""
        for place, (prefix, codec, compiled) in enumerate(self._headers):
            if packet.startswith(prefix):
                if place > 3:  # the ones in use stay in front
                    self._remember(prefix, codec, compiled=compiled)
                return len(prefix), codec, compiled
        kind = sniff(packet)
        if kind == "container":
            codec, text, at = read_header(packet)
            compiled = self._by_text(text)
            self._remember(packet[:at], codec, compiled=compiled)
            return at, codec, compiled
        if kind == "framed":
            schema_id = int.from_bytes(packet[1:5], "big")
            known = self._ids.get(schema_id)
            if known is None:
                known = _compile(self._store.get(schema_id), schema_id)
                if len(self._ids) < MAX_PROGRAMS:
                    self._ids[schema_id] = known
            return 5, FRAMED, known
        raise PacketError("not_avro", "the packet is neither an Avro object container nor in Confluent framing")

    def _by_text(self, text: bytes) -> Compiled:
        key = hashlib.sha256(text).digest()  # the text itself may have a million bytes
        known = self._texts.get(key)
        if known is None:
            try:
                known = _compile(load_schema(text), zlib.crc32(text) | OF_TEXT)
            except PacketError as error:
                known = error
            if len(self._texts) >= MAX_PROGRAMS:
                self._texts.clear()
            self._texts[key] = known
        if isinstance(known, PacketError):
            raise PacketError(known.error_class, known.reason, survey=known.survey)
        return known

    def _remember(self, prefix: bytes, codec: str, *, compiled: Compiled) -> None:
        self._headers = [(prefix, codec, compiled), *(h for h in self._headers if h[0] != prefix)][:MAX_HEADERS]


def warm() -> None:
    """Compile, or load from numba's cache, what decoding needs: seconds that a worker spends before it says that it is ready."""
    for reader in READERS:
        scratch = Scratch(len(reader.WANT.scalars), sum(map(len, reader.WANT.arrays.values())), n_arrays=len(reader.WANT.arrays))
        columns = Columns(1)
        reader.fill_row(scratch.number, scratch.table, scratch.count, 0, *columns.light_curve, *columns.own, columns.context)
    cutout_window.warm()
    program = compile_schema({"type": "record", "name": "warm", "fields": [{"name": "tic", "type": "long"}]}, tess.WANT)
    run(
        program,
        np.frombuffer(b"\x02", np.uint8),
        start=0,
        end=1,
        scratch=Scratch(program.n_scalars, program.n_columns, n_arrays=len(program.columns)),
    )


def _compile(schema: Any, number: int) -> Compiled:
    for reader in READERS:
        if reader.claims(schema):
            try:
                return Compiled(reader, compile_schema(schema, reader.WANT), number)
            except PacketError as error:
                error.survey = reader.SURVEY
                raise
    name = schema.get("name", "") if isinstance(schema, dict) else ""
    raise PacketError("unknown_survey", f"the fields of {str(name)[:60] or 'the packet'} are not those of {_NAMES}")
