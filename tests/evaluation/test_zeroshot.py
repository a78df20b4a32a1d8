"""A class from its description: near the class it describes, pulled by examples, and written for later use."""

from __future__ import annotations

import dataclasses
import json
from functools import partial
from pathlib import Path

import numpy as np
import pytest

from data.simulate import classes
from data.simulate.described import parse, shipped
from data.simulate.described_source import source
from data.simulate.sample import NeverSeenError
from data.tables import Curves, from_arrays, read
from evaluation import task_head, zeroshot
from evaluation.pattern import Patterns
from gpu.ort import OrtSession
from operators.head import centred, to_classes
from operators.head import prototype as mean_of
from operators.support import PULL
from registry.bundle import Bundle, load

DESCRIPTIONS = shipped()


@pytest.fixture(scope="module")
def bundle() -> Bundle:
    return load()


@pytest.fixture(scope="module")
def session(bundle: Bundle) -> OrtSession:
    return OrtSession(bundle.encoder)


def patterns(points: int = 12, spacing: float = 6.0) -> Patterns:
    """Of forty objects in g and r, evenly looked at with 5 % errors."""
    time = np.repeat(spacing * np.arange(points), 2)
    one = {
        "time": time,
        "wavelength": np.tile([4770.0, 6230.0], points),
        "flux": np.full(2 * points, 1000.0),
        "flux_err": np.full(2 * points, 50.0),
    }
    missing = {"limit": np.full(2 * points, np.nan)}
    whole = Patterns.of(from_arrays([f"o{k}" for k in range(40)], [one | missing for _ in range(40)]), persistent=False)
    return dataclasses.replace(whole, least=6, faintest=3.0)


@pytest.mark.parametrize(
    ("name", "slug"),
    [("kilonova", "kilonova"), ("tde", "tde"), ("slsn-i", "slsn"), ("microlensing", "microlensing"), ("mira", "lpv"), ("dwarf-nova", "cv")],
)
def test_a_description_lands_on_the_class_it_describes(name: str, slug: str, bundle: Bundle, session: OrtSession) -> None:
    own = zeroshot.prototype(DESCRIPTIONS[name], session, centre=bundle.head.centre, n=40, seed=1)
    assert np.linalg.norm(own) == pytest.approx(1)
    cosine = to_classes(np.asarray(own, dtype=np.float32)[None], bundle.head)[0]
    assert bundle.classes[int(np.argmax(cosine))] == slug


def test_a_prototype_depends_on_its_seed_alone(bundle: Bundle, session: OrtSession) -> None:
    first, again, other = (zeroshot.prototype(DESCRIPTIONS["fbot"], session, centre=bundle.head.centre, n=12, seed=s) for s in (1, 1, 2))
    np.testing.assert_array_equal(first, again)
    assert np.abs(first - other).max() > 0


def test_a_prototype_of_curves_is_looked_at_as_the_table(session: OrtSession) -> None:
    table = patterns()
    made = {name: zeroshot.curves(DESCRIPTIONS[name], table, n=25, seed=3) for name in ("sn-ia", "tde", "slsn-i")}
    for curves, tried in made.values():
        assert len(curves) == 25 <= tried
        assert np.diff(curves.start).max() <= 24
        assert set(curves.wavelength.tolist()) <= {4770.0, 6230.0}
    z = {name: task_head.embed(curves, session).embedding for name, (curves, _) in made.items()}
    centre = np.mean([v.mean(axis=0) for v in z.values()], axis=0)
    own = zeroshot.prototype(DESCRIPTIONS["sn-ia"], session, centre=centre, n=25, seed=3, patterns=table)
    np.testing.assert_allclose(own, mean_of(z["sn-ia"], centre))
    cosine = {name: float((centred(v, centre) @ own).mean()) for name, v in z.items()}
    assert max(cosine, key=lambda name: cosine[name]) == "sn-ia"
    with pytest.raises(NeverSeenError, match="the table's way of looking leaves nothing"):
        zeroshot.curves(DESCRIPTIONS["m-dwarf-flare"], dataclasses.replace(table, least=20), n=1, seed=0)


def test_examples_pull_the_prior_toward_the_truth() -> None:
    rng = np.random.default_rng(0)

    def unit(x: np.ndarray) -> np.ndarray:
        return np.asarray(x / np.linalg.norm(x, axis=-1, keepdims=True))

    truth = unit(rng.standard_normal(16))
    prior = unit(truth + 0.8 * unit(rng.standard_normal(16)))
    examples = unit(truth + 0.25 * rng.standard_normal((400, 16)))
    np.testing.assert_array_equal(zeroshot.update(prior, examples[:0]), prior)
    nearness = [float(zeroshot.update(prior, examples[:k]) @ truth) for k in (0, 1, 5, 20, 100)]
    assert nearness == sorted(nearness)
    assert nearness[-1] > 0.99
    one = zeroshot.update(prior, examples[:1])
    np.testing.assert_allclose(one, unit(examples[0] + PULL * prior))
    # and at one example the prior still helps
    alone = [float(e @ truth) for e in examples]
    together = [float(zeroshot.update(prior, e[None]) @ truth) for e in examples]
    assert np.mean(together) > np.mean(alone)


def pattern() -> Curves:
    """A fast, reddening event in g and r, four nights."""
    time = np.repeat([0.0, 1.0, 2.0, 4.0], 2)
    wavelength = np.tile([4770.0, 6230.0], 4)
    flux = np.array([300, 290, 100, 160, 30, 70, 8, 20], dtype=float)
    missing = np.full(8, np.nan)
    return from_arrays(
        ["it"], [{"time": 59000 + time, "wavelength": wavelength, "flux": flux, "flux_err": np.full(8, 2.0), "limit": missing}]
    )


