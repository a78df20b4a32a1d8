"""The cost of a packet's history: 5, 160 and 5,000 points, and where it goes.

packets → rows (points, µs of CPU a packet: the whole, decoding, period search a folded curve), here and in another checkout

The packets are the ones of the other benchmarks with their own earlier points again and again, further back. Both codes run in processes of
their own and take turns pass by pass, so that what slows the machine slows both.
"""

from __future__ import annotations

import contextlib
import io
import json
import pickle
import statistics
import subprocess
import sys
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import fastavro

from benchmarks.packets import Packets

POINTS = (5, 160, 5000)
STEP = 0.7
"""[d] between the points."""
PACKETS = 32
WORKER = Path(__file__).with_name("histories_worker.py")
PER_POINT_US, WHOLE_US, FOLD_RATIO = 0.1, 1200.0, 0.5
"""Targets: decoding a point [µs], a packet of 5,000 points [µs], period search over the other checkout's."""
PER_POINT_RATIO, WHOLE_RATIO = PER_POINT_US / 0.22, WHOLE_US / 1896.0
"""The first two over what commit ba20483 took on the machine for which they were set, for any other machine."""


def lengthened(packets: Sequence[bytes], points: int) -> list[bytes]:
    """The packets that have earlier points, each with so many of them."""
    made = []
    for packet in packets:
        reader = fastavro.reader(io.BytesIO(packet))
        alert: Any = next(reader)
        rows = alert.get("prv_candidates")
        if not rows:
            continue
        last = alert["candidate"]["jd"]
        alert["prv_candidates"] = [rows[i % len(rows)] | {"jd": last - 1 - STEP * i} for i in range(points)]
        out = io.BytesIO()
        fastavro.writer(out, reader.writer_schema, [alert])
        made.append(out.getvalue())
        if len(made) == PACKETS:
            break
    return made


class Code:
    """A checkout whose costs are measured, in a process of its own."""

    def __init__(self, folder: Path, packets: Mapping[int, Sequence[bytes]]) -> None:
        self.passes: dict[int, list[dict[str, Any]]] = {points: [] for points in packets}
        program = f"import sys; sys.path.insert(0, {str(folder)!r}); sys.argv = ['histories']; import runpy; runpy.run_path({str(WORKER)!r}, run_name='__main__')"  # noqa: E501
        self.child = subprocess.Popen([sys.executable, "-P", "-c", program], cwd=folder, stdin=subprocess.PIPE, stdout=subprocess.PIPE)
        self._in, self._out = self.child.stdin, self.child.stdout
        if self._in is None or self._out is None:
            raise RuntimeError("the measured process has no pipes")
        pickle.dump({points: list(values) for points, values in packets.items()}, self._in)

    def measure(self, points: int) -> None:
        """One pass."""
        self._in.write(f"{points}\n".encode())  # type: ignore[union-attr]
        self._in.flush()  # type: ignore[union-attr]
        line = self._out.readline()  # type: ignore[union-attr]
        if not line:
            raise RuntimeError(f"the process that measures ended with {self.child.wait()}")
        self.passes[points].append(json.loads(line))

    def figure(self, points: int, name: str) -> float | None:
        """Median of the passes, the first of which warms up."""
        taken = [each[name] for each in self.passes[points][1:] if each[name] is not None]
        return statistics.median(taken) if taken else None

    def close(self) -> None:
        self.child.stdin.close()  # type: ignore[union-attr]
        with contextlib.suppress(subprocess.TimeoutExpired):
            self.child.wait(20)
        self.child.kill()


def measure(packets: Packets, repeats: int = 7, *, against: Path | None = None) -> dict[str, Any]:
    """Costs by length of history.

    Parameters
    ----------
    packets : Packets
    repeats : int
        Passes of each length after one that warms up.
    against : Path, optional
        Another checkout, whose costs are measured in the same run.

    Returns
    -------
    dict with "rows", one a length, and "per_point_us"; figures of the other checkout under "old", and their ratios, where it was given
    """
    made = {points: lengthened(packets.values, points) for points in POINTS}
    codes = {"new": Code(Path(__file__).parents[1], made)}
    if against is not None:
        codes["old"] = Code(against.resolve(), made)
    try:
        for points in POINTS:
            for _ in range(repeats + 1):
                for code in codes.values():
                    code.measure(points)
    finally:
        for code in codes.values():
            code.close()
    names = ("whole_us", "decode_us", "fold_us", "scored")
    rows = []
    for points in POINTS:
        row: dict[str, Any] = {"points": points, "bytes": statistics.mean(map(len, made[points]))}
        for which, code in codes.items():
            row[which] = {name: code.figure(points, name) for name in names}
        rows.append(row)
    middle, long = rows[-2], rows[-1]
    per_point = {which: (long[which]["decode_us"] - middle[which]["decode_us"]) / (long["points"] - middle["points"]) for which in codes}
    return {"rows": rows, "per_point_us": per_point, "against": str(against.name) if against else None}


def targets(report: Mapping[str, Any]) -> list[tuple[str, float | None, str, float, str]]:
    """(what, reached, sense, limit, unit) for the judge."""
    rows = {row["points"]: row for row in report["rows"]}
    found: list[tuple[str, float | None, str, float, str]] = [
        ("decoding one more point of a history", report["per_point_us"]["new"], "<=", PER_POINT_US, "µs"),
        ("a packet with 5,000 points", rows[5000]["new"]["whole_us"], "<=", WHOLE_US, "µs"),
    ]
    if report["against"]:
        point, whole = report["per_point_us"], {which: rows[5000][which]["whole_us"] for which in ("new", "old")}
        new, old = (rows[160][which]["fold_us"] for which in ("new", "old"))
        found.append(("decoding one more point, new over old", point["new"] / point["old"], "<=", PER_POINT_RATIO, "×"))
        found.append(("a packet with 5,000 points, new over old", whole["new"] / whole["old"], "<=", WHOLE_RATIO, "×"))
        found.append(("period search of 160 points, new over old", new / old if new and old else None, "<=", FOLD_RATIO, "×"))
    return found
