"""Every real packet against fastavro and astropy."""

from __future__ import annotations

import gzip
import io
import math
from collections import Counter
from pathlib import Path
from typing import Any

import fastavro
import fastavro.schema
import numpy as np
import pytest

from operators.types import CONTEXT, MAX_POINTS, RAW_STAMP, WAVELENGTH
from schemas.avro.schema_store import SchemaStore
from schemas.surveys.decode import Decoded, Decoder

EXPECTED = {
    ("ztf_alerts/alerce_pipeline/early_classification_step", "ztf"): 1,
    ("ztf_alerts/alerce_pipeline/feature_step", "ztf"): 1,
    ("ztf_alerts/alerce_pipeline/ingestion_step", "ztf"): 1,
    ("ztf_alerts/alerce_pipeline/lc_classifier", "ztf"): 1,
    ("ztf_alerts/alerce_pipeline/libs", "ztf"): 104,
    ("ztf_alerts/alerce_pipeline/some_avros", "ztf"): 1,
    ("ztf_alerts/alerce_pipeline/tests", "ztf"): 15,
    ("ztf_alerts/fink-alert-simulator/datasim", "ztf"): 498,
    ("ztf_alerts/fink-client/datatest", "ztf"): 4,
    ("ztf_alerts/kowalski/data", "ztf"): 36,
    ("lsst_alerts/boom/tests/askap", "unknown_survey"): 1,
    ("lsst_alerts/boom/tests/decam", "unknown_survey"): 2,
    ("lsst_alerts/boom/tests/lsst", "lsst"): 3,
    ("lsst_alerts/boom/tests/roman", "unknown_survey"): 1,
    ("lsst_alerts/boom/tests/winter", "unknown_survey"): 1,
    ("lsst_alerts/lsst_alert_packet/python", "lsst"): 14,
}
"""(folder, outcome) → packets."""


@pytest.fixture(scope="module")
def files(shared: Path) -> list[Path]:
    return sorted(shared.glob("*_alerts/**/*.avro"))


@pytest.fixture(scope="module")
def packets(files: list[Path]) -> list[bytes]:
    return [path.read_bytes() for path in files]


@pytest.fixture(scope="module")
def decoded(packets: list[bytes]) -> Decoded:
    return Decoder().decode(packets)


def test_the_outcome_of_every_file(shared: Path, files: list[Path], decoded: Decoded) -> None:
    outcome = dict(zip(decoded.index, decoded.batch.survey, strict=True)) | {i: e.error_class for i, e in decoded.rejected}
    found: Counter[tuple[str, str]] = Counter()
    for i, path in enumerate(files):
        parts = path.relative_to(shared).parts
        folder = [*parts[:3], parts[-2]] if parts[1] == "boom" else parts[:3]
        found["/".join(folder), str(outcome[i])] += 1
    assert found == EXPECTED


def test_foreign_packets_are_named_in_the_reason(decoded: Decoded) -> None:
    names = {e.reason.split(" are not ")[0].rpartition(" ")[2] for _, e in decoded.rejected}
    assert names == {"askap.alert", "desirt.alert", "rapid.v00_02.alert", "winter.alert"}


def read(packet: bytes) -> dict[str, Any]:
    """By fastavro alone."""
    if packet[:1] == b"O":
        return next(iter(fastavro.reader(io.BytesIO(packet))))  # type: ignore[return-value,arg-type]
    schema = SchemaStore().get(int.from_bytes(packet[1:5], "big"))
    return fastavro.schemaless_reader(io.BytesIO(packet[5:]), fastavro.parse_schema(schema), None)  # type: ignore[return-value]


def microjansky(magnitude: float) -> float:
    return 10 ** ((23.9 - magnitude) / 2.5)


