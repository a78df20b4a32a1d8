"""Recipes of a retrain: the same packets the same bytes, known classes stay, labels move the head, what cannot be learnt from counts."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import NamedTuple

import numpy as np
import pytest

pytest.importorskip("torch")

from data.simulate.described import shipped
from data.simulate.night import night
from data.simulate.observe import choose
from data.simulate.sample import sample
from data.simulate.survey_packets import packet as packet_of
from evaluation.challenger_picture import draw
from gpu.ort import OrtSession
from learning import challengers
from learning.challenger_process import BASELINE, BUNDLE, Limits, Order, work, write_order
from learning.challengers import HEAD, LAST, RecipeError, Workshop, digest_of, make
from learning.labelled import Labelled, Window, see_labelled
from operators.head import Views, judge
from pipeline.examples import see_packets
from pipeline.state import ScoringState, make_state
from pipeline.state import load as load_state
from pipeline.verify import verify
from registry.bundle import PUBLISHED, Bundle, load

WORKSHOP = Workshop(created_on="2026-11-30", version="test")
NEW = "luminous-fast-cooler"
"""No kind of the simulation that the network was trained on."""


class Sky(NamedTuple):
    """Packets with their ids."""

    state: ScoringState
    new: list[bytes]
    known: list[bytes]
    labels: list[str]
    ids: Callable[[list[bytes]], list[str]]

    def labelled(self, new: int, known: int) -> Labelled:
        """Some of each."""
        packets = self.new[:new] + self.known[:known]
        return Labelled(packets, [NEW] * new + self.labels[:known], self.ids(packets))


@pytest.fixture(scope="module")
def sky() -> Sky:
    state = load_state()
    made = list(night(41, 60, duplicates=0, broken=0))
    new = [packet_of(choose(seen)) for seen in sample(shipped()[NEW], 24, seed=41).objects]

    def ids(packets: list[bytes]) -> list[str]:
        return [row.packet_id for row in see_packets(packets, state).rows]

    return Sky(state, new, [packet for packet, _ in made], [truth.label for _, truth in made], ids)


def test_a_head_is_made_anew_with_a_new_class_and_the_same_bytes_twice(sky: Sky, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(challengers, "LEAST_WINDOW", 50)  # 200 packets take seven seconds to simulate
    champion = load(PUBLISHED)
    labelled, window = sky.labelled(12, 0), Window(sky.known)
    first, second = (
        make(HEAD, PUBLISHED, labelled=labelled, window=window, seed=0, to=tmp_path / name, workshop=WORKSHOP) for name in ("a", "b")
    )
    assert first.sha256 == second.sha256
    for file in (tmp_path / "a").iterdir():
        assert file.read_bytes() == (tmp_path / "b" / file.name).read_bytes()
    # The known classes' part is the champion's, bit for bit: nothing was said about them.
    assert first.head.taught == (NEW,)
    for name in ("ridge", "offset", "thresholds", "prototypes", "conformal"):
        np.testing.assert_array_equal(getattr(first.head, name), getattr(champion.head, name))
    seen, rest = see_packets(sky.new[12:], sky.state).views, see_packets(sky.known, sky.state).views
    called = [judge(views, first.head).probability[:, :-1].argmax(axis=1) == len(champion.classes) for views in (seen, rest)]
    assert called[0].mean() > 0.3  # of 12 that it has not seen; .5 is usual
    assert called[1].mean() < 0.05
    verify(first, OrtSession(first.encoder))
    state = make_state(first, OrtSession(first.encoder), why="", decoder=sky.state.decoder)
    assert state.classes == (*champion.classes, NEW)
    assert first.manifest.taught == {NEW: 0}
    record = first.manifest.retrain
    assert record is not None
    assert (record["recipe"], record["champion"], record["data"]) == (HEAD, champion.sha256, digest_of(labelled, window))
    pytest.importorskip("matplotlib")
    picture = draw(first, champion, path=tmp_path / "picture.png")
    assert picture is not None
    assert picture.read_bytes().startswith(b"\x89PNG")


def test_labels_of_known_classes_move_the_head_and_a_taught_class_stays(sky: Sky, tmp_path: Path) -> None:
    begun = make(HEAD, PUBLISHED, labelled=sky.labelled(6, 0), window=Window([]), seed=0, to=tmp_path / "a", workshop=WORKSHOP)
    labelled = sky.labelled(0, 40)
    moved = make(HEAD, tmp_path / "a", labelled=labelled, window=Window([]), seed=0, to=tmp_path / "b", workshop=WORKSHOP)
    assert moved.head.taught == begun.head.taught == (NEW,)
    assert not np.array_equal(moved.head.ridge, begun.head.ridge)
    views = see_packets(labelled.packets, sky.state).views
    truth = np.array([begun.classes.index(label) for label in labelled.labels])
    before, after = (-np.log(judge(views, head).probability[np.arange(40), truth]).mean() for head in (begun.head, moved.head))
    assert after < before
    # The reference alerts, which the champion was calibrated on, are called what they were.
    known = Views(*(np.asarray(column, dtype=np.float32) for column in begun.reference.views))
    right = [(judge(known, head).probability[:, :20].argmax(axis=1) == begun.reference.label).mean() for head in (begun.head, moved.head)]
    assert right[1] > right[0] - 0.02
    assert len(moved.unseen) == len(begun.unseen)


def test_what_cannot_be_learnt_from_is_left_out_and_counted(sky: Sky) -> None:
    bundle: Bundle = load(PUBLISHED)
    packets = [sky.new[0], sky.new[0], sky.new[1], b"no packet", sky.known[0], sky.known[1], sky.known[2]]
    labels = [NEW, NEW, NEW, "sn-ia", "Not A Slug", "lonely", "other"]
    ids = ["a", "a", "b", "c", "d", "e", "f"]
    seen = see_labelled(Labelled(packets, labels, ids), sky.state, classes=bundle.classes)
    assert seen.names == (NEW,)
    assert seen.packet_ids == ("a", "b")
    assert sum(seen.left_out.values()) == 5
    assert seen.left_out["the packet is there twice"] == 1
    assert seen.left_out["its label is not a class"] == 2
    taught_one = see_labelled(Labelled(packets, labels, ids, {"lonely": 3}), sky.state, classes=bundle.classes)
    assert taught_one.names == ("lonely", NEW)


def test_the_digest_does_not_depend_on_the_order(sky: Sky) -> None:
    one = sky.labelled(3, 3)
    other = Labelled(one.packets[::-1], one.labels[::-1], one.packet_ids[::-1])
    window = Window(sky.known[10:14])
    assert digest_of(one, window) == digest_of(other, Window(window.packets[::-1]))
    assert digest_of(one, window) != digest_of(replace(one, labels=["agn", *one.labels[1:]]), window)


@pytest.mark.nightly
@pytest.mark.timeout(900)  # simulates, trains and exports
def test_the_last_layers_are_trained_from_the_champions_with_the_new_class_apart(
    sky: Sky, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    from learning import recipe
    from learning.export import restore
    from learning.hyperparameters import LAST_LAYERS

    monkeypatch.setattr(recipe, "LEAST_HELD_OUT", 20)
    monkeypatch.setattr(recipe, "HELD_CURVES", 200)
    monkeypatch.setattr(recipe, "LEAST_HELD_SPACE", 120)
    monkeypatch.setattr(challengers, "STEPS", {LAST: 20})
    monkeypatch.setattr(challengers, "TUNING", {**challengers.TUNING, "batch": 64})
    workshop = replace(WORKSHOP, sets=tmp_path / "sets", replay=400, processes=1)
    labelled, window = sky.labelled(8, 20), sky.known[20:]
    order = Order(
        recipe=LAST, champion=str(PUBLISHED), seed=3, created_on=workshop.created_on, version=workshop.version, sets=str(workshop.sets),
        replay=workshop.replay, real="", limits=Limits(memory_mb=4096, seconds=600, threads=1), labels=list(labelled.labels),
        packet_ids=list(labelled.packet_ids), taught={}, sizes=[len(packet) for packet in (*labelled.packets, *window)], facts={},
    )  # fmt: skip
    write_order(tmp_path / "a", order, packets=[*labelled.packets, *window])
    assert work(tmp_path / "a", order)["sha256"] == load(tmp_path / "a" / BUNDLE).sha256
    made, champion = load(tmp_path / "a" / BUNDLE), load(PUBLISHED)
    # A head made anew of the same lies beside it: the gates hold what cost more against that, too.
    beside = load(tmp_path / "a" / BASELINE)
    assert (beside.encoder, beside.head.taught) == (champion.encoder, (NEW,))
    assert beside.manifest.retrain is not None
    assert beside.manifest.retrain["recipe"] == HEAD
    assert made.head.taught == (NEW,)
    assert made.manifest.kinds == champion.manifest.kinds  # the class's own direction stays behind
    before, after = (restore(bundle.encoder).state_dict() for bundle in (champion, made))
    changed = {name.partition(".")[0] for name, value in after.items() if not np.array_equal(value.numpy(), before[name].numpy())}
    assert changed == set(LAST_LAYERS)
    assert made.manifest.plan is not None
    assert made.manifest.plan["start_from"] == champion.sha256
    assert made.manifest.retrain is not None
    assert made.manifest.retrain["recipe"] == LAST
    verify(made, OrtSession(made.encoder))
    # Trained on further, the class comes along with its examples; without them it is refused, not lost.
    with pytest.raises(RecipeError, match=f"{NEW}: no example is at hand"):
        make(LAST, made.path, labelled=sky.labelled(0, 5), window=Window([]), seed=3, to=tmp_path / "b", workshop=workshop)
