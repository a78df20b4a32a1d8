"""Catalogues that tests make: small tables of the sky, written as archives write them, and built."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np

from data.catalogues.catalogue_build import build
from data.catalogues.catalogue_kinds import KINDS
from data.catalogues.catalogue_rows import checked
from data.catalogues.catalogue_store import Catalogue, open_catalogue
from data.catalogues.catalogue_tables import read_rows


def table(path: Path, columns: dict[str, Any]) -> Path:
    """A CSV."""
    rows = zip(*columns.values(), strict=True)
    path.write_text("\n".join([",".join(columns), *(",".join(str(cell) for cell in row) for row in rows)]) + "\n")
    return path


def made(folder: Path, source: Path, kind: str, *, name: str | None = None, **how: Any) -> Catalogue:
    """The catalogue of a table."""
    about = KINDS[kind]
    rows, _ = checked(read_rows(source, about, given={}), about, **how)
    path = build(
        rows, about, name=name or kind, kind_name=kind, folder=folder, epoch=about.epoch, radius=about.radius, origin={"file": str(source)}
    )
    return open_catalogue(path, verify=True)


def stars(n: int, seed: int = 1) -> dict[str, Any]:
    """Of Gaia's columns."""
    rng = np.random.default_rng(seed)
    return {
        "source_id": [4_000_000_000_000_000_000 + i for i in range(n)],
        "ra": rng.uniform(0, 360, n),
        "dec": np.degrees(np.arcsin(rng.uniform(-1, 1, n))),
        "pmra": rng.normal(0, 30, n),
        "pmdec": rng.normal(0, 30, n),
        "parallax": rng.exponential(1, n),
        "phot_g_mean_mag": rng.uniform(8, 20, n),
    }
