"""The flags of the HTTP API and of its keys."""

from __future__ import annotations

from typing import Annotated

import typer

from console.broker import own_node, with_broker
from console.flags.shared import Bundle, Engine, Kafka, State, settings_of

keys = typer.Typer(help="The keys of the HTTP API: add, ls, revoke.", no_args_is_help=True, rich_markup_mode=None)


def api(
    host: Annotated[str | None, typer.Option("--host", help="Address to serve on (default: loopback).")] = None,
    port: Annotated[int | None, typer.Option("--port", min=0, max=65535, help="Port to serve on; 0: any free one.")] = None,
    *,
    processes: Annotated[int | None, typer.Option("--processes", min=1, max=64, help="Processes on the port: one a core.")] = None,
    shared: Annotated[bool, typer.Option("--shared", hidden=True, help="One of several processes on the port.")] = False,
    kafka: Kafka = None,
    state: State = None,
    bundle: Bundle = None,
    engine: Engine = None,
) -> None:
    """The HTTP API alone, as production runs it (docs/http-api.md); without a broker it scores and nothing else."""
    from console.commands.run_api import run

    found = settings_of(kafka=kafka, state=state, bundle=bundle, engine=engine, api_host=host, api_port=port, api_processes=processes)
    if found.kafka is None:
        found = own_node(found) or found
    raise typer.Exit(run(found, shared=shared))


@keys.command("add")
def add(
    owner: Annotated[str, typer.Argument(metavar="OWNER", help="Person or program that gets it.")],
    scope: Annotated[list[str], typer.Option("--scope", help="What it may: score, push, read, teach, operate, admin; several times.")],
    *,
    days: Annotated[float | None, typer.Option("--days", min=0.001, help="How long it holds; default: until it is revoked.")] = None,
    private: Annotated[bool, typer.Option("--private", help="It may see alerts that are not public.")] = False,
    note: Annotated[str, typer.Option("--note", help="What it is for.")] = "",
    kafka: Kafka = None,
    state: State = None,
) -> None:
    """Make a key and print it, this once."""
    from console.commands.api_keys_command import add_key

    raise typer.Exit(
        add_key(with_broker(settings_of(kafka=kafka, state=state)), owner, scopes=scope, days=days, private=private, note=note)
    )


@keys.command("ls")
def ls(
    json: Annotated[bool, typer.Option("--json", help="One JSON object a line.")] = False, kafka: Kafka = None, *, state: State = None
) -> None:
    """Show the keys: whose, what they may, until when, when they were last used."""
    from console.commands.api_keys_command import list_keys

    raise typer.Exit(list_keys(with_broker(settings_of(kafka=kafka, state=state)), as_json=json))


@keys.command("revoke")
def revoke(
    key_id: Annotated[str, typer.Argument(metavar="ID", help="The key's id: the twelve digits behind pn_.")],
    kafka: Kafka = None,
    *,
    state: State = None,
) -> None:
    """Take a key back, at once on every process and for good."""
    from console.commands.api_keys_command import revoke_key

    raise typer.Exit(revoke_key(with_broker(settings_of(kafka=kafka, state=state)), key_id))
