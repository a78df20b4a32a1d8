"""Calibrated frames and references as files: astropy reads them, and what is read is what was written."""

from __future__ import annotations

import dataclasses
import math
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
from astropy.io import fits
from astropy.wcs import WCS

from data.frames import calibrated_file, reference_file
from data.frames.fits_image import read_frame
from data.frames.fits_units import digest_of
from data.frames.frame_error import FrameError
from data.frames.masters_folder import MastersFolder
from data.frames.reference_file import ReferencesFolder, read_reference, write_reference
from operators.images.planes import BAD, SATURATED, Calibrated, Quality, RawFrame, Reference, Stars
from tests.data.frames.made_frames import H, W, fill, frame_file

QUALITY = Quality(812.5, 29.25, 3.1, 1.1, 57, 0.001, 0.0003, 0.01, math.nan, math.nan, 12.5, ("no_wcs", "dark_temperature"))


def planes(seed: int = 1) -> Calibrated:
    rng = np.random.default_rng(seed)
    mask = np.zeros((H, W), np.uint8)
    mask[3, 4], mask[5] = BAD, SATURATED
    return Calibrated(rng.normal(800, 30, (H, W)).astype(np.float32), rng.uniform(800, 900, (H, W)).astype(np.float32), mask)


@pytest.fixture
def raw() -> RawFrame:
    return read_frame(frame_file())


def masters(folder: Path):  # type: ignore[no-untyped-def]
    found = fill(MastersFolder(folder))
    return found.select(detector="ccd1", filter="r", binning=(1, 1), mjd=61_345.0, temperature=-20.0)[0]


def same(a: object, b: object) -> bool:
    """Equal, NaN to NaN."""
    one, two = (tuple(map(str, dataclasses.astuple(x))) for x in (a, b))  # type: ignore[call-overload]
    return one == two


def test_what_is_read_is_what_was_written(tmp_path: Path, raw: RawFrame) -> None:
    used = masters(tmp_path / "m")
    digest = calibrated_file.write(tmp_path / "c.fits", planes(), QUALITY, raw, used)
    found = calibrated_file.read(tmp_path / "c.fits")
    assert found.digest == digest == digest_of((tmp_path / "c.fits").read_bytes())
    for name in ("science", "variance", "mask"):
        assert np.array_equal(getattr(found.calibrated, name), getattr(planes(), name))
    assert same(found.quality, QUALITY)
    assert same(found.raw, dataclasses.replace(raw, data=found.raw.data))
    assert found.raw.data.size == 0
    assert found.masters == used.ids
    assert [path.name for path in tmp_path.glob(".*")] == []


def test_a_private_frame_without_sky_stays_so(tmp_path: Path) -> None:
    raw = read_frame(
        frame_file(CTYPE1="GLON-TAN", PROPRIET=True, BIASSEC=None, CCD__TEMP=None, SATURATE=None, LINLIMIT=50_000.0, NONLIN=1e-6)
    )
    assert raw.wcs is None
    calibrated_file.write(tmp_path / "c.fits", planes(), dataclasses.replace(QUALITY, flags=()), raw, masters(tmp_path / "m"))
    found = calibrated_file.read((tmp_path / "c.fits").read_bytes())
    assert same(found.raw, dataclasses.replace(raw, data=found.raw.data, wcs_problem=raw.wcs_problem.replace("'", "")[:68])), (
        "a card's length"
    )
    assert (found.raw.public, found.raw.wcs) == (False, None)
    assert "GLON" in found.raw.wcs_problem


def test_astropy_reads_it(tmp_path: Path, raw: RawFrame) -> None:
    used = masters(tmp_path / "m")
    calibrated_file.write(tmp_path / "c.fits", planes(), QUALITY, raw, used)
    with fits.open(tmp_path / "c.fits", checksum=True) as units:
        units.verify("exception")
        assert [unit.name for unit in units] == ["PRIMARY", "SCI", "VAR", "MASK"]
        assert np.array_equal(units["SCI"].data, planes().science)
        assert np.array_equal(units["MASK"].data, planes().mask)
        assert units["MASK"].header["BIT1"] == "SATURATED"
        head = units[0].header
        history = "\n".join(head["HISTORY"])
        assert (head["DETECTOR"], head["FILTER"], head["GAIN"], head["NSTARS"], head["FLAG2"]) == ("ccd1", "r", 1.5, 57, "dark_temperature")
        assert "MAGZP" not in head
        assert [head[f"MASTER{k}"] for k in (1, 2, 3)] == list(used.ids)
        for word in ("overscan", "bias", "dark x 30 s", "flat", "gain 1.5", "cosmic rays"):
            assert word in history
        there = WCS(units["SCI"].header).all_pix2world(10, 12, 0)
    sky = calibrated_file.read(tmp_path / "c.fits").raw.wcs
    from data.frames.sky_positions import checked_sky_map

    assert np.allclose(np.ravel(there), np.ravel(checked_sky_map(sky, (H, W)).to_sky(np.array([[12.0, 10.0]]))))


