"""A whole sector at TESS's 20-second cadence is one light curve and is scored."""

from __future__ import annotations

import sys
from pathlib import Path

sys.dont_write_bytecode = True
sys.path.insert(0, str(Path(__file__).resolve().parents[1] / "_lib"))

import numpy as np
from case import check, done, rejected, score

from schemas.surveys import tess


def packet(rows: int, step: float, seed: int = 5) -> bytes:
    """A star of magnitude 10 that flares near the end, so many cadences `step` seconds apart with a gap in the middle."""
    rng = np.random.default_rng(seed)
    time = 3_000.0 + np.arange(rows) * step / 86_400.0
    time[rows // 2 :] += 1.1
    flux = 15_000.0 + rng.normal(0, 12.0, rows)
    peak = int(rows * 0.98)
    flux[peak:] += 900.0 * np.exp(-(time[peak:] - time[peak]) / 0.04)
    curve = [{"btjd": float(t), "flux": float(f), "flux_err": 12.0, "quality": 0} for t, f in zip(time, flux)]
    return tess.encode({"tic": 261_136_679, "sector": 27, "cadence": rows - 1, "ra": 84.29, "dec": -80.46, "tmag": 10.0,
                        "baseline": 15_000.0, "light_curve": curve})  # fmt: skip


LENGTHS = ((19_000, 120.0, "control: 120-second cadence, a sector of 26 d"), (115_000, 20.0, "20-second cadence, the same sector"))
for rows, step, what in LENGTHS:
    data = packet(rows, step)
    outcome = score([data])[0]
    check(f"{what}, {rows:,} rows, {len(data) / 1e6:.1f} MB", rejected(outcome) or "scored", "scored")
done()
