"""The flags of the commands that teach classes, list them and take them back."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from console.arguments import existing
from console.broker import with_broker
from console.flags.shared import PACKETS, Bundle, Engine, Kafka, Report, State, settings_of
from errors import usage

Author = Annotated[str | None, typer.Option("--author", metavar="NAME", help="Who teaches (default: the user's name).")]
Note = Annotated[str, typer.Option("--note", metavar="TEXT", help="Why, kept with the class.")]
Name = Annotated[str, typer.Argument(metavar="CLASS", help="Name of the class: small letters, digits, hyphens.")]


def teach(
    name: Name,
    packets: Annotated[list[str] | None, typer.Argument(metavar="[PACKET…]", help="Files, folders or archives of example packets.")] = None,
    *,
    candid: Annotated[list[int] | None, typer.Option("--candid", help="An alert of the topics by its number; may be repeated.")] = None,
    objects: Annotated[
        Path | None, typer.Option("--objects", metavar="FILE", help="Names of objects, one a line: the newest alert of each on the topics.")
    ] = None,
    describe: Annotated[
        str | None, typer.Option("--describe", metavar="FILE.yaml|NAME", help="No example: a physical description (docs/descriptions.md).")
    ] = None,
    replace: Annotated[bool, typer.Option("--replace", help="Teach a class anew that is taught already.")] = False,
    merge: Annotated[bool, typer.Option("--merge", help="Add the examples to those it has.")] = False,
    window: Annotated[int, typer.Option("--window", min=0, max=50_000, help="Recent alerts to calibrate on and to look through.")] = 2000,
    search: Annotated[
        int, typer.Option("--search", min=1, max=500_000, help="Recent alerts that --candid and --objects look at.")
    ] = 20_000,
    false_calls: Annotated[
        float | None,
        typer.Option(
            "--false-calls", min=1e-5, max=0.2, help="Share of known alerts that may be called the class (0.01; 0.001 without a window)."
        ),
    ] = None,
    prior: Annotated[float, typer.Option("--prior", min=1e-9, max=0.5, help="Share of the stream that the class is taken to have.")] = 1e-4,
    author: Author = None,
    note: Note = "",
    dry_run: Annotated[bool, typer.Option("--dry-run", help="Show what the class would take, and write nothing.")] = False,
    report: Report = None,
    kafka: Kafka = None,
    state: State = None,
    bundle: Bundle = None,
    engine: Engine = None,
) -> None:
    """Teach a class from a few examples while the stream runs: every worker scores with it within two seconds."""
    given = [bool(packets), bool(candid), objects is not None, describe is not None]
    if not any(given):
        raise usage(f"give examples of {name}: packets, --candid, --objects, or a physical description with --describe")
    if describe is not None and sum(given) > 1:
        raise usage("--describe stands alone: a class is taught by examples or by a description")
    if replace and merge:
        raise usage("--replace begins anew, --merge adds: give one of them")
    existing(packets or (), PACKETS)
    existing([objects], "a file with the names of objects")
    from console.commands.teach import teach as run

    found = with_broker(settings_of(kafka=kafka, state=state, bundle=bundle, engine=engine))
    raise typer.Exit(
        run(
            found,
            name,
            paths=packets or [],
            candids=candid or [],
            objects=objects,
            describe=describe,
            replace=replace,
            merge=merge,
            window=window,
            search=search,
            false_calls=false_calls,
            prior=prior,
            author=author,
            note=note,
            dry_run=dry_run,
            report=report,
        )
    )


def forget(name: Name, *, author: Author = None, note: Note = "", kafka: Kafka = None, state: State = None) -> None:
    """Take a taught class back: scores are those from before, bit for bit."""
    from console.commands.teach import forget as run

    raise typer.Exit(run(with_broker(settings_of(kafka=kafka, state=state)), name, author=author, note=note))


classes = typer.Typer(rich_markup_mode=None)


@classes.callback(invoke_without_command=True)
def classes_ls(
    context: typer.Context,
    *,
    json: Annotated[bool, typer.Option("--json", help="The taught ones, one JSON object a line.")] = False,
    kafka: Kafka = None,
    state: State = None,
    bundle: Bundle = None,
) -> None:
    """The classes that are taught, and those that the model knows; a taught one as a file, and back."""
    if context.invoked_subcommand is not None:
        return
    from console.commands.list_classes import ls

    raise typer.Exit(ls(with_broker(settings_of(kafka=kafka, state=state, bundle=bundle)), as_json=json))


@classes.command("export")
def classes_export(
    name: Name,
    file: Annotated[Path, typer.Argument(metavar="FILE.json", help="File to write.")],
    *,
    kafka: Kafka = None,
    state: State = None,
) -> None:
    """Write a taught class with its examples to a file."""
    from console.commands.list_classes import export

    raise typer.Exit(export(with_broker(settings_of(kafka=kafka, state=state)), name, file=file))


@classes.command("import")
def classes_import(
    file: Annotated[Path, typer.Argument(metavar="FILE.json", help="A class as `protonova classes export` writes it.")],
    *,
    replace: Annotated[bool, typer.Option("--replace", help="Also where a class of the name is taught already.")] = False,
    author: Author = None,
    kafka: Kafka = None,
    state: State = None,
    bundle: Bundle = None,
) -> None:
    """Teach the class of a file."""
    existing([file], "a class as `protonova classes export` writes it")
    from console.commands.list_classes import bring
    from console.commands.teach import author_of

    found = with_broker(settings_of(kafka=kafka, state=state, bundle=bundle))
    raise typer.Exit(bring(found, file, author=author_of(author), replace=replace))
