"""FITS light curves become TESS packets with the numbers of the file; what is damaged, contradicts itself or is another thing is named."""

from __future__ import annotations

import gzip
import io
import os
import warnings
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from data.connectors.archives import Packet, Skipped, packets_of
from data.connectors.fits_headers import MOST_CARDS
from data.connectors.light_curve_files import MOST_POINTS
from operators.types import MAX_POINTS
from schemas.surveys import tess
from schemas.surveys.decode import Decoder

with warnings.catch_warnings():
    warnings.simplefilter("ignore")
    fits = pytest.importorskip("astropy.io.fits", reason="no astropy here")

N = 150  # the decoder keeps the last 160
TESS_CARDS = {"TELESCOP": "TESS", "TICID": 25155310, "SECTOR": 1, "RA_OBJ": 63.37, "DEC_OBJ": -69.23, "TESSMAG": 10.55}
K2_CARDS = {"TELESCOP": "Kepler", "MISSION": "K2", "KEPLERID": 211311380, "CAMPAIGN": 5, "RA_OBJ": 130.0, "DEC_OBJ": 12.0, "KEPMAG": 11.7}
RNG = np.random.default_rng(1)
TIME = 1325.3 + np.arange(N) / 72
RATE = 16_000 + 20 * RNG.standard_normal(N)


def column(name: str, values: Any, code: str = "E", unit: str = "") -> Any:
    return fits.Column(name=name, format=code, array=values, unit=unit)


def made(
    columns: list[Any], cards: dict[str, Any] = TESS_CARDS, table_cards: dict[str, Any] | None = None, extra: tuple[Any, ...] = ()
) -> bytes:
    primary = fits.PrimaryHDU()
    primary.header.update(cards)
    table = fits.BinTableHDU.from_columns(columns)
    table.header.update({"BJDREFI": 2457000, "BJDREFF": 0.0, "TIMESYS": "TDB"} if table_cards is None else table_cards)
    out = io.BytesIO()
    fits.HDUList([primary, table, *extra]).writeto(out)
    return out.getvalue()


def spoc(**changes: Any) -> bytes:
    values = {"time": TIME, "flux": RATE, "quality": np.zeros(N, int)} | {
        k: v for k, v in changes.items() if k in ("time", "flux", "quality")
    }
    n = len(values["time"])
    columns = [
        column("TIME", values["time"], "D", "BJD - 2457000, days"),
        column("CADENCENO", 70_444 + np.arange(n), "J"),
        column("SAP_FLUX", values["flux"] * 0.9),
        column("PDCSAP_FLUX", values["flux"]),
        column("PDCSAP_FLUX_ERR", np.full(n, 12.0)),
        column("QUALITY", values["quality"], "J"),
    ]
    return made(columns, changes.get("cards", TESS_CARDS), changes.get("table_cards"))


def only(path: Path, data: bytes) -> Packet | Skipped:
    path.write_bytes(data)
    (item,) = packets_of([path])
    return item


def read(item: Packet | Skipped) -> Any:
    assert isinstance(item, Packet), item
    decoded = Decoder().decode([item.packet])
    assert not decoded.rejected, decoded.rejected
    return decoded.batch


def points(batch: Any) -> tuple[np.ndarray, np.ndarray]:
    """Times as BTJD and total fluxes [e-/s] less the median."""
    valid = batch.valid[0]
    return batch.time[0][valid] - tess.TAI_OF_TDB - 56_999.5, batch.flux[0][valid] / tess.MICROJANSKY


def test_a_spoc_file_is_a_packet_with_its_numbers(tmp_path: Path) -> None:
    item = only(tmp_path / "lc.fits", spoc())
    batch = read(item)
    assert (batch.survey, batch.object_id, batch.band) == (("tess",), ("TIC 25155310",), ("T",))
    assert batch.candid == (tess.candid(25155310, 1, cadence=N - 1),)
    time, flux = points(batch)
    np.testing.assert_allclose(time, TIME, atol=1e-9)
    want = RATE.astype(np.float32)
    np.testing.assert_allclose(flux, want - np.median(want), atol=0.02)
    assert batch.own_err[0] == pytest.approx(12 * tess.MICROJANSKY, rel=1e-5)


def test_compressed_and_archived_files_are_the_same_packet(tmp_path: Path) -> None:
    plain = only(tmp_path / "lc.fits", spoc())
    zipped = only(tmp_path / "lc.fits.gz", gzip.compress(spoc()))
    assert isinstance(plain, Packet)
    assert isinstance(zipped, Packet)
    assert plain.packet == zipped.packet


