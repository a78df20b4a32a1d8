"""The catalogues in a folder: listed, opened as memory maps, checked, removed.

folder, name → `Catalogue`: places → rows near them; row → what the catalogue says of it
"""

from __future__ import annotations

import json
import re
import shutil
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
import numpy.typing as npt
from blake3 import blake3

from errors import UserError, one_line
from operators.crossmatch import FINEST, Layer, Matches, near
from operators.types import F32, F64

FORMAT = 1
DESCRIPTION, ORIGIN = "catalogue.json", "origin.json"
DIGITS = 16
"""Hexadecimal digits of the digest that a folder's name has."""
NAME = re.compile(r"[a-z][a-z0-9_]{0,31}")
_FOLDER = re.compile(rf"({NAME.pattern})-([0-9a-f]{{{DIGITS}}})")
MOST_BYTES = 64 << 20
"""Of a description."""
J2000, YEAR = 51_544.5, 365.25
_COLUMNS = ("parallax", "redshift", "redshift_err", "distance", "spectroscopic", "kind")
_NOTHING_TO_SAY = float("nan")


class CatalogueError(UserError):
    """A catalogue cannot be used. One line that says what to do."""


class Source(NamedTuple):
    """What a catalogue says of one of its sources; NaN and None: nothing."""

    name: str
    kind: str | None
    ra: float
    dec: float
    """At the catalogue's epoch, ICRS [deg]."""
    parallax: float
    proper_motion: float
    """Total [mas/yr]."""
    redshift: float
    redshift_err: float
    spectroscopic: bool | None
    distance: float
    """[Mpc]"""
    size: float
    """Its own radius [arcsec]; NaN: none beyond the catalogue's."""
    magnitudes: tuple[tuple[str, float], ...]


@dataclass(frozen=True, slots=True)
class Catalogue:
    """An opened catalogue. It never changes."""

    name: str
    digest: str
    """BLAKE3 of its description, which holds those of its columns: whole."""
    path: Path
    description: Mapping[str, Any] = field(repr=False)
    layers: tuple[Layer, ...] = field(repr=False)
    columns: Mapping[str, npt.NDArray[Any]] = field(repr=False)

    def __len__(self) -> int:
        return int(self.description["rows"])

    @property
    def radius(self) -> float:
        """Within which it matches [arcsec]."""
        return float(self.description["radius"])

    @property
    def epoch(self) -> float:
        """Of its places, MJD [d]."""
        return J2000 + YEAR * (float(self.description["epoch"]) - 2000.0)

    @property
    def hosts(self) -> bool:
        """Whether it holds galaxies that a transient may lie in."""
        return bool(self.description["hosts"])

    def near(self, ra: F64, dec: F64, *, mjd: F64) -> Matches:
        """What lies near places at their epoch; see `operators.crossmatch.near`."""
        return near(ra, dec, mjd=mjd, layers=self.layers, epoch=self.epoch, radius=self.radius)

    def source(self, row: int) -> Source:
        """What it says of a source."""
        return self.sources(np.array([row]))[0]

    def sources(self, rows: npt.NDArray[np.int64]) -> list[Source]:
        """What it says of sources, in their order: a column at a time, for single elements of a map cost a microsecond each."""
        c, n = self.columns, len(rows)

        def numbers(name: str) -> list[float]:
            return c[name][rows].tolist() if name in c else [_NOTHING_TO_SAY] * n

        begins, ends = c["name_at"][rows].tolist(), c["name_at"][rows + 1].tolist()
        names = c["names"].data  # the bytes themselves
        named = self.description["kinds"]
        kinds = [named[code] or None for code in c["kind"][rows].tolist()] if "kind" in c else [None] * n
        moving = np.hypot(c["pm_ra"][rows], c["pm_dec"][rows]).tolist() if "pm_ra" in c else [_NOTHING_TO_SAY] * n
        redshifts = numbers("redshift")
        spectral: list[bool | None] = [None] * n
        if "spectroscopic" in c:
            spectral = [bool(flag) if z == z else None for flag, z in zip(c["spectroscopic"][rows].tolist(), redshifts, strict=True)]
        sizes = [size or _NOTHING_TO_SAY for size in numbers("own")]
        bands = [[(band, value) for value in numbers(f"mag_{band}")] for band in self.description["bands"]]
        magnitudes = [tuple(m for m in all_bands if m[1] == m[1]) for all_bands in zip(*bands, strict=True)] if bands else [()] * n
        texts = [bytes(names[begin:end]).decode("utf-8", "replace") for begin, end in zip(begins, ends, strict=True)]
        return list(
            map(
                Source, texts, kinds, numbers("ra"), numbers("dec"), numbers("parallax"), moving, redshifts, numbers("redshift_err"),
                spectral, numbers("distance"), sizes, magnitudes,
            )
        )  # fmt: skip


def digest_of_text(text: str) -> str:
    """BLAKE3, hexadecimal."""
    return str(blake3(text.encode()).hexdigest())


def digest_of_file(path: Path) -> str:
    """The same of a file."""
    hasher = blake3(max_threads=blake3.AUTO)
    hasher.update_mmap(path)
    return str(hasher.hexdigest())


