"""What a class is to be taught from → its record and what it would do: the work behind `protonova teach` and the API's `/v1/classes`.

packets, recent alerts or a description; a bundle and the state that embeds → `Prepared`: `ClassRecord`, examples, `Preview`

Nothing is written here: `streams.agents.teaching.change` does that, compared with the revision that the author saw.
"""

from __future__ import annotations

from collections.abc import Callable, Collection, Mapping, Sequence
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any, NamedTuple

import numpy as np

from errors import UserError
from operators.head import Views, judge
from operators.taught import FALSE_CALLS, FALSE_CALLS_IN_SIGHT, LEAST_WINDOW, PRIOR, TeachError
from pipeline.examples import see_packets
from registry.taught_classes import Example, Lesson, head_with, name_problem, solve, views_of
from schemas.records.class_record import MOST_EXAMPLES, ClassRecord
from schemas.taxonomy import OTHER

if TYPE_CHECKING:
    from data.simulate.described import Description
    from evaluation.class_preview import Preview
    from operators.head import Head
    from pipeline.examples import Examples
    from pipeline.state import ScoringState
    from registry.bundle import Bundle

SIMULATED = 200
"""Alerts that stand for a description."""
AT_ONCE = 256
MOST_NAMED = 20
"""Of what was not found."""

Say = Callable[[str], None]
"""Gets what the author should know, a line each."""


def _silent(line: str) -> None:
    return None


@dataclass(frozen=True, slots=True, kw_only=True)
class Wanted:
    """A class that is to be taught."""

    name: str
    packets: Sequence[bytes] = ()
    """Examples."""
    candids: Collection[int] = ()
    objects: Collection[str] = ()
    """Of recent alerts: by their numbers, and the newest of each object."""
    description: Description | None = None
    merge: bool = False
    """Add to the examples that the class has."""
    recent: Sequence[bytes] = ()
    """Packets of recent alerts, the newest last."""
    window: int = 2000
    """So many of them, the newest, bound the class and are looked through."""
    false_calls: float | None = None
    """Share of known alerts that may be called the class; None: what the window allows."""
    prior: float = PRIOR
    author: str = ""
    note: str = ""
    private: bool = True
    """Whether the author may see alerts that are not public: else they are neither examples nor in the window."""


class Gathered(NamedTuple):
    """What a class is taught from."""

    examples: tuple[Example, ...]
    views: Views
    packets: dict[str, bytes]
    """Packet id → packet, of the public ones."""
    description: str = ""


class Seen(NamedTuple):
    """Recent alerts, embedded."""

    views: Views
    names: list[tuple[str, str]]
    """Packet and object of each."""
    surveys: list[str]


@dataclass(frozen=True, slots=True)
class Prepared:
    """A class that could be taught now."""

    record: ClassRecord
    gathered: Gathered
    preview: Preview
    before: int
    """Revision of the class that it takes the place of; 0: it is new."""
    said: tuple[str, ...] = field(default=())
    """What the author should know."""


def prepare(
    wanted: Wanted, *, bundle: Bundle, state: ScoringState, before: ClassRecord | None, now_ms: int, say: Say = _silent,
    step: Callable[[str], None] = _silent,
) -> Prepared:  # fmt: skip
    """Solve a class and look at what it would do.

    Parameters
    ----------
    wanted : Wanted
    bundle : Bundle
        Of the champion: a solution is of one head.
    state : ScoringState
        Of the same bundle; what is taught in it makes no difference.
    before : ClassRecord or None
        Under the same name at present.
    now_ms : int
        [ms since 1970]
    say, step : callable
        Get what the author should know, and what is done now.

    Raises
    ------
    UserError
        The class cannot be taught from this.
    gpu.session.EngineError
        The engine failed.
    """
    lines: list[str] = []

    def note(line: str) -> None:
        lines.append(line)
        say(line)

    check_name(wanted.name, bundle)
    step("examples")
    gathered = gather(wanted, state, say=note)
    if wanted.merge and before is not None:
        gathered = merged(gathered, before, bundle=bundle, encoder_id=state.encoder.id, say=note)
    step("window")
    recent = wanted.recent[-wanted.window :] if wanted.window else ()
    seen = look_at(state, recent, without={one.packet_id for one in gathered.examples}, private=wanted.private)
    step("solution")
    lesson = Lesson(
        wanted.name, gathered.examples, gathered.views, _false_calls(wanted.false_calls, window=len(seen.names), say=note),
        prior=wanted.prior, description=gathered.description, author=wanted.author, note=wanted.note,
    )  # fmt: skip
    revision = before.revision if before is not None else 0
    record = _solved(lesson, bundle, state=state, window=seen, revision=revision + 1, now_ms=now_ms)
    found = preview_of(record, gathered, bundle=bundle, state=state, seen=seen)
    step("")
    return Prepared(record, gathered, found, revision, tuple(lines))


