"""Which retrain command is worked on, and which are merged into it.

events of `loop.events` → `Steps`; pending commands, `Steps` → the one that leads, and the rest
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field

from schemas.records import codec
from schemas.records.loop_event import ANNOUNCED, CHALLENGER_MADE, RETRAIN_COMMANDED, RETRAIN_FAILED, RETRAIN_MERGED, LoopEvent
from schemas.records.retrain_command import RECIPES, RetrainCommand

FINISHED = frozenset({RETRAIN_FAILED, RETRAIN_MERGED})


@dataclass(slots=True)
class Steps:
    """What `loop.events` says of commands."""

    commanded: set[str] = field(default_factory=set)
    """Ids of commands that were taken up."""
    finished: set[str] = field(default_factory=set)
    made: dict[str, str] = field(default_factory=dict)
    """Id of a command → its challenger's short id."""
    announced: set[str] = field(default_factory=set)
    """Short ids of models that were announced."""

    def take(self, event: LoopEvent) -> None:
        """Take note of an event."""
        if event.event == ANNOUNCED:
            self.announced.add(event.subject)
            return
        if event.event not in (RETRAIN_COMMANDED, CHALLENGER_MADE, *FINISHED):
            return
        command = codec.decode(event.record)
        if not isinstance(command, RetrainCommand):
            return
        if event.event == RETRAIN_COMMANDED:
            self.commanded.add(command.command_id)
        elif event.event == CHALLENGER_MADE:
            self.made[command.command_id] = event.subject
        else:
            self.finished.add(command.command_id)

    def is_done(self, command: RetrainCommand) -> bool:
        """Whether nothing is left to do for a command."""
        return command.command_id in self.finished or self.made.get(command.command_id, "") in self.announced


def rank(command: RetrainCommand) -> int:
    """How dear a command's recipe is."""
    return RECIPES.index(command.recipe)


def next_of(pending: Sequence[RetrainCommand], steps: Steps) -> tuple[RetrainCommand, list[RetrainCommand]]:
    """The command to work on, and those that are merged into it.

    One that was taken up goes on first. Else the dearest recipe leads, the earliest command of them; all others are merged into it.

    Parameters
    ----------
    pending : sequence of RetrainCommand
        One at least, each with an id of its own, none of them done.
    steps : Steps
    """
    begun = [command for command in pending if command.command_id in steps.commanded | steps.made.keys()]
    lead = min(begun or pending, key=lambda command: (-rank(command), command.since_ms, command.command_id))
    return lead, [command for command in pending if command is not lead and rank(command) <= rank(lead)]