RELATIVE = RATE / 16_000
LEVEL = 10 ** (0.4 * (tess.ZERO_POINT - 10.55))


@pytest.mark.parametrize(
    ("columns", "want"),
    [
        ([column("KSPSAP_FLUX", RELATIVE), column("SAP_FLUX", RELATIVE), column("KSPSAP_FLUX_ERR", RELATIVE * 1e-3)], LEVEL * RELATIVE),
        ([column("DET_FLUX", RELATIVE), column("DET_FLUX_ERR", RELATIVE * 1e-3)], LEVEL * RELATIVE),
        ([column("FLUX_RAW", RATE), column("FLUX_CORR", 1e6 * (RELATIVE - 1)), column("FLUX_CORR_ERR", RELATIVE * 800)], LEVEL * RELATIVE),
        ([column("RAW_FLUX", RATE * 2), column("CORR_FLUX", RATE), column("FLUX_ERR", RATE * 1e-3)], RATE),
        ([column("SAP_FLUX", RATE), column("SAP_FLUX_ERR", RATE * 1e-3)], RATE),
    ],
    ids=["QLP", "QLP from 56 on", "TASOC", "eleanor", "SAP"],
)
def test_each_product_is_read_by_its_columns(columns: list[Any], want: np.ndarray, tmp_path: Path) -> None:
    item = only(tmp_path / "lc.fits", made([column("TIME", TIME, "D"), *columns]))
    _, flux = points(read(item))
    np.testing.assert_allclose(flux, want - np.median(want), atol=0.5)


def test_k2_and_kepler_keep_their_catalogue_passband_and_times(tmp_path: Path) -> None:
    bkjd = 2310.0 + np.arange(N) / 48
    columns = [column("T", bkjd, "D", "BJD - 2454833"), column("FCOR", RELATIVE), column("MOVING", np.arange(N) % 50 == 0, "J")]
    batch = read(only(tmp_path / "k2sff.fits", made(columns, K2_CARDS, {})))
    assert batch.object_id == ("EPIC 211311380",)
    valid = batch.valid[0]
    assert valid.sum() == N - 3  # without the three in which the telescope moved
    np.testing.assert_allclose(batch.time[0][valid][0] - tess.TAI_OF_TDB, bkjd[1] + 54_832.5, atol=1e-9)
    assert set(batch.wavelength[0][valid].tolist()) == {np.float32(tess.KEPLER_WAVELENGTH)}
    level = 10 ** (0.4 * (tess.KEPLER_ZERO_POINT - 11.7)) * tess.KEPLER_MICROJANSKY
    assert np.std(batch.flux[0][valid]) == pytest.approx(np.std(RELATIVE) * level, rel=0.1)
    assert batch.flux_err[0][valid][0] == pytest.approx(np.std(RELATIVE) * level, rel=0.2)  # no errors in the file: the scatter
    kepler = {k: v for k, v in K2_CARDS.items() if k not in ("MISSION", "CAMPAIGN")} | {"QUARTER": 5, "KEPLERID": 10002792}
    columns = [column("TIME", bkjd - 1800, "D"), column("PDCSAP_FLUX", RATE), column("PDCSAP_FLUX_ERR", RATE * 1e-3)]
    batch = read(only(tmp_path / "kepler.fits", made(columns, kepler, {"BJDREFI": 2454833, "BJDREFF": 0.0})))
    assert batch.object_id == ("KIC 10002792",)
    assert batch.candid == (tess.candid(10002792, tess.KEPLER_SECTOR + 5, cadence=N - 1),)


def target_pixels(**changes: Any) -> bytes:
    flux = changes.get("flux", RATE[:, None, None] / 4 * np.ones((N, 3, 2)))
    pixels = [
        column("TIME", TIME, "D"),
        fits.Column(name="FLUX", format="6E", dim="(2,3)", array=flux),
        fits.Column(name="FLUX_ERR", format="6E", dim="(2,3)", array=np.full((N, 3, 2), 6.0)),
        column("QUALITY", np.zeros(N, int), "J"),
    ]
    aperture = fits.ImageHDU(np.array([[1, 3], [3, 3], [1, 3]], changes.get("kind", np.int32))[: changes.get("rows", 3)], name="APERTURE")
    cards = changes.get("aperture_cards", {})
    stored = io.BytesIO()
    fits.HDUList([fits.PrimaryHDU(), aperture]).writeto(stored)
    if cards:  # as text: astropy would scale the image
        lines = "".join(f"{name:8}= {value:>20}".ljust(80) for name, value in cards.items()) + "END".ljust(80)
        data = stored.getvalue()
        at = data.index(b"END".ljust(80), 2880)
        return made(pixels) + data[2880:at] + lines.encode() + data[at + len(lines) :]
    return made(pixels, extra=(aperture,) if changes.get("aperture", True) else ())


