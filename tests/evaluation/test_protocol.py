"""Episodes, cuts, heads, baselines and the whole command, on a small table and on the real ones."""

from __future__ import annotations

import csv
import json
from dataclasses import replace
from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.parquet
import pytest

from data import tables
from data.simulate.classes import SLUGS
from data.tables import Curves, TableError
from evaluation import confidence, drawn, forest, kinds, novelty, pattern, simulated, task_head
from evaluation.episodes import make
from operators.features import COMPARABLE, comparable, features
from operators.head import NAMED, Seen, scores
from operators.support import PULL, RIDGE, Physics, Support, left_out, solve

LABELS = np.repeat(np.array(["a", "b", "small"]), [50, 12, 8])


def test_episodes_are_disjoint_and_reproducible() -> None:
    e = make(LABELS, 5, episodes=40, seed=1)
    assert e is not None
    assert e.classes == ("a", "b")
    assert e.left_out == ("small",)
    assert np.bincount(e.query_class).tolist() == [15, 7]  # what b has left
    for support, query in zip(e.support, e.query, strict=True):
        assert not set(support) & set(query)
        assert len(set(support)) == len(support)
    assert (LABELS[e.support] == np.array(e.classes)[e.support_class]).all()
    assert (LABELS[e.query] == np.array(e.classes)[e.query_class]).all()
    again, longer, other = (make(LABELS, 5, episodes=n, seed=s) for n, s in ((40, 1), (60, 1), (40, 2)))
    assert again is not None
    assert longer is not None
    assert other is not None
    assert (again.query == e.query).all()
    assert (longer.query[:40] == e.query).all()
    assert (other.query != e.query).any()
    assert make(LABELS, 30, episodes=10) is None


def curve(rng: np.random.Generator, points: int, rise: float, name: str) -> dict[str, list[object]]:
    time = np.sort(rng.uniform(0, 60, points))
    flux = 1000 * np.exp(-0.5 * ((time - 20) / rise) ** 2) + rng.normal(0, 25, points)
    return {
        "object_id": [name] * points,
        "mjd": list(59000 + time),
        "band": list(rng.choice(["g", "r"], points)),
        "flux": list(flux),
        "flux_err": [25.0] * points,
        "upper_limit": [float("nan")] * points,
    }


@pytest.fixture(scope="module")
def small(tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, Path]:
    folder = tmp_path_factory.mktemp("table")
    rng = np.random.default_rng(0)
    columns: dict[str, list[object]] = {}
    rows = []
    for label, rise in (("SN Ia", 9.0), ("SLSN", 28.0), ("Unseen", 3.0)):
        for i in range(14):
            name = f"{label}-{i}"
            rows.append((name, label))
            for key, values in curve(rng, int(rng.integers(8, 25)), rise, name).items():
                columns.setdefault(key, []).extend(values)
    # A limit, a band no one knows, a bad error: the first is kept, the others are left out.
    for band, flux, error, limit in (("g", np.nan, np.nan, 30.0), ("radio", 5.0, 1.0, np.nan), ("g", 5.0, 0.0, np.nan)):
        for key, value in zip(columns, ("SN Ia-0", 58990.0, band, flux, error, limit), strict=True):
            columns[key].append(value)
    pyarrow.parquet.write_table(pa.table(columns), folder / "task.parquet")
    with (folder / "task.csv").open("w", newline="") as file:
        writer = csv.writer(file)
        writer.writerows([("object_id", "coarse"), *rows])
    return folder / "task.parquet", folder / "task.csv"


def test_reading_a_table(small: tuple[Path, Path]) -> None:
    curves, labels = tables.read_task(*small)
    assert len(curves) == 42
    assert curves.object_id[int(np.flatnonzero(labels == "SN Ia")[0])] == "SN Ia-0"
    own = curves.take([curves.object_id.index("SN Ia-0")])
    assert np.isfinite(own.limit).sum() == 1
    assert np.isfinite(own.limit[0])  # the limit comes first in time
    batch = own.batch()
    assert batch.time[0, 0] == 58990.0
    assert not batch.detected[0, 0]
    assert batch.first_detection[0] > 58990
    assert batch.mjd[0] == own.time[-1]
    assert np.isnan(batch.context).all()


