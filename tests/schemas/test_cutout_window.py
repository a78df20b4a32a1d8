"""The middle of cut-outs, left behind the last row that is seen: the pixels that the whole would give, or nothing; never a wrong one."""

from __future__ import annotations

import gzip
import zlib
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from operators.stamps import stamps as seen_stamps
from operators.types import F32
from schemas.avro.container import encode_ztf, make_cutout, make_fits
from schemas.surveys import cutout_window
from schemas.surveys.cutout_window import FIRST, HEADERS, SEEN, SIDE, WANT, Windows
from schemas.surveys.cutouts import Cutouts, _window_scale
from schemas.surveys.decode import Decoder
from tests.schemas.made import ztf_record

MIDDLE = slice(FIRST, FIRST + SEEN)


class Whole(Cutouts):
    """Reads every cut-out to its end."""

    def read_windows(self, data: bytes, place: Any, *, stamps: F32) -> float | None:
        return None


@pytest.fixture(autouse=True)
def _here() -> None:
    assert cutout_window.available(), "libdeflate cannot be called: the window is not used on this machine"


def image(seed: int = 0, scale: float = 100.0) -> F32:
    """Noise with a star in it: a stream of literals and short matches, as real ones."""
    random = np.random.default_rng(seed)
    y, x = np.mgrid[:SIDE, :SIDE]
    star = 3000 * np.exp(-((x - 31) ** 2 + (y - 31) ** 2) / 8)
    return np.round(random.normal(scale, 5, (SIDE, SIDE)) + star, 1).astype(np.float32)


def windows(three: Sequence[bytes], reader: Windows | None = None) -> tuple[float | None, F32]:
    """What is read of three cut-outs that lie in a record."""
    sizes = [len(data) for data in three]
    place = np.array([[7 + sum(sizes[:k]), size] for k, size in enumerate(sizes)], np.int64)
    stamps = np.full((3, SIDE, SIDE), 5.0, np.float32)
    scale_read = (reader or Windows(_window_scale)).read(b"record:" + b"".join(three) + b"more", place, stamps=stamps)
    return scale_read, stamps


def member(plain: bytes, body: bytes) -> bytes:
    """A gzip member around a deflate stream."""
    return b"\x1f\x8b\x08\0\0\0\0\0\0\x03" + body + zlib.crc32(plain).to_bytes(4, "little") + len(plain).to_bytes(4, "little")


@pytest.mark.parametrize("level", [1, 6, 9])
def test_the_middle_is_that_of_the_whole_and_nan_is_around_it(level: int) -> None:
    images = [image(k) for k in range(3)]
    scale_read, stamps = windows([gzip.compress(make_fits(one), level, mtime=0) for one in images])
    assert scale_read is not None
    assert scale_read != scale_read, "no header states a pixel scale"
    np.testing.assert_array_equal(stamps[:, MIDDLE, MIDDLE], np.array(images)[:, MIDDLE, MIDDLE])
    assert np.isfinite(stamps).sum() == 3 * SEEN * SEEN


@pytest.mark.parametrize("scale", [1.01, 0.97, 1.04])
def test_the_pixel_scale_is_the_headers(scale: float) -> None:
    scale_read, _ = windows([make_cutout(image(0)), make_cutout(image(1), scale), make_cutout(image(2), scale)])
    assert scale_read == scale


CARD = b"BSCALE  =                  2.0".ljust(80)
OTHERS = {
    "other size": make_cutout(np.ones((62, 63))),
    "larger": make_cutout(np.ones((101, 101))),
    "pixels that are resampled": make_cutout(image(), 0.25),
    "another pixel type": gzip.compress(make_fits(image()).replace(b"-32", b" 32", 1)),
    "a scale": gzip.compress(
        make_fits(image()).replace(b"END" + b" " * 157, b"BSCALE  =                  2.0".ljust(80) + b"END".ljust(80), 1)
    ),
    "three axes": gzip.compress(make_fits(image()).replace(b"NAXIS   =                    2", b"NAXIS   =                    3")),
    "no FITS": gzip.compress(b"x" * 30_000),
    "plain": make_fits(image()),
    "zeros": gzip.compress(bytes(30_000_000)),
    "short": gzip.compress(make_fits(image())[:9000]),
    "empty": b"",
    "a gzip header alone": b"\x1f\x8b\x08\0" + bytes(10),
}


