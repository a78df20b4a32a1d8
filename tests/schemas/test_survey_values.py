"""Times, errors, sentinels and counts of every survey: what a packet's numbers mean, and what is missing."""

from __future__ import annotations

import math
import tracemalloc
from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from operators.kernels.order import stable_order
from operators.types import CONTEXT, MAX_POINTS, AlertBatch
from schemas.avro.container import encode_ztf
from schemas.avro.schema_store import SchemaStore
from schemas.surveys import frame_alerts, lsst, tess, ztf
from schemas.surveys.decode import Decoder
from schemas.surveys.ranges import SENTINELS, bounds
from schemas.surveys.times import JD_OF_MJD, SCALES, TIME_RANGES, to_mjd
from tests.schemas.made import frames_record, tess_record, ztf_record
from tests.schemas.test_units import rubin

NAN = math.nan
DECODER = Decoder()
SOURCE = {"diaSourceId": 11, "midpointMjdTai": 61000.5, "ra": 10.0, "dec": -30.0, "psfFlux": 5000.0, "psfFluxErr": 250.0, "band": "r"}
FORCED = {"diaForcedSourceId": 1, "diaObjectId": 22, "ra": 10.0, "dec": -30.0, "visit": 1, "detector": 1, "timeProcessedMjdTai": 0.0,
          "psfFlux": 900.0, "psfFluxErr": 100.0, "band": "r"}  # fmt: skip


def _earlier() -> dict[str, Any]:
    """The least diaSource of Rubin 9.0, with a flux."""
    fields = {field["name"]: field["type"] for field in SchemaStore().get(900)["fields"]}
    plain = {"string": "r", "boolean": False}
    kinds = {field["name"]: field["type"] for field in fields["diaSource"]["fields"]}
    least = {name: None if isinstance(kind, list) else plain.get(kind, 0) for name, kind in kinds.items()}
    return least | {"diaSourceId": 1, "ra": 10.0, "dec": -30.0, "psfFlux": 900.0, "psfFluxErr": 60.0, "band": "r"}


POINT = _earlier()


def read(packet: bytes) -> AlertBatch:
    decoded = DECODER.decode([packet])
    assert not decoded.rejected, decoded.rejected[0][1].reason
    return decoded.batch


def reason(packet: bytes) -> str:
    [(_, error)] = DECODER.decode([packet]).rejected
    assert error.error_class == "bad_value"
    return error.reason


def ztf_with(**changes: Any) -> dict[str, Any]:
    record = ztf_record()
    record["candidate"] |= changes
    return record


def tess_with(times: Any, flux: Any = None, error: float = 10.0, **changes: Any) -> bytes:
    times = np.asarray(times, float)
    flux = np.full(len(times), 15000.0) if flux is None else flux
    rows = [{"btjd": float(t), "flux": float(f), "flux_err": error, "quality": 0} for t, f in zip(times, flux, strict=True)]
    return tess.encode(tess_record() | {"light_curve": rows} | changes)


def frames_with(**changes: Any) -> bytes:
    return frame_alerts.encode(frames_record() | changes)


def context_of(batch: AlertBatch) -> dict[str, float]:
    return dict(zip(CONTEXT, batch.context[0].tolist(), strict=True))


# --- times


@pytest.mark.parametrize("survey", sorted(TIME_RANGES))
def test_no_number_can_be_read_on_two_scales(survey: str) -> None:
    table = TIME_RANGES[survey].table()  # type: ignore[index]
    assert len(table) == len(TIME_RANGES[survey].scales)  # type: ignore[index]
    order = np.argsort(table[:, 0])
    assert (table[order][1:, 0] > table[order][:-1, 1]).all()


@settings(deadline=None)
@given(st.floats(allow_nan=True, allow_infinity=True), st.sampled_from(sorted(TIME_RANGES)))
def test_a_time_is_within_its_range_or_none(value: float, survey: Any) -> None:
    span = TIME_RANGES[survey]
    mjd = to_mjd(value, span.table())
    assert math.isnan(mjd) or span.low - 1e-6 <= mjd <= span.high + 1e-6
    if math.isnan(mjd):
        assert "the time" in span.fault("jd", value)


