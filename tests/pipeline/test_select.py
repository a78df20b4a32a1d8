"""The stages that a survey's alerts take before the encoder: a star's whole light curve is searched, and everything else is as it was."""

from __future__ import annotations

import itertools

import numpy as np
import pytest

from data.simulate.draw import generator
from data.simulate.night import night
from data.simulate.space_curves import packet, space_curve
from operators.dips import DIPS
from operators.types import SURVEYS
from pipeline.embed import inputs_of
from pipeline.score import score
from pipeline.select import STAGES, select
from pipeline.state import ScoringState, load
from schemas.records.codec import decode_detection, encode
from schemas.records.detection import Detection
from schemas.surveys.decode import Decoder


@pytest.fixture(scope="module")
def state() -> ScoringState:
    return load(engine="onnxruntime")


def of_star(kind: str, number: int, *, cadence: float = 600.0) -> tuple[bytes, dict[str, float]]:
    curve = space_curve(kind, generator("demo", 5, number, 2), population="demo", cadence=cadence)
    return packet(curve, tic=1 + number, sector=7), curve.truth


@pytest.fixture(scope="module")
def mixed() -> list[bytes]:
    stars = [of_star(kind, k)[0] for k, kind in enumerate(("transit", "quiet", "EA"))]
    sky = [data for data, truth in itertools.islice(night(seed=3, n=20), 20) if truth.kind == "alert"]
    return [sky[0], stars[0], *sky[1:4], stars[1], stars[2], *sky[4:8]]


def test_every_survey_has_its_stages() -> None:
    assert set(STAGES) == set(SURVEYS)
    assert "dips" in STAGES["tess"]


def test_only_stars_are_searched_and_what_is_found_stands_in_their_rows(mixed: list[bytes]) -> None:
    batch = Decoder().decode(mixed).batch
    selected = select(batch)
    stars = [1, 5, 6]
    assert np.flatnonzero(selected.star).tolist() == sorted(selected.found) == stars
    assert not selected.dips[~selected.star].any()
    context = np.asarray(inputs_of(batch, selected).context)
    np.testing.assert_array_equal(context[:, -len(DIPS) :], selected.dips)
    alone = Decoder().decode([mixed[k] for k in range(len(mixed)) if k not in stars]).batch
    np.testing.assert_array_equal(np.delete(context, stars, axis=0), np.asarray(inputs_of(alone).context))


def test_a_star_is_scored_alike_in_every_batch(mixed: list[bytes], state: ScoringState) -> None:
    together = score(mixed, state)
    assert [score([one], state)[0] for one in mixed] == together
    assert score(mixed[::-1], state)[::-1] == together


def test_the_record_holds_what_was_found(state: ScoringState) -> None:
    """Of planets that stand out: period, depth, epoch within the packet, as they were put in."""
    right = checked = 0
    for number in range(40):
        data, truth = of_star("transit", number)
        if truth["signal_to_noise"] < 30 or truth["period"] > 9:
            continue
        (found,) = score([data], state)
        assert isinstance(found, Detection)
        assert decode_detection(encode(found)) == found
        checked += 1
        if found.transit is None or found.transit.period is None:
            continue
        ratio = found.transit.period / truth["period"]
        if abs(ratio - 1) > 0.01:
            continue
        right += 1
        assert 0.5 < found.transit.depth / truth["depth"] < 1.6
        assert 0 < found.transit.duration < 24
    assert checked >= 5
    assert right >= 0.6 * checked


def test_flares_and_pulsations_stand_in_the_record(state: ScoringState) -> None:
    flaring = [score([of_star("flare", k)[0]], state)[0] for k in range(4)]
    assert sum(d.flare is not None and d.flare.signal_to_noise > 5 for d in flaring if isinstance(d, Detection)) >= 2
    pulsating = [(score([of_star("RRab", k)[0]], state)[0], of_star("RRab", k)[1]) for k in range(4)]
    periods = [d.period / truth["period"] for d, truth in pulsating if isinstance(d, Detection) and d.period is not None]
    assert sum(abs(p - 1) < 0.02 for p in periods) >= 2


def test_few_points_and_short_curves_are_scored_without_a_search(state: ScoringState) -> None:
    curve = space_curve("quiet", generator("demo", 5, 0, 2), population="demo", cadence=600.0)
    for n in (1, 30, 150):
        short = curve._replace(time=curve.time[:n], flux=curve.flux[:n], flux_err=curve.flux_err[:n], quality=curve.quality[:n])
        data = packet(short, tic=5, sector=2)
        assert not select(Decoder().decode([data]).batch).star.any()
        (found,) = score([data], state)
        assert isinstance(found, Detection)
        assert found.transit is None