def found(folder: Path) -> dict[str, Path]:
    """NAME-DIGEST → path of every catalogue in a folder, by name."""
    if not folder.is_dir():
        return {}
    return {path.name: path for path in sorted(folder.iterdir()) if _FOLDER.fullmatch(path.name) and path.is_dir()}


def resolve(folder: Path, name: str) -> Path:
    """The catalogue that a name means: whole with its digest, or where there is one of it only, without.

    Raises
    ------
    CatalogueError
    """
    there = found(folder)
    if name in there:
        return there[name]
    same = [full for full in there if full.rpartition("-")[0] == name]
    if len(same) == 1:
        return there[same[0]]
    if same:
        raise CatalogueError(f"{name} is there {len(same)} times: name one of {', '.join(same)}")
    listed = f"it has {one_line(', '.join(there), 200)}" if there else "it has none"
    raise CatalogueError(f"no catalogue {one_line(name, 60)!r} in {folder}: {listed}; `protonova catalogue add FILE --as …` makes one")


def open_catalogue(path: Path, *, verify: bool = False) -> Catalogue:
    """Open a catalogue.

    Parameters
    ----------
    path : Path
        Its folder.
    verify : bool
        Compare every column with its digest, and not its size alone.

    Raises
    ------
    CatalogueError
        It is damaged or was changed.
    """
    try:
        text_path = path / DESCRIPTION
        if text_path.stat().st_size > MOST_BYTES:
            raise ValueError("its description is too long")
        text = text_path.read_text(encoding="utf-8")
        digest = digest_of_text(text)
        named = _FOLDER.fullmatch(path.name)
        if named is None or named[2] != digest[:DIGITS]:
            raise ValueError("its description is not the one that its name is of")
        description = json.loads(text)
        if description["format"] != FORMAT:
            raise ValueError(f"it is of format {description['format']}, this reads {FORMAT}")
        columns = {}
        for name, about in description["files"].items():
            file = path / Path(name).name
            if file.stat().st_size != about["bytes"]:
                raise ValueError(f"{name} has {file.stat().st_size:,} bytes, not {about['bytes']:,}")
            if verify and digest_of_file(file) != about["digest"]:
                raise ValueError(f"{name} was changed")
            mapped = np.load(file, mmap_mode="r", allow_pickle=False)
            columns[file.stem] = np.asarray(mapped)  # a view of the map: its own type costs a microsecond an element
        return Catalogue(named[1], digest, path, description, _layers(description, columns), columns)
    except (OSError, ValueError, KeyError, TypeError, IndexError) as error:
        raise CatalogueError(f"the catalogue {path} cannot be used ({one_line(error, 120)}): remove it and add it again") from None


def remove(folder: Path, name: str) -> Path:
    """Remove a catalogue; a process that has it open goes on with it.

    Raises
    ------
    CatalogueError
    """
    path = resolve(folder, name)
    aside = path.with_name(f".{path.name}.removed")
    try:
        path.rename(aside)
        shutil.rmtree(aside)
    except OSError as error:
        raise CatalogueError(f"{path} cannot be removed: {error.strerror or error}") from None
    return path


def _layers(description: Mapping[str, Any], columns: Mapping[str, npt.NDArray[Any]]) -> tuple[Layer, ...]:
    nothing: F32 = np.zeros(0, np.float32)
    nothing.setflags(write=False)
    layers: list[Layer] = []
    for k, about in enumerate(description["layers"]):
        first, rows, order = int(about["first"]), int(about["rows"]), int(about["order"])
        start = columns[f"start_{k}"]
        whole = 0 <= order <= FINEST and start.shape == ((12 << (2 * order)) + 1,) and start[0] == 0 and start[-1] == rows
        if not whole or (np.diff(start) < 0).any():
            raise ValueError(f"the tiles of layer {k} are none")  # the loop trusts them
        total = int(description["rows"])
        if first < 0 or first + rows > total or {len(columns["ra"]), len(columns["dec"])} != {total}:
            raise ValueError(f"the rows of layer {k} are not there")
        part = slice(first, first + rows)

        def column(name: str, part: slice = part) -> Any:
            return columns[name][part] if name in columns else nothing

        fastest, widest = float(about["fastest"]), float(about["widest"])
        moving = fastest > 0
        pm_ra, pm_dec = (column(name) if moving else nothing for name in ("pm_ra", "pm_dec"))
        own = column("own") if widest > float(description["radius"]) else nothing
        if {len(pm_ra), len(pm_dec), len(own)} - {0, rows} or len(pm_ra) != len(pm_dec):
            raise ValueError(f"the columns of layer {k} are of several lengths")
        layers.append(Layer(order, start, first, column("ra"), column("dec"), pm_ra, pm_dec, own, widest, fastest))
    return tuple(layers)


def facts(folder: Path) -> Sequence[dict[str, Any]]:
    """Of every catalogue in a folder: for a list. One that cannot be read says why."""
    rows = []
    for full, path in found(folder).items():
        try:
            about = open_catalogue(path).description
        except CatalogueError as error:
            rows.append({"catalogue": full, "problem": str(error)})
            continue
        size = sum(entry["bytes"] for entry in about["files"].values())
        rows.append(
            {"catalogue": full, "as": about["as"], "title": about["title"], "rows": about["rows"], "epoch": about["epoch"],
             "radius": about["radius"], "bytes": size}
        )  # fmt: skip
    return rows