def later_points(curves: Curves, i: int, days: float) -> Curves:
    """The same curves with brighter points added to object i so long after its last one."""
    stop = curves.start[i + 1]
    new = {"time": curves.time[stop - 1] + days + np.arange(4.0), "wavelength": 6230.0, "flux": 9e4, "flux_err": 10.0, "limit": np.nan}
    columns = {
        name: np.concatenate([getattr(curves, name)[:stop], np.broadcast_to(value, 4), getattr(curves, name)[stop:]]).astype(
            getattr(curves, name).dtype
        )
        for name, value in new.items()
    }
    start = curves.start.copy()
    start[i + 1 :] += 4
    return replace(curves, start=start, **columns)


def test_a_cut_never_sees_later_points(small: tuple[Path, Path]) -> None:
    curves, _ = tables.read_task(*small)
    grown = later_points(curves, 3, 5.0)
    for cut in ({"days": 0.0}, {"days": 12.0}, {"detections": 1}, {"detections": 4}, {"days": 20.0, "detections": 6}):
        before, after = curves.upto(**cut).batch(), grown.upto(**cut).batch()
        for name in ("time", "flux", "valid", "detected", "first_detection", "mjd"):
            np.testing.assert_array_equal(getattr(before, name), getattr(after, name))
    cut_curves = curves.upto(detections=4)
    seen = cut_curves.signal_to_noise() >= tables.SEEN
    assert np.bincount(cut_curves.owner[seen], minlength=42).max() == 4


def test_spurious_early_points_do_not_date_the_event() -> None:
    part = {"time": [0.0, 900.0, 905.0, 920.0], "wavelength": [6230.0] * 4, "flux": [60.0, 200.0, 1000.0, 500.0], "flux_err": [10.0] * 4}
    batch = tables.from_arrays(["x"], [{**part, "limit": [np.nan] * 4}]).batch()
    assert batch.first_detection[0] == 900.0


def test_a_total_flux_loses_its_median_and_a_transient_does_not() -> None:
    time = np.linspace(0, 900, 60)
    blank = np.full(60, np.nan)
    star = {
        "time": time,
        "wavelength": np.full(60, 5500.0),
        "flux": 1000 + 200 * np.sin(time),
        "flux_err": np.full(60, 10.0),
        "limit": blank,
    }
    event = {**star, "flux": 1000 * np.exp(-(((time - 300) / 60) ** 2))}
    out = tables.from_arrays(["star", "event"], [star, event]).difference()
    assert abs(np.median(out.flux[:60])) < 1
    assert out.flux[60:].max() > 990


FINE = ("Ia", "Ia-91T", "Ia-91bg", "IIP", "IIL", "IIn", "Ib", "Ic", "IIb", "SLSN-I", "SLSN-II", "TDE", "TDE-slow", "EA", "EB", "EW", "RRab",
        "RRc", "Mira", "SR", "ACV", "dSct")  # fmt: skip
MEANT = {
    "SN Ia": (("Ia", "Ia-91T", "Ia-91bg"), ("sn-ia",)),
    "SN Ia-91bg": (("Ia-91bg",), ("sn-ia",)),
    "SN IIn": (("IIn",), ("sn-iin",)),
    "SN II": (("IIP", "IIL"), ("sn-ii",)),
    "SN IIP": (("IIP",), ("sn-ii",)),
    "SN Ibc": (("IIb", "Ib", "Ic"), ("sn-ibc",)),
    "SLSN-I": (("SLSN-I",), ("slsn",)),
    "SLSN": (("SLSN-I", "SLSN-II"), ("slsn",)),
    "TDE": (("TDE", "TDE-slow"), ("tde",)),
    "Mira": (("Mira",), ("lpv",)),
    "RR Lyrae ab": (("RRab",), ("rr-lyrae",)),
    "Eclipsing contact": (("EW",), ("eclipsing-binary",)),
    "Eclipsing (unspecified)": (("EA", "EB", "EW"), ("eclipsing-binary",)),
    "Alpha2 CVn": (("ACV",), ()),
    "Delta Scuti": (("dSct",), ()),
    "Unseen": ((), ()),
}


