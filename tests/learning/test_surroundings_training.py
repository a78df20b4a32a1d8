"""What training does with the surroundings: values come and go, a catalogue is now and then wrong, an older encoder is widened."""

from __future__ import annotations

import numpy as np
import pytest

torch = pytest.importorskip("torch")

from data.simulate.arrays import ADDED  # noqa: E402
from learning.augment import FALSE, FOUND, Strength, augment  # noqa: E402
from learning.dataset import NAMES, Alerts, simulate  # noqa: E402
from learning.encoder import Encoder  # noqa: E402
from learning.hyperparameters import BEFORE_NAMES, EncoderConfig  # noqa: E402
from learning.recipe import SUCCESSORS, widened  # noqa: E402
from operators.context import SURROUNDINGS  # noqa: E402
from operators.dips import DIPS  # noqa: E402
from operators.types import CONTEXT, MEASURED, STAMP, SURVEY_SCORES  # noqa: E402


@pytest.fixture(scope="module")
def alerts() -> Alerts:
    return simulate(180, 3, processes=1)


def shown(alerts: Alerts, name: str) -> np.ndarray:
    """Which alerts have a value, as the encoder reads it."""
    return alerts.inputs().context[:, len(SURROUNDINGS) + SURROUNDINGS.index(name)] > 0


def test_packets_of_today_have_no_host_and_no_catalogue(alerts: Alerts) -> None:
    for name in ADDED:
        assert not shown(alerts, name).any()
    assert np.isfinite(alerts.added[:, ADDED.index("redshift")]).any()


def test_ztf_and_rubin_have_scores_of_their_own(alerts: Alerts) -> None:
    has = {name: shown(alerts, name) for name in SURVEY_SCORES}
    assert has["rb"].any()
    assert has["reliability"].any()
    assert not (has["reliability"] & has["rb"]).any()
    assert (has["rb"] | ~has["drb"]).all(), "drb came later than rb"


def test_catalogues_are_asked_of_some_and_are_mostly_right(alerts: Alerts) -> None:
    rng = np.random.default_rng(1)
    truth = alerts.added[:, ADDED.index("catalogue_agn")] > 0
    asked = right = wrong = total = 0
    for _ in range(20):
        seen = augment(alerts.take(np.arange(len(alerts))), rng, strength=Strength(no_context=0.0, no_value=0.0, catalogues=0.5))
        value = seen.context[:, CONTEXT.index("catalogue_agn")]
        asked += int(np.isfinite(value).sum())
        right += int((value[truth] == 1).sum())
        wrong += int((value[~truth] == 1).sum())
        total += len(value)
    assert asked / total == pytest.approx(0.5, abs=0.05)
    assert FOUND[0] - 0.15 < right / (0.5 * 20 * truth.sum()) < FOUND[1] + 0.15
    assert wrong / (0.5 * 20 * (~truth).sum()) < 3 * FALSE


@pytest.mark.parametrize(("field", "names", "chance"), [("measured", MEASURED, "no_measured"), ("context", CONTEXT, "no_context")])
def test_each_block_may_be_missing(alerts: Alerts, field: str, names: tuple[str, ...], chance: str) -> None:
    rng = np.random.default_rng(2)
    seen = augment(alerts.take(np.arange(len(alerts))), rng, strength=Strength(**{chance: 1.0}))
    assert getattr(seen, field).shape[1] == len(names)
    assert np.isnan(getattr(seen, field)).all()


def test_a_value_is_never_made_up(alerts: Alerts) -> None:
    """What an alert has none of, no augmentation gives it, but for what catalogues add."""
    seen = augment(alerts.take(np.arange(len(alerts))), np.random.default_rng(4))
    for before, after in ((alerts.measured, seen.measured), (alerts.scores, seen.scores)):
        assert not (np.isnan(before) & np.isfinite(after)).any()
    plain = [i for i, name in enumerate(CONTEXT) if name not in ADDED]
    assert not (np.isnan(alerts.context[:, plain]) & np.isfinite(seen.context[:, plain])).any()


def test_an_older_encoder_goes_on_where_it_was() -> None:
    """With only what it read before, a widened encoder answers the same; its real/bogus score is the first of the survey's."""
    torch.manual_seed(0)
    small = {"width": 16, "channels": (4, 8, 8, 8), "image": 16, "context": 16, "fold": 16, "hidden": 32, "embedding": 32}
    old = Encoder(EncoderConfig(classes=len(NAMES), values=BEFORE_NAMES, dips=0, **small)).eval()
    new = widened(old)
    assert new.config.values == SURROUNDINGS
    rng = np.random.default_rng(0)
    n, before, now, folded = 6, len(BEFORE_NAMES), len(SURROUNDINGS), old.config.folded
    values, present = rng.normal(size=(n, before)).astype(np.float32), (rng.random((n, before)) < 0.7).astype(np.float32)
    gone = [k for k, name in enumerate(BEFORE_NAMES) if name != "real_bogus" and name not in SURROUNDINGS]
    assert {BEFORE_NAMES[k] for k in gone} == {"reference_flux", "fwhm", "elongation"}
    present[:, gone] = 0  # what is read no longer is as if it were missing
    values *= present
    narrow = np.concatenate([values, present, np.zeros((n, folded), np.float32)], axis=1)
    wide = np.zeros((n, 2 * now + folded + len(DIPS)), np.float32)
    for k, name in enumerate(BEFORE_NAMES):
        if k in gone:
            continue
        i = SURROUNDINGS.index("drb" if name == "real_bogus" else name)
        wide[:, i], wide[:, now + i] = values[:, k], present[:, k]
    tokens, stamps = (torch.from_numpy(rng.normal(size=s).astype(np.float32)) for s in ((n, 5, old.config.features), (n, 4, STAMP, STAMP)))
    with torch.inference_mode():
        expected, found = (model(tokens, stamps, torch.from_numpy(c)) for model, c in ((old, narrow), (new, wide)))
    for a, b in zip(expected, found, strict=True):
        np.testing.assert_allclose(a.numpy(), b.numpy(), atol=1e-5)
    assert set(SUCCESSORS) <= set(SURROUNDINGS)
    assert widened(new) is new


def test_an_older_file_names_no_values() -> None:
    config = EncoderConfig(classes=3)
    assert EncoderConfig.from_json(config.to_json()) == config
    older = config.to_json().replace("values", "ignored")
    with pytest.raises(TypeError):
        EncoderConfig.from_json(older)
    assert EncoderConfig.from_json('{"classes": 3, "channels": [4], "surroundings": 38}').values == BEFORE_NAMES
