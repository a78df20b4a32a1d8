"""The folded view: right periods, the same power as an oracle's, nothing where nothing is folded."""

from __future__ import annotations

import dataclasses
from pathlib import Path

import numpy as np
import pytest

from data.tables import read, read_labels
from operators.fold import FASTEST, FOLD, LEAST_POINTS, LEAST_SPAN, Magnitudes, fold, gate, magnitudes, period, periodogram, view
from operators.types import CONTEXT, AlertBatch
from tests.namespaces import Namespace
from tests.operators import fold_oracle
from tests.operators.batches import random_batch, to_numpy

REFERENCE = 5000.0
STARS = {"RR Lyrae ab", "RR Lyrae c", "Alpha2 CVn", "Delta Scuti", "Mira", "Beta Cephei", "Eclipsing detached", "Eclipsing contact",
         "Eclipsing semi-detached", "Eclipsing (unspecified)"}  # fmt: skip


def star(shape: str, frequency: float, rng: np.random.Generator, points: int = 300, noise: float = 0.03) -> tuple[np.ndarray, np.ndarray]:
    """Times [d] of one point a night and magnitudes of a shape."""
    nights = np.sort(rng.choice(2400, points, replace=False)) + rng.normal(0, 0.06, points)
    x = (nights * frequency + rng.random()) % 1
    m = {
        "sine": 0.3 * np.cos(2 * np.pi * x),
        "RRab": np.where(x < 0.15, 0.5 - x / 0.15, -0.5 + (x - 0.15) / 0.85),
        "EA": 0.8 * np.exp(-(((x - 0.5) / 0.05) ** 4)) + 0.4 * np.exp(-((np.minimum(x, 1 - x) / 0.05) ** 4)),
        "EW": -0.25 * np.cos(4 * np.pi * x) + 0.05 * np.cos(2 * np.pi * x),
    }[shape]
    return nights, m + noise * rng.standard_normal(points)


def batch_of(curves: list[tuple[np.ndarray, np.ndarray]], reference: bool = True) -> AlertBatch:
    """Difference fluxes of stars over the flux of a reference image; without it, the whole light."""
    n, width = len(curves), max(len(t) for t, _ in curves)
    base = random_batch(n)
    f32 = np.float32
    time, flux = np.full((n, width), np.nan), np.full((n, width), np.nan)
    for i, (t, m) in enumerate(curves):
        time[i, : len(t)], flux[i, : len(t)] = 58000 + t, REFERENCE * 10 ** (-0.4 * m)
    valid = np.isfinite(time)
    context = np.full((n, len(CONTEXT)), np.nan, dtype=f32)
    error = 0.03 * flux
    if reference:
        context[:, CONTEXT.index("reference_flux")], context[:, CONTEXT.index("reference_distance")] = REFERENCE, 0.2
        flux = flux - REFERENCE
    return dataclasses.replace(
        base,
        time=time,
        flux=flux.astype(f32),
        flux_err=error.astype(f32),
        wavelength=np.where(valid, 5500.0, np.nan).astype(f32),
        limit=np.full((n, width), np.nan, dtype=f32),
        detected=valid & (np.abs(flux) > 5 * error),
        valid=valid,
        context=context,
        mjd=np.nanmax(time, axis=1),
    )


def near(found: float, true: float) -> bool:
    """Within 0.1 %, at the period itself or at the half or double that a symmetric shape allows."""
    return any(abs(found / (true * factor) - 1) < 1e-3 for factor in (1.0, 2.0, 0.5))


@pytest.mark.parametrize(("shape", "low", "high", "share"), [("RRab", 1.2, 2.6, 0.9), ("EA", 0.1, 0.9, 0.8), ("EW", 1.2, 4.5, 0.9)])
def test_periods_are_found(shape: str, low: float, high: float, share: float) -> None:
    rng = np.random.default_rng(3)
    frequencies = rng.uniform(low, high, 30)
    frequencies = frequencies[np.abs(frequencies * 2 - np.round(frequencies * 2)) > 0.02]
    stars = [magnitudes(batch_of([star(shape, f, rng)]), 0) for f in frequencies]
    found = [near(period(s)[0], f) for s, f in zip(stars, frequencies, strict=True) if s is not None]
    assert len(found) == len(frequencies)
    assert np.mean(found) >= share


