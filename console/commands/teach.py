"""``protonova teach`` and ``forget``: examples → a class that every worker scores with two seconds later, and back."""

from __future__ import annotations

import asyncio
import getpass
import time
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any, NamedTuple

import numpy as np

from console import report as reports
from console.model_names import with_champion
from console.progress import progress
from errors import UserError, say, usage
from operators.head import Views
from operators.taught import FALSE_CALLS, FALSE_CALLS_IN_SIGHT, LEAST_WINDOW, TeachError
from registry.taught_classes import Example, Lesson, head_with, name_problem, solve, views_of
from schemas.records.class_record import MOST_EXAMPLES, ClassRecord

if TYPE_CHECKING:
    from evaluation.class_preview import Preview
    from pipeline.examples import Examples
    from pipeline.state import ScoringState
    from registry.bundle import Bundle
    from settings.model import Settings

SIMULATED = 200
"""Alerts that stand for a description."""
SHOWN = 10
"""Recent alerts that are listed."""


class Gathered(NamedTuple):
    """What a class is to be taught from."""

    examples: tuple[Example, ...]
    views: Views
    packets: dict[str, bytes]
    """Packet id → packet, of the public ones."""
    description: str = ""


def author_of(given: str | None) -> str:
    """Who teaches: the name given, else the user's."""
    if given:
        return given
    try:
        return getpass.getuser()
    except (OSError, KeyError):
        return "unknown"


def teach(
    settings: Settings,
    name: str,
    *,
    paths: Sequence[str],
    candids: Sequence[int],
    objects: Path | None,
    describe: str | None,
    replace: bool,
    merge: bool,
    window: int,
    search: int,
    false_calls: float | None,
    prior: float,
    author: str | None,
    note: str,
    dry_run: bool,
    report: Path | None,
) -> int:
    """Run the command; returns the exit status."""
    from pipeline.state import load as load_state
    from registry.bundle import load as load_bundle
    from streams.agents.teaching import Change, change, read_records
    from streams.recent import recent_packets
    from streams.worker import configure_logging

    configure_logging("error")
    reports.check_writable(report)
    started = time.perf_counter()
    settings = with_champion(settings)  # a solution is of one head: that of the model which scores
    bundle = load_bundle(settings.bundle)
    if (problem := name_problem(name, bundle.classes)) is not None:
        raise usage(problem)
    records = asyncio.run(read_records(settings))
    before = records.get(name)
    if before is not None and not (replace or merge):
        raise UserError(
            f"{name} is taught already (revision {before.revision}, {len(before.packet_ids)} examples, by {before.author}): --merge adds "
            "examples, --replace begins anew"
        )
    state = load_state(settings.bundle, settings.engine)
    with progress("teach", "steps", total=4) as bar:
        bar.describe("recent alerts")
        wanted = max(window, search if candids or objects else 0)
        recent = asyncio.run(recent_packets(settings, wanted))
        bar.advance()
        bar.describe("examples")
        gathered = _gather(state, paths=paths, candids=candids, objects=objects, describe=describe, recent=recent, seed=0)
        if merge and before is not None:
            gathered = _merged(gathered, before, bundle=bundle, encoder_id=state.encoder.id)
        bar.advance()
        bar.describe("window")
        seen = _window(state, recent[-window:] if window else [], without={e.packet_id for e in gathered.examples})
        bar.advance()
        bar.describe("solution")
        now_ms = int(time.time() * 1000)
        lesson = Lesson(
            name,
            gathered.examples,
            gathered.views,
            _false_calls(false_calls, window=len(seen.names)),
            prior=prior,
            description=gathered.description,
            author=author_of(author),
            note=note,
        )
        record = _solved(lesson, bundle, state=state, window=seen, revision=(before.revision if before else 0) + 1, now_ms=now_ms)
        shown = _preview(record, gathered, bundle=bundle, state=state, seen=seen)
        bar.advance()
    _show(record, gathered, found=shown)
    figures = _figures(record, shown)
    if dry_run:
        say("nothing was written: --dry-run")
    else:
        outcome = asyncio.run(
            change(settings, Change(name, record.author, note, record, gathered.packets, before.revision if before else 0, now_ms))
        )
        whole, _ = head_with(
            bundle.head, outcome.records, encoder_id=state.encoder.id, reference=lambda: bundle.reference, known=bundle.classes,
            own=bundle.manifest.taught or {},
        )  # fmt: skip
        figures |= {"revision": outcome.revision, "scoring_id": state.with_head(whole).scoring_id}
        reports.output().print(
            f"{name} is taught: revision {outcome.revision}, topic detections.{name}, scoring id {figures['scoring_id']}; "
            f"{time.perf_counter() - started:.1f} s. `protonova forget {name}` takes it back", soft_wrap=True,
        )  # fmt: skip
    reports.write(report, {"command": "teach", **figures, "seconds": time.perf_counter() - started})
    return 0


