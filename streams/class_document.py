"""A taught class as one JSON document: a record and its public examples' packets ↔ bytes, to take a class to another broker or keep it."""

from __future__ import annotations

import base64
import binascii
import time
from collections.abc import Mapping
from typing import TYPE_CHECKING

import orjson

from errors import UserError
from registry.taught_classes import name_problem
from schemas.avro.wire import MAX_PACKET, PacketError
from schemas.records import codec
from schemas.records.class_record import MOST_EXAMPLES, ClassRecord
from streams.agents.teaching import Change, Outcome, change, read_packets

if TYPE_CHECKING:
    from registry.bundle import Bundle
    from settings.model import Settings

FORMAT = "protonova-class-1"


def document_of(record: ClassRecord, packets: Mapping[str, bytes]) -> bytes:
    """A class as a document.

    Parameters
    ----------
    record : ClassRecord
    packets : mapping of str to bytes
        Packet id → packet of its public examples, as far as they are at hand.
    """
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
    return orjson.dumps(document, option=orjson.OPT_INDENT_2)


def class_of(document: bytes, where: str = "the document") -> tuple[ClassRecord, dict[str, bytes]]:
    """Read a class.

    Parameters
    ----------
    document : bytes
    where : str
        What it is called in the message.

    Raises
    ------
    UserError
        It is none of ours, or damaged.
    """
    wrong = UserError(f"{where} is not a class as `protonova classes export` writes it")
    try:
        found = orjson.loads(document)
        if found["format"] != FORMAT or len(found["packets"]) > MOST_EXAMPLES:
            raise wrong
        record = codec.expect(base64.b64decode(found["record"], validate=True), ClassRecord)
        packets = {str(name): base64.b64decode(text, validate=True) for name, text in found["packets"].items()}
    except (KeyError, TypeError, AttributeError, binascii.Error, ValueError, PacketError):  # a JSONDecodeError is a ValueError
        raise wrong from None
    if any(len(packet) > MAX_PACKET for packet in packets.values()):
        raise wrong
    return record, packets


async def exported(settings: Settings, record: ClassRecord) -> tuple[bytes, int]:
    """The document of a class that is taught, and how many of its examples' packets are in it.

    Parameters
    ----------
    settings : Settings
        With a broker.
    record : ClassRecord
    """
    public = [(record.name, packet) for packet, private in zip(record.packet_ids, record.private, strict=True) if not private]
    packets = await read_packets(settings, public)
    return document_of(record, {packet: value for (_, packet), value in packets.items()}), len(packets)


async def imported(
    settings: Settings, document: tuple[ClassRecord, Mapping[str, bytes]], *, bundle: Bundle, before: int, author: str, note: str
) -> Outcome:
    """Teach the class of a document, as it was taught where it comes from.

    Parameters
    ----------
    settings : Settings
        With a broker.
    document : (ClassRecord, mapping)
        As `class_of` gives it.
    bundle : Bundle
        Of the champion.
    before : int
        Revision of the class that the author saw; 0: it is not taught.
    author, note : str

    Raises
    ------
    UserError
        No class can be taught under its name.
    streams.agents.teaching.ClassConflictError
        It was changed meanwhile.
    """
    record, packets = document
    if (problem := name_problem(record.name, bundle.classes)) is not None:
        raise UserError(problem, 2)
    named = {name: packets[name] for name in record.packet_ids if name in packets}
    return await change(settings, Change(record.name, author, note, record, named, before, int(time.time() * 1000)))


def missing_from(document: tuple[ClassRecord, Mapping[str, bytes]]) -> int:
    """Public examples whose packets are not in the document: another model would need them."""
    record, packets = document
    return sum(not private and name not in packets for name, private in zip(record.packet_ids, record.private, strict=True))
