"""Raw frames of a simulated observatory to packets: what is found, measured and named, and what is refused by name."""

from __future__ import annotations

import math
from dataclasses import replace

import numpy as np
import pytest

from data.frames.frame_error import REASONS, FrameError
from data.frames.sky_positions import sky_map
from operators.images.planes import SATURATED, TRAIL, Calibrated, RawFrame
from pipeline.frame_figures import Catalogue, microjansky
from pipeline.frame_positions import SAME
from pipeline.frames import FrameAlerts, alerts, calibrated
from pipeline.score import score
from pipeline.state import load
from schemas.records.calibrated_frame import CalibratedFrame
from schemas.records.detection import Detection
from schemas.records.photometry_measured import PhotometryMeasured
from schemas.records.photometry_position import PhotometryPosition
from schemas.surveys.decode import Decoder
from tests.pipeline.frame_scene import Night, simulated_night


@pytest.fixture(scope="module")
def night() -> Night:
    return simulated_night()


def run(
    night: Night, k: int, *, positions: tuple[PhotometryPosition, ...] = (), raw: RawFrame | None = None, **more: object
) -> FrameAlerts:
    planes, quality = night.frames[k]
    return alerts(raw or night.raw[k], planes, quality, reference=night.prepared, positions=positions, **more)  # type: ignore[arg-type]


@pytest.fixture(scope="module")
def nights(night: Night) -> list[FrameAlerts]:
    """The frames in order, each with the positions and measurements of those before."""
    positions: list[PhotometryPosition] = []
    histories: dict[str, list[PhotometryMeasured]] = {}
    out = []
    for k in range(len(night.raw)):
        found = run(night, k, positions=tuple(positions), histories=histories, coverage=[announced(night, j) for j in range(k)])
        positions += found.new_positions
        for row in found.measured:
            histories.setdefault(row.position, []).append(row)
        out.append(found)
    return out


def announced(night: Night, k: int, **changes: object) -> CalibratedFrame:
    """What is said of a frame."""
    raw, (planes, quality) = night.raw[k], night.frames[k]
    sky = sky_map(raw.wcs, planes.science.shape)
    assert sky is not None
    ra, dec = sky.corners()
    record = CalibratedFrame(
        frame_id=raw.frame_id, detector=raw.detector, filter=raw.filter, field=raw.field, mjd=raw.mjd, exposure=raw.exposure,
        public=raw.public, uri="file:///x", length=1, sha256="0" * 64, raw_sha256="0" * 64, masters=(),
        footprint=tuple(float(v) for corner in zip(ra, dec, strict=True) for v in corner), pixel_scale=sky.scale, sky=quality.sky,
        noise=quality.noise, seeing=quality.seeing, elongation=quality.elongation, n_stars=quality.n_stars,
        saturated_share=quality.saturated_share, cosmic_ray_share=quality.cosmic_ray_share, bad_share=quality.bad_share,
        zero_point=quality.zero_point, zero_point_err=quality.zero_point_err, limit=quality.limit, flags=quality.flags, calibrated_ms=0,
    )  # fmt: skip
    return replace(record, **changes)  # type: ignore[arg-type]


def apart(ra: float, dec: float, ra2: float, dec2: float) -> float:
    """[arcsec]"""
    return 3600 * math.hypot((ra - ra2) * math.cos(math.radians(dec)), dec - dec2)


def test_what_changed_is_found_and_little_else(night: Night, nights: list[FrameAlerts]) -> None:
    expected = seen = false = reported = 0
    for found, truth in zip(nights, night.truth, strict=True):
        assert found.reason is None
        batch = Decoder().decode([p.data for p in found.packets]).batch
        places = list(zip(batch.ra, batch.dec, strict=True))
        bright = [t for t in truth if t.measurable and abs(t.snr) >= 15 and t.surface < 1]
        expected += len(bright)
        seen += sum(min((apart(t.ra, t.dec, *p) for p in places), default=9.0) < 2 * SAME for t in bright)
        reported += len(places)
        false += sum(min(apart(t.ra, t.dec, *p) for t in truth) > 2 * SAME for p in places)
    assert expected >= 12
    assert seen >= 0.75 * expected  # a field of few stars, which say little of how well it was subtracted
    assert false <= 0.15 * reported


