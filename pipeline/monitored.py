"""What telemetry sums up of each scored alert, as it travels with its detection inside a worker.

AlertBatch, logits, Judged → bytes, one an alert; bytes → `Rows`

A by-product of scoring: every number is at hand then. It is in no record and changes none.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import NamedTuple

import numpy as np
import numpy.typing as npt

from operators.alert_statistics import STATISTICS, alert_statistics
from operators.head import Judged
from operators.kernels.alert_statistics import fill_rest
from operators.namespace import to_host
from operators.types import CONTEXT, F32, AlertBatch, Array
from schemas.surveys.decode import OF_TEXT

ROW = np.dtype(
    [
        ("values", "<f4", (len(STATISTICS),)),
        ("context", "<f4", (len(CONTEXT),)),
        ("mjd", "<f8"),
        ("schema", "<u4"),
        ("empty", "<u4"),
    ]
)
"""One alert."""
_BYTES = np.dtype(f"V{ROW.itemsize}")


class Rows(NamedTuple):
    """What was summed up of m alerts."""

    values: F32  # (m, S) `operators.alert_statistics.STATISTICS`
    context: F32  # (m, C) `operators.types.CONTEXT`
    mjd: npt.NDArray[np.float64]  # (m,) [d]
    schema: npt.NDArray[np.uint32]  # (m,) of the packet: its id, or a checksum of its text with `OF_TEXT`
    empty: npt.NDArray[np.uint32]  # (m,) 1: its conformal set is empty

    def take(self, where: npt.NDArray[np.int64]) -> Rows:
        """Some of the alerts."""
        return Rows(self.values[where], self.context[where], self.mjd[where], self.schema[where], self.empty[where])


def monitored(batch: AlertBatch, logits: Array, *, judged: Judged) -> list[bytes]:
    """Make the row of each alert.

    Parameters
    ----------
    batch : AlertBatch
        n alerts, on the host.
    logits : (n, K)
        Log-odds over the kinds, of any namespace.
    judged : Judged
        Of the same alerts, of any namespace.
    """
    if not isinstance(logits, np.ndarray):
        logits, judged = to_host(logits), Judged(*(to_host(column) for column in judged))
    n = len(batch)
    words = np.empty((n, ROW.itemsize // 4), np.uint32)
    alert_statistics(batch, logits, judged=judged, out=words.view(np.float32))
    schema = np.array(batch.schema, np.uint32) if batch.schema else np.zeros(n, np.uint32)
    context = np.ascontiguousarray(batch.context, np.float32).view(np.uint32)
    mjd = np.ascontiguousarray(batch.mjd, np.float64).view(np.uint32).reshape(n, 2)
    fill_rest(context, mjd, schema, np.ascontiguousarray(judged.conformal), len(STATISTICS), words)
    coded: list[bytes] = words.view(_BYTES).ravel().tolist()
    return coded


def rows_of(coded: Sequence[bytes]) -> Rows:
    """Read rows."""
    rows = np.frombuffer(b"".join(coded), ROW)
    return Rows(*(np.ascontiguousarray(rows[name]) for name in Rows._fields))


def schema_name(number: int) -> str:
    """How a schema is called: its id in a registry, or 8 hexadecimal digits of its text's checksum."""
    return f"{number:08x}" if number & OF_TEXT else str(number)