def ztf_points(alert: dict[str, Any]) -> list[tuple[float, float, int, float, float]]:
    """(jd, wavelength, rank, flux or limit, error) by time; of one exposure only the highest rank."""
    bands = {1: "g", 2: "r", 3: "i"}
    points: list[tuple[float, int, int, float, float]] = []
    own = alert["candidate"]
    for c in [own, *(alert.get("prv_candidates") or [])]:
        if c["magpsf"] is not None:
            sign = 1 if c["isdiffpos"] in ("t", "1") else -1
            flux = microjansky(c["magpsf"])
            points.append((c["jd"], c["fid"], 3 if c is own else 2, sign * flux, flux * c["sigmapsf"] * math.log(10) / 2.5))
        elif c["diffmaglim"] is not None and c["diffmaglim"] > 0:
            points.append((c["jd"], c["fid"], 0, microjansky(c["diffmaglim"]), math.nan))
    for f in alert.get("fp_hists") or []:
        if f["forcediffimflux"] is not None and f["forcediffimflux"] > -9999 and f["procstatus"] == "0":
            unit = microjansky(f["magzpsci"])
            points.append((f["jd"], f["fid"], 1, f["forcediffimflux"] * unit, f["forcediffimfluxunc"] * unit))
        elif f["diffmaglim"] is not None and f["diffmaglim"] > 0:
            points.append((f["jd"], f["fid"], 0, microjansky(f["diffmaglim"]), math.nan))
    kept: list[tuple[float, float, int, float, float]] = []
    for fid in {p[1] for p in points}:
        exposures: list[list[tuple[float, int, int, float, float]]] = []
        for p in sorted((p for p in points if p[1] == fid), key=lambda p: p[0]):  # stable, as the packet has them
            if exposures and p[0] - exposures[-1][0][0] < 1e-4:
                exposures[-1].append(p)
            else:
                exposures.append([p])
        for same in exposures:
            jd, _, rank, value, error = max(same, key=lambda p: p[2])
            kept.append((jd, np.float32(WAVELENGTH["ztf"][bands[fid]]).item(), rank, value, error))
    return sorted(kept)


def test_ztf_light_curves_are_fastavros(packets: list[bytes], decoded: Decoded) -> None:
    b = decoded.batch
    seen = 0
    for k, i in enumerate(decoded.index):
        if b.survey[k] != "ztf":
            continue
        alert = read(packets[i])
        c = alert["candidate"]
        assert b.candid[k] == c["candid"]
        assert b.object_id[k] == alert["objectId"]
        assert (b.ra[k], b.dec[k], b.programid[k]) == (c["ra"], c["dec"], c["programid"])
        half = (c.get("exptime") or 30) / 2 / 86400  # some archives write 0
        assert b.mjd[k] == pytest.approx(c["jd"] - 2400000.5 + 37 / 86400 + half, abs=1e-9)
        assert b.own_err[k] == pytest.approx(microjansky(c["magpsf"]) * c["sigmapsf"] * math.log(10) / 2.5, rel=1e-6)
        expected = ztf_points(alert)
        n = int(b.valid[k].sum())
        assert b.n_detected[k] == sum(rank >= 2 or (rank == 1 and abs(value) >= 5 * error) for _, _, rank, value, error in expected)
        assert b.n_dropped[k] == 0
        assert n == min(len(expected), MAX_POINTS)
        assert b.valid[k, :n].all()
        assert (np.diff(b.time[k, :n]) >= 0).all()
        got = sorted(range(n), key=lambda j: (b.time[k, j], b.wavelength[k, j]))
        for j, (jd, wavelength, rank, value, error) in zip(got, expected[-n:], strict=True):
            assert b.time[k, j] == pytest.approx(jd - 2400000.5 + 37 / 86400 + half, abs=1e-4)
            assert b.wavelength[k, j] == wavelength
            if rank == 0:
                assert b.limit[k, j] == pytest.approx(value, rel=1e-5)
                assert np.isnan(b.flux[k, j])
                assert not b.detected[k, j]
            else:
                assert b.flux[k, j] == pytest.approx(value, rel=1e-5)
                assert b.flux_err[k, j] == pytest.approx(error, rel=1e-4)
                assert b.detected[k, j] == (rank >= 2 or abs(value) >= 5 * error)
            seen += 1
        row = dict(zip(CONTEXT, b.context[k].tolist(), strict=True))
        deep = c.get("drb") is not None and (c["drb"] or c["drbversion"])  # some archives wrote 0 and "" where there was none
        assert row["real_bogus"] == pytest.approx(c["drb"] if deep else c["rb"], rel=1e-6)
        assert row["n_detections"] == c["ndethist"]
        assert row["history"] == pytest.approx(c["jd"] - c["jdstarthist"], abs=1e-2)
        assert math.isnan(row["solar_system_distance"]) == (c["ssdistnr"] is None or c["ssdistnr"] < 0)
        assert b.first_detection[k] <= b.mjd[k]
        assert b.truncated[k] == (b.time[k, 0] > b.first_detection[k] + 1)
    assert seen > 10_000


