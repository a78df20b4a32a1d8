"""Real FITS files damaged in every way that transport and tools damage them: a packet, or a named reason; never another exception."""

from __future__ import annotations

import bz2
import gzip
import io
import os
import tarfile
import warnings
import zipfile
from collections import Counter
from pathlib import Path

import numpy as np
import pytest

from data.connectors import archives
from data.connectors.archives import Packet, Skipped, packets_of
from data.connectors.fits_headers import BLOCK, CARD, FitsError
from data.connectors.fits_tables import MOST_OF_FILE, MOST_ROWS
from data.connectors.light_curve_files import NotALightCurve, packet_of
from data.connectors.web.download import Remote
from data.connectors.web.fits_checks import fits_verdict
from data.connectors.web.http_client import Request
from schemas.surveys.decode import Decoder
from tests.data.test_light_curve_files import spoc, target_pixels

ROUNDS = int(os.environ.get("PROTONOVA_FUZZ_ROUNDS", "4000"))
HEADERS = 8 * BLOCK
VALUES = ("9" * 60, "-1", "0", "T", "1E300", "-1E300", "1E999", "NaN", "1_0", "1.5", "2147483648", "''", "'x'", "'' /", "(1, 2)")
"""What a card may say that a reader does not expect."""


def real_files() -> list[bytes]:
    """Every real light curve there is; made ones where there is none."""
    folder = Path(os.environ.get("PROTONOVA_SHARED", Path(__file__).parents[3] / "shared")) / "data" / "real" / "tess"
    return [path.read_bytes() for path in sorted(folder.rglob("*.fits"))] or [spoc()]


def cards_of(data: bytes) -> list[int]:
    return [at for at in range(0, min(HEADERS, len(data)), CARD) if data[at + 8 : at + 10] == b"= "]


def damaged(data: bytes, rng: np.random.Generator) -> bytes:
    """One of six ways."""
    out = bytearray(data)
    way = rng.integers(6)
    if way == 0:  # bits, anywhere
        for place in rng.integers(0, len(out), rng.integers(1, 9)):
            out[place] ^= 1 << int(rng.integers(8))
    elif way == 1:
        del out[int(rng.integers(len(out))) :]
    elif way == 2:  # bits of the headers
        for place in rng.integers(0, min(len(out), HEADERS), rng.integers(1, 30)):
            out[place] ^= 1 << int(rng.integers(8))
    elif way == 3:  # letters of the headers that mean something
        for place in rng.integers(0, min(len(out), HEADERS), rng.integers(1, 30)):
            out[place] = ord(str(rng.choice(list("0123456789-+.EDT'/ ABIJKXP"))))
    elif way == 4:  # cards that lie
        for place in rng.choice(cards_of(data), 3):
            out[place + 10 : place + CARD] = str(rng.choice(VALUES)).rjust(20).ljust(CARD - 10).encode()
    else:  # a piece is missing
        at = int(rng.integers(len(out)))
        del out[at : at + int(rng.integers(1, 3 * BLOCK))]
    return bytes(out)


def outcome(data: bytes) -> str:
    """What became of a file; another exception than the named ones, or a warning, fails the test."""
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        try:
            packet = packet_of(io.BytesIO(data))
        except (FitsError, NotALightCurve) as error:
            name, reason = type(error).__name__, str(error)
        else:
            name, reason = "", ""
            decoded = Decoder().decode([packet])
    if name:
        assert reason.isprintable()
        assert 0 < len(reason) < 250
        return name
    assert len(decoded.index) + len(decoded.rejected) == 1
    assert all(why.error_class and why.reason for _, why in decoded.rejected)
    return "scored" if decoded.index else "rejected"


def judged(data: bytes, path: Path, *, kind: str = "fits-light-curve") -> bool:
    """The same of a file that was fetched."""
    path.write_bytes(data)
    verdict = fits_verdict(path, Remote(Request(""), path.name, kind))
    assert verdict.usable or verdict.reason.isprintable()
    return verdict.usable


def fuzz(rounds: int, seed: int, folder: Path) -> Counter[str]:
    rng, files = np.random.default_rng(seed), [*real_files(), target_pixels()]
    seen: Counter[str] = Counter()
    for number in range(rounds):
        data = damaged(files[number % len(files)], rng)
        seen[outcome(data)] += 1
        judged(data, folder / "x.fits", kind=("fits-light-curve", "fits-pixels")[number % 2])
    return seen


@pytest.mark.parametrize("seed", [1, 2])
def test_damaged_files_never_raise_but_named_errors(seed: int, tmp_path: Path) -> None:
    seen = fuzz(60, seed, tmp_path)
    assert seen["FitsError"]
    assert seen["scored"]


