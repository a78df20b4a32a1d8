"""A command line → one command. Each command imports what it needs when it runs, so that ``--help`` answers at once."""

from __future__ import annotations

import logging
import os
import sys
import time
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from console.arguments import existing
from console.broker import with_broker
from console.failures import guarded
from console.train_flags import train
from errors import usage

if TYPE_CHECKING:
    from settings.model import Settings

app = typer.Typer(
    name="protonova",
    add_completion=False,
    rich_markup_mode=None,
    pretty_exceptions_enable=False,
)

Kafka = Annotated[str | None, typer.Option("--kafka", metavar="HOST:PORT", help="Kafka to use; default: the node of `protonova run`.")]
State = Annotated[Path | None, typer.Option("--state", metavar="FOLDER", help="State folder (default ./state).")]
Bundle = Annotated[Path | None, typer.Option("--bundle", metavar="FOLDER", help="Model bundle (default: the one that ships).")]
Report = Annotated[Path | None, typer.Option("--report", metavar="FILE", help="Write every figure printed as JSON.")]
Paths = Annotated[list[str], typer.Argument(metavar="PATH…", help="Files, folders, tar, zip, parquet, compressed or not, or - for stdin.")]
Engine = Annotated[str | None, typer.Option("--engine", help="Which engine runs the network: auto, onnxruntime, tensorrt.")]
PACKETS = "a file or a folder of packets"
BUNDLE = "a bundle's folder, as `make train` makes it"

_state = Path(os.environ.get("PROTONOVA_STATE", "state"))
"""Where a log of an unexpected error goes; `settings` corrects it."""


def settings(*, diagnose: bool = False, **flags: Any) -> Settings:
    """The settings, with the flags that were given on top; a bundle that is not there is refused, unless `diagnose` is to report it."""
    global _state
    from settings.model import Settings

    if flags.get("state") is not None:
        _state = Path(flags["state"])
    found = Settings(**flags)
    _state = found.state
    if not diagnose:
        existing([found.bundle], BUNDLE)
    return found


def show_version(wanted: bool) -> None:
    """Print the version and end."""
    if wanted:
        from console.version import version

        typer.echo(f"protonova {version()}")
        raise typer.Exit


@app.callback()
def protonova(
    version: Annotated[bool, typer.Option("--version", callback=show_version, is_eager=True, help="Print the version and end.")] = False,
) -> None:
    """Finds rare cosmic events in alert streams, in real time. Settings: PROTONOVA_… in the environment, protonova.toml, flags."""


@app.command()
def run(
    workers: Annotated[int | None, typer.Option("--workers", min=0, max=256, help="Worker processes.")] = None,
    fresh: Annotated[bool, typer.Option("--fresh", help="Clear the broker's data first.")] = False,
    kafka: Kafka = None,
    state: State = None,
    bundle: Bundle = None,
    engine: Engine = None,
) -> None:
    """Kafka (if none is configured), workers, drift and the status page, under one supervisor."""
    from console.commands.run import run as supervise

    raise typer.Exit(supervise(settings(workers=workers, kafka=kafka, state=state, bundle=bundle, engine=engine), fresh=fresh))


@app.command()
def demo(
    packets: Annotated[int, typer.Option("--packets", min=20, max=200_000, help="Packets of the simulated night.")] = 2000,
    seed: Annotated[int, typer.Option("--seed", min=0, help="Seed of the night.")] = 20_261_123,
    report: Report = None,
    keep: Annotated[bool, typer.Option("--keep", help="Keep the state folder (state/demo).")] = False,
    bundle: Bundle = None,
    engine: Engine = None,
) -> None:
    """A simulated night through Kafka, a worker and the status page to scored detections, with tables at the end."""
    from console.commands.demo import demo as show

    raise typer.Exit(show(settings(bundle=bundle, engine=engine), packets=packets, seed=seed, report=report, keep=keep))


