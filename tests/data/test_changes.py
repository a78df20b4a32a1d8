"""Packets changed as an instrument or a sky would change them: what moves, moves by as much, and all else stays."""

from __future__ import annotations

from collections import Counter
from pathlib import Path

import numpy as np
import pytest

from data.simulate import changes
from data.simulate.described import shipped
from data.simulate.night import night
from operators.types import CONTEXT, AlertBatch
from schemas.avro.wire import PacketError
from schemas.surveys.decode import Decoder

NEWCOMER = "luminous-fast-cooler"
Packets = list[bytes]


@pytest.fixture(scope="module")
def packets() -> Packets:
    return [packet for packet, _ in night(11, 40, duplicates=0, broken=0)]


def decoded(packets: Packets) -> AlertBatch:
    found = Decoder().decode(packets)
    assert not found.rejected
    return found.batch


def of(batch: AlertBatch, name: str) -> np.ndarray:
    return batch.context[:, CONTEXT.index(name)]


def own(batch: AlertBatch) -> np.ndarray:
    return batch.valid & (batch.time > batch.mjd[:, None] - changes.OWN_NIGHT + 0.01)


@pytest.mark.parametrize("name", changes.CHANGES)
def test_a_change_is_a_pure_function_of_the_packet(packets: Packets, name: str) -> None:
    change = changes.CHANGES[name]
    once = [change(packet) for packet in packets[:8]]
    assert once == [change(packet) for packet in packets[:8]]
    before, after = decoded(packets[:8]), decoded(once)
    assert after.candid == before.candid
    assert after.object_id == before.object_id
    assert all(a != b for a, b in zip(once, packets[:8], strict=True))


def test_what_is_read_and_written_again_is_the_same_packet(packets: Packets) -> None:
    for packet in packets[:5]:
        assert changes.write(changes.read(packet), packet) == packet


@pytest.mark.parametrize("magnitudes", [0.1, -0.3])
def test_a_zero_point_moves_flux_errors_and_limits_of_the_night_alone(packets: Packets, magnitudes: float) -> None:
    before, after = decoded(packets), decoded([changes.zero_point(packet, magnitudes) for packet in packets])
    factor = 10 ** (-0.4 * magnitudes)
    for name in ("flux", "flux_err", "limit"):
        a, b = getattr(before, name), getattr(after, name)
        night, earlier = own(before) & np.isfinite(a), before.valid & ~own(before) & np.isfinite(a)
        assert np.allclose(b[night], factor * a[night], rtol=1e-4)
        assert np.array_equal(b[earlier], a[earlier])
        assert earlier.any()
    assert np.array_equal(before.stamps, after.stamps, equal_nan=True)  # the camera counted what it counted
    everywhere = decoded([changes.zero_point(packet, magnitudes, days=np.inf) for packet in packets])
    there = before.valid & np.isfinite(before.flux)
    assert np.allclose(everywhere.flux[there], factor * before.flux[there], rtol=1e-4)


@pytest.mark.parametrize(("worse", "depth"), [(1.4, 0.3), (2.0, 0.5)])
def test_seeing_blurs_the_images_and_takes_depth(packets: Packets, worse: float, depth: float) -> None:
    before, after = decoded(packets), decoded([changes.seeing(packet, worse, depth=depth) for packet in packets])
    width = of(before, "fwhm")
    assert np.allclose(of(after, "fwhm")[np.isfinite(width)], worse * width[np.isfinite(width)], rtol=1e-4)
    assert np.array_equal(before.stamps[:, 1], after.stamps[:, 1], equal_nan=True)  # the template was taken on another night
    ratios, noises = [], []
    for packet in packets:  # the decoder reads the middle alone
        images = [changes.pixels(changes.read(one)["cutoutDifference"]["stampData"]) for one in (packet, changes.seeing(packet, worse))]
        assert images[0] is not None
        assert images[1] is not None
        assert np.array_equal(np.isfinite(images[0]), np.isfinite(images[1]))
        if images[0].shape == (63, 63):
            peak, noise = ([float(f(np.abs(image))) for image in images] for f in (lambda x: np.nanmax(x[28:35, 28:35]), np.nanmedian))
            noises.append(noise[1] / noise[0])
            if peak[0] > 25 * noise[0]:
                ratios.append(peak[1] / peak[0])
    assert len(ratios) > 5
    assert np.median(ratios) < 1 / worse
    assert np.median(noises) == pytest.approx(1.0, abs=0.15)
    night = own(before) & np.isfinite(before.flux_err)
    assert np.allclose(after.flux_err[night] / before.flux_err[night], 10 ** (0.4 * depth), rtol=1e-3)


