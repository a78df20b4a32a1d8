"""Light curves join the alerts in training: augmented, folded, and with every further loss."""

from __future__ import annotations

import dataclasses
import multiprocessing
import os
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest

torch = pytest.importorskip("torch")

from console.commands.train import plan_of  # noqa: E402
from errors import UserError  # noqa: E402
from learning.augment import Strength as Augmentation  # noqa: E402
from learning.augment_curves import Strength, augment_curves  # noqa: E402
from learning.dataset import NAMES, REFERENCE, Alerts, simulate, simulate_curves, thinned  # noqa: E402
from learning.fit import Checkpoint, fit  # noqa: E402
from learning.hyperparameters import EncoderConfig, Hyperparameters  # noqa: E402
from learning.losses import Sets, episode  # noqa: E402
from learning.recipe import without  # noqa: E402
from learning.shards import Shards, WorkerError  # noqa: E402
from learning.trainee import Trainee  # noqa: E402
from learning.workplace import Step  # noqa: E402

CONFIG = EncoderConfig(classes=len(NAMES), width=16, channels=(4, 8, 8, 8), image=16, context=16, fold=16, hidden=32, embedding=16)


@pytest.fixture(scope="module")
def curves() -> Alerts:
    return simulate_curves(500, seed=5, processes=1)


@pytest.fixture(scope="module")
def alerts() -> Alerts:
    return simulate(200, seed=5, processes=1)


def test_curves_have_no_images_and_the_folded_view_of_stars(curves: Alerts) -> None:
    tokens, stamps, context = curves.inputs()
    assert not stamps.any()
    assert np.isfinite(tokens).all()
    assert np.isfinite(context).all()
    folded = curves.folded[:, -1] > 0
    stars = np.isin(curves.label, [NAMES.index(k) for k in ("RRab", "EA", "EW")])
    assert folded[stars].mean() > 0.4
    assert folded.mean() < 0.6
    assert curves.time.shape[1] <= 96


def test_augmented_curves_keep_three_detections_and_end_with_one(curves: Alerts) -> None:
    before = curves.take(slice(None))
    enough = (before.valid & before.detected).sum(axis=1) >= 3
    after = augment_curves(curves.take(slice(None)), np.random.default_rng(0))
    assert ((after.valid & after.detected).sum(axis=1)[enough] >= 1).all()
    assert after.valid.sum() < before.valid.sum()
    last = np.where(after.valid, after.time, -np.inf).max(axis=1)
    assert (last <= 1e-6).all()
    assert (after.first_detection <= 0).all()
    for array in after.inputs():
        assert np.isfinite(array).all()
    single = np.array([len(set(after.wavelength[i, after.valid[i]].tolist())) == 1 for i in range(len(after))])
    assert single.mean() > 0.1


def test_only_the_reference_is_known_of_a_curves_surroundings(curves: Alerts) -> None:
    after = augment_curves(curves.take(slice(None)), np.random.default_rng(0), s=Strength(no_reference=0.0))
    known = np.isfinite(after.context)
    assert known[:, REFERENCE].any()
    assert known.sum() == 2 * known[:, REFERENCE].sum()


def test_augmentation_repeats_by_its_seed(curves: Alerts) -> None:
    a, b = (augment_curves(curves.take(slice(0, 60)), np.random.default_rng(7)) for _ in range(2))
    for field in dataclasses.fields(Alerts):
        np.testing.assert_array_equal(getattr(a, field.name), getattr(b, field.name))


def test_thinning_keeps_points_in_time_order(curves: Alerts) -> None:
    few = thinned(curves, 10, rng=np.random.default_rng(0))
    assert few.time.shape[1] == 10
    np.testing.assert_array_equal(few.valid.sum(axis=1), np.minimum(curves.valid.sum(axis=1), 10))
    for i in range(len(few)):
        assert (np.diff(few.time[i, few.valid[i]]) >= 0).all()


@pytest.mark.parametrize("terms", [{}, {"contrast": 0.25}, {"clean": 0.0}, {"episodic": 0.5}, {"views": 0.3}, {"half": False}])
def test_every_loss_trains(alerts: Alerts, curves: Alerts, terms: dict[str, float]) -> None:
    history: list[Step] = []
    recipe = Hyperparameters(shards=1, steps=30, batch=64, seed=3, **terms)  # type: ignore[arg-type]
    fit(alerts, CONFIG, hyper=recipe, report=history.append, curves=curves, unlabelled=curves if recipe.views else None)
    assert np.mean([p.loss for p in history[-8:]]) < 0.97 * np.mean([p.loss for p in history[:8]])


def test_a_seed_gives_the_same_weights(alerts: Alerts, curves: Alerts) -> None:
    a, b = (fit(alerts, CONFIG, hyper=Hyperparameters(shards=1, steps=4, batch=64, seed=3), curves=curves) for _ in range(2))
    for name, value in a.state_dict().items():
        torch.testing.assert_close(value, b.state_dict()[name], rtol=0, atol=0)


