"""The flags of the commands that measure and describe."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from console.arguments import existing
from console.flags.shared import Bundle, Engine, Paths, Report, settings_of
from errors import usage


def evaluate(
    task: Annotated[
        Path | None,
        typer.Option("--task", metavar="FILE.parquet", help="Light curves: object_id, mjd, band, flux, flux_err, upper_limit."),
    ] = None,
    labels: Annotated[Path | None, typer.Option("--labels", metavar="FILE.csv", help="Their classes: object_id, coarse.")] = None,
    *,
    shots: Annotated[str, typer.Option("--shots", metavar="K,K,…", help="Examples a class.")] = "1,5,10,20",
    episodes: Annotated[int, typer.Option("--episodes", help="Draws of support and query.")] = 500,
    baselines: Annotated[
        str, typer.Option("--baselines", help="fast, all (random encoder and forest with simulations too) or none.")
    ] = "fast",
    simulations: Annotated[int, typer.Option("--simulations", min=100, help="Simulated curves of the forest that gets them.")] = 20_000,
    table: Annotated[Path | None, typer.Option("--table", metavar="FILE.parquet", help="The same objects uncut: reported apart.")] = None,
    packets: Annotated[
        Path | None,
        typer.Option("--packets", metavar="DIR", help="Labelled packets with their LABELS.csv, scored as the stream does; needs no task."),
    ] = None,
    looks: Annotated[
        str, typer.Option("--looks", help="Simulations look like the task by its observing patterns (pattern) or by its cuts (cut).")
    ] = "pattern",
    processes: Annotated[int, typer.Option("--processes", min=1, max=64, help="That simulate and make features for the control.")] = 1,
    seed: Annotated[int, typer.Option("--seed", min=0, help="Seed of episodes and simulations.")] = 0,
    report: Report = None,
    bundle: Bundle = None,
    engine: Engine = None,
) -> None:
    """How good it is on a table of labelled light curves, beside every baseline in the same episodes, and on labelled packets."""
    if (task is None) != (labels is None) or (task is None and packets is None):
        raise usage("give --task with --labels, or --packets, or all three")
    if table is not None and task is None:
        raise usage("--table holds the same objects as --task, which is missing")
    existing([task, table], "a parquet file of light curves")
    existing([labels], "a CSV of labels")
    existing([packets], "a folder of labelled packets")
    from console.commands.evaluate import evaluate as run_protocol

    found = settings_of(bundle=bundle, engine=engine)
    raise typer.Exit(
        run_protocol(
            task,
            labels,
            shots=shots,
            episodes=episodes,
            baselines=baselines,
            seed=seed,
            simulations=simulations,
            table=table,
            packets=packets,
            looks=looks,
            processes=processes,
            bundle=found.bundle,
            engine=found.engine,
            report=report,
        )
    )


def describe(
    what: Annotated[str, typer.Argument(metavar="FILE.yaml|NAME", help="A description, or what one is called: 'neutron star merger'.")],
    against: Annotated[
        list[Path] | None, typer.Option("--against", metavar="TASK.parquet", help="Light curves: which objects are most like it.")
    ] = None,
    *,
    count: Annotated[int, typer.Option("--alerts", min=20, max=20_000, help="Alerts to simulate.")] = 300,
    seed: Annotated[int, typer.Option("--seed", min=0, help="Seed of the simulation.")] = 0,
    out: Annotated[Path | None, typer.Option("--out", metavar="FILE", help="Write the prototype (.json or .safetensors).")] = None,
    report: Report = None,
    bundle: Bundle = None,
    engine: Engine = None,
) -> None:
    """A class from a physical description: check it, simulate it, and see what it is near to."""
    existing(against or (), "a parquet file of light curves")
    from console.commands.describe import describe as show

    found = settings_of(bundle=bundle, engine=engine)
    raise typer.Exit(
        show(
            what,
            against=against or [],
            count=count,
            seed=seed,
            out=out,
            bundle=found.bundle,
            engine=found.engine,
            report=report,
        )
    )


def curves(
    paths: Paths,
    *,
    out: Annotated[Path | None, typer.Option("--out", metavar="FOLDER", help="A picture of each: as measured, detrended, folded.")] = None,
    catalogue: Annotated[
        Path | None,
        typer.Option("--catalogue", metavar="FILE.csv", help="Known periods: object, period, name, epoch … (default: ours)."),
    ] = None,
    window: Annotated[
        float, typer.Option("--window", min=0.05, max=30.0, metavar="DAYS", help="Of the detrending; shorter where a star turns quickly.")
    ] = 0.75,
    report: Report = None,
) -> None:
    """Light curves of TESS, Kepler and K2: transits and flares beside the known periods, a picture of each."""
    existing(paths, "a FITS light curve or a folder of them")
    existing([catalogue], "a CSV of known periods")
    if out is not None and out.exists() and not out.is_dir():
        raise usage(f"{out} is a file: name a folder for the pictures")
    from console.commands.show_curves import curves as show

    raise typer.Exit(show(paths, out=out, catalogue=catalogue, window=window, report=report))
