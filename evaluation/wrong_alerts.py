"""Real alerts whose published class is wrong, with all that was known of them: what to look at, by class and reason.

a folder of labelled packets, a bundle → [WrongAlert], one an object, spread over reasons and classes; how many there are of each

Wrong is: another class than a sure label; another group than an outside label's or a candidate's; AGN or supernova where the catalogue has
a star and no label speaks. `Reason` names which groups were confused, `signs` what is unusual about the alert.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from itertools import islice
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np

from data.connectors.archives import only_packets
from data.label_table import labels_of
from evaluation.labelled_packets import CHUNK, apart, beside_labels
from evaluation.real_alerts import OTHER, RealAlert
from gpu.session import Session
from operators.head import Head, centred, product, to_classes
from operators.namespace import to_host
from operators.types import CONTEXT, F32, F64, RAW_STAMP, STAMP, WAVELENGTH, AlertBatch
from pipeline.score import score
from pipeline.state import ScoringState, make_state
from registry.bundle import Bundle
from schemas.catalogue_labels import GROUP_OF, OTHER_VARIABLE
from schemas.records.detection import Detection
from schemas.surveys.decode import Decoder

STAMPS = ("science", "template", "difference")
NEAREST = 5
"""Prototypes and examples shown."""
FEW = 5
"""Detections below which an alert is early."""
LOW_SCORE = 0.5
"""Survey's real/bogus score below which it doubts the alert."""
STAR = "catalogue star"
"""Stands for the label where only the catalogue speaks."""


class Near(NamedTuple):
    """A prototype or an example and how far it lies."""

    name: str
    distance: float
    """Cosine distance, 0 … 2."""


@dataclass(frozen=True, slots=True)
class LightCurve:
    """Points of a packet, sorted by time; (T,) each."""

    days: F64
    """Before the alert [d]: 0 is the alert."""
    wavelength: F32
    """[Å]"""
    flux: F32
    """[µJy]; NaN at an upper limit."""
    flux_err: F32
    limit: F32
    """5 σ [µJy]; NaN at a measurement."""
    detected: F32
    """1 where the survey called it a detection."""


@dataclass(frozen=True, slots=True)
class WrongAlert:
    """One alert that is wrong, and what was known of it."""

    alert: RealAlert
    detection: Detection
    truth: str
    """Class of the label, the label itself where it is outside ours, or `STAR`."""
    reason: str
    signs: tuple[str, ...]
    curve: LightCurve
    stamps: F32
    """(3, P, P): what the network looks at; NaN outside a detector."""
    context: dict[str, float]
    prototypes: tuple[Near, ...]
    """Nearest of each class, nearest first."""
    examples: tuple[Near, ...]
    """Nearest of the simulated alerts that ship with the bundle."""


@dataclass(frozen=True, slots=True)
class Gallery:
    """What is shown, of how many."""

    shown: tuple[WrongAlert, ...]
    counts: dict[str, dict[str, int]]
    """Reason → truth and call → objects."""
    objects: int
    """That are wrong."""


def reason_of(alert: RealAlert) -> str | None:
    """Why an alert counts as wrong; None: it does not."""
    meaning, called = alert.meaning, alert.decision
    group = GROUP_OF.get(called, OTHER)
    if meaning.exact:
        if called == meaning.slug:
            return None
        if group == meaning.group:
            return f"another class of its group ({group})"
        return f"{meaning.group} called {_outside_groups(called, group)}"
    if meaning.group != "unknown":
        return None if group == meaning.group else f"outside label, {meaning.group} called {_outside_groups(called, group)}"
    if alert.catalogue_star and group in ("agn", "sn"):
        return f"catalogue star called {group}"
    return None


def _outside_groups(called: str, group: str) -> str:
    return called if group == OTHER else group


def truth_of(alert: RealAlert) -> str:
    """What it should have been, in a word."""
    if alert.meaning.exact:
        return str(alert.meaning.slug)
    return alert.label.removeprefix(f"{OTHER_VARIABLE}/") if alert.meaning.group != "unknown" else STAR


def gallery(
    folder: Path, bundle: Bundle, *, session: Session, number: int = 20, progress: Callable[[int], None] = lambda n: None
) -> Gallery:
    """Score a folder and choose what to show: every reason and every pair of classes in turn, sure labels first.

    Parameters
    ----------
    number : int
        Alerts at most, one an object: its latest wrong one.
    progress : callable
        Is given how many packets more are done.
    """
    state = make_state(bundle, session, why="", decoder=Decoder())
    labels, latest = labels_of(folder), dict[str, WrongAlert]()
    packets = only_packets([folder])
    while group := list(islice(packets, CHUNK)):
        for wrong in _wrong(group, labels, state=state, bundle=bundle):
            known = latest.get(wrong.alert.object_id)
            if known is None or wrong.alert.mjd >= known.alert.mjd:
                latest[wrong.alert.object_id] = wrong
        progress(len(group))
    found = sorted(latest.values(), key=_order)
    counts: dict[str, Counter[str]] = {}
    for wrong in found:
        counts.setdefault(wrong.reason, Counter())[f"{wrong.truth} → {wrong.alert.decision}"] += 1
    shown = tuple(sorted(spread(found, number), key=_order))
    return Gallery(shown, {reason: dict(by.most_common()) for reason, by in counts.items()}, len(found))


