"""A short training lowers the loss, repeats by its seed, goes on after a stop, and its network stands missing modalities."""

from __future__ import annotations

import dataclasses
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest

torch = pytest.importorskip("torch")


from data.simulate.classes import CLASSES, STREAM_MIX  # noqa: E402
from gpu.ort import OrtSession  # noqa: E402
from learning import assessment  # noqa: E402
from learning.augment import Strength, augment  # noqa: E402
from learning.dataset import NAMES, Alerts, join, simulate  # noqa: E402
from learning.encoder import Encoder  # noqa: E402
from learning.export import compare, restore, to_onnx  # noqa: E402
from learning.fit import Checkpoint, Initial, fit, schedule  # noqa: E402
from learning.head_calibration import calibrate, prior, thresholds  # noqa: E402
from learning.hyperparameters import LAST_LAYERS, PARTS, EncoderConfig, Hyperparameters  # noqa: E402
from learning.losses import contrast  # noqa: E402
from learning.ridge import Sky  # noqa: E402
from learning.workplace import Step  # noqa: E402
from operators.budget import FLOOR, quantile  # noqa: E402
from operators.head import Head, Views, judge  # noqa: E402
from operators.types import CONTEXT  # noqa: E402
from registry.bundle import FOLDS  # noqa: E402

SLUGS = tuple(CLASSES)
"""Classes of alerts with images."""

CONFIG = EncoderConfig(classes=len(NAMES), width=16, channels=(4, 8, 8, 8), image=16, context=16, fold=16, hidden=32, embedding=16)
"""A small network of the published one's kind."""


@pytest.fixture(scope="module")
def alerts() -> Alerts:
    return simulate(400, seed=5, processes=1)


@pytest.fixture(scope="module")
def model(trained: tuple[Encoder, list[Step]]) -> bytes:
    return to_onnx(trained[0])


def weights(encoder: Encoder) -> dict[str, np.ndarray]:
    return {name: value.numpy() for name, value in encoder.state_dict().items()}


@pytest.fixture(scope="module")
def trained(alerts: Alerts) -> tuple[Encoder, list[Step]]:
    history: list[Step] = []
    return fit(alerts, CONFIG, hyper=Hyperparameters(shards=1, steps=60, batch=64, seed=3), report=history.append), history


def test_the_loss_falls(trained: tuple[Encoder, list[Step]]) -> None:
    history = trained[1]
    first, last = (np.mean([p.loss for p in part]) for part in (history[:10], history[-10:]))
    assert last < 0.85 * first
    assert [p.step for p in history] == list(range(1, 61))


def test_a_stopped_training_goes_on_as_if_it_had_not(alerts: Alerts, trained: tuple[Encoder, list[Step]], tmp_path: Path) -> None:
    checkpoint = Checkpoint(tmp_path)

    class Stop(Exception):
        pass

    def stop(step: Step) -> None:
        if step.step == 45:
            raise Stop

    recipe = Hyperparameters(shards=1, steps=60, batch=64, seed=3)
    with pytest.raises(Stop):
        fit(alerts, CONFIG, hyper=recipe, checkpoint=checkpoint, every=20, report=stop)
    history: list[Step] = []
    again = fit(alerts, CONFIG, hyper=recipe, checkpoint=checkpoint, every=20, report=history.append)
    assert history[0].step == 41
    expected = weights(trained[0])
    for name, value in weights(again).items():
        np.testing.assert_allclose(value, expected[name], atol=1e-6, err_msg=name)


def test_a_checkpoint_of_another_run_is_not_taken(alerts: Alerts, tmp_path: Path) -> None:
    checkpoint = Checkpoint(tmp_path)
    fit(alerts, CONFIG, hyper=Hyperparameters(shards=1, steps=2, batch=32), checkpoint=checkpoint, every=1)
    history: list[Step] = []
    fit(alerts, CONFIG, hyper=Hyperparameters(shards=1, steps=2, batch=32, seed=1), checkpoint=checkpoint, report=history.append)
    assert len(history) == 2


def test_the_checkpoint_holds_no_pickle(alerts: Alerts, tmp_path: Path) -> None:
    fit(alerts, CONFIG, hyper=Hyperparameters(shards=1, steps=1, batch=32), checkpoint=Checkpoint(tmp_path))
    assert {p.name for p in tmp_path.iterdir()} == {"training.safetensors", "training.json"}


