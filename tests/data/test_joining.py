"""Joining increments: the same packet from the same increments, in any order and however often they come."""

from __future__ import annotations

import random
from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from data.joining.whole_curve import MOST_POINTS, WholeCurve, differs, joined, packet
from schemas.avro.wire import PacketError
from schemas.surveys import tess
from schemas.surveys.tess_increment import POINT, Increment, IncrementReader
from tests.data.curve_parts import decode, encode, part, record

READER = IncrementReader()


def join_all(*increments: dict[str, Any]) -> WholeCurve:
    """The light curve of increments, by their packets."""
    curve = None
    for increment in increments:
        curve = joined(curve, READER.read(encode(increment)))
    assert curve is not None
    return curve


def test_increments_become_the_packet_that_would_have_been_sent_whole() -> None:
    whole = record(n=600)
    parts = [part(whole, at, at + 100) for at in range(0, 600, 100)]
    assert packet(join_all(*parts)) == tess.encode(whole)
    assert packet(join_all(*parts[:3])) == tess.encode(part(whole, 0, 300))  # and so far, on the way


# Few times and values, so that they meet: increments that overlap, contradict each other and come from revisions.
points = st.lists(
    st.tuples(
        st.integers(0, 8), st.sampled_from([0.0, 2e-5, 5e-5]), st.sampled_from([None, 1.0, 2.0, -0.0, 0.0]),
        st.sampled_from([None, 0.5, 1.0]), st.sampled_from([0, 1, -1]),
    ), min_size=1, max_size=6,
)  # fmt: skip
one = st.tuples(points, st.integers(0, 3), st.integers(0, 2), st.sampled_from([9.0, 9.5, None]))


def increment(drawn: Any) -> dict[str, Any]:
    rows, cadence, revision, tmag = drawn
    curve = [{"btjd": 3000 + t / 720 + shift, "flux": f, "flux_err": e, "quality": q} for t, shift, f, e, q in rows]
    return record(light_curve=curve, cadence=cadence, revision=revision, tmag=tmag)


@pytest.mark.slow
@settings(max_examples=300, deadline=None)
@given(st.lists(one, min_size=1, max_size=5), st.randoms(use_true_random=False))
def test_any_order_and_redelivery_give_the_same_packet(drawn: list[Any], rng: random.Random) -> None:
    increments = [increment(d) for d in drawn]
    first = join_all(*increments)
    again = [*increments, *rng.choices(increments, k=3)]
    rng.shuffle(again)
    second = join_all(*again)
    assert packet(second) == packet(first)
    assert second.points.tobytes() == first.points.tobytes()
    for redelivered in increments:  # nothing new in any of them
        after = joined(first, READER.read(encode(redelivered)))
        assert not differs(first, after)
        assert packet(after) == packet(first)


@settings(max_examples=200, deadline=None)
@given(one, one)
def test_a_packet_is_new_where_its_bytes_are(drawn: Any, other: Any) -> None:
    before = join_all(increment(drawn))
    after = joined(before, READER.read(encode(increment(other))))
    assert differs(before, after) == (packet(before) != packet(after))


@settings(max_examples=200, deadline=None)
@given(st.lists(one, min_size=1, max_size=4))
def test_a_value_is_that_of_the_highest_revision_that_has_its_time(drawn: list[Any]) -> None:
    best: dict[float, tuple[int, int]] = {}
    for rows, cadence, revision, _ in drawn:
        for t, shift, *_ in rows:
            time = 3000 + t / 720 + shift
            best[time] = max(best.get(time, (0, 0)), (revision, cadence))
    curve = join_all(*(increment(d) for d in drawn))
    assert [(time, rank) for time, rank in zip(curve.points["time"], curve.points["rank"], strict=True)] == [
        (time, revision << tess.CADENCE_BITS | cadence) for time, (revision, cadence) in sorted(best.items())
    ]


def test_a_later_revision_replaces_and_an_earlier_one_that_comes_late_does_not() -> None:
    whole = record(n=40)
    better = [{**p, "flux": 5.0, "btjd": p["btjd"] + 1e-6} for p in whole["light_curve"][10:20]]  # a corrected clock
    revised = {**part(whole, 10, 20, revision=1), "light_curve": better}
    expected = [*whole["light_curve"][:10], *better, *whole["light_curve"][20:]]
    for order in ((part(whole, 0, 40), revised), (revised, part(whole, 0, 40)), (part(whole, 0, 15), revised, part(whole, 12, 40))):
        assert packet(join_all(*order)) == tess.encode({**whole, "light_curve": expected})


def test_what_reaches_further_is_the_later_of_two_without_a_revision() -> None:
    whole = record(n=40)
    changed = {**whole, "light_curve": [{**p, "flux": 7.0} for p in whole["light_curve"]]}
    assert packet(join_all(part(whole, 0, 20), changed)) == tess.encode(changed)
    assert packet(join_all(changed, part(whole, 0, 20))) == tess.encode(changed)


def test_a_gap_does_not_hold_back_what_follows() -> None:
    whole = record(n=300)
    found = decode(packet(join_all(part(whole, 0, 100), part(whole, 200, 300))))
    assert len(found["light_curve"]) == 200
    assert packet(join_all(part(whole, 0, 100), part(whole, 200, 300), part(whole, 100, 200))) == tess.encode(whole)


def test_faster_cadences_stay() -> None:
    curve = [{"btjd": 3000 + i * 5e-5, "flux": float(i), "flux_err": 1.0, "quality": 0} for i in range(50)]  # 4 s apart
    assert len(decode(packet(join_all(record(light_curve=curve))))["light_curve"]) == 50


@pytest.mark.parametrize(
    ("changes", "error_class", "said"),
    [
        ({"ra": 11.0}, "bad_value", "another target"),
        ({"dec": -20.0}, "bad_value", "another target"),
        ({"light_curve": [{"btjd": 3100.0, "flux": 1.0, "flux_err": 1.0, "quality": 0}]}, "bad_value", "another sector"),
        ({"light_curve": [{"btjd": t, "flux": 1.0, "quality": 0} for t in (1400.0, 3000.0)]}, "bad_value", "another sector"),
    ],
)  # fmt: skip
def test_another_target_or_sector_is_not_joined(changes: dict[str, Any], error_class: str, said: str) -> None:
    known = join_all(record())
    with pytest.raises(PacketError, match=said) as caught:
        joined(known, READER.read(encode(record() | changes)))
    assert caught.value.error_class == error_class


def test_a_target_on_the_meridian_is_one() -> None:
    assert len(join_all(record(ra=359.9999), record(ra=0.0001, cadence=70)).points) == 60


def test_quarters_of_kepler_are_longer() -> None:
    curve = [{"btjd": t, "flux": 1.0, "flux_err": 1.0, "quality": 0} for t in (-1800.0, -1705.0)]
    assert len(join_all(record(sector=645, light_curve=curve)).points) == 2


def test_what_no_packet_could_hold_is_refused_and_changes_nothing() -> None:
    def some(begin: int, n: int) -> Increment:
        points = np.zeros(n, POINT)
        points["time"] = 3000 + (begin + np.arange(n)) * 2e-4
        return Increment(42, 70, begin + n, begin + n, 10.5, -20.0, 9.0, 1.0, points, 0)

    full = joined(joined(None, some(0, MOST_POINTS // 2)), some(MOST_POINTS // 2, MOST_POINTS // 2))
    with pytest.raises(PacketError, match="131,072") as caught:
        joined(full, some(MOST_POINTS, 1))
    assert caught.value.error_class == "too_large"
    assert not differs(full, joined(full, some(0, 100)))
