"""The catalogues of a state, and what they say of each alert: fields of its detection.

folder, names → `ReferencePart`; catalogues, AlertBatch → `Surroundings` an alert

No probability follows from it. The network has slots for a host's distance, flux, colour and redshift and for matches with stars, active
nuclei and variables, but no packet it was trained on had any of them: its weights there are as they were drawn, and to fill one moves
logits by up to 6.5. So nothing is put into them, and scores are those without catalogues, bit for bit.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from pathlib import Path
from typing import NamedTuple, Protocol

import numpy as np

from data.catalogues.catalogue_kinds import GALAXIES
from data.catalogues.catalogue_store import Catalogue, Source, open_catalogue, resolve
from operators.namespace import to_host
from operators.types import Array
from pipeline.state_parts import ReferencePart
from schemas.records.detection import Crossmatch, Host, Magnitude

BRIGHTNESS = ("r", "G", "V", "i", "g", "B")
"""Bands that a galaxy's chance is judged by, the best first; between them lie less than two magnitudes."""


class Placed(Protocol):
    """n alerts, as far as they are matched: an `AlertBatch`, say."""

    @property
    def ra(self) -> Array:
        """(n,) ICRS [deg]."""

    @property
    def dec(self) -> Array:
        """(n,) ICRS [deg]."""

    @property
    def mjd(self) -> Array:
        """(n,) TAI [d]."""


class Surroundings(NamedTuple):
    """What the catalogues have near an alert."""

    host: Host | None = None
    crossmatches: tuple[Crossmatch, ...] = ()

    def redshift(self, own: float | None) -> float | None:
        """The packet's own, else the host's."""
        return self.host.redshift if own is None and self.host is not None else own


NOWHERE = Surroundings()
"""Of an alert with nothing near it, or without catalogues."""


def reference_of(folder: Path, names: Sequence[str], *, verify: bool = True) -> ReferencePart:
    """Open catalogues.

    Parameters
    ----------
    folder : Path
        In which they lie.
    names : sequence of str
        In the order in which a detection names them.
    verify : bool
        Compare their bytes with their digests.

    Raises
    ------
    data.catalogues.catalogue_store.CatalogueError
        One is not there, or not as it was made.
    """
    opened = tuple(open_catalogue(resolve(folder, name), verify=verify) for name in names)
    return ReferencePart(tuple((catalogue.name, catalogue.digest) for catalogue in opened), opened)


def crossmatched(catalogues: Sequence[Catalogue], batch: Placed) -> list[Surroundings]:
    """Match alerts with catalogues.

    Parameters
    ----------
    catalogues : sequence of Catalogue
    batch : Placed
        n alerts.

    Returns
    -------
    list of n Surroundings
        Crossmatches catalogue by catalogue, the nearest of each first.
    """
    ra, dec, mjd = (np.asarray(to_host(column), np.float64) for column in (batch.ra, batch.dec, batch.mjd))
    matches: list[list[Crossmatch] | None] = [None] * len(ra)
    hosts: dict[int, tuple[float, Host]] = {}
    for catalogue in catalogues:
        found = catalogue.near(ra, dec, mjd=mjd)
        alert, place = np.nonzero(found.row >= 0)  # alert by alert, the nearest first
        if not len(alert):
            continue
        sources = catalogue.sources(found.row[alert, place])
        for i, separation, source in zip(alert.tolist(), found.separation[alert, place].tolist(), sources, strict=True):
            kept = matches[i]
            if kept is None:
                kept = matches[i] = []
            kept.append(_crossmatch(catalogue.name, source, separation=separation))
            if catalogue.hosts and (source.kind is None or source.kind in GALAXIES):
                chance = by_chance(source, separation)
                if i not in hosts or chance < hosts[i][0]:
                    hosts[i] = chance, _host(catalogue.name, source, separation=separation, chance=chance)
    return [NOWHERE if kept is None else Surroundings(hosts[i][1] if i in hosts else None, tuple(kept)) for i, kept in enumerate(matches)]


def by_chance(source: Source, separation: float) -> float:
    """The chance that a galaxy at least as bright lies so near to a place by accident; above 1 where its brightness is not known.

    Bloom, Kulkarni and Djorgovski 2002 (AJ 123, 1111), eq. 1 to 3, with counts of galaxies in r of Hogg et al. 1997. Above 1 it is one
    plus the separation in radii of the galaxy (or in 5 arcsec), so that galaxies of known brightness go first.
    """
    known = dict(source.magnitudes)
    magnitude = next((known[band] for band in BRIGHTNESS if band in known), None)
    size = source.size if math.isfinite(source.size) else 0.0
    if magnitude is None:
        return 1.0 + separation / max(size, 5.0)
    effective = math.hypot(separation, size) if separation > size else max(size, separation, 0.3)
    density = 10.0 ** (0.33 * (min(magnitude, 30.0) - 24.0) - 2.44) / (0.33 * math.log(10.0))  # [1/arcsec^2] as bright and brighter
    return -math.expm1(-math.pi * effective * effective * density)


def _crossmatch(catalogue: str, source: Source, *, separation: float) -> Crossmatch:
    return Crossmatch(
        catalogue, source.name, separation, source.kind, _known(source.redshift), _known(source.parallax), _known(source.proper_motion),
        tuple(map(Magnitude._make, source.magnitudes)),
    )  # fmt: skip


def _host(catalogue: str, source: Source, *, separation: float, chance: float) -> Host:
    return Host(
        catalogue, source.name, separation, _known(source.redshift), _known(source.redshift_err), source.spectroscopic,
        _known(source.distance), None if chance > 1.0 else 1.0 - chance,
    )  # fmt: skip


def _known(value: float) -> float | None:
    return value if value == value else None  # catalogues hold NaN and no infinities