def test_a_pattern_is_kept() -> None:
    query = pattern()
    made = zeroshot.under(partial(source, DESCRIPTIONS["sn-ia"]), "sn-ia", pattern=query, n=30, seed=0)
    assert len(made) == 30
    assert set(made.wavelength.tolist()) == {4770.0, 6230.0}
    assert set(np.round(made.time, 6).tolist()) <= {0.0, 1.0, 2.0, 4.0}
    assert np.diff(made.start).min() >= 3
    assert (made.flux >= 3 * made.flux_err).all()
    top = np.maximum.reduceat(made.flux, made.start[:-1])
    assert 270 < np.median(top) < 330
    again = zeroshot.under(partial(source, DESCRIPTIONS["sn-ia"]), "sn-ia", pattern=query, n=30, seed=0)
    np.testing.assert_array_equal(made.flux, again.flux)


def test_a_fast_red_fader_is_ranked_a_kilonova_and_not_a_supernova(session: OrtSession) -> None:
    inputs = {name: partial(source, DESCRIPTIONS[name]) for name in ("kilonova", "sn-ia", "tde", "sn-ii-plateau", "slsn-i")}
    found = zeroshot.ranked(pattern(), inputs, session=session, each=40)
    assert found.names[0] == "kilonova"
    assert list(found.cosine) == sorted(found.cosine, reverse=True)
    assert set(found.names) | set(found.missing) == set(inputs)


def test_at2017gfo_is_nearest_to_the_description_of_a_kilonova(shared: Path, session: OrtSession) -> None:
    """Beside every class the simulation has but its own kilonova: nothing of it was in the simulation's class, only a page of YAML."""
    query = read(shared / "tables" / "lightcurves.parquet", ["AT2017gfo"])
    inputs = {name: draw for name, draw in classes.CLASSES.items() if name not in ("kilonova", "bogus", "asteroid")}
    both = query.keep(np.isin(query.wavelength, np.float32([4770.0, 6230.0])))
    for curves in (query, both):
        found = zeroshot.ranked(curves, {**inputs, "described": partial(source, DESCRIPTIONS["kilonova"])}, session=session, each=60)
        assert found.names[0] == "described", list(zip(found.names, found.cosine, strict=True))[:4]


@pytest.mark.parametrize("suffix", [".json", ".safetensors"])
def test_a_prior_is_written_and_read(suffix: str, tmp_path: Path, bundle: Bundle) -> None:
    path = tmp_path / f"p{suffix}"
    values = np.zeros(64, np.float32)
    values[3] = 1
    prior = zeroshot.Prior("x", bundle.sha256, 10, 20, 0, "ztf", values)
    zeroshot.save(path, prior)
    back = zeroshot.load(path, bundle.sha256)
    np.testing.assert_array_equal(back.prototype, values)
    assert dataclasses.replace(back, prototype=values) == prior
    with pytest.raises(zeroshot.PriorError, match="another model"):
        zeroshot.load(path, "0" * 64)
    blob = path.read_bytes()
    path.write_bytes(blob[: len(blob) // 2])
    with pytest.raises(zeroshot.PriorError, match="is not a prototype"):
        zeroshot.load(path, bundle.sha256)


def test_wrong_files_of_priors_are_one_line(tmp_path: Path) -> None:
    prior = zeroshot.Prior("x", "b", 1, 1, 0, "ztf", np.ones(1, np.float32))
    with pytest.raises(zeroshot.PriorError, match="written as"):
        zeroshot.save(tmp_path / "p.txt", prior)
    with pytest.raises(zeroshot.PriorError, match="No such file"):
        zeroshot.load(tmp_path / "none.json", "b")
    with pytest.raises(zeroshot.PriorError):
        zeroshot.load(tmp_path / "none.safetensors", "b")
    zeroshot.save(tmp_path / "p.json", prior)
    facts = json.loads((tmp_path / "p.json").read_text())
    for change in ({"format": "other"}, {"prototype": [2.0]}, {"prototype": [[1.0]]}, {"prototype": "x"}, {"seed": "y"}):
        (tmp_path / "p.json").write_text(json.dumps(facts | change))
        with pytest.raises(zeroshot.PriorError):
            zeroshot.load(tmp_path / "p.json", "b")
    (tmp_path / "p.json").write_text("[]")
    with pytest.raises(zeroshot.PriorError):
        zeroshot.load(tmp_path / "p.json", "b")


def test_a_described_class_needs_no_network_that_knows_it(bundle: Bundle, session: OrtSession) -> None:
    """An invented class, described in ten lines, is nearer to its own objects than to others' of the same pace."""
    invented = parse(
        "name: blue-bump\ntext: x\nsky: extragalactic\nenvironment: nuclear\nrise: 4\ndecline: {rate: 0.25}\nduration: 40\n"
        "colour: {temperature: 25000}\npeak: {absolute: -19}\n"
    )
    own = zeroshot.prototype(invented, session, centre=bundle.head.centre, n=60, seed=1)
    other, _ = zeroshot.alerts(DESCRIPTIONS["sn-iib"], session, n=60, seed=5)
    same, _ = zeroshot.alerts(invented, session, n=60, seed=6)
    assert np.median(centred(same, bundle.head.centre) @ own) > np.median(centred(other, bundle.head.centre) @ own) + 0.1
