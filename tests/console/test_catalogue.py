"""`protonova catalogue`: made, listed, checked and removed; what is typed wrongly is one line."""

from __future__ import annotations

import os
from pathlib import Path

import pytest

from tests.console.forked_cli import protonova
from tests.data.archive_server import ArchiveServer
from tests.data.catalogues.made_catalogues import stars, table


def _run(folder: Path, *arguments: str, **environment: str) -> tuple[int, str, str]:
    done = protonova(arguments, folder=folder, environment={**os.environ, **environment})
    return done.returncode, done.stdout, done.stderr


def test_a_catalogue_s_life(tmp_path: Path) -> None:
    table(tmp_path / "gaia.csv", stars(100))
    status, out, _ = _run(tmp_path, "catalogue", "ls")
    assert (status, "no catalogue" in out) == (0, True)
    status, out, error = _run(tmp_path, "catalogue", "add", "gaia.csv", "--as", "gaia")
    assert (status, "100 sources" in out) == (0, True), error
    assert "PROTONOVA_CATALOGUES=gaia-" in out
    status, out, _ = _run(tmp_path, "catalogue", "ls", "--json", PROTONOVA_CATALOGUES="gaia")
    assert (status, '"used": true' in out) == (0, True)
    assert _run(tmp_path, "catalogue", "check")[0] == 0
    [column] = (tmp_path / "state" / "catalogues").glob("gaia-*/dec.npy")
    column.write_bytes(column.read_bytes()[:-1] + b"\x07")
    status, _, error = _run(tmp_path, "catalogue", "check", "gaia")
    assert (status, "was changed" in error) == (1, True)
    assert _run(tmp_path, "catalogue", "rm", "gaia")[0] == 0
    assert not list((tmp_path / "state" / "catalogues").iterdir())


@pytest.mark.parametrize(
    ("arguments", "says"),
    [
        (("add", "none.csv", "--as", "gaia"), "none.csv is not there"),
        (("add", "gaia.csv", "--as", "gai"), "did you mean gaia"),
        (("add", "gaia.csv", "--as", "gaia", "--name", "Up"), "small letters"),
        (("add", "gaia.csv", "--as", "gaia", "--radius", "0"), "--radius 0"),
        (("add", "gaia.csv", "--as", "gaia", "--column", "ra"), "ROLE=NAME"),
        (("add", "gaia.csv", "--as", "gaia", "--column", "ra=RA"), "has no column 'RA'"),
        (("add", "gaia.csv", "--as", "gaia", "--column", "brightness=ra"), "not what a column may be"),
        (("add", "http://example.org/gaia.csv", "--as", "gaia"), "https only"),
        (("rm", "gaia"), "no catalogue"),
        (("check", "gaia"), "no catalogue"),
    ],
)
def test_what_is_typed_wrongly_is_one_line(tmp_path: Path, arguments: tuple[str, ...], says: str) -> None:
    table(tmp_path / "gaia.csv", stars(40))
    status, _, error = _run(tmp_path, "catalogue", *arguments)
    assert status in (1, 2)
    assert says in error
    assert "Traceback" not in error


def test_a_url_is_fetched(tmp_path: Path) -> None:
    body = table(tmp_path / "made.csv", stars(40)).read_bytes()
    with ArchiveServer({"/gaia.csv": body}) as server:
        status, out, error = _run(tmp_path, "catalogue", "add", f"{server.url}/gaia.csv", "--as", "gaia")
    assert (status, "40 sources" in out) == (0, True), error
