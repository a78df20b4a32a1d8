"""The key fields of a record are those of the whole record, and damaged bytes are refused."""

from __future__ import annotations

import contextlib
import dataclasses

import pytest

from schemas.avro.wire import PacketError
from schemas.records import codec, detection
from schemas.records.key_fields import detection_fields, embedding_fields
from tests.schemas.test_records import DETECTION, FULL


def body(record: detection.Detection) -> bytes:
    return detection.body(record, detection.coded(record))


@pytest.mark.parametrize("record", [DETECTION, FULL, dataclasses.replace(FULL, decision=None, flux=None, flux_err=None, candid=-(2**60))])
def test_they_are_those_of_the_whole_record(record: detection.Detection) -> None:
    whole = codec.decode_detection(detection.PREFIX + body(record))
    found = detection_fields(body(record))
    for name in ("packet_id", "survey", "candid", "object_id", "programid", "ra", "dec", "mjd", "band", "flux", "flux_err", "novelty"):
        assert getattr(found, name) == getattr(whole, name), name
    assert (found.class_name, found.probability) == whole.shown_class
    assert found.published == (whole.decision is not None and whole.decision.published)


def test_those_of_an_embedding_too() -> None:
    record = dataclasses.replace(FULL, embedding=b"\x00\x3c\x00\x40")
    _, framed = codec.encode_both(record)
    assert framed is not None
    found = embedding_fields(framed[5:])
    assert (found.object_id, found.survey, found.programid, found.mjd, found.vector) == (
        record.object_id, record.survey, record.programid, record.mjd, record.embedding,
    )  # fmt: skip
    with pytest.raises(PacketError):
        embedding_fields(framed[5:-3])


def test_damaged_records_are_refused_or_read_and_nothing_else() -> None:
    whole = body(FULL)
    for cut in range(0, len(whole), 7):
        with pytest.raises(PacketError):
            detection_fields(whole[:cut])
    with pytest.raises(PacketError, match="left after"):
        detection_fields(whole + b"x")
    with pytest.raises(PacketError, match="read at most"):
        detection_fields(bytes(70_000))
    for at in range(0, len(whole), 3):
        with contextlib.suppress(PacketError):  # whatever else it raises is a fault
            detection_fields(whole[:at] + bytes([whole[at] ^ 0xFF]) + whole[at + 1 :])
