"""What may happen to a stream, on columns; nights drawn from scored alerts; and the study's figures on alerts made of random numbers."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

from data.simulate import arrays
from data.simulate.classes import STREAM_MIX
from evaluation.studies import drift_study as study
from evaluation.studies.drift_changes import CHANGES, own_night
from evaluation.studies.drift_real import drawn_sky, real_sky
from evaluation.studies.drift_streams import STABLE, STRATA, Nights, Pool, Scored, scored, windows
from gpu.choose import choose
from operators.alert_statistics import HIGH, LOW, STATISTICS
from operators.types import CONTEXT, AlertBatch
from registry.bundle import Bundle, load

S = {name: i for i, name in enumerate(STATISTICS)}
C = {name: i for i, name in enumerate(CONTEXT)}


@pytest.fixture(scope="module")
def bundle() -> Bundle:
    return load()


@pytest.fixture(scope="module")
def batch() -> AlertBatch:
    return arrays.to_batch(arrays.make(120, 5, population="demo", processes=1, surveys={"ztf": 1.0}, classes=STREAM_MIX))


def test_each_change_moves_what_it_names(bundle: Bundle, batch: AlertBatch) -> None:
    session, _ = choose(bundle.encoder, "onnxruntime")
    before = scored(batch, bundle, session=session)
    move = {}
    for name, change in CHANGES.items():
        step = scored(change(batch), bundle, session=session).values - before.values
        there = np.isfinite(step)
        move[name] = np.where(there, step, 0).sum(axis=0) / np.maximum(there.sum(axis=0), 1)
    assert move["zero point"][S["zp"]] == pytest.approx(0.1, abs=0.03)
    assert move["zero point"][S["limit"]] == pytest.approx(0.1, abs=0.01)
    assert move["zero point"][S["log_snr"]] == 0
    assert move["seeing"][S["fwhm"]] == pytest.approx(np.log10(1.4), abs=0.02)
    assert move["seeing"][S["limit"]] == pytest.approx(-2.5 * np.log10(1.4), abs=0.02)
    assert move["seeing"][S["log_snr"]] == pytest.approx(-np.log10(1.4), abs=0.02)
    assert move["cadence"][S["points"]] < -5
    assert move["cadence"][S["visits"]] == pytest.approx(-np.log10(2), abs=0.02)
    for name in ("schema: real/bogus", "schema: catalogue"):
        assert np.abs(np.nan_to_num(move[name][[S["points"], S["fwhm"], S["limit"]]])).max() == 0


def test_a_wrong_calibration_leaves_counts_and_earlier_nights(batch: AlertBatch) -> None:
    moved = CHANGES["zero point"](batch)
    earlier = batch.valid & ~own_night(batch)
    assert earlier.any()
    assert own_night(batch).any(axis=1).all()
    for name in ("flux", "flux_err", "limit"):
        np.testing.assert_array_equal(getattr(moved, name)[earlier], getattr(batch, name)[earlier])
    np.testing.assert_array_equal(moved.stamps, batch.stamps)
    sparse = CHANGES["cadence"](batch)
    assert (sparse.valid.sum(axis=1) >= own_night(batch).sum(axis=1)).all()
    assert (np.diff(sparse.valid.astype(int), axis=1) <= 0).all()  # padding stays last


def pool(n: int = 3000) -> Pool:
    """Alerts whose statistics are noise, in three bands; the zero point and a new population changed as the study has them."""
    rng = np.random.default_rng(4)
    middle = (LOW + HIGH) / 2
    values = (middle + rng.normal(0, 0.1, (n, len(STATISTICS))) * (HIGH - LOW)).astype(np.float32)
    context = np.ones((n, len(CONTEXT)), np.float32)
    context[:, C["galactic_latitude"]] = rng.uniform(0, 60, n)
    context[:, C["fwhm"]] = rng.lognormal(0.7, 0.1, n)
    stable = Scored(values, context, rng.choice(2, n), rng.integers(0, 5, n), 60000 + rng.uniform(0, 365, n), rng.uniform(0, 360, n))

    def moved(name: str, by: float) -> Scored:
        changed = values.copy()
        changed[:, S[name]] += by * (HIGH - LOW)[S[name]]
        return Scored(np.clip(changed, LOW, HIGH).astype(np.float32), context, stable.band, stable.decided, stable.mjd, stable.ra)

    return Pool({STABLE: stable, "zero point": moved("zp", 0.06), "fbot": moved("entropy", 0.45).take(slice(0, 200))})


def test_the_table_of_a_panel() -> None:
    sky, other = study.simulated(pool())
    thresholds = study.thresholds_of(sky, alerts=45_000)
    found = study.study(other, thresholds=thresholds, seeds=2, scenarios=("zero point", "fbot"), reference=45_000, after=20_000)["panel"]
    assert found["stable alerts"] == 90_000
    assert found["false"]["count"] <= 2
    low, high = found["false"]["interval"]
    assert low <= found["false"]["per_1e5"] <= high
    zero = found["scenarios"]["zero point"]
    assert zero["power"] == 1
    assert zero["called"] == {"instrument: zero point": 2}
    assert 500 < zero["delay_10_50_90"][1] < 10_000
    assert set(found["scenarios"]["fbot"]["called"]) <= {"population"}
    assert found["diagnoses"]["share"] == 1


def test_nights_are_in_order_and_windows_are_full() -> None:
    stable = pool().stable
    rows, night = Nights(stable).draw(20_000, np.random.default_rng(1))
    assert len(rows) == len(night) == 20_000
    assert (np.diff(night) >= 0).all()
    assert 5 <= night[-1] <= 7
    placed = windows(stable.take(rows), night)
    assert [at for at, _ in placed] == sorted(at for at, _ in placed)
    assert {p.stratum for _, p in placed} <= set(STRATA)
    assert all(p.window.n == 512 for _, p in placed)


def test_a_folder_without_packets_has_no_sky(tmp_path: Path, bundle: Bundle) -> None:
    session, _ = choose(bundle.encoder, "onnxruntime")
    assert real_sky(tmp_path, bundle, session=session, scenarios=()) is None
    assert real_sky(tmp_path / "none", bundle, session=session, scenarios=()) is None


def test_a_field_of_one_packet_is_not_sixty_alerts() -> None:
    """Pointings of real fields: a packet comes as often as the others of its night, whatever else its field has."""
    group = np.concatenate([np.arange(40), np.repeat([40, 41], 60)])
    n = len(group)
    zeros = np.zeros(n)
    context = np.zeros((n, len(CONTEXT)), np.float32)
    stable = Scored(np.zeros((n, len(STATISTICS)), np.float32), context, zeros.astype(int), zeros.astype(int), zeros, zeros)
    rows, night = drawn_sky(Pool({STABLE: stable}), group).sky.draw(60_000, np.random.default_rng(4))
    assert night.max() >= 15
    for k in range(10):
        counts = np.bincount(rows[night == k], minlength=n)
        there = counts[counts > 0]
        assert len(np.unique(group[np.flatnonzero(counts)])) <= 10
        assert there.max() < 6 * np.median(there), "no packet is most of a night"
