"""A seed in → a night's stream of ZTF packets out, each with the truth about it.

Alert k of a night is a function of (seed, k) alone: the same bytes in any process, and any part of a night can be made by itself.
"""

from __future__ import annotations

import itertools
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, replace
from typing import Literal

from data.simulate.arrays import candid_of, object_name, pick
from data.simulate.classes import STREAM_MIX
from data.simulate.draw import POPULATIONS, PopulationName, generator
from data.simulate.mishaps import with_mishaps
from data.simulate.observe import Alert, later
from data.simulate.survey_packets import n_detections, packet

_AGAIN = 23
"""An object that comes back does so this many alerts later."""


@dataclass(frozen=True, slots=True)
class Truth:
    """What a packet is."""

    kind: Literal["alert", "duplicate", "broken"]
    label: str  # class slug; "" for a broken packet
    object_id: str
    candid: int  # 0 for a broken packet
    n_detections: int
    detail: str  # the finer class, or how the packet is broken


def night(
    seed: int,
    n: int,
    *,
    population: PopulationName = "demo",
    duplicates: int | None = None,
    broken: int | None = None,
    mix: Mapping[str, float] | None = None,
    doubles: int | None = None,  # former name of `duplicates`
) -> Iterator[tuple[bytes, Truth]]:
    """A stream of n packets.

    Parameters
    ----------
    seed, population : which night
    n : packets in all, duplicates and broken ones included
    duplicates : exact repetitions of an earlier packet, as ZTF sends them; default n // 100
    broken : truncated, foreign or senseless packets; default n // 200
    mix : weights by class; default `STREAM_MIX`

    Returns
    -------
    (packet, truth), one after the other

    Raises
    ------
    ValueError : more duplicates and broken packets than the stream can hold
    """
    if duplicates is None:
        duplicates = n // 100 if doubles is None else doubles  # former name
    mix = dict(mix or STREAM_MIX)
    alerts = (alert_at(seed, index, population=population, mix=mix) for index in itertools.count())
    return with_mishaps(
        ((packet(alert), truth(alert)) for alert in alerts),
        n,
        duplicates=duplicates,
        broken=n // 200 if broken is None else broken,
        seed=[POPULATIONS[population].key, seed, 9],
        again=lambda known: replace(known, kind="duplicate"),
        unreadable=lambda how: Truth("broken", "", "", 0, 0, how),
    )


def alert_at(seed: int, index: int, *, population: PopulationName = "demo", mix: Mapping[str, float] | None = None) -> Alert:
    """Alert `index` of a night: a new object, or, one in five where it can be, the next alert of the one `_AGAIN` alerts ago."""
    mix = dict(mix or STREAM_MIX)
    coin = generator(population, seed, index, 8).random
    before = index - _AGAIN
    if before >= 0 and coin() < 0.2 and generator(population, seed, before, 8).random() >= 0.2:
        again = later(pick(seed, before, population=population, surveys={"ztf": 1.0}, classes=mix))
        if again is not None:
            return again
    return pick(seed, index, population=population, surveys={"ztf": 1.0}, classes=mix)


def truth(alert: Alert) -> Truth:
    """The answer to an alert."""
    o = alert.observed
    return Truth("alert", o.label, object_name(alert), candid_of(alert), n_detections(alert), o.source.kind)
