"""``python -m tools.studies NAME …``: run a study and write its JSON."""

from __future__ import annotations

import argparse
import json
import sys
import time
from pathlib import Path
from typing import Any

import numpy as np

from data.tables import TableError, read, read_labels, read_task
from errors import UserError
from evaluation.options import Options
from evaluation.provenance import STREAM, TABLES, made_with
from gpu.choose import choose
from gpu.session import Session
from pipeline.state import load as load_state
from registry.bundle import Bundle, load
from settings.model import Settings

NAMES = ("ablation", "leave_out", "novelty", "rare", "coverage", "heads", "injection", "gates", "drift", "teach")


def main(arguments: list[str] | None = None) -> int:
    """Run one study; 0, or 2 with one line on standard error."""
    options = _parse(arguments)
    begun = time.perf_counter()
    try:
        found = _run(options)
    except UserError as error:
        print(error, file=sys.stderr)
        return 2
    found = {"study": options.study, "command": _command(options), **found, "seconds": round(time.perf_counter() - begun, 1)}
    text = json.dumps(found, indent=1)
    if options.out is None:
        print(text)
    else:
        options.out.write_text(text + "\n", encoding="utf-8")
    return 0


def _open(path: Path | None, engine: str) -> tuple[Bundle, Session]:
    bundle = load(path)
    return bundle, choose(bundle.encoder, engine)[0]


def _run(o: argparse.Namespace) -> dict[str, Any]:
    if o.study == "injection":
        return _injection(o)
    if o.study == "drift":
        return _drift(o)
    bundle, session = _open(o.bundle, o.engine)
    shots = tuple(int(k) for k in o.shots.split(","))
    settings = Options(shots=shots, episodes=o.episodes, baselines="none", seed=o.seed, each=o.each, processes=o.processes)
    parts = STREAM if o.study in ("heads", "gates", "teach") else TABLES
    head = {"bundle": bundle.sha256, "trained_by": bundle.manifest.command, "made_with": made_with(bundle, parts)}
    if o.study == "ablation":
        from evaluation.studies.ablation import ablation

        others = {name: _open(Path(path), o.engine) for name, _, path in (text.partition("=") for text in o.other)}
        tables = {task.stem: read_task(task, task.with_suffix(".csv")) for task in o.task}
        return head | ablation(
            tables,
            (bundle, session),
            others=others,
            shots=shots,
            episodes=o.episodes,
            each=o.each,
            progress=lambda text: print(text, file=sys.stderr),
        )
    if o.study == "leave_out":
        from evaluation.studies.leave_out import leave_out

        if o.without is None or o.of is None:
            raise TableError("leave_out needs --class NAME and --without BUNDLE, an encoder that never saw it")
        unseen = _open(o.without, o.engine)
        tables = {task.stem: read_task(task, task.with_suffix(".csv")) for task in o.task}
        found = {
            name: leave_out(*table, name=o.of, seen=(bundle, session), unseen=unseen, shots=shots, options=settings)
            for name, table in tables.items()
        }
        return head | {"without": unseen[0].sha256, "without_trained_by": unseen[0].manifest.command, "tasks": found}
    if o.study == "novelty":
        from evaluation.studies.novel import LEFT_OUT, novel

        if o.table is None or o.labels is None:
            raise TableError("novelty needs --table and --labels with the real objects, and --real ID of the new one")
        known = read_labels(o.labels)
        curves = read(o.table)
        rows = np.flatnonzero(np.diff(curves.start) > 0)
        curves = curves.take(rows)
        forbidden = ("kilonova", "afterglow")
        label = np.array([known.get(i, "") for i in curves.object_id])
        label = np.where(np.isin(label, forbidden), "", label)
        return head | novel(
            bundle,
            session,
            objects=curves,
            labels=label,
            real=tuple(o.real),
            left_out=tuple(o.left_out or LEFT_OUT),
            each=o.each,
            unseen=o.unseen,
            seed=o.seed,
        )
    if o.study == "heads":
        from evaluation.studies.heads import earlier, heads
        from schemas.catalogue_labels import meaning_of

        if o.table is None or o.labels is None or (o.before is None) != (o.packets is None):
            raise TableError("heads needs --table and --labels, and --before (an earlier arrays.safetensors) with --packets or neither")
        meant = {name: meaning_of(label) for name, label in read_labels(o.labels).items()}
        slugs = {name: m.slug for name, m in meant.items() if m.exact and m.slug}
        curves = read(o.table, sorted(slugs))
        before = earlier(o.before, bundle.head) if o.before else None
        return head | heads(bundle, before, session=session, packets=o.packets, curves=curves, labels=slugs)
    if o.study == "teach":
        from evaluation.studies.teach_study import teach_study
        from schemas.catalogue_labels import meaning_of

        if o.table is None or o.labels is None:
            raise TableError("teach needs --table and --labels: real light curves and their classes")
        meant = {name: meaning_of(label) for name, label in read_labels(o.labels).items()}
        slugs = {name: m.slug for name, m in meant.items() if m.exact and m.slug}
        curves = read(o.table, sorted(slugs))
        return head | teach_study(bundle, session, curves=curves, labels=slugs, packets=o.packets, first=o.seed)
    if o.study == "gates":
        from evaluation.studies.gate_study import gate_study

        return head | gate_study(
            bundle, session, seeds=o.seeds, first=o.seed, kept=o.keep, progress=lambda text: print(text, file=sys.stderr)
        )
    if o.study == "rare":
        from evaluation.studies.rare import rare

        return head | rare(bundle, session, shots=max(shots), alerts=o.alerts, episodes=o.episodes, seed=o.seed)
    from evaluation.studies.coverage import coverage

    tables = {task.stem: read_task(task, task.with_suffix(".csv")) for task in o.task}
    return head | {
        "tasks": {
            name: coverage(*table, bundle=bundle, session=session, shots=shots, objects=o.objects, options=settings)
            for name, table in tables.items()
        }
    }


