"""Files that lie, end early, inflate without end or were damaged: a named reason at a bounded cost, and nothing else ever."""

from __future__ import annotations

import gzip
import os
import struct
import tracemalloc
import warnings
from collections import Counter
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
from astropy.io import fits

from data.connectors.fits_headers import BLOCK, CARD
from data.frames import calibrated_file, fits_units
from data.frames.fits_image import read_frame
from data.frames.frame_error import REASONS, FrameError
from data.frames.master_file import decode_master, encode_master
from data.frames.reference_file import read_reference, write_reference
from tests.data.frames.made_frames import OVER, H, W, cards, file_of, frame_file, master, pixels, tiled
from tests.data.frames.test_calibrated_file import QUALITY, masters, planes, reference

ROUNDS = int(os.environ.get("PROTONOVA_FUZZ_ROUNDS", "1500"))
REAL = (
    Path(os.environ.get("PROTONOVA_SHARED", Path(__file__).parents[4] / "shared"))
    / "data/real/ccd/astroscrappy/astroscrappy/tests/data/gmos.fits"
)


def reason(file: bytes, read: Callable[[bytes], object] = read_frame) -> str:
    with pytest.raises(FrameError) as caught:
        read(file)
    text = str(caught.value)
    assert text
    assert len(text) <= 500
    assert text.isprintable()
    return caught.value.reason


def edited(file: bytes, name: str, value: str, *, unit: int = 0) -> bytes:
    """The card of a name says something else."""
    at = 0
    for _ in range(unit + 1):
        at = file.index(f"{name:<8}=".encode(), at + 1 if at else 0)
    return file[: at + 10] + value.rjust(20).ljust(CARD - 10).encode() + file[at + CARD :]


@pytest.mark.parametrize("share", [0.0, 0.1, 0.5, 0.8])
def test_truncated_files(share: float) -> None:
    for file in (frame_file(), tiled(pixels()), gzip.compress(frame_file(), 1)):
        assert reason(file[: int(share * len(file))]) == "bad_frame"


@pytest.mark.parametrize("file", [b"", b"\x1f\x8b", b"SIMPLE  = T", b"no", b"\x89PNG\r\n" * 900, b" " * 2880, b"SIMPLE  =" + b" " * 90_000])
def test_what_is_not_fits(file: bytes) -> None:
    assert reason(file) == "bad_frame"


@pytest.mark.parametrize(
    ("name", "value", "why"),
    [
        ("NAXIS1", "2000000000", "frame_too_large"),
        ("NAXIS2", "3000000", "frame_too_large"),
        ("NAXIS1", str(W + OVER + 40), "bad_frame"),
        ("NAXIS1", "-5", "bad_frame"),
        ("NAXIS1", "0", "bad_frame"),
        ("NAXIS1", "1.5", "bad_frame"),
        ("NAXIS1", "99999999999999999999", "bad_frame"),
        ("NAXIS", "1", "bad_frame"),
        ("NAXIS", "999", "bad_frame"),
        ("NAXIS", "T", "bad_frame"),
        ("BITPIX", "-64", "bad_frame"),
        ("BITPIX", "17", "bad_frame"),
        ("BITPIX", "'16'", "bad_frame"),
        ("BZERO", "1E300", "bad_frame"),
        ("BZERO", "NaN", "bad_frame"),
        ("BSCALE", "0.0", "bad_frame"),
        ("BSCALE", "'x'", "bad_frame"),
    ],
)
def test_lying_headers(name: str, value: str, why: str) -> None:
    assert reason(edited(frame_file(), name, value)) == why