@app.command()
def publish(
    paths: Paths,
    rate: Annotated[str | None, typer.Option("--rate", metavar="N/s", help="Packets a second.")] = None,
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
    raise typer.Exit(send(with_broker(settings(kafka=kafka, state=state)), paths, pace, topic=topic, test=test, report=report))


@app.command()
def watch(
    klass: Annotated[str | None, typer.Option("--class", metavar="CLASS", help="Only this class's topic: tde, 'SN Ia', 2243 …")] = None,
    json: Annotated[bool, typer.Option("--json", help="One JSON object a line instead of a table.")] = False,
    from_beginning: Annotated[bool, typer.Option("--from-beginning", help="Every detection kept, not only new ones.")] = False,
    count: Annotated[int | None, typer.Option("--count", min=1, help="Stop after so many.")] = None,
    kafka: Kafka = None,
    state: State = None,
) -> None:
    """Print detections as they come, as a subscriber that holds no group."""
    from console.commands.watch import watch as show

    raise typer.Exit(show(with_broker(settings(kafka=kafka, state=state)), klass, as_json=json, from_beginning=from_beginning, count=count))


@app.command()
def replay(
    archives: Annotated[
        list[str],
        typer.Argument(
            metavar="ARCHIVE…", help="Files, folders, tar, zip, parquet, compressed or not, - for stdin, or kafka://topic?from=…&to=…"
        ),
    ],
    out: Annotated[Path, typer.Option("--out", metavar="FILE", help="Parquet to write: one row an outcome.")],
    labels: Annotated[Path | None, typer.Option("--labels", metavar="FILE", help="CSV of labels: objectId or candid, and klass.")] = None,
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
    from console.report import check_writable

    check_writable(out)

    raise typer.Exit(
        score(settings(kafka=kafka, state=state, bundle=bundle, engine=engine), archives, out, labels_file=labels, report=report)
    )


@app.command()
def evaluate(
    task: Annotated[
        Path, typer.Option("--task", metavar="FILE.parquet", help="Light curves: object_id, mjd, band, flux, flux_err, upper_limit.")
    ],
    labels: Annotated[Path, typer.Option("--labels", metavar="FILE.csv", help="Their classes: object_id, coarse.")],
    shots: Annotated[str, typer.Option("--shots", metavar="K,K,…", help="Examples a class.")] = "1,5,10,20",
    episodes: Annotated[int, typer.Option("--episodes", help="Draws of support and query.")] = 500,
    baselines: Annotated[
        str, typer.Option("--baselines", help="fast, all (random encoder and forest with simulations too) or none.")
    ] = "fast",
    simulations: Annotated[int, typer.Option("--simulations", min=100, help="Simulated curves of the forest that gets them.")] = 20_000,
    table: Annotated[Path | None, typer.Option("--table", metavar="FILE.parquet", help="The same objects uncut: reported apart.")] = None,
    packets: Annotated[
        Path | None, typer.Option("--packets", metavar="DIR", help="Labelled packets with their LABELS.csv, scored from themselves alone.")
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
    """How good the few-shot engine is on a table of labelled light curves, beside every baseline in the same episodes."""
    existing([task, table], "a parquet file of light curves")
    existing([labels], "a CSV of labels")
    existing([packets], "a folder of labelled packets")
    from console.commands.evaluate import evaluate as run_protocol

    found = settings(bundle=bundle, engine=engine)
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


app.command()(train)


@app.command()
def describe(
    what: Annotated[str, typer.Argument(metavar="FILE.yaml|NAME", help="A description, or what one is called: 'neutron star merger'.")],
    against: Annotated[
        list[Path] | None, typer.Option("--against", metavar="TASK.parquet", help="Light curves: which objects are most like it.")
    ] = None,
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

    found = settings(bundle=bundle, engine=engine)
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


rejects = typer.Typer(help="Rejected packets: list them, look at one, send them to their topics again.", rich_markup_mode=None)
app.add_typer(rejects, name="rejects")

Reasons = Annotated[list[str] | None, typer.Option("--reason", metavar="REASON", help="Only this error class; may be repeated.")]
Since = Annotated[str | None, typer.Option("--since", metavar="TIME", help="Only those rejected since: 30m, 2h, 7d, or a time.")]


@rejects.command("ls")
def rejects_ls(
    reason: Reasons = None,
    since: Since = None,
    json: Annotated[bool, typer.Option("--json", help="One JSON object a line.")] = False,
    limit: Annotated[int, typer.Option("--limit", min=1, max=10_000, help="How many of the newest are listed.")] = 20,
    kafka: Kafka = None,
    state: State = None,
) -> None:
    """How many packets were rejected, why, and the newest of them."""
    from console.commands import rejects as command

    wanted, begin = command.reasons(reason or []), command.since_ms(since, time.time())
    raise typer.Exit(command.ls(with_broker(settings(kafka=kafka, state=state)), wanted, begin, as_json=json, limit=limit))


@rejects.command("show")
def rejects_show(
    packet: Annotated[str, typer.Argument(metavar="ID", help="As `protonova rejects ls` lists it, such as 0/17.")],
    kafka: Kafka = None,
    state: State = None,
) -> None:
    """One rejected packet: where it came from, why it was rejected, what can be decoded of it."""
    from console.commands import rejects as command

    raise typer.Exit(command.show(with_broker(settings(kafka=kafka, state=state)), packet))


@rejects.command("redrive")
def rejects_redrive(
    packets: Annotated[list[str] | None, typer.Argument(metavar="[ID…]", help="Only these; default: all that match.")] = None,
    reason: Reasons = None,
    since: Since = None,
    dry_run: Annotated[bool, typer.Option("--dry-run", help="Say what would be sent, and send nothing.")] = False,
    most_attempts: Annotated[int, typer.Option("--most-attempts", min=1, help="Leave packets that were rejected so often.")] = 5,
    kafka: Kafka = None,
    state: State = None,
) -> None:
    """Send rejected packets to their alert topics again, each once."""
    from console.commands import rejects as command

    wanted, begin = command.reasons(reason or []), command.since_ms(since, time.time())
    found = with_broker(settings(kafka=kafka, state=state))
    raise typer.Exit(command.redrive(found, wanted, begin, packets or [], dry_run=dry_run, most_attempts=most_attempts))


@app.command()
def topics(
    repair: Annotated[bool, typer.Option("--repair", help="Make what is missing and correct what differs.")] = False,
    kafka: Kafka = None,
    state: State = None,
) -> None:
    """Show the topics beside the wiring table, and repair them."""
    from console.commands.list_topics import topics as show

    raise typer.Exit(show(with_broker(settings(kafka=kafka, state=state)), repair=repair))


@app.command()
def status(
    serve: Annotated[bool, typer.Option("--serve", help="Serve the page instead of printing its figures.")] = False,
    json: Annotated[bool, typer.Option("--json", help="Print the figures as JSON.")] = False,
    seconds: Annotated[float, typer.Option("--seconds", min=0.5, max=600, help="Listen for so long where no page is served.")] = 6.0,
    host: Annotated[str | None, typer.Option("--host", help="Address to serve on (default: loopback).")] = None,
    port: Annotated[int | None, typer.Option("--port", min=0, max=65535, help="Port to serve on; 0: any free one.")] = None,
    kafka: Kafka = None,
    state: State = None,
) -> None:
    """The status page: serve it, or print its figures."""
    found = settings(kafka=kafka, state=state, status_host=host, status_port=port)
    if serve:
        from service.status.serve import serve as serve_page

        raise typer.Exit(serve_page(found if found.kafka is not None else with_broker(found)))
    from console.commands.show_status import show

    raise typer.Exit(show(with_broker(found), as_json=json, seconds=seconds))


@app.command()
def doctor(kafka: Kafka = None, state: State = None, bundle: Bundle = None, engine: Engine = None) -> None:
    """What is installed, which engine and broker would be used, and why."""
    from console.commands.doctor import doctor as examine

    raise typer.Exit(examine(settings(diagnose=True, kafka=kafka, state=state, bundle=bundle, engine=engine)))


@app.command()
def worker(
    slot: Annotated[int, typer.Option("--slot", min=0, help="Number of this worker on this machine.")] = 0,
    kafka: Kafka = None,
    state: State = None,
    bundle: Bundle = None,
    engine: Engine = None,
) -> None:
    """One worker alone, as production runs it; its topics must be there (`protonova topics --repair`)."""
    from streams.worker import run_worker

    found = with_broker(settings(kafka=kafka, state=state, bundle=bundle, engine=engine))
    status = run_worker(found, slot)
    sys.stderr.flush()
    os._exit(status)  # Faust's consumer thread may outlive its loop; nothing is left to be done


@app.command()
def mirror(kafka: Kafka = None, state: State = None) -> None:
    """Copy the topics of other clusters (`[[source]]` in protonova.toml) into the alert topics, once each."""
    from console.commands.run_mirror import run as copy

    raise typer.Exit(copy(with_broker(settings(kafka=kafka, state=state))))


@app.command()
def sources(
    json: Annotated[bool, typer.Option("--json", help="One JSON object a line.")] = False, kafka: Kafka = None, state: State = None
) -> None:
    """The other clusters that are mirrored, and how far."""
    from console.commands.list_sources import show

    raise typer.Exit(show(with_broker(settings(kafka=kafka, state=state)), as_json=json))


@app.command()
def drift(kafka: Kafka = None, state: State = None) -> None:
    """The drift detectors alone, as production runs them."""
    from streams.agents.drift import main as follow

    os.environ.update(with_broker(settings(kafka=kafka, state=state)).environment())  # from where it reads its settings
    raise typer.Exit(follow())


def main() -> None:
    """The entry point ``protonova``."""
    command = typer.main.get_command(app)
    # The client library logs what it also raises; a worker sets up logging of its own.
    logging.getLogger("aiokafka").setLevel(logging.CRITICAL)

    def body() -> int:
        result = command.main(sys.argv[1:] or ["--help"], prog_name="protonova", standalone_mode=False)
        return result if isinstance(result, int) else 0

    sys.exit(guarded(body, lambda: _state))


if __name__ == "__main__":
    main()
