"""What two models made of the same alerts, kept until there is enough to judge: detections of both → `evaluation.gates.Scores`.

Bounded: the newest alerts of each comparison.
"""

from __future__ import annotations

import math
import zlib
from collections import OrderedDict
from collections.abc import Mapping
from typing import NamedTuple

import numpy as np

from evaluation.gate_figures import Scores
from evaluation.gates import Running
from schemas.records.detection import Detection
from streams.known_labels import Labels

MOST = 20_000
"""Alerts of a comparison."""


class Opinion(NamedTuple):
    """What a model said of an alert, as far as gates go."""

    survey: str
    candid: int
    object_id: str
    model: str
    classes: tuple[str, ...]
    probability: np.ndarray[tuple[int], np.dtype[np.float32]]


def opinion(detection: Detection) -> Opinion:
    """Keep of a detection what gates need."""
    classes = tuple(c.name for c in detection.classes)
    p = np.array([c.probability for c in detection.classes], dtype=np.float32)
    return Opinion(detection.survey, detection.candid, detection.object_id, detection.model, classes, p)


class Alerts(NamedTuple):
    """The alerts of a comparison, in one order."""

    packet_ids: list[str]
    names: list[tuple[str, int]]
    """Survey and candid."""
    objects: list[str]
    owners: list[str]
    labels: list[str | None]
    scores: dict[str, Scores]
    """By role."""

    @property
    def keys(self) -> list[int]:
        """Numbers as good as random that an alert has for ever."""
        return [zlib.crc32(name.encode()) for name in self.packet_ids]


class Evidence:
    """Opinions by role and packet."""

    def __init__(self) -> None:
        self._held: dict[str, OrderedDict[str, Opinion]] = {}
        self.faults: dict[str, tuple[str, int]] = {}
        """Role → model, and alerts of which it could say nothing."""
        self.slowdown: dict[str, tuple[str, float]] = {}
        """Role → model, and its time an alert, of the champion's."""
        self._count: dict[str, int] = {}
        self._given: dict[tuple[tuple[str, str], ...], tuple[tuple[int, ...], int]] = {}

    def put(self, role: str, packet_id: str, *, found: Opinion) -> bool:
        """Remember an opinion; what another model had in the role is forgotten. Returns whether it is new."""
        held = self._held.setdefault(role, OrderedDict())
        if held and next(reversed(held.values())).model != found.model:
            held.clear()
        new = packet_id not in held
        held[packet_id] = found
        self._count[role] = self._count.get(role, 0) + new
        while len(held) > MOST:
            held.popitem(last=False)
        return new

    def has(self, role: str, packet_id: str, *, model: str) -> bool:
        """Whether a model that has a role said something of a packet."""
        found = self._held.get(role, OrderedDict[str, Opinion]()).get(packet_id)
        return found is not None and found.model == model

    def model(self, role: str) -> str:
        """Whose opinions a role holds; empty: none."""
        held = self._held.get(role)
        return next(reversed(held.values())).model if held else ""

    def fault(self, role: str, model: str, *, count: int) -> None:
        """Count alerts of which a model could say nothing."""
        before = self.faults.get(role, (model, 0))
        self.faults[role] = (model, count + (before[1] if before[0] == model else 0))

    def time(self, role: str, model: str, *, text: bytes | None) -> None:
        """Remember a model's time an alert, of the champion's, as a header has it."""
        try:
            found = float((text or b"").decode())
        except ValueError:
            return
        if math.isfinite(found) and found > 0:
            self.slowdown[role] = (model, found)

    def fresh(self, roles: Mapping[str, str], labels: Labels) -> bool:
        """Whether there is anything that `alerts` did not give the last time for these models."""
        key = tuple(sorted(roles.items()))
        now = (tuple(self._count.get(role, 0) for role in sorted(roles)), labels.taken)
        before, self._given[key] = self._given.get(key), now
        return before != now

    def running(self, role: str, model: str) -> Running:
        """What is known of a model's running."""
        said, faults = self.faults.get(role, (model, 0))
        faults = faults if said == model else 0
        measured = self.slowdown.get(role)
        offered = len(self._held.get(role, ())) + faults
        return Running(offered, faults, measured[1] if measured is not None and measured[0] == model else None)

    def alerts(self, models: Mapping[str, str], labels: Labels, *, least: float) -> Alerts:
        """The alerts of which every one of these models said something.

        Parameters
        ----------
        models : mapping
            Role → short id of the model that has it.
        labels : Labels
        least : float
            Confidence of a label that counts.
        """
        roles = list(models)
        parts = [self._held.get(role, OrderedDict()) if self.model(role) == models[role] else OrderedDict() for role in roles]
        common = [name for name in parts[0] if all(name in part for part in parts[1:])]
        first = [parts[0][name] for name in common]
        known = [labels.of(one.survey, one.candid, object_id=one.object_id, least=least) for one in first]
        owners = [f"{one.survey}:{one.object_id or one.candid}" for one in first]
        scores = {role: _scores(models[role], [part[name] for name in common]) for role, part in zip(roles, parts, strict=True)}
        return Alerts(common, [(one.survey, one.candid) for one in first], [one.object_id for one in first], owners, known, scores)


def _scores(model: str, opinions: list[Opinion]) -> Scores:
    """One table; a class that was taught in between has no probability before."""
    names = tuple(dict.fromkeys(name for classes in {one.classes for one in opinions} for name in classes))
    at = {name: i for i, name in enumerate(names)}
    p = np.zeros((len(opinions), len(names)), dtype=np.float32)
    columns: dict[tuple[str, ...], list[int]] = {}
    for i, one in enumerate(opinions):
        where = columns.get(one.classes)
        if where is None:
            where = columns[one.classes] = [at[name] for name in one.classes]
        p[i, where] = one.probability
    return Scores(model, names, p)
