"""A packet of any survey → one of its cut-outs as a FITS file, and a FITS file → its pixels, for people to look at.

The stream reads cut-outs into stamps (`cutouts.py`); here the file is handed out as the survey made it, only inflated.
"""

from __future__ import annotations

from functools import lru_cache
from typing import Literal

import numpy as np

from operators.types import F32
from schemas.avro.compression import FAULTS
from schemas.avro.machine import Scratch, run
from schemas.avro.program import Kind, Program, Want, compile_schema
from schemas.avro.schema_store import SchemaStore
from schemas.avro.wire import PacketError, load_schema, read_body, read_header, sniff
from schemas.surveys.cutouts import MAX_IMAGE, inflated
from schemas.surveys.cutouts import read_header as read_fits_header

CutoutKind = Literal["science", "template", "difference"]
_FIELDS: dict[CutoutKind, tuple[str, ...]] = {
    kind: (f"cutout{kind.title()}.stampData", f"cutout{kind.title()}", f"cutout_{kind}") for kind in ("science", "template", "difference")
}
"""Where ZTF, Rubin and packets of frames have it."""


def cutout_file(packet: bytes, kind: CutoutKind) -> bytes | None:
    """A cut-out of a packet as a FITS file, inflated; None: it has none that can be read.

    Parameters
    ----------
    packet : bytes
        As it came.
    kind : {"science", "template", "difference"}
    """
    try:
        if sniff(packet) == "container":
            codec, text, at = read_header(packet)
            data, start, end = read_body(packet, at, codec=codec)
            program = _program(text, kind)
        elif sniff(packet) == "framed":
            data, start, end = packet, 5, len(packet)
            program = compile_schema(SchemaStore().get(int.from_bytes(packet[1:5], "big")), _want(kind))
        else:
            return None
        scratch = Scratch(program.n_scalars, 1, n_arrays=1)
        run(program, np.frombuffer(data, np.uint8), start=start, end=end, scratch=scratch)
    except (PacketError, *FAULTS):
        return None
    found = next(((at, size) for at, size in scratch.whole.tolist() if size > 0), None)
    if found is None:
        return None
    plain = inflated(data[found[0] : found[0] + found[1]])
    return None if plain is None or len(plain) > MAX_IMAGE or not plain.startswith(b"SIMPLE  =") else bytes(plain)


def pixels_of(fits: bytes) -> F32 | None:
    """The primary image of a FITS file (H, W), the lowest row first; None: there is none that is read here."""
    header = read_fits_header(fits)
    if header is None or header.offset + header.width * header.height * header.dtype.itemsize > len(fits):
        return None
    raw = np.frombuffer(fits, header.dtype, header.width * header.height, header.offset)
    return np.asarray(raw.reshape(header.height, header.width) * header.scale + header.zero, np.float32)


def _want(kind: CutoutKind) -> Want:
    fields: dict[str, Kind] = dict.fromkeys(_FIELDS[kind], "bytes")
    return Want(fields, {})


@lru_cache(maxsize=64)
def _program(text: bytes, kind: CutoutKind) -> Program:
    return compile_schema(load_schema(text), _want(kind))
