"""Light curves cut to length: every alert is in one piece, no token is lost, and the pieces are few and cheap."""

from __future__ import annotations

import numpy as np
import pytest

from gpu.ort import BUCKETS
from operators.lengths import TRAINING_STEP, cheapest_pieces, cut, equal_pieces, lengths
from operators.types import N_TOKENS


def test_length_is_the_place_of_the_last_token() -> None:
    tokens = np.ones((4, N_TOKENS, 3), dtype=np.float32)
    for row, n in enumerate((0, 1, 30, N_TOKENS)):
        tokens[row, n:] = 0
    assert lengths(tokens).tolist() == [0, 1, 30, N_TOKENS]
    tokens[2, 5, -1] = 0  # a hole is run as the padding it is, and what is behind it still counts
    assert lengths(tokens)[2] == 30
    assert lengths(tokens[:0]).shape == (0,)


def test_cut_holds_the_light_curve_and_never_passes_the_longest() -> None:
    for step in (8, 12, N_TOKENS):
        for length in range(N_TOKENS + 1):
            run = cut(length, step, longest=N_TOKENS)
            assert length <= run <= N_TOKENS
            assert run % step == 0
            assert run - length < step or length == 0
    assert cut(33, 8, longest=36) == 36


def test_equal_pieces_are_those_of_an_array_split() -> None:
    random = np.random.default_rng(0)
    for n in (0, 1, 3, 4, 5, 96, 257):
        ascending = sorted(random.integers(0, N_TOKENS + 1, n).tolist())
        pieces = equal_pieces(ascending, 4, longest=N_TOKENS)
        expected = [part.tolist() for part in np.array_split(np.arange(n), 4) if len(part)]
        assert [list(range(p.part.start, p.part.stop)) for p in pieces] == expected
        for piece in pieces:
            assert piece.rows == piece.part.stop - piece.part.start
            assert piece.tokens % TRAINING_STEP == 0
            assert max(ascending[piece.part]) <= piece.tokens < max(ascending[piece.part]) + TRAINING_STEP or piece.tokens == TRAINING_STEP


def test_the_cheapest_cover_holds_every_alert_once_and_pads_little() -> None:
    random = np.random.default_rng(0)
    for n in range(200):
        lengths = sorted(random.integers(1, N_TOKENS + 1, n).tolist())
        pieces = cheapest_pieces(lengths, BUCKETS, longest=N_TOKENS)
        assert [i for p in pieces for i in range(p.part.start, p.part.stop)] == list(range(n))
        assert all(p.part.stop - p.part.start <= p.rows and p.rows in BUCKETS for p in pieces)
        assert all(max(lengths[p.part]) <= p.tokens <= N_TOKENS for p in pieces)
        assert sum(p.rows for p in pieces) - n <= 16
        whole = cheapest_pieces(lengths, BUCKETS, longest=N_TOKENS, step=N_TOKENS)
        assert {p.tokens for p in whole} <= {N_TOKENS}
        assert sum(p.rows * p.tokens for p in pieces) <= sum(p.rows * p.tokens for p in whole)


@pytest.mark.parametrize(
    ("lengths", "expected"),
    [
        ([11] * 64, [(64, 16)]),
        ([11] * 9, [(4, 16), (8, 16)]),
        ([11] * 60, [(64, 16)]),
        ([12] * 32 + [40] * 32, [(32, 16), (32, 40)]),
        ([1, 2, 3, 48], [(4, 48)]),  # another run costs more than the padding
        ([0], [(4, 8)]),
    ],
)
def test_the_cheapest_cover(lengths: list[int], expected: list[tuple[int, int]]) -> None:
    assert sorted((p.rows, p.tokens) for p in cheapest_pieces(lengths, BUCKETS, longest=N_TOKENS)) == expected
