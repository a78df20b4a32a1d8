"""Candidates of frames beside what was injected: matches, completeness, purity, pulls."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest

from data.simulate.frames.observing_run import TrueFlux
from evaluation.frame_truth import AT_TEN, Found, FrameScores

MJD = 60_900.25
OBJECT = TrueFlux(
    frame_id="f1", detector="ccd1", field="sparse-0", filter="r", mjd=MJD, object_id="o1", label="sn-ia", kind="Ia", ra=359.9999, dec=40.0,
    y=100.0, x=100.0, flux=50.0, electrons=2_500.0, snr=10.0, measurable=True, hosted=True, surface=0.1,
)  # fmt: skip


def found(row: TrueFlux, *, ra: float = 0.0, dec: float = 0.0, **more: object) -> Found:
    """A candidate at an object, off by so many arcsec."""
    at = Found(row.mjd, row.filter, (row.ra + ra / 3600 / np.cos(np.radians(row.dec))) % 360, row.dec + dec / 3600, row.flux, 5.0, "sn-ia")
    return replace(at, **more)  # type: ignore[arg-type]


def test_an_object_is_found_at_its_place_and_time_alone() -> None:
    other = replace(OBJECT, frame_id="f2", mjd=MJD + 1.0)
    for candidate, true in (
        (found(OBJECT, ra=1.0), True),  # over 0 h
        (found(OBJECT, dec=-1.5), True),
        (found(OBJECT, ra=2.5), False),
        (found(OBJECT, filter="g"), False),
        (found(OBJECT, mjd=MJD + 0.5), False),
    ):
        scores = FrameScores.of([OBJECT, other], [candidate])
        assert scores.purity().n == int(true)
        assert scores.completeness().n == int(true)
        assert scores.completeness().of == 2


def test_what_is_called_bogus_counts_as_a_candidate_only() -> None:
    scores = FrameScores.of([OBJECT], [found(OBJECT, decided="bogus"), found(OBJECT, ra=30.0)])
    assert (scores.completeness(real_only=False).n, scores.completeness().n) == (1, 0)
    assert (scores.purity(real_only=False).value, scores.purity().value) == (0.5, 0.0)
    assert [f.decided for f in scores.false()] == ["sn-ia"]


def test_nothing_can_be_found_of_an_object_too_faint_to_be_seen() -> None:
    scores = FrameScores.of([replace(OBJECT, snr=0.5)], [found(OBJECT)])
    assert scores.purity().n == 0
    assert scores.by_strength()["9–12"].purity_of_detections.value == 0.0


def test_masked_objects_count_for_purity_and_not_for_completeness() -> None:
    scores = FrameScores.of([replace(OBJECT, measurable=False)], [found(OBJECT)])
    assert scores.purity().value == 1.0
    assert scores.completeness().of == 0
    assert np.isnan(scores.completeness().value)


def test_bins_hold_what_they_say() -> None:
    rows = [replace(OBJECT, object_id=str(k), ra=10 + k / 60, snr=snr, flux=5 * snr) for k, snr in enumerate((4, 9.5, 10, 11, -60))]
    scores = FrameScores.of(rows, [found(rows[1]), found(rows[4])])
    by = scores.by_strength()
    assert (by[AT_TEN].detections.n, by[AT_TEN].detections.of) == (1, 3)
    assert by["3–5"].detections.value == 0
    assert by["≥ 50"].detections.value == 1.0
    assert scores.by_place()["faded"].value == 1.0
    figures = scores.figures()
    assert figures["completeness_at_snr_10"]["detections"] == {"n": 1, "of": 3, "share": pytest.approx(1 / 3)}
    assert figures["purity_of_candidates"]["share"] == 1.0


def test_pulls_are_those_of_the_errors() -> None:
    rng = np.random.default_rng(1)
    rows = [replace(OBJECT, object_id=str(k), ra=10 + k / 60) for k in range(400)]
    scores = FrameScores.of(rows, [found(row, flux=1.1 * row.flux + 2 * 5.0 * rng.standard_normal()) for row in rows])
    pulls = scores.pulls()
    assert pulls.n == 400
    assert pulls.spread == pytest.approx(2.0, rel=0.15)
    assert pulls.median == pytest.approx(1.0, abs=0.3)
    assert pulls.flux_ratio == pytest.approx(1.1, abs=0.03)