@pytest.mark.parametrize("gone", ["tokens", "stamps", "context", "all"])
def test_missing_modalities_give_finite_answers(alerts: Alerts, model: bytes, gone: str) -> None:
    tokens, stamps, context = alerts.take(slice(0, 20)).inputs()
    for name, array in (("tokens", tokens), ("stamps", stamps), ("context", context)):
        if gone in (name, "all"):
            array[:] = 0
    answer = OrtSession(model).run(tokens, stamps, context)
    assert np.isfinite(answer.embedding).all()
    assert np.isfinite(answer.logits).all()


def test_the_export_is_the_network(alerts: Alerts, trained: tuple[Encoder, list[Step]], model: bytes) -> None:
    tokens, stamps, context = alerts.inputs()
    agreement = compare(trained[0], model, tokens=tokens, stamps=stamps, context=context)
    assert agreement.cosine > 0.99999
    assert agreement.same_label >= 0.999
    assert agreement.largest_difference < 1e-4
    assert agreement.bucket_difference == 0.0
    for name, value in weights(restore(model)).items():
        np.testing.assert_array_equal(value, weights(trained[0])[name])


def test_the_export_is_the_same_twice_and_states_nothing_of_this_machine(trained: tuple[Encoder, list[Step]], model: bytes) -> None:
    assert model == to_onnx(trained[0])
    assert b"site-packages" not in model
    assert str(Path(__file__).parents[2]).encode() not in model


def test_restore_refuses_other_files() -> None:
    onnx = pytest.importorskip("onnx")
    graph = onnx.helper.make_graph([], "g", [], [])
    with pytest.raises(ValueError, match="not exported here"):
        restore(onnx.helper.make_model(graph).SerializeToString())


def test_padding_does_not_change_an_alert(alerts: Alerts, trained: tuple[Encoder, list[Step]]) -> None:
    """What stands in the padding is not read: only the valid flag counts."""
    tokens, stamps, context = (torch.from_numpy(a) for a in alerts.take(slice(0, 50)).inputs())
    short = tokens[..., -1].sum(dim=1) < 40
    longer = torch.cat([tokens, torch.zeros(len(tokens), 16, tokens.shape[2])], dim=1)
    with torch.inference_mode():
        a, b = trained[0](tokens, stamps, context)[0], trained[0](longer, stamps, context)[0]
    assert short.any()
    np.testing.assert_allclose(a.numpy(), b.numpy(), atol=1e-5)


def test_augmentation_keeps_the_alert_itself(alerts: Alerts) -> None:
    before = alerts.take(slice(0, 200))
    after = augment(alerts.take(slice(0, 200)), np.random.default_rng(0))
    own = before.valid & (before.time > -1e-6) & before.detected
    assert (after.valid & own).sum() == own.sum()
    assert (after.valid <= before.valid).all()
    assert after.valid.sum() < before.valid.sum()
    for array in after.inputs():
        assert np.isfinite(array).all()
    assert (~after.stamps.any(axis=(1, 2, 3))).mean() > 0.1
    assert np.isnan(after.context).all(axis=1).mean() > 0.1


def test_a_packet_without_forced_photometry_has_limits_instead(alerts: Alerts) -> None:
    before = alerts.take(slice(0, 200))
    weak = before.valid & np.isfinite(before.flux) & ~before.detected
    after = augment(before.take(slice(None)), np.random.default_rng(0), strength=Strength(limits_instead=1.0, no_forced=0.0, no_limits=0.0))
    left = weak & after.valid
    assert left.sum() > 200
    assert np.isnan(after.flux[left]).all()
    np.testing.assert_allclose(after.limit[left], 5 * before.flux_err[left], rtol=1e-5)


def test_a_first_detection_may_be_of_something_else(alerts: Alerts) -> None:
    """Late supernovae of the real sky have it; history and count of detections move with it, and the light curve stays."""
    before = alerts.take(slice(0, 200))
    after = augment(before.take(slice(None)), np.random.default_rng(0), strength=Strength(early=1.0, age=0.0, dilation=0.0))
    assert (after.first_detection <= before.first_detection - 9.9).all()
    history = after.context[:, CONTEXT.index("history")]
    known = np.isfinite(history)
    assert known.sum() > 80
    np.testing.assert_allclose(history[known], -after.first_detection[known], rtol=1e-5)
    np.testing.assert_array_equal(after.time, before.time)