def test_power_is_that_of_astropy() -> None:
    timeseries = pytest.importorskip("astropy.timeseries", reason="no astropy here")
    rng = np.random.default_rng(4)
    t, m = star("RRab", 1.7, rng)
    w = rng.uniform(0.5, 2, len(t))
    t = t - t.min()
    s = Magnitudes(t, m - np.average(m, weights=w), w / w.mean(), 0.03, False)
    frequency, power = periodogram(s)
    assert frequency[-1] == pytest.approx(FASTEST, rel=1e-3)
    oracle = timeseries.LombScargle(s.t, s.m, 1 / np.sqrt(s.w), fit_mean=False, center_data=False)
    pick = np.unique(rng.integers(1, len(frequency), 3000))
    np.testing.assert_allclose(power[pick], oracle.power(frequency[pick], method="cython"), atol=1e-4)


def test_every_namespace_agrees(moved) -> None:
    rng = np.random.default_rng(5)
    batch = batch_of([star("RRab", 1.73, rng), star("EW", 2.7, rng), star("sine", 0.31, rng, points=25)])
    out = fold(batch)
    assert out.shape == (3, len(FOLD))
    assert out.dtype == np.float32
    np.testing.assert_array_equal(out[:, -1], [1, 1, 0])
    np.testing.assert_allclose(to_numpy(fold(moved(batch))), out, atol=1e-6)


@pytest.mark.parametrize("stars", [1, 6])
def test_a_batch_is_fetched_once_and_not_a_star(strict: Namespace, stars: int) -> None:
    """Two transfers, of the gate and of the points, however many alerts pass it; one where none does."""
    rng = np.random.default_rng(6)
    fold(strict.batch(batch_of([star("RRab", 1.7, rng) for _ in range(stars)])))
    assert len(strict.fetched) == 2
    del strict.fetched[:]
    fold(strict.batch(random_batch(9)))
    assert strict.fetched == [9]


def test_ordinary_packets_are_not_folded() -> None:
    batch = random_batch(50, points=160)
    assert not to_numpy(gate(batch)).any()
    assert not fold(batch).any()


def test_the_gate_asks_for_points_and_time() -> None:
    rng = np.random.default_rng(6)
    t, m = star("sine", 0.31, rng, points=LEAST_POINTS)
    for curve, passes in (((t, m), True), ((t[1:], m[1:]), False), ((t / np.ptp(t) * (LEAST_SPAN - 1), m), False)):
        for reference in (True, False):
            assert gate(batch_of([curve], reference))[0] == passes


def test_difference_and_total_flux_fold_alike() -> None:
    rng = np.random.default_rng(7)
    curves = [star(shape, f, rng) for shape, f in (("RRab", 1.73), ("EA", 0.41), ("sine", 0.013))]
    np.testing.assert_allclose(fold(batch_of(curves)), fold(batch_of(curves, reference=False)), atol=0.02)


def test_without_a_total_flux_only_the_amplitude_is_unknown() -> None:
    rng = np.random.default_rng(8)
    batch = batch_of([star("RRab", 1.73, rng)])
    unknown = dataclasses.replace(batch, context=np.full_like(batch.context, np.nan), detected=batch.valid)
    a, b = fold(batch)[0], fold(unknown)[0]
    at = {name: k for k, name in enumerate(FOLD)}
    assert (a[at["reference"]], a[at["scaled by range"]], b[at["reference"]], b[at["scaled by range"]]) == (1, 0, 0, 1)
    assert a[at["log P"]] == pytest.approx(b[at["log P"]], abs=1e-3)
    assert b[at["log amplitude"]] == 0 != a[at["log amplitude"]]


