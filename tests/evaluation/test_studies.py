"""Studies and the model card on small simulated tables: they run, they say what they should, and nothing left out leaks back."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.parquet
import pytest

pytest.importorskip("torch")

from data.tables import from_arrays
from evaluation import card, drawn, simulated, task_head
from evaluation.studies import novel, rare
from operators.context import SURROUNDINGS
from pipeline.embed import Inputs
from tools.studies import main

CLASSES = {"SN Ia": ("Ia",), "SLSN": ("SLSN-I",), "TDE": ("TDE",)}


@pytest.fixture(scope="module")
def task(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Simulated objects in the tables' layout: what anybody saw of three kinds."""
    folder = tmp_path_factory.mktemp("studies")
    columns: dict[str, list[object]] = {c: [] for c in ("object_id", "mjd", "band", "flux", "flux_err", "upper_limit")}
    lines = ["object_id,coarse"]
    for name, kinds in CLASSES.items():
        for i, part in enumerate(drawn.streamed(kinds[0], 18, seed=5, population="demo")):
            n = len(part["time"])
            columns["object_id"] += [f"{name}-{i}"] * n
            columns["mjd"] += list(59000 + part["time"])
            columns["band"] += ["g" if w < 5600 else "r" for w in part["wavelength"]]
            columns["flux"] += list(1000 * part["flux"])
            columns["flux_err"] += list(1000 * part["flux_err"])
            columns["upper_limit"] += [float("nan")] * n
            lines.append(f"{name}-{i},{name}")
    pyarrow.parquet.write_table(pa.table(columns), folder / "three.parquet")
    (folder / "three.csv").write_text("\n".join(lines) + "\n")
    return folder / "three.parquet"


def run(tmp_path: Path, *arguments: str) -> dict[str, object]:
    out = tmp_path / "study.json"
    assert main([*arguments, "--engine", "onnxruntime", "--out", str(out)]) == 0
    found: dict[str, object] = json.loads(out.read_text())
    return found


@pytest.mark.slow
@pytest.mark.timeout(300)
def test_ablation_compares_with_the_whole(task: Path, tmp_path: Path) -> None:
    found = run(tmp_path, "ablation", "--task", str(task), "--shots", "1,5", "--episodes", "12", "--each", "12")
    rows = found["tasks"]["three"]  # type: ignore[index]
    assert {"whole", "no folded view", "no ridge", "no zero-shot view", "8 tokens, no named features"} <= set(rows)
    assert rows["whole"]["5"]["difference"] == 0
    for name, row in rows.items():
        if "note" not in row:
            assert row["5"]["accuracy"] == pytest.approx(rows["whole"]["5"]["accuracy"] + row["5"]["difference"]), name


def test_what_is_blanked_is_gone_and_the_rest_stays() -> None:
    rng = np.random.default_rng(0)
    width = 2 * len(SURROUNDINGS)
    whole = Inputs(*(rng.random(shape, dtype=np.float32) for shape in ((2, 3, 4), (2, 4, 5, 5), (2, width + 7))))
    same = task_head.Blind()(whole)
    for a, b in zip(same, whole, strict=True):
        np.testing.assert_array_equal(a, b)
    _, _, folded = task_head.Blind(fold=True)(whole)
    assert not folded[:, width:].any()
    np.testing.assert_array_equal(folded[:, :width], whole.context[:, :width])
    _, images, around = task_head.Blind(context=True, stamps=True)(whole)
    assert not images.any()
    assert not around[:, :width].any()
    np.testing.assert_array_equal(around[:, width:], whole.context[:, width:])


@pytest.mark.slow
@pytest.mark.timeout(300)
def test_a_class_left_out_is_known_to_no_part(task: Path, tmp_path: Path) -> None:
    from registry.bundle import PUBLISHED

    found = run(
        tmp_path, "leave_out", "--task", str(task), "--class", "TDE", "--without", str(PUBLISHED), "--shots", "1,5", "--episodes", "12",
        "--each", "12",
    )  # fmt: skip
    by = found["tasks"]["three"]["by_k"]["5"]  # type: ignore[index]
    assert by["with"]["recall_change"] == 0
    # The same bundle on both sides: only what the head may know differs.
    assert by["without"]["recall"] == by["head without"]["recall"]
    assert by["encoder without"]["macro"] == by["with"]["macro"]
    assert main(["leave_out", "--task", str(task), "--class", "Nothing", "--without", str(PUBLISHED), "--episodes", "12"]) == 2


def test_a_kind_that_may_not_be_known_is_nowhere(task: Path) -> None:
    from data.tables import read_task
    from evaluation.clock import Clock
    from evaluation.options import Options
    from evaluation.protocol import see
    from gpu.choose import choose
    from registry.bundle import load

    curves, labels = read_task(task, task.with_suffix(".csv"))
    bundle = load()
    session, _ = choose(bundle.encoder, "onnxruntime")
    gone = ("TDE", "TDE-slow", "TDE-fast")
    seen = see(curves, labels, bundle=bundle, session=session, options=Options(each=12, unseen=gone), clock=Clock())
    assert not seen.simulated("TDE")
    assert seen.simulated("SLSN")
    assert seen.knowledge is not None
    assert not set(gone) & set(seen.knowledge.others_label.tolist())
    assert not set(gone) & set(seen.known.kinds)