@pytest.mark.filterwarnings("ignore::astropy.io.fits.verify.VerifyWarning")
def test_stamps_are_astropys(packets: list[bytes], decoded: Decoded) -> None:
    fits = pytest.importorskip("astropy.io.fits")
    b = decoded.batch
    edges = windows = 0
    for k, i in list(enumerate(decoded.index))[::5] + [(k, i) for k, i in enumerate(decoded.index) if b.survey[k] == "lsst"]:
        alert = read(packets[i])
        for channel, name in enumerate(("cutoutScience", "cutoutTemplate", "cutoutDifference")):
            raw = alert.get(name)
            if raw is None:
                assert np.isnan(b.stamps[k, channel]).all()
                continue
            raw = raw["stampData"] if isinstance(raw, dict) else raw
            with fits.open(io.BytesIO(gzip.decompress(raw) if raw[:2] == b"\x1f\x8b" else raw), ignore_missing_simple=True) as hdus:
                image = np.asarray(hdus[0].data, np.float32)
            height, width = image.shape
            if b.survey[k] == "lsst":
                y = x = RAW_STAMP // 2 - height // 2
            else:
                y = RAW_STAMP - height if alert["candidate"]["ypos"] < 1540 else 0
                x = RAW_STAMP - width if alert["candidate"]["xpos"] < 1536 else 0
                edges += image.shape != (63, 63)
            stamp = b.stamps[k, channel]
            if image.shape == stamp.shape and np.isnan(stamp[0]).all():  # only what the network sees was read (`cutout_window`)
                windows += 1
                stamp, image = stamp[15:47, 15:47], image[15:47, 15:47]
                assert np.isfinite(b.stamps[k, channel]).sum() == np.isfinite(stamp).sum()
                height = width = 32
                y = x = 0
            np.testing.assert_array_equal(stamp[y : y + height, x : x + width], image)
            assert np.isfinite(stamp).sum() == np.isfinite(image).sum()
    assert edges
    assert windows


def test_rubin_packets_are_fastavros(packets: list[bytes], decoded: Decoded) -> None:
    b = decoded.batch
    for k, i in enumerate(decoded.index):
        if b.survey[k] != "lsst":
            continue
        alert = read(packets[i])
        source = alert["diaSource"]
        time = source.get("midpointMjdTai") or source.get("midPointTai")
        assert b.candid[k] == source["diaSourceId"]
        assert b.object_id[k] == str(source["diaObjectId"] or alert["diaObject"]["diaObjectId"])
        assert b.mjd[k] == (time if time < 1e6 else 40587 + time / 86400)
        assert b.dec[k] == source.get("dec", source.get("decl"))
        own = b.time[k] == b.mjd[k]
        assert own.sum() == 1
        assert b.flux[k][own][0] == pytest.approx((source.get("psfFlux") or source.get("psFlux")) / 1000, rel=1e-6)
        assert b.band[k] == (source.get("band") or source.get("filterName"))
    assert Counter(b.survey)["lsst"] == 17


def test_pixel_scales_come_from_the_header(decoded: Decoded) -> None:
    b = decoded.batch
    rubin = {round(float(b.pixel_scale[k]), 2) for k in range(len(b)) if b.survey[k] == "lsst" and np.isfinite(b.pixel_scale[k])}
    assert rubin == {0.17, 0.2}  # the oldest framed sample was made from Hyper Suprime-Cam images
    assert {round(float(b.pixel_scale[k]), 2) for k in range(len(b)) if b.survey[k] == "ztf"} == {1.01}


def test_one_by_one_equals_all_at_once(packets: list[bytes], decoded: Decoded) -> None:
    decoder = Decoder()
    for k, i in list(enumerate(decoded.index))[::37]:
        one = decoder.decode([packets[i]]).batch
        for name in ("time", "flux", "limit", "context", "stamps"):
            np.testing.assert_array_equal(getattr(one, name)[0], getattr(decoded.batch, name)[k])
