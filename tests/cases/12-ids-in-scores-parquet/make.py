"""The ids in the file that replay writes survive the program most people read it with."""

from __future__ import annotations

import sys
from pathlib import Path

sys.dont_write_bytecode = True
sys.path.insert(0, str(Path(__file__).resolve().parents[1] / "_lib"))

import pandas as pd
from case import SCRATCH, check, command, done, ztf_packets, ztf_records

PACKETS = ztf_packets(3)
TRUE = [record["candid"] for record in ztf_records(3)]

(SCRATCH / "in").mkdir()
for k, data in enumerate([*PACKETS, PACKETS[0], PACKETS[1][:2000]]):  # three alerts, a double, one cut short
    (SCRATCH / "in" / f"{k}.avro").write_bytes(data)
out = SCRATCH / "scores.parquet"
ran = command("replay", str(SCRATCH / "in"), "--out", str(out))
check("control: replay", ran.status, 0)
frame = pd.read_parquet(out)
rows = frame[frame.kind == "detection"]
got = [int(value) for value in rows.candid]
check(f"candid by pandas.read_parquet (dtype {frame.candid.dtype})", got, TRUE)
check("control: object_id, detection_id", [row.detection_id.split(":")[1] for row in rows.itertuples()], [str(c) for c in TRUE])
done()
