"""A command line → one command of `console.flags`, and its exit status."""

from __future__ import annotations

import logging
import sys
from typing import Annotated

import typer

from console.failures import guarded
from console.flags import (
    api_flags,
    catalogue_flags,
    fetch_flags,
    filter_flags,
    flow_flags,
    frame_flags,
    handoff_flags,
    label_flags,
    model_flags,
    packet_flags,
    position_flags,
    science_flags,
    shared,
    story_flags,
    teach_flags,
    training_flags,
)
from console.flags.train_flags import train

app = typer.Typer(
    name="protonova",
    add_completion=False,
    rich_markup_mode=None,
    pretty_exceptions_enable=False,
)


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


for command in (
    flow_flags.run,
    flow_flags.demo,
    packet_flags.publish,
    fetch_flags.fetch,
    packet_flags.watch,
    packet_flags.replay,
    teach_flags.teach,
    teach_flags.forget,
    model_flags.promote,
    model_flags.rollback,
    model_flags.compare,
    label_flags.label,
    flow_flags.status,
    flow_flags.topics,
    flow_flags.sources,
    science_flags.evaluate,
    science_flags.describe,
    story_flags.explain,
    story_flags.history,
    science_flags.curves,
    train,
    flow_flags.doctor,
    flow_flags.worker,
    flow_flags.mirror,
    flow_flags.increments,
    flow_flags.calibrator,
    label_flags.shadow,
    flow_flags.historian,
    flow_flags.scans,
    flow_flags.drift,
    training_flags.trainer,
    training_flags.retrain,
    api_flags.api,
):
    app.command()(command)
app.add_typer(packet_flags.rejects, name="rejects")
app.add_typer(frame_flags.masters, name="masters")
app.add_typer(frame_flags.references, name="references")
app.add_typer(teach_flags.classes, name="classes")
app.add_typer(api_flags.keys, name="keys")
app.add_typer(model_flags.models, name="models")
app.add_typer(label_flags.labels, name="labels")
app.add_typer(filter_flags.filters, name="filters")
app.add_typer(position_flags.positions, name="positions")
app.add_typer(catalogue_flags.catalogue, name="catalogue")
app.add_typer(handoff_flags.tns, name="tns")


def main() -> None:
    """The entry point ``protonova``."""
    command = typer.main.get_command(app)
    # The client library logs what it also raises; a worker sets up logging of its own.
    logging.getLogger("aiokafka").setLevel(logging.CRITICAL)

    def body() -> int:
        result = command.main(sys.argv[1:] or ["--help"], prog_name="protonova", standalone_mode=False)
        return result if isinstance(result, int) else 0

    sys.exit(guarded(body, shared.state_folder))


if __name__ == "__main__":
    main()
