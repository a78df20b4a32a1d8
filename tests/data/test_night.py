"""A simulated night: valid packets, known duplicates and broken ones, and a truth that a decoder confirms."""

from __future__ import annotations

import io
from collections import Counter

import fastavro
import pytest

from data.simulate.classes import SLUGS, STREAM_MIX, TRANSITS
from data.simulate.night import Truth, alert_at, night
from schemas.surveys.decode import Decoder
from schemas.taxonomy import CLASSES

Stream = list[tuple[bytes, Truth]]


@pytest.fixture(scope="module")
def stream() -> Stream:
    return list(night(4, 120, duplicates=4, broken=6))


def test_counts_are_those_asked_for(stream: Stream) -> None:
    assert Counter(t.kind for _, t in stream) == {"alert": 110, "duplicate": 4, "broken": 6}
    assert {t.detail for _, t in stream if t.kind == "broken"} <= {"truncated", "foreign", "text"}
    assert not list(night(4, 0))
    assert Counter(t.kind for _, t in night(4, 3)) == {"alert": 3}


def test_too_many_duplicates_are_refused() -> None:
    with pytest.raises(ValueError, match="do not fit"):
        next(night(4, 10, duplicates=8, broken=2))


def test_a_duplicate_is_the_same_bytes(stream: Stream) -> None:
    for place, (packet, truth) in enumerate(stream):
        if truth.kind == "duplicate":
            original = next(k for k, (p, t) in enumerate(stream) if t.candid == truth.candid and t.kind == "alert")
            assert original < place
            assert stream[original][0] == packet


def test_every_packet_is_official_avro(stream: Stream) -> None:
    for packet, truth in stream:
        if truth.kind == "broken":
            continue
        (record,) = fastavro.reader(io.BytesIO(packet))
        assert record["schemavsn"] == "4.02"
        assert record["candid"] == record["candidate"]["candid"] == truth.candid
        assert record["objectId"] == truth.object_id
        assert record["candidate"]["programid"] == 1
        assert record["candidate"]["isdiffpos"] in ("t", "f")
        assert record["candidate"]["jdstarthist"] <= record["candidate"]["jd"]
        for row in record["prv_candidates"] or []:
            assert 0 < record["candidate"]["jd"] - row["jd"] <= 30.0001
            assert (row["magpsf"] is None) == (row["candid"] is None)
        assert record["candidate"]["ndethist"] >= 1 + sum(row["magpsf"] is not None for row in record["prv_candidates"] or [])
        assert record["candidate"]["ncovhist"] >= record["candidate"]["ndethist"]


def test_the_decoder_confirms_the_truth(stream: Stream) -> None:
    decoded = Decoder().decode([packet for packet, _ in stream])
    assert {k for k, _ in decoded.rejected} == {k for k, (_, t) in enumerate(stream) if t.kind == "broken"}
    for row, place in enumerate(decoded.index):
        truth = stream[place][1]
        assert decoded.batch.candid[row] == truth.candid
        assert int(decoded.batch.detected[row].sum()) == truth.n_detections


def test_objects_come_back_with_other_alerts() -> None:
    alerts = [alert_at(4, k) for k in range(150)]
    candids = Counter((a.observed.index, a.now) for a in alerts)
    assert max(candids.values()) == 1
    assert len({a.observed.index for a in alerts}) < 150


def test_the_mix_is_a_stream_and_every_class_has_a_topic() -> None:
    assert set(STREAM_MIX) == set(SLUGS) - set(TRANSITS)
    common = ("bogus", "asteroid", "agn", "rr-lyrae", "eclipsing-binary", "lpv", "yso", "cv", "microlensing", "m-dwarf-flare")
    assert sum(STREAM_MIX[slug] for slug in common) / sum(STREAM_MIX.values()) > 0.5
    assert {entry.slug for entry in CLASSES} == set(SLUGS)
