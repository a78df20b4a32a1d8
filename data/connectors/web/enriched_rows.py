"""Fetched files → ``enriched.jsonl`` beside them, a line an object: place, dust, star or galaxy, redshift, the star's parameters.

Made of what was fetched alone, so that it can be made again offline. A night of alerts has no lines: each of its packets carries these
facts itself (`sgscore1`, place), and the decoder reads them.
"""

from __future__ import annotations

import csv
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import orjson

from data.connectors.dust_map import DustMap
from data.connectors.enrichment import Facts, merged, of_broker, of_headers, of_tic, row, sound
from data.connectors.fits_headers import FitsError, Header, data_size, fill, read_header
from data.connectors.light_curve_files import NotALightCurve, target_name
from data.connectors.web.download import Fetched
from data.connectors.web.holdings import ENRICHED, Holdings
from data.connectors.web.mast_archive import TIC_FILE
from data.whole_file import write_whole

MOST_OBJECTS = 100_000
"""Of one table."""


class EnrichedRows:
    """The lines of a folder.

    Parameters
    ----------
    holdings : Holdings
    dust : DustMap, optional
        Without one E(B-V) is null, or as an earlier command found it.
    """

    def __init__(self, holdings: Holdings, dust: DustMap | None) -> None:
        self._holdings, self._dust = holdings, dust
        self._path = holdings.folder / ENRICHED
        self._catalogue: dict[str, Facts] = {}
        self._rows = {(line["file"], line["object"]): line for line in self._lines()}
        self._changed = False

    def _lines(self) -> Iterator[dict[str, Any]]:
        """Those of an earlier command; a damaged line is made anew."""
        try:
            text = self._path.read_bytes()
        except FileNotFoundError:
            return
        for line in text.split(b"\n"):
            try:
                found = orjson.loads(line)
            except orjson.JSONDecodeError:
                continue
            if isinstance(found, dict) and isinstance(found.get("file"), str) and isinstance(found.get("object"), str):
                yield found

    def add(self, fetched: Fetched, *, source: str) -> None:
        """Make the lines of a file that is there."""
        if fetched.path is None or fetched.state not in ("fetched", "kept"):
            return
        name = fetched.remote.name
        try:
            if TIC_FILE.fullmatch(name):
                found = (of_tic(line) for line in orjson.loads(fetched.path.read_bytes())["data"])
                self._catalogue.update({facts.object: facts for facts in found})
                return
            objects = list(_objects(fetched.path, source))
        except (
            FitsError,
            NotALightCurve,
            ValueError,
            KeyError,
            TypeError,
            OSError,
        ):  # the file was judged already; it has no facts to give
            return
        sha256 = fetched.record.sha256 if fetched.record is not None else None
        for facts in objects:
            line = {"file": name, "sha256": sha256, "source": source, **row(merged(facts, self._catalogue.get(facts.object)), self._dust)}
            before = self._rows.get((name, facts.object))
            if before is not None and before.get("sha256") == sha256 and self._dust is None:
                line |= {key: before.get(key) for key in ("ebv", "ebv_map")}
            if line != before:
                self._rows[name, facts.object] = line
                self._changed = True

    def write(self) -> None:
        """Write the lines of all files that are there still, if any changed."""
        there = {key: line for key, line in self._rows.items() if (self._holdings.folder / key[0]).is_file()}
        if self._changed or len(there) < len(self._rows):
            write_whole(self._path, b"".join(orjson.dumps(line, option=orjson.OPT_APPEND_NEWLINE) for line in there.values()))


def _objects(path: Path, source: str) -> Iterator[Facts]:
    if path.suffix == ".fits":
        headers = _headers(path)
        yield of_headers(headers, target=target_name(headers))
    elif path.suffix == ".csv":
        yield from _table(path)
    elif path.suffix == ".json":
        yield of_broker(path.stem.removeprefix(f"{source}_"), orjson.loads(path.read_bytes()))


def _headers(path: Path) -> tuple[Header, ...]:
    """The first two headers of a file."""
    found: list[Header] = []
    with path.open("rb") as file:
        while len(found) < 2 and (header := read_header(file, first=not found)) is not None:
            found.append(header)
            size = data_size(header)
            file.seek(size + fill(size), 1)
    return tuple(found)


def _table(path: Path) -> Iterator[Facts]:
    """Objects of IRSA's light curves, each at the place of its first point."""
    seen: set[str] = set()
    with path.open(newline="", encoding="utf-8") as file:
        for line in csv.DictReader(file):
            name = line.get("oid")
            if name and name not in seen and len(seen) < MOST_OBJECTS:
                ra, dec = sound("ra", line.get("ra")), sound("dec", line.get("dec"))
                if ra is not None and dec is not None:
                    seen.add(name)
                    yield Facts(name, ra, dec)