@pytest.mark.parametrize("kind", [np.int32, np.uint32, np.int16], ids=["int32", "uint32 (by BZERO)", "int16"])
def test_target_pixels_are_summed_over_the_aperture(kind: Any, tmp_path: Path) -> None:
    batch = read(only(tmp_path / "tp.fits", target_pixels(kind=kind)))
    _, flux = points(batch)
    np.testing.assert_allclose(flux, RATE - np.median(RATE), atol=0.05)
    assert batch.own_err[0] == pytest.approx(np.sqrt(4) * 6 * tess.MICROJANSKY, rel=1e-5)


@pytest.mark.parametrize(
    ("time", "cards", "ok", "reason"),
    [
        (TIME + 2_457_000, {}, True, ""),
        (TIME + 56_999.5, {}, True, ""),
        (TIME, {}, True, ""),  # TESS's own, by its range
        (TIME + 2_457_000, {"BJDREFI": 2457000}, False, "look like BJD"),
        (TIME, {"BJDREFI": 2454833}, False, "look like BTJD"),
        (TIME + 1e7, {}, False, "nothing says from when"),
        (TIME + 56_999.5, {"BJDREFI": 2457000}, False, "look like MJD"),
        (-TIME, {}, False, "nothing says from when"),
        (TIME, {"BJDREFI": 2457000, "TIMESYS": "TAI"}, False, "TIMESYS is TAI"),
        (TIME, {"BJDREFI": 2457000, "TIMESYS": "UTC"}, False, "TIMESYS is UTC"),
    ],
    ids=["BJD", "MJD", "BTJD", "header and values", "wrong header", "no such", "MJD as BTJD", "negative", "TAI", "UTC"],
)
def test_time_systems(time: np.ndarray, cards: dict[str, Any], ok: bool, reason: str, tmp_path: Path) -> None:
    columns = [column("TIME", time, "D"), column("PDCSAP_FLUX", RATE), column("PDCSAP_FLUX_ERR", RATE * 1e-3)]
    item = only(tmp_path / "lc.fits", made(columns, table_cards=cards))
    if ok:
        np.testing.assert_allclose(points(read(item))[0], TIME, atol=1e-8)
    else:
        assert isinstance(item, Skipped)
        assert item.kind == "unusable light curve"
        assert reason in item.reason
        assert "\n" not in item.reason


def without(*names: str) -> dict[str, Any]:
    return {k: v for k, v in TESS_CARDS.items() if k not in names}


def cut_card(data: bytes, name: str, text: str) -> bytes:
    """The same file with another value of the table's card."""
    at = data.index(f"{name:8}= ".encode(), 2880)
    return data[: at + 10] + f"{text:>20}".encode() + data[at + 30 :]


