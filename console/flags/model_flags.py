"""The flags of the commands that show models, compare them, promote one and roll back."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from console.arguments import existing
from console.broker import with_broker
from console.flags.shared import PACKETS, Bundle, Engine, Kafka, Report, State, settings_of

Model = Annotated[
    str, typer.Argument(metavar="MODEL", help="champion, challenger, previous; the beginning of an id; or a bundle's folder.")
]
Author = Annotated[str | None, typer.Option("--author", metavar="NAME", help="Who decides (default: the user's name).")]
Note = Annotated[str, typer.Option("--note", metavar="TEXT", help="Why, kept with the step.")]

models = typer.Typer(rich_markup_mode=None)


@models.callback(invoke_without_command=True)
def models_ls(
    context: typer.Context,
    *,
    json: Annotated[bool, typer.Option("--json", help="One JSON object a line.")] = False,
    kafka: Kafka = None,
    state: State = None,
    bundle: Bundle = None,
) -> None:
    """The models that were announced: which is the champion, since when, by whom; one of them, or by what two differ."""
    if context.invoked_subcommand is not None:
        return
    from console.commands.list_models import ls

    raise typer.Exit(ls(with_broker(settings_of(kafka=kafka, state=state, bundle=bundle)), as_json=json))


@models.command("show")
def models_show(model: Model = "champion", *, kafka: Kafka = None, state: State = None, bundle: Bundle = None) -> None:
    """What a model is: how it was made, what it reached, its classes."""
    from console.commands.list_models import show

    raise typer.Exit(show(with_broker(settings_of(kafka=kafka, state=state, bundle=bundle)), model))


@models.command("diff")
def models_diff(a: Model, b: Model, *, kafka: Kafka = None, state: State = None, bundle: Bundle = None) -> None:
    """By what two models differ; exit status 1 where they do."""
    from console.commands.list_models import diff

    raise typer.Exit(diff(with_broker(settings_of(kafka=kafka, state=state, bundle=bundle)), a=a, b=b))


def promote(
    model: Model = "challenger",
    *,
    based_on: Annotated[
        int | None, typer.Option("--based-on", metavar="REVISION", min=0, help="Refuse where the champion is of another revision by now.")
    ] = None,
    author: Author = None,
    note: Note = "",
    kafka: Kafka = None,
    state: State = None,
    bundle: Bundle = None,
) -> None:
    """Make a model the champion: every worker scores with it a few seconds later."""
    from console.commands.promote import promote as run

    found = with_broker(settings_of(kafka=kafka, state=state, bundle=bundle))
    raise typer.Exit(run(found, model, author=author, note=note, based_on=based_on))


def rollback(*, author: Author = None, note: Note = "", kafka: Kafka = None, state: State = None) -> None:
    """Make the previous model the champion again, on every worker within seconds."""
    from console.commands.promote import rollback as run

    raise typer.Exit(run(with_broker(settings_of(kafka=kafka, state=state)), author=author, note=note))


def compare(
    a: Model,
    b: Model,
    *,
    on: Annotated[list[str], typer.Option("--on", metavar="PATH", help="Packets of a night: files, folders, archives; may be repeated.")],
    most: Annotated[int | None, typer.Option("--most", min=1, help="Packets at most.")] = None,
    labels: Annotated[Path | None, typer.Option("--labels", metavar="FILE.csv", help="Known labels: how good each model is.")] = None,
    report: Report = None,
    kafka: Kafka = None,
    state: State = None,
    bundle: Bundle = None,
    engine: Engine = None,
) -> None:
    """Score the same packets with two models: where they agree, and what each finds."""
    existing(on, PACKETS)
    existing([labels], "a table of labels")
    from console.commands.compare_models import compare as run

    found = with_broker(settings_of(kafka=kafka, state=state, bundle=bundle, engine=engine))
    raise typer.Exit(run(found, a=a, b=b, night=on, most=most, labels_file=labels, report=report))