def test_augmentation_repeats_by_its_seed(alerts: Alerts) -> None:
    a, b = (augment(alerts.take(slice(0, 50)), np.random.default_rng(7)) for _ in range(2))
    for field in dataclasses.fields(Alerts):
        np.testing.assert_array_equal(getattr(a, field.name), getattr(b, field.name))


def test_the_data_set_is_left_as_it_was(alerts: Alerts) -> None:
    copy = alerts.take(slice(None))
    augment(alerts.take(np.arange(100)), np.random.default_rng(0))
    for field in dataclasses.fields(Alerts):
        np.testing.assert_array_equal(getattr(alerts, field.name), getattr(copy, field.name))


def test_join_and_take(alerts: Alerts) -> None:
    whole = join(list(alerts.chunks(130)))
    for field in dataclasses.fields(Alerts):
        np.testing.assert_array_equal(getattr(whole, field.name), getattr(alerts, field.name))


def test_contrast_prefers_classes_together() -> None:
    label = torch.tensor([0, 0, 1, 1])
    together = torch.tensor([[1.0, 0], [1, 0.1], [0, 1], [0.1, 1]])
    mixed = together[[0, 2, 1, 3]]
    assert contrast(together, label, temperature=0.1) < contrast(mixed, label, temperature=0.1)
    assert contrast(together, torch.arange(4), temperature=0.1) == 0


def test_schedule_rises_and_falls() -> None:
    recipe = Hyperparameters(steps=1000)
    rates = [schedule(step, recipe) for step in range(1000)]
    assert rates[0] < 0.1
    assert max(rates) == pytest.approx(1.0, abs=0.01)
    assert rates[-1] == pytest.approx(0.02, abs=0.001)


def test_a_second_cycle_begins_at_half_the_rate() -> None:
    once, twice = Hyperparameters(steps=400, restart=0), Hyperparameters(steps=600, restart=400)
    assert [schedule(k, once) for k in range(400)] == [schedule(k, twice) for k in range(400)]
    again = [schedule(k, twice) for k in range(400, 600)]
    assert max(again) == pytest.approx(0.5, abs=0.02)
    assert again[-1] == pytest.approx(0.01, abs=0.001)
    assert schedule(399, Hyperparameters(steps=400, restart=400)) == schedule(399, once)


def head_inputs(n: int = 6000, k: int = 18) -> tuple[Views, np.ndarray]:
    rng = np.random.default_rng(0)
    label = rng.integers(0, k, n)
    centres = rng.normal(size=(k, 32))
    embedding = centres[label] + 0.9 * rng.normal(size=(n, 32))
    logits = 3 * np.eye(k)[label] + 1.5 * rng.normal(size=(n, k))
    return Views(embedding.astype(np.float32), logits.astype(np.float32), rng.normal(size=(n, 6)).astype(np.float32) / 6**0.5), label


def part(views: Views, rows: slice) -> Views:
    return Views(*(column[rows] for column in views))


def test_calibration_is_calibrated() -> None:
    views, label = head_inputs()
    head = calibrate(part(views, slice(3000)), label[:3000], classes=SLUGS, mix=STREAM_MIX).head
    judged = judge(part(views, slice(3000, None)), head)
    found = assessment.figures(judged, label[3000:], number=np.full(3000, 9), classes=SLUGS)
    assert found["accuracy"]["5+"] > 0.9
    assert found["ece"] < 0.06  # a little unsure: some probability goes to `other`
    assert 0.87 < found["coverage"] <= 1.0
    assert found["called_new"] < 0.06
    assert head.prior.sum() == pytest.approx(1, abs=1e-5)
    assert ((head.thresholds >= FLOOR) & (head.thresholds <= 0.5)).all()
    assert 0.5 <= float(head.novelty_threshold) <= 0.9
    away = np.float32(30) * np.random.default_rng(9).normal(size=(500, 32)).astype(np.float32)
    far = judge(part(views, slice(500))._replace(embedding=away), head)
    assert (far.novelty > 0.5).mean() > 0.5


