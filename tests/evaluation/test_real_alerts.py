"""Figures of real alerts by hand: what flatters is left out, what is wrong counts, an object is one object."""

from __future__ import annotations

import csv
import dataclasses
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from data import label_table
from evaluation import labelled_packets
from evaluation.measures import object_interval
from evaluation.real_alerts import BARS, RealAlert, figures, real_alert
from gpu.choose import choose
from operators.context import catalogue_star
from operators.head import Head
from operators.types import CONTEXT
from pipeline.score import score
from pipeline.state import ScoringState, load
from registry.bundle import FOLDS, fold_of
from registry.bundle import load as load_bundle
from schemas.catalogue_labels import GROUP_OF, OBJECT_TYPES, meaning_of
from schemas.records.detection import Decision, Detection
from schemas.taxonomy import SLUGS

_NUMBER = iter(range(10**6))


def alert(label: str, called: str, *, object_id: str = "", detections: int = 9, star: bool = False, mjd: float = 0.0) -> RealAlert:
    n = next(_NUMBER)
    return RealAlert(object_id or f"o{n}", n, mjd, label, detections, called, called, star)


def bar(found: dict[str, Any], words: str) -> dict[str, Any]:
    (own,) = (b for b in found["bars"] if b["name"].startswith(words))
    return own


SOME = [
    alert("SN Ia", "sn-ia"),
    alert("SN II", "sn-ia"),
    alert("TDE", "agn"),
    alert("AGN", "agn"),
    alert("LPV/AGB", "lpv"),
    alert("asteroid", "asteroid"),
]


def accuracy(found: dict[str, Any], population: str, stratum: str = "5+") -> dict[str, Any]:
    part: dict[str, Any] = found["decision"]["accuracy"][population][stratum]
    return part


def test_shares_by_hand() -> None:
    found = figures(SOME)
    assert accuracy(found, "without_asteroids")["exact"]["share"] == pytest.approx(3 / 5)
    assert accuracy(found, "without_asteroids")["coarse"]["share"] == pytest.approx(4 / 5), "a type II called Ia is a supernova still"
    assert accuracy(found, "all")["exact"]["share"] == pytest.approx(4 / 6)
    assert bar(found, "exact class")["decision"]["share"] == pytest.approx(3 / 5)


@pytest.mark.parametrize("called", ["asteroid", "agn", "bogus"])
def test_asteroids_move_only_the_figures_with_them(called: str) -> None:
    before, after = figures(SOME), figures([*SOME, *(alert("asteroid", called) for _ in range(40))])
    for stratum in ("5+", "all"):
        assert accuracy(after, "without_asteroids", stratum) == accuracy(before, "without_asteroids", stratum)
    assert bar(after, "exact class") == bar(before, "exact class")
    assert accuracy(after, "all") != accuracy(before, "all")


@pytest.mark.parametrize("label", ["other_var/HotSubdwarf", "other_var/Radio(cm)", "other_var/Candidate_CV*", "no type at all"])
def test_an_outside_label_called_agn_lowers_precision_and_nothing_else(label: str) -> None:
    before, after = figures(SOME), figures([*SOME, alert(label, "agn")])
    assert before["decision"]["by_class"]["agn"]["precision"]["share"] == pytest.approx(1 / 2)
    assert after["decision"]["by_class"]["agn"]["precision"]["share"] == pytest.approx(1 / 3)
    assert after["decision"]["by_class"]["agn"]["recall"] == before["decision"]["by_class"]["agn"]["recall"]
    assert accuracy(after, "without_asteroids") == accuracy(before, "without_asteroids")


def test_a_label_that_does_not_say_counts_only_in_the_strict_precision() -> None:
    found = figures([*SOME, alert("other_var/IR", "agn")])["decision"]["by_class"]["agn"]
    assert found["precision"]["n"] == 3
    assert found["precision_where_labels_say"]["n"] == 2
    assert found["wrong_by_group"] == {"sn": 1, "unknown": 1}


def test_a_candidate_counts_for_its_class_and_not_for_accuracy() -> None:
    before, after = figures(SOME), figures([*SOME, alert("other_var/QSO_Candidate", "tde")])
    assert accuracy(after, "without_asteroids") == accuracy(before, "without_asteroids")
    assert bar(before, "AGN recall")["decision"]["share"] == 1
    assert bar(after, "AGN recall")["decision"]["share"] == pytest.approx(1 / 2)


def test_an_object_counts_once_by_its_latest_alert() -> None:
    two = [alert("AGN", "tde", object_id="a", mjd=1.0), alert("AGN", "agn", object_id="a", mjd=2.0), alert("SN Ia", "sn-ii", object_id="b")]
    for order in (two, two[::-1]):
        found = accuracy(figures(order), "without_asteroids")
        assert (found["exact"]["n"], found["exact"]["objects"], found["exact"]["share"]) == (3, 2, pytest.approx(1 / 3))
        assert (found["exact_by_object"]["n"], found["exact_by_object"]["share"]) == (2, pytest.approx(1 / 2))


