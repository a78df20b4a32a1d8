"""One packet per survey, worked out by hand."""

from __future__ import annotations

import io
import json
import math

import fastavro
import numpy as np
import pytest

from operators.types import CONTEXT, MAX_POINTS, MEASURED
from schemas.avro.container import Container, encode_rubin, encode_ztf, make_cutout, make_fits
from schemas.avro.schema_store import SchemaStore
from schemas.avro.wire import PacketError
from schemas.surveys import frame_alerts, tess
from schemas.surveys.decode import Decoder
from tests.schemas.made import frames_record, tess_record, ztf_record

TAI, HALF = 37 / 86400, 15 / 86400


def context_of(batch: object) -> dict[str, float]:
    return dict(zip(CONTEXT, batch.context[0].tolist(), strict=True))  # type: ignore[attr-defined]


def test_a_ztf_packet_by_hand() -> None:
    b = Decoder().decode([encode_ztf(ztf_record())]).batch
    assert (b.survey, b.candid, b.object_id, b.programid, b.band) == (("ztf",), (99,), ("ZTF18abcdefg",), (1,), ("g",))
    assert b.mjd[0] == pytest.approx(60000.0 + TAI + HALF, abs=1e-9)  # jd is the start of 30 s
    n = 4
    assert b.valid[0].tolist() == [True] * n + [False] * (MAX_POINTS - n)
    # 59992: a limit and a forced point of one exposure, the measurement stays; 59993: forced photometry failed, its limit stays
    np.testing.assert_allclose(b.time[0, :n], np.array([59992.0, 59993.0, 59998.0, 60000.0]) + TAI + HALF, rtol=0, atol=1e-9)
    np.testing.assert_allclose(b.wavelength[0, :n], [4746.5, 4746.5, 6366.4, 4746.5])
    # magnitude 23.9 is 1 µJy; 18.9 is 100, faded; 21.4 is 10; zero point 26.4 makes 1 DN 0.1 µJy
    np.testing.assert_allclose(b.flux[0, :n], [5.0, np.nan, 10.0, -100.0], rtol=1e-6)
    ln = math.log(10) / 2.5
    np.testing.assert_allclose(b.flux_err[0, :n], [2.0, np.nan, 10 * 0.2 * ln, 100 * 0.1 * ln], rtol=1e-6)
    np.testing.assert_allclose(b.limit[0, :n], [np.nan, 10.0, np.nan, np.nan], rtol=1e-6)
    assert b.detected[0, :n].tolist() == [False, False, True, True]
    assert b.first_detection[0] == pytest.approx(59990.0 + TAI + HALF, abs=1e-9)
    assert b.truncated[0]  # the packet begins two days later
    row = context_of(b)
    expected = {
        "real_bogus": 0.75, "star_galaxy": 0.25, "source_distance": 1.5, "source_flux": 10.0, "reference_distance": 0.505,
        "reference_flux": 1000.0, "positive": 0.0, "n_detections": 4.0, "n_visits": 50.0, "history": 10.0, "fwhm": 2.02,
        "elongation": 1.25, "flux": -100.0, "signal_to_noise": 1 / (0.1 * ln),
    }  # fmt: skip
    for name, value in expected.items():
        assert row[name] == pytest.approx(value, rel=1e-5), name
    assert all(math.isnan(row[name]) for name in ("solar_system_distance", "solar_system_flux", "redshift"))
    assert b.own_err[0] == pytest.approx(100 * 0.1 * ln)
    assert (b.n_detected[0], b.n_dropped[0]) == (2, 0)
    assert np.isnan(b.pixel_scale[0])
    assert np.isnan(b.stamps).all()


def test_ztfs_stamps_keep_their_place() -> None:
    image = np.arange(63 * 40, dtype=np.float32).reshape(63, 40)
    image[5, 5] = np.nan
    for xpos, start in ((10.0, 23), (3060.0, 0)):  # the quadrant's left edge cut it, or its right edge
        record = ztf_record()
        record["candidate"] |= {"xpos": xpos, "ypos": 1000.0}
        record["cutoutDifference"] = {"fileName": "d", "stampData": make_cutout(image)}
        b = Decoder().decode([encode_ztf(record)]).batch
        np.testing.assert_array_equal(b.stamps[0, 2, :, start : start + 40], image)
        assert np.isfinite(b.stamps[0, 2]).sum() == image.size - 1
        assert np.isnan(b.stamps[0, :2]).all()
        assert b.pixel_scale[0] == np.float32(1.01)


