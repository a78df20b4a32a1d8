"""The counting of `counting` over the tables of a history, in SQL that both engines know."""

from __future__ import annotations

from collections import Counter
from collections.abc import Collection

from data.history.counting import PartitionNight, Sample, Span, TopicNight, topic_night
from data.history.database import Database
from data.history.nights import DAY_MS, begin_of, night_of
from data.history.portion import DETECTED, REJECTED

_LEDGER = "detections, rejected, duplicates, control, aborted, gone"
_SPAN = f"first, next, night, {_LEDGER}, stored_detections, stored_rejected"


def settle(db: Database, topic: int, *, sample: Sample) -> None:
    """Take a sample of a partition into its spans; within a transaction.

    A sample of another base counts anew from there: the group's offsets were set by hand, or a topic's beginning was gone.
    """
    place = (topic, sample.partition)
    counts = sample[4:10]
    known = db.execute(f"SELECT base, next, {_LEDGER} FROM ledgers WHERE topic = ? AND partition = ?", place).fetchone()
    first_look = known is None
    if known is not None and known[0] == sample.base:
        if sample.next <= known[1]:
            return
        first, delta = known[1], tuple(now - before for now, before in zip(counts, known[2:], strict=True))
    else:
        first, delta = sample.base, counts
        db.execute("DELETE FROM spans WHERE topic = ? AND partition = ? AND next > ?", (*place, first))
    db.execute("DELETE FROM ledgers WHERE topic = ? AND partition = ?", place)
    db.execute("INSERT INTO ledgers VALUES (?, ?, ?, ?, ?, ?, ?, ?, ?, ?)", (*place, sample.base, sample.next, *counts))
    if first >= sample.next:
        return
    found = outcomes(db, topic, partition=sample.partition, first=first, end=sample.next)
    rejected = found.pop(REJECTED, 0)
    stored: tuple[int | None, int | None] = found.total(), rejected
    if first_look and (found.total() < delta[0] or rejected < delta[1]):
        stored = None, None  # what was committed before this history began may have left the topics it is made of
    last = db.execute(
        f"SELECT {_SPAN} FROM spans WHERE topic = ? AND partition = ? AND next = ? AND night = ?", (*place, first, sample.night)
    ).fetchone()
    if last is None or None in (last[-1], stored[0]):
        db.execute("DELETE FROM spans WHERE topic = ? AND partition = ? AND first = ?", (*place, first))
        db.execute(
            "INSERT INTO spans VALUES (?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?)",
            (*place, first, sample.next, sample.night, *delta, *stored),
        )
        return
    db.execute(
        "UPDATE spans SET next = ?, detections = detections + ?, rejected = rejected + ?, duplicates = duplicates + ?,"
        " control = control + ?, aborted = aborted + ?, gone = gone + ?, stored_detections = stored_detections + ?,"
        " stored_rejected = stored_rejected + ? WHERE topic = ? AND partition = ? AND first = ?",
        (sample.next, *delta, *stored, *place, last[0]),
    )


def survey_of(topic: str) -> str:
    """The survey whose packets are on a topic of alerts."""
    return topic.removeprefix("alerts.")


def outcomes(db: Database, topic: int, *, partition: int, first: int, end: int) -> Counter[int]:
    """Outcome → offsets from `first` to before `end` with a record."""
    rows = db.execute(
        "SELECT outcome, CAST(sum(records) AS bigint) FROM inputs"
        ' WHERE topic = ? AND partition = ? AND "offset" >= ? AND "offset" < ? GROUP BY outcome',
        (topic, partition, first, end),
    )
    return Counter(dict(rows))


def night_counts(db: Database, night: int, *, programs: Collection[int]) -> list[TopicNight]:
    """The counts of a night, a row a topic of alerts.

    Parameters
    ----------
    db : Database
    night : int
        YYYYMMDD.
    programs : collection of int
        Programids that the caller may see.
    """
    found = []
    codes = [DETECTED + p for p in programs]
    known = "SELECT id, name FROM topics WHERE id IN (SELECT topic FROM nights) ORDER BY name"
    for topic, name in db.execute(known).fetchall():
        survey = survey_of(name)
        next_night = night_of(begin_of(night, survey) + DAY_MS, survey)
        begins = dict(db.execute("SELECT partition, first FROM nights WHERE night = ? AND topic = ?", (night, topic)))
        nexts = dict(db.execute("SELECT partition, first FROM nights WHERE night = ? AND topic = ?", (next_night, topic)))
        ends = dict(db.execute("SELECT partition, next FROM ends WHERE topic = ?", (topic,)))
        partitions, reasons = [], Counter[str]()
        for partition, first in begins.items():
            p = PartitionNight(first, nexts.get(partition, ends.get(partition)))
            if p.next is None:
                continue
            spans = db.execute(
                f"SELECT {_SPAN} FROM spans WHERE topic = ? AND partition = ? AND next > ? AND first < ? ORDER BY first",
                (topic, partition, first, p.next),
            )
            p.spans = [Span(*values) for values in spans]
            place = {"first": first, "end": p.reached}
            p.outcomes = outcomes(db, topic, partition=partition, **place)
            reasons.update(
                dict(
                    db.execute(
                        'SELECT error_class, CAST(sum(r.records) AS bigint) FROM rejects r JOIN inputs i USING (topic, partition, "offset")'
                        ' WHERE r.topic = ? AND r.partition = ? AND r."offset" >= ? AND r."offset" < ? AND i.outcome = ?'
                        " GROUP BY error_class",
                        (topic, partition, first, p.reached, REJECTED),
                    )
                )
            )
            partitions.append(p)
        if partitions:
            counted = topic_night(name, partitions, codes=codes, rejected=REJECTED)
            counted.reasons = reasons
            found.append(counted)
    return found
