"""The flags of the commands that tell what was scored, why, and what the loop around the model did."""

from __future__ import annotations

import time
from typing import Annotated

import typer

from console.broker import with_broker
from console.flags.shared import Bundle, Engine, Kafka, Report, State, settings_of

Since = Annotated[str | None, typer.Option("--since", metavar="TIME", help="Only what was since: 30m, 2h, 7d, or a time.")]


def explain(
    candid: Annotated[int, typer.Argument(metavar="CANDID", help="Number of the alert, as the survey gave it.")],
    survey: Annotated[str | None, typer.Option("--survey", help="Only of this survey: ztf, lsst, tess or frames.")] = None,
    *,
    scoring_id: Annotated[
        str | None,
        typer.Option("--state-id", metavar="ID", help="Explain the score with this scoring_id; default: the last one published."),
    ] = None,
    of: Annotated[
        str | None, typer.Option("--class", metavar="CLASS", help="Explain this class; default: the one that was published.")
    ] = None,
    since: Since = None,
    report: Report = None,
    kafka: Kafka = None,
    state: State = None,
    bundle: Bundle = None,
    engine: Engine = None,
) -> None:
    """Every score that an alert was given, what speaks for and against it, and how the model came to be, from the topics."""
    from console.commands.explain import explain as show
    from console.commands.rejects import since_ms

    found = with_broker(settings_of(kafka=kafka, state=state, bundle=bundle, engine=engine))
    begin = since_ms(since, time.time())
    raise typer.Exit(show(found, candid, survey=survey, scoring_id=scoring_id, class_name=of, since_ms=begin, report=report))


def history(
    since: Since = None,
    kind: Annotated[list[str] | None, typer.Option("--kind", help="Only these steps, such as alarm or promoted; may be repeated.")] = None,
    *,
    model: Annotated[str | None, typer.Option("--model", metavar="ID", help="Only what led to this model and came of it.")] = None,
    json: Annotated[bool, typer.Option("--json", help="One JSON object a line.")] = False,
    limit: Annotated[int, typer.Option("--limit", min=1, max=100_000, help="How many of the newest are shown.")] = 100,
    report: Report = None,
    kafka: Kafka = None,
    state: State = None,
) -> None:
    """What the loop around the model did: alarms, retrain commands, challengers, gates, promotions, classes taught."""
    from console.commands.rejects import since_ms
    from console.commands.show_history import history as show

    found = with_broker(settings_of(kafka=kafka, state=state))
    begin = since_ms(since, time.time())
    raise typer.Exit(show(found, since_ms=begin, kinds=kind, model=model, as_json=json, limit=limit, report=report))