@pytest.mark.parametrize("name", MEANT)
def test_names_find_their_kinds(name: str) -> None:
    fine, coarse = MEANT[name]
    assert kinds.kinds_of(name, FINE) == fine
    assert kinds.kinds_of(name, SLUGS) == coarse


def test_a_kind_speaks_for_every_class_it_belongs_to() -> None:
    names = ("Eclipsing (unspecified)", "Eclipsing contact", "Unseen")
    zero_shot_log = np.log(np.array([[0.1, 0.2, 0.6, 0.1]]))
    views = task_head.Views(np.zeros((1, 2)), zero_shot_log, np.zeros((1, COMPARABLE)))
    shared, known = task_head.zero_shot_log_probability(views, names, kinds=("EA", "EB", "EW", "dSct"), rule="share")
    assert known.tolist() == [1, 1, 0]
    # The parent is as likely as its mean kind; the child as its one kind; what is left goes to the class no one knows.
    np.testing.assert_allclose(np.exp(shared[0]), np.array([0.3, 0.6, 0.1]))
    added, _ = task_head.zero_shot_log_probability(views, names, kinds=("EA", "EB", "EW", "dSct"), rule="sum")
    np.testing.assert_allclose(np.exp(added[0]), np.array([0.6, 0.3, 0.1]))
    # Two classes that mean the same are equally likely.
    same, _ = task_head.zero_shot_log_probability(
        views, ("Eclipsing contact", "W UMa", "Delta Scuti"), kinds=("EA", "EB", "EW", "dSct"), rule="share"
    )
    assert same[0, 0] == same[0, 1]


@pytest.mark.parametrize("mode", simulated.MODES)
def test_simulations_look_like_the_task(small: tuple[Path, Path], mode: simulated.Mode) -> None:
    curves, _ = tables.read_task(*small)
    looks = simulated.Looks.of(curves, False)
    groups = (("Ia", "Ia-91T"), ("SLSN-I",), ())
    made, label = simulated.simulate(groups, 8, looks=looks, seed=0, population="train", mode=mode)
    again, _ = simulated.simulate(groups, 8, looks=looks, seed=0, population="train", mode=mode)
    lengths = np.diff(made.start)
    assert np.bincount(label, minlength=3).tolist() == [8, 8, 0]
    assert lengths.min() >= looks.cut.least
    # A cut leaves out the one object in two hundred that is richer or longer; a pattern may be that object's.
    most, days = looks.cut.most, 1.05 * looks.cut.days
    if mode == "pattern":
        most, days = max(len(p.time) for p in looks.patterns.every), max(float(p.time[-1]) for p in looks.patterns.every)
    assert lengths.max() <= most
    assert max(np.ptp(made.time[a:b]) for a, b in zip(made.start[:-1], made.start[1:], strict=True)) <= days
    np.testing.assert_array_equal(made.flux, again.flux)
    if mode == "pattern":  # the very bands and cadences of the task, in one process or two
        assert set(np.unique(made.wavelength)) <= set(np.unique(curves.wavelength))
        steps = {round(float(s), 4) for p in looks.patterns.every for s in np.diff(p.time)}
        full = [i for i in range(len(made)) if lengths[i] in {len(p.time) for p in looks.patterns.every}]
        assert any(round(float(np.diff(made.time[made.start[i] : made.start[i + 1]])[0]), 4) in steps for i in full)


