"""`protonova describe`: a file or a name in, tables and a prototype out; what is wrong is one line."""

from __future__ import annotations

import json
import os
import subprocess
from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.parquet
import pytest

from evaluation import zeroshot
from registry.bundle import load
from tests.console import forked_cli

ROOT = Path(__file__).parents[2]


def describe(*arguments: object, folder: Path) -> subprocess.CompletedProcess[str]:
    clean = {k: v for k, v in os.environ.items() if not k.startswith("PROTONOVA_")}
    environment = {**clean, "PYTHONPATH": str(ROOT), "NO_COLOR": "1", "PROTONOVA_ENGINE": "onnxruntime"}
    return forked_cli.protonova(["describe", *map(str, arguments)], folder=folder, environment=environment)


@pytest.mark.parametrize("suffix", [".json", ".safetensors"])
def test_a_name_gives_tables_and_a_prototype(suffix: str, tmp_path: Path) -> None:
    done = describe("neutron star merger", "--alerts", 30, "--out", f"p{suffix}", "--report", "r.json", folder=tmp_path)
    assert done.returncode == 0, done.stderr
    assert done.stdout.startswith("kilonova  (fits 1.00)")
    for words in ("rise", "redshift", "detected by ZTF", "30 of", "nearest known classes"):
        assert words in done.stdout
    report = json.loads((tmp_path / "r.json").read_text())
    assert report["command"] == "describe"
    assert report["name"] == next(iter(report["nearest"])) == "kilonova"
    assert report["detected"] == 30 <= report["simulated"]
    prior = zeroshot.load(tmp_path / f"p{suffix}", load().sha256)
    assert (prior.name, prior.simulated, prior.tried) == ("kilonova", 30, report["simulated"])
    assert float(np.linalg.norm(prior.prototype)) == pytest.approx(1, abs=1e-5)


@pytest.mark.slow
def test_a_file_of_ones_own_and_a_table_to_look_through(tmp_path: Path) -> None:
    text = (ROOT / "data/simulate/descriptions/fbot.yaml").read_text().replace("name: fbot", "name: my-event")
    (tmp_path / "mine.yaml").write_text(text)
    rng = np.random.default_rng(0)
    columns: dict[str, list[object]] = {}
    for k in range(24):  # the first rises in 3 d and fades in 5, the others in 30 and 60
        rise, fade = (3.0, 5.0) if k == 0 else (30.0, 60.0)
        time = np.sort(rng.uniform(0, 4 * fade, 16))
        flux = np.where(time < rise, time / rise, np.exp(-(time - rise) / fade)) * 1000 + rng.normal(0, 20, 16)
        rows = {"object_id": [f"o{k}"] * 16, "mjd": 59000 + time, "band": ["g", "r"] * 8, "flux": flux, "flux_err": [20.0] * 16}
        for name, values in rows.items():
            columns.setdefault(name, []).extend(values)
    pyarrow.parquet.write_table(pa.table(columns), tmp_path / "t.parquet")
    done = describe("mine.yaml", "--alerts", 30, "--against", "t.parquet", "--report", "r.json", folder=tmp_path)
    assert done.returncode == 0, done.stderr
    assert done.stdout.startswith("my-event\n")
    report = json.loads((tmp_path / "r.json").read_text())
    assert report["matched"] is None
    assert next(iter(report["against"]["t.parquet"]["nearest"])) == "o0"
    assert "nearest of 24 in t.parquet" in done.stdout


BAD = "name: x\ntext: y\nsky: disc\nenvironment: star\nrise: -3\ndecline: {rate: 1}\nduration: 1\ncolour: {g_r: 0}\npeak: {amplitude: 3}\n"


@pytest.mark.parametrize(
    ("arguments", "code", "words"),
    [
        (("bad.yaml",), 2, "bad.yaml: rise: must be between 0.0001 and 3000 d, not -3"),
        (("none.yaml",), 2, "none.yaml: No such file"),
        (("quarterly tax report",), 2, "no description means 'quarterly tax report'; there are"),
        (("kilonova", "--out", "p.txt"), 2, "--out writes .json or .safetensors"),
        (("kilonova", "--alerts", "3"), 2, "--alerts"),
        (("kilonova", "--alerts", "20", "--against", "none.parquet"), 2, "none.parquet is not there"),
        (("kilonova", "--bundle", "nowhere"), 2, "nowhere"),
        (("unseen.yaml",), 1, "unseen: none of"),
    ],
)
def test_what_is_wrong_is_one_line(arguments: tuple[str, ...], code: int, words: str, tmp_path: Path) -> None:
    (tmp_path / "bad.yaml").write_text(BAD)
    (tmp_path / "unseen.yaml").write_text(
        "name: unseen\ntext: y\nsky: extragalactic\nenvironment: dwarf\nrise: 3\ndecline: {rate: 1}\nduration: 9\ncolour: {g_r: 0}\n"
        "peak: {absolute: -8}\nredshift: [1, 2]\n"
    )
    done = describe(*arguments, folder=tmp_path)
    assert done.returncode == code, done.stderr
    assert words in done.stderr
    assert len(done.stderr.splitlines()) == 1
    assert "Traceback" not in done.stdout + done.stderr
    assert done.stdout == ""
