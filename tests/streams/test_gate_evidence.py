"""What a gatekeeper remembers: of which models, of how many alerts, and from which events it goes on."""

from __future__ import annotations

from dataclasses import replace

import numpy as np

from evaluation.gates import STANDARD, Running
from schemas.records import codec
from schemas.records.gate_report import PASSED, REFUSED, WAITING, GateReport
from schemas.records.known_label import KnownLabel
from schemas.records.loop_event import GATES_JUDGED, PROMOTED, ROLLED_BACK, LoopEvent
from schemas.records.parts import ClassProbability
from streams.agents.gate_evidence import Evidence, opinion
from streams.agents.gate_history import History, look, look_of, more
from streams.known_labels import Labels
from tests.schemas.test_records import DETECTION
from tests.streams.test_known_labels import message

REPORT = GateReport("old", "new", "", WAITING, "", (), 600, 30, 25, 1000)


def said(candid: int, model: str, **classes: float):  # type: ignore[no-untyped-def]
    name = f"ztf:{candid}:{'0' * 32}"
    found = replace(
        DETECTION, packet_id=name, candid=candid, object_id=f"ZTF{candid // 2}", model=model,
        classes=tuple(ClassProbability(slug.replace("_", "-"), p, p) for slug, p in classes.items()),
    )  # fmt: skip
    return name, opinion(found)


def test_alerts_that_both_models_scored_are_compared_whatever_was_taught_in_between() -> None:
    evidence, labels = Evidence(), Labels()
    for candid in range(6):
        name, found = said(candid, "old", sn_ia=0.75, other=0.25)
        evidence.put("champion", name, found=found)
    for candid in range(2, 5):
        name, found = said(candid, "new", sn_ia=0.5, fast_blue=0.25, other=0.25)
        evidence.put("challenger", name, found=found)
    name, found = said(5, "new", sn_ia=0.5, other=0.5)
    evidence.put("challenger", name, found=found)
    labels.take(message(KnownLabel("ztf", 4, "ZTF2", "tde", "person", 1.0, "ada", 1)))
    roles = {"champion": "old", "challenger": "new"}
    alerts = evidence.alerts(roles, labels, least=0.5)
    assert [candid for _, candid in alerts.names] == [2, 3, 4, 5]
    assert alerts.labels == [None, None, "tde", "tde"]
    assert alerts.owners[2] == alerts.owners[3] == "ztf:ZTF2"
    scores = alerts.scores["challenger"]
    assert set(scores.classes) == {"sn-ia", "fast-blue", "other"}
    np.testing.assert_allclose(scores.probability[:, scores.classes.index("fast-blue")], [0.25, 0.25, 0.25, 0.0])
    assert alerts.keys == evidence.alerts(roles, labels, least=0.5).keys
    assert evidence.alerts({"champion": "old", "challenger": "another"}, labels, least=0.5).packet_ids == []


def test_another_model_in_a_role_begins_anew_and_nothing_is_judged_twice_without_news() -> None:
    evidence, labels = Evidence(), Labels()
    roles = {"champion": "old", "challenger": "new"}
    for role, model in roles.items():
        name, found = said(1, model, sn_ia=1.0)
        assert evidence.put(role, name, found=found)
        assert not evidence.put(role, name, found=found)
    assert evidence.fresh(roles, labels)
    assert not evidence.fresh(roles, labels)
    labels.take(message(KnownLabel("ztf", 1, "ZTF0", "tde", "person", 1.0, "ada", 1)))
    assert evidence.fresh(roles, labels)
    name, found = said(2, "third", sn_ia=1.0)
    evidence.put("champion", name, found=found)
    assert not evidence.has("champion", f"ztf:1:{'0' * 32}", model="old")
    assert evidence.has("champion", name, model="third")
    assert not evidence.has("champion", name, model="old")


def test_faults_and_times_are_those_of_the_model_that_has_the_role() -> None:
    evidence = Evidence()
    name, found = said(1, "new", sn_ia=1.0)
    evidence.put("challenger", name, found=found)
    evidence.fault("challenger", "new", count=3)
    evidence.time("challenger", "new", text=b"1.25")
    evidence.time("challenger", "new", text=b"nan")
    evidence.time("challenger", "new", text=b"nothing")
    assert evidence.running("challenger", "new") == Running(4, 3, 1.25)
    evidence.fault("challenger", "another", count=1)
    assert evidence.running("challenger", "new") == Running(1, 0, 1.25)
    assert evidence.running("challenger", "another").slowdown is None


def event(name: str, subject: str, *, revision: int = 1, report: GateReport | None = None, made_ms: int = 1000) -> LoopEvent:
    return LoopEvent(name, subject, revision, "ada", "", b"" if report is None else codec.encode(report), made_ms)


def test_a_promotion_puts_its_model_on_probation_and_a_rollback_ends_it() -> None:
    history = History()
    history.take(event(GATES_JUDGED, "new", report=replace(REPORT, verdict=PASSED)))
    assert history.reports["new"].verdict == PASSED
    history.take(event(PROMOTED, "old", made_ms=1))
    history.take(event(PROMOTED, "new", made_ms=5000))
    assert (history.champion, history.promoted_ms, history.reports) == ("new", 5000, {})
    history.take(event(GATES_JUDGED, "new", revision=2, report=replace(REPORT, verdict=REFUSED)))
    history.take(event(ROLLED_BACK, "old"))
    assert (history.champion, history.promoted_ms, history.rolled_back) == ("old", 0, {"new"})
    assert history.looks == {"new": 2}
    history.take(event(PROMOTED, "new"))  # a person wants it all the same
    assert history.rolled_back == set()
    history.take(LoopEvent(GATES_JUDGED, "new", 3, "ada", "", b"nothing of ours", 1))
    assert history.looks == {"new": 2}


def test_a_look_is_due_when_there_is_twice_as_much() -> None:
    first = look(STANDARD, alerts=500, disagreements=0, labels=0)
    assert not more(look(STANDARD, alerts=999, disagreements=19, labels=199), first)
    for now in ({"alerts": 1000}, {"disagreements": 20}, {"labels": 200}):
        assert more(look(STANDARD, **{"alerts": 500, "disagreements": 0, "labels": 0, **now}), first)
    assert not more(look(STANDARD, alerts=499, disagreements=19, labels=199), (-1, -1, -1))
    assert look_of(STANDARD, REPORT) == (0, 0, -1)