def test_rubins_julian_dates_are_converted_and_milliseconds_refused() -> None:
    before = [POINT | {"midpointMjdTai": 60990.0 + k} for k in range(5)]
    expected = read(rubin(900, SOURCE, prvDiaSources=before))
    moved = [p | {"midpointMjdTai": p["midpointMjdTai"] + JD_OF_MJD} for p in before]
    batch = read(rubin(900, SOURCE | {"midpointMjdTai": 61000.5 + JD_OF_MJD}, prvDiaSources=moved))
    assert batch.mjd[0] == expected.mjd[0]
    np.testing.assert_array_equal(batch.time, expected.time)
    assert batch.n_detected[0] == 6
    milliseconds = (61000.5 - 40587) * 86400e3
    assert "milliseconds since 1970" in reason(rubin(900, SOURCE | {"midpointMjdTai": milliseconds}))
    for odd in (0.0, -1.0, 12345.0, 1e6, 1e30, NAN):
        assert "the time" in reason(rubin(900, SOURCE | {"midpointMjdTai": odd}))


def test_ztfs_jd_given_as_mjd_is_converted() -> None:
    record = ztf_record()
    expected = read(encode_ztf(record))
    for row in (record["candidate"], *record["prv_candidates"], *record["fp_hists"]):
        row["jd"] -= JD_OF_MJD
    record["candidate"]["jdstarthist"] -= JD_OF_MJD
    batch = read(encode_ztf(record))
    for name in ("mjd", "first_detection", "time"):
        np.testing.assert_allclose(getattr(batch, name), getattr(expected, name), rtol=0, atol=1e-9)
    seconds = (60000.0 - 40587) * 86400
    assert "seconds since 1970" in reason(encode_ztf(ztf_with(jd=seconds)))


@pytest.mark.parametrize("scale", ["JD", "MJD"])
def test_tess_times_on_other_scales(scale: str) -> None:
    times = np.array([2000.0, 2001.0, 2002.0, 2004.0])
    flux = [15000.0, 15000.0, 15000.0, 15100.0]
    expected = read(tess_with(times, flux))
    per_day, zero = SCALES[scale]
    moved = (times / SCALES["BTJD"][0] + SCALES["BTJD"][1] - zero) * per_day
    batch = read(tess_with(moved, flux))
    np.testing.assert_allclose(batch.time, expected.time, rtol=0, atol=1e-8)
    assert "the time" in reason(tess_with(times * 86400e3))
    assert "the time" in reason(tess_with([]))


def test_points_at_impossible_times_are_left_out_and_counted() -> None:
    record = ztf_record()
    record["prv_candidates"][0]["jd"] = 0.0
    record["fp_hists"][0]["jd"] = 1e12
    batch = read(encode_ztf(record))
    assert (batch.n_dropped[0], batch.valid[0].sum()) == (2, 3)
    odd = [POINT | {"midpointMjdTai": t} for t in (60999.0, 1.0, -5.0, 3e9 * 1e3)]
    batch = read(rubin(900, SOURCE, prvDiaSources=odd))
    assert (batch.n_dropped[0], batch.n_detected[0]) == (3, 2)
    batch = read(tess_with([2000.0, 2001.0, 1e9, NAN]))
    assert (batch.n_dropped[0], batch.valid[0].sum()) == (2, 2)


@pytest.mark.parametrize(("exposure", "half"), [(30.0, 15.0), (60.0, 30.0), (300.0, 150.0), (None, 15.0), (0.0, 15.0), (-999.0, 15.0)])
def test_ztfs_times_are_mid_exposure(exposure: float | None, half: float) -> None:
    before = {"pid": 1, "programid": 1, "rbversion": "", "fid": 1, "isdiffpos": "t", "magpsf": 19.0, "sigmapsf": 0.1}
    record = ztf_with(exptime=exposure)
    # the row of the same exposure, which states no duration, stays a duplicate of the alert's own
    record["prv_candidates"] = [before | {"jd": 2459990.5}, before | {"jd": record["candidate"]["jd"]}]
    record["fp_hists"] = None
    batch = read(encode_ztf(record))
    assert (batch.mjd[0] - 60000.0) * 86400 - 37 == pytest.approx(half, abs=1e-3)
    assert batch.n_detected[0] == batch.valid[0].sum() == 2
    assert (batch.time[0, 0] - 59990.0) * 86400 - 37 == pytest.approx(15.0, abs=1e-3)
    assert batch.time[0, 1] == batch.mjd[0]
    assert context_of(batch)["history"] == pytest.approx(10.0)


