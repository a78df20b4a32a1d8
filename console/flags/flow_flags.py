"""The flags of the commands that run the flow and show how it is."""

from __future__ import annotations

import os
import sys
from pathlib import Path
from typing import Annotated

import typer

from console.broker import own_node, with_broker
from console.flags.shared import Bundle, Engine, Kafka, Report, State, settings_of


def run(
    workers: Annotated[int | None, typer.Option("--workers", min=0, max=256, help="Worker processes.")] = None,
    fresh: Annotated[bool, typer.Option("--fresh", help="Clear the broker's data first.")] = False,
    *,
    kafka: Kafka = None,
    state: State = None,
    bundle: Bundle = None,
    engine: Engine = None,
) -> None:
    """Kafka (if none is configured), workers, drift and the status page, under one supervisor."""
    from console.commands.run import run as supervise

    raise typer.Exit(supervise(settings_of(workers=workers, kafka=kafka, state=state, bundle=bundle, engine=engine), fresh=fresh))


def demo(
    packets: Annotated[
        int | None, typer.Option("--packets", min=20, max=200_000, help="Packets of the simulated night (2,000) or sector (800).")
    ] = None,
    seed: Annotated[int, typer.Option("--seed", min=0, help="Seed of the night.")] = 20_261_123,
    *,
    tess: Annotated[bool, typer.Option("--tess", help="A sector of TESS instead of ZTF's night.")] = False,
    frames: Annotated[bool, typer.Option("--frames", help="Nights of raw CCD frames instead of packets.")] = False,
    drift: Annotated[bool, typer.Option("--drift", help="A sky that changes: drift, training, gates, promotion, rollback.")] = False,
    short: Annotated[bool, typer.Option("--short", help="With --drift: a larger change, fewer packets.")] = False,
    nights: Annotated[int, typer.Option("--nights", min=1, max=60, help="With --frames: how many.")] = 7,
    picture: Annotated[Path | None, typer.Option("--picture", help="With --frames or --drift: PNG to write.")] = None,
    report: Report = None,
    keep: Annotated[bool, typer.Option("--keep", help="Keep the state folder (state/demo).")] = False,
    bundle: Bundle = None,
    engine: Engine = None,
) -> None:
    """A simulated night (--tess: sector; --frames: raw frames; --drift: a changing sky) through Kafka to scored detections."""
    if frames:
        from console.commands.demo_frames import demo_frames

        found = settings_of(bundle=bundle, engine=engine)
        raise typer.Exit(demo_frames(found, nights=nights, seed=seed, report=report, picture=picture, keep=keep))
    if drift:
        from console.commands.demo_drift import demo_drift

        found = settings_of(bundle=bundle, engine=engine)
        raise typer.Exit(demo_drift(found, seed=seed, short=short, report=report, picture=picture, keep=keep))
    from console.commands.demo import NIGHT, SECTOR
    from console.commands.demo import demo as show

    packets = packets or (800 if tess else 2000)
    found = settings_of(bundle=bundle, engine=engine)
    raise typer.Exit(show(found, packets=packets, seed=seed, report=report, keep=keep, scene=SECTOR if tess else NIGHT))


def topics(
    repair: Annotated[bool, typer.Option("--repair", help="Make what is missing and correct what differs.")] = False,
    kafka: Kafka = None,
    *,
    state: State = None,
) -> None:
    """Show the topics beside the wiring table, and repair them."""
    from console.commands.list_topics import topics as show

    raise typer.Exit(show(with_broker(settings_of(kafka=kafka, state=state)), repair=repair))


def status(
    serve: Annotated[bool, typer.Option("--serve", help="Serve the page instead of printing its figures.")] = False,
    json: Annotated[bool, typer.Option("--json", help="Print the figures as JSON.")] = False,
    *,
    seconds: Annotated[float, typer.Option("--seconds", min=0.5, max=600, help="Listen for so long where no page is served.")] = 6.0,
    host: Annotated[str | None, typer.Option("--host", help="Address to serve on (default: loopback).")] = None,
    port: Annotated[int | None, typer.Option("--port", min=0, max=65535, help="Port to serve on; 0: any free one.")] = None,
    kafka: Kafka = None,
    state: State = None,
) -> None:
    """The status page: serve it, or print its figures."""
    found = settings_of(kafka=kafka, state=state, status_host=host, status_port=port)
    if serve:
        from service.status.serve import serve as serve_page

        raise typer.Exit(serve_page(found, find=lambda: own_node(found)))
    from console.commands.show_status import show

    raise typer.Exit(show(with_broker(found), as_json=json, seconds=seconds))


