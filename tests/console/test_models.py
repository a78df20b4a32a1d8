"""What is said of a model, and by what two differ."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

from registry.bundle import Bundle, Parts, load, save
from registry.bundle_facts import differences, facts
from schemas.records import codec
from schemas.records.loop_event import ANNOUNCED, PROMOTED, TAUGHT, LoopEvent
from schemas.records.model_announced import ModelAnnounced
from streams.named_models import announced_models


@pytest.fixture(scope="module")
def other(tmp_path_factory: pytest.TempPathFactory) -> Bundle:
    was = load()
    thresholds = was.head.thresholds.copy()
    thresholds[5] += np.float32(0.125)
    kept = was.manifest.model_dump(exclude={"format", "files"}) | {"figures": {**was.manifest.figures, "new": {"recall": 0.5}}}
    head = replace(was.head, thresholds=thresholds, offset=was.head.offset + np.float32(0.25))
    return save(tmp_path_factory.mktemp("bundles") / "other", Parts(kept, was.encoder, head, was.reference, was.golden))


def test_what_differs_is_named(other: Bundle) -> None:
    was = load()
    assert list(differences(was, was)) == []
    found = {key: (left, right) for key, left, right in differences(was, other)}
    slug = was.classes[5]
    assert found.keys() == {f"threshold of {slug}", "head: offset", "figures: new.recall"}
    assert found[f"threshold of {slug}"] == (f"{was.head.thresholds[5]:.4f}", f"{was.head.thresholds[5] + 0.125:.4f}")
    assert found["head: offset"] == ("", "differs by 0.25 at most")
    assert found["figures: new.recall"] == ("–", "0.5")


def test_facts_come_from_the_manifest(other: Bundle) -> None:
    found = facts(other)
    assert found["sha256"] == other.sha256
    assert found["command"] == other.manifest.command
    assert float(found["demo, macro at 5+ detections"]) == pytest.approx(other.manifest.figures["demo"]["macro"]["5+"], abs=1e-3)


def test_every_model_is_listed_once(tmp_path: Path) -> None:
    def made(alias: str, digit: str, ms: int) -> ModelAnnounced:
        return ModelAnnounced(alias, digit * 64, digit * 16, ms, "ada", "", "", ms)

    one, two = made("challenger", "a", 1), made("challenger", "b", 2)
    champion = made("champion", "a", 3)
    events = [
        LoopEvent(kind, record.model, 1, "ada", "", codec.encode(record), 1)
        for kind, record in ((ANNOUNCED, one), (ANNOUNCED, two), (PROMOTED, champion))
    ]
    taught = LoopEvent(TAUGHT, "fast-blue", 1, "ada", "", b"", 1)
    previous = made("previous", "c", 3)  # the bundle of the settings: no step announced it
    found = announced_models({"champion": champion, "previous": previous}, [*events, taught])
    assert [(m.sha256[0], m.alias) for m in found] == [("a", "champion"), ("b", "challenger"), ("c", "previous")]
