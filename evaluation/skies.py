"""How well a forest distinguishes real ZTF packets from simulated ones, and by what: the distance from simulation to sky.

a folder of real packets with their labels, a seed → AUC by population and group of facts, and what each fact alone gives; how well each
further field separates classes, in both skies

0.5: the skies cannot be distinguished; 1: always. Populations are compared, so that the mix of classes does not separate: catalogue stars,
known asteroids, labelled supernovae and nuclei, each by the same cut in both skies. Folds are of objects. One night gives at most `A_NIGHT`
packets of a population: the public packets come from few nights, and a night's own weather is not the sky's.
"""

from __future__ import annotations

import zlib
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import numpy.typing as npt

from data.connectors.archives import only_packets
from data.label_table import labels_of
from data.simulate.draw import PopulationName
from data.simulate.night import alert_at
from data.simulate.survey_packets import packet
from evaluation.forest import binned, bins, many_votes
from evaluation.measures import auroc
from evaluation.packet_facts import FIELDS, Facts, facts
from operators.types import F64
from schemas.taxonomy import slug_of

Bools = npt.NDArray[np.bool_]
A_NIGHT = 100
FOLDS, TREES, LEAF = 5, 200, 3
ALONE_TREES, ALONE_LEAF = 30, 12
LEAST = 20
"""Packets of a population in each sky, below which nothing is said."""
STARS = ("rr-lyrae", "eclipsing-binary", "cv", "lpv", "yso")
SUPERNOVAE = ("sn-ia", "sn-ii", "sn-iin", "sn-ibc", "slsn", "tde")
NUCLEI = ("QSO_Candidate", "AGN_Candidate")
"""Labels outside the taxonomy that are nuclei."""
PLACE = ("galactic_latitude", "ecliptic_latitude", "n_visits", "history")
"""Where and when a packet was taken: of the sample that was published, not of the sky."""

Progress = Callable[[str, int], None]


@dataclass(frozen=True, slots=True)
class Sky:
    """Packets of one sky as facts, and the class of each ("" where it is not known)."""

    facts: Facts
    label: tuple[str, ...]


@dataclass(frozen=True, slots=True)
class Fact:
    """One fact in both skies."""

    group: str
    name: str
    auc: float
    real: float
    simulated: float
    """Medians of what is there."""
    missing_real: float
    missing_simulated: float


@dataclass(frozen=True, slots=True)
class Gap:
    """One population."""

    population: str
    real: int
    objects: int
    simulated: int
    auc: dict[str, float]
    facts: tuple[Fact, ...]
    """The one that separates most first."""


def real_sky(folder: Path, *, progress: Progress = lambda what, n: None) -> Sky:
    """The packets below a folder, with the labels of its ``LABELS.csv``.

    Raises
    ------
    data.label_table.PacketsError
        There is no table of labels.
    """
    known = labels_of(folder)
    found = facts(only_packets([folder]), progress=lambda n: progress("real packets", n))
    return Sky(found, tuple(coarse(known.get(name, "")) for name in found.object_id))


def coarse(label: str) -> str:
    """A label of the shared table → class of the stream, ``agn`` for candidates too; "" for anything else."""
    if label.partition("/")[2] in NUCLEI:
        return "agn"
    return slug_of(label) or ""