def test_fluxes_are_calibrated_and_their_errors_honest(night: Night, nights: list[FrameAlerts]) -> None:
    positions = {p.name: p for found in nights for p in found.new_positions}
    pulls, ratios = [], []
    for found, truth in zip(nights, night.truth, strict=True):
        for row in found.measured:
            place = positions[row.position]
            for t in truth:
                if t.measurable and t.surface < 0.5 and apart(t.ra, t.dec, place.ra or 0, place.dec or 0) < SAME:
                    pulls.append((row.flux - t.flux) / row.flux_err)
                    if abs(t.snr) > 20:
                        ratios.append(row.flux / t.flux)
    assert len(pulls) >= 12
    assert len(ratios) >= 5
    assert np.median(ratios) == pytest.approx(1.0, abs=0.12)  # the catalogue's magnitudes, through a PSF of few stars
    assert np.median(np.abs(pulls)) * 1.4826 < 2.0
    assert abs(np.median(pulls)) < 1.5


def test_packets_are_read_as_any_surveys_and_scored(night: Night, nights: list[FrameAlerts]) -> None:
    for found, raw in zip(nights, night.raw, strict=True):
        decoded = Decoder().decode([p.data for p in found.packets])
        assert not decoded.rejected
        batch = decoded.batch
        assert set(batch.survey) == {"frames"}
        assert batch.object_id == tuple(p.object_id for p in found.packets)
        assert set(batch.band) == {"r"}
        assert (batch.mjd == raw.mjd).all()
        assert np.isfinite(batch.stamps[:, :, 16:47, 16:47]).mean() > 0.9
        assert (batch.pixel_scale == np.float32(1.0)).all()
        centre = batch.stamps[:, 2, 31, 31] * np.sign(batch.context[:, _index("flux")])
        assert (centre > 0).all()  # the difference's peak is in the middle, with the flux's sign
    detections = score([p.data for p in nights[-1].packets], load(engine="onnxruntime"))
    assert all(isinstance(d, Detection) and d.survey == "frames" for d in detections)
    assert [d.object_id for d in detections if isinstance(d, Detection)] == [p.object_id for p in nights[-1].packets]


def _index(name: str) -> int:
    from operators.types import CONTEXT

    return CONTEXT.index(name)


def test_one_source_is_one_object_through_the_nights(night: Night, nights: list[FrameAlerts]) -> None:
    names = [{p.object_id for p in found.packets} for found in nights]
    known = [p.name for found in nights for p in found.new_positions]
    assert len(known) == len(set(known))
    assert names[0] & names[1] & names[2]
    places = [p for found in nights for p in found.new_positions]
    for k, p in enumerate(places):
        assert all(apart(p.ra or 0, p.dec or 0, q.ra or 0, q.dec or 0) > SAME for q in places[:k])
    # once known, a position is measured on every frame that shows it, detected or not
    after = {row.position for row in nights[2].measured}
    assert {p.name for p in nights[0].new_positions} <= after | {p.name for p in places if not _inside(night, p)}
    assert {row.detected for row in nights[2].measured} == {True, False}
    assert {row.position for row in nights[2].measured if row.detected} == names[2]


def _inside(night: Night, position: PhotometryPosition) -> bool:
    sky = sky_map(night.reference.wcs, night.reference.image.shape)
    assert sky is not None
    y, x = sky.to_pixels(np.array([position.ra]), np.array([position.dec]))[0]
    return bool(20 < y < night.reference.image.shape[0] - 20 and 20 < x < night.reference.image.shape[1] - 20)


def test_the_history_is_what_was_measured_and_how_deep_frames_were_before(night: Night, nights: list[FrameAlerts]) -> None:
    first, last = nights[0], nights[-1]
    old = {p.name for p in first.new_positions}
    fresh = {p.name for p in last.new_positions}
    batch = Decoder().decode([p.data for p in last.packets]).batch
    times = [raw.mjd for raw in night.raw]
    for i, name in enumerate(batch.object_id):
        valid = batch.valid[i]
        np.testing.assert_array_equal(batch.time[i, valid], times)  # one point a frame, the alert's own the last
        measured = np.isfinite(batch.flux[i, valid])
        rows = [row for found in nights for row in found.measured if row.position == name]
        np.testing.assert_allclose(batch.flux[i, valid][measured], [row.flux for row in rows], rtol=1e-6)
        assert batch.context[i, _index("n_visits")] == len(night.raw)
        if name in old:
            assert measured.all()
            assert batch.first_detection[i] == times[0]
        if name in fresh:
            assert measured.tolist() == [False] * (len(times) - 1) + [True]
            limits = [found.quality.limit for found in nights[:-1]]  # of the difference, and not the announced one
            np.testing.assert_allclose(batch.limit[i, valid][:-1], limits, rtol=1e-5)
            assert batch.first_detection[i] == times[-1]
    assert old & set(batch.object_id)


def test_the_same_frame_gives_the_same_bytes(night: Night, nights: list[FrameAlerts]) -> None:
    again = run(night, 0)
    assert [p.data for p in again.packets] == [p.data for p in nights[0].packets]
    assert again.measured == nights[0].measured
    assert again.new_positions == nights[0].new_positions
    unprepared = alerts(night.raw[0], *night.frames[0], reference=night.reference)
    assert [p.data for p in unprepared.packets] == [p.data for p in again.packets]