def check_name(name: str, bundle: Bundle) -> None:
    """Refuse a name that no class can be taught under.

    Raises
    ------
    UserError
        With exit status 2.
    """
    if (problem := name_problem(name, bundle.classes)) is not None:
        raise UserError(problem, 2)


def scoring_id_with(records: Mapping[str, ClassRecord], *, bundle: Bundle, state: ScoringState) -> str:
    """The id of what workers score with, once these classes are taught."""
    whole, _ = head_with(
        bundle.head, records, encoder_id=state.encoder.id, reference=lambda: bundle.reference, known=bundle.classes,
        own=bundle.manifest.taught or {},
    )  # fmt: skip
    return state.with_head(whole).scoring_id


def gather(wanted: Wanted, state: ScoringState, *, say: Say = _silent) -> Gathered:
    """The examples, embedded as the stream does.

    Raises
    ------
    UserError
        There is none, there are too many, or none can be an example.
    """
    if wanted.description is not None:
        return described(state, wanted.description, seed=0)
    packets = list(wanted.packets)
    if wanted.candids or wanted.objects:
        packets += on_topics(
            state, wanted.recent, candids=set(wanted.candids), objects=set(wanted.objects), private=wanted.private, say=say
        )
    if not packets:
        raise UserError("no packet was found to teach from: name packets, or numbers and objects of recent alerts")
    if len(packets) > MOST_EXAMPLES:
        raise UserError(f"{len(packets):,} examples: {MOST_EXAMPLES} are the most; the first few teach nearly all there is to learn")
    found: Examples = see_packets(packets, state)
    for position, why in found.refused:
        say(f"example {position + 1} is left out: {why}")
    rows, keep, seen = [], [], set()
    for i, row in enumerate(found.rows):
        if row.packet_id in seen:
            say(f"example {row.position + 1} is left out: {row.packet_id} stands there before")
            continue
        seen.add(row.packet_id)
        rows.append(row)
        keep.append(i)
    if not rows:
        raise UserError("none of these packets can be an example; the lines above say why")
    private = sum(row.private for row in rows)
    if private:
        say(f"{private} of {len(rows)} examples are not public: their packets and views stay here; another model will need them again")
    views = Views(*(column[keep] for column in found.views))
    public = {row.packet_id: packets[row.position] for row in rows if not row.private}
    return Gathered(tuple(Example(row.packet_id, row.object_id, row.private) for row in rows), views, public)


def on_topics(
    state: ScoringState, recent: Sequence[bytes], *, candids: set[int], objects: set[str], private: bool = True, say: Say = _silent
) -> list[bytes]:
    """Recent packets with these numbers, and the newest of each of these objects."""
    by_candid: dict[int, bytes] = {}
    by_object: dict[str, bytes] = {}
    for start in range(0, len(recent), AT_ONCE):
        part = recent[start : start + AT_ONCE]
        decoded = state.decoder.decode(part)
        for i, position in enumerate(decoded.index):
            if not private and decoded.batch.programid[i] != 1:
                continue
            if decoded.batch.candid[i] in candids:
                by_candid[decoded.batch.candid[i]] = part[position]
            if decoded.batch.object_id[i] in objects:
                by_object[decoded.batch.object_id[i]] = part[position]
    missing = [*map(str, sorted(candids - by_candid.keys())), *sorted(objects - by_object.keys())]
    if missing:
        say(f"not among the last {len(recent):,} alerts: {', '.join(missing[:MOST_NAMED])}; a larger search looks further back")
    return [*by_candid.values(), *by_object.values()]


def described(state: ScoringState, description: Description, *, seed: int) -> Gathered:
    """Alerts that are simulated of a description, in the place of examples."""
    from evaluation import zeroshot

    seen, _ = zeroshot.seen(description, state.session, n=SIMULATED, seed=seed)
    views = Views(*(np.asarray(column, dtype=np.float32) for column in seen.views))
    return Gathered((), views, {}, description.model_dump_json(exclude_none=True))


def merged(new: Gathered, before: ClassRecord, *, bundle: Bundle, encoder_id: str, say: Say = _silent) -> Gathered:
    """The examples of the record, then the new ones that are not among them.

    Raises
    ------
    UserError
        There are no examples to merge.
    """
    if before.description or new.description:
        raise UserError(f"{before.name} was taught by a description, or is to be: it can be taught anew (replace), not merged")
    old = views_of(before, bundle.head) if before.encoder_id == encoder_id else None
    if old is None:
        raise UserError(f"the examples of {before.name} are not at hand for this model: teach it anew (replace)")
    kept = [Example(*row) for row in zip(before.packet_ids, before.object_ids, before.private, strict=True) if not row[2]]
    if len(kept) < len(before.packet_ids):
        say(f"{len(before.packet_ids) - len(kept)} examples that are not public are lost by merging: name them again")
    there = {example.packet_id for example in kept}
    add = [i for i, example in enumerate(new.examples) if example.packet_id not in there]
    views = Views(*(np.concatenate([a, np.asarray(b)[add]]) for a, b in zip(old, new.views, strict=True)))
    return Gathered((*kept, *(new.examples[i] for i in add)), views, new.packets)


