"""``protonova teach`` and ``forget``: examples → a class that every worker scores with two seconds later, and back."""

from __future__ import annotations

import asyncio
import getpass
import time
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING

from console import report as reports
from console.progress import progress
from errors import UserError, say
from schemas.records.class_record import MOST_EXAMPLES, ClassRecord
from streams.named_models import with_champion

if TYPE_CHECKING:
    from evaluation.class_preview import Preview
    from settings.model import Settings
    from streams.class_lessons import Gathered

SHOWN = 10
"""Recent alerts that are listed."""


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
    from console.commands.describe import find_description
    from pipeline.state import load as load_state
    from registry.bundle import load as load_bundle
    from streams.agents.teaching import Change, change, read_records
    from streams.class_lessons import Wanted, check_name, figures_of, prepare, scoring_id_with
    from streams.recent import recent_packets
    from streams.worker import configure_logging

    configure_logging("error")
    reports.check_writable(report)
    started = time.perf_counter()
    settings = with_champion(settings)  # a solution is of one head: that of the model which scores
    bundle = load_bundle(settings.bundle)
    check_name(name, bundle)
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
        recent = asyncio.run(recent_packets(settings, max(window, search if candids or objects else 0)))
        wanted = Wanted(
            name=name, packets=_of_paths(paths), candids=candids, objects=_names(objects) if objects else (),
            description=None if describe is None else find_description(describe)[0], merge=merge, recent=recent, window=window,
            false_calls=false_calls, prior=prior, author=author_of(author), note=note,
        )  # fmt: skip

        def step(what: str) -> None:
            bar.advance()
            if what:
                bar.describe(what)

        now_ms = int(time.time() * 1000)
        made = prepare(wanted, bundle=bundle, state=state, before=before, now_ms=now_ms, say=say, step=step)
    record = made.record
    _show(record, made.gathered, found=made.preview)
    figures = figures_of(record, made.preview)
    if dry_run:
        say("nothing was written: --dry-run")
    else:
        outcome = asyncio.run(change(settings, Change(name, record.author, note, record, made.gathered.packets, made.before, now_ms)))
        figures |= {"revision": outcome.revision, "scoring_id": scoring_id_with(outcome.records, bundle=bundle, state=state)}
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


def _show(record: ClassRecord, gathered: Gathered, *, found: Preview) -> None:
    from streams.class_lessons import SIMULATED

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