@pytest.mark.parametrize(
    ("data", "kind", "reason"),
    [
        (lambda: spoc()[:9000], "unreadable", "ends early"),
        (lambda: spoc()[:4000], "unreadable", "in a header"),
        (lambda: cut_card(spoc(), "NAXIS1", "40"), "unreadable", "NAXIS1 says 40"),
        (lambda: cut_card(spoc(), "NAXIS2", "1999999"), "unreadable", "ends early"),
        (lambda: cut_card(spoc(), "NAXIS2", "-5"), "unreadable", "NAXIS2 is -5"),
        (lambda: cut_card(spoc(), "NAXIS2", "99999999999"), "too large", "more than"),
        (lambda: cut_card(spoc(), "BITPIX", "16"), "unreadable", "BITPIX 16"),
        (lambda: cut_card(spoc(), "BITPIX", "12"), "unreadable", "BITPIX is 12"),
        (lambda: cut_card(spoc(), "TFORM1", "'999999999D'"), "too large", "a row"),
        (lambda: cut_card(spoc(), "TFORM1", "'?'"), "unreadable", "TFORM1"),
        (lambda: target_pixels()[:20_000], "unreadable", "ends early"),
        (lambda: cut_card(spoc(), "NAXIS", "3"), "unreadable", "NAXIS3 is missing"),
        (lambda: cut_card(spoc(), "NAXIS", "10"), "unreadable", "NAXIS is 10"),
        (lambda: cut_card(spoc(), "BITPIX", "-33"), "unreadable", "BITPIX is -33"),
        (lambda: cut_card(spoc(), "PCOUNT", "1E3"), "unreadable", "PCOUNT is 1000.0"),
        (lambda: cut_card(spoc(), "TFIELDS", "5"), "unreadable", "NAXIS1 says"),
        (lambda: target_pixels(aperture_cards={"BZERO": 0.5}), "unreadable", "BZERO 0.5"),
        (lambda: target_pixels(aperture_cards={"BSCALE": 2.0}), "unreadable", "BSCALE 2.0"),
        (lambda: spoc()[:2880] + f"{'HISTORY y':80}".encode() * 100_000, "unreadable", "does not begin with XTENSION"),
        (lambda: spoc()[:4000] + f"{'HISTORY y':80}".encode() * 100_000, "unreadable", f"{MOST_CARDS:,} cards"),
        (lambda: spoc(cards=TESS_CARDS | {"SECTOR": 1.5}), "unusable light curve", "SECTOR is 1.5"),
        (lambda: spoc(cards=TESS_CARDS | {"SECTOR": -1}), "unusable light curve", "SECTOR is -1"),
        (lambda: target_pixels(flux=np.full((N, 3, 2), np.nan)), "unusable light curve", "no measurement"),
        (lambda: spoc(time=np.zeros(N)), "unusable light curve", "no cadence has a time"),
        (lambda: spoc(time=TIME[:0], flux=RATE[:0], quality=np.zeros(0, int)), "unusable light curve", "no cadence has a time"),
        (lambda: spoc(time=1325.3 + np.arange(10**6) / 3e4, flux=np.ones(10**6), quality=np.zeros(10**6)), "too large", "1,000,000 points"),
        (lambda: spoc()[:400] + b"".join(f"{'COMMENT x':80}".encode() for _ in range(100_000)), "unreadable", f"{MOST_CARDS:,} cards"),
        (lambda: spoc(time=np.full(N, np.nan)), "unusable light curve", "no cadence has a time"),
        (lambda: spoc(flux=np.full(N, np.nan)), "unusable light curve", "no measurement"),
        (lambda: spoc(cards=without("TICID")), "unusable light curve", "TICID"),
        (lambda: spoc(cards=without("SECTOR")), "unusable light curve", "SECTOR"),
        (lambda: spoc(cards=without("RA_OBJ")), "unusable light curve", "RA_OBJ"),
        (lambda: spoc(cards=without("TELESCOP")), "unusable light curve", "neither TESS nor Kepler"),
        (lambda: spoc(cards=TESS_CARDS | {"TICID": 1 << 40}), "unusable light curve", "do not fit"),
        (lambda: made([column("TIME", TIME, "D"), column("DET_FLUX", RELATIVE)], without("TESSMAG")), "unusable light curve", "TESSMAG"),
        (lambda: made([column("TIME", TIME, "D"), column("X", RATE)]), "FITS file", "no table of a light curve"),
        (lambda: target_pixels(aperture=False), "unusable light curve", "without an aperture"),
        (lambda: target_pixels(rows=2), "unusable light curve", "does not fit"),
        (lambda: spoc(time=1325.3 + np.arange(MOST_POINTS + 9) / 86_400, flux=np.ones(MOST_POINTS + 9), quality=np.zeros(MOST_POINTS + 9)),
         "too large", "a packet holds at most"),
    ],
)  # fmt: skip
def test_what_cannot_be_used_is_named_in_one_line(data: Any, kind: str, reason: str, tmp_path: Path) -> None:
    item = only(tmp_path / "lc.fits", data())
    assert isinstance(item, Skipped), "a packet was made of it"
    assert item.kind == kind
    assert reason in item.reason
    assert "\n" not in item.reason
    assert len(item.reason) < 200


def test_compressed_tables_and_images_are_named(tmp_path: Path) -> None:
    table = fits.CompImageHDU(np.zeros((40, 40), np.float32))
    out = io.BytesIO()
    fits.HDUList([fits.PrimaryHDU(), table]).writeto(out)
    item = only(tmp_path / "a.fits", out.getvalue())
    assert isinstance(item, Skipped)
    assert item.kind == "FITS file"
    item = only(tmp_path / "b.fits", made([column("TIME", TIME, "D"), column("PDCSAP_FLUX", RATE)], table_cards={"ZTABLE": True}))
    assert isinstance(item, Skipped)
    assert "compressed table" in item.reason