def test_patterns_hold_no_label(small: tuple[Path, Path]) -> None:
    """The same table in another order of objects gives the same patterns, and labels are nowhere read."""
    curves, _ = tables.read_task(*small)
    turned = curves.take(np.arange(len(curves))[::-1])
    a, b = simulated.Looks.of(curves, False), simulated.Looks.of(turned, False)
    assert a.cut == b.cut
    np.testing.assert_allclose(a.patterns.chance, b.patterns.chance[::-1])
    np.testing.assert_array_equal(a.patterns.every[0].time, b.patterns.every[-1].time)


def test_a_faint_end_is_not_detected(small: tuple[Path, Path]) -> None:
    """A brief event has fewer points than a slow one under the very same pattern."""
    time = np.arange(0.0, 150.0, 3.0)
    part = {
        "time": time,
        "wavelength": np.full(50, 6230.0),
        "flux": np.full(50, 100.0),
        "flux_err": np.full(50, 8.0),
        "limit": np.full(50, np.nan),
    }
    looks = simulated.Looks.of(tables.from_arrays(["x"], [part]), False)
    numbers = {}
    for kind in ("Ia", "KN", "SLSN-I"):
        found = []
        for i in range(30):
            rng = drawn.rng_of(kind, i, seed=3, population="train", purpose=11)
            source = drawn.draw(kind, rng, population="train")
            seen = pattern.look(source, replace(looks.patterns, least=1, faintest=3.0), rng=rng)
            found.append(0 if seen is None else len(seen["time"]))
        numbers[kind] = np.median(found)
    assert numbers["KN"] < numbers["Ia"] < numbers["SLSN-I"]


def unit(x):  # type: ignore[no-untyped-def]
    return x / np.linalg.norm(x, axis=-1, keepdims=True)


def seen(units: np.ndarray, log_kinds: np.ndarray | None = None) -> Seen:
    """Units as a view of nothing else."""
    return Seen(units, np.zeros((*units.shape[:-1], 1)) if log_kinds is None else log_kinds, units)


@pytest.mark.parametrize(("unseen", "zero_shot", "weight"), [(False, 1.0, 2.0), (True, 0.5, 4.0)])
def test_left_out_scores_are_those_of_the_others(unseen: bool, zero_shot: float, weight: float) -> None:
    """And a class not simulated gives the examples more to say, the network less."""
    rng = np.random.default_rng(2)
    units = unit(rng.standard_normal((1, 12, 6)))
    label = np.eye(3)[np.repeat(np.arange(3), 4)]
    physics = Physics(0.4 * unit(rng.standard_normal((3, 6))), np.ones(3))
    log_kinds = np.log(rng.dirichlet(np.ones(3), (1, 12)))
    given = Support(seen(units, log_kinds), label, 4, physics, np.eye(3), unseen)
    got = left_out(given)[0]
    # The ridge keeps its centre when an example is left out; the prototypes and the zero-shot view do not depend on that.
    a = units[0] - units[0].mean(axis=0)
    strength = RIDGE * np.trace(a @ a.T) / 12 + 1e-6
    for i in range(12):
        rest = np.arange(12) != i
        sums = label[rest].T @ units[0, rest] + PULL / 4 * physics.anchor
        answer = a[i] @ a[rest].T @ np.linalg.solve(a[rest] @ a[rest].T + strength * np.eye(11), label[rest] - 1 / 3)
        expected = 10 * unit(sums) @ units[0, i] + zero_shot * log_kinds[0, i] + weight * answer
        np.testing.assert_allclose(got[i], expected, atol=1e-8)


def test_the_head_needs_no_simulation_and_follows_it_at_one_shot() -> None:
    rng = np.random.default_rng(3)
    means = unit(rng.standard_normal((3, 16)))
    support, query = (seen(unit(means[None, [0, 1, 2]] + 0.6 * rng.standard_normal((50, 3, 16)) / 4)) for _ in range(2))
    truth = np.arange(3)
    alone = (scores(query, solve(Support(support, np.eye(3), 1))).argmax(-1) == truth).mean()
    helped = (scores(query, solve(Support(support, np.eye(3), 1, Physics(means, np.ones(3)), unseen=False))).argmax(-1) == truth).mean()
    assert 0.6 < alone <= helped