def rubin(schema_id: int, source: dict[str, object], **alert: object) -> bytes:
    schema = SchemaStore().get(schema_id)

    def least(kind: object) -> object:
        if isinstance(kind, list):
            return None
        if isinstance(kind, dict) and kind["type"] == "record":
            return {f["name"]: least(f["type"]) for f in kind["fields"]}
        return {"string": "r", "bytes": b"", "boolean": False}.get(str(kind if isinstance(kind, str) else kind["type"]), 0)

    record: dict[str, object] = least(schema)  # type: ignore[assignment]
    record["diaSource"] |= source  # type: ignore[operator]
    return encode_rubin(record | alert, schema_id, SchemaStore())


def test_a_rubin_packet_by_hand() -> None:
    source = {"diaSourceId": 11, "diaObjectId": 22, "midpointMjdTai": 61000.5, "ra": 10.0, "dec": -30.0, "psfFlux": -5000.0,
              "psfFluxErr": 250.0, "snr": 20.0, "reliability": 0.5, "extendedness": 0.75, "band": "z", "templateFlux": 3000.0,
              "ixx": 0.09, "iyy": 0.09, "ixy": 0.0}  # fmt: skip
    forced = {"diaForcedSourceId": 1, "diaObjectId": 22, "ra": 10.0, "dec": -30.0, "visit": 1, "detector": 1, "timeProcessedMjdTai": 0.0}
    before = [
        {**forced, "midpointMjdTai": 60990.0 + i, "psfFlux": flux, "psfFluxErr": 100.0, "band": "y"}
        for i, flux in enumerate([499.0, 501.0])
    ]
    packet = rubin(900, source, prvDiaForcedSources=before, cutoutScience=make_fits(np.full((30, 30), 7.0), 0.2))
    b = Decoder().decode([packet]).batch
    assert (b.survey, b.candid, b.object_id, b.band) == (("lsst",), (11,), ("22",), ("z",))
    assert b.mjd[0] == 61000.5
    np.testing.assert_allclose(b.time[0, :3], [60990.0, 60991.0, 61000.5])
    np.testing.assert_allclose(b.flux[0, :3], [0.499, 0.501, -5.0], rtol=1e-6)
    np.testing.assert_allclose(b.flux_err[0, :3], [0.1, 0.1, 0.25], rtol=1e-6)
    np.testing.assert_allclose(b.wavelength[0, :3], [9712.0, 9712.0, 8691.0])
    assert b.detected[0, :4].tolist() == [False, True, True, False]  # forced points are measurements, detected from 5 sigma
    assert b.own_err[0] == pytest.approx(0.25)
    assert b.n_detected[0] == 2
    assert np.isnan(b.limit[0]).all()
    assert b.first_detection[0] == 61000.5
    assert b.pixel_scale[0] == np.float32(0.2)
    assert (b.stamps[0, 0, 16:46, 16:46] == 7).all()
    assert np.isfinite(b.stamps[0]).sum() == 900
    row = context_of(b)
    expected = {"real_bogus": 0.5, "star_galaxy": 0.25, "reference_flux": 3.0, "positive": 0.0, "flux": -5.0, "signal_to_noise": 20.0,
                "fwhm": 0.3 * 2.35482, "elongation": 1.0}  # fmt: skip
    for name, value in expected.items():
        assert row[name] == pytest.approx(value, rel=1e-5), name


def test_rubins_old_names_limits_and_seconds() -> None:
    source = {
        "diaSourceId": 11,
        "midPointTai": 1480360995.0,
        "ra": 10.0,
        "decl": -30.0,
        "psFlux": 5000.0,
        "psFluxErr": 250.0,
        "filterName": "g",
    }
    limits = [{"ccdVisitId": 1, "midPointTai": 1480360995.0 - 86400, "filterName": "u", "diaNoise": 200.0}]
    b = Decoder().decode([rubin(300, source, prvDiaNondetectionLimits=limits)]).batch
    assert b.mjd[0] == 40587 + 1480360995 / 86400  # no MJD: seconds since 1970
    assert b.time[0, 1] - b.time[0, 0] == pytest.approx(1.0, abs=1e-6)
    assert b.limit[0, 0] == pytest.approx(1.0)  # five times 200 nJy
    assert b.flux[0, 1] == 5.0
    assert b.wavelength[0, :2].tolist() == [3671.0, 4827.0]


def test_whose_object_it_is() -> None:
    base = {"diaSourceId": 11, "midpointMjdTai": 61000.5, "ra": 10.0, "dec": -30.0, "psfFlux": 1.0, "psfFluxErr": 1.0, "band": "r"}
    keys = [Decoder().decode([rubin(900, base | more)]).batch.object_id[0] for more in ({"diaObjectId": 5, "ssObjectId": 6},
            {"diaObjectId": 0, "ssObjectId": 6}, {"diaObjectId": None, "ssObjectId": None})]  # fmt: skip
    assert keys == ["5", "6", "11"]


