"""A container of several records is split whatever Avro types its schema has."""

from __future__ import annotations

import sys
from pathlib import Path

sys.dont_write_bytecode = True
sys.path.insert(0, str(Path(__file__).resolve().parents[1] / "_lib"))

import copy
import datetime
import io
import json

import fastavro
from case import PROJECT, SCRATCH, check, done, rejected, score, ztf_records

from data.connectors.archives import Skipped, packets_of

SCHEMA = json.loads((PROJECT / "schemas" / "surveys" / "ztf_4_02.avsc").read_text())
ALERTS = ztf_records(3)
TIME = datetime.datetime(2026, 11, 29, 4, 0, tzinfo=datetime.timezone.utc)
FIELDS = {
    "map": ({"type": "map", "values": "double"}, {"SN": 0.8, "AGN": 0.1}),
    "enum": ({"type": "enum", "name": "tag", "symbols": ["NEW", "OLD"]}, "OLD"),
    "timestamp": ({"type": "long", "logicalType": "timestamp-micros"}, TIME),
    "union of three": (["null", "long", "string"], "SN Ia"),
}


def container(n: int, names: list[str], codec: str = "null") -> str:
    """A file of n alerts with such fields beside ZTF's own."""
    schema = copy.deepcopy(SCHEMA)
    schema["fields"] += [{"name": f"added_{k}", "type": FIELDS[name][0]} for k, name in enumerate(names)]
    rows = [{**alert, **{f"added_{k}": FIELDS[name][1] for k, name in enumerate(names)}} for alert in ALERTS[:n]]
    path = SCRATCH / f"{n}-{'-'.join(names) or 'none'}-{codec}.avro".replace(" ", "_")
    out = io.BytesIO()
    fastavro.writer(out, fastavro.parse_schema(schema), rows, codec=codec)
    path.write_bytes(out.getvalue())
    return str(path)


def read(path: str) -> str:
    items = list(packets_of([path]))
    skipped = [item.reason for item in items if isinstance(item, Skipped)]
    outcomes = score([item.packet for item in items if not isinstance(item, Skipped)])
    faults = [said for said in map(rejected, outcomes) if said]
    seen = [detection.candid for detection in outcomes if not rejected(detection)]
    want = [alert["candid"] for alert in ALERTS[: len(seen)]]
    return "; ".join([f"{len(seen)} scored{'' if seen == want else ' under other ids'}", *skipped[:1], *faults[:1]])


check("control: three records, ZTF's own fields", read(container(3, [])), "3 scored")
check("control: one record, all four kinds of field", read(container(1, list(FIELDS))), "1 scored")
for name in FIELDS:
    check(f"three records, {name}", read(container(3, [name])), "3 scored")
check("three records, all of them, deflate", read(container(3, list(FIELDS), "deflate")), "3 scored")
done()
