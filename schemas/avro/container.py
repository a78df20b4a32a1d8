"""Records of plain Python → packets as the surveys send them.

For the simulator, for archives that keep packets as table rows, and for tests. The same record always gives the same bytes: the
container's sync marker is the md5 of its schema, cut-outs carry no clock, and libdeflate's output depends on its input alone.
"""

from __future__ import annotations

import hashlib
import io
import json
import struct
import zlib
from collections.abc import Mapping
from functools import lru_cache
from pathlib import Path
from typing import Any, Protocol

import deflate
import fastavro
import numpy as np
import numpy.typing as npt

from schemas.avro.wire import SYNC
from schemas.avro.writer import compile_writer, varint

ZTF_SCHEMA = Path(__file__).parents[1] / "surveys" / "ztf_4_02.avsc"
"""Names and types of a ZTF 4.02 packet (https://github.com/ZwickyTransientFacility/ztf-avro-alert)."""

_GZIP_HEADER = b"\x1f\x8b\x08\x00\x00\x00\x00\x00\x00\xff"  # deflate, no name, no time, unknown system (RFC 1952)


class Schemas(Protocol):
    """Where the writer schema of a Confluent id comes from."""

    def get(self, schema_id: int) -> dict[str, Any]:
        """The parsed schema of an id."""


class Container:
    """Writes single records as Avro object containers with one fixed header.

    Parameters
    ----------
    schema : parsed JSON of an Avro schema
    """

    def __init__(self, schema: Any) -> None:
        text = json.dumps(schema, separators=(",", ":"))
        self.schema = fastavro.parse_schema(json.loads(text))
        self._write = compile_writer(json.loads(text))
        self.header = single_header(text.encode())
        self.sync = self.header[-SYNC:]

    def encode(self, record: Mapping[str, Any]) -> bytes:
        """One record as a whole container: header, one block, sync marker."""
        return self.wrap(self.body(record))

    def body(self, record: Mapping[str, Any]) -> bytearray:
        """One record as Avro, without its container."""
        raw = bytearray()
        self._write(record, raw)
        return raw

    def wrap(self, body: bytes | bytearray) -> bytes:
        """A record that is Avro already, in its container."""
        return b"".join((self.header, varint(1), varint(len(body)), body, self.sync))


def single_header(text: bytes) -> bytes:
    """The header of an uncompressed container with a schema, its sync marker at the end: the same bytes for the same text."""
    metadata = {b"avro.codec": b"null", b"avro.schema": text}
    entries = b"".join(_bytes(key) + _bytes(value) for key, value in metadata.items())
    return b"Obj\x01" + varint(len(metadata)) + entries + b"\x00" + hashlib.md5(text, usedforsecurity=False).digest()


def encode_ztf(record: Mapping[str, Any]) -> bytes:
    """A ZTF 4.02 packet.

    Parameters
    ----------
    record : fields of `ztf_4_02.avsc`; those that may be null may be left out. Cut-outs are ``{"fileName": str, "stampData": bytes}``
        with `make_cutout`'s bytes.

    Returns
    -------
    an Avro object container, the same bytes for the same record
    """
    return _ztf().encode(record)


def encode_rubin(record: Mapping[str, Any], schema_id: int, store: Schemas) -> bytes:
    """A Rubin packet in Confluent framing: 0x00, the id as four big-endian bytes, the Avro body.

    Parameters
    ----------
    record : fields of the writer schema
    schema_id : 100 · major + minor of Rubin's alert schema
    store : where the writer schema is looked up
    """
    body = io.BytesIO()
    body.write(struct.pack(">bI", 0, schema_id))
    fastavro.schemaless_writer(body, fastavro.parse_schema(store.get(schema_id)), record)
    return body.getvalue()


def make_cutout(image: npt.ArrayLike, pixel_scale: float | None = None) -> bytes:
    """A cut-out as ZTF sends it: a gzipped FITS image of 32-bit floats.

    Parameters
    ----------
    image : (height, width), NaN where there is no pixel
    pixel_scale : [arcsec/pixel], written as CDELT2 where given
    """
    plain = make_fits(image, pixel_scale)
    tail = struct.pack("<II", zlib.crc32(plain), len(plain))
    return _GZIP_HEADER + bytes(deflate.deflate_compress(plain, 6)) + tail


def make_fits(image: npt.ArrayLike, pixel_scale: float | None = None) -> bytes:
    """The same without gzip, as Rubin sends it (FITS 4.0, one primary image)."""
    pixels = np.asarray(image, dtype=">f4")
    height, width = pixels.shape
    cards = [("SIMPLE", "T"), ("BITPIX", "-32"), ("NAXIS", "2"), ("NAXIS1", str(width)), ("NAXIS2", str(height))]
    if pixel_scale is not None:
        cards += [("CDELT1", repr(-pixel_scale / 3600)), ("CDELT2", repr(pixel_scale / 3600))]
    header = "".join(f"{key:<8}= {value:>20}".ljust(80) for key, value in cards) + "END".ljust(80)
    data = pixels.tobytes()
    return header.ljust(-(-len(header) // 2880) * 2880).encode("ascii") + data + b"\x00" * (-len(data) % 2880)


@lru_cache(maxsize=1)
def _ztf() -> Container:
    return Container(json.loads(ZTF_SCHEMA.read_text(encoding="utf-8")))


def _bytes(value: bytes) -> bytes:
    return varint(len(value)) + value