@pytest.mark.parametrize(
    ("name", "value", "why"),
    [
        ("ZNAXIS1", "2000000000", "frame_too_large"),
        ("ZNAXIS2", "99999", "bad_frame"),
        ("ZNAXIS1", "0", "bad_frame"),
        ("ZNAXIS", "3", "bad_frame"),
        ("ZBITPIX", "-32", "bad_frame"),
        ("ZBITPIX", "8", "bad_frame"),
        ("ZTILE1", "0", "bad_frame"),
        ("ZTILE2", "40", "bad_frame"),
        ("ZTILE1", "7", "bad_frame"),
        ("ZCMPTYPE", "'HCOMPRESS_1'", "bad_frame"),
        ("ZCMPTYPE", "'GZIP_1'", "bad_frame"),
        ("ZVAL1", "0", "bad_frame"),
        ("ZVAL2", "3", "bad_frame"),
        ("ZVAL2", "4", "bad_frame"),
        ("NAXIS2", "3", "bad_frame"),
        ("NAXIS1", "4", "bad_frame"),
        ("PCOUNT", "10", "bad_frame"),
        ("TFIELDS", "0", "bad_frame"),
        ("TFORM1", "'1PZ(99)'", "bad_frame"),
        ("TFORM1", "'1QB(99)'", "bad_frame"),
        ("TTYPE1", "'OTHER'", "bad_frame"),
        ("ZIMAGE", "F", "bad_frame"),
    ],
)
def test_lying_headers_of_tiles(name: str, value: str, why: str) -> None:
    file = tiled(pixels())
    assert reason(edited(file, name, value)) == why