@pytest.mark.parametrize("half", [True, False])
def test_shards_in_processes_and_in_turn_give_the_same_weights(alerts: Alerts, curves: Alerts, half: bool) -> None:
    recipe = Hyperparameters(shards=2, steps=3, batch=64, seed=3, contrast=0.2, half=half)
    a, b = (fit(alerts, CONFIG, hyper=recipe, curves=curves, apart=apart) for apart in (True, False))
    whole = fit(alerts, CONFIG, hyper=dataclasses.replace(recipe, shards=1), curves=curves)
    for name, value in a.state_dict().items():
        torch.testing.assert_close(value, b.state_dict()[name], rtol=0, atol=0)
    assert any(not torch.equal(value, whole.state_dict()[name]) for name, value in a.state_dict().items())


def shards_of(alerts: Alerts, make: Callable[[EncoderConfig], Trainee] = Trainee) -> Shards:
    recipe = Hyperparameters(shards=2, steps=1, batch=16)
    return Shards(
        Trainee(CONFIG),
        CONFIG,
        make=make,
        sets=Sets(alerts, None, hyper=recipe, strength=Augmentation()),
        hyper=recipe,
        apart=True,
    )


def test_a_process_that_ends_is_reported_in_one_line(alerts: Alerts) -> None:
    before = set(multiprocessing.active_children())
    with shards_of(alerts) as shards:
        (child,) = set(multiprocessing.active_children()) - before
        child.kill()
        child.join()
        with pytest.raises(WorkerError, match="ended before its time"):
            shards.gradient(0)


def ends(config: EncoderConfig) -> Trainee:
    """Stands for the kernel that wants memory back while a process starts."""
    os._exit(9)


def test_a_process_that_ends_while_it_starts_is_reported(alerts: Alerts) -> None:
    before = set(multiprocessing.active_children())
    with pytest.raises(WorkerError, match="ended before its time"), shards_of(alerts, ends) as shards:
        shards.gradient(0)
    assert set(multiprocessing.active_children()) == before


class Broken(Trainee):
    """Fails in its process, not here."""

    def parameters(self, recurse: bool = True) -> Iterator[Any]:
        raise ArithmeticError("broken")


def test_a_process_that_fails_says_why(alerts: Alerts) -> None:
    with shards_of(alerts, Broken) as shards, pytest.raises(WorkerError, match="ArithmeticError: broken"):
        shards.gradient(0)


@pytest.mark.slow
def test_a_run_in_processes_that_was_cut_off_goes_on(alerts: Alerts, curves: Alerts, tmp_path: Path) -> None:
    recipe = Hyperparameters(shards=2, steps=6, batch=32, seed=1)

    def stop(step: Step) -> None:
        if step.step == 4:
            raise KeyboardInterrupt

    checkpoint = Checkpoint(tmp_path)
    with pytest.raises(KeyboardInterrupt):
        fit(alerts, CONFIG, hyper=recipe, checkpoint=checkpoint, every=2, report=stop, curves=curves)
    history: list[Step] = []
    a = fit(alerts, CONFIG, hyper=recipe, checkpoint=checkpoint, every=2, report=history.append, curves=curves)
    b = fit(alerts, CONFIG, hyper=recipe, curves=curves)
    assert history[0].step == 3
    for name, value in a.state_dict().items():
        torch.testing.assert_close(value, b.state_dict()[name], rtol=0, atol=0)


@pytest.mark.parametrize("settings", [["shards=0"], ["batch=1"], ["batch=513"]])
def test_shards_and_batch_must_fit(settings: list[str]) -> None:
    with pytest.raises(UserError, match="--set "):
        plan_of(None, {"hyperparameters": settings})


def test_an_episode_prefers_classes_together() -> None:
    label = torch.tensor([0, 0, 1, 1])
    together = torch.tensor([[1.0, 0], [1, 0.1], [0, 1], [0.1, 1]])
    assert episode(together, label) < episode(together[[0, 2, 1, 3]], label)
    assert episode(together, torch.arange(4)) == 0


def test_a_kind_can_be_left_out(curves: Alerts) -> None:
    kept = without(curves, ["TDE", "Ia"])
    assert len(kept) < len(curves)
    assert not np.isin(kept.label, [NAMES.index("TDE"), NAMES.index("Ia")]).any()


def test_numbers_of_the_recipe_by_name() -> None:
    found = plan_of(None, {"hyperparameters": ["contrast=0", "half=0"]}).hyperparameters
    assert found == {"contrast": 0.0, "half": False}
    assert isinstance(found["half"], bool)
    with pytest.raises(UserError, match="--set takes not"):
        plan_of(None, {"hyperparameters": ["depth=3"]})
    with pytest.raises(UserError, match="takes a number"):
        plan_of(None, {"hyperparameters": ["contrast=much"]})