def test_a_frame_that_comes_again_is_not_its_own_history(night: Night, nights: list[FrameAlerts]) -> None:
    positions = tuple(p for found in nights for p in found.new_positions)
    rows: dict[str, list[PhotometryMeasured]] = {}
    for found in nights:
        for row in found.measured:
            rows.setdefault(row.position, []).append(row)
    again = run(night, 1, positions=positions, histories=rows, coverage=[announced(night, k) for k in range(len(nights))])
    batch = Decoder().decode([p.data for p in again.packets]).batch
    for i in range(len(batch)):  # nothing of its own time but the alert, nothing later
        assert batch.time[i, batch.valid[i]].tolist() == [night.raw[0].mjd, night.raw[1].mjd]


def test_a_private_frames_packets_are_private_and_a_public_one_holds_nothing_of_it(night: Night) -> None:
    hidden = run(night, 0, raw=replace(night.raw[0], public=False))
    assert set(Decoder().decode([p.data for p in hidden.packets]).batch.programid) == {2}
    assert not any(row.public for row in hidden.measured)
    assert not any(p.public for p in hidden.new_positions)
    rows = {row.position: [row] for row in hidden.measured}
    shown = run(night, 1, positions=hidden.new_positions, histories=rows, coverage=[announced(night, 0, public=False)])
    batch = Decoder().decode([p.data for p in shown.packets]).batch
    assert set(batch.programid) == {1}
    assert (batch.valid.sum(1) == 1).all()  # what private frames measured is not in it
    assert (batch.first_detection == night.raw[1].mjd).all()
    published = {p.name for p in shown.new_positions if p.public}
    assert set(batch.object_id) <= published  # seen on a public frame by itself
    again = run(night, 2, raw=replace(night.raw[2], public=False), positions=hidden.new_positions, histories=rows)
    assert max(Decoder().decode([p.data for p in again.packets]).batch.valid.sum(1)) == 2  # a private packet holds all


def test_what_is_compared_with_a_private_reference_is_private(night: Night) -> None:
    planes, quality = night.frames[0]
    secret = replace(night.prepared, reference=replace(night.prepared.reference, public=False))
    found = alerts(night.raw[0], planes, quality, reference=secret)
    assert set(Decoder().decode([p.data for p in found.packets]).batch.programid) == {2}
    assert not any(row.public for row in found.measured)
    assert not any(p.public for p in found.new_positions)


def test_a_listed_position_that_is_private_stays_so(night: Night) -> None:
    found = run(night, 0)
    secret = tuple(replace(p, name=f"secret-{k}", public=False, origin="listed") for k, p in enumerate(found.new_positions))
    again = run(night, 0, positions=secret)
    assert set(Decoder().decode([p.data for p in again.packets]).batch.programid) == {2}
    assert not any(row.public for row in again.measured)
    assert not again.new_positions


def test_positions_in_pixels_are_measured_where_the_header_has_no_sky(night: Night) -> None:
    blind = replace(night.raw[0], wcs=None)
    assert run(night, 0, raw=blind).reason == "no_wcs"
    other = PhotometryPosition("a", None, None, detector="other", y=50.0, x=60.0)
    assert run(night, 0, raw=blind, positions=(other,)).reason == "no_wcs"
    [bright, *_] = sorted((t for t in night.truth[0] if t.measurable), key=lambda t: -abs(t.snr))
    listed = (
        replace(other, detector=blind.detector, y=bright.y, x=bright.x),
        PhotometryPosition("far", None, None, blind.detector, y=-9.0, x=1.0),
    )
    found = run(night, 0, raw=blind, positions=listed)
    assert (found.reason, found.packets, found.new_positions) == (None, (), ())
    assert "no_wcs" in found.quality.flags
    [row] = found.measured
    assert row.position == "a"
    [seen] = [r for r in run(night, 0, positions=listed).measured if r.position == "a"]
    assert row.flux == pytest.approx(seen.flux, rel=0.05)
    assert row.flux == pytest.approx(bright.flux, rel=0.15)


