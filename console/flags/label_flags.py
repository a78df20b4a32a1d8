"""The flags of the commands that label alerts and list labels."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from console.arguments import existing
from console.broker import with_broker
from console.flags.shared import Kafka, State, settings_of
from errors import usage


def label(
    candid: Annotated[int | None, typer.Argument(metavar="CANDID", help="The alert's number.")] = None,
    name: Annotated[
        str | None, typer.Argument(metavar="CLASS", help="What it is: a class in any catalogue's words, or a new name.")
    ] = None,
    *,
    file: Annotated[
        Path | None, typer.Option("--file", metavar="FILE.csv", help="Many: columns candid, class; survey, objectId, confidence, source.")
    ] = None,
    withdraw: Annotated[list[int] | None, typer.Option("--withdraw", metavar="CANDID", help="Take the label of an alert back.")] = None,
    survey: Annotated[str | None, typer.Option("--survey", help="Whose alert, where it is on no topic: ztf, lsst, tess, frames.")] = None,
    object_id: Annotated[str | None, typer.Option("--object", metavar="ID", help="Its object, beside --survey.")] = None,
    confidence: Annotated[float, typer.Option("--confidence", min=0, max=1, help="How sure the label is.")] = 1.0,
    source: Annotated[str, typer.Option("--source", help="Where the label comes from.")] = "person",
    search: Annotated[int, typer.Option("--search", min=1, max=1_000_000, help="Recent detections that are looked at.")] = 20_000,
    author: Annotated[str | None, typer.Option("--author", metavar="NAME", help="Who labels (default: the user's name).")] = None,
    kafka: Kafka = None,
    state: State = None,
) -> None:
    """Say what an alert is: retraining and gates go by it. The latest label of an alert counts."""
    if (candid is not None) + (file is not None) + bool(withdraw) != 1 or (candid is not None and name is None):
        raise usage("give a number and a class, or a table with --file, or --withdraw CANDID")
    if survey is not None and survey not in SURVEYS:
        raise usage(f"--survey is one of {', '.join(SURVEYS)}")
    existing([file], "a table with the columns candid and class")
    from console.commands import label as command

    given = []
    if file is not None:
        given = command.of_file(file, survey=survey, confidence=confidence)
    elif candid is not None and name is not None:
        given = [command.one(candid, name, survey=survey, object_id=object_id, confidence=confidence)]
    found = with_broker(settings_of(kafka=kafka, state=state))
    raise typer.Exit(command.label(found, given, source=source, author=author, search=search, withdraw=withdraw or ()))


SURVEYS = ("ztf", "lsst", "tess", "frames")

labels = typer.Typer(rich_markup_mode=None)


@labels.callback(invoke_without_command=True)
def labels_ls(
    context: typer.Context,
    *,
    json: Annotated[bool, typer.Option("--json", help="One JSON object a line.")] = False,
    kafka: Kafka = None,
    state: State = None,
) -> None:
    """The labels that are known; `labels wanted`: those that would decide between two models."""
    if context.invoked_subcommand is not None:
        return
    from console.commands.label import ls

    raise typer.Exit(ls(with_broker(settings_of(kafka=kafka, state=state)), as_json=json))


@labels.command("wanted")
def labels_wanted(
    json: Annotated[bool, typer.Option("--json", help="One JSON object a line.")] = False, kafka: Kafka = None, *, state: State = None
) -> None:
    """The alerts that two models call differently and whose label would decide, the most useful first."""
    from console.commands.label import wanted

    raise typer.Exit(wanted(with_broker(settings_of(kafka=kafka, state=state)), as_json=json))


@labels.command("import")
def labels_import(
    tns: Annotated[Path, typer.Option("--tns", metavar="FILE", help="A dump of TNS' objects: CSV, its zip, or JSON.")],
    *,
    dry_run: Annotated[bool, typer.Option("--dry-run", help="Say what would be written, and write nothing.")] = False,
    author: Annotated[str | None, typer.Option("--author", metavar="NAME", help="Who labels (default: the user's name).")] = None,
    kafka: Kafka = None,
    state: State = None,
) -> None:
    """Label the alerts of objects that TNS has classified. A label of another source stays."""
    existing([tns], "a dump of TNS' objects")
    from console.commands.import_tns import import_tns

    found = settings_of(kafka=kafka, state=state)
    raise typer.Exit(import_tns(found if dry_run else with_broker(found), tns, author=author, dry_run=dry_run))


def shadow(kafka: Kafka = None, state: State = None) -> None:
    """Have challengers score a share of the stream beside the champion, and judge them by the gates."""
    from console.commands.run_shadow import run

    raise typer.Exit(run(with_broker(settings_of(kafka=kafka, state=state))))
