"""The flags of the commands about retraining."""

from __future__ import annotations

from typing import Annotated

import typer

from console.broker import with_broker
from console.flags.shared import Bundle, Kafka, State, settings_of


def trainer(kafka: Kafka = None, state: State = None, *, bundle: Bundle = None) -> None:
    """Answer retrain commands with challengers (docs/retraining.md); needs the extra `train`."""
    from console.commands.run_trainer import run

    raise typer.Exit(run(with_broker(settings_of(kafka=kafka, state=state, bundle=bundle))))


def retrain(
    recipe: Annotated[
        str, typer.Option("--recipe", metavar="NAME", help="head, last_layers, fine_tune or from_scratch (docs/retraining.md).")
    ] = "head",
    *,
    reason: Annotated[str, typer.Option("--reason", metavar="TEXT", help="Why, kept with the challenger.")] = "",
    hours: Annotated[
        float | None, typer.Option("--hours", min=0.01, max=10_000, help="The window is of the last hours; default: the newest packets.")
    ] = None,
    wait: Annotated[bool, typer.Option("--wait", help="Wait until the challenger is made, or why it is not.")] = False,
    within: Annotated[float, typer.Option("--within", min=1, max=100_000, help="With --wait: how long [s].")] = 3600.0,
    author: Annotated[str | None, typer.Option("--author", metavar="NAME", help="Who asks (default: the user's name).")] = None,
    kafka: Kafka = None,
    state: State = None,
    bundle: Bundle = None,
) -> None:
    """Ask the trainer for a challenger; commands that come while one is made are merged into it."""
    from console.commands.retrain import retrain as run

    found = with_broker(settings_of(kafka=kafka, state=state, bundle=bundle))
    raise typer.Exit(run(found, recipe=recipe, reason=reason, author=author, hours=hours, wait=wait, within=within))
