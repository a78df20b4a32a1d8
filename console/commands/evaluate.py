"""``protonova evaluate``: a table of labelled light curves → how good the few-shot engine is on it, beside every baseline.

And a folder of labelled packets → what the stream says of them, beside the bars.
"""

from __future__ import annotations

import sys
import time
from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any, cast

from rich.console import Console
from rich.table import Table

from console import real_tables
from console.progress import progress
from console.report import check_writable, output, write
from errors import usage

if TYPE_CHECKING:
    from evaluation.options import Which
    from evaluation.simulated import Mode

COMMAND = "protonova evaluate --packets"
LEAST_EPISODES = 10
WIDTH = 120
"""Of the tables where standard output is not a terminal."""


def parse_shots(text: str) -> tuple[int, ...]:
    """Numbers of examples, as in "1,5,10" → (1, 5, 10).

    Raises
    ------
    UserError
        It is not a list of whole numbers from 1 on.
    """
    try:
        shots = tuple(sorted({int(part) for part in text.split(",")}))
    except ValueError:
        shots = ()
    if not shots or shots[0] < 1 or shots[-1] > 500:
        raise usage(f"--shots takes whole numbers between 1 and 500, such as 1,5,10,20; not {text!r}")
    return shots


def evaluate(
    task: Path | None,
    labels: Path | None,
    *,
    shots: str,
    episodes: int,
    baselines: str,
    seed: int,
    simulations: int,
    table: Path | None,
    bundle: Path | None,
    engine: str,
    report: Path | None,
    packets: Path | None = None,
    looks: str = "pattern",
    processes: int = 1,
    each: int = 300,
) -> int:
    """Run the protocol, the study of packets, or both, and write the report; `each` curves a class are simulated for the head."""
    from data.tables import read, read_task
    from evaluation.labelled_packets import report as labelled_packets
    from evaluation.options import Options
    from evaluation.protocol import evaluate as run
    from evaluation.provenance import TABLES, made_with
    from gpu.choose import choose
    from registry.bundle import load as load_bundle

    numbers = parse_shots(shots)
    if baselines not in ("fast", "all", "none"):
        raise usage(f"--baselines is fast, all or none; not {baselines!r}")
    if episodes < LEAST_EPISODES:
        raise usage(f"--episodes must be at least {LEAST_EPISODES}: fewer give no interval")
    if looks not in ("pattern", "cut"):
        raise usage(f"--looks is pattern or cut; not {looks!r}")
    check_writable(report)
    begun = time.perf_counter()
    loaded = load_bundle(bundle)
    session, why = choose(loaded.encoder, engine)
    scored: dict[str, Any] | None = None
    figures: dict[str, Any] = {}
    with progress("evaluate", "steps") as bar:

        def advance(what: str, by: int) -> None:
            bar.describe(what)
            bar.advance(by)

        if packets is not None:
            bar.describe("packets")
            scored = labelled_packets(packets, loaded, session=session, progress=bar.advance)
        if task is not None and labels is not None:
            curves, classes = read_task(task, labels)
            options = Options(
                numbers, episodes, cast("Which", baselines), seed, each=each, simulations=simulations, looks=cast("Mode", looks),
                processes=processes,
            )  # fmt: skip
            figures = run(curves, classes, bundle=loaded, session=session, options=options, progress=advance)
            figures["made_with"] = made_with(loaded, TABLES)
            if table is not None:
                advance("uncut curves", 0)
                whole = read(table, curves.object_id)
                figures["uncut"] = _uncut(run, whole, classes=classes, bundle=loaded, session=session, options=options)
    seconds = round(time.perf_counter() - begun, 1)
    console = Console() if sys.stdout.isatty() else Console(width=WIDTH)
    if task is None and scored is not None:
        figures = {"command": COMMAND, **scored, "wall_seconds": seconds}
        real_tables.show(output(), figures, title="labelled packets")
    else:
        beside = {} if scored is None else {"packets": scored}
        named = {"task_file": task.name if task else None, "engine_reason": why}
        figures = {"command": "evaluate", **named, **figures, **beside, "wall_seconds": seconds}
        show(figures, console)
    write(report, figures)
    return 0


def _uncut(run: Any, curves: Any, *, classes: Any, bundle: Any, session: Any, options: Any) -> dict[str, Any]:
    """The same objects with every row there is: bookkeeping alone separates classes there, so these figures are not to be quoted."""
    import dataclasses

    import numpy as np

    rows = np.flatnonzero(np.diff(curves.start) > 0)
    plain = dataclasses.replace(options, baselines="none")
    whole = run(curves.take(rows), classes[rows], bundle=bundle, session=session, options=plain)
    return {"note": "raw curves: bookkeeping alone separates the classes; not to be quoted"} | {
        name: whole[name] for name in ("accuracy", "interval", "per_class", "over_time")
    }