def test_descriptors_that_point_elsewhere() -> None:
    file = bytearray(tiled(pixels()))
    start = len(file) - len(bytes(file).split(b"XTENSION", 1)[1]) - 8
    end = bytes(file).index(b"END" + b" " * 77, start)
    table = (end // BLOCK + 1) * BLOCK
    for count, offset in ((1 << 30, 0), (10, 1 << 30), (-5, 0), (10, -5), (0, 0), (1, 0), (2, 0)):
        damaged = bytearray(file)
        damaged[table : table + 8] = struct.pack(">ii", count, offset)
        assert reason(bytes(damaged)) == "bad_frame"


def peak(file: bytes) -> tuple[str, int]:
    """The reason, and the most memory that was taken beside the file."""
    tracemalloc.start()
    try:
        return reason(file), tracemalloc.get_traced_memory()[1]
    finally:
        tracemalloc.stop()


def test_a_hundred_thousand_cards_are_not_all_read() -> None:
    file = frame_file()
    at = file.index(b"END" + b" " * 77)
    many = file[:at] + b"".join(f"K{k:07d}= {k:>20}".ljust(CARD).encode() for k in range(100_000)) + file[at:]
    why, most = peak(many)
    assert why == "bad_frame"
    assert most < 4 << 20
    units = file_of(fits.PrimaryHDU()) + b"".join(file_of(fits.PrimaryHDU(), fits.ImageHDU())[BLOCK:] for _ in range(1_000))
    assert reason(units) == "bad_frame"


@pytest.mark.parametrize("where", ["header", "data", "behind", "members"])
def test_gzip_bombs(where: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(fits_units, "MOST_OF_FILE", 8 << 20)
    bomb = gzip.compress(bytes(64 << 20), 9)
    file = frame_file()
    if where == "header":
        made, why = gzip.compress(file[: 10 * CARD] + b" " * (64 << 20)), "bad_frame"
    elif where == "data":
        made, why = gzip.compress(edited(edited(file, "NAXIS1", "8000"), "NAXIS2", "8000") + bytes(64 << 20)), "frame_too_large"
    elif where == "behind":
        made, why = gzip.compress(file + bytes(64 << 20)), "frame_too_large"
    else:
        made, why = gzip.compress(file) + bomb, "frame_too_large"
    assert len(made) < 1 << 20
    found, most = peak(made)
    assert found == why
    assert most < 20 << 20


def test_members_of_a_gzip_stream_are_one_file_and_its_checksum_counts() -> None:
    file = frame_file()
    assert np.array_equal(read_frame(gzip.compress(file[:3_000]) + gzip.compress(file[3_000:])).data, pixels())
    damaged = bytearray(gzip.compress(file))
    damaged[-6] ^= 1
    assert reason(bytes(damaged)) == "bad_frame"


@pytest.mark.parametrize("kind", ["GZIP_1", "GZIP_2"])
def test_a_tile_that_inflates_without_end(kind: str) -> None:
    """Its length in the heap is right, what it inflates to is not."""
    rows = np.zeros((4, W), np.int16)
    file = bytearray(tiled(rows, kind, header=cards(TRIMSEC=None, BIASSEC=None), tile_shape=(4, W)))
    end = bytes(file).index(b"END" + b" " * 77, bytes(file).index(b"XTENSION"))
    table = (end // BLOCK + 1) * BLOCK
    bomb = gzip.compress(bytes(256 << 20), 9)
    file = bytearray(edited(bytes(file), "PCOUNT", str(len(bomb)), unit=0))
    width = int(bytes(file)[bytes(file).index(b"XTENSION") :].split(b"NAXIS1  =")[1][:21])
    row = bytearray(file[table : table + width])
    row[:8] = struct.pack(">ii", len(bomb), 0)
    made = bytes(file[:table]) + bytes(row) + bomb
    why, most = peak(made + bytes(-len(made) % BLOCK))
    assert why == "bad_frame"
    assert most < 4 << 20


def test_a_path_that_cannot_be_read(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    for path in (tmp_path, tmp_path / "absent.fits"):
        with pytest.raises(FrameError) as caught:
            read_frame(path)
        assert caught.value.reason == "bad_frame"
    (tmp_path / "big.fits").touch()
    os.truncate(tmp_path / "big.fits", fits_units.MOST_OF_FILE + 1)
    with pytest.raises(FrameError) as caught:
        read_frame(tmp_path / "big.fits")
    assert caught.value.reason == "frame_too_large"


def test_colours_and_cubes() -> None:
    assert reason(frame_file(np.zeros((3, H, W + OVER), np.uint16))) == "bad_frame"
    assert np.array_equal(read_frame(frame_file(pixels()[None])).data, pixels())
    assert reason(file_of(fits.PrimaryHDU(None, cards()))) == "bad_frame"
    assert reason(frame_file(np.zeros(9, np.uint16))) == "bad_frame"


@pytest.mark.parametrize(
    "changed",
    [
        {"CTYPE1": None, "CTYPE2": None},
        {"CTYPE2": None},
        {"CTYPE1": "RA---XYZ"},
        {"CTYPE1": "GLON-TAN", "CTYPE2": "GLAT-TAN"},
        {"CTYPE2": "RA---TAN"},
        {"CRVAL1": None},
        {"CRPIX2": None},
        {"CRVAL1": "here"},
        {"CRVAL2": 120.0},
        {"CD1_1": 0.0},
        {"CD1_1": 0.0, "CD2_2": 0.0},
        {"CD1_1": None, "CD1_2": None, "CD2_1": None, "CD2_2": None},
        {"CD2_2": 0.5},
        {"CD1_1": -1e-12, "CD2_2": 1e-12},
        {"RADESYS": "FK4"},
        {"EQUINOX": 1950.0},
        {"CRPIX1": 1e12},
        {"CRPIX1": -4e6},
        {"CTYPE1": "RA---TAB", "CTYPE2": "DEC--TAB"},
        {"CTYPE1": "RA---TAN-SIP", "CTYPE2": "DEC--TAN-SIP", "A_ORDER": 2, "B_ORDER": 2, "A_2_0": 50.0, "B_0_2": 50.0},
        {"CTYPE1": "RA---TAN-SIP", "CTYPE2": "DEC--TAN-SIP", "A_ORDER": 99, "B_ORDER": 2},
        {"LONPOLE": 1e300},
    ],
)
def test_without_usable_positions_on_the_sky_a_frame_says_why(changed: dict[str, object]) -> None:
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        frame = read_frame(frame_file(**changed))
    assert frame.wcs is None
    assert frame.wcs_problem
    assert np.array_equal(frame.data, pixels())


def saved(tmp_path: Path) -> list[tuple[bytes, Callable[[bytes], object]]]:
    """One file of each kind, with its reader."""
    raw = read_frame(frame_file())
    calibrated_file.write(tmp_path / "c.fits", planes(), QUALITY, raw, masters(tmp_path / "m"))
    write_reference(tmp_path / "r.fits", reference())
    whole = b"".join(bytes(part) for part in encode_master(master("flat", 1.0)))
    found: list[tuple[bytes, Callable[[bytes], object]]] = [
        (frame_file(), read_frame),
        (frame_file(pixels().astype(np.float32), SIMPLE2=1), read_frame),
        (tiled(pixels()), read_frame),
        (tiled(pixels(), "GZIP_2"), read_frame),
        (tiled(np.random.default_rng(1).normal(0, 1, (H, W + OVER)).astype(np.float32), quantize_method=1, dither_seed=9), read_frame),
        (gzip.compress(frame_file()), read_frame),
        ((tmp_path / "c.fits").read_bytes(), calibrated_file.read),
        ((tmp_path / "r.fits").read_bytes(), read_reference),
        (whole, decode_master),
    ]
    return found + ([(REAL.read_bytes(), read_frame)] if REAL.exists() else [])


VALUES = (
    "9" * 60,
    "-1",
    "0",
    "T",
    "1E300",
    "-1E300",
    "1E999",
    "NaN",
    "1_0",
    "1.5",
    "2147483648",
    "''",
    "'x'",
    "'' /",
    "(1, 2)",
    "'[1:2,1:2]'",
)


def damaged(data: bytes, rng: np.random.Generator) -> bytes:
    """One of seven ways."""
    out = bytearray(data)
    way = rng.integers(7)
    heads = min(len(out), 12 * BLOCK)
    if way == 0:  # bits, anywhere
        for place in rng.integers(0, len(out), rng.integers(1, 9)):
            out[place] ^= 1 << int(rng.integers(8))
    elif way == 1:
        del out[int(rng.integers(len(out))) :]
    elif way == 2:  # bits of the headers
        for place in rng.integers(0, heads, rng.integers(1, 30)):
            out[place] ^= 1 << int(rng.integers(8))
    elif way == 3:  # letters of the headers that mean something
        for place in rng.integers(0, heads, rng.integers(1, 30)):
            out[place] = ord(str(rng.choice(list("0123456789-+.EDT'/ ABIJKXPQ[]:,"))))
    elif way == 4:  # cards that lie
        places = [at for at in range(0, heads, CARD) if out[at + 8 : at + 10] == b"= "]
        for place in rng.choice(places, 2) if places else ():
            out[place + 10 : place + CARD] = str(rng.choice(VALUES)).rjust(20).ljust(CARD - 10).encode()
    elif way == 5:  # bytes of tables and heaps
        at = int(rng.integers(heads // 2, len(out)))
        out[at : at + 8] = rng.bytes(8)
    else:  # a piece is missing
        at = int(rng.integers(len(out)))
        del out[at : at + int(rng.integers(1, 2 * BLOCK))]
    return bytes(out)


def outcome(file: bytes, read: Callable[[bytes], object]) -> str:
    """What became of it; another exception fails the test."""
    try:
        read(file)
    except FrameError as error:
        return error.reason if error.reason in REASONS and str(error).isprintable() else "unnamed"
    return "read"


def test_damaged_files_end_in_a_reason_or_a_frame(tmp_path: Path) -> None:
    rng = np.random.default_rng(20261130)
    files = saved(tmp_path)
    seen: Counter[str] = Counter()
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        for k in range(ROUNDS):
            file, read = files[k % len(files)]
            made = damaged(file, rng)
            seen[outcome(made, read)] += 1
    assert seen["unnamed"] == 0
    assert seen["bad_frame"] > ROUNDS / 10
    assert seen["read"] > ROUNDS / 20


def test_rice_code_of_noise_never_leaves_its_arrays() -> None:
    from data.frames.rice import rice_decode

    rng = np.random.default_rng(7)
    for figures in ((3, 6, 8), (4, 14, 16), (5, 25, 32)):
        for _ in range(300):
            guarded = np.full(200, 77, np.int32)
            code = rng.integers(0, 256, rng.integers(0, 60)).astype(np.uint8) * (rng.random() > 0.1)
            assert rice_decode(code, guarded[50:150], int(rng.integers(0, 40)), *figures) in (True, False)
            assert np.all(guarded[:50] == 77)
            assert np.all(guarded[150:] == 77)
