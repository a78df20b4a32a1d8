"""What is known of a fetched object beside its light curve: stated or null, by an archive's own answer or by a map on the disk."""

from __future__ import annotations

import json
import warnings
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from data.connectors.dust_map import galactic, healpix, open_map
from data.connectors.enrichment import Facts, merged, of_broker, of_headers, of_tic, row, stellar_density
from data.connectors.fits_headers import Header
from errors import UserError
from tests.data.archive_server import ArchiveServer
from tests.data.test_light_curve_files import TESS_CARDS, spoc
from tests.data.test_sources import BROKERS, HEAD, IRSA, LC, NAME, ROW, Mast, ask

with warnings.catch_warnings():
    warnings.simplefilter("ignore")
    fits = pytest.importorskip("astropy.io.fits", reason="no astropy here")

RNG = np.random.default_rng(5)


# Density


@pytest.mark.parametrize(
    ("radius", "logg", "want"),
    [(1.0, 4.438, 1.0), (0.1192, 5.2396, 53.1), (13.2, 2.46, 0.0008), (2.0, 4.438, 0.5)],  # the Sun; TRAPPIST-1; a giant; g/R
)
def test_density_from_radius_and_gravity(radius: float, logg: float, want: float) -> None:
    assert stellar_density(radius, logg) == pytest.approx(want, rel=0.02)


@pytest.mark.parametrize(("radius", "logg"), [(None, 4.4), (1.0, None), (0.0, 4.4), (-1.0, 4.4), (np.nan, 4.4), (1.0, np.nan), (1.0, 1e9)])
def test_no_density_of_what_is_not_stated(radius: float | None, logg: float | None) -> None:
    assert stellar_density(radius, logg) is None


def test_density_agrees_with_the_catalogues_mass_and_radius() -> None:
    for mass, radius in ((1.0, 1.0), (0.3, 0.31), (1.5, 2.2)):
        assert stellar_density(radius, 4.43807 + np.log10(mass / radius**2)) == pytest.approx(mass / radius**3, rel=1e-9)


# Facts


def test_cards_that_cannot_be_are_missing() -> None:
    cards = {"RA_OBJ": 63.37, "DEC_OBJ": -69.23, "TEFF": 0.0, "RADIUS": "", "LOGG": 4.2, "TESSMAG": 10.5}
    facts = of_headers((Header(), Header(cards)), target="TIC 1")
    assert facts == Facts("TIC 1", 63.37, -69.23, logg=4.2, tmag=10.5, stated_by="header")
    assert of_headers((Header({"RA_OBJ": 400.0, "TEFF": True, "LOGG": "high"}),), target="TIC 1") == Facts("TIC 1")


def test_the_catalogue_completes_a_header_and_parameters_are_never_of_two_fits() -> None:
    header = Facts("TIC 5", 10.0, 20.0, teff=5000.0, radius=0.8, logg=4.5, tmag=9.0, stated_by="header")
    whole = of_tic({"ID": 5, "ra": 1, "dec": 2, "objType": "STAR", "Tmag": 9.1, "Teff": 5100, "rad": 0.9, "mass": 0.85, "logg": None})
    both = merged(header, whole)
    assert (both.ra, both.radius, both.mass, both.logg, both.stated_by, both.star_galaxy) == (10.0, 0.9, 0.85, None, "TIC", 1.0)
    without = of_tic({"ID": 5, "objType": "EXTENDED", "Tmag": 9.1, "rad": None})
    assert merged(header, without).radius == 0.8
    assert (merged(header, without).tmag, merged(header, without).stated_by) == (9.0, "header")
    assert merged(header, None) == header
    assert row(both, None)["density"] is None