def test_a_tess_packet_by_hand() -> None:
    b = Decoder().decode([tess.encode(tess_record())]).batch
    assert (b.survey, b.object_id, b.band, b.programid) == (("tess",), ("TIC 1234",), ("T",), (1,))
    assert b.candid == (1234 * 2**29 + 5 * 2**19 + 7,)
    assert b.mjd[0] == pytest.approx(2457000 + 2004 - 2400000.5 - 32.184 / 86400, abs=1e-9)
    unit = 2632e6 * 10 ** (-0.4 * 20.44)  # µJy of 1 e-/s; 15,000 e-/s is then magnitude 10
    assert -2.5 * math.log10(15000 * unit / 2632e6) == pytest.approx(10.0, abs=0.01)
    np.testing.assert_allclose(b.flux[0, :4], [0, 0, 0, 100 * unit], rtol=1e-6)  # the flagged cadence is left out
    np.testing.assert_allclose(b.flux_err[0, :4], [10 * unit] * 4, rtol=1e-6)
    assert b.valid[0].sum() == 4
    assert b.detected[0, :4].tolist() == [False, False, False, True]
    assert b.first_detection[0] == b.mjd[0]
    assert context_of(b)["source_flux"] == pytest.approx(2632e2, rel=1e-6)


def test_tess_without_a_baseline_takes_the_median() -> None:
    record = tess_record() | {"baseline": None}
    assert Decoder().decode([tess.encode(record)]).batch.flux[0, 0] == 0.0


def test_tess_numbers_that_do_not_fit() -> None:
    with pytest.raises(PacketError, match="34, 10 and 19"):
        tess.candid(1 << 34, 1, cadence=1)
    assert tess.candid((1 << 34) - 1, 1023, cadence=(1 << 19) - 1) == 2**63 - 1
    [(_, error)] = Decoder().decode([tess.encode(tess_record() | {"sector": 2000})]).rejected
    assert error.error_class == "bad_value"


def test_a_packet_of_a_frame_by_hand() -> None:
    image = np.arange(31 * 31, dtype=np.float32).reshape(31, 31)
    record = frames_record() | {"cutout_difference": make_cutout(image, 0.5)}
    b = Decoder().decode([frame_alerts.encode(record)]).batch
    assert (b.survey, b.candid, b.object_id, b.programid, b.band) == (("frames",), (77,), ("PNJ100000.00-300000.0",), (1,), ("r",))
    assert (b.ra[0], b.dec[0], b.mjd[0]) == (150.0, -30.0, 61000.25)
    n = 4
    assert b.valid[0].tolist() == [True] * n + [False] * (MAX_POINTS - n)
    assert b.time[0, :n].tolist() == [60990.25, 60996.25, 60998.25, 61000.25]
    np.testing.assert_allclose(b.wavelength[0, :n], [5822.4, 8020.1, 6141.1, 6141.1])  # a name of five letters, and I is not i
    np.testing.assert_array_equal(b.flux[0, :n], np.float32([np.nan, -1.5, 25.0, 50.0]))  # canonical units already
    np.testing.assert_array_equal(b.flux_err[0, :n], np.float32([np.nan, 1.0, 2.0, 2.5]))
    np.testing.assert_array_equal(b.limit[0, :n], np.float32([8.0, np.nan, np.nan, np.nan]))
    assert b.detected[0, :n].tolist() == [False, False, True, True]
    assert (b.first_detection[0], b.truncated[0]) == (60998.25, False)
    row = context_of(b)
    expected = {"reference_distance": 1.5, "reference_flux": 300.0, "positive": 1.0, "n_detections": 2.0, "n_visits": 9.0, "history": 2.0,
                "fwhm": 2.0, "elongation": 1.25, "flux": 50.0, "signal_to_noise": 21.0}  # fmt: skip
    for name, value in expected.items():
        assert row[name] == value, name
    assert {name for name, value in row.items() if not math.isnan(value)} == {*expected, "galactic_latitude", "ecliptic_latitude"}
    measured = {name: value for name, value in zip(MEASURED, b.measured[0].tolist(), strict=True) if not math.isnan(value)}
    assert measured == {"negative_pixels": 2.0, "bad_pixels": 1.0, "seeing_ratio": 1.125, "sky": 350.0, "matched_signal": 21.0}
    assert (b.own_err[0], b.n_detected[0], b.n_dropped[0]) == (2.5, 2, 0)
    assert np.isnan(b.survey_scores).all()  # no survey says whether it is real: the network does
    assert b.pixel_scale[0] == np.float32(0.5)
    np.testing.assert_array_equal(b.stamps[0, 2, 16:47, 16:47], image)
    assert np.isfinite(b.stamps).sum() == image.size


