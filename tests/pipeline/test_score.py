"""Law 1: the value of a detection is a function of its packet and the state alone."""

from __future__ import annotations

import dataclasses
import itertools
import math

import numpy as np
import pytest

from data.simulate.night import night
from gpu.session import EngineError
from pipeline.score import score
from pipeline.state import ScoringState, load
from pipeline.verify import verify
from pipeline.warm import warm
from registry.bundle import load as load_bundle
from schemas.records.codec import decode_detection, encode
from schemas.records.detection import Detection
from schemas.records.rejected import Rejected
from tests.schemas.test_units import rubin


@pytest.fixture(scope="module")
def state() -> ScoringState:
    return load(engine="onnxruntime")


@pytest.fixture(scope="module")
def packets() -> list[bytes]:
    return [packet for packet, _ in itertools.islice(night(seed=11, n=150), 150)]


def test_one_result_a_packet_in_order(state, packets):
    mixed = [packets[0], b"", packets[1], b"Obj\x01 but no more", packets[2]]
    results = score(mixed, state)
    assert [type(r) for r in results] == [Detection, Rejected, Detection, Rejected, Detection]
    alone = [score([p], state)[0] for p in mixed]
    assert results == alone


def test_bit_for_bit_whatever_else_is_in_the_batch(state, packets):
    together = score(packets, state)
    assert score(packets, state) == together
    backwards = score(packets[::-1], state)[::-1]
    assert backwards == together
    for size in (1, 3, 8, 33, 64):
        parts = [r for start in range(0, len(packets), size) for r in score(packets[start : start + size], state)]
        assert parts == together, f"batches of {size}"


def test_a_detection_holds_together(state, packets):
    detections = [r for r in score(packets, state) if isinstance(r, Detection)]
    assert len(detections) > 100
    for d in detections:
        assert d.detection_id == f"{d.packet_id}:{state.scoring_id}"
        assert d.packet_id.startswith(f"{d.survey}:{d.candid}:")
        assert sum(c.probability for c in d.classes) == pytest.approx(1, abs=1e-4)
        assert sum(c.prior_probability for c in d.classes) == pytest.approx(1, abs=1e-4)
        assert {c.name for c in d.classes} == {*state.classes, "other"}
        assert d.classes[0].name == d.top_class
        assert d.classes[0].probability == d.top_probability == max(c.probability for c in d.classes)
        assert d.top_class in d.conformal_set
        assert 0 <= d.novelty <= 1
        assert 0 <= d.prototype_distance <= 2
        assert 0 <= d.ra < 360
        assert d.n_detections >= 1


def test_every_rejection_has_a_reason(state, packets):
    rejected = [r for r in score([*packets, b"\x00\x00\x00\x30\x39rest", b"{}"], state) if isinstance(r, Rejected)]
    assert len(rejected) >= 2
    assert all(len(r.reason) > 10 and r.error_class for r in rejected)
    assert any("12345" in r.reason for r in rejected), "an unknown schema id is named"


def test_nothing_in_nothing_out(state):
    assert score([], state) == []


def test_a_wrong_engine_is_found_before_it_scores(state):
    bundle = load_bundle()
    assert verify(bundle, state.session) <= 1e-5
    golden = dataclasses.replace(bundle.golden, probability=np.roll(bundle.golden.probability, 1, axis=1))
    with pytest.raises(EngineError, match="golden"):
        verify(dataclasses.replace(bundle, golden=golden), state.session)


def test_an_engine_that_fails_is_not_the_packets_fault(state, packets):
    class Broken:
        engine, buckets, namespace = "broken", (8,), np

        def run(self, tokens, stamps, context):
            raise EngineError("the device is gone")

    with pytest.raises(EngineError):
        score(packets[:3], dataclasses.replace(state, encoder=dataclasses.replace(state.encoder, session=Broken())))


def test_warming_changes_no_score(state, packets):
    before = score(packets[:20], state)
    warm(state)
    assert score(packets[:20], state) == before


def test_numbers_beyond_the_record_become_none(state):
    """A survey may write any 32 bit number; the record must still go onto the wire."""
    source = {"diaSourceId": 1, "midpointMjdTai": 61000.0, "ra": 1.0, "dec": 1.0, "band": "g"}
    packets = [
        rubin(900, source | {"psfFlux": 1e9, "psfFluxErr": 1e-40, "snr": 1e-40}),
        rubin(900, source | {"psfFlux": 1e9, "psfFluxErr": math.inf, "snr": math.inf, "reliability": math.inf}),
    ]
    for found in score(packets, state):
        assert isinstance(found, Detection)
        assert found.flux_err is None
        assert found.real_bogus is None
        assert decode_detection(encode(found)).candid == 1
