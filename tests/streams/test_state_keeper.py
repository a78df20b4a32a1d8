"""A worker's state follows announcements; the bundles are at hand, so that no broker is asked (as in tests/flow/test_models_flow.py)."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest

from pipeline.state import load as load_state
from registry.bundle import Bundle, Parts, load, save
from registry.model_store import ModelStore, files_of
from schemas.records.drift_alarm import DriftAlarm
from schemas.records.model_announced import CHALLENGER, CHAMPION, PREVIOUS, ModelAnnounced
from settings.model import Settings
from streams.scorer import Pipeline, Scorer
from streams.state_keeper import StateKeeper


def parts(seed: int, *, golden_shift: int = 0) -> Parts:
    was = load()
    head = replace(was.head, thresholds=np.clip(was.head.thresholds + np.float32(seed / 1000), 0, 1).astype(np.float32))
    golden = replace(was.golden, probability=np.roll(was.golden.probability, golden_shift, axis=1))
    kept = was.manifest.model_dump(exclude={"format", "files"}) | {"seed": seed}
    return Parts(kept, was.encoder, head, was.reference, golden)


@pytest.fixture(scope="module")
def settings(tmp_path_factory: pytest.TempPathFactory) -> Settings:
    return Settings(state=tmp_path_factory.mktemp("state"), engine="onnxruntime")


@pytest.fixture(scope="module")
def bundles(settings: Settings, tmp_path_factory: pytest.TempPathFactory) -> dict[str, Bundle]:
    folder, store = tmp_path_factory.mktemp("bundles"), ModelStore(settings.state / "models")
    made = {"one": parts(1), "two": parts(2), "bad": parts(3, golden_shift=1)}
    saved = {name: save(folder / name, found) for name, found in made.items()}
    for bundle in saved.values():
        store.put(*files_of(bundle.path))
    return saved


class Worker:
    """What a keeper asks of a worker."""

    def __init__(self) -> None:
        self.swapped: list[Scorer] = []
        self.alarms: list[DriftAlarm] = []

    async def swap(self, scorer: Scorer) -> Scorer:
        self.swapped.append(scorer)
        return scorer


async def test_the_champion_is_followed_and_a_bad_bundle_is_not(settings: Settings, bundles: dict[str, Bundle]) -> None:
    base = load_state(engine="onnxruntime")
    keeper, worker = StateKeeper(settings, Pipeline(base)), Worker()
    known = keeper._announced.announced
    revision = 0

    async def announce(alias: str, bundle: Bundle) -> str | None:
        """Returns the model that was swapped in; None: nothing was."""
        nonlocal revision
        revision += 1
        before = len(worker.swapped)
        known[alias] = ModelAnnounced(alias, bundle.sha256, bundle.sha256[:16], revision, "ada", "", "", 1)
        await keeper._change(worker.swap, worker.alarms.append)
        return worker.swapped[-1].model if len(worker.swapped) > before else None

    assert await announce(CHALLENGER, bundles["one"]) is None
    assert await announce(CHAMPION, bundles["one"]) == bundles["one"].sha256[:16]
    first = worker.swapped[-1]
    assert isinstance(first, Pipeline)
    assert first.state.session is base.session, "the same model file: nothing is compiled"
    assert first.state.scoring_id == load_state(bundles["one"].path, "onnxruntime").scoring_id
    assert await announce(CHALLENGER, bundles["two"]) is None

    assert await announce(CHAMPION, bundles["bad"]) is None
    assert [(a.detector, a.statistic, a.stratum) for a in worker.alarms] == [("models", "bad_bundle", bundles["bad"].sha256[:16])]
    assert await announce(PREVIOUS, bundles["one"]) is None
    assert len(worker.alarms) == 1, "it is reported once"
    await announce(CHAMPION, bundles["bad"])
    assert len(worker.alarms) == 2, "announced anew it is tried anew"
    assert len({alarm.alarm_id for alarm in worker.alarms}) == 2

    assert await announce(CHAMPION, bundles["two"]) == bundles["two"].sha256[:16]
    assert await announce(CHAMPION, bundles["one"]) == bundles["one"].sha256[:16]
    last = worker.swapped[-1]
    assert isinstance(last, Pipeline)
    assert last.state is first.state, "the model before was kept"


async def test_at_a_start_the_model_before_replaces_a_bad_one(settings: Settings, bundles: dict[str, Bundle]) -> None:
    keeper = StateKeeper(settings, Pipeline(load_state(engine="onnxruntime")))
    for revision, (alias, name) in enumerate(((CHAMPION, "bad"), (PREVIOUS, "two")), 1):
        sha256 = bundles[name].sha256
        keeper._announced.announced[alias] = ModelAnnounced(alias, sha256, sha256[:16], revision, "ada", "", "", 1)
    assert (await keeper._model(starting=True)).base.model == bundles["two"].sha256[:16]
    assert (await keeper._model()).base.model == load().sha256[:16], "one that scores already goes on as it is"