def forget(settings: Settings, name: str, *, author: str | None, note: str) -> int:
    """Take a class away; the scores are those from before it was taught, bit for bit."""
    from streams.agents.teaching import Change, change, read_records
    from streams.worker import configure_logging

    configure_logging("error")
    records = asyncio.run(read_records(settings))
    before = records.get(name)
    if before is None:
        known = ", ".join(sorted(records)) or "none"
        raise UserError(f"{name} was never taught, or is forgotten; taught are: {known}")
    wanted = Change(name, author_of(author), note, None, {}, before.revision, int(time.time() * 1000))
    outcome = asyncio.run(change(settings, wanted))
    reports.output().print(
        f"{name} is forgotten: revision {outcome.revision}. Its topic detections.{name} keeps what it holds", soft_wrap=True
    )
    return 0


def _false_calls(given: float | None, *, window: int) -> float:
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


def _gather(
    state: ScoringState, *, paths: Sequence[str], candids: Sequence[int], objects: Path | None, describe: str | None,
    recent: Sequence[bytes], seed: int,
) -> Gathered:  # fmt: skip
    from pipeline.examples import see_packets

    if describe is not None:
        return _described(state, describe, seed=seed)
    packets = _of_paths(paths)
    if candids or objects is not None:
        packets += _on_topics(state, recent, candids=set(candids), objects=_names(objects) if objects else set())
    if not packets:
        raise UserError("no packet was found to teach from: name files, or numbers and objects of recent alerts")
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


def _of_paths(paths: Sequence[str]) -> list[bytes]:
    from data.connectors.archives import Skipped, packets_of

    packets = []
    for path in paths:
        for item in packets_of([path]):
            if isinstance(item, Skipped):
                say(f"skipped {item.origin}: {item.reason}")
            else:
                packets.append(item.packet)
            if len(packets) > MOST_EXAMPLES:
                return packets
    return packets


def _names(path: Path) -> set[str]:
    try:
        text = path.read_text(encoding="utf-8")
    except (OSError, UnicodeDecodeError) as error:
        raise UserError(f"{path} cannot be read: {error}") from None
    return {line.split(",")[0].strip() for line in text.splitlines() if line.strip() and not line.startswith("#")}


def _on_topics(state: ScoringState, recent: Sequence[bytes], *, candids: set[int], objects: set[str]) -> list[bytes]:
    """Recent packets with these numbers, and the newest of each of these objects."""
    by_candid: dict[int, bytes] = {}
    by_object: dict[str, bytes] = {}
    for start in range(0, len(recent), 256):
        part = recent[start : start + 256]
        decoded = state.decoder.decode(part)
        for i, position in enumerate(decoded.index):
            if decoded.batch.candid[i] in candids:
                by_candid[decoded.batch.candid[i]] = part[position]
            if decoded.batch.object_id[i] in objects:
                by_object[decoded.batch.object_id[i]] = part[position]
    missing = [*map(str, sorted(candids - by_candid.keys())), *sorted(objects - by_object.keys())]
    if missing:
        say(f"not among the last {len(recent):,} alerts: {', '.join(missing[:20])}; --search looks further back")
    return [*by_candid.values(), *by_object.values()]


def _described(state: ScoringState, what: str, *, seed: int) -> Gathered:
    from console.commands.describe import find_description
    from evaluation import zeroshot

    description, _ = find_description(what)
    seen, _ = zeroshot.seen(description, state.session, n=SIMULATED, seed=seed)
    views = Views(*(np.asarray(column, dtype=np.float32) for column in seen.views))
    return Gathered((), views, {}, description.model_dump_json(exclude_none=True))