def simulated_sky(each: int, *, seed: int = 0, population: PopulationName = "train", progress: Progress = lambda what, n: None) -> Sky:
    """`each` packets of stars, asteroids, supernovae with nuclei, and half as many artefacts; classes alike."""
    label: list[str] = []

    def packets() -> Iterator[bytes]:
        for number, classes in enumerate((STARS, ("asteroid",), (*SUPERNOVAE, "agn", "agn", "agn"), ("bogus",))):
            for k in range(each if classes != ("bogus",) else each // 2):
                slug = classes[k % len(classes)]
                label.append(slug)
                yield packet(alert_at(4 * seed + number, k, population=population, mix={slug: 1.0}))

    found = facts(packets(), progress=lambda n: progress("simulated packets", n))
    if len(found) != len(label):
        raise RuntimeError(f"{len(label) - len(found)} simulated packets came twice or do not decode")
    return Sky(found, tuple(label))


def members(sky: Sky, population: str, *, real: bool) -> Bools:
    """Which packets belong to a population: by the same cut on both sides, and by the labels where no catalogue decides."""
    score, distance, moving = (sky.facts.column("context", name) for name in ("star_galaxy", "source_distance", "solar_system_distance"))
    label = np.array(sky.label)
    known = moving < 5
    if population == "stars":
        cut: Bools = (score > 0.9) & (distance < 1) & ~known
        return cut if real else cut & np.isin(label, STARS)
    if population == "asteroids":
        moving_ones: Bools = known & (label == "asteroid")
        return moving_ones
    rest: Bools = np.isin(label, (*SUPERNOVAE, "agn"))
    return rest


POPULATIONS = ("stars", "asteroids", "supernovae and nuclei")


def compare(real: Sky, simulated: Sky, *, seed: int = 0, progress: Progress = lambda what, n: None) -> list[Gap]:
    """Every population that has `LEAST` packets in both skies."""
    gaps = []
    for population in POPULATIONS:
        a = real.facts.take(_spread(real.facts, members(real, population, real=True), seed=seed))
        b = simulated.facts.take(members(simulated, population, real=False))
        if min(len(a), len(b)) >= LEAST:
            gaps.append(_gap(population, a, b=b, seed=seed, progress=progress))
    return gaps


def _spread(found: Facts, chosen: Bools, *, seed: int) -> Bools:
    """At most `A_NIGHT` of the chosen ones from one night."""
    rng = np.random.default_rng(seed)
    out = np.zeros(len(chosen), bool)
    for night in np.unique(found.night[chosen]):
        rows = np.flatnonzero(chosen & (found.night == night))
        out[rows if len(rows) <= A_NIGHT else rng.choice(rows, A_NIGHT, replace=False)] = True
    return out


def _gap(population: str, a: Facts, *, b: Facts, seed: int, progress: Progress) -> Gap:
    truth = np.repeat([1, 0], [len(a), len(b)])
    fold = np.array([zlib.crc32(name.encode()) % FOLDS for name in (*a.object_id, *b.object_id)])
    tables = {group: (names, np.concatenate([values, b.groups[group][1]])) for group, (names, values) in a.groups.items()}
    seen = ("context", "light curve", "stamps")
    auc = {}
    names, values = tables["context"]
    auc["context"] = separation(values, truth, fold=fold, seed=seed)
    auc["context, place apart"] = separation(values[:, [name not in PLACE for name in names]], truth, fold=fold, seed=seed)
    for group in seen[1:]:
        auc[group] = separation(tables[group][1], truth, fold=fold, seed=seed)
    auc["all"] = separation(np.concatenate([tables[group][1] for group in seen], axis=1), truth, fold=fold, seed=seed)
    auc["fields"] = separation(tables["fields"][1], truth, fold=fold, seed=seed)
    found = []
    for group, (names, values) in tables.items():
        for k, name in enumerate(names):
            column = values[:, k : k + 1]
            alone = separation(column, truth, fold=fold, seed=seed, trees=ALONE_TREES, leaf=ALONE_LEAF)
            x, y = column[truth == 1, 0], column[truth == 0, 0]
            found.append(Fact(group, name, alone, _middle(x), _middle(y), float(np.isnan(x).mean()), float(np.isnan(y).mean())))
        progress(population, 1)
    found.sort(key=lambda fact: -fact.auc)
    return Gap(population, len(a), len(set(a.object_id)), len(b), auc, tuple(found))


def _middle(x: F64) -> float:
    there = x[np.isfinite(x)]
    return float(np.median(there)) if len(there) else np.nan


def separation(
    values: F64, truth: npt.NDArray[np.int64], *, fold: npt.NDArray[np.int64], seed: int, trees: int = TREES, leaf: int = LEAF
) -> float:
    """AUC of a forest on (n, d) values, scored on objects it has not seen; a missing value is one of its own, below all others."""
    filled = np.nan_to_num(values, nan=-1e30, posinf=1e30, neginf=-1e29)
    score = np.empty(len(truth))
    for k in range(FOLDS):
        train, test = fold != k, fold == k
        edges = bins(filled[train])
        votes = many_votes(
            binned(filled[train], edges), truth[train], query=binned(filled[test], edges), classes=2, trees=trees, seed=seed + k, leaf=leaf
        )
        score[test] = votes[:, 1]
    return auroc(score[truth == 1], score[truth == 0])


PAIRS = (("star", "agn"), ("star", "supernova"), ("bogus", "star"), ("bogus", "supernova"), ("asteroid", "supernova"))
"""Which two kinds of objects a field separates; the AUC is the chance that the first one's is larger."""


def powers(real: Sky, simulated: Sky) -> dict[str, dict[str, tuple[float, float]]]:
    """How well each field of `FIELDS` separates kinds of objects: field → pair → (AUC on real packets, on simulated ones).

    One packet an object. Real artefacts are not labelled: those with at most two detections and a low score of the survey's stand for them.
    """
    kinds = [kinds_of_objects(sky, real=real_one) for sky, real_one in ((real, True), (simulated, False))]
    out: dict[str, dict[str, tuple[float, float]]] = {}
    for name in FIELDS:
        columns = [sky.facts.column("fields", name) for sky in (real, simulated)]
        out[name] = {
            f"{a}/{b}": (
                _chance(columns[0][kinds[0][a]], columns[0][kinds[0][b]]),
                _chance(columns[1][kinds[1][a]], columns[1][kinds[1][b]]),
            )
            for a, b in PAIRS
        }
    return out


def kinds_of_objects(sky: Sky, *, real: bool) -> dict[str, Bools]:
    """Rows of each kind in `PAIRS`, one an object."""
    label, found = np.array(sky.label), sky.facts
    first = np.zeros(len(found), bool)
    first[np.unique(np.array(found.object_id), return_index=True)[1]] = True
    rb, drb = found.column("fields", "rb"), found.column("fields", "drb")
    low = np.where(drb > 0, drb < 0.3, rb < 0.35) & (found.column("light curve", "detections") <= 2) & (label == "")
    return {
        "star": first & np.isin(label, STARS),
        "agn": first & (label == "agn"),
        "supernova": first & np.isin(label, SUPERNOVAE),
        "asteroid": first & (label == "asteroid"),
        "bogus": first & (low if real else label == "bogus"),
    }


def _chance(a: F64, b: F64) -> float:
    a, b = a[np.isfinite(a)], b[np.isfinite(b)]
    return auroc(a, b) if min(len(a), len(b)) >= 3 else np.nan