ODD = ("unsorted", "backward", "repeated", "all at once", "years apart", "twelve years apart", "negative", "of both signs", "zero",
       "one point", "two points", "masked", "half missing")  # fmt: skip


@pytest.mark.parametrize("what", ODD)
def test_odd_curves_are_packets_that_decode(what: str, tmp_path: Path) -> None:
    time, flux, quality = TIME.copy(), RATE.copy(), np.zeros(N, int)
    if what == "unsorted":
        mixed = RNG.permutation(N)
        time, flux = time[mixed], flux[mixed]
    elif what == "backward":
        time, flux = time[::-1], flux[::-1]
    elif what == "repeated":
        time[10:20] = time[5]
    elif what == "all at once":
        time[:] = time[0]
    elif what == "years apart":
        time[N // 2 :] += 1500
    elif what == "twelve years apart":
        time += np.arange(N) // 10 * 300
    elif what == "negative":
        flux *= -1
    elif what == "of both signs":
        flux[::2] *= -1
    elif what == "zero":
        flux[:] = 0
    elif what == "two points":
        time, flux, quality = time[:2], flux[:2], quality[:2]
    elif what == "half missing":
        flux[::2] = np.nan
    elif what == "one point":
        time, flux, quality = time[:1], flux[:1], quality[:1]
    elif what == "masked":
        quality[: N // 2] = 32
    item = only(tmp_path / "lc.fits", spoc(time=time, flux=flux, quality=quality))
    batch = read(item)
    got, _ = points(batch)
    assert np.all(np.diff(got) > 0)
    if what in ("unsorted", "backward"):
        np.testing.assert_allclose(got, TIME, atol=1e-9)
    elif what == "repeated":
        assert len(got) == N - 10
    elif what in ("masked", "half missing"):
        assert len(got) == N - N // 2
    elif what in ("one point", "all at once"):
        assert len(got) == 1
    else:
        assert len(got) == len(time)


@pytest.mark.parametrize("seed", range(40))
def test_damaged_bytes_never_raise(seed: int, tmp_path: Path) -> None:
    rng = np.random.default_rng(seed)
    data = bytearray(target_pixels() if seed % 2 else spoc())
    for _ in range(20):
        data[int(rng.integers(10, min(len(data), 2880 * 6)))] = int(rng.integers(0, 256))
    item = only(tmp_path / "lc.fits", bytes(data))
    if isinstance(item, Packet):
        Decoder().decode([item.packet])
    else:
        assert item.reason


def test_scaled_columns_and_nulls(tmp_path: Path) -> None:
    cards = {"BJDREFI": 2457000, "XSCAL2": 0.5, "XZERO2": 1000.0, "XNULL2": 7}
    data = made([column("TIME", TIME, "D"), column("SAP_FLUX", np.arange(N), "I"), column("SAP_FLUX_ERR", np.ones(N))], table_cards=cards)
    for name in (b"SCAL2", b"ZERO2", b"NULL2"):  # as cards of the column, once it is written as it is
        data = data.replace(b"X" + name, b"T" + name)
    time, got = points(read(only(tmp_path / "lc.fits", data)))
    rows = np.round((time - TIME[0]) * 72).astype(int)
    assert set(range(N)) - set(rows.tolist()) == {7}
    np.testing.assert_allclose(got - got[0], 0.5 * rows, atol=0.02)


def test_real_files_are_read_as_astropy_reads_them() -> None:
    folder = Path(os.environ.get("PROTONOVA_SHARED", Path(__file__).parents[3] / "shared")) / "data" / "real" / "tess"
    files = sorted(folder.rglob("*.fits"))
    if not files:
        pytest.skip("no real light curves here")
    for path in files:
        (item,) = packets_of([path])
        batch = read(item)
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            hdus = fits.open(path)
        data, zero = hdus[1].data, hdus[1].header["BJDREFI"]
        bits = data["QUALITY"] if "QUALITY" in data.names else data["SAP_QUALITY"]
        good = np.isfinite(data["TIME"]) & np.isfinite(data["PDCSAP_FLUX"]) & (bits == 0)
        time, _ = points(batch)
        want = data["TIME"][good].astype(float) + zero - 2_457_000
        every = -(-len(want) // MAX_POINTS)  # a row takes points from all of a long light curve, the newest among them
        np.testing.assert_allclose(time, want[::-1][::every][::-1], atol=1e-8)
        assert str(hdus[0].header["OBJECT"]) == batch.object_id[0]