def test_a_class_is_as_probable_as_its_kinds_together() -> None:
    """Two kinds of one class and a kind without a class: the head speaks of classes."""
    views, label = head_inputs()
    logits = views.logits
    kinds = np.concatenate([logits, logits[:, :1], np.full((len(logits), 1), 9.0, dtype=np.float32)], axis=1)
    made_of = np.concatenate([np.eye(18), np.eye(18)[:1], np.zeros((1, 18))]).astype(np.float32)
    views = views._replace(logits=kinds)
    head = calibrate(part(views, slice(3000)), label[:3000], classes=SLUGS, mix=STREAM_MIX, zero_shot=made_of).head
    judged = judge(part(views, slice(3000, None)), head)
    assert head.zero_shot.shape == (20, 18)
    assert (judged.probability[:, :18].argmax(axis=1) == label[3000:]).mean() > 0.9


def test_a_class_with_several_modes_has_several_prototypes_and_is_not_called_new() -> None:
    """Bogus in three heaps far apart: near none of its heaps' mean, and as known as every other class."""
    views, label = head_inputs(9000)
    rng = np.random.default_rng(3)
    bogus = label == SLUGS.index("bogus")
    heap = rng.integers(0, 3, len(label))
    embedding = views.embedding.copy()
    embedding[bogus] += (6 * rng.normal(size=(3, 32)))[heap[bogus]].astype(np.float32)
    views = views._replace(embedding=embedding)
    kind = np.where(bogus, 100 + heap, label)
    found = {}
    for name, kinds in (("one", None), ("several", kind[:5000])):
        head = calibrate(part(views, slice(5000)), label[:5000], classes=SLUGS, mix=STREAM_MIX, kind=kinds).head
        judged = judge(part(views, slice(5000, None)), head)
        found[name] = head, judged.distance[bogus[5000:]], judged
    assert found["one"][0].prototypes.shape[0] == 18
    assert np.bincount(found["several"][0].prototype_class.astype(int)).tolist() == [1] * 17 + [3]
    assert np.median(found["several"][1]) < 0.5 * np.median(found["one"][1])
    judged = found["several"][2]
    for c in range(18):
        assert (judged.novelty[label[5000:] == c] > 0.5).mean() < 0.08, SLUGS[c]
    assert (judged.probability.argmax(axis=1)[bogus[5000:]] == SLUGS.index("bogus")).mean() > 0.95


def test_novelty_is_measured_by_the_nearest_class_and_leaves_artefacts_alone() -> None:
    """A tight class's alerts end where a wide one's are still at home, and what is surely an artefact is nothing new."""
    views, label = head_inputs(9000)
    embedding = views.embedding.copy()
    tight = label == 0
    embedding[tight] = embedding[tight].mean(axis=0) + 0.1 * (embedding[tight] - embedding[tight].mean(axis=0))
    head = calibrate(part(views._replace(embedding=embedding), slice(9000)), label, classes=SLUGS, mix=STREAM_MIX).head
    assert head.novelty_location[0] < 0.5 * np.median(head.novelty_location[1:])
    assert np.flatnonzero(head.novelty_share == 0).tolist() == [SLUGS.index("bogus")]


def test_real_alerts_help_those_that_were_left_out() -> None:
    """Real alerts of two classes look alike but for a feature that says nothing in the simulation."""
    views, label = head_inputs()
    rng = np.random.default_rng(5)
    real = np.flatnonzero((label[3000:] == 3) | (label[3000:] == 4)) + 3000
    between = (views.embedding[label == 4].mean(axis=0) + views.embedding[label == 3].mean(axis=0)) / 2
    named = views.named[real].copy()
    named[:, 0] += np.where(label[real] == 3, 1, -1)
    look = between + 0.5 * rng.normal(size=(len(real), 32))
    sky_views = Views(look.astype(np.float32), 0 * views.logits[real], named)
    fold = rng.integers(0, FOLDS, len(real))
    known = np.where(rng.random(len(real)) < 0.5, label[real], -1)
    sky = Sky(sky_views, known, (3, 4), fold)
    found = calibrate(part(views, slice(3000)), label[:3000], classes=SLUGS, mix=STREAM_MIX, sky=sky)
    assert len(found.unseen) == FOLDS
    bare = calibrate(part(views, slice(3000)), label[:3000], classes=SLUGS, mix=STREAM_MIX)
    assert bare.unseen == ()
    before = scores_of(sky_views, bare.head) == label[real]
    after = np.concatenate([(scores_of(sky_views, head) == label[real])[fold == i] for i, head in enumerate(found.unseen)])
    assert after.mean() > before.mean() + 0.1
    apart = part(views, slice(3000, None))
    simulated = [(scores_of(apart, head) == label[3000:]).mean() for head in (bare.head, found.head)]
    assert simulated[1] > simulated[0] - 0.03


