"""A feature that overflows is left out: no infinity leaves in a detection."""

from __future__ import annotations

import sys
from pathlib import Path

sys.dont_write_bytecode = True
sys.path.insert(0, str(Path(__file__).resolve().parents[1] / "_lib"))

import math

from case import check, done, encode_rubin, rejected, rubin_record, score

from schemas.surveys import tess


def rubin(error: float) -> bytes:
    record = rubin_record(12)
    for k in (3, 4, 6, 7):  # two of r, two of g
        record["prvDiaSources"][k]["psfFluxErr"] = error
    return encode_rubin(record)


def star(error: float) -> bytes:
    curve = [{"btjd": 3_000.0 + k / 720, "flux": 15_000.0 + 3.0 * (k % 5), "flux_err": 10.0, "quality": 0} for k in range(50)]
    curve[20]["flux_err"] = curve[33]["flux_err"] = error
    return tess.encode({"tic": 1234, "sector": 5, "cadence": 49, "ra": 10.0, "dec": 20.0, "tmag": 10.0, "baseline": 15_000.0,
                        "light_curve": curve})  # fmt: skip


for error in (60.0, 1e-10, 1e-20, 1e-30, 1e-36, 1e-38):
    for what, packet in (("Rubin, psfFluxErr of some points", rubin(error)), ("TESS, flux_err of two points", star(error))):
        detection = score([packet])[0]
        said = rejected(detection)
        odd = {f.name: f.value for f in detection.features if not math.isfinite(f.value)} if not said else {}
        check(f"{what} {error:g}: features that are no finite number", said or odd, {})
done()
