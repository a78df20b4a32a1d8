"""One command from a seed to a bundle: simulate, train, export, calibrate, evaluate, write.

    python -m learning.train [--minutes 60] [--alerts 60000] [--curves 240000] [--seed 0] [--out artifacts/bundle]

The number of steps follows from `--minutes` by a fixed rate, not from the clock, so that a seed gives the same network on a slow
machine too. A run that was cut off goes on from its last checkpoint; `--fresh` starts anew.
"""

from __future__ import annotations

import argparse
import datetime
import importlib
import json
import sys
import time
from collections.abc import Callable, Sequence
from dataclasses import asdict, fields
from pathlib import Path
from typing import Any

import numpy as np
from rich.console import Console
from rich.progress import BarColumn, MofNCompleteColumn, TextColumn, TimeRemainingColumn
from rich.progress import Progress as Bar

from data.simulate.classes import SLUGS
from gpu.ort import OrtSession
from gpu.session import one_line
from learning.dataset import NAMES, Alerts, kept, simulate, simulate_curves
from learning.encoder import EncoderConfig
from learning.export import compare, to_onnx
from learning.fit import Checkpoint, Progress, fit
from learning.losses import has_bfloat16
from learning.recalibrate import HELD_CURVES, HELD_OUT, assess, fit_head, golden_of
from learning.shards import WorkerError
from learning.trainee import Hyperparameters
from operators.budget import ALERTS_A_NIGHT
from registry.bundle import Bundle, BundleError, Parts, refuse, save
from schemas.taxonomy import TAXONOMY

STEPS_A_MINUTE = 540
"""On two cores of a server; a constant, so that `--minutes` means the same network everywhere."""
SIMULATED_A_MINUTE = 25_000
"""Alerts, on the same machine."""
CURVES_A_MINUTE = 35_000
MINUTES_BESIDE = 2.0
"""For export, calibration and evaluation."""
Say = Callable[[str], None]


def main(arguments: list[str] | None = None) -> int:
    """Run the command; see the module's docstring."""
    options = _parse(arguments)
    console = Console()
    try:
        bundle = train(options, console)
    except (BundleError, OSError, FloatingPointError, WorkerError) as error:
        print(f"protonova training: {error}", file=sys.stderr)
        return 1
    except KeyboardInterrupt:
        print(f"stopped; the same command goes on from {_work(options.out)}", file=sys.stderr)
        return 130
    console.print(f"bundle {bundle.sha256[:16]} in {bundle.path}")
    return 0


