"""Catalogues fill fields of a detection and its id; the scores are those without them, bit for bit."""

from __future__ import annotations

import dataclasses
import itertools
from pathlib import Path

import numpy as np
import pytest

from data.catalogues.catalogue_store import CatalogueError
from data.simulate.night import night
from operators.types import CONTEXT
from pipeline.reference import by_chance, crossmatched, reference_of
from pipeline.score import score
from pipeline.state import ReferencePart, ScoringState, load
from schemas.records import codec, detection
from schemas.records.detection import Detection
from tests.data.catalogues.made_catalogues import made, stars, table

FILLED = ("host", "crossmatches", "redshift", "reference_id", "scoring_id", "detection_id")


@pytest.fixture(scope="module")
def state() -> ScoringState:
    return load(engine="onnxruntime")


@pytest.fixture(scope="module")
def packets() -> list[bytes]:
    return [packet for packet, _ in itertools.islice(night(seed=4, n=40), 40)]


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory, state: ScoringState, packets: list[bytes]) -> Path:
    """A star on every second alert and a galaxy near every third, among others."""
    where = tmp_path_factory.mktemp("catalogues")
    batch = state.decoder.decode(packets).batch
    ra, dec = np.asarray(batch.ra), np.asarray(batch.dec)
    sky = stars(500)
    for name, values in (("ra", ra[::2]), ("dec", dec[::2])):
        sky[name][: len(values)] = values
    for name in ("pmra", "pmdec"):
        sky[name][: len(ra[::2])] = 0.0
    made(where, table(where / "gaia.csv", sky), "gaia")
    galaxies = {
        "ls_id": list(range(len(ra[::3]))), "ra": ra[::3], "dec": np.clip(dec[::3] + 2 / 3600, -90, 90), "type": ["SER"] * len(ra[::3]),
        "z_phot_median": [0.05] * len(ra[::3]), "z_phot_std": [0.01] * len(ra[::3]), "dered_mag_r": [17.0] * len(ra[::3]),
    }  # fmt: skip
    made(where, table(where / "legacy.csv", galaxies), "legacy")
    return where


def test_scores_are_those_without_catalogues(state: ScoringState, packets: list[bytes], folder: Path) -> None:
    reference = reference_of(folder, ["gaia", "legacy"])
    matched = dataclasses.replace(state, reference=reference)
    assert matched.scoring_id != state.scoring_id
    before, after = score(packets, state), score(packets, matched)
    for i, (one, other) in enumerate(zip(before, after, strict=True)):
        assert isinstance(one, Detection)
        assert isinstance(other, Detection)
        assert {n: getattr(one, n) for n in detection.NAMES if n not in FILLED} == {
            n: getattr(other, n) for n in detection.NAMES if n not in FILLED
        }
        assert one.embedding == other.embedding
        assert one.reference_id is None
        assert one.crossmatches == ()
        assert other.reference_id == reference.id
        assert ("gaia" in {m.catalogue for m in other.crossmatches}) == (i % 2 == 0)
        assert (other.host is not None) == (i % 3 == 0)
        if other.host is not None:
            assert other.host.catalogue == "legacy"
            assert other.host.separation == pytest.approx(2.0, abs=0.01)
            assert other.host.redshift == pytest.approx(0.05)
            assert other.host.spectroscopic is False
            assert other.host.probability is not None
            assert other.host.probability > 0.95
            assert other.redshift == pytest.approx(0.05)
    again = [codec.decode_detection(codec.encode(one)) for one in after if isinstance(one, Detection)]
    assert [one.host is None for one in again] == [i % 3 != 0 for i in range(len(packets))]
    assert [[m.name for m in one.crossmatches] for one in again] == [[m.name for m in one.crossmatches] for one in after]


def test_without_catalogues_the_state_is_what_it_was(state: ScoringState) -> None:
    nothing = reference_of(Path("nowhere"), ())
    assert nothing == ReferencePart()
    assert load(engine="onnxruntime", like=state, reference=nothing).scoring_id == state.scoring_id


def test_catalogues_stay_where_the_head_or_the_model_changes(state: ScoringState, folder: Path) -> None:
    matched = dataclasses.replace(state, reference=reference_of(folder, ["gaia"]))
    assert matched.with_head(state.head.weights).reference.opened == matched.reference.opened
    assert load(engine="onnxruntime", like=matched).scoring_id == matched.scoring_id


def test_the_network_was_shown_none_of_the_slots(state: ScoringState, packets: list[bytes]) -> None:
    """Why they are not filled: no packet that it learned from has one."""
    context = np.asarray(state.decoder.decode(packets).batch.context)
    names = ("redshift", "host_distance", "host_flux", "host_colour", "catalogue_star", "catalogue_agn", "catalogue_variable")
    assert not np.isfinite(context[:, [CONTEXT.index(name) for name in names]]).any()


def test_the_brighter_galaxy_is_the_likelier_host(tmp_path: Path, state: ScoringState, packets: list[bytes]) -> None:
    batch = state.decoder.decode(packets[:1]).batch
    ra, dec = float(np.asarray(batch.ra)[0]), float(np.asarray(batch.dec)[0])
    rows = {
        "ls_id": [1, 2, 3], "ra": [ra] * 3, "dec": [dec + 3.0 / 3600, dec - 2.0 / 3600, dec + 1.0 / 3600], "type": ["SER", "SER", "PSF"],
        "z_phot_median": [0.02, 0.7, -99], "dered_mag_r": [14.0, 23.0, 12.0],
    }  # fmt: skip
    opened = made(tmp_path, table(tmp_path / "legacy.csv", rows), "legacy")
    [found] = crossmatched([opened], batch)
    assert [m.name for m in found.crossmatches] == ["3", "2", "1"]
    assert found.host is not None
    assert found.host.name == "1"
    bright, faint = (opened.source(i) for i in range(3) if opened.source(i).name in "12")
    assert {by_chance(bright, 3.0) < 0.01, by_chance(faint, 3.0) < 0.01} == {True, False}


def test_a_catalogue_that_is_not_there_is_one_line(tmp_path: Path) -> None:
    with pytest.raises(CatalogueError, match="it has none"):
        reference_of(tmp_path, ["gaia"])
