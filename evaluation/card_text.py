"""Words of the model card: shares, intervals, tables in Markdown.

numbers → text
"""

from __future__ import annotations

from collections.abc import Sequence


def percent(share: float | None, digits: int = 0) -> str:
    """0.7512 → "75"; a dash where there is nothing."""
    return "–" if share is None or share != share else f"{100 * share:.{digits}f}"


def with_interval(value: float | None, interval: Sequence[float] | None, *, signed: bool = False) -> str:
    """Value and interval, as in "75 [71, 79]"."""
    if value is None:
        return "–"
    form = "+.0f" if signed else ".0f"
    text = f"{100 * value:{form}}"
    return text if interval is None else f"{text} [{100 * interval[0]:{form}}, {100 * interval[1]:{form}}]"


def table(head: Sequence[str], rows: Sequence[Sequence[str]]) -> list[str]:
    """Lines of a Markdown table, the first column to the left."""
    line = "| " + " | ".join(head) + " |"
    rule = "| --- |" + " ---: |" * (len(head) - 1)
    return [line, rule, *("| " + " | ".join(row) + " |" for row in rows), ""]