@pytest.mark.parametrize("name", OTHERS)
@pytest.mark.parametrize("at", range(3))
def test_another_kind_of_image_leaves_all_three_to_the_whole_reader(name: str, at: int) -> None:
    three = [make_cutout(image(k)) for k in range(3)]
    three[at] = OTHERS[name]
    assert windows(three)[0] is None


def test_a_name_in_the_gzip_header_is_left_to_the_whole_reader(tmp_path: Path) -> None:
    path = tmp_path / "named.gz"
    with gzip.GzipFile(path, "w") as file:
        file.write(make_fits(image()))
    assert windows([path.read_bytes()] * 3)[0] is None


def packet(images: Sequence[bytes]) -> bytes:
    record = ztf_record()
    for name, data in zip(("Science", "Template", "Difference"), images, strict=True):
        record[f"cutout{name}"] = {"fileName": "x", "stampData": data}
    return encode_ztf(record)


def test_a_packet_is_worth_the_same_whatever_was_read_before_it() -> None:
    """Also one whose checksum is wrong: the rule follows from the packet, not from which headers are known."""
    good = [make_cutout(image(k), 1.01) for k in range(3)]
    damaged = [*good[:2], good[2][:-8] + b"\0\0\0\0" + good[2][-4:]]
    alone = Decoder().decode([packet(damaged)]).batch
    after = Decoder().decode([packet(good), packet(damaged)]).batch
    np.testing.assert_array_equal(alone.stamps[0], after.stamps[1])
    np.testing.assert_array_equal(alone.stamps[0], after.stamps[0])
    assert np.isfinite(alone.stamps[0, 2, MIDDLE, MIDDLE]).all()
    edge = [make_cutout(image(k)[:, :40], 1.01) for k in range(3)]
    torn = [*edge[:2], edge[2][:-8] + b"\0\0\0\0" + edge[2][-4:]]
    for packets in ([packet(torn)], [packet(good), packet(edge), packet(torn)]):
        assert np.isnan(Decoder().decode(packets).batch.stamps[-1, 2]).all(), "read to its end, and its checksum with it"


def test_what_the_network_sees_is_the_same_to_the_last_bit() -> None:
    packets = [packet([make_cutout(image(3 * k + c), 1.01) for c in range(3)]) for k in range(20)]
    packets.append(packet([make_cutout(image(0)[:, :40], 1.01) for _ in range(3)]))
    packets.append(packet([make_cutout(image(0), 1.01), make_cutout(image(1), 0.5), make_cutout(image(2))]))
    window, whole = Decoder().decode(packets).batch, Decoder(cutouts=Whole).decode(packets).batch
    assert np.isnan(window.stamps[0, :, 0]).all()
    np.testing.assert_array_equal(window.pixel_scale, whole.pixel_scale)
    np.testing.assert_array_equal(seen_stamps(window), seen_stamps(whole))


def test_more_headers_than_are_kept() -> None:
    reader = Windows(_window_scale)
    three = [[make_cutout(image(k), 1.0 + 0.004 * n) for k in range(3)] for n in range(HEADERS + 3)]
    for _ in range(3):
        for n, images in enumerate(three):
            scale_read, stamps = windows(images, reader)
            assert scale_read == pytest.approx(round(1.0 + 0.004 * n, 2))
            np.testing.assert_array_equal(stamps[2, MIDDLE, MIDDLE], image(2)[MIDDLE, MIDDLE])