def test_leap_seconds_go_by_date() -> None:
    # 2016-12-31 had one: 36 s before, 37 s after
    for mjd, offset in ((57753.0, 36.0), (57755.0, 37.0)):
        batch = read(encode_ztf(ztf_with(jd=mjd + JD_OF_MJD, exptime=30.0)))
        assert (batch.mjd[0] - mjd) * 86400 - 15 == pytest.approx(offset, abs=1e-3)


# --- errors


@pytest.mark.parametrize("error", [None, NAN, 0.0, -1.0, -999.0, math.inf, 1e-20, 1e-38])
def test_an_error_that_is_none_is_missing_in_every_survey(error: float | None) -> None:
    own = read(rubin(900, SOURCE | {"psfFluxErr": error, "snr": 9.0}))
    assert np.isnan(own.own_err[0])
    assert not own.valid[0].any()  # no point of the light curve
    assert own.n_detected[0] == 1  # but the alert is a detection
    history = {"prvDiaSources": [POINT | {"midpointMjdTai": 60990.0, "psfFluxErr": error}],
               "prvDiaForcedSources": [FORCED | {"midpointMjdTai": 60991.0, "psfFluxErr": error}]}  # fmt: skip
    assert read(rubin(900, SOURCE, **history)).valid[0].sum() == 1
    if error is not None:
        record = ztf_with(sigmapsf=error)
        record["prv_candidates"][0]["sigmapsf"] = error
        record["fp_hists"][0]["forcediffimfluxunc"] = error
        batch = read(encode_ztf(record))
        assert np.isnan(batch.own_err[0])
        assert np.isnan(batch.flux[0, : batch.valid[0].sum()]).all()  # only limits are left
        batch = read(tess_with([2000.0, 2001.0], [15000.0, 16000.0], error))
        assert np.isnan(batch.own_err[0])
        assert not batch.valid[0].any()
        if math.isnan(error) or error < 1e-6:
            batch = read(frames_with(flux_err=error, history=[{"mjd": 60990.0, "filter": "r", "flux": 9.0, "flux_err": error}]))
            assert np.isnan(batch.own_err[0])
            assert not batch.valid[0].any()
            assert batch.n_detected[0] == 1


def test_errors_are_the_packets_own() -> None:
    for flux, error, snr in ((3560.0, 72.0, 9.0), (-3560.0, 72.0, None), (0.0, 72.0, 0.0)):
        batch = read(rubin(900, SOURCE | {"psfFlux": flux, "psfFluxErr": error, "snr": snr}))
        assert batch.own_err[0] == pytest.approx(0.072)
        assert context_of(batch)["signal_to_noise"] == pytest.approx(abs(flux) / error if snr is None else snr)
    assert read(encode_ztf(ztf_with(magpsf=18.9, sigmapsf=0.2))).own_err[0] == pytest.approx(100 * 0.2 * math.log(10) / 2.5)
    assert read(tess_with([2000.0, 2001.0], error=12.0)).own_err[0] == pytest.approx(12.0 * tess.MICROJANSKY)


# --- sentinels

SCORES = {
    "ztf": {"rb": "real_bogus", "sgscore1": "star_galaxy", "distpsnr1": "source_distance", "srmag1": "source_flux",
            "distnr": "reference_distance", "magnr": "reference_flux", "ssdistnr": "solar_system_distance", "ndethist": "n_detections",
            "ncovhist": "n_visits", "fwhm": "fwhm", "elong": "elongation"},
    "lsst": {"reliability": "real_bogus", "extendedness": "star_galaxy", "templateFlux": "reference_flux"},
    "frames": {name: name for name in ("reference_distance", "reference_flux", "n_detections", "n_visits", "fwhm", "elongation")},
}  # fmt: skip


