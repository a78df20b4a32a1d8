"""The flags of ``protonova train``, one a field of a plan, and what does not decide the network."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer


def train(
    plan: Annotated[
        Path | None, typer.Option("--plan", metavar="FILE", help="JSON of a plan, or a bundle's manifest; flags go on top.")
    ] = None,
    minutes: Annotated[float | None, typer.Option("--minutes", help="On two cores, all in all (default 60).")] = None,
    *,
    steps: Annotated[int | None, typer.Option("--steps", help="Steps of the optimiser, instead of --minutes.")] = None,
    alerts: Annotated[int | None, typer.Option("--alerts", help="Alerts with images to train on (default 60,000).")] = None,
    curves: Annotated[int | None, typer.Option("--curves", help="Light curves without images (default 240,000; 0: none).")] = None,
    space: Annotated[int | None, typer.Option("--space", help="Light curves of stars from space (default 16,000; 0: none).")] = None,
    seed: Annotated[int | None, typer.Option("--seed", help="Of simulation, weights and batches (default 0).")] = None,
    without: Annotated[list[str] | None, typer.Option("--without", metavar="KIND", help="Leave a kind out; may be repeated.")] = None,
    start_from: Annotated[
        str | None, typer.Option("--start-from", metavar="FOLDER", help="Go on from a bundle's encoder (`published`: the one that ships).")
    ] = None,
    trainable: Annotated[
        list[str] | None, typer.Option("--trainable", metavar="PART", help="Only this part of that encoder changes; may be repeated.")
    ] = None,
    hyperparameters: Annotated[
        list[str] | None, typer.Option("--set", metavar="NAME=NUMBER", help="A number of the training, such as learning_rate.")
    ] = None,
    augmentation: Annotated[
        list[str] | None, typer.Option("--augment", metavar="NAME=NUMBER", help="A number of the augmentation, such as no_stamps.")
    ] = None,
    missing: Annotated[
        list[str] | None, typer.Option("--missing", metavar="VALUE=CHANCE", help="How often training lacks a value of the context.")
    ] = None,
    size: Annotated[list[str] | None, typer.Option("--size", metavar="NAME=NUMBER", help="A size of the encoder, such as width.")] = None,
    out: Annotated[str, typer.Option("--out", metavar="FOLDER", help="Folder of the bundle.")] = "artifacts/bundle",
    processes: Annotated[int, typer.Option("--processes", help="To simulate in.")] = 2,
    sets: Annotated[
        Path | None, typer.Option("--sets", metavar="FOLDER", help="Keep the simulated sets there (delete it when the simulator changes).")
    ] = None,
    fresh: Annotated[bool, typer.Option("--fresh", help="Forget an earlier checkpoint.")] = False,
    real: Annotated[Path | None, typer.Option("--real", metavar="FOLDER", help="Labelled packets with LABELS.csv to report on.")] = None,
    mlflow: Annotated[str | None, typer.Option("--mlflow", metavar="URI", help="Log the bundle to this MLflow server.")] = None,
    dry_run: Annotated[bool, typer.Option("--dry-run", help="Check the plan, print it and end.")] = False,
) -> None:
    """Simulate, train, calibrate and export a bundle; a run that was cut off goes on where it was."""
    from console.commands.train import Flags, plan_of
    from console.commands.train import train as make

    given = {
        "minutes": minutes, "steps": steps, "alerts": alerts, "curves": curves, "space": space, "seed": seed, "without": without,
        "start_from": start_from,
        "trainable": trainable, "hyperparameters": hyperparameters, "augmentation": augmentation, "missing": missing, "encoder": size,
    }  # fmt: skip
    flags = Flags(out=out, processes=processes, sets=sets, fresh=fresh, real=real, mlflow=mlflow, dry_run=dry_run)
    raise typer.Exit(make(plan_of(plan, given), flags))