def test_the_same_frame_gives_the_same_bytes_in_another_process(tmp_path: Path, raw: RawFrame) -> None:
    digest = calibrated_file.write(tmp_path / "c.fits", planes(), QUALITY, raw, masters(tmp_path / "m"))
    program = (
        "from pathlib import Path; from tests.data.frames.test_calibrated_file import *;"
        f"t = Path({str(tmp_path)!r}) / 'b'; t.mkdir();"
        "print(calibrated_file.write(t / 'other.fits', planes(), QUALITY, read_frame(frame_file()), masters(t / 'm')))"
    )
    assert subprocess.run([sys.executable, "-c", program], check=True, capture_output=True, text=True).stdout.strip() == digest
    assert calibrated_file.write(tmp_path / "d.fits", planes(2), QUALITY, raw, masters(tmp_path / "m")) != digest


def test_a_damaged_or_foreign_file_is_refused(tmp_path: Path, raw: RawFrame) -> None:
    calibrated_file.write(tmp_path / "c.fits", planes(), QUALITY, raw, masters(tmp_path / "m"))
    data = (tmp_path / "c.fits").read_bytes()
    turned = bytearray(data)
    turned[len(data) // 2] ^= 4
    for damaged in (
        data[:-2880],
        bytes(turned),
        frame_file(),
        data.replace(b"PROTOVER=                    1", b"PROTOVER=                    9"),
    ):
        with pytest.raises(FrameError) as caught:
            calibrated_file.read(damaged)
        assert caught.value.reason == "bad_frame"


def reference(**changed: object) -> Reference:
    rng = np.random.default_rng(6)
    psf = np.exp(-0.5 * ((np.mgrid[:11, :11] - 5) ** 2).sum(0) / 4).astype(np.float32)
    stars = Stars(*rng.uniform(1, 30, (7, 12)))
    sky = read_frame(frame_file()).wcs
    made = Reference(
        planes().science,
        planes().mask,
        (psf / psf.sum()).astype(np.float32),
        4.5,
        25.5,
        stars,
        sky,
        "F_12",
        "r",
        "ccd1",
        depth=7.5,
        public=False,
    )
    return dataclasses.replace(made, **changed)  # type: ignore[arg-type]


def test_a_reference_is_read_as_it_was_written(tmp_path: Path) -> None:
    digest = write_reference(tmp_path / "r.fits", reference())
    found = read_reference(tmp_path / "r.fits")
    assert found.id == digest
    for name in ("image", "mask", "psf"):
        assert np.array_equal(getattr(found, name), getattr(reference(), name))
    for name in reference_file.COLUMNS:
        assert np.array_equal(getattr(found.stars, name), getattr(reference().stars, name))
    assert (found.noise, found.zero_point, found.field, found.filter, found.detector) == (4.5, 25.5, "F_12", "r", "ccd1")
    assert (found.depth, found.public) == (7.5, False)
    assert found.wcs == reference().wcs
    bare = reference(stars=Stars(*np.zeros((7, 0))), wcs=None, zero_point=math.nan)
    write_reference(tmp_path / "b.fits", bare)
    assert len(read_reference(tmp_path / "b.fits").stars.y) == 0
    assert math.isnan(read_reference(tmp_path / "b.fits").zero_point)
    with pytest.raises(FrameError):
        read_reference((tmp_path / "r.fits").read_bytes()[:9000])


def moved(**cards: float) -> str | None:
    return read_frame(frame_file(**cards)).wcs


def test_the_reference_of_a_frame(tmp_path: Path) -> None:
    folder = ReferencesFolder(tmp_path)
    folder.put(reference())
    folder.put(reference(filter="g", field="elsewhere", wcs=moved(CRVAL1=10.0)))
    here = moved()
    assert folder.of("F_12", "r", detector="ccd1", wcs=here).detector == "ccd1"
    assert folder.of("F_12", "r", detector="ccd1", wcs=None).field == "F_12", "by its name alone"
    assert folder.of("", "r", detector="ccd2", wcs=moved(CRPIX1=40.5)).field == "F_12", "by its place on the sky"
    for field, band, wcs, said in (
        ("F_12", "g", here, "there are of filter r"),
        ("F_12", "r", moved(CRVAL1=151.0), "none covers it"),
        ("F_13", "r", None, "none covers it"),
    ):
        with pytest.raises(FrameError) as caught:
            folder.of(field, band, detector="ccd1", wcs=wcs)
        assert caught.value.reason == "no_reference"
        assert said in str(caught.value)
    (tmp_path / "notes.fits").write_bytes(b"no")
    folder.scan()
    assert len(folder) == 2
    assert list(folder.rejects) == ["notes.fits"]
