"""The naive stack does the same work: same inputs of the network, same embeddings, same classes, same features, same record."""

from __future__ import annotations

import dataclasses
import math

import numpy as np
import pytest

from benchmarks import naive
from operators.context import context
from operators.features import FEATURES
from operators.stamps import stamps
from operators.tokens import tokens
from pipeline.score import score
from schemas.records.codec import decode_detection, encode
from schemas.records.detection import Detection

pytest.importorskip("torch")


@pytest.fixture(scope="module")
def stack(bundle, state):
    return naive.Naive(bundle, state)


@pytest.fixture(scope="module")
def decoded(packets, state):
    decoded = state.decoder.decode(packets.values)
    assert not decoded.rejected
    return decoded.batch


@pytest.fixture(scope="module")
def theirs(packets, stack):
    """Per packet: curve, context, tokens, stamps, surroundings."""
    return [stack.inputs(naive.decode(packet)) for packet in packets.values]


def test_the_network_reads_the_same(decoded, theirs):
    for column, ours in ((2, tokens(decoded)), (3, stamps(decoded)), (4, context(decoded))):
        np.testing.assert_allclose(np.stack([row[column] for row in theirs]), ours, atol=1e-4)


@pytest.mark.slow
def test_embeddings_agree(decoded, theirs, stack, state):
    ours = state.session.run(tokens(decoded), stamps(decoded), context(decoded))
    for i, (_, _, *inputs) in enumerate(theirs):
        embedding, logits = stack.network(*inputs)
        np.testing.assert_allclose(embedding, ours.embedding[i], atol=1e-3)
        np.testing.assert_allclose(logits, ours.logits[i], atol=1e-3)


@pytest.mark.slow
def test_records_agree(packets, stack, state):
    ours = score(packets.values, state)
    for packet, expected in zip(packets.values, ours, strict=True):
        assert isinstance(expected, Detection)
        found = decode_detection(stack.score(packet))
        assert found.engine.startswith("torch")
        assert found.top_class == expected.top_class
        assert {c.name: c.probability for c in found.classes} == pytest.approx({c.name: c.probability for c in expected.classes}, abs=1e-3)
        assert set(found.conformal_set) == set(expected.conformal_set)
        assert found.novelty == pytest.approx(expected.novelty, abs=1e-3)
        same = {field.name for field in dataclasses.fields(Detection)} - {
            "engine", "classes", "conformal_set", "features", "novelty", "prototype_distance", "top_probability", "nearest_prototype",
            "detection_id",  # ours has a digest of the packet in it
        }  # fmt: skip
        same -= {name for name in same if getattr(found, name) in (None, "", (), b"")}  # what the stack does not fill
        assert len(same) > 12
        for name in same:
            value = getattr(expected, name)
            if isinstance(value, float):
                assert getattr(found, name) == pytest.approx(value, rel=1e-5), name
            else:
                assert getattr(found, name) == value, name


@pytest.mark.slow
def test_features_agree(packets, stack, state):
    compared = 0
    for packet, expected in zip(packets.values, score(packets.values, state), strict=True):
        ours = {f.name: f.value for f in expected.features}
        theirs = {f.name: f.value for f in decode_detection(stack.score(packet)).features}
        for name, value in theirs.items():
            assert value == pytest.approx(ours[name], rel=2e-3, abs=1e-4), name
            compared += 1
        assert ours.keys() == theirs.keys()  # each feature is defined from the same number of points on
    assert compared > 4 * len(packets.values)  # many a real packet has few points
    assert set(theirs) <= set(FEATURES)


def test_a_packet_round_trips_through_both_writers(packets, stack, state):
    (detection,) = score(packets.values[:1], state)
    assert decode_detection(encode(detection)).candid == decode_detection(stack.score(packets.values[0])).candid
    assert math.isfinite(detection.top_probability)
