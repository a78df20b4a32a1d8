"""The flags of users' filters."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from console.broker import with_broker
from console.flags.shared import Kafka, State, settings_of

filters = typer.Typer(
    help="Users' filters of detections: run them (no further word), or ls, add, preview, rm.", invoke_without_command=True,
    rich_markup_mode=None,
)  # fmt: skip
Owner = Annotated[str, typer.Option("--owner", help="Whose it is: the owner of an API key.")]


@filters.callback()
def run_filters(context: typer.Context, kafka: Kafka = None, *, state: State = None) -> None:
    """Ask users' filters, as `protonova run` does where the setting `filters` is on; or ls, add, preview, rm."""
    if context.invoked_subcommand is None:
        from console.commands.run_filters import run

        raise typer.Exit(run(with_broker(settings_of(kafka=kafka, state=state))))


@filters.command("ls")
def ls(
    json: Annotated[bool, typer.Option("--json", help="One JSON object a line.")] = False, kafka: Kafka = None, *, state: State = None
) -> None:
    """Show the filters: whose, which revision, what they ask for."""
    from console.commands.filters_command import list_filters

    raise typer.Exit(list_filters(with_broker(settings_of(kafka=kafka, state=state)), as_json=json))


@filters.command("add")
def add(
    name: Annotated[str, typer.Argument(metavar="NAME", help="Small letters, digits and hyphens.")],
    expression: Annotated[str, typer.Argument(metavar="WHERE", help="As behind SQL's WHERE, over the fields of docs/filter-fields.md.")],
    *,
    owner: Owner = "operator",
    moc: Annotated[str | None, typer.Option("--moc", help="Area, as in 3/1-4 5/812.")] = None,
    sky_map: Annotated[Path | None, typer.Option("--sky-map", metavar="FITS", help="Area: a MOC or a multi-order sky map of GCN.")] = None,
    level: Annotated[float, typer.Option("--level", min=0.01, max=0.999, help="Of a sky map: share of the probability.")] = 0.9,
    watchlist: Annotated[list[str] | None, typer.Option("--watchlist", help="A watchlist of the owner; several times.")] = None,
    private: Annotated[bool, typer.Option("--private", help="It may look at alerts that are not public.")] = False,
    budget: Annotated[int, typer.Option("--budget", min=1, max=1_000_000, help="Matches a night.")] = 1000,
    webhook: Annotated[str, typer.Option("--webhook", help="Address that matches are posted to.")] = "",
    backfill: Annotated[float, typer.Option("--backfill", min=0, max=400, help="Days of the history to search.")] = 0.0,
    note: Annotated[str, typer.Option("--note", help="What it is for.")] = "",
    kafka: Kafka = None,
    state: State = None,
) -> None:
    """Define a filter, or another revision of it."""
    from console.commands.filters_command import add_filter

    found = with_broker(settings_of(kafka=kafka, state=state))
    raise typer.Exit(
        add_filter(
            found, name, expression=expression, owner=owner, moc=moc, sky_map=sky_map, level=level, watchlists=watchlist or [],
            private=private, budget=budget, webhook=webhook, backfill_days=backfill, note=note,
        )
    )  # fmt: skip


@filters.command("preview")
def preview(
    expression: Annotated[str, typer.Argument(metavar="WHERE", help="As behind SQL's WHERE.")],
    night: Annotated[str | None, typer.Option("--night", help="Which night, as 2026-11-29; default: the latest that has alerts.")] = None,
    *,
    target: Annotated[list[str] | None, typer.Option("--class", help="Class that it is meant for; several times.")] = None,
    private: Annotated[bool, typer.Option("--private", help="Alerts that are not public, too.")] = False,
    json: Annotated[bool, typer.Option("--json", help="As JSON.")] = False,
    kafka: Kafka = None,
    state: State = None,
) -> None:
    """Ask a filter of a night in the history: how many, how pure, which classes."""
    from console.commands.filters_command import preview_filter

    found = settings_of(kafka=kafka, state=state)
    raise typer.Exit(preview_filter(found, expression, night=night, targets=target or [], private=private, as_json=json))


@filters.command("rm")
def rm(
    name: Annotated[str, typer.Argument(metavar="NAME", help="Of the filter.")],
    *,
    owner: Owner = "operator",
    kafka: Kafka = None,
    state: State = None,
) -> None:
    """Take a filter away; its matches stay on their topic."""
    from console.commands.filters_command import remove_filter

    raise typer.Exit(remove_filter(with_broker(settings_of(kafka=kafka, state=state)), name, owner=owner))