def look_at(state: ScoringState, packets: Sequence[bytes], *, without: Collection[str], private: bool = True) -> Seen:
    """Recent alerts as the encoder sees them, but the examples."""
    found = see_packets(packets, state)
    keep = [i for i, row in enumerate(found.rows) if row.packet_id not in without and (private or not row.private)]
    names = [(found.rows[i].packet_id, found.rows[i].object_id) for i in keep]
    return Seen(Views(*(column[keep] for column in found.views)), names, [found.rows[i].survey for i in keep])


def preview_of(record: ClassRecord, gathered: Gathered, *, bundle: Bundle, state: ScoringState, seen: Seen) -> Preview:
    """What the class would do to recent alerts.

    Raises
    ------
    UserError
        It cannot stand beside this head.
    """
    from evaluation.class_preview import preview

    after, left_out = head_with(
        bundle.head, {record.name: record}, encoder_id=state.encoder.id, reference=lambda: bundle.reference, known=bundle.classes
    )
    if left_out:
        raise UserError(f"{record.name}: {left_out[record.name]}")
    return preview(
        record.name, before=bundle.head, after=after, classes=bundle.classes, examples=gathered.views, window=seen.views, names=seen.names,
        reference=bundle.reference,
    )  # fmt: skip


def figures_of(record: ClassRecord, found: Preview) -> dict[str, Any]:
    """A preview as plain values."""
    caught: list[Mapping[str, Any]] = [one._asdict() for one in found.caught]
    return {
        "name": record.name, "examples": list(record.packet_ids), "description": record.description, "revision": record.revision,
        "threshold": record.threshold, "window": found.looked_at, "caught": caught, "false_rate": found.false_rate, "purity": found.purity,
        "now": found.now, "overlap": found.overlap, "odd": list(found.odd),
    }  # fmt: skip


class Suggestion(NamedTuple):
    """An alert whose label would say most about a class."""

    packet_id: str
    object_id: str
    probability: float
    """Of the class, at balanced classes."""
    other: str
    """The most probable other class."""
    other_probability: float


def suggestions(name: str, seen: Seen, *, head: Head, classes: tuple[str, ...], known: Collection[str], most: int) -> list[Suggestion]:
    """Recent alerts that lie nearest to the boundary of a class, one an object.

    Parameters
    ----------
    name : str
        Of a class of the head, known or taught.
    seen : Seen
    head : Head
        With the class.
    classes : tuple of str
        Known classes of the head.
    known : collection of str
        Objects that have a label.
    most : int

    Returns
    -------
    list of Suggestion
        The least certain first: where the class and the best other one are most alike in probability.
    """
    if not seen.names:
        return []
    names = (*classes, *head.taught, OTHER)
    probability = np.asarray(judge(seen.views, head).probability)
    at = names.index(name)
    own = probability[:, at]
    others = probability.copy()
    others[:, at] = -1.0
    best = others.argmax(axis=1)
    other = others[np.arange(len(own)), best]
    uncertain = np.minimum(own, other)  # an alert that both claim says much, one that neither does says little
    found: list[Suggestion] = []
    taken = set(known)
    for i in np.argsort(-uncertain, kind="stable").tolist():
        packet_id, object_id = seen.names[i]
        if object_id in taken:
            continue
        taken.add(object_id)
        found.append(Suggestion(packet_id, object_id, float(own[i]), names[int(best[i])], float(other[i])))
        if len(found) == most:
            break
    return found


def _false_calls(given: float | None, *, window: int, say: Say) -> float:
    """The share of known alerts that may be called the class: smaller where no window of the stream bounds it."""
    if given is not None:
        return given
    if window >= LEAST_WINDOW:
        return FALSE_CALLS_IN_SIGHT
    say(
        f"{window} recent alerts are too few to bound the class: of known ones {100 * FALSE_CALLS:.1f} % may be called it, not "
        f"{100 * FALSE_CALLS_IN_SIGHT:.0f}; teach it again when the stream has run"
    )
    return FALSE_CALLS


def _solved(lesson: Lesson, bundle: Bundle, *, state: ScoringState, window: Seen, revision: int, now_ms: int) -> ClassRecord:
    try:
        return solve(
            lesson, bundle.head, encoder_id=state.encoder.id, reference=bundle.reference, window=window.views if window.names else None,
            revision=revision, taught_ms=now_ms,
        )  # fmt: skip
    except TeachError as error:
        raise UserError(str(error)) from None
