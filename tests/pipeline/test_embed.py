"""One way to embed: the same numbers from packets, from a training set's rows and from a table of curves, in any chunks."""

from __future__ import annotations

import itertools

import numpy as np
import pytest

from data.simulate.night import night
from data.tables import from_arrays
from gpu.ort import OrtSession
from gpu.session import Session
from learning.dataset import Alerts, embed_alerts, from_batch
from operators.types import STAMP, AlertBatch
from pipeline.embed import embed, gather, inputs_of
from registry.bundle import load
from schemas.surveys.decode import Decoder


@pytest.fixture(scope="module")
def session() -> Session:
    return OrtSession(load().encoder)


@pytest.fixture(scope="module")
def batch() -> AlertBatch:
    return Decoder().decode([packet for packet, _ in itertools.islice(night(seed=5, n=80), 80)]).batch


def test_rows_of_a_training_set_are_embedded_as_their_packets(batch: AlertBatch, session: Session) -> None:
    """A set keeps its times as days before the alert and its images in half precision: the same but for the rounding."""
    stream = embed(batch, session)
    rows: Alerts = from_batch(batch, np.zeros(len(batch), dtype=np.int64))
    kept = embed_alerts(rows, session)
    assert np.abs(stream.embedding - kept.embedding).max() < 0.02 * np.abs(stream.embedding).max()
    whole = embed(rows.batch(), session, inputs=rows.inputs()._replace(stamps=inputs_of(batch).stamps))
    assert np.abs(stream.embedding - whole.embedding).max() < 0.01 * np.abs(stream.embedding).max()


def test_chunks_do_not_matter(batch: AlertBatch, session: Session) -> None:
    rows = from_batch(batch, np.zeros(len(batch), dtype=np.int64))
    together = embed_alerts(rows, session)
    for size in (1, 7, 33):
        parts = gather(embed(chunk.batch(), session, inputs=chunk.inputs()) for chunk in rows.chunks(size))
        for ours, theirs in zip(parts, together, strict=True):
            np.testing.assert_array_equal(ours, theirs)


def test_a_light_curve_without_images_has_images_of_nothing() -> None:
    time = np.arange(6.0)
    curve = {"time": time, "wavelength": np.full(6, 4746.5), "flux": 100 + time, "flux_err": np.ones(6), "limit": np.full(6, np.nan)}
    made = inputs_of(from_arrays(["a", "b"], [curve, curve]).batch())
    assert made.stamps.shape == (2, 4, STAMP, STAMP)
    assert not made.stamps.any()
    assert made.tokens[..., -1].sum() == 12