def test_the_ridge_reads_the_named_features(small: tuple[Path, Path]) -> None:
    curves, labels = tables.read_task(*small)
    rng = np.random.default_rng(0)
    named = np.asarray(comparable(features(curves.difference().batch())))
    views = task_head.Views(rng.standard_normal((len(curves), 4)), np.log(rng.dirichlet(np.ones(5), len(curves))), named)
    e = make(labels, 1, episodes=2, seed=0)
    assert e is not None
    read = task_head.examples(views, e, centre=np.zeros(4))
    np.testing.assert_allclose(read.query.view[..., -COMPARABLE:], NAMED * named[e.query])
    np.testing.assert_allclose(read.support.view[..., -COMPARABLE:], NAMED * named[e.support])
    assert np.abs(named).max() > 0


@pytest.mark.slow
def test_typical_features_are_those_of_simulated_curves() -> None:
    pytest.importorskip("torch")
    from learning.dataset import simulate

    z = comparable(features(simulate(1500, seed=4, processes=1).batch())) * COMPARABLE**0.5
    assert np.abs(np.median(z, axis=0)).max() < 1.2
    assert z.std(axis=0).min() > 0.3
    assert z.std(axis=0).max() < 2.0


def test_the_compiled_forest_is_scikit_learns() -> None:
    ensemble = pytest.importorskip("sklearn.ensemble")
    rng = np.random.default_rng(1)
    centre = rng.standard_normal((3, 10)) * 0.8
    x, y = rng.standard_normal((45, 10)) + np.repeat(centre, 15, axis=0), np.repeat(np.arange(3), 15)
    x[:, 4] = 1.0  # a feature that does not vary counts for nothing
    query = rng.standard_normal((600, 10)) + np.repeat(centre, 200, axis=0)
    query[:, 4] = 1.0
    ours = forest.votes(x, y, query=query, classes=3, trees=400, seed=0)
    theirs, again = (
        ensemble.RandomForestClassifier(400, class_weight="balanced", random_state=s).fit(x, y).predict_proba(query) for s in (0, 1)
    )
    assert np.allclose(ours.sum(axis=1), 1)
    # As near to scikit-learn's as another of scikit-learn's is.
    assert np.abs(ours - theirs).mean() < 1.15 * np.abs(again - theirs).mean()
    assert (ours.argmax(axis=1) == theirs.argmax(axis=1)).mean() > (again.argmax(axis=1) == theirs.argmax(axis=1)).mean() - 0.02


@pytest.mark.slow
def test_the_binned_forest_is_scikit_learns() -> None:
    ensemble = pytest.importorskip("sklearn.ensemble")
    rng = np.random.default_rng(4)
    centre = rng.standard_normal((3, 12)) * 0.6
    x, y = rng.standard_normal((1500, 12)) + np.repeat(centre, 500, axis=0), np.repeat(np.arange(3), 500)
    query = rng.standard_normal((900, 12)) + np.repeat(centre, 300, axis=0)
    edges = forest.bins(x)
    rows, asked = forest.binned(x, edges), forest.binned(query, edges)
    for depth, leaf in ((10**6, 1), (6, 5)):
        got = forest.many_votes(rows, y, query=asked, classes=3, trees=200, seed=0, depth=depth, leaf=leaf)
        np.testing.assert_array_equal(
            got, forest.many_votes(rows, y, query=asked, classes=3, trees=200, seed=0, depth=depth, leaf=leaf, threads=2)
        )
        theirs, again = (
            ensemble.RandomForestClassifier(200, max_depth=min(depth, 99), min_samples_leaf=leaf, class_weight="balanced", random_state=r)
            .fit(x, y)
            .predict_proba(query)
            for r in (0, 1)
        )
        assert np.allclose(got.sum(axis=1), 1)
        assert np.abs(got - theirs).mean() < 1.3 * np.abs(again - theirs).mean()