def _injection(o: argparse.Namespace) -> dict[str, Any]:
    """Injection and recovery; it needs a bundle only where classes are asked for."""
    from console.progress import progress
    from evaluation.studies.injection import inject

    with progress("injection", unit="curves") as bar:
        found = inject(
            o.light_curves or [Settings().shared / "data" / "real" / "tess"],
            trials=o.trials,
            n_nulls=o.nulls,
            seed=o.seed,
            state=load_state(o.bundle, o.engine) if o.classes else None,
            progress=bar.advance,
        )
    if o.figure is not None:
        from evaluation.studies.injection_picture import draw

        draw(found, o.figure)
    return found


def _drift(o: argparse.Namespace) -> dict[str, Any]:
    """False alarms, power, delay and diagnosis of the drift panel, on simulated nights and on real packets resampled."""
    from console.progress import progress
    from evaluation.studies.drift_table import table

    bundle, session = _open(o.bundle, o.engine)
    with progress("drift", unit="steps") as bar:
        found = table(
            bundle,
            session,
            alerts=o.alerts,
            seeds=o.seeds,
            seed=o.seed,
            real=o.packets or Settings().shared / "data" / "real" / "ztf_alerts",
            keep=o.keep,
            progress=bar.advance,
        )
    return {"bundle": bundle.sha256, "made_with": made_with(bundle, STREAM)} | found


def _command(o: argparse.Namespace) -> str:
    if o.study == "drift":
        return f"python -m tools.studies drift --alerts {o.alerts} --seeds {o.seeds} --seed {o.seed}"
    if o.study == "injection":
        return f"python -m tools.studies injection --trials {o.trials} --nulls {o.nulls} --seed {o.seed}{' --classes' if o.classes else ''}"
    plain = {k: v for k, v in vars(o).items() if isinstance(v, int | str) and k not in ("study", "engine")}
    given = [f"--{k.replace('_', '-')} {v}" for k, v in sorted(plain.items())]
    return f"python -m tools.studies {o.study} {' '.join(given)}"


def _parse(arguments: list[str] | None) -> argparse.Namespace:
    parser = argparse.ArgumentParser(prog="python -m tools.studies", description="One study of a bundle → JSON.")
    parser.add_argument("study", choices=NAMES)
    parser.add_argument("--bundle", type=Path, help="folder; the bundle that ships")
    parser.add_argument("--without", type=Path, help="leave_out: a bundle of the same budget that never saw the class")
    parser.add_argument("--class", dest="of", metavar="NAME", help="leave_out: the class, as the task calls it")
    parser.add_argument("--other", action="append", default=[], metavar="NAME=BUNDLE", help="ablation: another training, as a row")
    parser.add_argument("--task", type=Path, action="append", default=[], metavar="FILE.parquet", help="its labels lie beside it as .csv")
    parser.add_argument("--table", type=Path, help="novelty: real light curves")
    parser.add_argument("--labels", type=Path, help="novelty, heads: their classes")
    parser.add_argument("--before", type=Path, help="heads: arrays.safetensors of an earlier bundle with the same encoder")
    parser.add_argument("--packets", type=Path, metavar="DIR", help="heads: packets and their LABELS.csv")
    parser.add_argument("--real", action="append", default=[], metavar="ID", help="novelty: a real object of what was left out")
    parser.add_argument("--left-out", action="append", metavar="KIND", help="novelty: kinds the bundle never saw")
    parser.add_argument("--unseen", type=int, default=240, help="novelty: simulated objects of each kind left out")
    parser.add_argument("--objects", type=int, default=60, help="coverage: simulated objects a class")
    parser.add_argument("--alerts", type=int, default=24_000, help="rare: simulated alerts of each population")
    parser.add_argument("--shots", default="1,5,10", metavar="K,K,…")
    parser.add_argument("--episodes", type=int, default=300)
    parser.add_argument("--each", type=int, default=200, help="simulated curves a class")
    parser.add_argument("--light-curves", type=Path, action="append", metavar="PATH", help="injection: FITS files or folders of stars")
    parser.add_argument("--trials", type=int, default=60, help="injection: planets a depth and range of periods")
    parser.add_argument("--nulls", type=int, default=3000, help="injection: light curves without a planet a star")
    parser.add_argument("--classes", action="store_true", help="injection: what the bundle calls the packets, too")
    parser.add_argument("--figure", type=Path, metavar="FILE.png", help="injection: recall by depth and period as a picture")
    parser.add_argument("--seeds", type=int, default=20, help="gates: challengers of each kind; drift: streams of each scenario")
    parser.add_argument("--keep", type=Path, metavar="FOLDER", help="gates, drift: where what was scored is kept for the next time")
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--processes", type=int, default=1)
    parser.add_argument("--engine", default="auto")
    parser.add_argument("--out", type=Path)
    options = parser.parse_args(arguments)
    if options.study in ("ablation", "leave_out", "coverage") and not options.task:
        parser.error(f"{options.study} needs --task")
    return options


if __name__ == "__main__":
    sys.exit(main())
