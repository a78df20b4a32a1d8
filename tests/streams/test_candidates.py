"""Who is a candidate: opened once by a class, closed once by what came later."""

from __future__ import annotations

from types import SimpleNamespace
from typing import Any

import pytest

from schemas.records import codec
from schemas.records.candidate import Candidate
from schemas.records.detection import Detection, Host
from schemas.records.known_label import KnownLabel, label_key
from streams.agents.candidates import Book
from tests.streams.made_detections import detection


def steps(book: Book, *found: Detection) -> list[tuple[str, str]]:
    return [(step.class_name, step.event) for one in found for step in book.take(one)]


def labelled(book: Book, candid: int, object_id: str, name: str, confidence: float = 1.0) -> list[Candidate]:
    label = KnownLabel("ztf", candid, object_id, name, "tns", confidence, "ada", 1)
    message: Any = SimpleNamespace(key=label_key("ztf", candid), value=codec.encode(label))
    book.labels.take(message)
    return book.refute()


def test_opened_once_and_fallen_once() -> None:
    book = Book()
    nights = [detection("A", 60_000.0 + k) for k in range(3)]
    assert steps(book, detection("A", 59_999.0, published=False), *nights) == [("tde", "opened")]
    assert steps(book, nights[2], nights[0]) == []  # delivered again
    assert steps(book, detection("A", 60_003.0, published=False)) == [("tde", "fell")]
    assert steps(book, detection("A", 60_004.0), detection("A", 60_005.0, published=False)) == []


def test_another_class_takes_its_place() -> None:
    book = Book()
    found = [step for one in (detection("A", 60_000.0), detection("A", 60_001.0, name="sn-ia")) for step in book.take(one)]
    assert [(s.class_name, s.event) for s in found] == [("tde", "opened"), ("tde", "fell"), ("sn-ia", "opened")]
    assert found[1].why == "its latest alert is taken for sn-ia (0.75)"
    assert found[1].opened_mjd == 60_000.0
    assert found[1].mjd == 60_001.0
    assert len({s.candidate_id for s in found}) == 2


def test_an_older_alert_that_comes_late_closes_nothing() -> None:
    book = Book()
    assert steps(book, detection("A", 60_010.0), detection("A", 60_000.0, published=False)) == [("tde", "opened")]


def test_what_moves_or_is_like_nothing_known_opens_nothing() -> None:
    book = Book()
    assert steps(book, detection("A", 60_000.0, asteroid=1.0), detection("B", 60_000.0, name="other")) == []
    assert steps(book, detection("C", 60_000.0, name="asteroid", asteroid=1.0)) == [("asteroid", "opened")]
    assert steps(book, detection("D", 60_000.0), detection("D", 60_001.0, asteroid=2.0)) == [("tde", "opened"), ("tde", "refuted")]


def test_labels_refute() -> None:
    book = Book()
    assert steps(book, detection("A", 60_000.0)) == [("tde", "opened")]
    assert labelled(book, 5, "A", "sn-ia", confidence=0.2) == []
    [step] = labelled(book, 6, "A", "sn-ia")
    assert (step.event, step.why) == ("refuted", "it is labelled sn-ia")
    assert book.refute() == []
    assert steps(book, detection("A", 60_002.0)) == []
    labelled(book, 7, "B", "agn")
    assert steps(book, detection("B", 60_000.0), detection("B", 60_001.0, name="agn")) == [("agn", "opened")]


def test_what_was_written_is_read_again() -> None:
    book, again = Book(), Book()
    for one in (detection("A", 60_000.0), detection("A", 60_001.0, name="agn"), detection("B", 60_000.0)):
        for step in book.take(one):
            read = codec.decode(codec.encode(step))
            assert read == step
            again.restore(step)
    assert sorted(s.candidate_id for s in again.open_candidates()) == ["ztf:A:agn", "ztf:B:tde"]
    assert steps(again, detection("A", 60_001.5, name="agn"), detection("B", 60_001.0, published=False)) == [("tde", "fell")]


def test_the_host_comes_with_it() -> None:
    [step] = Book().take(detection("A", 60_000.0, host=Host("legacy", "17", 2.5, 0.05)))
    assert (step.host, step.host_separation) == ("legacy 17", pytest.approx(2.5))
