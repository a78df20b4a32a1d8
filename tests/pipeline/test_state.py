"""A state is immutable and its id is that of its parts: whatever could change a score changes it, and nothing else does."""

from __future__ import annotations

import dataclasses
import itertools

import numpy as np
import pytest

from data.simulate.night import night
from operators.taught import forget, teach
from pipeline.embed import embed
from pipeline.score import score
from pipeline.state import HeadPart, ReferencePart, ScoringState, load, make_state
from registry.bundle import load as load_bundle
from schemas.records import codec
from schemas.records.detection import Detection
from schemas.records.parts import TaughtClass


@pytest.fixture(scope="module")
def state() -> ScoringState:
    return load(engine="onnxruntime")


@pytest.fixture(scope="module")
def packets() -> list[bytes]:
    return [packet for packet, _ in itertools.islice(night(seed=3, n=60, mix={"tde": 1.0}), 10)] + [
        packet for packet, _ in itertools.islice(night(seed=4, n=60), 60)
    ]


def test_the_same_bundle_has_the_same_id(state: ScoringState) -> None:
    again = make_state(load_bundle(), state.session, why="another reason", decoder=state.decoder)
    assert again.scoring_id == state.scoring_id
    assert (again.encoder.id, again.head.id, again.reference.id) == (state.encoder.id, state.head.id, state.reference.id)


def test_every_part_changes_the_id(state: ScoringState, monkeypatch: pytest.MonkeyPatch) -> None:
    bundle = load_bundle()
    ids = {state.scoring_id}
    other = dataclasses.replace(bundle, encoder=bundle.encoder + b"\0")
    ids.add(make_state(other, state.session, why="", decoder=state.decoder).scoring_id)
    ids.add(dataclasses.replace(state, reference=ReferencePart((("gaia", "0" * 64),))).scoring_id)
    ids.add(dataclasses.replace(state, taxonomy="another").scoring_id)
    for name in ("prior", "thresholds", "temperature", "prototypes", "conformal"):
        changed = np.asarray(getattr(bundle.head, name)) * np.float32(1.0001)
        ids.add(state.with_head(dataclasses.replace(bundle.head, **{name: changed})).scoring_id)
    monkeypatch.setattr("pipeline.state.SCORING_RULES", "another")
    ids.add(make_state(bundle, state.session, why="", decoder=state.decoder).scoring_id)
    assert len(ids) == 10


def test_names_of_classes_are_part_of_the_head(state: ScoringState) -> None:
    head = state.head.weights
    renamed = HeadPart(head, (*state.head.known[:-1], "renamed"))
    assert renamed.id != state.head.id
    with pytest.raises(ValueError, match="stands twice"):
        HeadPart(head, (*state.head.known[:-1], state.head.known[0]))


def test_nothing_of_a_state_can_be_written(state: ScoringState) -> None:
    with pytest.raises(ValueError, match="read-only"):
        state.head.weights.prior[0] = 1
    with pytest.raises(TypeError):
        state.thresholds["sn-ia"] = 0  # type: ignore[index]
    with pytest.raises(dataclasses.FrozenInstanceError):
        state.head = state.head  # type: ignore[misc]
    source = np.array(load_bundle().head.thresholds)
    other = state.with_head(dataclasses.replace(state.head.weights, thresholds=source))
    source[:] = 2
    assert max(other.thresholds.values()) < 1, "what a state was made of may be written to, and changes nothing in it"


def test_a_class_taught_and_forgotten(state: ScoringState, packets: list[bytes]) -> None:
    """Five examples make a class of the next score; without it the former id and scores come back, bit for bit."""
    before = score(packets, state)
    seen = embed(state.decoder.decode(packets).batch, state.session).views
    five = seen._replace(**{name: column[:5] for name, column in seen._asdict().items()})
    lessons = (TaughtClass("invented", 3, 5),)
    taught = state.with_head(teach(state.head.weights, "invented", examples=five, reference=load_bundle().reference), lessons)
    assert taught.encoder is state.encoder
    assert taught.head.id != state.head.id
    assert taught.scoring_id != state.scoring_id
    assert taught.classes == (*state.classes, "invented")
    assert 0 < taught.thresholds["invented"] < 1
    with_it = score(packets, taught)
    for one in (d for d in with_it if isinstance(d, Detection)):
        assert one.scoring_id == taught.scoring_id
        assert {c.name for c in one.classes} == {*state.classes, "invented", "other"}
        assert codec.expect(codec.encode(one), Detection).taught == lessons
        assert sum(c.probability for c in one.classes) == pytest.approx(1, abs=1e-4)
    share = [next(c.probability for c in d.classes if c.name == "invented") for d in with_it if isinstance(d, Detection)]
    assert np.median(share[:5]) > 10 * np.median(share[10:]), "how well is the head's own tests' affair"
    forgotten = taught.with_head(forget(taught.head.weights, "invented"))
    assert forgotten.scoring_id == state.scoring_id
    assert score(packets, forgotten) == before
    with pytest.raises(ValueError, match="lessons of other beside a head with invented"):
        state.with_head(taught.head.weights, (TaughtClass("other", 1, 1),))
    assert state.with_head(taught.head.weights).scoring_id == taught.scoring_id, "what it was taught from does not change what it scores"