def train(options: argparse.Namespace, console: Console) -> Bundle:
    """Make a bundle."""
    started = time.monotonic()

    def say(text: str) -> None:
        console.print(f"[{time.monotonic() - started:5.0f} s] {text}", highlight=False)

    refuse(Path(options.out))  # now, not after twenty minutes
    _work(options.out).mkdir(parents=True, exist_ok=True)
    steps = options.steps or steps_for(options.minutes, options.alerts, options.curves)
    recipe = Hyperparameters(steps=steps, seed=options.seed, **options.recipe)
    config = EncoderConfig(classes=len(NAMES))
    held_out_size = min(HELD_OUT, max(options.alerts // 4, 60 * len(SLUGS)))
    seeds = [3 * options.seed + i for i in range(3)]  # training, calibration and evaluation never share an alert

    say(f"simulating {options.alerts:,} alerts to train on and {held_out_size:,} to calibrate with")
    alerts = without(
        kept(_set(options, "alerts", options.alerts), lambda: simulate(options.alerts, seeds[0], processes=options.processes)),
        options.without,
    )
    held_out = kept(_set(options, "held-out", held_out_size), lambda: simulate(held_out_size, seeds[1], processes=options.processes))
    held_curves = kept(
        _set(options, "held-curves", HELD_CURVES), lambda: simulate_curves(HELD_CURVES, seeds[1], processes=options.processes)
    )
    curves = None
    if options.curves:
        say(f"simulating {options.curves:,} light curves")
        curves = without(
            kept(_set(options, "curves", options.curves), lambda: simulate_curves(options.curves, seeds[0], processes=options.processes)),
            options.without,
        )
    slow = recipe.half and not has_bfloat16("cpu")
    say(f"training {recipe.steps:,} steps of {recipe.batch}{', in float32: this processor has no bfloat16' if slow else ''}")
    checkpoint = Checkpoint(_work(options.out))
    if options.fresh:
        checkpoint.clear()
    with _bar(console, recipe.steps) as report:
        encoder = fit(alerts, config, recipe, checkpoint, report=report, curves=curves)

    say(f"{encoder.count():,} parameters; exporting")
    model = to_onnx(encoder)
    inputs = held_out.take(slice(0, 1000)).inputs()
    agreement = compare(encoder, model, *inputs)
    if agreement.cosine < 0.999 or agreement.same_label < 0.999:
        raise BundleError(f"the exported network is not the trained one: {agreement}")
    session = OrtSession(model)
    head, reference = fit_head(held_out, held_curves, session)

    demo_size = min(6000, held_out_size)
    say(f"evaluating on {demo_size:,} alerts of the demo's population")
    demo = kept(_set(options, "demo", demo_size), lambda: simulate(demo_size, seeds[2], "demo", options.processes, surveys={"ztf": 1.0}))
    found: dict[str, Any] = assess(demo, session, head, Path(options.real), console) | {"export": asdict(agreement)}
    golden = golden_of(held_out, session, head)
    command = f"python -m learning.train --steps {recipe.steps} --alerts {options.alerts} --curves {options.curves} --seed {options.seed}"
    command += "".join(f" --without {kind}" for kind in options.without)
    command += "".join(f" --set {name}={value}" for name, value in options.recipe.items())
    manifest = {
        "classes": SLUGS,
        "kinds": NAMES,
        "taxonomy": TAXONOMY,
        "encoder": json.loads(config.to_json()),
        "parameters": encoder.count(),
        "created_by": "protonova learning.train",
        "created_on": datetime.datetime.now(datetime.UTC).date().isoformat(),
        "command": command,
        "seed": options.seed,
        "stream": {"alerts_a_night": ALERTS_A_NIGHT},
        "figures": found | {"recipe": asdict(recipe)},
    }
    bundle = save(Path(options.out), Parts(manifest, model, head, reference, golden))
    if options.mlflow:
        try:
            _log(options.mlflow, bundle, recipe)
        except Exception as error:  # the ledger's client raises what its transport raises; the bundle is made all the same
            say(f"not logged to {options.mlflow}: {one_line(error)}")
    say("done")
    return bundle


def _set(options: argparse.Namespace, name: str, number: int) -> Path | None:
    """Where a simulated set is kept; None: nowhere."""
    return Path(options.sets) / f"{name}-{number}-{options.seed}.safetensors" if options.sets else None


def steps_for(minutes: float, alerts: int, curves: int = 0) -> int:
    """Steps that fit into the minutes beside the rest, by the fixed rates; two digits of them."""
    steps = max(50, round((minutes - MINUTES_BESIDE - alerts / SIMULATED_A_MINUTE - curves / CURVES_A_MINUTE) * STEPS_A_MINUTE))
    return round(steps, 2 - len(str(steps)))


def without(alerts: Alerts, kinds: Sequence[str]) -> Alerts:
    """All but some kinds: what an encoder that never saw them is trained on."""
    return alerts.take(~np.isin(alerts.label, [NAMES.index(kind) for kind in kinds])) if kinds else alerts


def _log(uri: str, bundle: Bundle, recipe: Hyperparameters) -> None:
    """Write the run into the ledger of an MLflow server."""
    mlflow = importlib.import_module("mlflow")  # 1.4 s to import, and wanted by few
    mlflow.set_tracking_uri(uri)
    mlflow.set_experiment("protonova")
    with mlflow.start_run(run_name=bundle.sha256[:16]):
        mlflow.log_params({**asdict(recipe), "command": bundle.manifest.command})
        demo = bundle.manifest.figures["demo"]
        for name in ("accuracy", "macro"):
            mlflow.log_metrics({f"{name}_{detections.replace('+', '_or_more')}": value for detections, value in demo[name].items()})
        mlflow.log_metrics({"ece": demo["ece"], "coverage": demo["coverage"]})
        mlflow.log_artifacts(str(bundle.path), "bundle")


class _bar:
    """A progress bar on a terminal; a line each tenth where the output is a file."""

    def __init__(self, console: Console, steps: int) -> None:
        self._console, self._steps = console, steps
        self._columns = Bar(
            TextColumn("training"),
            BarColumn(),
            MofNCompleteColumn(),
            TimeRemainingColumn(),
            TextColumn("{task.fields[state]}"),
            console=console,
        )

    def __enter__(self) -> Callable[[Progress], None]:
        interactive = self._console.is_terminal
        task = self._columns.add_task("training", total=self._steps, state="")
        if interactive:
            self._columns.start()
        recent: list[tuple[float, float]] = []

        def report(progress: Progress) -> None:
            recent.append((progress.loss, progress.accuracy))
            del recent[:-100]
            loss, accuracy = np.mean(recent, axis=0)
            state = f"loss {loss:.3f}, {accuracy:.0%} right"
            self._columns.update(task, completed=progress.step, state=state)
            if not interactive and (progress.step % max(self._steps // 10, 1) == 0):
                self._console.print(f"  step {progress.step:,} of {progress.steps:,}: {state}", highlight=False)

        return report

    def __exit__(self, *_: object) -> None:
        self._columns.stop()


def recipe_numbers(settings: Sequence[str]) -> dict[str, Any]:
    """``["contrast=0", "half=0"]`` → fields of `Hyperparameters` with their types.

    Raises
    ------
    ValueError
        A name is none of the recipe's numbers, or the value is no number.
    """
    known = {f.name: f for f in fields(Hyperparameters) if f.name not in ("steps", "seed")}
    found: dict[str, Any] = {}
    for setting in settings:
        name, _, value = setting.partition("=")
        if name not in known:
            raise ValueError(f"--set knows {', '.join(sorted(known))}; not {name!r}")
        try:
            number = float(value)
        except ValueError:
            raise ValueError(f"--set {name}= takes a number, not {value!r}") from None
        kind = type(getattr(Hyperparameters(steps=1), name))
        found[name] = kind(number)
    return found


def _work(out: str) -> Path:
    """Where the checkpoint of a bundle lies."""
    return Path(f"{out}.training")


def _parse(arguments: list[str] | None) -> argparse.Namespace:
    parser = argparse.ArgumentParser(prog="python -m learning.train", description="Simulate, train, export and calibrate a bundle.")
    parser.add_argument("--minutes", type=float, default=60.0, help="on two cores, all in all (default 60)")
    parser.add_argument("--alerts", type=int, default=60_000, help="with images, to train on (default 60,000)")
    parser.add_argument("--curves", type=int, default=240_000, help="light curves without images, to train on (default 240,000; 0: none)")
    parser.add_argument("--without", action="append", default=[], metavar="KIND", choices=NAMES, help="leave a kind out; may be repeated")
    parser.add_argument("--set", action="append", default=[], metavar="NAME=NUMBER", dest="recipe", help="a number of the recipe")
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--out", default="artifacts/bundle", help="folder of the bundle (default artifacts/bundle)")
    parser.add_argument("--steps", type=int, help="instead of --minutes")
    parser.add_argument("--processes", type=int, default=2, help="to simulate in (default 2)")
    parser.add_argument("--sets", metavar="DIR", help="keep the simulated sets there, or read them (delete it when the simulator changes)")
    parser.add_argument("--fresh", action="store_true", help="forget an earlier checkpoint")
    parser.add_argument("--real", default="../shared/data/real/ztf_alerts", help="folder of labelled packets to report on, if it is there")
    parser.add_argument("--mlflow", metavar="URI", help="log the run to this MLflow server")
    options = parser.parse_args(arguments)
    if options.alerts < 20 * len(SLUGS):
        parser.error(f"--alerts must be {20 * len(SLUGS)} at least: 20 a class")
    if not options.minutes > 0 or options.processes < 1 or (options.steps is not None and options.steps < 1):
        parser.error("--minutes, --steps and --processes must be above 0")
    if not 0 <= options.seed < 1 << 32:
        parser.error("--seed must be from 0 to 4,294,967,295")
    if options.curves < 0:
        parser.error("--curves must be 0 or more")
    try:
        options.recipe = recipe_numbers(options.recipe)
    except ValueError as error:
        parser.error(str(error))
    recipe = Hyperparameters(steps=1, **options.recipe)
    if recipe.shards < 1:
        parser.error("--set shards= must be 1 or more")
    if recipe.batch < recipe.shards or recipe.batch % recipe.shards:
        parser.error(f"--set batch= must be a multiple of the {recipe.shards} shards")
    if not options.out.strip():
        parser.error("--out must name a folder")
    return options


if __name__ == "__main__":
    sys.exit(main())