def test_frames_that_cannot_be_measured_are_refused_by_name(night: Night) -> None:
    raw, (planes, quality) = night.raw[0], night.frames[0]
    reference = night.prepared.reference

    def reason(frame: RawFrame = raw, image: Calibrated = planes, **changes: object) -> str:
        against = replace(reference, **changes) if changes else night.prepared  # type: ignore[arg-type]
        found = alerts(frame, image, quality, reference=against)  # type: ignore[arg-type]
        assert found.packets == ()
        assert found.reason in REASONS
        assert found.text
        return found.reason

    assert reason(replace(raw, filter="q")) == "no_filter"
    assert reason(filter="g") == "no_reference"
    assert reason(zero_point=math.nan) == "no_zero_point" if math.isnan(quality.zero_point) else True
    flat = Calibrated(np.random.default_rng(0).normal(500, 20, planes.science.shape).astype(np.float32), planes.variance, planes.mask)
    assert reason(image=flat) == "no_stars"
    assert reason(image=replace(planes, mask=np.full_like(planes.mask, SATURATED))) == "bad_frame"
    found = alerts(raw, planes, replace(quality, saturated_share=0.5), reference=night.prepared)
    assert found.reason == "saturated_frame"
    with pytest.raises(FrameError) as caught:
        calibrated(raw, replace(night.masters, bias=night.masters.bias[:-1]))
    assert caught.value.reason == "wrong_shape"


def test_a_frame_of_another_pointing_is_refused(night: Night) -> None:
    raw, (planes, quality) = night.raw[0], night.frames[0]
    assert raw.wcs is not None
    turned = replace(planes, science=planes.science[::-1, ::-1].copy(), variance=planes.variance[::-1, ::-1].copy())
    assert alerts(raw, turned, quality, reference=night.prepared).reason == "no_stars"
    elsewhere = "\n".join("CRVAL2  = -10.0" if card.startswith("CRVAL2") else card for card in raw.wcs.splitlines())
    assert alerts(replace(raw, wcs=elsewhere), planes, quality, reference=night.prepared).reason == "no_stars"


def test_a_header_that_is_off_by_half_a_minute_is_mended_by_the_stars(night: Night) -> None:
    raw = night.raw[0]
    assert raw.wcs is not None
    shifted = []
    for card in raw.wcs.splitlines():
        name, value = card[:8].strip(), card[10:]
        shifted.append(f"{name:<8}= {float(value) + 25.0:>20}" if name in ("CRPIX1", "CRPIX2") else card)
    moved, right = run(night, 0, raw=replace(raw, wcs="\n".join(shifted))), run(night, 0)
    assert [p.object_id for p in moved.packets] == [p.object_id for p in right.packets]


def test_the_figures_of_a_frame(night: Night) -> None:
    for raw, (planes, quality) in zip(night.raw, night.frames, strict=True):
        assert 100 < quality.sky < 2000
        assert quality.noise == pytest.approx(math.sqrt(np.median(planes.variance)), rel=0.1)
        assert 1.5 < quality.seeing < 4
        assert 1 <= quality.elongation < 1.3
        assert quality.n_stars >= 4
        assert 0 < quality.cosmic_ray_share < 0.01
        by_catalogue = calibrated(raw, night.masters, catalogue=night.catalogue, flags=("dark_temperature",))[1]
        assert by_catalogue.zero_point == pytest.approx(quality.zero_point, abs=0.12)  # what a PSF of few stars leaves
        assert by_catalogue.flags == ("dark_temperature",)
        nothing = calibrated(raw, night.masters, cosmic_rays=False)[1]
        assert math.isnan(nothing.zero_point)
        assert nothing.cosmic_ray_share == 0
        after = alerts(raw, planes, quality, reference=night.prepared).quality
        assert after.zero_point == pytest.approx(by_catalogue.zero_point, abs=0.12)
        assert 0.9 * quality.limit < after.limit < 2.5 * quality.limit  # the reference and static light add noise
    empty = Catalogue(np.zeros(0), np.zeros(0), np.zeros(0))
    assert math.isnan(calibrated(night.raw[0], night.masters, catalogue=empty)[1].zero_point)
    assert microjansky(23.9) == 1.0


def test_a_satellites_trail_is_flagged_and_no_candidate(night: Night) -> None:
    raw = night.raw[0]
    y, x = np.mgrid[: raw.data.shape[0], : raw.data.shape[1]]
    away = np.abs((y - 190) * np.cos(0.6) - (x - 210) * np.sin(0.6))
    y0, y1, x0, x1 = raw.readout.trim
    inside = np.zeros(raw.data.shape, np.bool_)
    inside[y0:y1, x0:x1] = True
    light = np.where(inside, 300 * np.exp(-0.5 * (away / 1.6) ** 2), 0)
    struck = replace(raw, data=np.clip(raw.data + light, 0, 65_535).astype(raw.data.dtype))
    planes, quality = calibrated(struck, night.masters, reference=night.reference)
    assert quality.flags == ("trail",)
    on = away[y0:y1, x0:x1] < 1.5
    assert (planes.mask[on] & TRAIL != 0).mean() > 0.95
    assert not night.frames[0][1].flags
    found = alerts(struck, planes, quality, reference=night.prepared)
    before = run(night, 0)
    assert len(found.packets) <= len(before.packets) + 2
