"""Which stages a survey's alerts take before the encoder, and their results.

AlertBatch → `Selected`: the dip view of each alert, zeros where its survey has no such stage; what was found in each

Images and histories of ZTF, Rubin and raw frames go to the encoder as they are. A target of TESS or Kepler is a star that was watched
without a break: its whole light curve is detrended and searched first (`operators.dips`).
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Literal, TypeAlias

import numpy as np

from operators.dips import DIPS, Found, look
from operators.types import F32, AlertBatch, Survey
from operators.whole_curves import Curves

Stage: TypeAlias = Literal["dips"]
STAGES: Mapping[Survey, tuple[Stage, ...]] = {"ztf": (), "lsst": (), "tess": ("dips",), "frames": ()}
"""Survey → its stages, in order."""


@dataclass(frozen=True, slots=True)
class Selected:
    """What the stages found in n alerts; on the host."""

    dips: F32
    """(n, len(DIPS))"""
    folded: Mapping[int, F32]
    """Row → its folded view (len(FOLD),), where one was made of the whole light curve."""
    found: Mapping[int, Found]
    """Row → what was found, where a light curve was searched."""

    @property
    def star(self) -> np.ndarray[tuple[int], np.dtype[np.bool_]]:
        """(n,) whether an alert is a target that was searched: what is published of it follows the stated mix of such targets."""
        return np.asarray(self.dips[:, -1] > 0)


def select(batch: AlertBatch) -> Selected:
    """Run the stages of each alert's survey."""
    n, dips = len(batch), np.zeros((len(batch), len(DIPS)), dtype=np.float32)
    if batch.curves is None:
        return Selected(dips, {}, {})
    rows = [i for i in range(n) if "dips" in STAGES[batch.survey[i]] and batch.curves.offsets[i + 1] > batch.curves.offsets[i]]
    looked = look(Curves.of([batch.curves[i] for i in rows]))
    dips[rows] = looked.dips
    searched = {row: k for k, row in enumerate(rows) if looked.found[k] is not None}
    folded = {row: looked.folded[k] for row, k in searched.items() if looked.folded[k, -1] > 0}
    found = {row: one for row, k in searched.items() if (one := looked.found[k]) is not None}
    return Selected(dips, folded, found)