@pytest.mark.parametrize(
    ("answer", "want"),
    [
        ({"candidates": [{"ra": 10.0, "dec": 1.0, "sgscore1": -999.0}], "sherlock": {"z": 0.05}}, (10.0, None, 0.05)),
        (
            {"objectData": {"ramean": 11.0, "decmean": 1.0, "sgscore1": 0.98}, "TNS": {"z": "0.1"}, "sherlock": {"z": 0.3}},
            (11.0, 0.98, 0.1),
        ),
        ([{"i:ra": 10.0, "i:dec": 1.0, "i:sgscore1": 0.5}, {"i:ra": 10.2, "i:dec": 1.0}, {"i:ra": 10.1, "i:dec": 1}], (10.1, 0.5, None)),
        ({"sherlock": {"photoZ": 0.2, "z": None}}, (None, None, None)),  # a photometric estimate is not taken
        ([3, None], (None, None, None)),
        ("?", (None, None, None)),
    ],
)
def test_brokers_facts(answer: Any, want: tuple[float | None, ...]) -> None:
    facts = of_broker("ZTF18abbuksn", answer)
    assert (facts.ra, facts.star_galaxy, facts.redshift) == want


# Maps


def test_positions_and_galactic_coordinates_are_astropys() -> None:
    from astropy.coordinates import SkyCoord

    for ra, dec in zip(RNG.uniform(0, 360, 50), RNG.uniform(-90, 90, 50), strict=True):
        want = SkyCoord(ra, dec, unit="deg").galactic
        l, b = galactic(ra, dec)  # noqa: E741
        assert (np.cos(np.radians(l)), b) == pytest.approx((np.cos(want.l.rad), want.b.deg), abs=2e-5)
        assert row(Facts("x", ra, dec), None)["galactic_latitude"] == pytest.approx(want.b.deg, abs=2e-5)


