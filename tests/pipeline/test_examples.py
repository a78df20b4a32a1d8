"""Packets that a class can be taught from, and why others cannot."""

from __future__ import annotations

import numpy as np
import pytest

from data.simulate.night import night
from operators.namespace import to_host
from pipeline.embed import embed
from pipeline.examples import AT_ONCE, see_packets
from pipeline.state import ScoringState, load


@pytest.fixture(scope="module")
def state() -> ScoringState:
    return load()


def test_each_view_is_the_streams_and_each_refusal_has_a_reason(state: ScoringState) -> None:
    good = [packet for packet, _ in night(3, AT_ONCE + 6, duplicates=0, broken=0)]
    packets = [good[0], b"no packet", *good[1:], good[5][:200]]
    found = see_packets(packets, state)
    assert [row.position for row in found.rows] == [0, *range(2, len(good) + 1)]
    assert [position for position, _ in found.refused] == [1, len(packets) - 1]
    assert all(": " in why for _, why in found.refused)
    batch = state.decoder.decode(good).batch
    for mine, streams in zip(found.views, embed(batch, state.session).views, strict=True):
        np.testing.assert_array_equal(mine, to_host(streams))
    assert [row.object_id for row in found.rows] == list(batch.object_id)
    assert not any(row.private for row in found.rows)


def test_nothing_gives_nothing(state: ScoringState) -> None:
    found = see_packets([], state)
    assert found.rows == ()
    assert all(len(column) == 0 for column in found.views)