@pytest.mark.parametrize("mark", [*SENTINELS, NAN, math.inf, -math.inf, 1e13, -2.5])
@pytest.mark.parametrize(("survey", "field"), [(survey, field) for survey, fields in SCORES.items() for field in fields])
def test_no_sentinel_reaches_subscriber_or_network(survey: str, field: str, mark: float) -> None:
    column = SCORES[survey][field]
    if field == "templateFlux" and mark == -2.5:
        return  # a flux may be negative
    if survey == "frames":
        if field in ("n_detections", "n_visits") and not abs(mark) < 2**31:
            return
        batch = read(frames_with(**{field: int(mark) if field in ("n_detections", "n_visits") else mark}))
    elif survey == "ztf":
        if field in ("ndethist", "ncovhist") and not abs(mark) < 2**31:
            return  # an int holds no such value
        value = int(mark) if field in ("ndethist", "ncovhist") else mark
        batch = read(encode_ztf(ztf_with(**{"drb": None, field: value})))
    else:
        batch = read(rubin(900, SOURCE | {field: mark}))
    assert math.isnan(context_of(batch)[column])


def test_good_values_at_the_ends_of_their_ranges_pass() -> None:
    for drb in (0.0, 1e-6, 1.0):
        assert context_of(read(encode_ztf(ztf_with(drb=drb))))["real_bogus"] == np.float32(drb)
    assert context_of(read(encode_ztf(ztf_with(drb=2.0, rb=0.25))))["real_bogus"] == 0.25  # the deep score is none: the other one counts
    assert context_of(read(rubin(900, SOURCE | {"extendedness": 1.0, "templateFlux": -12.0})))["star_galaxy"] == 0.0
    assert context_of(read(encode_ztf(ztf_with(ssdistnr=2.0, ssmagnr=-999.0))))["solar_system_distance"] == 2.0
    assert math.isnan(context_of(read(encode_ztf(ztf_with(ssdistnr=2.0, ssmagnr=0.0))))["solar_system_flux"])
    assert math.isnan(context_of(read(tess_with([2000.0], tmag=-999.0)))["source_flux"])


@pytest.mark.parametrize("module", [ztf, lsst, tess, frame_alerts])
def test_every_number_that_is_read_has_a_range_or_is_not_a_measurement(module: Any) -> None:
    scalars, columns = bounds(module.WANT, module.VALID)
    names = [path.rpartition(".")[2] for path, kind in module.WANT.scalars.items() if kind == "number"]
    names += [field for fields in module.WANT.arrays.values() for field, kind in fields.items() if kind == "number"]
    times = {"jd", "jdstarthist", "midpointMjdTai", "midPointTai", "firstDiaSourceMjdTai", "btjd", "mjd", "first_detection"}
    places = {"ra", "dec", "decl"}
    labels = {"fid", "programid", "quality", "public", "detected"}
    assert {name for name in names if name not in module.VALID} <= times | places | labels
    assert len(scalars) + len(columns) > len(module.VALID)
    with pytest.raises(KeyError, match="no_such_field"):
        bounds(module.WANT, {"no_such_field": (0.0, 1.0)})


# --- counts


@pytest.mark.parametrize("n", [1, MAX_POINTS, MAX_POINTS + 1, 1001])
def test_detections_are_counted_beyond_the_window(n: int) -> None:
    before = {"pid": 1, "programid": 1, "rbversion": "", "isdiffpos": "t", "magpsf": 19.0, "sigmapsf": 0.1}
    record = ztf_with()
    rows = [before | {"jd": 2460000.5 - 0.5 * (k + 1), "fid": 1 + k % 2} for k in range(n - 1)]
    record["prv_candidates"] = rows + [before | {"jd": 2459000.5 + k, "fid": 1, "magpsf": None, "diffmaglim": 20.0} for k in range(7)]
    record["prv_candidates"] += rows[::3]  # some packets repeat their history
    record["fp_hists"] = None
    batch = read(encode_ztf(record))
    assert batch.n_detected[0] == n
    assert (batch.detected & batch.valid).sum() == min(n, MAX_POINTS)
    history = [{"mjd": 61000.25 - 0.25 * (k + 1), "filter": "gr"[k % 2], "flux": 50.0, "flux_err": 1.0} for k in range(n - 1)]
    assert read(frames_with(history=history[::-1])).n_detected[0] == n
    history = [POINT | {"midpointMjdTai": 61000.5 - 0.25 * (k + 1)} for k in range(n - 1)]
    assert read(rubin(900, SOURCE, prvDiaSources=history)).n_detected[0] == n


