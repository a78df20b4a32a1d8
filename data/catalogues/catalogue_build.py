"""Checked rows → a catalogue's folder: columns in the order of their tiles, its digest in its name.

    NAME-DIGEST/catalogue.json          what it is, and the BLAKE3 digest of each column; the digest in the name is this file's
    NAME-DIGEST/ra.npy, dec.npy, …      a column each
    NAME-DIGEST/origin.json             where it came from and when; no part of the digest

The digest follows from the rows alone: two machines that add the same table have the same catalogue.
"""

from __future__ import annotations

import json
import os
import shutil
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt

from data.catalogues.catalogue_kinds import CatalogueKind
from data.catalogues.catalogue_rows import LONGEST_KIND
from data.catalogues.catalogue_store import DESCRIPTION, DIGITS, FORMAT, ORIGIN, digest_of_file, digest_of_text
from data.catalogues.catalogue_tables import Rows, pa
from data.history.cells import ORDER, cells_of
from data.whole_file import sync_folder
from errors import UserError
from operators.crossmatch import LONGEST, tile_order

LARGEST = 10_800.0
"""A galaxy's own radius at most [arcsec]: the Large Cloud's is more, and everything would lie in it."""
SLOW = 12.0
"""[arcsec] in `LONGEST` years: what moves farther has a layer of its own."""
WIDER = (180.0, 1_800.0)
"""Bounds of the further layers [arcsec]."""
MOST_KINDS = 65_535


def build(
    rows: Rows, kind: CatalogueKind, *, name: str, kind_name: str, folder: Path, epoch: float, radius: float, origin: Mapping[str, Any]
) -> Path:
    """Write a catalogue.

    Parameters
    ----------
    rows : Rows
        Checked.
    kind : CatalogueKind
    name, kind_name : str
        Its own name, and that of its kind.
    folder : Path
        In which the catalogues lie.
    epoch : float
        Julian year.
    radius : float
        [arcsec]
    origin : mapping
        What is written beside it.

    Returns
    -------
    Path
        Its folder; the one that is there already where the same rows were added before.

    Raises
    ------
    UserError
        The disk cannot take it.
    """
    folder.mkdir(parents=True, exist_ok=True)
    part = folder / f".{name}.{os.getpid()}.part"
    shutil.rmtree(part, ignore_errors=True)
    part.mkdir()
    try:
        description = _write(rows, kind, name=name, kind_name=kind_name, part=part, epoch=epoch, radius=radius)
        text = json.dumps(description, indent=1, sort_keys=True)
        (part / DESCRIPTION).write_text(text, encoding="utf-8")
        (part / ORIGIN).write_text(json.dumps(dict(origin), indent=1), encoding="utf-8")
        path = folder / f"{name}-{digest_of_text(text)[:DIGITS]}"
        if path.exists():
            shutil.rmtree(part)
        else:
            sync_folder(part)
            part.rename(path)
            sync_folder(folder)
    except OSError as error:
        shutil.rmtree(part, ignore_errors=True)
        raise UserError(f"the catalogue cannot be written to {folder}: {error.strerror or error}") from None
    return path