def spread(found: Sequence[WrongAlert], number: int) -> list[WrongAlert]:
    """Choose so many: the reasons in turn, sure labels first, a pair of truth and call that is not shown yet before one that is."""
    left, chosen = list(found), list[WrongAlert]()
    reasons, pairs = Counter[str](), Counter[tuple[str, str]]()
    while left and len(chosen) < number:
        best = min(left, key=lambda w: (reasons[w.reason], pairs[w.truth, w.alert.decision], _order(w)))
        left.remove(best)
        chosen.append(best)
        reasons[best.reason] += 1
        pairs[best.truth, best.alert.decision] += 1
    return chosen


def _order(wrong: WrongAlert) -> tuple[bool, str, str, str, str]:
    return (not wrong.alert.meaning.exact, wrong.reason, wrong.truth, wrong.alert.decision, wrong.alert.object_id)


def _wrong(packets: Sequence[bytes], labels: dict[str, str], *, state: ScoringState, bundle: Bundle) -> list[WrongAlert]:
    outcomes = apart(packets, score(packets, state), state=state)
    by_candid = {o.candid: (i, o) for i, o in enumerate(outcomes) if isinstance(o, Detection)}
    found = []
    for alert in beside_labels(packets, outcomes, labels=labels, decoder=state.decoder):
        reason = reason_of(alert)
        if reason is not None:
            place, detection = by_candid[alert.candid]
            found.append(_pictured(alert, detection, reason=reason, packet=packets[place], state=state, bundle=bundle))
    return found


def _pictured(alert: RealAlert, detection: Detection, *, reason: str, packet: bytes, state: ScoringState, bundle: Bundle) -> WrongAlert:
    batch = state.decoder.decode([packet]).batch
    context = dict(zip(CONTEXT, np.asarray(to_host(batch.context))[0].astype(float).tolist(), strict=True))
    embedding = np.frombuffer(detection.embedding, dtype="<f2").astype(np.float32)[None]
    return WrongAlert(
        alert,
        detection,
        truth_of(alert),
        reason,
        tuple(_signs(alert, batch, context=context)),
        _curve(batch),
        window(np.asarray(to_host(batch.stamps))[0]),
        context,
        near_prototypes(embedding, bundle.head, classes=bundle.classes),
        near_examples(embedding, bundle),
    )


def window(stamps: F32) -> F32:
    """The part of cut-outs that the network looks at; (3, S, S) → (3, P, P)."""
    first = (RAW_STAMP - STAMP) // 2
    return stamps[:, first : first + STAMP, first : first + STAMP]


def _curve(batch: AlertBatch) -> LightCurve:
    valid = np.asarray(to_host(batch.valid))[0]
    columns = {name: np.asarray(to_host(getattr(batch, name)))[0][valid] for name in ("time", "wavelength", "flux", "flux_err", "limit")}
    detected = np.asarray(to_host(batch.detected))[0][valid].astype(np.float32)
    days = columns.pop("time") - float(np.asarray(to_host(batch.mjd))[0])
    return LightCurve(days=days, detected=detected, **columns)


def near_prototypes(embedding: F32, head: Head, *, classes: Sequence[str]) -> tuple[Near, ...]:
    """The nearest classes of the head, each by the nearest of its prototypes; (1, E) embedding."""
    distance = 1 - np.asarray(to_classes(centred(embedding, np.asarray(head.centre)), head))[0]
    return tuple(Near(classes[c], float(distance[c])) for c in np.argsort(distance, kind="stable")[:NEAREST])


def near_examples(embedding: F32, bundle: Bundle) -> tuple[Near, ...]:
    """The nearest of the simulated alerts that ship with the bundle."""
    reference = bundle.reference
    centre = np.asarray(bundle.head.centre)
    known = centred(np.asarray(reference.views.embedding, dtype=np.float32), centre)
    distance = 1 - product(centred(embedding, centre), known)[0]
    return tuple(Near(bundle.classes[int(reference.label[i])], float(distance[i])) for i in np.argsort(distance)[:NEAREST])


def _signs(alert: RealAlert, batch: AlertBatch, *, context: dict[str, Any]) -> list[str]:
    """What is unusual about an alert: each may explain a wrong class, none proves it."""
    signs = []
    if alert.detections < FEW:
        signs.append(f"early: {alert.detections} detection{'s' if alert.detections > 1 else ''}")
    if bool(np.asarray(to_host(batch.truncated))[0]) and context["history"] > 0:
        signs.append(f"the packet shows the last of {context['history']:.0f} d since the first detection")
    if context["real_bogus"] < LOW_SCORE:
        signs.append(f"the survey doubts it: real/bogus {context['real_bogus']:.2f}")
    if context["positive"] == 0:
        signs.append("fainter than the reference image")
    if context["source_distance"] < 1:
        kind = "star" if context["star_galaxy"] > 0.9 else "galaxy" if context["star_galaxy"] < 0.1 else "source of unclear kind"
        signs.append(f'on a catalogue {kind} ({context["source_distance"]:.1f}")')
    elif context["source_distance"] < 10:
        signs.append(f'{context["source_distance"]:.1f}" from the nearest catalogue source')
    if context["signal_to_noise"] < 8:
        signs.append(f"faint: {context['signal_to_noise']:.0f} σ")
    seen = window(np.asarray(to_host(batch.stamps))[0])
    if not np.isfinite(seen).any():
        signs.append("no cut-outs")
    elif not np.isfinite(seen).all():
        signs.append("at the edge of a detector")
    bands = np.unique(
        np.asarray(to_host(batch.wavelength))[0][np.asarray(to_host(batch.detected))[0] & np.asarray(to_host(batch.valid))[0]]
    )
    if len(bands) == 1:
        names = {w: band for survey in WAVELENGTH.values() for band, w in survey.items()}
        signs.append(f"detections in one band only ({names.get(round(float(bands[0]), 1), f'{bands[0]:.0f} Å')})")
    return signs
