"""A taught class as a file: a record and its public examples' packets ↔ one JSON document, to take a class to another broker or keep it."""

from __future__ import annotations

import base64
import binascii
from collections.abc import Mapping
from pathlib import Path

import orjson

from console.report import check_writable
from errors import UserError
from schemas.avro.wire import MAX_PACKET, PacketError
from schemas.records import codec
from schemas.records.class_record import MOST_EXAMPLES, ClassRecord

FORMAT = "protonova-class-1"
LARGEST = 512 * 2**20
"""[bytes]"""


def write(path: Path, record: ClassRecord, *, packets: Mapping[str, bytes]) -> None:
    """Write a class.

    Raises
    ------
    UserError
        The file cannot be written.
    """
    check_writable(path)
    document = {
        "format": FORMAT,
        "name": record.name,
        "revision": record.revision,
        "author": record.author,
        "note": record.note,
        "examples": list(record.packet_ids),
        "record": base64.b64encode(codec.encode(record)).decode(),
        "packets": {name: base64.b64encode(packet).decode() for name, packet in packets.items()},
    }
    part = path.with_name(f".{path.name}.part")
    try:
        part.write_bytes(orjson.dumps(document, option=orjson.OPT_INDENT_2))
        part.replace(path)
    except OSError as error:
        raise UserError(f"{path} cannot be written: {error.strerror or error}") from None


def read(path: Path) -> tuple[ClassRecord, dict[str, bytes]]:
    """Read a class.

    Raises
    ------
    UserError
        The file is none of ours, or damaged.
    """
    wrong = UserError(f"{path} is not a class as `protonova classes export` writes it")
    try:
        if path.stat().st_size > LARGEST:
            raise wrong
        document = orjson.loads(path.read_bytes())
    except OSError as error:
        raise UserError(f"{path} cannot be read: {error.strerror or error}") from None
    except orjson.JSONDecodeError:
        raise wrong from None
    try:
        if document["format"] != FORMAT or len(document["packets"]) > MOST_EXAMPLES:
            raise wrong
        record = codec.expect(base64.b64decode(document["record"], validate=True), ClassRecord)
        packets = {str(name): base64.b64decode(text, validate=True) for name, text in document["packets"].items()}
    except (KeyError, TypeError, AttributeError, binascii.Error, ValueError, PacketError):
        raise wrong from None
    if any(len(packet) > MAX_PACKET for packet in packets.values()):
        raise wrong
    return record, packets
