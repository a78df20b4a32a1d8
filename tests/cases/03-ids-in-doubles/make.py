"""An id that a table holds as a double is not published as another id: the row is refused, and the reason names the column."""

from __future__ import annotations

import sys
from pathlib import Path

sys.dont_write_bytecode = True
sys.path.insert(0, str(Path(__file__).resolve().parents[1] / "_lib"))

import csv

import pyarrow as pa
import pyarrow.parquet as pq
from case import SCRATCH, check, command, done, lines, rejected, rubin_record, score, ztf_packets, ztf_records

from data.connectors.archives import Skipped, packets_of


def table(name: str, record: dict, **columns: object) -> str:
    path = SCRATCH / f"{name}.parquet"
    pq.write_table(pa.Table.from_pylist([{**record, **columns}]), path)
    return str(path)


def outcome(path: str, field: str) -> str:
    """What became of the only row: its id, or why it was left out."""
    item = next(iter(packets_of([path])))
    if isinstance(item, Skipped):
        return f"refused: {item.reason}"
    detection = score([item.packet])[0]
    return rejected(detection) or str(getattr(detection, field))


def refused(what: str, got: str, column: str, true: int) -> None:
    check(what, got, f"refused with a reason that names {column} (true id {true})", got.startswith("refused") and column in got)


ztf = ztf_records(1)[0]
ztf["fp_hists"] = ztf["fp_hists"] or []
candid = ztf["candid"]
check("control, ZTF: int64", outcome(table("ztf", ztf), "candid"), str(candid))
inner = {**ztf["candidate"], "candid": float(candid)}
refused("ZTF: candid is a double", outcome(table("ztf-double", ztf, candid=float(candid), candidate=inner), "candid"), "candid", candid)

rubin = {**rubin_record(), "lsst_schema_version": "lsst.v9_0"}
source = rubin["diaSource"]
number, thing = source["diaSourceId"], source["diaObjectId"]
check("control, Rubin: int64, candid", outcome(table("rubin", rubin), "candid"), str(number))
check("control, Rubin: int64, object", outcome(table("rubin", rubin), "object_id"), str(thing))
small = {**source, "diaObjectId": 123_456_789.0}
check("control, Rubin: a double that holds its id exactly", outcome(table("small", rubin, diaSource=small), "object_id"), "123456789")
changed = {**source, "diaObjectId": float(thing)}
refused("Rubin: diaObjectId is a double", outcome(table("object", rubin, diaSource=changed), "object_id"), "diaObjectId", thing)
changed = {**source, "diaSourceId": float(number)}
got = outcome(table("source", rubin, diaSourceId=float(number), diaSource=changed), "candid")
refused("Rubin: diaSourceId is a double", got, "diaSourceId", number)

(SCRATCH / "packet.avro").write_bytes(ztf_packets(1)[0])
with (SCRATCH / "labels.csv").open("w", newline="") as file:
    csv.writer(file).writerows([("candid", "klass"), (f"{float(candid):.1f}", "SN Ia")])
ran = command("replay", str(SCRATCH / "packet.avro"), "--out", str(SCRATCH / "o.parquet"), "--labels", str(SCRATCH / "labels.csv"))
said = lines(ran)
right = "status 2 (or 1), a line that names candid"
check(f"CSV of labels: candid written as {float(candid):.1f}", (ran.status, said), right, ran.status in (1, 2) and any("candid" in x for x in said))
done()
