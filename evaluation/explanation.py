"""Why an alert is called what it is: what of it speaks for the class and what against, and the known alerts that it resembles most.

packet, ScoringState, known alerts → `Explanation`

What speaks for a class is found by leaving it out: one value of the packet, one named feature, the images, the history of the light curve;
the alert is scored without it, by the stream's own functions, and the change of the class's log-odds is its effect. Effects do not add up,
since what is left out may stand in another value too.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Callable, Iterator, Mapping
from typing import Any, NamedTuple

import numpy as np

from errors import UserError
from operators.features import FEATURES, TYPICAL
from operators.head import Judged, Views, centred, judge
from operators.namespace import to_host
from operators.taught import Reference
from operators.types import CONTEXT, F32, F64, MEASURED, SURVEY_SCORES, AlertBatch
from pipeline.embed import embed
from pipeline.select import Selected, select
from pipeline.state import ScoringState
from schemas.taxonomy import OTHER

LEAST_PROBABILITY = 1e-6
"""Log-odds are of probabilities no nearer to 0 and 1 than this: float32 says no more."""
OWN_NIGHT = 0.6
"""Points no older than this belong to the alert itself [d]."""
NEAREST = 5
"""Known alerts that are named."""
_NAMED = tuple(name for name in FEATURES if name.split("_", 1)[1] in TYPICAL)
"""Features in the order of `operators.features.comparable`."""


class Effect(NamedTuple):
    """What one part of an alert does."""

    name: str
    group: str
    """packet, measurement, score, light curve, images or feature."""
    value: float | None
    """As the packet has it, in the unit of its table; None: it is not one number."""
    log_odds: float
    """Of the class with it, less those without it: above 0 it speaks for the class."""


class Neighbour(NamedTuple):
    """A known alert, and how much this one resembles it."""

    class_name: str
    cosine: float
    """Of the centred embeddings, -1 … 1."""
    packet_id: str
    """Of an example that was taught; empty: a simulated alert of the bundle."""


class Explanation(NamedTuple):
    """Why an alert is called what it is."""

    class_name: str
    probability: float
    """At balanced classes."""
    second: str
    """The most probable other class."""
    second_probability: float
    novelty: float
    effects: tuple[Effect, ...]
    """The largest first, whichever way."""
    neighbours: tuple[Neighbour, ...]
    """The most alike first."""

    def supporting(self, most: int) -> tuple[Effect, ...]:
        """Effects for the class, the largest first."""
        return tuple(effect for effect in self.effects if effect.log_odds > 0)[:most]

    def opposing(self, most: int) -> tuple[Effect, ...]:
        """Effects against the class, the largest first."""
        return tuple(effect for effect in self.effects if effect.log_odds < 0)[:most]


def explain(
    packet: bytes,
    state: ScoringState,
    *,
    reference: Reference,
    examples: Mapping[str, tuple[Views, tuple[str, ...]]] | None = None,
    class_name: str | None = None,
) -> Explanation:
    """Explain the score of a packet.

    Parameters
    ----------
    packet : bytes
    state : ScoringState
        That scored it.
    reference : Reference
        Known alerts of the bundle.
    examples : mapping, optional
        Taught class → views of its examples and their packet ids.
    class_name : str, optional
        The class to explain; the most probable one if None.

    Raises
    ------
    UserError
        The packet cannot be scored, or there is no such class.
    gpu.session.EngineError
        The engine failed.
    """
    decoded = state.decoder.decode([packet])
    if decoded.rejected:
        fault = decoded.rejected[0][1]
        raise UserError(f"the packet was rejected: {fault.reason}")
    names = (*state.classes, OTHER)
    if class_name is not None and class_name not in names:
        raise UserError(f"{class_name} is not a class of this state; there are {', '.join(names)}")
    batch = decoded.batch
    parts = list(_parts(batch))
    rows = _rows(batch, len(parts) + 1)
    for row, (*_, remove) in enumerate(parts, 1):
        remove(rows, row)
    selected = _selected(batch, len(rows))
    seen = embed(rows, state.session, selected=selected)
    views = Views(*(to_host(column) for column in seen.views))
    head = state.head.weights.map(to_host)
    features = [i for i in range(views.named.shape[1]) if views.named[0, i] != 0]
    without = Views(*(np.repeat(column[:1], len(features), axis=0) for column in views))
    np.asarray(without.named)[np.arange(len(features)), features] = 0.0
    whole = Views(*(np.concatenate(pair) for pair in zip(views, without, strict=True)))
    star = np.repeat(selected.star[:1], whole.embedding.shape[0])
    judged = judge(Views(*(np.ascontiguousarray(column, dtype=np.float32) for column in whole)), head, star=star)
    probability = np.asarray(judged.probability, dtype=np.float64)
    at = int(probability[0].argmax()) if class_name is None else names.index(class_name)
    odds = log_odds(probability[:, at])
    change = odds[0] - odds[1:]
    values = to_host(seen.named)[0]
    listed = [(name, group, value) for name, group, value, _ in parts]
    listed += [(_NAMED[i], "feature", float(values[FEATURES.index(_NAMED[i])])) for i in features]
    effects = [Effect(name, group, value, float(moved)) for (name, group, value), moved in zip(listed, change, strict=True)]
    effects.sort(key=lambda effect: -abs(effect.log_odds))
    order = np.argsort(-probability[0], kind="stable")
    second = int(next(i for i in order if i != at))
    near = neighbours(
        np.asarray(views.embedding[:1]), np.asarray(head.centre), classes=state.head.known, reference=reference, examples=examples or {}
    )
    return Explanation(
        names[at], float(probability[0, at]), names[second], float(probability[0, second]), _novelty(judged), tuple(effects),
        near,
    )  # fmt: skip


def log_odds(probability: F64) -> F64:
    """Natural logarithm of p / (1 - p), within what float32 says."""
    p = np.clip(probability, LEAST_PROBABILITY, 1 - LEAST_PROBABILITY)
    return np.asarray(np.log(p) - np.log1p(-p))


def neighbours(
    embedding: F32,
    centre: F32,
    *,
    classes: tuple[str, ...],
    reference: Reference,
    examples: Mapping[str, tuple[Views, tuple[str, ...]]],
    most: int = NEAREST,
) -> tuple[Neighbour, ...]:
    """The known alerts and taught examples that an alert resembles most.

    Parameters
    ----------
    embedding : (1, E)
    centre : (E,)
    classes : names of the reference's labels
    reference, examples
        As `explain` takes them.
    most : int
    """
    unit = centred(embedding, centre)[0]
    near = centred(np.asarray(reference.views.embedding, dtype=np.float32), centre) @ unit
    found = [Neighbour(classes[int(reference.label[i])], float(near[i]), "") for i in np.argsort(-near)[:most]]
    for name, (views, packet_ids) in examples.items():
        cosine = centred(np.asarray(views.embedding, dtype=np.float32), centre) @ unit
        known = packet_ids if len(packet_ids) == len(cosine) else ("",) * len(cosine)
        found += [Neighbour(name, float(c), packet_id) for c, packet_id in zip(cosine, known, strict=True)]
    found.sort(key=lambda one: -one.cosine)
    return tuple(found[:most])


_Remove = Callable[[AlertBatch, int], None]


def _parts(batch: AlertBatch) -> Iterator[tuple[str, str, float | None, _Remove]]:
    """Everything of one alert that can be left out: name, group, value, and how to remove it from a row."""
    tables = (("context", "packet", CONTEXT), ("measured", "measurement", MEASURED), ("survey_scores", "score", SURVEY_SCORES))
    for column, group, table in tables:
        values = getattr(batch, column)
        if values is None:
            continue
        for k, name in enumerate(table):
            if np.isfinite(values[0, k]):
                yield name, group, float(values[0, k]), _blank(column, k)
    if np.isfinite(batch.stamps[0]).any():
        for k, name in enumerate(("science image", "template image", "difference image")):
            if np.isfinite(batch.stamps[0, k]).any():
                yield name, "images", None, _image(k)
        yield "all images", "images", None, _image(slice(None))
    valid = batch.valid[0]
    earlier = valid & (batch.time[0] < batch.mjd[0] - OWN_NIGHT)
    limits = valid & np.isfinite(batch.limit[0])
    for name, points in (("history", earlier), ("limits", limits)):
        if points.any() and not points[valid].all():
            yield name, "light curve", float(points.sum()), _points(points)
    for wavelength in np.unique(batch.wavelength[0][valid]):
        points = valid & (batch.wavelength[0] == wavelength)
        if not points[valid].all():
            yield f"points at {wavelength:.0f} Å", "light curve", float(points.sum()), _points(points)


def _blank(column: str, k: int) -> _Remove:
    def remove(batch: AlertBatch, row: int) -> None:
        np.asarray(getattr(batch, column))[row, k] = np.nan

    return remove


def _image(k: int | slice) -> _Remove:
    def remove(batch: AlertBatch, row: int) -> None:
        np.asarray(batch.stamps)[row, k] = np.nan

    return remove


def _points(points: np.ndarray[tuple[int, ...], np.dtype[np.bool_]]) -> _Remove:
    def remove(batch: AlertBatch, row: int) -> None:
        keep = np.flatnonzero(~points & np.asarray(batch.valid)[row])
        for name in ("time", "wavelength", "flux", "flux_err", "limit", "detected"):
            values = np.asarray(getattr(batch, name))
            values[row, : len(keep)] = values[row, keep]
        np.asarray(batch.valid)[row] = np.arange(batch.valid.shape[1]) < len(keep)

    return remove


def _rows(batch: AlertBatch, n: int) -> AlertBatch:
    """The first alert, n times, each a copy of its own."""
    columns: dict[str, Any] = {"curves": None}  # they were searched once, for all rows
    for f in dataclasses.fields(batch):
        value = getattr(batch, f.name)
        if isinstance(value, np.ndarray):
            columns[f.name] = np.repeat(value[:1], n, axis=0)
        elif isinstance(value, tuple):
            columns[f.name] = value[:1] * n
    return dataclasses.replace(batch, **columns)


def _selected(batch: AlertBatch, n: int) -> Selected:
    """What the stages found in the first alert, for n copies of it."""
    found = select(batch)
    return Selected(np.repeat(found.dips[:1], n, axis=0), {row: found.folded[0] for row in range(n) if 0 in found.folded}, {})


def _novelty(judged: Judged) -> float:
    return float(np.asarray(judged.novelty)[0])