def scores_of(views: Views, head: Head) -> np.ndarray:
    return np.asarray(judge(views, head).probability[:, : head.ways].argmax(axis=1))


def test_quantile_is_the_conformal_one() -> None:
    scores = np.arange(1, 100, dtype=np.float32)  # n = 99: the 90th smallest
    assert quantile(scores) == 90


def test_thresholds_keep_the_budget() -> None:
    rng = np.random.default_rng(1)
    n, k = 20_000, 18
    label = rng.integers(0, k, n)
    probability = rng.dirichlet(np.full(k + 1, 0.1), n)
    shares = prior(SLUGS)
    least = thresholds(probability, label, shares=shares, alerts_a_night=1000, budget=20)
    counts = np.bincount(label, minlength=k)
    for i in range(k):
        if FLOOR < least[i] < 0.5:
            wrong = (label != i) & (probability[:, i] >= least[i])
            assert (shares[:k] / counts)[label[wrong]].sum() * 1000 <= 20


def test_calibration_error_of_a_perfect_and_of_a_boasting_model() -> None:
    rng = np.random.default_rng(2)
    confidence = rng.uniform(0.3, 1, 20_000)
    right = rng.random(20_000) < confidence
    assert assessment.calibration_error(confidence, right) < 0.02
    assert assessment.calibration_error(np.full(1000, 0.99), np.arange(1000) % 2 == 0) == pytest.approx(0.49, abs=0.01)


def test_a_training_goes_on_from_given_weights_and_what_is_not_trainable_stays(
    alerts: Alerts, trained: tuple[Encoder, list[Step]], tmp_path: Path
) -> None:
    """From the weights of 60 steps the first loss is where they had brought it; frozen parts keep every bit, through a stop, too."""
    initial = Initial(trained[0], "0" * 64)
    before = weights(trained[0])
    hyper = Hyperparameters(shards=2, steps=6, batch=64, seed=8, learning_rate=4e-4)
    history: list[Step] = []
    everything = weights(fit(alerts, CONFIG, hyper=hyper, report=history.append, apart=False, initial=initial))
    fresh: list[Step] = []
    fit(alerts, CONFIG, hyper=dataclasses.replace(hyper, steps=1), report=fresh.append, apart=False)
    assert history[0].loss < 0.85 * fresh[0].loss
    assert all((everything[name] != before[name]).any() for name in ("recurrent.weight_hh_l0", "fuse.0.weight", "direction"))
    np.testing.assert_array_equal(weights(trained[0])["direction"], before["direction"])  # the caller's network is not touched

    class Stop(Exception):
        pass

    def stop(step: Step) -> None:
        if step.step == 4:
            raise Stop

    def last_layers(report: Callable[[Step], None], checkpoint: Checkpoint | None, apart: bool) -> Encoder:
        return fit(
            alerts, CONFIG, hyper=hyper, checkpoint=checkpoint, every=2, report=report, apart=apart, initial=initial, trainable=LAST_LAYERS
        )

    whole = weights(last_layers(lambda step: None, None, False))
    checkpoint = Checkpoint(tmp_path)
    with pytest.raises(Stop):
        last_layers(stop, checkpoint, False)
    again = weights(last_layers(lambda step: None, checkpoint, False))
    apart = weights(last_layers(lambda step: None, None, True))
    for name, value in whole.items():
        if name.partition(".")[0] in LAST_LAYERS:
            assert (value != before[name]).any(), name
        else:
            np.testing.assert_array_equal(value, before[name], err_msg=name)
        np.testing.assert_allclose(again[name], value, atol=1e-6, err_msg=name)
        np.testing.assert_array_equal(apart[name], value, err_msg=name)


def test_the_parts_of_the_encoder_are_named_once() -> None:
    assert {name.partition(".")[0] for name, _ in Encoder(CONFIG).named_parameters()} == set(PARTS)
    assert set(LAST_LAYERS) < set(PARTS)
