"""A cheap scorer for the tests of the flow: a packet is text, what becomes of it is written in it. The real one has tests of its own.

survey:candid:object:class:probability[:...]     scored
bad…                                             rejected
boom…                                            the engine fails as long as the file named by PROTONOVA_TEST_BOOM exists

A worker with PROTONOVA_TEST_FORGET=N counts no outcome of its first N packets, as a fault of ours might; one with
PROTONOVA_TEST_SWALLOW=FILE acknowledges and counts as many detections as the file says, once it is there, that it never sends.
"""

from __future__ import annotations

import itertools
import os
import sys
import time
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np

from operators.alert_statistics import STATISTICS
from pipeline.monitored import ROW
from schemas.records.detection import Decision, Detection
from schemas.records.parts import ClassProbability
from schemas.records.rejected import Rejected
from schemas.surveys.identity import packet_digest

SCORING_ID = "feedfacecafe0123"


def packet(candid: int, klass: str = "sn-ia", probability: float = 0.9, size: int = 0, programid: int = 1, objects: int = 50) -> bytes:
    """A packet of at least so many bytes."""
    text = f"ztf:{candid}:ZTF{candid % objects}:{klass}:{probability}:{programid}:".encode()
    return text + b"." * (size - len(text))


def row(probability: float) -> bytes:
    """What a scorer leaves for telemetry: one number, the others are missing."""
    out = np.zeros((), ROW)
    out["values"], out["context"], out["mjd"], out["schema"] = np.nan, np.nan, 60000.0, 400
    out["values"][STATISTICS.index("top_probability")] = probability
    return out.tobytes()


class StandIn:
    """What `streams.scorer.Pipeline` is, without a network."""

    classes = ("sn-ia", "tde", "bogus")
    thresholds = {"sn-ia": 0.5, "tde": 0.2}  # noqa: RUF012
    scoring_id = SCORING_ID
    model = "standin"
    engine = "none"

    def __init__(self, seconds_a_packet: float = 0.0) -> None:
        self.seconds = seconds_a_packet
        self.calls: list[int] = []

    def __call__(self, packets: Sequence[bytes]) -> list[Detection | Rejected]:
        self.calls.append(len(packets))
        if self.seconds:
            time.sleep(self.seconds * len(packets))
        return [self.one(p) for p in packets]

    def one(self, value: bytes) -> Detection | Rejected:
        head = bytes(value[:80])
        if head.startswith(b"boom") and Path(os.environ["PROTONOVA_TEST_BOOM"]).exists():
            raise RuntimeError("the device is gone")
        if not head.startswith((b"ztf:", b"lsst:", b"tess:")):
            return Rejected("unknown_survey", "the packet is of no survey we know")
        survey, candid, name, klass, probability, programid = head.decode(errors="replace").split(":")[:6]
        p = float(probability)
        return Detection(
            packet_id=(packet_id := f"{survey}:{candid}:{packet_digest(value)}"),
            detection_id=f"{packet_id}:{SCORING_ID}",
            survey=survey,
            candid=int(candid),
            object_id=name,
            programid=int(programid),
            ra=10.0,
            dec=20.0,
            mjd=60000.0,
            band="g",
            flux=100.0,
            flux_err=5.0,
            n_detections=3,
            decision=Decision(klass, p, (least := self.thresholds.get(klass)), 100.0, published=least is not None and p >= least),
            classes=(ClassProbability(klass, p, p), ClassProbability("other", 1 - p, 1 - p)),
            top_class=klass,
            top_probability=p,
            conformal_set=(klass,),
            novelty=0.1,
            nearest_prototype=klass,
            prototype_distance=0.2,
            real_bogus=None,
            star_galaxy=None,
            solar_system_distance=None,
            features=(),
            model="standin",
            engine="none",
            scoring_id=SCORING_ID,
            taxonomy="test",
            embedding=b"\x00\x3c" * 8,
            monitored=row(p),
        )


if __name__ == "__main__":  # a worker process of its own: python tests/flow/stand_in.py SLOT [SECONDS_A_PACKET]
    from settings.model import Settings
    from streams.worker import run_worker

    def forget(packets: int) -> None:
        """Leave the first packets out of the ledgers."""
        from streams.kafka.offset_ledger import Ledgers

        count, calls = Ledgers.acknowledge, itertools.count()

        def acknowledge(*arguments: Any, **named: Any) -> None:
            if next(calls) >= packets:
                count(*arguments, **named)

        Ledgers.acknowledge = acknowledge  # type: ignore[method-assign]

    def swallow(file: Path) -> None:
        """Send nothing of some packets that are scored."""
        from streams.kafka.producer import Deliverer

        records, left = Deliverer._records, list[int]()

        def fewer(self: Any, incoming: Sequence[Any], scored: Any) -> Any:
            kept = []
            if not left and file.exists():
                left.append(int(file.read_text()))
            for pair in zip(incoming, scored.outcomes, strict=True):
                if left and left[0] and isinstance(pair[1].result, Detection):
                    left[0] -= 1
                else:
                    kept.append(pair)
            return records(self, [packet for packet, _ in kept], scored._replace(outcomes=[outcome for _, outcome in kept]))

        Deliverer._records = fewer  # type: ignore[method-assign]

    forget(int(os.environ.get("PROTONOVA_TEST_FORGET", "0")))
    if named := os.environ.get("PROTONOVA_TEST_SWALLOW"):
        swallow(Path(named))
    cost = float(sys.argv[2]) if len(sys.argv) > 2 else 0.0
    os._exit(run_worker(Settings(), int(sys.argv[1]), make_scorer=lambda settings: StandIn(cost)))
