"""`protonova curves`: FITS light curves in, a table beside the known periods, pictures and a report out; what is none is one line."""

from __future__ import annotations

import json
import warnings
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from typer.testing import CliRunner

from console.cli import app
from errors import UserError

with warnings.catch_warnings():
    warnings.simplefilter("ignore")
    fits = pytest.importorskip("astropy.io.fits", reason="no astropy here")
pytest.importorskip("matplotlib", reason="no matplotlib here")

PERIOD, EPOCH, DEPTH = 2.7, 1326.1, 4e-3


def write(path: Path, *, depth: float = DEPTH, **cards: Any) -> Path:
    """A sector at ten minutes with a slow wave and a planet, as SPOC writes it."""
    time = np.arange(1325.0, 1351.0, 10 / 1440)
    off = np.abs((time - EPOCH + PERIOD / 2) % PERIOD - PERIOD / 2)
    noise = 4e-4 * np.random.default_rng(3).standard_normal(len(time))
    flux = 12_000 * (1 + 5e-3 * np.sin(2 * np.pi * time / 9.0) + noise - depth * (off < 0.06))
    primary = fits.PrimaryHDU()
    primary.header.update({"TELESCOP": "TESS", "TICID": 77, "SECTOR": 4, "RA_OBJ": 63.4, "DEC_OBJ": -69.2, "TESSMAG": 10.2} | cards)
    columns = [
        fits.Column(name="TIME", format="D", array=time, unit="BJD - 2457000, days"),
        fits.Column(name="PDCSAP_FLUX", format="E", array=flux),
        fits.Column(name="PDCSAP_FLUX_ERR", format="E", array=np.full(len(time), 4.8)),
        fits.Column(name="QUALITY", format="J", array=np.zeros(len(time), int)),
    ]
    table = fits.BinTableHDU.from_columns(columns)
    table.header.update({"BJDREFI": 2457000, "BJDREFF": 0.0, "TIMESYS": "TDB"})
    fits.HDUList([primary, table]).writeto(path)
    return path


def run(*arguments: object) -> Any:
    result = CliRunner().invoke(app, ["curves", *map(str, arguments)])
    if isinstance(result.exception, UserError):
        assert "\n" not in str(result.exception)
    return result


def test_a_planet_is_listed_beside_its_catalogue_and_drawn(tmp_path: Path) -> None:
    write(tmp_path / "in.fits")
    (tmp_path / "known.csv").write_text(f"object,period,name,kind\nTIC 77,{PERIOD},made b,planet\n")
    out, report = tmp_path / "pictures", tmp_path / "r.json"
    done = run(tmp_path / "in.fits", "--out", out, "--catalogue", tmp_path / "known.csv", "--report", report)
    assert done.exit_code == 0, done.output
    assert "made b" in done.output
    (one,) = json.loads(report.read_text())["light_curves"]
    assert one["transit"]["period"] == pytest.approx(PERIOD, rel=2e-3)
    assert one["transit"]["depth"] == pytest.approx(DEPTH, rel=0.15)
    assert one["found_over_known_period"] == pytest.approx(1, abs=2e-3)
    assert one["remark"] == ""
    (picture,) = out.iterdir()
    assert picture.name == "TIC-77-sector-4.png"
    assert picture.read_bytes()[:4] == b"\x89PNG"


def test_a_quiet_star_has_no_sure_period_and_no_catalogue(tmp_path: Path) -> None:
    write(tmp_path / "in.fits", depth=0.0)
    report = tmp_path / "r.json"
    assert run(tmp_path / "in.fits", "--report", report).exit_code == 0
    (one,) = json.loads(report.read_text())["light_curves"]
    assert one["remark"] == "no sure period"
    assert one["known"] == []


def test_what_is_not_a_light_curve_is_one_line(tmp_path: Path) -> None:
    (tmp_path / "x.txt").write_text("no light curve")
    fits.PrimaryHDU(np.zeros((4, 4))).writeto(tmp_path / "image.fits")
    done = run(tmp_path)
    assert done.exit_code == 1
    lines = done.stderr.splitlines()
    assert len(lines) == 2
    assert all("skipped" in line for line in lines)


def test_an_alert_is_not_a_light_curve(tmp_path: Path) -> None:
    from data.connectors.star_curves import NotAStarCurve, star_curve
    from schemas.avro.container import Container

    alert = Container({"type": "record", "name": "a", "fields": [{"name": "candid", "type": "long"}]}).encode({"candid": 3})
    for packet in (alert, b"", b"Obj\x01rubbish"):
        with pytest.raises(NotAStarCurve):
            star_curve(packet)


@pytest.mark.parametrize(
    ("text", "said"),
    [
        ("object\nTIC 77\n", "needs the columns object and period"),
        ("object,period\nStar 77,2\n", "not an object"),
        ("object,period\nTIC 77,soon\n", "not a number of days"),
        ("object,period\nTIC 77,-2\n", "not a number of days"),
        ("object,period\nTIC 77,\n", "period is missing"),
    ],
)
def test_a_wrong_catalogue_is_refused_before_the_work(text: str, said: str, tmp_path: Path) -> None:
    (tmp_path / "known.csv").write_text(text)
    done = run(write(tmp_path / "in.fits"), "--catalogue", tmp_path / "known.csv")
    assert isinstance(done.exception, UserError)
    assert said in str(done.exception)


def test_a_packet_comes_back_as_it_went(tmp_path: Path) -> None:
    from data.connectors.archives import Packet, packets_of
    from data.connectors.star_curves import star_curve

    (item,) = packets_of([write(tmp_path / "in.fits")])
    assert isinstance(item, Packet)
    star = star_curve(item.packet)
    assert (star.name, star.observed) == ("TIC 77", "sector 4")
    assert star.packet() == item.packet


def test_the_real_planet_has_its_literature_period(shared: Path, tmp_path: Path) -> None:
    folder = shared / "tess" / "eleanor"
    if not folder.is_dir():
        pytest.skip("no real light curves here")
    report = tmp_path / "r.json"
    assert run(folder, "--report", report, "--out", tmp_path / "p").exit_code == 0
    (one,) = json.loads(report.read_text())["light_curves"]
    assert one["known"][0]["name"] == "WASP-126 b"
    assert one["found_over_known_period"] == pytest.approx(1, abs=1e-3)
    assert len(list((tmp_path / "p").glob("*.png"))) == 1
