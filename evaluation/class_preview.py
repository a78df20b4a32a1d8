"""What a class that is about to be taught would do: which recent alerts it would take, how pure that is, what its examples look like.

the state with and without the class, examples, recent alerts → `Preview`

Purity has an interval without one label: known alerts that ship with the bundle, none of the class, say how often such alerts are called
it; what is caught beyond that share of the window is taken to be of the class.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, NamedTuple

import numpy as np
import numpy.typing as npt

from operators.head import Head, Views, judge
from operators.taught import Reference, alike
from schemas.taxonomy import OTHER

OVERLAP = 0.5
"""Share of the examples that one known class takes, from which the new one is said to overlap with it."""


class Caught(NamedTuple):
    """A recent alert that would be called the class."""

    packet_id: str
    object_id: str
    probability: float
    now: str
    """What it is called without the class."""
    now_probability: float
    on_topic: bool
    """Its probability under the stream's prior reaches the class's threshold."""


@dataclass(frozen=True, slots=True)
class Preview:
    """What the class would have done."""

    looked_at: int
    """Recent alerts."""
    caught: tuple[Caught, ...]
    """Of these, the most probable first."""
    false_rate: tuple[float, float, float]
    """Share of known alerts of other classes that are called it, and the bounds of its 90 % interval."""
    purity: tuple[float, float]
    """Interval of the share of what is caught that is of the class; NaN where nothing is."""
    now: dict[str, int]
    """What the examples are called without the class."""
    overlap: str
    """The known class that takes half of the examples or more; empty: none does."""
    odd: tuple[int, ...]
    """Rows of examples that the others, without them, would not call the class."""


def preview(
    name: str,
    *,
    before: Head,
    after: Head,
    classes: tuple[str, ...],
    examples: Views,
    window: Views,
    names: Sequence[tuple[str, str]],
    reference: Reference,
) -> Preview:
    """Compare a head with and without a class.

    Parameters
    ----------
    name : str
        Of the class.
    before, after : Head
        Without and with it, of NumPy arrays.
    classes : tuple of str
        Known classes.
    examples, window : Views
        Of the examples and of m recent alerts.
    names : sequence of (str, str)
        Packet and object of each recent alert.
    reference : Reference
        Known alerts, none of the class.
    """
    hits = _called(_float32(reference.views), after, classes=classes)[0] == name
    rate = _interval(int(hits.sum()), len(hits))
    called, probability, on_topic = _called(window, after, classes=classes, taught=name)
    now, now_probability, _ = _called(window, before, classes=classes)
    found = np.flatnonzero(called == name)
    found = found[np.argsort(-probability[found], kind="stable")]
    caught = tuple(
        Caught(*names[i], float(probability[i]), str(now[i]), float(now_probability[i]), bool(on_topic[i])) for i in found.tolist()
    )
    nan = float("nan")
    purity = tuple(max(0.0, 1 - share * len(names) / len(caught)) for share in rate[:0:-1]) if caught else (nan, nan)
    counted = Counter(str(one) for one in _called(examples, before, classes=classes)[0])
    [(most, count)] = counted.most_common(1)
    overlap = most if most != OTHER and count >= OVERLAP * counted.total() else ""
    odd = np.flatnonzero(~alike(after, name, examples=examples, reference=reference))
    return Preview(len(names), caught, rate, (purity[0], purity[1]), dict(counted), overlap, tuple(odd.tolist()))


def _float32(views: Views) -> Views:
    return Views(*(np.asarray(column, dtype=np.float32) for column in views))


def _called(
    views: Views, head: Head, *, classes: tuple[str, ...], taught: str = ""
) -> tuple[npt.NDArray[Any], npt.NDArray[Any], npt.NDArray[np.bool_]]:
    """The most probable class of each alert, its probability, and whether the taught one reaches its threshold."""
    n = int(views.embedding.shape[0])
    if not n:
        return np.zeros(0, dtype=object), np.zeros(0), np.zeros(0, dtype=np.bool_)
    names = np.asarray((*classes, *head.taught, OTHER), dtype=object)
    judged = judge(views, head)
    probability, prior = np.asarray(judged.probability), np.asarray(judged.prior_probability)
    chosen = probability.argmax(axis=1)
    reached = np.zeros(n, dtype=np.bool_)
    if taught:
        at = head.taught.index(taught)
        reached = prior[:, len(classes) + at] >= float(np.asarray(head.taught_thresholds)[at])
    return names[chosen], probability[np.arange(n), chosen], reached


def _interval(hits: int, n: int) -> tuple[float, float, float]:
    """A share with its 90 % interval after Wilson 1927."""
    if not n:
        return float("nan"), 0.0, 1.0
    z, p = 1.645, hits / n
    middle, half = (p + z * z / (2 * n)) / (1 + z * z / n), z * np.sqrt(p * (1 - p) / n + z * z / (4 * n * n)) / (1 + z * z / n)
    return p, max(0.0, float(middle - half)), min(1.0, float(middle + half))