@pytest.mark.nightly
@pytest.mark.timeout(7200)
def test_many_damaged_files_never_raise_but_named_errors(tmp_path: Path) -> None:
    seen = fuzz(ROUNDS, 11, tmp_path)
    assert seen["FitsError"] > ROUNDS / 10
    assert seen["NotALightCurve"] > ROUNDS / 100
    assert seen["scored"] > ROUNDS / 10


@pytest.mark.nightly
@pytest.mark.timeout(7200)
def test_every_card_may_say_anything() -> None:
    for data in real_files():
        for place in cards_of(data):
            for value in VALUES:
                outcome(data[: place + 10] + value.rjust(20).ljust(CARD - 10).encode() + data[place + CARD :])


@pytest.mark.parametrize(
    "name", ["NAXIS2", "TICID", "SECTOR", "TELESCOP", "BJDREFI", "TFORM1", "TNULL2", "RA_OBJ", "TESSMAG", "NAXIS", "PCOUNT"]
)
def test_a_card_may_say_anything(name: str, tmp_path: Path) -> None:
    data = spoc()
    at = data.rindex(f"{name:8}= ".encode()) if f"{name:8}= ".encode() in data else data.index(b"END     ", BLOCK)
    for value in VALUES:
        card = f"{name:8}= {value:>20}".ljust(CARD).encode()
        changed = data[:at] + card + (data[at + CARD :] if data[at : at + 3] != b"END" else b"END".ljust(CARD) + data[at + 2 * CARD :])
        outcome(changed)
        judged(changed, tmp_path / "x.fits")


# Bombs


class Endless(io.RawIOBase):
    """A file that goes on as long as it is read."""

    def __init__(self, head: bytes) -> None:
        self._head, self.count = head, 0

    def read(self, size: int = -1, /) -> bytes:
        assert size >= 0, "read without a bound"
        data, self._head = self._head[:size], self._head[size:]
        self.count += size
        return data + bytes(size - len(data))


def stated(rows: int) -> bytes:
    """A light curve whose header states so many rows, without them."""
    data = spoc()
    at = data.index(b"NAXIS2  = ", BLOCK)
    end = data.index(b"END".ljust(CARD), at)
    end += CARD + -(end + CARD) % BLOCK
    return data[: at + 10] + f"{rows:>20}".encode() + data[at + 30 : end]


@pytest.mark.parametrize("rows", [MOST_ROWS + 1, 10**8, 10**11])
def test_a_file_that_states_too_much_is_refused_before_it_is_read(rows: int) -> None:
    file = Endless(stated(rows))
    with pytest.raises(FitsError, match="more than"):
        packet_of(file)  # type: ignore[arg-type]
    assert file.count < 1 << 20


def test_a_file_that_states_as_much_as_is_read_ends_there() -> None:
    file = Endless(stated(2_000_000))
    with pytest.raises(NotALightCurve, match="no cadence has a time"):
        packet_of(file)  # type: ignore[arg-type]
    assert file.count < MOST_OF_FILE


def zipped(name: str, data: bytes) -> bytes:
    out = io.BytesIO()
    with zipfile.ZipFile(out, "w", zipfile.ZIP_DEFLATED) as archive:
        archive.writestr(name, data)
    return out.getvalue()


@pytest.mark.parametrize("pack", [gzip.compress, bz2.compress, lambda data: zipped("lc.fits", data)], ids=["gzip", "bzip2", "zip"])
@pytest.mark.parametrize("rows", [10**8, 1_000_000])
def test_a_light_curve_that_unpacks_to_zeros_is_a_line(pack: object, rows: int, tmp_path: Path) -> None:
    path = tmp_path / "bomb"
    path.write_bytes(pack(stated(rows) + bytes(40_000_000)))  # type: ignore[operator]
    (item,) = packets_of([path])
    assert isinstance(item, Skipped)
    assert item.kind == ("too large" if rows == 10**8 else "unusable light curve")


@pytest.mark.parametrize("pack", [gzip.compress, bz2.compress, lambda data: zipped("night.tar", data)], ids=["gzip", "bzip2", "zip"])
def test_an_archive_whose_members_are_passed_over_for_hours_is_given_up(
    pack: object, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(archives, "UNPACKED_FREELY", 20_000_000)
    out = io.BytesIO()
    with tarfile.open(fileobj=out, mode="w") as tar:
        for name, data in (("a.fits", spoc()), ("zeros", bytes(60_000_000)), ("b.fits", spoc())):
            info = tarfile.TarInfo(name)
            info.size = len(data)
            tar.addfile(info, io.BytesIO(data))
    path = tmp_path / "bomb"
    path.write_bytes(pack(out.getvalue()))  # type: ignore[operator]
    items = list(packets_of([path]))
    assert isinstance(items[0], Packet)
    assert [type(item) for item in items[1:]] == [Skipped, Skipped]
    assert isinstance(items[-1], Skipped)
    assert "200 times its size" in items[-1].reason
