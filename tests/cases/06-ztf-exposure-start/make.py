"""ZTF's jd is the start of an exposure; a detection's mjd is documented as its middle."""

from __future__ import annotations

import sys
from pathlib import Path

sys.dont_write_bytecode = True
sys.path.insert(0, str(Path(__file__).resolve().parents[1] / "_lib"))

import json

from case import PROJECT, check, done, encode_ztf, score, ztf_records

TAI = 37.0  # TAI - UTC [s] since 2017

record = ztf_records(1)[0]
jd, candid = record["candidate"]["jd"], record["candid"]
packets = []
for k, seconds in enumerate((30.0, 60.0, None)):
    record["candid"] = record["candidate"]["candid"] = candid + k
    record["candidate"]["exptime"] = seconds
    packets.append(encode_ztf(record))
document = json.loads((PROJECT / "schemas" / "records" / "detection.avsc").read_text())
says = next(field["doc"] for field in document["fields"] if field["name"] == "mjd")
as_start = "start" in says.lower() and not ("mid-time" in says.lower() and "ztf" not in says.lower())
print(f"      detection.avsc says of mjd: {says}")
for detection, exposure in zip(score(packets), (30.0, 60.0, None)):
    late = (detection.mjd - (jd - 2_400_000.5)) * 86_400.0 - TAI
    half = (exposure or 30.0) / 2
    right = "0 s (documented as the start)" if as_start else f"+{half:.0f} s"
    check(f"exposure of {exposure} s: mjd against jd", f"{late:+.2f} s", right, abs(late - (0.0 if as_start else half)) < 0.02)

from schemas.surveys.decode import Decoder

record["candidate"]["exptime"] = 30.0
batch = Decoder().decode([encode_ztf(record)]).batch
times = batch.time[0][batch.valid[0]]
span, true = (times[-1] - times[0]) * 86_400.0, (jd - min(row["jd"] for row in record["prv_candidates"])) * 86_400.0
check("control: the history moved with it, seconds from its first point to the alert", round(span, 2), round(true, 2), abs(span - true) < 0.02)
done()
