"""A night and its objects as catalogues of Parquet: what DuckDB and pyarrow read in them is what the history has, rights apart."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import duckdb
import healpix
import numpy as np
import pyarrow.dataset as ds
import pytest

from data.history import engines, nightly_scans, sky_partitions
from data.history.nightly_scans import missing_nights, write_night, write_objects
from data.history.nights import night_of
from data.history.portion import AlertRow
from data.history.sky_partitions import CELL, write_catalogue
from data.history.sql_reader import SqlReader
from settings.model import Settings
from tests.data.history_rows import NIGHT_MS, portion, sky

NIGHT = night_of(NIGHT_MS, "ztf")
DATE = "2025-11-08"


@pytest.fixture(params=["sqlite", "postgres"])
def history(request: pytest.FixtureRequest, tmp_path: Path) -> Iterator[tuple[SqlReader[Any], list[AlertRow]]]:
    url = request.getfixturevalue("postgres") if request.param == "postgres" else False
    settings = Settings(state=tmp_path, history=url)
    rows = sky(400, objects=150)
    late = [r._replace(candid=r.candid + 10**9, arrived_ms=r.arrived_ms + 86_400_000) for r in rows[:10]]
    with engines.writing(settings) as writer:
        writer.commit(portion([*rows, *late]))
    reader = engines.reader(settings)
    yield reader, rows
    reader.close()


def test_a_night_is_read_back_by_duckdb_and_pyarrow(
    history: tuple[SqlReader[Any], list[AlertRow]], tmp_path: Path, monkeypatch: Any
) -> None:
    reader, rows = history
    monkeypatch.setattr(nightly_scans, "AT_ONCE", 70)
    monkeypatch.setattr(nightly_scans, "write_catalogue", lambda *args, **options: write_catalogue(*args, **options, most=8))
    folder = tmp_path / "scans"
    assert missing_nights(reader, folder, before=NIGHT + 1) == [NIGHT]
    written = {one.name: one for one in write_night(reader, folder, night=NIGHT)}
    assert missing_nights(reader, folder, before=NIGHT + 1) == []
    shares = {"public": [r for r in rows if r.programid == 1], "private": [r for r in rows if r.programid != 1]}
    assert {name: one.rows for name, one in written.items()} == {f"{s}/detections-{DATE}": len(own) for s, own in shares.items()}
    for share, own in shares.items():
        catalogue = folder / share / f"detections-{DATE}"
        glob = str(catalogue / "dataset" / "Norder=*" / "Dir=*" / "*.parquet")
        found = duckdb.sql(f"SELECT candid, object_id, flux, packet_id, class, published FROM '{glob}' ORDER BY candid").fetchall()
        assert found == [
            (r.candid, r.object_id, r.flux, f"ztf:{r.candid}:{r.digest.hex()}", r.class_name, r.published)
            for r in sorted(own, key=lambda r: r.candid)
        ]
        # One small file says which files there are, and what lies in them.
        table = ds.parquet_dataset(str(catalogue / "dataset" / "_metadata")).to_table()
        assert table.num_rows == len(own)
        assert sorted(table["candid"].to_pylist()) == [row[0] for row in found]
        files = sorted((catalogue / "dataset").rglob("Npix=*.parquet"))
        assert len(files) == written[f"{share}/detections-{DATE}"].files > 12
        for file in files:
            order, cell = int(file.parts[-3].removeprefix("Norder=")), int(file.stem.removeprefix("Npix="))
            part = ds.dataset(file).to_table()
            assert part.num_rows <= 8
            assert part[CELL].to_pylist() == sorted(part[CELL].to_pylist())
            inside = healpix.ang2pix(1 << order, part["ra"].to_numpy(), part["dec"].to_numpy(), nest=True, lonlat=True)
            assert np.all(inside == cell)
        facts = dict(line.split("=", 1) for line in (catalogue / "hats.properties").read_text().splitlines() if not line.startswith("#"))
        assert (facts["hats_nrows"], facts["dataproduct_type"], facts["hats_col_ra"]) == (str(len(own)), "source", "ra")
        assert len((catalogue / "partition_info.csv").read_text().splitlines()) == 1 + len(files)
    assert (folder / "private").stat().st_mode & 0o077 == 0


def test_objects_are_sums_of_what_may_be_seen(history: tuple[SqlReader[Any], list[AlertRow]], tmp_path: Path) -> None:
    reader, rows = history
    write_objects(reader, tmp_path / "scans")
    seen = [*rows, *rows[:10]]  # the night after
    for share, programs in (("public", {1}), ("private", {0, 2, 3})):
        own = [r for r in seen if r.programid in programs]
        glob = str(tmp_path / "scans" / share / "objects" / "dataset" / "**" / "Npix=*.parquet")
        found = dict(duckdb.sql(f"SELECT object_id, n FROM '{glob}'").fetchall())
        assert found == {name: sum(r.object_id == name for r in own) for name in {r.object_id for r in own}}


def test_made_anew_it_takes_the_place_of_the_old_one_and_a_broken_one_is_never_there(
    history: tuple[SqlReader[Any], list[AlertRow]], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    reader, _ = history
    folder = tmp_path / "scans"
    write_night(reader, folder, night=NIGHT)
    before = sorted(path.relative_to(folder) for path in folder.rglob("*"))
    write_night(reader, folder, night=NIGHT)
    assert sorted(path.relative_to(folder) for path in folder.rglob("*")) == before
    with monkeypatch.context() as patch:
        patch.setattr(sky_partitions.pq, "write_table", lambda *args, **options: 1 / 0)
        with pytest.raises(ZeroDivisionError):
            write_night(reader, folder, night=NIGHT)
    assert sorted(path.relative_to(folder) for path in folder.rglob("*")) == before
    assert write_night(reader, folder, night=20200101) == []
    assert not list((folder / "public").glob("*2020*"))
