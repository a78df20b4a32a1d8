"""Rows with places → Parquet files by cells of the sky, in the HATS layout (hats 1.0, as LSDB reads it), a catalogue a folder.

    NAME/hats.properties, properties     what it is, by keys of HATS
    NAME/partition_info.csv              Norder, Npix of each file
    NAME/dataset/_metadata               every file's statistics; _common_metadata: the schema
    NAME/dataset/Norder=K/Dir=D/Npix=N.parquet

A cell with more rows than `MOST_ROWS` is divided. Rows go through files of the twelve base cells first, so that one base cell's rows are in
memory at a time and not a night's. A catalogue has its name once it is whole; the one of that name before it is gone then.
"""

from __future__ import annotations

import shutil
from collections.abc import Iterable
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq

from data.history.cells import ORDER, cells_of
from settings.private import private_folder

MOST_ROWS = 1_000_000
"""Of a file."""
FINEST = 10
"""Order of the smallest cells that are divided into."""
A_FOLDER = 10_000
"""Cells of a Dir folder."""
CELL = "_healpix_29"


@dataclass(slots=True)
class Written:
    """A catalogue that was written."""

    name: str
    rows: int = 0
    files: int = 0
    size: int = 0
    """Of its files of rows [bytes]."""
    pixels: list[tuple[int, int]] = field(default_factory=list)
    """Order and cell of each."""


def write_catalogue(
    folder: Path, name: str, *, schema: pa.Schema, batches: Iterable[list[tuple[Any, ...]]], kind: str, made: str, most: int = MOST_ROWS
) -> Written:
    """Write rows as a catalogue.

    Parameters
    ----------
    folder : Path
        Gets the folder `name`.
    name : str
    schema : pyarrow.Schema
        Of the rows; has `ra` and `dec` [deg].
    batches : iterable of list of tuple
        Rows in the order of the schema.
    kind : str
        HATS' dataproduct_type: object or source.
    made : str
        When, ISO 8601 in UTC.
    most : int
        Rows of a file.
    """
    private_folder(folder)
    target, making = folder / name, folder / f".{name}.part"
    shutil.rmtree(making, ignore_errors=True)
    private_folder(making)
    found = Written(name)
    whole = pa.schema([pa.field(CELL, pa.int64()), *schema])
    try:
        dataset = private_folder(making / "dataset")
        statistics: list[Any] = []
        for base in _spread(making, whole, batches=batches):
            table = pa.ipc.open_file(str(base)).read_all()
            base_cell = int(base.stem)
            _write_cell(dataset, table.sort_by(CELL), order=0, cell=base_cell, found=found, statistics=statistics, most=most)
            base.unlink()
        pq.write_metadata(whole, str(dataset / "_common_metadata"))
        pq.write_metadata(whole, str(dataset / "_metadata"), metadata_collector=statistics)
        _describe(making, found, kind=kind, made=made, most=most)
        shutil.rmtree(target, ignore_errors=True)
        making.rename(target)
    finally:
        shutil.rmtree(making, ignore_errors=True)
    return found


def _spread(folder: Path, schema: pa.Schema, *, batches: Iterable[list[tuple[Any, ...]]]) -> list[Path]:
    """Put rows into a file a base cell; those without a place are in none."""
    writers: dict[int, Any] = {}
    files: dict[int, Path] = {}
    ra, dec = schema.get_field_index("ra") - 1, schema.get_field_index("dec") - 1
    try:
        for rows in batches:
            if not rows:
                continue
            columns = list(zip(*rows, strict=True))
            cells = cells_of(np.array(columns[ra], float), np.array(columns[dec], float))
            table = pa.Table.from_arrays(
                [pa.array(cells), *(pa.array(column, field.type) for column, field in zip(columns, list(schema)[1:], strict=True))],
                schema=schema,
            )
            for base in np.unique(cells[cells >= 0] >> 2 * ORDER).tolist():
                if base not in writers:
                    files[base] = folder / f"{base}.arrow"
                    writers[base] = pa.ipc.new_file(str(files[base]), schema)
                writers[base].write_table(table.filter(pa.array(cells >> 2 * ORDER == base)))
    finally:
        for writer in writers.values():
            writer.close()
    return [files[base] for base in sorted(files)]


def _write_cell(dataset: Path, table: pa.Table, *, order: int, cell: int, found: Written, statistics: list[Any], most: int) -> None:
    """Write a cell's rows, sorted by cells; of too many each of the four cells in it."""
    if table.num_rows > most and order < FINEST:
        cells = table[CELL].to_numpy()
        inner = np.arange(4 * cell, 4 * cell + 5) << 2 * (ORDER - order - 1)
        ends = np.searchsorted(cells, inner)
        for k in range(4):
            if ends[k + 1] > ends[k]:
                part = table.slice(int(ends[k]), int(ends[k + 1] - ends[k]))
                _write_cell(dataset, part, order=order + 1, cell=4 * cell + k, found=found, statistics=statistics, most=most)
        return
    name = f"Norder={order}/Dir={cell // A_FOLDER * A_FOLDER}/Npix={cell}.parquet"
    file = dataset / name
    private_folder(file.parent)
    own: list[Any] = []
    pq.write_table(table, file, compression="zstd", metadata_collector=own)
    own[-1].set_file_path(name)
    statistics += own
    found.rows += table.num_rows
    found.files += 1
    found.size += file.stat().st_size
    found.pixels.append((order, cell))


def _describe(folder: Path, found: Written, *, kind: str, made: str, most: int) -> None:
    covered = sum(1 / (12 * 4**order) for order, _ in found.pixels)
    facts = {
        "obs_collection": found.name, "dataproduct_type": kind, "hats_nrows": found.rows, "hats_col_ra": "ra", "hats_col_dec": "dec",
        "hats_col_healpix": CELL, "hats_col_healpix_order": ORDER, "hats_npix_suffix": ".parquet", "hats_max_rows": most,
        "hats_order": max((order for order, _ in found.pixels), default=0), "moc_sky_fraction": f"{covered:.5f}",
        "hats_builder": "protonova", "hats_creation_date": made, "hats_estsize": found.size // 1024, "hats_release_date": "2025-08-22",
        "hats_version": "v1.0",
    }  # fmt: skip
    text = "#HATS catalog\n" + "".join(f"{key}={value}\n" for key, value in facts.items())
    for name in ("hats.properties", "properties"):
        (folder / name).write_text(text, encoding="utf-8")
    lines = ["Norder,Npix", *(f"{order},{cell}" for order, cell in found.pixels)]
    (folder / "partition_info.csv").write_text("\n".join(lines) + "\n", encoding="utf-8")