def _merged(new: Gathered, before: ClassRecord, *, bundle: Bundle, encoder_id: str) -> Gathered:
    """The examples of the record, then the new ones that are not among them."""
    if before.description or new.description:
        raise UserError(f"{before.name} was taught by a description: teach it anew with --replace")
    old = views_of(before, bundle.head) if before.encoder_id == encoder_id else None
    if old is None:
        raise UserError(f"the examples of {before.name} are not at hand for this model: teach it anew with --replace")
    kept = [Example(*row) for row in zip(before.packet_ids, before.object_ids, before.private, strict=True) if not row[2]]
    if len(kept) < len(before.packet_ids):
        say(f"{len(before.packet_ids) - len(kept)} examples that are not public are lost by --merge: name them again")
    there = {example.packet_id for example in kept}
    add = [i for i, example in enumerate(new.examples) if example.packet_id not in there]
    views = Views(*(np.concatenate([a, np.asarray(b)[add]]) for a, b in zip(old, new.views, strict=True)))
    return Gathered((*kept, *(new.examples[i] for i in add)), views, new.packets)


class Seen(NamedTuple):
    """Recent alerts, embedded."""

    views: Views
    names: list[tuple[str, str]]


def _window(state: ScoringState, packets: Sequence[bytes], *, without: set[str]) -> Seen:
    from pipeline.examples import see_packets

    found = see_packets(packets, state)
    keep = [i for i, row in enumerate(found.rows) if row.packet_id not in without]
    return Seen(Views(*(column[keep] for column in found.views)), [(found.rows[i].packet_id, found.rows[i].object_id) for i in keep])


def _solved(lesson: Lesson, bundle: Bundle, *, state: ScoringState, window: Seen, revision: int, now_ms: int) -> ClassRecord:
    try:
        return solve(
            lesson, bundle.head, encoder_id=state.encoder.id, reference=bundle.reference, window=window.views if window.names else None,
            revision=revision, taught_ms=now_ms,
        )  # fmt: skip
    except TeachError as error:
        raise UserError(str(error)) from None


def _preview(record: ClassRecord, gathered: Gathered, *, bundle: Bundle, state: ScoringState, seen: Seen) -> Preview:
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


def _show(record: ClassRecord, gathered: Gathered, *, found: Preview) -> None:
    console = reports.output()
    of = f"{len(gathered.examples)} examples" if gathered.examples else f"a description ({SIMULATED} simulated alerts)"
    rate, low, high = found.false_rate
    console.print(
        f"{record.name} from {of}: of known alerts of other classes {100 * rate:.2f} % [{100 * low:.2f}, {100 * high:.2f}] are called it; "
        f"on its topic from a prior probability of {record.threshold:.4f}", soft_wrap=True,
    )  # fmt: skip
    if found.looked_at:
        on_topic = sum(one.on_topic for one in found.caught)
        purity = f"; purity between {100 * found.purity[0]:.0f} and {100 * found.purity[1]:.0f} %" if found.caught else ""
        console.print(
            f"of the last {found.looked_at:,} alerts it would have taken {len(found.caught)}, {on_topic} onto its topic{purity}",
            soft_wrap=True,
        )
    if found.caught:
        table = reports.table()
        for title in ("object", "probability", "on topic", "now", "its probability", "packet"):
            table.add_column(title)
        for one in found.caught[:SHOWN]:
            table.add_row(
                reports.cell(one.object_id, limit=24), f"{one.probability:.2f}", "yes" if one.on_topic else "–", one.now,
                f"{one.now_probability:.2f}", reports.cell(one.packet_id, limit=60),
            )  # fmt: skip
        reports.show(console, "What it would have taken", table)
    reports.show(console, "What the examples are called without it", reports.count_table(found.now, "class", second="examples"))
    if found.overlap:
        say(f"{record.name} overlaps with {found.overlap}: {found.now[found.overlap]} of its examples are called so")
    for i in found.odd:
        which = gathered.examples[i].packet_id if gathered.examples else f"simulated alert {i + 1}"
        if gathered.examples:
            say(f"{which} is unlike the other examples: taught by them alone, the class would not take it")


def _figures(record: ClassRecord, found: Preview) -> dict[str, Any]:
    caught: list[Mapping[str, Any]] = [one._asdict() for one in found.caught]
    return {
        "name": record.name, "examples": list(record.packet_ids), "description": record.description, "revision": record.revision,
        "threshold": record.threshold, "window": found.looked_at, "caught": caught, "false_rate": found.false_rate, "purity": found.purity,
        "now": found.now, "overlap": found.overlap, "odd": list(found.odd),
    }  # fmt: skip
