from __future__ import annotations

import dataclasses

import numpy as np

from operators.context import N_CONTEXT, TRANSFORMS, context
from operators.types import CONTEXT
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
    missing = np.isnan(batch.context)
    assert missing.any()
    assert not out[:, : len(CONTEXT)][missing].any()
    np.testing.assert_array_equal(out[:, len(CONTEXT) : 2 * len(CONTEXT)] == 0, missing)


def test_each_transform_keeps_the_order_and_stays_bounded():
    assert set(TRANSFORMS) == set(CONTEXT)
    values = np.geomspace(1e-3, 1e5, 50).astype(np.float32)
    batch = random_batch(50)
    out = context(dataclasses.replace(batch, context=np.repeat(values[:, None], len(CONTEXT), axis=1)))[:, : len(CONTEXT)]
    assert np.all(np.diff(out, axis=0) >= 0)
    assert np.abs(out).max() <= 4
