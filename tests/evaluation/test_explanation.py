"""An alert's score explained: leaving a part out is what a packet without it scores, and the nearest known alerts are the nearest."""

from __future__ import annotations

import numpy as np
import pytest

from data.simulate import changes
from data.simulate.night import night
from data.simulate.sector import sector
from errors import UserError
from evaluation.explanation import explain, log_odds
from operators.head import Views, centred
from operators.namespace import to_host
from pipeline.examples import see_packets
from pipeline.score import score
from pipeline.state import ScoringState, load
from registry.bundle import Bundle
from registry.bundle import load as load_bundle
from schemas.records.detection import Detection
from schemas.taxonomy import OTHER


@pytest.fixture(scope="module")
def state() -> ScoringState:
    return load()


@pytest.fixture(scope="module")
def bundle() -> Bundle:
    return load_bundle()


@pytest.fixture(scope="module")
def packets() -> list[bytes]:
    return [packet for packet, _ in night(21, 24, duplicates=0, broken=0)]


def scored(packet: bytes, state: ScoringState) -> dict[str, float]:
    found = score([packet], state)[0]
    assert isinstance(found, Detection)
    return {one.name: one.probability for one in found.classes}


def odds(packet: bytes, state: ScoringState, name: str) -> float:
    return float(log_odds(np.asarray(scored(packet, state)[name], dtype=np.float64)))


def test_the_explained_score_is_the_score(packets: list[bytes], state: ScoringState, bundle: Bundle) -> None:
    for packet in packets[:6]:
        found = explain(packet, state, reference=bundle.reference)
        probabilities = scored(packet, state)
        assert found.class_name == max(probabilities, key=lambda name: probabilities[name])
        assert found.probability == pytest.approx(probabilities[found.class_name], abs=1e-5)
        assert found.second_probability == pytest.approx(sorted(probabilities.values())[-2], abs=1e-5)
        assert [abs(e.log_odds) for e in found.effects] == sorted((abs(e.log_odds) for e in found.effects), reverse=True)
        assert all(e.log_odds > 0 for e in found.supporting(5))
        assert all(e.log_odds < 0 for e in found.opposing(5))


@pytest.mark.parametrize(("field", "name"), [("sgscore1", "star_galaxy"), ("classtar", "star_likeness"), ("chipsf", "fit_chi")])
def test_leaving_a_value_out_scores_as_a_packet_without_it(
    packets: list[bytes], state: ScoringState, bundle: Bundle, field: str, name: str
) -> None:
    compared = 0
    for packet in packets:
        if changes.read(packet)["candidate"][field] is None:
            continue
        found = explain(packet, state, reference=bundle.reference)
        effect = next((e for e in found.effects if e.name == name), None)
        if effect is None:
            continue
        without = changes.nulls(packet, [field])
        expected = odds(packet, state, found.class_name) - odds(without, state, found.class_name)
        assert effect.log_odds == pytest.approx(expected, abs=2e-3)
        compared += 1
        if compared == 3:
            return
    assert compared


def test_any_class_can_be_explained(packets: list[bytes], state: ScoringState, bundle: Bundle) -> None:
    found = explain(packets[0], state, reference=bundle.reference, class_name=OTHER)
    assert found.class_name == OTHER
    assert found.probability == pytest.approx(scored(packets[0], state)[OTHER], abs=1e-5)
    with pytest.raises(UserError, match="not a class"):
        explain(packets[0], state, reference=bundle.reference, class_name="kilonovas")
    with pytest.raises(UserError, match="rejected"):
        explain(packets[0][:2000], state, reference=bundle.reference)


def test_the_neighbours_are_the_nearest_known_alerts(packets: list[bytes], state: ScoringState, bundle: Bundle) -> None:
    seen = see_packets(packets[:2], state)
    views = Views(*(column[:1] for column in seen.views))
    found = explain(packets[0], state, reference=bundle.reference, examples={"my-class": (views, (seen.rows[0].packet_id,))})
    assert found.neighbours[0].class_name == "my-class"
    assert found.neighbours[0].packet_id == seen.rows[0].packet_id
    assert found.neighbours[0].cosine == pytest.approx(1.0, abs=1e-5)
    centre = to_host(state.head.weights.centre)
    unit = centred(np.asarray(views.embedding), centre)[0]
    cosine = centred(np.asarray(bundle.reference.views.embedding, dtype=np.float32), centre) @ unit
    best = np.argsort(-cosine)[:4]
    assert [n.class_name for n in found.neighbours[1:]] == [bundle.classes[int(bundle.reference.label[i])] for i in best]
    assert [n.cosine for n in found.neighbours[1:]] == pytest.approx(cosine[best].tolist(), abs=1e-6)


def test_leaving_the_images_out_scores_as_a_packet_without_them(packets: list[bytes], state: ScoringState, bundle: Bundle) -> None:
    for packet in packets[:3]:
        found = explain(packet, state, reference=bundle.reference)
        record = changes.read(packet)
        record |= {name: {"fileName": "none", "stampData": b""} for name in changes.CUTOUTS}
        expected = odds(packet, state, found.class_name) - odds(changes.write(record, packet), state, found.class_name)
        assert next(e.log_odds for e in found.effects if e.name == "all images") == pytest.approx(expected, abs=2e-3)


def test_a_star_that_was_watched_without_a_break(state: ScoringState, bundle: Bundle) -> None:
    packet, _ = next(iter(sector(3, 4)))
    found = explain(packet, state, reference=bundle.reference)
    assert found.probability == pytest.approx(scored(packet, state)[found.class_name], abs=1e-4)
