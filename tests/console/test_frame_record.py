"""FITS images → records of `frames.raw`: inline where they fit, claims of files under a prefix, and one line where neither can be."""

from __future__ import annotations

import gzip
import hashlib
import io
import tarfile
from pathlib import Path

import numpy as np
import pytest

from console.frame_record import FrameRecord, frame_maker
from data.connectors.archives import FrameFile, Skipped, packets_of
from schemas.avro.wire import MAX_PACKET
from schemas.records import codec
from schemas.records.frame_claim import FrameClaim
from settings.model import Settings


def fits(shape: tuple[int, int], seed: int = 0) -> bytes:
    """A FITS image of noise, which no compression makes small."""
    cards = ["SIMPLE  =                    T", "BITPIX  =                   16", "NAXIS   =                    2"]
    cards += [f"NAXIS1  = {shape[1]:>20}", f"NAXIS2  = {shape[0]:>20}", "END"]
    head = "".join(card.ljust(80) for card in cards).ljust(2880).encode()
    data = np.random.default_rng(seed).integers(0, 30000, shape).astype(">i2").tobytes()
    return head + data + bytes(-len(data) % 2880)


SMALL, LARGE = fits((40, 30)), fits((2048, 2100))


@pytest.fixture
def night(tmp_path: Path) -> Path:
    folder = tmp_path / "night"
    folder.mkdir()
    return folder


def records(path: Path, *prefixes: Path) -> list[FrameRecord | Skipped]:
    make = frame_maker(Settings(frames_prefixes=[str(p) for p in prefixes]))
    found = []
    for item in packets_of([path]):
        assert isinstance(item, Skipped)
        found.append(make(item) if isinstance(item, FrameFile) else item)
    return found


def test_a_small_frame_goes_inline_whatever_it_is_wrapped_in(night: Path) -> None:
    (night / "a.fits").write_bytes(SMALL)
    (night / "b.fits.gz").write_bytes(gzip.compress(SMALL))
    with tarfile.open(night / "c.tar", "w") as archive:
        member = tarfile.TarInfo("sub/d.fits")
        member.size = len(SMALL)
        archive.addfile(member, io.BytesIO(SMALL))
    found = records(night)
    assert [r.packet for r in found if isinstance(r, FrameRecord)] == [SMALL] * 3
    assert [r.key for r in found if isinstance(r, FrameRecord)] == [b"a.fits", b"b.fits.gz", b"d.fits"]


def test_a_truncated_frame_is_sent_so_that_its_rejection_is_counted(night: Path) -> None:
    (night / "a.fits").write_bytes(SMALL[:4000])
    [found] = records(night)
    assert isinstance(found, FrameRecord)
    assert found.packet == SMALL[:4000]


def test_a_large_frame_is_a_claim_of_its_file(night: Path) -> None:
    assert len(LARGE) > MAX_PACKET
    for name, content in (("a.fits", LARGE), ("b.fits.gz", gzip.compress(LARGE + LARGE[2880:], 1))):
        (night / name).write_bytes(content)
        [found] = records(night / name, night)
        assert isinstance(found, FrameRecord)
        claim = codec.expect(found.packet, FrameClaim)
        assert claim == FrameClaim((night / name).as_uri(), len(content), hashlib.sha256(content).hexdigest())


def test_a_gzipped_frame_whose_file_fits_goes_as_it_is(night: Path) -> None:
    flat = LARGE[:2880] + bytes(len(LARGE) - 2880)
    (night / "a.fits.gz").write_bytes(gzip.compress(flat))
    [found] = records(night)
    assert isinstance(found, FrameRecord)
    assert gzip.decompress(found.packet) == flat


def test_a_prefix_may_be_a_link(night: Path, tmp_path: Path) -> None:
    (night / "a.fits").write_bytes(LARGE)
    link = tmp_path / "link"
    link.symlink_to(night)
    for path, prefix in ((link, link), (link, night)):
        [found] = records(path / "a.fits", prefix)
        assert isinstance(found, FrameRecord)
        assert codec.expect(found.packet, FrameClaim).uri == (prefix / "a.fits").as_uri()


def test_a_large_frame_that_cannot_be_claimed_is_skipped_in_one_line(night: Path, tmp_path: Path) -> None:
    (night / "a.fits").write_bytes(LARGE)
    with tarfile.open(night / "c.tar", "w") as archive:
        archive.add(night / "a.fits", "a.fits")
    (night / "d.fits.bz2").write_bytes(__import__("bz2").compress(LARGE, 1))
    found = records(night, tmp_path / "night-of-others")
    assert [type(r) for r in found] == [Skipped] * 3
    reasons = [r.reason for r in found if isinstance(r, Skipped)]
    assert "must lie under frames_prefixes" in reasons[0]
    assert all("unpack it first" in reason for reason in reasons[1:])
    assert not any("\n" in reason for reason in reasons)


def test_a_file_without_an_image_is_not_a_frame(night: Path) -> None:
    cards = ["SIMPLE  =                    T", "BITPIX  =                    8", "NAXIS   =                    0", "END"]
    (night / "a.fits").write_bytes("".join(card.ljust(80) for card in cards).ljust(2880).encode())
    [found] = packets_of([night])
    assert type(found) is Skipped