def _write(rows: Rows, kind: CatalogueKind, *, name: str, kind_name: str, part: Path, epoch: float, radius: float) -> dict[str, Any]:
    m = len(rows.ra)
    motion = {role: np.nan_to_num(rows.numbers.get(role, np.zeros(m))).astype(np.float32) for role in ("pm_ra", "pm_dec")}
    speed = np.hypot(motion["pm_ra"].astype(np.float64), motion["pm_dec"]) / 1000.0  # [arcsec/yr]
    own = np.clip(np.nan_to_num(rows.numbers.get("size", np.zeros(m))), 0.0, LARGEST)
    reach = np.maximum(own, radius) + speed * LONGEST
    layer = np.searchsorted(np.array([radius + SLOW, *(w for w in WIDER if w > radius + SLOW)]), reach)
    cells = cells_of(rows.ra, rows.dec)
    order = np.lexsort((np.arange(m), cells, layer))  # by layer, in it by cell, so that equal rows keep their order
    cells, layer, speed, own, reach = cells[order], layer[order], speed[order], own[order], reach[order]
    columns: dict[str, npt.NDArray[Any]] = {"ra": rows.ra[order], "dec": rows.dec[order]}
    if speed.any():
        columns |= {role: column[order] for role, column in motion.items()}
    if (own > radius).any():
        columns["own"] = own.astype(np.float32)
    for role in ("parallax", "redshift", "redshift_err", "distance"):
        if role in rows.numbers:
            columns[role] = _finite(rows.numbers[role][order])
    if "photo_z" in rows.numbers:
        columns |= _photometric(rows, order)
    for band, values in rows.magnitudes.items():
        columns[f"mag_{band}"] = _finite(np.where(np.abs(values[order]) < 90.0, values[order], np.nan))
    kinds: list[str] = []
    if rows.kind is not None:
        coded = rows.kind.take(pa.array(order)).dictionary_encode()
        kinds = [str(text)[:LONGEST_KIND] for text in coded.dictionary.to_pylist()]
        if len(kinds) > MOST_KINDS:
            raise UserError(f"the column of kinds holds {len(kinds):,} different ones: is it the column of names?")
        columns["kind"] = coded.indices.to_numpy(zero_copy_only=False).astype(np.uint16)
    columns["name_at"], columns["names"] = _texts(rows.name.take(pa.array(order)))
    layers: list[dict[str, Any]] = []
    first = 0
    for which in np.unique(layer).tolist():
        inside = slice(first, first + int((layer == which).sum()))
        rows_here = inside.stop - inside.start
        tiles = tile_order(rows_here, float(reach[inside].max()))
        counts = np.bincount(cells[inside] >> (2 * (ORDER - tiles)), minlength=12 << (2 * tiles))
        columns[f"start_{len(layers)}"] = np.concatenate([[0], np.cumsum(counts)]).astype(np.int64)
        layers.append(
            {
                "order": tiles, "first": first, "rows": rows_here, "widest": float(max(radius, own[inside].max())),
                "fastest": float(speed[inside].max()),
            }
        )  # fmt: skip
        first = inside.stop
    files = {}
    for column, values in columns.items():
        path = part / f"{column}.npy"
        np.save(path, values)
        with path.open("rb") as written:
            os.fsync(written.fileno())
        files[path.name] = {"digest": digest_of_file(path), "bytes": path.stat().st_size}
    return {
        "format": FORMAT, "name": name, "as": kind_name, "title": kind.title, "rows": m, "epoch": epoch, "radius": radius,
        "hosts": kind.hosts, "bands": list(rows.magnitudes), "kinds": kinds, "layers": layers, "files": files,
    }  # fmt: skip


def _photometric(rows: Rows, order: npt.NDArray[np.int64]) -> dict[str, npt.NDArray[Any]]:
    """Redshifts from photometry where there is none from a spectrum, and which are which."""
    m, nothing = len(order), np.full(len(order), np.nan)
    spectral, error = (rows.numbers.get(role, nothing) for role in ("redshift", "redshift_err"))
    seen = np.isfinite(spectral) & (spectral > -0.01) & (spectral != 0.0)  # surveys write -99 or 0 for none
    light = rows.numbers["photo_z"]
    light = np.where(light > 0.0, light, np.nan)
    values = {
        "redshift": np.where(seen, spectral, light),
        "redshift_err": np.where(seen, error, rows.numbers.get("photo_z_err", np.full(m, np.nan))),
    }
    return {**{role: _finite(column[order]) for role, column in values.items()}, "spectroscopic": seen[order].astype(np.uint8)}


def _finite(values: npt.NDArray[np.float64]) -> npt.NDArray[np.float32]:
    """As 32 bits hold them; NaN for what they do not."""
    with np.errstate(over="ignore"):
        short = values.astype(np.float32)
    return np.where(np.isfinite(short), short, np.float32(np.nan))


def _texts(names: Any) -> tuple[npt.NDArray[np.int64], npt.NDArray[np.uint8]]:
    """Where each text begins, and all of them one after the other."""
    joined = pa.concat_arrays([names.cast(pa.large_string())])  # starts at 0
    _, offsets, data = joined.buffers()
    at = np.frombuffer(offsets, np.int64)[: len(joined) + 1]
    return at.copy(), np.frombuffer(data or b"", np.uint8)[: int(at[-1])].copy()
