"""The flags of the commands that hand objects to other systems."""

from __future__ import annotations

from typing import Annotated

import typer

from console.flags.shared import State, settings_of

tns = typer.Typer(help="The Transient Name Server.", rich_markup_mode=None, no_args_is_help=True)


@tns.callback()
def tns_group() -> None:
    """The Transient Name Server."""


@tns.command("report")
def tns_report(
    object_id: Annotated[str, typer.Argument(metavar="OBJECT", help="An object of the history.")],
    *,
    send: Annotated[bool, typer.Option("--send", help="Send it, to the sandbox; without it the report is printed only.")] = False,
    live: Annotated[bool, typer.Option("--live", help="With --send: to TNS itself.")] = False,
    remarks: Annotated[str, typer.Option("--remarks", help="What else the report says.")] = "",
    state: State = None,
) -> None:
    """Report an object as TNS takes it (AT report)."""
    from console.commands.report_to_tns import report

    raise typer.Exit(report(settings_of(state=state), object_id, send=send, live=live, remarks=remarks))
