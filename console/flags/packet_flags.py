"""The flags of the commands that packets and detections go through."""

from __future__ import annotations

import time
from pathlib import Path
from typing import Annotated

import typer

from console.arguments import TOPIC_URL, existing
from console.broker import with_broker
from console.flags.shared import PACKETS, Bundle, Engine, Kafka, Paths, Report, State, settings_of
from errors import usage


def publish(
    paths: Paths,
    rate: Annotated[str | None, typer.Option("--rate", metavar="N/s", help="Packets a second.")] = None,
    *,
    speed: Annotated[str | None, typer.Option("--speed", metavar="10x", help="Pace by the alerts' own times, so much faster.")] = None,
    maximum: Annotated[bool, typer.Option("--max", help="As fast as it goes (the default).")] = False,
    topic: Annotated[str | None, typer.Option("--topic", help="Send everything here instead of the survey's topic.")] = None,
    test: Annotated[bool, typer.Option("--test", help="Mark the packets as a test (headers _test, alert_tense).")] = False,
    report: Report = None,
    kafka: Kafka = None,
    state: State = None,
) -> None:
    """Put packets into the alert topics: recognised by content, the rest listed as skipped."""
    if sum((rate is not None, speed is not None, maximum)) > 1:
        raise usage("--rate, --speed and --max exclude each other: give one")
    existing(paths, PACKETS)
    from console.commands.publish import Pace
    from console.commands.publish import publish as send

    pace = Pace.parse(rate, speed)
    raise typer.Exit(send(with_broker(settings_of(kafka=kafka, state=state)), paths, pace=pace, topic=topic, test=test, report=report))


def watch(
    klass: Annotated[str | None, typer.Option("--class", metavar="CLASS", help="Only this class's topic: tde, 'SN Ia', 2243 …")] = None,
    json: Annotated[bool, typer.Option("--json", help="One JSON object a line instead of a table.")] = False,
    *,
    from_beginning: Annotated[bool, typer.Option("--from-beginning", help="Every detection kept, not only new ones.")] = False,
    count: Annotated[int | None, typer.Option("--count", min=1, help="Stop after so many.")] = None,
    kafka: Kafka = None,
    state: State = None,
) -> None:
    """Print detections as they come, as a subscriber that holds no group."""
    from console.commands.watch import watch as show

    raise typer.Exit(
        show(with_broker(settings_of(kafka=kafka, state=state)), klass, as_json=json, from_beginning=from_beginning, count=count)
    )


def replay(
    archives: Annotated[
        list[str],
        typer.Argument(
            metavar="ARCHIVE…", help="Files, folders, tar, zip, parquet, compressed or not, - for stdin, or kafka://topic?from=…&to=…"
        ),
    ],
    out: Annotated[Path, typer.Option("--out", metavar="FILE", help="Parquet to write: one row an outcome.")],
    *,
    labels: Annotated[Path | None, typer.Option("--labels", metavar="FILE", help="CSV of labels: objectId or candid, and klass.")] = None,
    scoring_id: Annotated[
        str | None, typer.Option("--state-id", metavar="ID", help="Score with what was taught when a detection had this scoring_id.")
    ] = None,
    as_of: Annotated[
        str | None, typer.Option("--as-of", metavar="TIME", help="Score with what was taught then, such as 2026-11-23T04:00:00 (UTC).")
    ] = None,
    report: Report = None,
    kafka: Kafka = None,
    state: State = None,
    bundle: Bundle = None,
    engine: Engine = None,
) -> None:
    """Put archived packets through the worker's own function, without a broker, as fast as it goes."""
    existing(archives, PACKETS)
    existing([labels], "a CSV of labels")
    from console.commands.replay import replay as score
    from console.inputs import Range, moment_ms
    from console.report import check_writable

    check_writable(out)
    if scoring_id is not None and as_of is not None:
        raise usage("--state-id and --as-of each name a state: give one of them")
    as_of_ms = None if as_of is None else moment_ms(as_of)
    found = settings_of(kafka=kafka, state=state, bundle=bundle, engine=engine)
    ranges = [Range.parse(archive) for archive in archives if archive.startswith(TOPIC_URL)]
    if ranges:  # the model is not loaded for a broker that is not there
        with_broker(found)
    raise typer.Exit(score(found, archives, out=out, labels_file=labels, report=report, as_of_ms=as_of_ms, scoring_id=scoring_id))


rejects = typer.Typer(help="Rejected packets: list them, look at one, send them to their topics again.", rich_markup_mode=None)

Reasons = Annotated[list[str] | None, typer.Option("--reason", metavar="REASON", help="Only this error class; may be repeated.")]
Since = Annotated[str | None, typer.Option("--since", metavar="TIME", help="Only those rejected since: 30m, 2h, 7d, or a time.")]


@rejects.command("ls")
def rejects_ls(
    reason: Reasons = None,
    since: Since = None,
    *,
    json: Annotated[bool, typer.Option("--json", help="One JSON object a line.")] = False,
    limit: Annotated[int, typer.Option("--limit", min=1, max=10_000, help="How many of the newest are listed.")] = 20,
    kafka: Kafka = None,
    state: State = None,
) -> None:
    """How many packets were rejected, why, and the newest of them."""
    from console.commands import rejects as command

    wanted, begin = command.reasons(reason or []), command.since_ms(since, time.time())
    raise typer.Exit(command.ls(with_broker(settings_of(kafka=kafka, state=state)), wanted, since=begin, as_json=json, limit=limit))


@rejects.command("show")
def rejects_show(
    packet: Annotated[str, typer.Argument(metavar="ID", help="As `protonova rejects ls` lists it, such as 0/17.")],
    kafka: Kafka = None,
    *,
    state: State = None,
) -> None:
    """One rejected packet: where it came from, why it was rejected, what can be decoded of it."""
    from console.commands import rejects as command

    raise typer.Exit(command.show(with_broker(settings_of(kafka=kafka, state=state)), packet))


@rejects.command("redrive")
def rejects_redrive(
    packets: Annotated[list[str] | None, typer.Argument(metavar="[ID…]", help="Only these; default: all that match.")] = None,
    reason: Reasons = None,
    *,
    since: Since = None,
    dry_run: Annotated[bool, typer.Option("--dry-run", help="Say what would be sent, and send nothing.")] = False,
    most_attempts: Annotated[int, typer.Option("--most-attempts", min=1, help="Leave packets that were rejected so often.")] = 5,
    kafka: Kafka = None,
    state: State = None,
) -> None:
    """Send rejected packets to their alert topics again, each once."""
    from console.commands import rejects as command

    wanted, begin = command.reasons(reason or []), command.since_ms(since, time.time())
    found = with_broker(settings_of(kafka=kafka, state=state))
    raise typer.Exit(command.redrive(found, wanted, since=begin, only=packets or [], dry_run=dry_run, most_attempts=most_attempts))
