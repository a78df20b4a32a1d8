"""Which retrain command is worked on: what was begun first, else the dearest recipe; the rest is merged, and nothing done is done again."""

from __future__ import annotations

from schemas.records import codec
from schemas.records.loop_event import ANNOUNCED, CHALLENGER_MADE, RETRAIN_COMMANDED, RETRAIN_FAILED, RETRAIN_MERGED, TAUGHT, LoopEvent
from schemas.records.retrain_command import RetrainCommand
from streams.agents.retrain_queue import Steps, next_of


def command(name: str, since_ms: int = 1, recipe: str = "head") -> RetrainCommand:
    return RetrainCommand(name, "m", "why", "", since_ms, recipe)


def steps(*events: tuple[str, str, RetrainCommand | None]) -> Steps:
    found = Steps()
    for event, subject, about in events:
        found.take(LoopEvent(event, subject, 0, "trainer", "", b"" if about is None else codec.encode(about), 1))
    return found


def test_the_dearest_recipe_leads_and_the_others_are_merged() -> None:
    early, late, dear = command("a", 1), command("b", 2), command("c", 3, "fine_tune")
    assert next_of([late, early], Steps()) == (early, [late])
    assert next_of([early, late, dear], Steps()) == (dear, [early, late])


def test_what_was_begun_goes_on_and_a_dearer_one_waits() -> None:
    begun, cheap, dear = command("a", 5), command("b", 1), command("c", 1, "from_scratch")
    assert next_of([cheap, dear, begun], steps((RETRAIN_COMMANDED, "m", begun))) == (begun, [cheap])
    # A challenger that was made and not yet announced is begun as well.
    assert next_of([cheap, dear, begun], steps((CHALLENGER_MADE, "short", begun))) == (begun, [cheap])


def test_a_command_is_done_when_its_challenger_is_announced_or_it_failed_or_was_merged() -> None:
    one, two, three = command("one"), command("two"), command("three")
    found = steps((RETRAIN_COMMANDED, "m", one), (CHALLENGER_MADE, "short", one), (RETRAIN_FAILED, "m", two), (RETRAIN_MERGED, "m", three))
    assert [found.is_done(c) for c in (one, two, three)] == [False, True, True]
    found.take(LoopEvent(ANNOUNCED, "short", 1, "trainer", "", b"", 1))
    assert found.is_done(one)
    assert not found.is_done(command("four"))


def test_other_steps_and_broken_records_change_nothing() -> None:
    found = steps((TAUGHT, "fast-blue", None), (RETRAIN_FAILED, "m", None))
    assert (found.finished, found.commanded, found.made) == (set(), set(), {})