@pytest.mark.parametrize(("public", "programid"), [(True, 1), (False, 2)])
def test_a_private_frame_is_not_public(public: bool, programid: int) -> None:
    assert Decoder().decode([frame_alerts.encode(frames_record() | {"public": public})]).batch.programid == (programid,)


def test_who_may_read_a_frame_is_not_guessed() -> None:
    schema = json.loads(frame_alerts.SCHEMA.read_text())
    schema["fields"] = [f for f in schema["fields"] if f["name"] != "public"]
    record = {name: value for name, value in frames_record().items() if name != "public"}
    assert Decoder().decode([Container(schema).encode(record)]).batch.programid == (0,)


def test_the_same_alert_of_a_frame_has_one_number() -> None:
    first = frame_alerts.candid_of("n1", "ccd1", object_id="a")
    assert first == frame_alerts.candid_of("n1", "ccd1", object_id="a")
    others = [("n1", "ccd1", "b"), ("n1", "ccd2", "a"), ("n2", "ccd1", "a"), ("n1c", "cd1", "a")]
    numbers = {first, *(frame_alerts.candid_of(frame, detector, object_id=name) for frame, detector, name in others)}
    assert len(numbers) == 5
    assert all(0 <= number < 2**63 for number in numbers)


def test_packets_are_read_back_by_fastavro_and_stay_the_same() -> None:
    packet = encode_ztf(ztf_record())
    assert encode_ztf(ztf_record()) == packet
    [back] = list(fastavro.reader(io.BytesIO(packet)))
    assert back["candidate"]["jd"] == 2460000.5  # type: ignore[index,call-overload]
    assert make_cutout(np.ones((63, 63))) == make_cutout(np.ones((63, 63)))
    assert json.loads(json.dumps(back["prv_candidates"][1]["magpsf"])) is None  # type: ignore[index,call-overload]


def test_a_light_curve_in_columns_is_the_same_packet():
    rng = np.random.default_rng(3)
    n = 500
    time, flux, err = 1325 + np.arange(n) / 720, rng.normal(1e4, 50, n), rng.uniform(5, 9, n)
    flux[rng.random(n) < 0.1], err[rng.random(n) < 0.1] = np.nan, np.nan
    quality = np.where(rng.random(n) < 0.5, 0, rng.integers(0, 2**31, n))
    fields = {name: value for name, value in tess_record().items() if name != "light_curve"}
    names = ("btjd", "flux", "flux_err", "quality")
    rows = [
        {name: None if value != value else value for name, value in zip(names, row, strict=True)}
        for row in zip(time.tolist(), flux.tolist(), err.tolist(), quality.tolist(), strict=True)
    ]
    for some in (slice(0, 0), slice(0, 1), slice(None)):
        got = tess.encode_columns(fields, time[some], flux=flux[some], flux_err=err[some], quality=quality[some])
        assert got == tess.encode({**fields, "light_curve": rows[some]})


@pytest.mark.parametrize("bits", [[0, -1, 2**31, 2**35], [2**62, 2**63 - 1, -(2**63), 5], [-(2**31), -(2**31) - 1, 2**34, 2**33 - 1]])
def test_quality_bits_of_any_length_are_the_same_packet(bits):
    fields = {name: value for name, value in tess_record().items() if name != "light_curve"}
    time, flux = 1325 + np.arange(4) / 720, np.array([3.4e38, -1e-46, np.inf, np.nan])
    got = tess.encode_columns(fields, time, flux=flux, flux_err=flux, quality=np.array(bits, np.int64))
    seen = [float(x) if np.isfinite(x) else None for x in flux]
    rows = [{"btjd": float(t), "flux": f, "flux_err": f, "quality": q} for t, f, q in zip(time, seen, bits, strict=True)]
    assert got == tess.encode({**fields, "light_curve": rows})


def test_a_flux_beyond_32_bits_is_refused_in_columns_as_in_rows():
    fields = {name: value for name, value in tess_record().items() if name != "light_curve"}
    for value in (3.5e38, -1e300):
        with pytest.raises(OverflowError, match="too large"):
            tess.encode({**fields, "light_curve": [{"btjd": 1325.0, "flux": value, "flux_err": 1.0, "quality": 0}]})
        with pytest.raises(OverflowError, match="too large"):
            tess.encode_columns(fields, np.array([1325.0]), flux=np.array([value]), flux_err=np.ones(1), quality=np.zeros(1, np.int64))