@pytest.mark.parametrize("keep", [0.5, 0.2])
def test_cadence_takes_whole_nights_of_the_history(packets: Packets, keep: float) -> None:
    before, after = decoded(packets), decoded([changes.cadence(packet, keep) for packet in packets])
    earlier = before.valid & ~own(before)
    left = after.valid.sum() - own(after).sum()
    assert left / earlier.sum() == pytest.approx(keep, abs=0.12)
    assert own(after).sum() == own(before).sum()
    assert np.allclose(of(after, "n_visits"), np.maximum(np.round(of(before, "n_visits") * keep), 1))


def test_nulls_are_missing_and_nothing_else_is(packets: Packets) -> None:
    before, after = decoded(packets), decoded([changes.nulls(packet) for packet in packets])
    assert np.isfinite(of(before, "real_bogus")).mean() > 0.5
    assert np.array_equal(before.flux, after.flux, equal_nan=True)
    none = decoded([changes.no_catalogue(packet) for packet in packets])
    assert np.isfinite(of(before, "star_galaxy")).mean() > 0.5
    assert not np.isfinite(of(none, "star_galaxy")).any()
    with pytest.raises(ValueError, match="magpsf"):
        changes.nulls(packets[0], ["magpsf"])
    with pytest.raises(ValueError, match="nowhere"):
        changes.nulls(packets[0], ["nowhere"])


def test_what_is_not_a_packet_of_ztf_is_refused() -> None:
    for data in (b"", b"Obj", b"\x00\x00\x00\x03\x84more", b"Obj\x01\x00" + bytes(16)):
        with pytest.raises(PacketError):
            changes.zero_point(data)


def test_a_night_with_a_new_population() -> None:
    description = shipped()[NEWCOMER]
    found = list(changes.changed_night(5, range(60), newcomer=description, share=0.3))
    labels = Counter(truth.label for _, truth in found)
    assert 8 <= labels[NEWCOMER] <= 30
    assert len({truth.candid for _, truth in found}) == 60
    part = list(changes.changed_night(5, range(20, 40), newcomer=description, share=0.3))
    assert [packet for packet, _ in part] == [packet for packet, _ in found[20:40]]  # any part can be made by itself
    plain = dict(zip(range(60), changes.changed_night(5, range(60)), strict=True))
    for row, (packet, truth) in enumerate(found):
        assert (truth.label == NEWCOMER) or (packet == plain[row][0])
    assert len(decoded([packet for packet, _ in found])) == 60
    moved = list(changes.changed_night(5, range(3), change=changes.zero_point))
    assert [packet for packet, _ in moved] == [changes.zero_point(plain[row][0]) for row in range(3)]


def test_real_packets_of_every_version_change_as_simulated_ones_do(shared: Path) -> None:
    files = sorted((shared / "ztf_alerts").rglob("*.avro"))[:400:8]
    packets, seen = [], Decoder()
    for file in files:
        data = file.read_bytes()
        if not seen.decode([data]).rejected:
            packets.append(data)
    assert len(packets) > 20
    before = decoded(packets)
    after = decoded([changes.zero_point(packet) for packet in packets])
    night = own(before) & np.isfinite(before.flux)
    assert np.allclose(after.flux[night], 10**-0.04 * before.flux[night], rtol=1e-3)
    for name, change in changes.CHANGES.items():
        if name != "null-drb":  # versions before 3.3 have none
            assert len(decoded([change(packet) for packet in packets])) == len(packets)