def _percent(share: float | None) -> str:
    return "–" if share is None or share != share else f"{100 * share:.1f}"


def _range(interval: list[float] | None, signed: bool = False) -> str:
    if interval is None:
        return ""
    low, high = (f"{100 * x:+.1f}" if signed else f"{100 * x:.1f}" for x in interval)
    return f"[{low}, {high}]"


def show(figures: Mapping[str, Any], console: Console) -> None:
    """Print the tables of a report."""
    keys = list(figures["accuracy"])
    objects = figures["task"]
    counts = ", ".join(f"{c} {n:,}" for c, n in objects["classes"].items())
    console.print(f"{figures['task_file']}: {objects['objects']:,} objects ({counts})", highlight=False)

    main = Table(title="macro accuracy [%], 95 % interval over objects", title_justify="left", pad_edge=False)
    main.add_column("method")
    for k in keys:
        main.add_column(f"K = {k}", justify="right")
    main.add_row("[bold]ours[/bold]", *(f"[bold]{_percent(figures['accuracy'][k])}[/bold] {_range(figures['interval'][k])}" for k in keys))
    names = sorted({name for k in keys for name in figures["baselines"][k]})
    for name in names:
        cells = [
            f"{_percent(figures['baselines'][k].get(name))} {_range(figures['baseline_intervals'][k].get(name))}".strip() for k in keys
        ]
        main.add_row(name.replace("_", " "), *cells)
    console.print(main)

    without = figures["zero_shot"]
    if without is not None:
        shares = ", ".join(f"{c} {_percent(r)}" for c, r in without["per_class"].items())
        console.print(f"no example at all: {_percent(without['accuracy'])} ({shares})", highlight=False)

    gains = Table(title="ours minus it, paired [points]", title_justify="left", pad_edge=False)
    gains.add_column("method")
    for k in keys:
        gains.add_column(f"K = {k}", justify="right")
    for name in names:
        found = [figures["gains"][k].get(name) for k in keys]
        gains.add_row(name.replace("_", " "), *(f"{100 * g['gain']:+.1f} {_range(g['interval'], True)}" if g else "–" for g in found))
    console.print(gains)

    confidence = Table(title="confidence", title_justify="left", pad_edge=False)
    for column in ("K", "ECE", "its null", "above", "Brier", "temperature", "90 % set holds", "set size", "new: AUROC", "learned"):
        confidence.add_column(column, justify="right")
    for k in keys:
        sets, new = figures["conformal"][k], (figures["open_set"].get(k) or {}).get("mean", {})
        confidence.add_row(
            k,
            f"{figures['ece'][k]:.3f}",
            f"{figures['ece_null'][k]['mean']:.3f}",
            f"{figures['ece_above_null'][k]:+.3f}",
            f"{figures['brier'][k]:.3f}",
            f"{figures['temperature'][k]['median']:.2f}",
            f"{_percent(sets['coverage'])} {_range(sets['interval'])}" if sets else "–",
            f"{sets['size']:.2f}" if sets else "–",
            f"{new['distance']:.2f}" if "distance" in new else "–",
            f"{new['learned']:.2f}" if "learned" in new else "–",
        )
    console.print(confidence)

    recall = Table(
        title="recall [%]; purity [%] at half completeness where the class is 1 % of the stream", title_justify="left", pad_edge=False
    )
    recall.add_column("class")
    for k in keys:
        recall.add_column(f"K = {k}", justify="right")
    for name in objects["classes"]:
        cells = []
        for k in keys:
            pure = figures["purity"][k].get(name)
            cells.append(f"{_percent(figures['per_class'][k].get(name))}; {_percent(pure['0.5']['0.01'])}" if pure else "too few")
        recall.add_row(name, *cells)
    console.print(recall)

    early = figures["over_time"]
    if early is not None:
        line = Table(title=f"accuracy [%] at K = {early['shots']}, everything cut at the same stage", title_justify="left", pad_edge=False)
        line.add_column("after")
        line.add_column("ours", justify="right")
        for unit, part in (("d", early["days"]), ("detections", early["detections"])):
            for name, found in part.items():
                line.add_row(f"{name} {unit}", _percent(found["accuracy"]))
        console.print(line)
    if figures.get("packets"):
        real_tables.show(console, figures["packets"], title="labelled packets")
    for name, reason in sorted(figures["missing_baselines"].items()):
        console.print(f"no {name.replace('_', ' ')}: {reason}", highlight=False)
    parts = ", ".join(f"{name} {seconds:.0f}" for name, seconds in figures["seconds"].items() if name != "all" and seconds >= 1)
    console.print(f"{figures['wall_seconds']:.0f} s ({parts}), {figures['protocol']['episodes']} episodes", highlight=False)