@pytest.mark.slow
@pytest.mark.timeout(300)
def test_novelty_never_sees_what_is_new(tmp_path: Path) -> None:
    from gpu.choose import choose
    from registry.bundle import load

    bundle = load()
    session, _ = choose(bundle.encoder, "onnxruntime")
    parts = [{**p, "limit": np.full(len(p["time"]), np.nan)} for p in drawn.streamed("KN", 1, seed=8, population="demo")]
    parts += [
        {**p, "limit": np.full(len(p["time"]), np.nan)} for k in ("Ia", "IIP") for p in drawn.streamed(k, 4, seed=8, population="demo")
    ]
    objects = from_arrays([f"o{i}" for i in range(len(parts))], parts)
    labels = np.array(["", *["SN Ia"] * 4, *["SN II"] * 4])
    found = novel.novel(bundle, session, objects=objects, labels=labels, real=("o0",), each=6, unseen=10)
    assert set(found["by_kind_of_the_rest"]).isdisjoint(novel.LEFT_OUT)
    assert 0 <= found["auroc"] <= 1
    assert found["described"]["o0"]["nearest"] in found["described"]["o0"]["cosine"]
    assert found["real"]["rest"] == 8


def test_purity_counts_the_stream() -> None:
    from evaluation.episodes import make

    labels = np.repeat(np.array(["kilonova", "sn-ia", "bogus"]), 60)
    e = make(labels, 5, episodes=10)
    assert e is not None
    p = np.full((10, len(e.query_class), 3), 0.1)
    c = e.classes.index("kilonova")
    p[:, e.query_class == c, c] = 0.9
    sure = rare.purity(p, e, c=c)
    # Perfect, but one more false alert is counted: sixty different alerts show no more, however often they are drawn.
    assert sure["purity"] == pytest.approx(sure["highest"])
    assert 0.3 < sure["purity"] < 1
    assert sure["purity"] <= 0.01 / (0.01 + 0.99 / 61) + 1e-9
    p[:, e.query_class == e.classes.index("sn-ia"), c] = 0.9
    p[:, e.query_class == e.classes.index("bogus"), c] = 0.1
    some = rare.purity(p, e, c=c)
    p[:, e.query_class == e.classes.index("bogus"), c] = 0.9
    assert sure["purity"] > some["purity"] > rare.purity(p, e, c=c)["purity"]
    assert rare.purity(p, e, c=c)["purity"] == pytest.approx(0.01, abs=1e-3)


def report(name: str) -> dict[str, object]:
    """A report as `protonova evaluate` writes it, of two classes."""
    k = {"1": 0.6, "5": 0.7}
    bins = [{"confidence": 0.4, "correct": 0.5}, {"confidence": 0.9, "correct": 0.8}]
    return {
        "command": "evaluate", "task_file": f"{name}.parquet", "model": {"sha256": "0" * 64}, "accuracy": k,
        "interval": {"1": [0.5, 0.7], "5": [0.65, 0.75]}, "zero_shot": {"accuracy": 0.55},
        "protocol": {"tuned": "nowhere"}, "per_class": {"1": {"a": 0.5, "b": 0.7}, "5": {"a": 0.6, "b": 0.8}},
        "gains": {"1": {}, "5": {"forest": {"gain": 0.1, "interval": [0.02, 0.2]}}}, "ece_above_null": {"1": 0.01, "5": 0.02},
        "brier": {"1": 0.3, "5": 0.2}, "conformal": {"1": None, "5": {"coverage": 0.9, "interval": [0.88, 0.93], "size": 1.4}},
        "open_set": {"5": {"mean": {"learned": 0.8, "learned_fpr95": 0.4}, "left_out": {"a": {"learned": 0.7}, "b": {"learned": 0.9}}}},
        "over_time": {"shots": 5, "days": {"0": {"accuracy": 0.4}, "10": {"accuracy": 0.6}}, "detections": {"5": {"accuracy": 0.63}}},
        "classes_by_k": {"1": ["a", "b"], "5": ["a", "b"]}, "confusion": {"1": [[0.5, 0.5], [0.3, 0.7]], "5": [[0.6, 0.4], [0.2, 0.8]]},
        "reliability": {"1": bins, "5": bins},
        "map": {"objects": {"a": [[0, 1], [1, 1]], "b": [[2, 2]]}, "prototypes": {"a": [0, 0]}},
    }  # fmt: skip


def test_the_card_says_what_the_reports_say(tmp_path: Path) -> None:
    from registry.bundle import load

    for name in ("one", "two"):
        (tmp_path / f"{name}.json").write_text(json.dumps(report(name)))
    (tmp_path / "r.json").write_text(json.dumps({
        "study": "rare", "shots": 10, "prior": 0.01, "whole": {"purity": {"tde": {"purity": 0.71, "highest": 0.87}}},
    }))  # fmt: skip
    tasks, studies = card.read(tmp_path)
    text = card.card(load(), tasks, studies=studies, pictures={})
    assert set(tasks) == {"one", "two"}
    for words in ("60 [50, 70]", "**+10 [+2, +20]**", "nowhere", "a taken for b 40 %", "on simulations only", "71", "other bundles"):
        assert words in text, words
    assert "No report of `protonova evaluate --packets`" in text
    with pytest.raises(card.CardError, match="holds no report"):
        card.read(tmp_path / "nothing")


def test_the_pictures_are_small(tmp_path: Path) -> None:
    pytest.importorskip("matplotlib").use("Agg")
    from evaluation.card_pictures import draw

    drawn = draw({"one": report("one"), "two": report("two")}, tmp_path / "figures")
    assert len(drawn) == 4
    for path in drawn.values():
        assert path.read_bytes()[:4] == b"\x89PNG"
        assert path.stat().st_size < 100_000


def test_looks_are_all_a_simulation_knows(task: Path) -> None:
    """A description, a control and a study see a task only through `Looks`."""
    from data.tables import read_task

    curves, _ = read_task(task, task.with_suffix(".csv"))
    looks = simulated.Looks.of(curves, False)
    assert not any("label" in name or "class" in name for name in (*looks.__slots__, *looks.patterns.__slots__, *looks.cut.__slots__))
