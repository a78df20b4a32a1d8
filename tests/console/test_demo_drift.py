"""The demo of the closed loop: its figures, its packets made by processes beside it, a bad challenger, and its picture."""

from __future__ import annotations

import math
from pathlib import Path

import numpy as np
import pytest

from console import drift_packets
from console.commands.bad_challenger import SWAPPED, spoilt
from console.drift_packets import GROUP, NEWCOMER, PacketSource, Sky
from console.loop_counts import Called, beside_truth, scores
from console.night_file import Made
from data.simulate import changes
from data.simulate.night import night
from errors import UserError
from gpu.ort import OrtSession
from pipeline.score import score
from pipeline.state import load as load_state
from pipeline.verify import verify
from registry.bundle import PUBLISHED, load
from schemas.records.detection import Detection


def test_figures_are_those_of_the_pairs() -> None:
    pairs = (
        [("a", "a")] * 8
        + [("a", "new")] * 2
        + [("b", "b")] * 5
        + [("b", "a")] * 5
        + [("new", "new")] * 3
        + [("new", "a")]
        + [("rare", "a")]
    )
    found = scores(pairs, "new")
    assert found.macro == pytest.approx((0.8 + 0.5) / 2)  # one alert of the rare class says nothing
    assert (found.recall, found.new, found.n) == (0.75, 4, 25)
    assert found.false_calls == pytest.approx(2 / 21)
    assert math.isnan(scores([("a", "a")] * 9, "new").recall)
    assert math.isnan(scores([], "new").false_calls)
    rows = [Called(1, "a", 0.1, "m", 5), Called(2, "b", 0.1, "m", 6)]
    assert beside_truth(rows, {2: Made(b"", "alert", "c", "o", 2, 1)}) == [("c", "b")]


def test_packets_are_made_beside_in_order_and_end_with_their_reader(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    sky = Sky(3, "zero-point:0.3", share=0.3)
    with PacketSource(sky, tmp_path / "made", processes=2) as source:
        first, then = source.take(30), source.take(GROUP)
        makers = source._makers
    assert all(maker.poll() is not None for maker in makers)
    expected = list(drift_packets.rows(sky, range(40)))
    assert [made.packet for made in [*first, *then][:40]] == [row["packet"] for row in expected]
    labels = [made.label for made in [*first, *then]]
    assert 0.15 < labels.count(NEWCOMER) / len(labels) < 0.45
    plain = list(drift_packets.rows(Sky(3, share=0.3), range(3)))
    assert [changes.zero_point(row["packet"], 0.3) for row in plain] == [row["packet"] for row in expected[:3]]


def test_a_maker_that_fails_says_why(tmp_path: Path) -> None:
    with (
        PacketSource(Sky(3, "nothing-like-it"), tmp_path / "made", processes=1) as source,
        pytest.raises(UserError, match="nothing-like-it"),
    ):
        source.take(1)


def test_a_bad_challenger_is_whole_and_calls_wrongly(tmp_path: Path) -> None:
    folder = spoilt(PUBLISHED, tmp_path / "bad")
    bundle = load(folder)
    assert bundle.sha256 != load().sha256
    verify(bundle, OrtSession(bundle.encoder))  # nothing but its calls says that it is bad
    first, second = SWAPPED[0]
    packets = [packet for packet, _ in night(5, 40, mix={first: 1.0}, duplicates=0, broken=0)]
    right = [one.top_class for one in score(packets, load_state()) if isinstance(one, Detection)]
    wrong = [one.top_class for one in score(packets, load_state(folder)) if isinstance(one, Detection)]
    assert right.count(first) > 20
    assert wrong.count(second) > 20


def test_the_picture_is_drawn(tmp_path: Path) -> None:
    pytest.importorskip("matplotlib")
    from console.commands.demo_drift import Act
    from console.loop_picture import draw
    from streams.loop_history import Step

    rng = np.random.default_rng(0)
    truth = {i: Made(b"", "alert", NEWCOMER if i % 9 == 0 else "agn", "o", i, 1) for i in range(2000)}
    rows = [Called(i, NEWCOMER if i % 10 == 0 else "agn", float(rng.random()), "m", 1000 + i) for i in range(2000)]
    acts = [Act("stable", "no alarm", 0, 1000, "no alarm"), Act("new", "alarm", 1000, 1000)]
    steps = [Step(2200, "alarm", "ztf/g", "population"), Step(2500, "promoted", "abc", "passed")]
    path = draw(rows, truth, acts=acts, steps=steps, path=tmp_path / "p.png")
    assert path is not None
    assert path.stat().st_size > 20_000
