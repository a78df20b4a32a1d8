from __future__ import annotations

import dataclasses

import numpy as np

from operators.context import N_CONTEXT, SURROUNDINGS, TRANSFORMS, context
from operators.types import CONTEXT, MEASURED, SURVEY_SCORES
from tests.operators.batches import random_batch, to_numpy


def test_every_namespace_agrees(moved):
    batch = random_batch(20)
    out = context(batch)
    assert out.shape == (20, N_CONTEXT)
    assert out.dtype == np.float32
    np.testing.assert_allclose(to_numpy(context(moved(batch))), out, atol=1e-6)


def test_missing_values_are_zero_and_said_so():
    batch = random_batch(30)
    out = context(batch)
    n = len(SURROUNDINGS)
    for i, name in enumerate(SURROUNDINGS):
        if name in CONTEXT:
            missing = np.isnan(batch.context[:, CONTEXT.index(name)])
            assert missing.any()
            assert not out[missing, i].any()
            np.testing.assert_array_equal(out[:, n + i] == 0, missing)


def test_alerts_that_are_not_packets_have_no_measurements():
    batch = dataclasses.replace(random_batch(5), measured=None, survey_scores=None)
    out = context(batch)
    for name in set(SURROUNDINGS) & {*MEASURED, *SURVEY_SCORES}:
        assert not out[:, SURROUNDINGS.index(name)].any()
        assert not out[:, len(SURROUNDINGS) + SURROUNDINGS.index(name)].any()


def test_each_transform_keeps_the_order_and_stays_bounded():
    values = np.concatenate([-np.geomspace(1e-3, 1e5, 20)[::-1], np.geomspace(1e-3, 1e5, 50)]).astype(np.float32)
    for transform, names in TRANSFORMS.items():
        out = np.clip(transform(np, values), -4, 4)
        assert np.all(np.diff(out) >= 0), names
        assert np.isfinite(out).all()


OF = (("context", CONTEXT), ("measured", MEASURED), ("survey_scores", SURVEY_SCORES))


def test_each_value_is_read_once_and_by_its_name():
    """A value alone in its column moves the number of its name, or none."""
    assert len(set(SURROUNDINGS)) == len(SURROUNDINGS)
    batch, n = random_batch(1), len(SURROUNDINGS)
    for field, names in OF:
        for k, name in enumerate(names):
            columns = {other: np.full((1, len(of)), np.nan, np.float32) for other, of in OF}
            columns[field][0, k] = 0.7
            shown = context(dataclasses.replace(batch, **columns))[0, n : 2 * n]
            assert [SURROUNDINGS[i] for i in np.flatnonzero(shown)] == ([name] if name in SURROUNDINGS else [])