def test_nothing_after_the_packet_is_used() -> None:
    """The view of a curve's first half is that of a packet which holds only that."""
    rng = np.random.default_rng(9)
    t, m = star("RRab", 1.73, rng)
    half = batch_of([(t[:150], m[:150])])
    long = batch_of([(t, m)])
    cut = dataclasses.replace(long, valid=long.valid & (np.arange(300) < 150), detected=long.detected & (np.arange(300) < 150))
    np.testing.assert_allclose(fold(cut), fold(half), atol=1e-6)


@pytest.mark.parametrize("rubbish", ["constant", "huge", "tiny", "negative", "one time", "infinite", "no errors", "mostly limits"])
def test_rubbish_gives_finite_numbers(rubbish: str) -> None:
    rng = np.random.default_rng(10)
    batch = batch_of([star("RRab", 1.73, rng)])
    flux, error, time = batch.flux.copy(), batch.flux_err.copy(), batch.time.copy()
    if rubbish == "constant":
        flux[:] = 0
    elif rubbish == "huge":
        flux *= np.float32(1e30)
    elif rubbish == "tiny":
        flux *= np.float32(1e-30)
        error *= np.float32(1e-30)
    elif rubbish == "negative":
        flux[:] = -2 * REFERENCE
    elif rubbish == "one time":
        time[:, :-1] = time[:, :1]
    elif rubbish == "infinite":
        flux[:, ::3] = np.inf
        time[:, 1::7] = np.nan
    elif rubbish == "no errors":
        error[:, ::2] = 0
    else:
        flux[:, 20:] = np.nan
    out = fold(dataclasses.replace(batch, flux=flux, flux_err=error, time=time, detected=batch.valid))
    assert np.isfinite(out).all()
    assert np.abs(out).max() <= 3
    assert out[0, -1] or not out.any()


def held_to_the_oracle(batch: AlertBatch) -> int:
    """Compare every star of a batch that is folded with the search as it was written first; their number.

    Bounds: magnitudes 1e-9, power 2e-4 (both approximate the sums by spreading; the oracle's own error is 1e-4), frequency 1e-9 of itself,
    channels 1e-3.
    """
    stars = 0
    for i in np.flatnonzero(to_numpy(gate(batch))):
        star, expected = magnitudes(batch, int(i)), fold_oracle.magnitudes(batch, int(i))
        assert (star is None) == (expected is None)
        if star is None or expected is None:
            continue
        stars += 1
        for name in ("t", "m", "w", "error"):
            np.testing.assert_allclose(getattr(star, name), getattr(expected, name), atol=1e-9)
        assert star.scaled == expected.scaled
        (f, power), (f0, power0) = periodogram(star), fold_oracle.periodogram(expected)
        np.testing.assert_allclose(f, f0, rtol=1e-12)
        np.testing.assert_allclose(power, power0, atol=2e-4)
        found, right = period(star), fold_oracle.period(expected)
        assert found[0] == pytest.approx(right[0], rel=1e-9)
        assert found[1:] == pytest.approx(right[1:], abs=2e-4)
        np.testing.assert_allclose(view(star), fold_oracle.view(expected), atol=1e-3)
    return stars


@pytest.mark.parametrize("reference", [True, False])
@pytest.mark.parametrize("noise", [0.01, 0.3])
def test_the_search_is_the_oracles_on_simulated_stars(reference: bool, noise: float) -> None:
    rng = np.random.default_rng(12)
    kinds = [("RRab", 1.9), ("EA", 0.37), ("EW", 3.1), ("sine", 0.021)]
    curves = [star(shape, f * rng.uniform(0.9, 1.1), rng, points, noise) for shape, f in kinds for points in (45, 160)]
    assert held_to_the_oracle(batch_of(curves, reference)) == len(curves)


@pytest.mark.usefixtures("shared")
def test_the_search_is_the_oracles_on_real_variable_stars(shared: Path) -> None:
    tables = shared / "tables"
    stars = [name for name, label in sorted(read_labels(tables / "labels.csv").items()) if label in STARS]
    curves = read(tables / "lightcurves.parquet", stars[:: max(len(stars) // 60, 1)])
    assert held_to_the_oracle(curves.difference().batch()) >= 20
