"""``protonova classes``: the classes that are known and taught; a taught one as a file, and back."""

from __future__ import annotations

import asyncio
import sys
import time
from pathlib import Path
from typing import TYPE_CHECKING

import orjson

from console import class_file
from console import report as reports
from errors import UserError, say
from operators.namespace import to_host
from schemas.records.class_record import ClassRecord
from schemas.taxonomy import CLASSES
from streams.named_models import with_champion

if TYPE_CHECKING:
    from settings.model import Settings


def ls(settings: Settings, *, as_json: bool) -> int:
    """List them."""
    from registry.bundle import load as load_bundle
    from streams.agents.teaching import read_records

    bundle = load_bundle(with_champion(settings).bundle)
    records = asyncio.run(read_records(settings))
    if as_json:
        for record in records.values():
            sys.stdout.buffer.write(orjson.dumps(_row(record), option=orjson.OPT_APPEND_NEWLINE))
        return 0
    console = reports.output()
    table = reports.table()
    for title in ("class", "revision", "examples", "threshold", "by", "taught", "note"):
        table.add_column(title)
    for record in sorted(records.values(), key=lambda one: one.name):
        when = time.strftime("%Y-%m-%d %H:%M", time.gmtime(record.taught_ms / 1000))
        examples = str(len(record.packet_ids)) if record.packet_ids else "described"
        table.add_row(
            record.name, str(record.revision), examples, f"{record.threshold:.4f}", reports.cell(record.author, limit=24), when,
            reports.cell(record.note, limit=40),
        )  # fmt: skip
    if records:
        reports.show(console, "Taught", table)
    else:
        console.print("No class is taught: `protonova teach CLASS PACKET…` teaches one")
    titles = {entry.slug: entry.title for entry in CLASSES}
    known = reports.table()
    for title in ("class", "title", "threshold"):
        known.add_column(title)
    for slug, threshold in zip(bundle.classes, to_host(bundle.head.thresholds).tolist(), strict=True):
        known.add_row(slug, titles.get(slug, ""), f"{threshold:.4f}")
    reports.show(console, f"Known to the model {bundle.sha256[:16]}", known)
    return 0


def _row(record: ClassRecord) -> dict[str, object]:
    names = (
        "name",
        "revision",
        "author",
        "note",
        "description",
        "packet_ids",
        "object_ids",
        "threshold",
        "encoder_id",
        "taught_ms",
        "window",
    )
    return {name: getattr(record, name) for name in names}


def export(settings: Settings, name: str, *, file: Path) -> int:
    """Write a taught class to a file."""
    from streams.agents.teaching import read_records
    from streams.class_document import exported

    async def ask() -> tuple[ClassRecord, bytes, int]:
        record = (await read_records(settings)).get(name)
        if record is None:
            raise UserError(f"{name} is not taught: `protonova classes` lists what is")
        return record, *(await exported(settings, record))

    record, document, packets = asyncio.run(ask())
    class_file.write(file, document)
    reports.output().print(f"{name}, revision {record.revision}, with {packets} examples → {file}", soft_wrap=True)
    return 0


def bring(settings: Settings, file: Path, *, author: str, replace: bool) -> int:
    """Teach the class of a file, as it was taught where it comes from."""
    from registry.bundle import load as load_bundle
    from streams.agents.teaching import read_records
    from streams.class_document import imported, missing_from

    document = class_file.read(file)
    record, bundle = document[0], load_bundle(with_champion(settings).bundle)
    before = asyncio.run(read_records(settings)).get(record.name)
    if before is not None and not replace:
        raise UserError(f"{record.name} is taught already (revision {before.revision}): add --replace")
    if missing := missing_from(document):
        say(f"{missing} examples' packets are not in the file: another model would need them")
    revision = before.revision if before is not None else 0
    outcome = asyncio.run(imported(settings, document, bundle=bundle, before=revision, author=author, note=f"from {file.name}"))
    reports.output().print(f"{record.name} is taught: revision {outcome.revision}", soft_wrap=True)
    return 0