def doctor(kafka: Kafka = None, state: State = None, *, bundle: Bundle = None, engine: Engine = None) -> None:
    """What is installed, which engine and broker would be used, and why."""
    from console.commands.doctor import doctor as examine

    raise typer.Exit(examine(settings_of(diagnose=True, kafka=kafka, state=state, bundle=bundle, engine=engine)))


def worker(
    slot: Annotated[int, typer.Option("--slot", min=0, help="Number of this worker on this machine.")] = 0,
    kafka: Kafka = None,
    *,
    state: State = None,
    bundle: Bundle = None,
    engine: Engine = None,
) -> None:
    """One worker alone, as production runs it; its topics must be there (`protonova topics --repair`)."""
    from streams.worker import run_worker

    found = with_broker(settings_of(kafka=kafka, state=state, bundle=bundle, engine=engine))
    status = run_worker(found, slot)
    sys.stderr.flush()
    os._exit(status)  # Faust's consumer thread may outlive its loop; nothing is left to be done


def mirror(kafka: Kafka = None, state: State = None) -> None:
    """Copy the topics of other clusters (`[[source]]` in protonova.toml) into the alert topics, once each."""
    from console.commands.run_mirror import run as copy

    raise typer.Exit(copy(with_broker(settings_of(kafka=kafka, state=state))))


def increments(kafka: Kafka = None, state: State = None) -> None:
    """Join the increments of TESS light curves (`tess.increments`) to whole packets on `alerts.tess`."""
    from console.commands.run_increments import run as join

    raise typer.Exit(join(with_broker(settings_of(kafka=kafka, state=state))))


def calibrator(kafka: Kafka = None, state: State = None) -> None:
    """Calibrate the raw frames on `frames.raw` and make alerts of what differs from the references."""
    from console.commands.run_calibrator import run as work

    status = work(with_broker(settings_of(kafka=kafka, state=state)))
    sys.stderr.flush()
    os._exit(status)  # a frame in hand would be finished first; it comes again


def historian(
    rebuild: Annotated[bool, typer.Option("--rebuild", help="Drop what is there and read the topics from their start.")] = False,
    kafka: Kafka = None,
    *,
    state: State = None,
) -> None:
    """Keep the history of objects, alerts and counts that the HTTP API reads."""
    from console.commands.run_historian import run as keep

    raise typer.Exit(keep(with_broker(settings_of(kafka=kafka, state=state)), rebuild))


def scans(
    night: Annotated[list[str] | None, typer.Option("--night", metavar="DATE", help="Only this night; may be repeated.")] = None,
    *,
    folder: Annotated[Path | None, typer.Option("--folder", metavar="FOLDER", help="Where; default: scans in the state folder.")] = None,
    report: Report = None,
    state: State = None,
) -> None:
    """Write the history as Parquet in the HATS layout, for DuckDB, LSDB, pyarrow: each night's detections, and all objects."""
    from console.commands.write_scans import run as write

    raise typer.Exit(write(settings_of(state=state), night or [], folder=folder, report=report))


def sources(
    json: Annotated[bool, typer.Option("--json", help="One JSON object a line.")] = False, kafka: Kafka = None, *, state: State = None
) -> None:
    """The other clusters that are mirrored, and how far."""
    from console.commands.list_sources import show

    raise typer.Exit(show(with_broker(settings_of(kafka=kafka, state=state)), as_json=json))


def drift(kafka: Kafka = None, state: State = None) -> None:
    """The drift detectors alone, as production runs them."""
    from streams.agents.drift import main as follow

    os.environ.update(with_broker(settings_of(kafka=kafka, state=state)).environment())  # from where it reads its settings
    raise typer.Exit(follow())