def test_an_alert_that_comes_twice_counts_once() -> None:
    one = alert("TDE", "tde")
    assert figures([one, replace(one, decision="agn"), *SOME]) == figures([one, *SOME])


def test_strata_are_of_the_light_curve() -> None:
    found = figures([alert("AGN", "agn", detections=n) for n in (1, 2, 4, 5, 60)])["decision"]["accuracy"]["all"]
    assert [found[s]["exact"]["n"] for s in ("1", "2-4", "5+", "all")] == [1, 2, 2, 5]


def test_what_catalogue_stars_are_called_needs_no_label() -> None:
    calls = ["rr-lyrae", "m-dwarf-flare", "agn", "bogus"]
    found = figures(
        [*(alert("", c, star=True, detections=3) for c in calls), alert("", "agn", detections=3), alert("", "agn", star=True, detections=1)]
    )
    assert bar(found, "catalogue stars called a star")["decision"]["share"] == pytest.approx(2 / 4)
    assert bar(found, "catalogue stars called AGN")["decision"]["share"] == pytest.approx(1 / 4)
    assert found["decision"]["catalogue_stars"]["1+"]["agn"]["hits"] == 2
    assert found["labelled"] == 0


def test_a_bar_is_met_by_the_decision_alone() -> None:
    good = [replace(alert("AGN", "agn"), balanced="tde") for _ in range(5)]
    assert bar(figures(good), "AGN recall")["met"] is True
    assert bar(figures([replace(a, decision="tde", balanced="agn") for a in good]), "AGN recall")["met"] is False
    assert bar(figures([]), "AGN recall")["met"] is None
    assert len(BARS) == 6


def test_intervals_are_of_objects() -> None:
    rng = np.random.default_rng(0)
    hit = (rng.random(40) < 0.5).astype(float)
    alone = object_interval(hit, np.arange(40))
    copied = object_interval(np.repeat(hit, 10), np.repeat(np.arange(40), 10))
    assert alone is not None
    assert alone == copied, "ten alerts of each object say no more than one"
    assert 0.25 < alone[1] - alone[0] < 0.4  # 2 · 1.96 · sqrt(¼ / 40) = 0.31
    assert object_interval(np.ones(5), np.zeros(5)) is None


@pytest.mark.parametrize("n", [2, 10, 100])
def test_nothing_wrong_is_not_certainty(n: int) -> None:
    assert object_interval(np.ones(n), np.arange(n)) == [pytest.approx(0.025 ** (1 / n)), 1.0]
    assert object_interval(np.zeros(n), np.arange(n)) == [0.0, pytest.approx(1 - 0.025 ** (1 / n))]


@pytest.mark.parametrize(
    ("label", "slug", "group", "candidate"),
    [
        ("SN Ia", "sn-ia", "sn", False), ("LPV/AGB", "lpv", "star", False), ("CV/Nova", "cv", "star", False),
        ("EB", "eclipsing-binary", "star", False),
        ("other_var/PulsV*delSct", None, "star", False), ("other_var/PulsV*bCep", None, "star", False),
        ("other_var/Candidate_YSO", "yso", "star", True),
        ("other_var/QSO_Candidate", "agn", "agn", True), ("other_var/V*?", None, "star", True), ("other_var/**", None, "star", False),
        ("other_var/Candidate_SN*", None, "sn", True), ("other_var/GlCl?", None, "other", True), ("Symbiotic", None, "star", False),
        ("other_var/Radio(cm)", None, "unknown", False), ("", None, "unknown", False), ("what is this", None, "unknown", False),
        ("SN Ia-pec", "sn-ia", "sn", False), ("SN Iax[02cx-like]", "sn-ia", "sn", False), ("SN IIb", "sn-ibc", "sn", False),
        ("SN Ibn", "sn-ibc", "sn", False), ("SN Ib-pec", "sn-ibc", "sn", False), ("SN IIn-pec", "sn-iin", "sn", False),
        ("SN II-pec", "sn-ii", "sn", False), ("SN IIP", "sn-ii", "sn", False), ("SN", None, "sn", False), ("SN I", None, "sn", False),
        ("SLSN-I.5", "slsn", "sn", False), ("TDE-H-He", "tde", "sn", False),
        ("SN Ia?", "sn-ia", "sn", True), ("Varstar", None, "star", False),
        ("kilonova", "kilonova", "other", False), ("bogus", "bogus", "other", False),
    ],
)  # fmt: skip
def test_labels_mean_what_the_table_says(label: str, slug: str | None, group: str, candidate: bool) -> None:
    meaning = meaning_of(label)
    assert (meaning.slug, meaning.group, meaning.candidate) == (slug, group, candidate)


def test_the_table_covers_the_taxonomy_and_names_only_its_classes() -> None:
    assert set(GROUP_OF) == {*SLUGS, "other"}
    for name, (slug, group, what) in OBJECT_TYPES.items():
        assert slug is None or GROUP_OF[slug] == group, name
        assert what


