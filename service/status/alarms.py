"""Records of `drift.alarms`, the balance and the broker → what asks for a person now: what, since when, which way, which command helps."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping, Sequence
from typing import Any, Literal, NamedTuple

SHOWN_S = 3600.0
"""An alarm is one of now for this long after it was raised last [s]."""
PLACES = 4
"""Partitions of a loss that are named."""
REJECT_LIMIT = "reject_limit"

Severity = Literal["bad", "warn"]


class Alarm(NamedTuple):
    """What asks for a person."""

    severity: Severity
    what: str
    since: float
    """[s since 1970]"""
    direction: str
    """Which way it went; empty: it has none."""
    command: str
    """What helps, as typed; empty: nothing to type."""
    advice: str
    """The same in a few words."""


DAMAGE = {
    "corrupt_batch": "a disk or a wire damages what the broker keeps",
    "unreadable_batch": "a producer sends batches that cannot be read",
    "bad_record": "a producer sends records that cannot be read",
}


def active(
    records: Iterable[Mapping[str, Any]],
    losses: Iterable[Mapping[str, Any]],
    *,
    now: float,
    heard_since: Callable[[str, float], bool],
) -> list[Alarm]:
    """What asks for a person now, the worst and latest first.

    Parameters
    ----------
    records : iterable
        Fields of `DriftAlarm` records, in any order.
    losses : iterable
        Of the balance's snapshot.
    now : float
        [s since 1970]
    heard_since : callable
        Whether a worker has worked since a moment: its halt is over then.
    """
    by_topic: dict[str, list[Mapping[str, Any]]] = {}
    for loss in losses:
        by_topic.setdefault(str(loss["topic"]), []).append(loss)
    found = [_of_losses(topic, members) for topic, members in by_topic.items()]
    groups: dict[tuple[str, str], list[Mapping[str, Any]]] = {}
    for record in records:
        groups.setdefault((str(record["statistic"]), str(record["stratum"])), []).append(record)
    for (statistic, stratum), members in groups.items():
        members.sort(key=lambda record: record["raised_ms"])
        recent = [record for record in members if now - record["raised_ms"] / 1000 < SHOWN_S]
        if not recent:
            continue
        if statistic == REJECT_LIMIT and heard_since(stratum.partition("/")[0], recent[-1]["raised_ms"] / 1000):
            continue
        found.append(_of_record(recent[-1], recent[0]["raised_ms"] / 1000))
    return sorted(found, key=lambda alarm: (alarm.severity != "bad", -alarm.since))


def _of_losses(topic: str, losses: Sequence[Mapping[str, Any]]) -> Alarm:
    places = [f"partition {x['partition']}: offsets {x['first']:,} to {x['next'] - 1:,}" for x in losses[:PLACES]]
    more = f"; {len(losses) - PLACES} more" if len(losses) > PLACES else ""
    return Alarm(
        "bad",
        f"{_many(sum(x['packets'] for x in losses), 'packet')} of {topic} passed without an outcome ({'; '.join(places)}{more})",
        min(x["since"] for x in losses),
        "",
        f"protonova replay kafka://{topic} --out scores.parquet",
        "scores what the topic still holds",
    )


def _many(n: int, what: str) -> str:
    return f"{n:,} {what}{'s' if n != 1 else ''}"


def _of_record(record: Mapping[str, Any], since: float) -> Alarm:
    statistic, stratum = str(record["statistic"]), str(record["stratum"])
    before, after = float(record["before"]), float(record["after"])
    if record["detector"] == "reader":
        what = f"{statistic} on {stratum}: {_many(int(after), 'unreadable record')} passed over"
        return Alarm("bad", what, since, "", f"protonova rejects ls --reason {statistic}", DAMAGE.get(statistic, ""))
    if statistic == REJECT_LIMIT:
        worker, _, reason = stratum.partition("/")
        many = f"{after:.0%} of the last {int(record['window']):,} packets" if before <= 1 else f"{int(after):,} packets in a row"
        what = f"{worker} halted: {many} were rejected ({reason})"
        return Alarm("bad", what, since, "", "protonova rejects ls", "shows why; docs/settings.md: how to go on")
    if record["detector"] == "models":
        return Alarm(
            "bad", f"bundle {stratum} is not used", since, "", "protonova models", "the model before scores on; why: a worker's log"
        )
    if record.get("diagnosis") and record["detector"] == "panel":
        return _of_panel(record, since)
    way = "rose" if after > before else "fell"
    direction = f"{way} from {before:.3f} to {after:.3f}"
    if statistic == "rejected_ratio":
        return Alarm("warn", f"rejected ratio of {stratum}", since, direction, "protonova rejects ls", "shows why packets are rejected")
    if statistic.startswith("schema:"):
        what = f"{stratum} sends packets in another schema ({statistic.partition(':')[2]})"
        return Alarm("warn", what, since, "", "protonova watch", "shows what comes; nulls and numbers may move with it")
    name = statistic.replace("_", " ")
    return Alarm("warn", f"{name} of {stratum}", since, direction, "protonova watch", "shows what comes; commands.retrain has the request")


def _of_panel(record: Mapping[str, Any], since: float) -> Alarm:
    """An alarm of drift: what it comes from, and whether training helps."""
    statistic, diagnosis = str(record["statistic"]).replace("_", " ").replace(":", " of "), str(record["diagnosis"])
    before, after = float(record["before"]), float(record["after"])
    direction = f"{'rose' if after > before else 'fell'} from {before:.3f} to {after:.3f}"
    begins = float(record.get("since_ms") or 0) / 1000 or since
    trains = diagnosis == "population"
    advice = "shows the training that was commanded and what became of it" if trains else "no training helps: ask the survey; docs/drift.md"
    return Alarm("warn", f"{diagnosis}: {statistic} of {record['stratum']}", min(since, begins), direction, "protonova history", advice)
