"""A simulated sector: valid packets in the stated mix, known duplicates and broken ones, and a truth that a decoder confirms."""

from __future__ import annotations

from collections import Counter

import pytest

from data.simulate.classes import KINDS
from data.simulate.sector import SECTOR_MIX, SectorTruth, class_of, sector, target
from data.simulate.space_curves import ANOMALIES, SPACE_KINDS, STILL
from schemas.surveys.decode import Decoder

Stream = list[tuple[bytes, SectorTruth]]


@pytest.fixture(scope="module")
def stream() -> Stream:
    return list(sector(4, 80, duplicates=4, broken=6, cadence=1800.0))


def test_counts_are_those_asked_for(stream: Stream) -> None:
    assert Counter(t.kind for _, t in stream) == {"alert": 70, "duplicate": 4, "broken": 6}
    assert {t.detail for _, t in stream if t.kind == "broken"} <= {"truncated", "foreign", "text"}
    with pytest.raises(ValueError, match="do not fit"):
        next(sector(4, 10, duplicates=8, broken=2))


def test_what_is_whole_decodes_and_is_what_the_truth_says(stream: Stream) -> None:
    decoded = Decoder().decode([packet for packet, _ in stream])
    whole = [t for _, t in stream if t.kind != "broken"]
    assert list(decoded.batch.candid) == [t.candid for t in whole]
    assert list(decoded.batch.object_id) == [t.object_id for t in whole]
    assert {stream[place][1].kind for place, _ in decoded.rejected} == {"broken"}
    assert len(decoded.rejected) == 6


def test_a_duplicate_is_the_same_bytes(stream: Stream) -> None:
    seen = {t.candid: packet for packet, t in stream if t.kind == "alert"}
    again = [(packet, t) for packet, t in stream if t.kind == "duplicate"]
    assert len(again) == 4
    assert all(seen[t.candid] == packet for packet, t in again)


def test_a_target_is_its_seeds_and_numbers(stream: Stream) -> None:
    first = next(t for _, t in stream if t.kind == "alert")
    packet, truth = target(4, 0, cadence=1800.0)
    assert (packet, truth) == (stream[0][0], first)
    assert target(5, 0, cadence=1800.0)[0] != packet
    assert target(4, 0, cadence=1800.0, population="train")[0] != packet


def test_the_mix_is_the_one_asked_for() -> None:
    assert set(SECTOR_MIX) <= set(SPACE_KINDS)
    assert sum(SECTOR_MIX.values()) == pytest.approx(1.0)
    only = list(sector(2, 6, mix={"transit": 1.0}, cadence=1800.0, duplicates=0, broken=0))
    assert {t.detail for _, t in only} == {"transit"}
    assert all(t.label == "exoplanet-transit" and t.figures["period"] > 0 for _, t in only)


def test_every_kind_has_the_class_of_the_stream() -> None:
    for kind in SPACE_KINDS:
        expected = KINDS.get(kind)
        assert class_of(kind) == (expected or class_of(kind))
    assert class_of("EA") == "eclipsing-binary"
    assert {class_of(kind) for kind in ANOMALIES} == {"transit-anomaly"}
    assert {class_of(kind) for kind in STILL} == {"bogus"}
    assert class_of("ACV") == ""