@pytest.fixture(scope="module")
def state() -> ScoringState:
    return load(engine="onnxruntime")


@pytest.fixture(scope="module")
def real(shared: Path) -> list[bytes]:
    return [path.read_bytes() for path in sorted((shared / "ztf_alerts" / "fink-alert-simulator").rglob("*.avro"))[:60]]


def test_alerts_are_what_the_stream_says(state: ScoringState, real: list[bytes]) -> None:
    """The study calls `score` and changes nothing of it; labels go by object or by candid."""
    outcomes = [*score(real, state), None]
    detections = [o for o in outcomes if isinstance(o, Detection)]
    labels = {detections[0].object_id: "AGN", str(detections[1].candid): "TDE"}
    found = list(labelled_packets.real_alerts([*real, b""], outcomes, labels=labels, state=state))
    assert [(a.candid, a.detections) for a in found] == [(d.candid, d.n_detections) for d in detections]
    assert found[0].label == "AGN"
    assert found[1].label == "TDE"
    columns = {name: i for i, name in enumerate(CONTEXT)}
    for a, context in zip(found, state.decoder.decode(real).batch.context, strict=True):
        by_hand = context[columns["star_galaxy"]] > 0.9 and context[columns["source_distance"]] < 1
        assert a.catalogue_star == bool(by_hand and not context[columns["solar_system_distance"]] < 5)


def test_an_object_is_judged_by_the_head_that_was_fitted_without_it(state: ScoringState, real: list[bytes]) -> None:
    """Every fold's head is made to call everything its own class: each alert shows whose it was."""
    classes = state.classes

    def of(number: int) -> Head:
        offset = np.zeros(len(classes), dtype=np.float32)
        offset[number] = 1e4
        return dataclasses.replace(state.head.weights, offset=offset, novelty_share=0 * offset)

    folded = dataclasses.replace(state, unseen=tuple(of(number) for number in range(FOLDS)))
    outcomes = score(real, folded)
    found = list(labelled_packets.real_alerts(real, outcomes, labels={}, state=folded))
    assert len(found) == sum(isinstance(o, Detection) for o in outcomes) > 3
    assert [a.balanced for a in found] == [classes[fold_of(a.object_id)] for a in found]
    assert folded.scoring_id == state.scoring_id
    alone = dataclasses.replace(state, unseen=())
    plain = list(labelled_packets.real_alerts(real, outcomes, labels={}, state=alone))
    assert [a.balanced for a in plain] == [o.top_class for o in outcomes if isinstance(o, Detection)]
    assert state.with_head(state.head.weights).unseen == ()


def test_a_known_asteroid_near_a_star_is_not_the_star(state: ScoringState, real: list[bytes]) -> None:
    batch = state.decoder.decode(real).batch
    context = np.array(batch.context)
    context[:, CONTEXT.index("star_galaxy")], context[:, CONTEXT.index("source_distance")] = 0.95, 0.5
    context[:, CONTEXT.index("solar_system_distance")] = np.where(np.arange(len(context)) % 2, np.nan, 3.0)
    assert catalogue_star(context).tolist() == (np.arange(len(context)) % 2 == 1).tolist()


def test_the_decision_is_what_is_published(state: ScoringState, real: list[bytes]) -> None:
    (detection,) = score(real[:1], state)
    assert isinstance(detection, Detection)
    assert detection.decision is not None
    other = next(c.name for c in detection.classes if c.name not in (detection.top_class, detection.decision.class_name))
    for name in (detection.decision.class_name, other):
        shown = replace(detection, decision=Decision(name, 0.4))
        taken = real_alert(shown, "AGN", catalogue_star=True)
        assert (taken.decision, taken.balanced) == (name, detection.top_class)


def test_the_study_of_a_folder_says_which_bundle_it_is_of(shared: Path, tmp_path: Path) -> None:
    folder = shared / "ztf_alerts"
    with (folder / "LABELS.csv").open() as file:
        named = {row["objectId"]: row["klass"] for row in csv.DictReader(file) if row["klass"]}
    for path in sorted((folder / "fink-science").rglob("*.avro"))[:20] + sorted((folder / "kowalski").rglob("*.avro"))[:20]:
        (tmp_path / path.name).symlink_to(path)
    (tmp_path / "LABELS.csv").write_text("objectId,klass\n" + "".join(f"{k},{v}\n" for k, v in named.items()))
    bundle = load_bundle()
    seen: list[int] = []
    found = labelled_packets.report(tmp_path, bundle, session=choose(bundle.encoder, "onnxruntime")[0], progress=seen.append)
    assert found["made_with"]["bundle"] == bundle.sha256
    assert found["alerts"] > 10
    assert sum(seen) >= found["alerts"]
    with pytest.raises(label_table.PacketsError, match=r"LABELS\.csv is not there"):
        label_table.labels_of(tmp_path / "none")
