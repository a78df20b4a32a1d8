"""The limits of rejected packets halt the flow at the packet that crosses them, and at no other."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from streams.agents.reject_limits import RejectLimitError, RejectLimits


def test_rejected_packets_in_a_row_halt_the_flow() -> None:
    limits = RejectLimits(5, 0.0, window=100)
    limits.observe(["bad_avro"] * 4)
    limits.observe([None])
    limits.observe(["bad_avro"] * 4)
    with pytest.raises(RejectLimitError, match=r"5 packets in a row .*truncated"):
        limits.observe(["truncated"])


def test_a_share_of_the_last_packets_halts_the_flow() -> None:
    limits = RejectLimits(0, 0.5, window=10)
    limits.observe(["bad_avro", None] * 4)
    limits.observe([None])
    with pytest.raises(RejectLimitError, match="5 of the last 10"):
        limits.observe(["bad_avro"])


def test_limits_of_zero_never_halt() -> None:
    RejectLimits(0, 0.0, window=10).observe(["bad_avro"] * 1000)


@given(st.lists(st.booleans(), max_size=200), st.integers(1, 20), st.integers(1, 10), st.integers(1, 30))
def test_the_limits_are_those_of_a_plain_count(outcomes: list[bool], consecutive: int, tenths: int, window: int) -> None:
    limits, ratio = RejectLimits(consecutive, tenths / 10, window=window), tenths / 10
    for i in range(len(outcomes)):
        past = outcomes[: i + 1]
        row = 0
        while row < len(past) and past[-1 - row]:
            row += 1
        share = len(past) >= window and sum(past[-window:]) >= ratio * window
        if past[-1] and (row >= consecutive or share):
            with pytest.raises(RejectLimitError):
                limits.observe(["bad_value"])
            return
        limits.observe(["bad_value" if outcomes[i] else None])