def test_forced_points_count_where_they_show_the_source() -> None:
    rows = [FORCED | {"midpointMjdTai": 60000.5 + k, "psfFlux": 501.0 if k % 2 else 499.0} for k in range(400)]
    assert read(rubin(900, SOURCE, prvDiaForcedSources=rows)).n_detected[0] == 201
    assert read(tess_with(2000.0 + np.arange(500) / 72, np.where(np.arange(500) % 5, 15000.0, 16000.0))).n_detected[0] == 100


@settings(deadline=None)
@given(st.lists(st.integers(0, 40), max_size=80))
def test_any_order_of_times_is_sorted_stably(times: list[int]) -> None:
    values = np.array(times, float)
    np.testing.assert_array_equal(stable_order(values, len(values)), np.argsort(values, kind="stable"))


def test_long_runs_in_both_directions_are_sorted() -> None:
    rng = np.random.default_rng(3)
    for parts in (1, 2, 5, 15, 40):
        runs = [np.sort(rng.integers(0, 500, rng.integers(1, 200)))[:: rng.choice([-1, 1])] for _ in range(parts)]
        values = np.concatenate(runs).astype(float)
        np.testing.assert_array_equal(stable_order(values, len(values)), np.argsort(values, kind="stable"))


# --- TESS at 20 s


def fast(rows: int, seed: int = 1, period: float = 0.4) -> tuple[np.ndarray, np.ndarray]:
    rng = np.random.default_rng(seed)
    time = 2000.0 + np.arange(rows) * 20.0 / 86400
    return time, 15000 + 80 * np.sin(2 * np.pi * time / period) + rng.normal(0, 10, rows)


def test_fast_cadences_are_averaged_to_two_minutes() -> None:
    time, flux = fast(6000)
    batch = read(tess_with(time, flux, 10.0))
    slow = [part.reshape(-1, 6).mean(axis=1) for part in (time, flux)]
    expected = read(tess_with(*slow, 10.0 / math.sqrt(6)))
    np.testing.assert_allclose(batch.time, expected.time, rtol=0, atol=1e-8)
    np.testing.assert_allclose(batch.flux, expected.flux, rtol=1e-4, atol=1e-2)
    np.testing.assert_allclose(batch.flux_err, expected.flux_err, rtol=1e-5)
    assert batch.n_detected[0] == expected.n_detected[0]
    assert batch.own_err[0] == pytest.approx(expected.own_err[0], rel=1e-5)
    assert batch.mjd[0] == pytest.approx(expected.mjd[0] + 50.0 / 86400, abs=1e-8)  # the alert is at its last cadence


def test_flagged_cadences_and_gaps_leave_the_rest_of_a_bin() -> None:
    time, flux = fast(120)
    rows = [{"btjd": t, "flux": f, "flux_err": 10.0, "quality": int(k % 6 == 2)} for k, (t, f) in enumerate(zip(time, flux, strict=True))]
    del rows[30:36]
    batch = read(tess.encode(tess_record() | {"light_curve": rows}))
    assert batch.valid[0].sum() == 19
    np.testing.assert_allclose(batch.flux_err[0, :19], 10 * tess.MICROJANSKY / math.sqrt(5), rtol=1e-5)


def test_two_minutes_and_slower_stay_as_they_are() -> None:
    for step in (120.0, 200.0, 1800.0):
        time = 2000.0 + np.arange(100) * step / 86400
        assert read(tess_with(time)).valid[0].sum() == 100
    twice = np.repeat(2000.0 + np.arange(60) / 720, 2)  # each cadence stands twice
    assert read(tess_with(twice)).valid[0].sum() == 60


def test_a_sector_at_twenty_seconds_is_read_in_bounded_memory() -> None:
    packet = tess_with(*fast(118_368), baseline=None)
    decoder = Decoder()
    decoder.decode([packet])
    tracemalloc.start()
    assert decoder.decode([packet]).batch.valid[0].all()
    peak = tracemalloc.get_traced_memory()[1]
    tracemalloc.stop()
    assert peak < 64e6
