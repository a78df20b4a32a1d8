"""What matching costs an alert: `python -m benchmarks crossmatch` (five catalogues of 10^7 rows; --quick: of 10^5).

synthetic catalogues, places in micro-batches of 64 → CPU an alert [µs]: the loops alone, and with the records that come of it

Two kinds of places: anywhere, and as a stream has them (a third on a star, a third at a galaxy, the rest at nothing). `cold` is the first
touch of tiles after this process has dropped its pages: they come from the page cache, and where they come from a disk, at the disk's time.
CPU time of the process, one thread, medians over batches. Rows are evenly spread; stars move.
"""

from __future__ import annotations

import json
import mmap
import sys
import tempfile
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa

from benchmarks.machine import describe
from data.catalogues.catalogue_build import build
from data.catalogues.catalogue_kinds import KINDS
from data.catalogues.catalogue_store import Catalogue, open_catalogue
from data.catalogues.catalogue_tables import Rows
from operators.types import F64
from pipeline.reference import crossmatched
from schemas.records.detection import Crossmatch, _crossmatch

NAMES = ("gaia", "legacy", "ned", "simbad", "vsx")
BATCH, ROUNDS = 64, 60
TARGET_US = 15.0
MJD = 60_000.0


class Places:
    """n alerts, as far as they are matched."""

    def __init__(self, ra: F64, dec: F64) -> None:
        self.ra, self.dec, self.mjd = ra, dec, np.full(len(ra), MJD)


def synthetic(name: str, rows: int, *, folder: Path) -> Catalogue:
    """A catalogue of evenly spread sources."""
    rng = np.random.default_rng(NAMES.index(name))
    ra, dec = rng.uniform(0, 360, rows), np.degrees(np.arcsin(rng.uniform(-1, 1, rows)))
    numbers, magnitudes = {}, {}
    if name in ("gaia", "simbad"):
        numbers = {"pm_ra": rng.normal(0, 20, rows), "pm_dec": rng.normal(0, 20, rows), "parallax": rng.exponential(1, rows)}
        magnitudes = {"G": rng.uniform(10, 21, rows)}
    if name in ("legacy", "ned"):
        numbers = {"redshift": rng.uniform(0, 1, rows), "size": rng.exponential(1.0, rows)}
        magnitudes = {"r": rng.uniform(14, 23, rows)} if name == "legacy" else {}
    ids = pa.array(np.arange(rows) + 4 * 10**18).cast(pa.large_string())
    kind = None
    if name != "gaia":
        kind = pa.array(["REX", "G", "Star", "M"], pa.large_string()).take(rng.integers(0, 4, rows))
    about = KINDS[name]
    made = build(
        Rows(ids, kind, ra, dec, numbers, magnitudes), about, name=name, kind_name=name, folder=folder, epoch=about.epoch,
        radius=about.radius, origin={},
    )  # fmt: skip
    return open_catalogue(made)


def places(catalogues: list[Catalogue], n: int, *, how: str) -> Places:
    """Where alerts are."""
    rng = np.random.default_rng(7)
    ra, dec = rng.uniform(0, 360, n), np.degrees(np.arcsin(rng.uniform(-1, 1, n)))
    if how == "stream":
        for part, catalogue in ((slice(0, n // 3), catalogues[0]), (slice(n // 3, 2 * n // 3), catalogues[1])):
            rows = rng.integers(0, len(catalogue), n)[part]
            ra[part], dec[part] = catalogue.columns["ra"][rows], catalogue.columns["dec"][rows]
        order = rng.permutation(n)
        ra, dec = ra[order], dec[order]
    return Places(ra, dec)


def cpu(work: Callable[[], object], *, rounds: int) -> float:
    """Median CPU time of one call [s]."""
    taken = []
    for _ in range(rounds):
        began = time.process_time()
        work()
        taken.append(time.process_time() - began)
    return float(np.median(taken))


def measure(*, rows: int = 10_000_000, rounds: int = ROUNDS) -> dict[str, Any]:
    """The figures."""
    figures: dict[str, Any] = {"rows": rows, "catalogues": len(NAMES), "batch": BATCH, "target_us": TARGET_US, "us_an_alert": {}}
    with tempfile.TemporaryDirectory() as folder:
        catalogues = [synthetic(name, rows, folder=Path(folder)) for name in NAMES]
        figures["bytes"] = sum(path.stat().st_size for path in Path(folder).rglob("*.npy"))
        began = time.perf_counter()
        for catalogue in catalogues:
            open_catalogue(catalogue.path, verify=True)
        figures["seconds_to_open_and_verify"] = round(time.perf_counter() - began, 2)
        for how in ("anywhere", "stream"):
            found = places(catalogues, BATCH * rounds, how=how)
            batches = [Places(found.ra[i : i + BATCH], found.dec[i : i + BATCH]) for i in range(0, BATCH * rounds, BATCH)]
            for label, work in (
                ("loops", lambda b: [c.near(b.ra, b.dec, mjd=b.mjd) for c in catalogues]),
                ("loops and records", lambda b: crossmatched(catalogues, b)),
            ):
                work(batches[0])
                _drop(catalogues)
                figures["us_an_alert"][f"{how}, {label}, cold"] = _cost(work, batches)
                figures["us_an_alert"][f"{how}, {label}"] = _cost(work, batches)
            matched = [m for b in batches for m in crossmatched(catalogues, b)]
            figures[f"{how}: matches an alert"] = round(sum(len(m.crossmatches) for m in matched) / len(matched), 3)
        five = tuple(Crossmatch(name, "4000000000000000001", 0.5, "G", 0.1, None, None, ()) for name in NAMES)
        figures["us_to_write_five_matches"] = round(
            1e6 * cpu(lambda: [b"".join(map(_crossmatch, five)) for _ in range(200)], rounds=10) / 200, 2
        )
    figures["machine"] = describe()
    figures["within_target"] = figures["us_an_alert"]["stream, loops and records"] <= TARGET_US
    return figures


def _cost(work: Callable[[Any], object], batches: list[Places]) -> float:
    """CPU an alert, the median over batches [µs]."""
    taken = []
    for batch in batches:
        began = time.process_time()
        work(batch)
        taken.append((time.process_time() - began) / BATCH)
    return round(1e6 * float(np.median(taken)), 2)


def _drop(catalogues: list[Catalogue]) -> None:
    """Forget the pages that this process has mapped."""
    for catalogue in catalogues:
        for column in catalogue.columns.values():
            base: Any = column
            while base is not None and not isinstance(base, mmap.mmap):
                base = getattr(base, "base", None)
            if isinstance(base, mmap.mmap):
                base.madvise(mmap.MADV_DONTNEED)


def main(*, quick: bool) -> int:
    """Print the figures."""
    sys.stdout.write(json.dumps(measure(rows=100_000 if quick else 10_000_000), indent=1) + "\n")
    return 0