def lambert(folder: Path, sign: int, size: int = 64, **cards: Any) -> tuple[Path, Any]:
    """A map in the form of Schlegel, Finkbeiner & Davis, with the header of WCS that theirs have."""
    values = RNG.uniform(0, 3, (size, size)).astype(np.float32)
    image = fits.PrimaryHDU(values)
    step = np.degrees(np.sqrt(2)) / (size / 2)
    image.header.update(
        {"CTYPE1": "GLON-ZEA", "CTYPE2": "GLAT-ZEA", "CRPIX1": size / 2 + 0.5, "CRPIX2": size / 2 + 0.5, "CRVAL1": 90.0,
         "CRVAL2": 90.0 * sign, "CD1_1": -step, "CD1_2": 0.0, "CD2_1": 0.0, "CD2_2": step, "LONPOLE": 180.0,
         "LAM_NSGP": sign, "LAM_SCAL": size // 2} | cards
    )  # fmt: skip
    path = folder / f"SFD_{'n' if sign > 0 else 's'}gp.fits"
    image.writeto(path, overwrite=True)
    return path, fits.open(path)[0]


def test_an_sfd_map_is_read_as_astropys_wcs_and_scipys_interpolation_read_it(tmp_path: Path) -> None:
    from astropy.coordinates import SkyCoord
    from astropy.wcs import WCS
    from scipy.ndimage import map_coordinates

    paths, images = zip(*(lambert(tmp_path, sign) for sign in (1, -1)), strict=True)
    dust = open_map(list(paths))
    for ra, dec in zip(RNG.uniform(0, 360, 200), RNG.uniform(-90, 90, 200), strict=True):
        place = SkyCoord(ra, dec, unit="deg").galactic
        image = images[0 if place.b > 0 else 1]
        x, y = WCS(image.header).wcs_world2pix(place.l.deg, place.b.deg, 0)
        want = map_coordinates(image.data, [[float(y)], [float(x)]], order=1, mode="nearest")[0]
        assert dust.ebv(ra, dec) == pytest.approx(want, abs=1e-3)
    assert dust.name == "SFD_ngp.fits, SFD_sgp.fits"
    north = open_map([paths[0]])
    assert north.ebv(10.0, -80.0) is None  # the south has a file of its own


def test_healpix_numbers_are_those_of_its_library() -> None:
    """Values of the documentation of healpy, which is not installed here; its equator is cos(pi/2) = 6e-17, beside a corner."""
    equator = float(np.degrees(np.arcsin(np.cos(np.pi / 2))))
    assert [healpix(n, 0.0, latitude=equator, nested=False) for n in (1, 2, 4, 8, 16)] == [4, 12, 72, 336, 1440]
    places = ((0.0, equator), (45.0, 45.0), (90.0, equator), (0.0, 90.0), (0.0, -90.0))
    assert [healpix(16, lon, latitude=lat, nested=False) for lon, lat in places] == [1440, 427, 1520, 0, 3068]


@pytest.mark.parametrize("nside", [1, 2, 8])
def test_both_orders_divide_the_sky_alike_and_equally(nside: int) -> None:
    n = 12 * nside**2
    places = list(zip(RNG.uniform(0, 360, 300 * n), np.degrees(np.arcsin(RNG.uniform(-1, 1, 300 * n))), strict=True))
    ring = np.array([healpix(nside, lon, latitude=lat, nested=False) for lon, lat in places])
    nest = np.array([healpix(nside, lon, latitude=lat, nested=True) for lon, lat in places])
    assert len({*zip(ring.tolist(), nest.tolist(), strict=True)}) == n  # a number of the one is a number of the other
    counts = np.bincount(ring, minlength=n)
    assert len(counts) == n
    assert counts.min() > 300 - 6 * np.sqrt(300)
    assert counts.max() < 300 + 6 * np.sqrt(300)
    coarse = [healpix(max(nside // 2, 1), lon, latitude=lat, nested=True) for lon, lat in places]
    assert np.array_equal(nest // 4, coarse) or nside == 1
    if nside == 1:
        np.testing.assert_array_equal(ring, nest)


def healpix_map(folder: Path, nside: int = 8, order: str = "NESTED", **changes: Any) -> Path:
    values = np.arange(12 * nside**2, dtype=np.float32) / 1000
    values[7] = -1.6375e30
    a_row = changes.get("a_row", 32)
    columns = [
        fits.Column(name=name, format=f"{a_row}E", array=values.reshape(-1, a_row)) for name in changes.get("names", ("TAU353", "EBV"))
    ]
    table = fits.BinTableHDU.from_columns(columns)
    cards = {"PIXTYPE": "HEALPIX", "ORDERING": order, "NSIDE": nside, "COORDSYS": "GALACTIC"}
    table.header.update(cards | changes.get("cards", {}))
    path = folder / "dust.fits"
    fits.HDUList([fits.PrimaryHDU(), table]).writeto(path, overwrite=True)
    return path


@pytest.mark.parametrize("order", ["NESTED", "RING"])
@pytest.mark.parametrize("a_row", [1, 32])
def test_a_healpix_map_gives_the_pixel_of_a_position(tmp_path: Path, order: str, a_row: int) -> None:
    dust = open_map([healpix_map(tmp_path, order=order, a_row=a_row)])
    unseen = 0
    for ra, dec in zip(RNG.uniform(0, 360, 400), RNG.uniform(-90, 90, 400), strict=True):
        l, b = galactic(ra, dec)  # noqa: E741
        pixel = healpix(8, l, latitude=b, nested=order == "NESTED")
        unseen += pixel == 7
        assert dust.ebv(ra, dec) == (None if pixel == 7 else pytest.approx(pixel / 1000))
    assert dust.name == "dust.fits"


@pytest.mark.parametrize(
    ("harm", "why"),
    [
        (lambda d: lambert(d, 1, LAM_NSGP=0)[0], "LAM_NSGP 1 or -1"),
        (lambda d: lambert(d, 1, LAM_SCAL="x")[0], "LAM_SCAL"),
        (lambda d: healpix_map(d, cards={"ORDERING": "NUNIQ"}), "ORDERING 'NUNIQ'"),
        (lambda d: healpix_map(d, cards={"NSIDE": 4}), "pixels, NSIDE 4 has 192"),
        (lambda d: healpix_map(d, cards={"NSIDE": 10**9}), "NSIDE is 1000000000"),
        (lambda d: healpix_map(d, cards={"COORDSYS": "C"}), "COORDSYS is 'C'"),
        (lambda d: healpix_map(d, names=("A", "B")), "which of its columns"),
        (lambda d: _written(d, spoc()), "neither the cards"),
        (lambda d: _written(d, healpix_map(d).read_bytes()[:9000]), "ends early"),
        (lambda d: _written(d, b"\x1f\x8b" + bytes(5000)), "compressed"),
        (lambda d: _written(d, b"hello"), "not FITS"),
        (lambda d: d / "none.fits", "cannot be read"),
        (lambda d: d, "cannot be read"),
    ],
)  # fmt: skip
def test_other_files_than_maps_of_dust_are_one_line(tmp_path: Path, harm: Any, why: str) -> None:
    with pytest.raises(UserError) as caught:
        open_map([harm(tmp_path)])
    assert why in str(caught.value)
    assert str(caught.value).isprintable()


def _written(folder: Path, data: bytes) -> Path:
    path = folder / "x.fits"
    path.write_bytes(data)
    return path


# Through fetch


def lines(folder: Path) -> list[dict[str, Any]]:
    path = folder / "enriched.jsonl"
    return [json.loads(line) for line in path.read_text().splitlines()] if path.exists() else []


TIC_ROW = {
    "ID": 25155310,
    "ra": 63.37,
    "dec": -69.23,
    "objType": "STAR",
    "Tmag": 10.55,
    "Teff": 5500.0,
    "rad": 1.1,
    "mass": 1.0,
    "logg": 4.36,
}


class MastWithCatalogue(Mast):
    """Answers `Mast.Catalogs.Filtered.Tic.Rows` too."""

    rows: Any = (TIC_ROW,)

    def invoke(self, asked: Any) -> bytes:
        from urllib.parse import parse_qs

        request = json.loads(parse_qs(asked.body.decode())["request"][0])
        if request["service"] == "Mast.Catalogs.Filtered.Tic.Rows":
            self.asked.append(request)
            return json.dumps({"status": "COMPLETE", "msg": "", "data": list(self.rows)}).encode()
        answer = json.loads(super().invoke(asked))
        for found in answer.get("data", []):
            found.setdefault("target_name", "25155310")
        return json.dumps(answer).encode()


CARDS = TESS_CARDS | {"TEFF": 5700.0, "RADIUS": 1.0, "LOGG": 4.438}


def test_a_fetched_light_curve_has_its_line_by_header_map_and_catalogue(tmp_path: Path) -> None:
    dust = open_map([healpix_map(tmp_path)])
    mast = MastWithCatalogue({LC: spoc(cards=CARDS)}, "LC")
    with mast.server() as server:
        ask(server, tmp_path / "a", "tess", "tic=25155310")
        (line,) = lines(tmp_path / "a")
        assert (line["file"], line["object"], line["parameters_from"]) == (LC, "TIC 25155310", "header")
        assert (line["teff"], line["radius"], line["logg"], line["tmag"]) == (5700.0, 1.0, 4.438, 10.55)
        assert line["density"] == pytest.approx(1.0, rel=1e-3)
        assert line["galactic_latitude"] == pytest.approx(-38.833, abs=0.001)
        assert [line[k] for k in ("ebv", "ebv_map", "mass", "redshift", "star_galaxy")] == [None] * 5
        ask(server, tmp_path / "a", "tess", "tic=25155310", dust=dust)  # the file is kept, its line is completed
        (line,) = lines(tmp_path / "a")
        assert line["ebv"] == dust.ebv(63.37, -69.23)
        assert line["ebv_map"] == "dust.fits"
        ask(server, tmp_path / "a", "tess", "tic=25155310", offline=True)
        assert lines(tmp_path / "a") == [line]  # what a map said stays
        files = ask(server, tmp_path / "b", "tess", "tic=25155310", "catalog=tic")
        assert [f.remote.name for f in files] == ["tic_25155310.json", LC]
        (line,) = lines(tmp_path / "b")
        assert (line["teff"], line["mass"], line["star_galaxy"], line["parameters_from"]) == (5500.0, 1.0, 1.0, "TIC")
        assert mast.asked[-1]["params"]["filters"] == [{"paramName": "ID", "values": ["25155310"]}]
        (tmp_path / "b" / "enriched.jsonl").write_bytes(b'{"file": 3}\n[]\n{"torn')
        ask(server, tmp_path / "b", "tess", "tic=25155310", "catalog=tic", offline=True)
        assert lines(tmp_path / "b") == [line]  # made again of what is there


@pytest.mark.parametrize(
    ("rows", "state", "why"),
    [
        ((), "fetched", ""),
        (({**TIC_ROW, "ID": 7},), "fetched", ""),
        (({"ID": 25155310},), "rejected", "no column ra"),
        ((3,), "rejected", "no rows"),
    ],
)
def test_a_catalogue_that_does_not_know_the_star_leaves_the_header(tmp_path: Path, rows: Any, state: str, why: str) -> None:
    mast = MastWithCatalogue({LC: spoc(cards=CARDS)}, "LC")
    mast.rows = rows
    with mast.server() as server:
        first, curve = ask(server, tmp_path, "tess", "tic=25155310", "catalog=tic")
    assert (first.state, curve.state) == (state, "fetched")
    assert why in first.reason
    assert lines(tmp_path)[0]["parameters_from"] == "header"


@pytest.mark.parametrize("broker", BROKERS)
def test_a_brokers_object_has_its_line(tmp_path: Path, broker: str) -> None:
    path, answer = BROKERS[broker]
    with ArchiveServer({path: json.dumps(answer).encode()}) as server:
        ask(server, tmp_path, broker, NAME, token="t")
    (line,) = lines(tmp_path)
    assert (line["object"], line["ra"], line["dec"], line["teff"]) == (NAME, 10.5, 20.5, None)
    assert line["galactic_latitude"] == pytest.approx(-42.0, abs=0.5)


def test_each_object_of_a_table_has_its_line_and_a_line_goes_with_its_file(tmp_path: Path) -> None:
    rows = [ROW.format(mjd=58268.4, mag=17.2, band="zg", ra=298.0025), ROW.format(mjd=58269.4, mag=17.2, band="zg", ra=298.0025)]
    body = (HEAD + "".join(rows) + rows[0].replace("686103400067717", "686103400067718")).encode()
    with ArchiveServer({IRSA: body}) as server:
        ask(server, tmp_path, "ztf-lightcurves", "298.0025,29.87147")
        assert [line["object"] for line in lines(tmp_path)] == ["686103400067717", "686103400067718"]
        next(tmp_path.glob("*.csv")).unlink()
        ask(server, tmp_path, "ztf-lightcurves", "298.0025,29.87147", "radius=3")
    assert all((tmp_path / line["file"]).exists() for line in lines(tmp_path))


def test_a_file_that_gives_no_facts_is_fetched_all_the_same(tmp_path: Path) -> None:
    no_mission = spoc(cards={k: v for k, v in TESS_CARDS.items() if k != "TELESCOP"})
    with Mast({LC: no_mission}, "LC").server() as server:
        (file,) = ask(server, tmp_path, "tess", "tic=25155310")
    assert file.state == "fetched"
    assert lines(tmp_path) == []


def test_damaged_headers_of_a_map_never_raise_another_error(tmp_path: Path) -> None:
    good = [healpix_map(tmp_path).read_bytes(), lambert(tmp_path, -1)[0].read_bytes()]
    for k in range(200):
        data = bytearray(good[k % 2])
        for place in RNG.integers(0, min(len(data), 3 * 2880), RNG.integers(1, 20)):
            data[place] = ord(str(RNG.choice(list("0123456789-+.ET'/ "))))
        try:
            dust = open_map([_written(tmp_path, bytes(data))])
        except UserError:
            continue
        for ra, dec in ((10.0, 80.0), (266.0, -29.0)):
            value = dust.ebv(ra, dec)
            assert value is None or 0 <= value <= 1000
