"""What a fetched file should hold → whether it does; one function a kind."""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping
from itertools import islice
from pathlib import Path

from data.connectors.archives import Packet, packets_of
from data.connectors.web.download import Check, Remote, Verdict
from data.connectors.web.fits_checks import fits_verdict
from data.connectors.web.row_checks import csv_verdict, object_verdict, tic_verdict
from errors import one_line

SAMPLE = 64
"""Packets of a night that are decoded; the others are the worker's to judge."""


def night_verdict(path: Path, remote: Remote) -> Verdict:
    """Judge a night of alerts by its first packets: they must be ZTF's, and readable."""
    from schemas.surveys.decode import Decoder

    rejects: Counter[str] = Counter()
    packets: list[bytes] = []
    for item in islice(packets_of([path]), SAMPLE):
        if isinstance(item, Packet):
            packets.append(item.packet)
        else:
            rejects[f"{item.kind}: {item.reason}"] += 1
    if not packets:
        worst = next(iter(rejects), "it is empty")
        # An archive of no alert: a night of clouds.
        empty = not rejects and path.stat().st_size < 1024
        return Verdict(empty, "" if empty else f"no packet is in it ({one_line(worst, 160)})", 0, rejects)
    decoded = Decoder().decode(packets)
    for _, fault in decoded.rejected:
        rejects[f"{fault.error_class}: {one_line(fault.reason, 120)}"] += 1
    if not decoded.index:
        return Verdict(False, f"none of its first {len(packets)} packets can be read ({next(iter(rejects))})", len(packets), rejects)
    return Verdict(True, rows=len(packets), rejects=rejects)


CHECKS: Mapping[str, Check] = {
    "ztf-night": night_verdict,
    "ztf-light-curve": csv_verdict,
    "fits-light-curve": fits_verdict,
    "fits-pixels": fits_verdict,
    "alerce-object": object_verdict,
    "fink-object": object_verdict,
    "lasair-object": object_verdict,
    "tic-rows": tic_verdict,
}


def check(path: Path, remote: Remote) -> Verdict:
    """Judge a file by its kind."""
    return CHECKS[remote.kind](path, remote)