def test_without_libdeflate_the_whole_is_read(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(cutout_window, "available", lambda: False)
    batch = Decoder().decode([packet([make_cutout(image(k)) for k in range(3)])]).batch
    np.testing.assert_array_equal(batch.stamps[0, 0], image(0))


def before_the_damage(data: bytes) -> bytes:
    """What zlib inflates of a member, byte by byte, until it finds an error."""
    stream, out = zlib.decompressobj(-15), b""
    try:
        for at in range(10, len(data) - 8):
            out += stream.decompress(data[at : at + 1])
    except zlib.error:
        pass
    return out


def middle_of(plain: bytes) -> F32:
    rows = np.frombuffer(plain, ">f4", SIDE * (FIRST + SEEN), 2880).reshape(-1, SIDE)
    return rows[FIRST:, MIDDLE].astype(np.float32)


def test_of_damaged_streams_no_pixel_is_wrong() -> None:
    random = np.random.default_rng(5)
    reader = Windows(_window_scale)
    good = [gzip.compress(make_fits(image(k)), 6, mtime=0) for k in range(12)]
    read = 0
    for _ in range(400):
        damaged = bytearray(good[int(random.integers(len(good)))])
        damaged[int(random.integers(10, len(damaged) - 8))] ^= 1 << int(random.integers(8))
        scale_read, stamps = windows([good[0], bytes(damaged), good[1]], reader)
        if scale_read is not None:
            truth = before_the_damage(bytes(damaged))
            assert len(truth) >= WANT
            assert _window_scale(truth[:2880]) is not None
            np.testing.assert_array_equal(stamps[1, MIDDLE, MIDDLE], middle_of(truth))
            read += 1
    assert read > 100


@pytest.mark.parametrize(
    "cut", [0, 2880, 3000, 9000, 14_000, WANT - 1, WANT, WANT + 40, WANT + 63, WANT + 64, WANT + 72, WANT + 100, 18_000]
)
def test_of_stored_blocks_no_pixel_is_wrong(cut: int) -> None:
    """A block that does not fit the room is not written at all, and the room still holds the image before."""
    reader = Windows(_window_scale)
    before = gzip.compress(make_fits(image(1)), mtime=0)
    for seed in range(2, 12):
        plain = make_fits(image(seed))
        compressor = zlib.compressobj(6, zlib.DEFLATED, -15)
        head = compressor.compress(plain[:cut]) + compressor.flush(zlib.Z_FULL_FLUSH)
        rest = plain[cut:]
        block = b"\x01" + len(rest).to_bytes(2, "little") + (len(rest) ^ 0xFFFF).to_bytes(2, "little") + rest
        scale_read, stamps = windows([before, member(plain, head + block), before], reader)
        if scale_read is not None:
            np.testing.assert_array_equal(stamps[1, MIDDLE, MIDDLE], middle_of(plain))
        whole = np.empty((SIDE, SIDE), np.float32)
        assert Cutouts().read(member(plain, head + block), whole) is not None
        np.testing.assert_array_equal(whole, image(seed))


def test_many_small_stored_blocks() -> None:
    plain = make_fits(image(4))
    for size in (1, 7, 100, 258, 1000, 4096):
        body = b""
        for at in range(0, len(plain), size):
            part = plain[at : at + size]
            last = b"\x01" if at + size >= len(plain) else b"\0"
            body += last + len(part).to_bytes(2, "little") + (len(part) ^ 0xFFFF).to_bytes(2, "little") + part
        scale_read, stamps = windows([member(plain, body)] * 3)
        if scale_read is not None:
            np.testing.assert_array_equal(stamps[0, MIDDLE, MIDDLE], image(4)[MIDDLE, MIDDLE])


def test_real_packets(shared: Path) -> None:
    packets = [path.read_bytes() for path in sorted((shared / "ztf_alerts").rglob("*.avro"))[::3]]
    window, whole = Decoder().decode(packets), Decoder(cutouts=Whole).decode(packets)
    assert window.index == whole.index
    np.testing.assert_array_equal(window.batch.pixel_scale, whole.batch.pixel_scale)
    np.testing.assert_array_equal(seen_stamps(window.batch), seen_stamps(whole.batch))
    used = np.isnan(window.batch.stamps[:, 0, 0]).all(axis=1) & np.isfinite(whole.batch.stamps[:, 0, 0]).any(axis=1)
    assert used.mean() > 0.8
