"""One record has one digest, whatever it is packed in; another record has another."""

from __future__ import annotations

import dataclasses
import io
import json

import fastavro
import pytest
from blake3 import blake3

from data.simulate.night import night
from operators.types import SURVEYS
from schemas.avro.container import Container, encode_ztf
from schemas.avro.schema_store import SchemaStore
from schemas.avro.wire import MAX_PACKET
from schemas.surveys.decode import Decoder
from schemas.surveys.identity import digest, packet_digest, packet_id
from schemas.surveys.ztf import SURVEY
from tests.schemas.made import ztf_record


def packings() -> list[bytes]:
    """One ZTF record in containers of three codecs, two writers and several sync markers."""
    whole = encode_ztf(ztf_record())
    [(schema, record)] = [(dict(reader.writer_schema), next(iter(reader))) for reader in [fastavro.reader(io.BytesIO(whole))]]  # type: ignore[arg-type]
    out = [whole]
    for codec in ("null", "deflate", "snappy"):
        for sync in (bytes(16), b"\xff" * 16):
            made = io.BytesIO()
            fastavro.writer(made, fastavro.parse_schema(schema), [record], codec=codec, sync_marker=sync, metadata={"made.by": codec})
            out.append(made.getvalue())
    assert len(set(out)) == 7
    return out


def test_container_codec_and_sync_marker_do_not_change_it() -> None:
    digests = {packet_digest(packet) for packet in packings()}
    assert len(digests) == 1
    decoded = Decoder().decode(packings())
    assert not decoded.rejected
    assert set(decoded.batch.digest) == digests
    assert len(decoded.batch.digest) == len(decoded.batch)


def test_a_framed_record_is_the_one_in_a_container() -> None:
    store = SchemaStore()
    from tests.schemas.test_units import rubin

    framed = rubin(900, {"diaSourceId": 1, "midpointMjdTai": 61000.0, "ra": 1.0, "dec": 1.0, "band": "g"})
    assert packet_digest(framed) == digest(framed[5:]) == packet_digest(Container(store.get(900)).wrap(framed[5:]))


def test_the_decoder_gives_the_digest_of_every_survey() -> None:
    packets = [packet for packet, _ in night(3, 60, duplicates=0, broken=0)]
    decoded = Decoder().decode(packets)
    assert set(decoded.batch.survey) >= {SURVEY}
    assert set(decoded.batch.survey) <= set(SURVEYS)
    assert list(decoded.batch.digest) == [packet_digest(packets[i]) for i in decoded.index]
    assert len(set(decoded.batch.digest)) == len(decoded.batch)


def test_a_revision_has_another_digest() -> None:
    record = ztf_record()
    first = packet_digest(encode_ztf(record))
    record["candidate"]["magpsf"] += 0.001
    assert packet_digest(encode_ztf(record)) != first


def test_it_is_blake3_cut_to_128_bits() -> None:
    assert digest(b"abc") == blake3(b"abc").hexdigest()[:32] == "6437b3ac38465133ffb63b75273a8db5"
    assert packet_id("ztf", -5, record_digest=digest(b"abc")) == "ztf:-5:6437b3ac38465133ffb63b75273a8db5"


@pytest.mark.parametrize("packet", [b"Obj\x01", b"Obj\x01" + bytes(50), encode_ztf(ztf_record())[:-1]])
def test_what_holds_no_single_record_has_none(packet: bytes) -> None:
    assert packet_digest(packet) is None


def test_a_bomb_is_bounded() -> None:
    from tests.schemas.test_bad_records import HOSTILE

    assert packet_digest(HOSTILE["a bomb above all bounds"]) is None
    assert MAX_PACKET < 9_000_000


def test_a_batch_of_none_has_no_digests() -> None:
    batch = Decoder().decode([]).batch
    assert batch.digest == ()
    assert json.dumps(dataclasses.asdict(batch)["digest"]) == "[]"