@pytest.mark.slow
def test_the_control_learns_from_simulations(small: tuple[Path, Path]) -> None:
    pytest.importorskip("light_curve")
    from evaluation import baselines
    from evaluation.handmade import hand_made

    curves, labels = tables.read_task(*small)
    x = hand_made(curves)
    looks = simulated.Looks.of(curves, False)
    control = baselines.control(x, looks, names=("SLSN", "SN Ia", "Unseen"), shots=(1, 5), curves=300, seed=0, mode="pattern", processes=1)
    assert control is not None
    assert control.names == ("SLSN", "SN Ia")
    assert set(control.weight) == {1, 5}
    slow, brief = (control.probability[labels == c, 0].mean() for c in ("SLSN", "SN Ia"))
    assert slow > brief + 0.1  # wide curves are called SLSN, though it has seen no real one
    assert baselines.control(x, looks, names=("SN Ia", "Unseen"), shots=(1,), curves=300, seed=0, mode="pattern", processes=1) is None


def test_a_temperature_of_its_own() -> None:
    """Left-out scores move the temperature from what simulations say toward what they show, the more of them the further."""
    rng = np.random.default_rng(5)
    truth = np.tile(np.arange(3), 40)
    sharp = rng.standard_normal((6, 120, 3)) + 1.0 * np.eye(3)[truth]
    over = 6 * sharp  # six times too sure
    believed = confidence.Calibration(1.0, 1.0, np.zeros(0), 0, float("nan"), float("nan"))
    few, many = (
        confidence.temperatures(over[:, :6], truth[:6], calibration=believed, episodes=6),
        confidence.temperatures(over, truth, calibration=believed, episodes=6),
    )
    assert 1.0 < np.median(few) < np.median(many)
    assert 3 < np.median(many) < 9
    assert (confidence.temperatures(None, truth, calibration=believed, episodes=6) == 1.0).all()


def test_pooled_conformal_scores_cover() -> None:
    rng = np.random.default_rng(6)
    simulated_scores, own = rng.uniform(0, 0.8, 4000), rng.uniform(0, 1, (400, 40))  # the sky is harder than the simulation
    calibration = confidence.Calibration(1.0, 1.0, simulated_scores, 4, 0.9, 1.0)
    found = confidence.quantile(own, calibration, ways=4)
    assert found is not None
    cover = float(np.mean(found[0]))  # of a uniform score
    alone = float(measures_quantile(simulated_scores))
    assert alone < 0.75
    assert 0.8 < cover < 0.95
    assert confidence.quantile(None, calibration, ways=5) is None  # three classes say nothing of five


def measures_quantile(scores: np.ndarray) -> np.ndarray:
    from evaluation import measures

    return measures.conformal_quantile(scores)


def test_newton_finds_the_logistic_rule() -> None:
    linear = pytest.importorskip("sklearn.linear_model")
    rng = np.random.default_rng(7)
    x = rng.standard_normal((500, 3))
    y = (x @ [1.0, -0.5, 0.0] + rng.logistic(size=500) > 0).astype(float)
    theirs = linear.LogisticRegression(C=1 / novelty.RIDGE, tol=1e-8, max_iter=500).fit(x, y).coef_[0]
    np.testing.assert_allclose(novelty.logistic(x, y), theirs, atol=1e-3)


