"""How a challenger stands: `gate_report.avsc` as a dataclass."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, NamedTuple

from schemas.avro.wire import PacketError
from schemas.records.parts import check_counts, check_finite, check_texts

PASSED, REFUSED, WAITING = "passed", "refused", "waiting"
VERDICTS = (PASSED, REFUSED, WAITING)
MOST_GATES = 100


class Gate(NamedTuple):
    """One gate; see `gate_report.avsc`."""

    name: str
    figure: float | None
    low: float | None
    high: float | None
    threshold: float
    passed: bool
    failed: bool
    n: int


@dataclass(frozen=True, slots=True)
class GateReport:
    """How a challenger stands; every field stands in `gate_report.avsc`, in the same order."""

    champion: str
    challenger: str
    baseline: str
    verdict: str
    why: str
    gates: tuple[Gate, ...]
    alerts: int
    labels: int
    disagreements: int
    judged_ms: int

    def gate(self, name: str) -> Gate:
        """One of the gates.

        Raises
        ------
        KeyError
            There is none of that name.
        """
        for gate in self.gates:
            if gate.name == name:
                return gate
        raise KeyError(name)


def from_row(row: Mapping[str, Any]) -> GateReport:
    """A report from its plain values.

    Raises
    ------
    schemas.avro.wire.PacketError
        A value that no report of ours has.
    """
    check_texts(row, "champion", "challenger", "baseline", "verdict", "why")
    if row["verdict"] not in VERDICTS:
        raise PacketError("bad_value", f"verdict is {row['verdict'][:40]!r}")
    if len(row["gates"]) > MOST_GATES:
        raise PacketError("bad_value", f"{len(row['gates']):,} gates; {MOST_GATES} are the most")
    for gate in row["gates"]:
        check_texts(gate, "name")
        check_finite(gate, "threshold", *(name for name in ("figure", "low", "high") if gate[name] is not None))
        check_counts("n", (gate["n"],))
    check_counts("numbers and times", (row["alerts"], row["labels"], row["disagreements"], row["judged_ms"]))
    return GateReport(**{**row, "gates": tuple(Gate(**gate) for gate in row["gates"])})