@pytest.mark.timeout(600)
def test_the_command_on_a_small_table(small: tuple[Path, Path], tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    from console.commands.evaluate import evaluate

    report = tmp_path / "report.json"
    code = evaluate(
        *small, shots="1,5", episodes=12, baselines="fast", seed=0, simulations=100, table=small[0], bundle=None,
        engine="onnxruntime", report=report, each=30,
    )  # fmt: skip
    assert code == 0
    found = json.loads(report.read_text())
    for name in ("accuracy", "interval", "per_class", "ece", "baselines"):
        assert set(found[name]) == {"1", "5"}
    assert set(found["per_class"]["5"]) == {"SN Ia", "SLSN", "Unseen"}
    assert found["interval"]["5"][0] <= found["accuracy"]["5"] <= found["interval"]["5"][1]
    assert found["accuracy"]["5"] == pytest.approx(np.mean(list(found["per_class"]["5"].values())))
    assert {"forest", "bookkeeping", "ridge", "nearest_centroid", "prototypes", "no_simulation"} <= set(found["baselines"]["5"])
    assert found["baselines"]["5"]["forest"] > 0.7  # three widths that anyone can tell apart
    assert found["gains"]["5"]["forest"]["gain"] == pytest.approx(found["accuracy"]["5"] - found["baselines"]["5"]["forest"])
    assert found["task"]["simulated_as"]["Unseen"] == {"kinds": [], "zero_shot_kinds": []}
    assert found["task"]["simulated_as"]["SLSN"]["kinds"] == ["SLSN-I", "SLSN-II"]
    assert sum(v for name, v in found["seconds"].items() if name != "all") <= found["seconds"]["all"] + 0.1
    for rows in found["confusion"]["5"]:
        assert sum(rows) == pytest.approx(1, abs=0.01)
    diagonal = [row[i] for i, row in enumerate(found["confusion"]["5"])]
    assert np.mean(diagonal) == pytest.approx(found["accuracy"]["5"], abs=0.01)
    assert set(found["map"]["objects"]) == {"SN Ia", "SLSN", "Unseen"}
    assert set(found["uncut"]) >= {"accuracy", "note"}
    assert "macro accuracy" in capsys.readouterr().out


def test_labels_that_mean_nothing_get_chance(small: tuple[Path, Path]) -> None:
    """No label of a query reaches its own answer, by whatever way."""
    from evaluation.options import Options
    from evaluation.protocol import evaluate
    from gpu.choose import choose
    from registry.bundle import load

    curves, labels = tables.read_task(*small)
    bundle = load()
    session, _ = choose(bundle.encoder, "onnxruntime")
    shuffled = np.random.default_rng(8).permutation(labels)
    found = evaluate(curves, shuffled, bundle=bundle, session=session, options=Options(shots=(5,), episodes=40, baselines="none", each=30))
    assert 0.22 < found["accuracy"]["5"] < 0.45
    assert found["by_physics"]["5"]["not simulated"] == found["per_class"]["5"]["Unseen"]
    assert 0.2 < found["zero_shot"]["accuracy"] < 0.47


def test_a_wrong_table_is_one_line(small: tuple[Path, Path], tmp_path: Path) -> None:
    task, labels = small
    with pytest.raises(TableError, match="is not there"):
        tables.read_task(tmp_path / "no.parquet", labels)
    with pytest.raises(TableError, match="not a parquet"):
        tables.read_task(labels, labels)
    with pytest.raises(TableError, match="not a CSV"):
        tables.read_task(task, task)
    other = tmp_path / "other.csv"
    other.write_text("object_id,coarse\nx,SN Ia\ny,TDE\n")
    with pytest.raises(TableError, match="object_id must be the same"):
        tables.read_task(task, other)
    other.write_text("name,class\nx,SN Ia\n")
    with pytest.raises(TableError, match="needs the columns"):
        tables.read_task(task, other)
    pyarrow.parquet.write_table(pa.table({"object_id": ["a"]}), tmp_path / "thin.parquet")
    with pytest.raises(TableError, match="no column mjd"):
        tables.read(tmp_path / "thin.parquet")


@pytest.mark.slow
def test_the_forest_on_the_real_task_is_the_published_one(shared: Path) -> None:
    """The tables' README: 59.2 [56.2, 61.8] at K = 5 on transients4_matched."""
    pytest.importorskip("light_curve")
    from evaluation import baselines, measures
    from evaluation.handmade import hand_made

    name = shared / "tables" / "tasks" / "transients4_matched"
    curves, labels = tables.read_task(name.with_suffix(".parquet"), name.with_suffix(".csv"))
    e = make(labels, 5, episodes=100)
    assert e is not None
    right = measures.hits(baselines.k_shot_forest(hand_made(curves), e), e.query_class)
    assert 0.562 - 0.03 < measures.per_class(right, e).mean() < 0.618 + 0.03
