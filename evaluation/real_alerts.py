"""What the stream says of real alerts, beside their labels → figures that do not flatter.

`Detection`, label, catalogue → `RealAlert`; [RealAlert] → accuracy by number of detections with and without asteroids, by alert and by
object; recall and precision by class, where a label outside our classes counts against precision; what catalogue stars are called; bars

A label means what `schemas.catalogue_labels` says. Intervals are of whole objects, resampled. An alert is counted once, by its candid.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Literal

import numpy as np
import numpy.typing as npt

from evaluation.measures import object_interval
from schemas.catalogue_labels import GROUP_OF, Meaning, meaning_of
from schemas.records.detection import Detection

Bools = npt.NDArray[np.bool_]
View = Literal["decision", "balanced"]
VIEWS: tuple[View, ...] = ("decision", "balanced")
"""decision: the published class, under the stream's prior; balanced: the most probable one if all classes were equally frequent."""

STRATA: dict[str, tuple[int, float]] = {"1": (0, 1), "2-4": (2, 4), "5+": (5, float("inf")), "all": (0, float("inf"))}
"""Alerts by the number of detections in their light curve."""
STAR_DETECTIONS = {"1+": 1, "2+": 2, "5+": 5}
ASTEROID, AGN, BOGUS, OTHER = "asteroid", "agn", "bogus", "other"


@dataclass(frozen=True, slots=True)
class RealAlert:
    """One scored alert and what others say of it."""

    object_id: str
    candid: int
    mjd: float
    """[d, TAI]"""
    label: str
    """Empty: none."""
    detections: int
    """In the light curve."""
    decision: str
    balanced: str
    catalogue_star: bool

    @property
    def meaning(self) -> Meaning:
        """What the label says."""
        return meaning_of(self.label)

    def called(self, view: View) -> str:
        """The class in a view."""
        return self.decision if view == "decision" else self.balanced


def real_alert(detection: Detection, label: str, *, catalogue_star: bool) -> RealAlert:
    """Take of a detection what is judged."""
    return RealAlert(
        detection.object_id,
        detection.candid,
        detection.mjd,
        label,
        detection.n_detections,
        detection.shown_class[0],
        detection.top_class,
        catalogue_star,
    )


def figures(alerts: Iterable[RealAlert]) -> dict[str, Any]:
    """All figures; an alert that comes twice (the same candid) counts once.

    Returns
    -------
    dict
        ``alerts``, ``labelled``, ``classes`` (labelled alerts by class), ``outside`` (labels that are none of ours); of each of `VIEWS`
        ``accuracy``, ``by_class``, ``catalogue_stars``, ``agn``, ``bogus``; ``bars``.
    """
    once = list({a.candid: a for a in reversed(list(alerts))}.values())[::-1]
    labelled = [a for a in once if a.label]
    views: dict[str, Any] = {view: _view(once, labelled, view=view) for view in VIEWS}
    return {
        "alerts": len(once),
        "labelled": len(labelled),
        "classes": dict(Counter(a.meaning.slug for a in labelled if a.meaning.exact and a.meaning.slug)),
        "candidates": dict(Counter(a.meaning.slug for a in labelled if a.meaning.slug and a.meaning.candidate)),
        "outside": dict(Counter(a.label for a in labelled if a.meaning.slug is None).most_common()),
        **views,
        "bars": [bar.judged(once, labelled) for bar in BARS],
    }


def _view(alerts: Sequence[RealAlert], labelled: Sequence[RealAlert], *, view: View) -> dict[str, Any]:
    exact = [a for a in labelled if a.meaning.exact]
    populations = {"without_asteroids": [a for a in exact if a.meaning.slug != ASTEROID], "all": exact}
    return {
        "accuracy": {name: {s: _accuracy(_within(part, s), view) for s in STRATA} for name, part in populations.items()},
        "coarse_with_outside_labels": share(
            [a for a in _within(labelled, "5+") if a.meaning.slug != ASTEROID and a.meaning.group != "unknown"], coarsely(view)
        ),
        "by_class": _by_class(labelled, view=view),
        "catalogue_stars": {
            name: {
                "star": share(part, lambda a: GROUP_OF.get(a.called(view)) == "star"),
                "agn": share(part, lambda a: a.called(view) == AGN),
                "called": dict(Counter(a.called(view) for a in part).most_common()),
            }
            for name, least in STAR_DETECTIONS.items()
            for part in ([a for a in alerts if a.catalogue_star and a.detections >= least],)
        },
        "bogus": {
            "recall": share([a for a in labelled if a.meaning.slug == BOGUS], lambda a: a.called(view) == BOGUS),
            "called": sum(a.called(view) == BOGUS for a in alerts),
        },
    }


def _within(alerts: Sequence[RealAlert], stratum: str) -> list[RealAlert]:
    low, high = STRATA[stratum]
    return [a for a in alerts if low <= a.detections <= high]


def exactly(view: View) -> Callable[[RealAlert], bool]:
    """Whether an alert is called by its label's class."""
    return lambda a: a.called(view) == a.meaning.slug


def coarsely(view: View) -> Callable[[RealAlert], bool]:
    """Whether an alert is called in its label's group: star, AGN, supernova, other."""
    return lambda a: GROUP_OF.get(a.called(view), OTHER) == a.meaning.group


def _accuracy(alerts: Sequence[RealAlert], view: View) -> dict[str, Any]:
    """By alert, and by object: each object once, by its latest alert of those."""
    latest = list({a.object_id: a for a in sorted(alerts, key=lambda a: a.mjd)}.values())
    return {
        "exact": share(alerts, exactly(view)),
        "coarse": share(alerts, coarsely(view)),
        "exact_by_object": share(latest, exactly(view)),
        "coarse_by_object": share(latest, coarsely(view)),
    }


def share(alerts: Sequence[RealAlert], hit: Callable[[RealAlert], bool]) -> dict[str, Any]:
    """A share of alerts with its interval: ``share`` (None of none), ``interval``, ``n``, ``hits``, ``objects``."""
    if not alerts:
        return {"share": None, "interval": None, "n": 0, "hits": 0, "objects": 0}
    hits = np.array([float(hit(a)) for a in alerts])
    owners = np.array([a.object_id for a in alerts])
    return {
        "share": float(hits.mean()),
        "interval": object_interval(hits, owners),
        "n": len(alerts),
        "hits": int(hits.sum()),
        "objects": len(np.unique(owners)),
    }


def _by_class(labelled: Sequence[RealAlert], *, view: View) -> dict[str, Any]:
    """Recall and precision of every class that is a label or a call; candidates of a class count as it."""
    names = sorted({a.meaning.slug for a in labelled if a.meaning.slug} | {a.called(view) for a in labelled})
    return {name: _one_class(labelled, name, view=view) for name in names}


def _one_class(labelled: Sequence[RealAlert], name: str, *, view: View) -> dict[str, Any]:
    own = [a for a in labelled if a.meaning.slug == name]
    called = [a for a in labelled if a.called(view) == name]
    wrong = [a for a in called if a.meaning.slug != name]
    return {
        "recall": share(own, lambda a: a.called(view) == name),
        "precision": share(called, lambda a: a.meaning.slug == name),
        "precision_where_labels_say": share([a for a in called if a.meaning.group != "unknown"], lambda a: a.meaning.slug == name),
        "wrong_by_group": dict(Counter(a.meaning.group for a in wrong).most_common()),
        "outside": sum(a.meaning.slug is None for a in wrong),
        "taken_for": dict(Counter(a.called(view) for a in own if a.called(view) != name).most_common()),
    }


@dataclass(frozen=True, slots=True)
class Bar:
    """A figure that is asked for."""

    name: str
    least: float | None
    most: float | None
    before: float | None
    """What it was with bundle a688b3a0b984 when the bar was set; None: not stated."""
    measure: Callable[[Sequence[RealAlert], Sequence[RealAlert], View], dict[str, Any]]

    def judged(self, alerts: Sequence[RealAlert], labelled: Sequence[RealAlert]) -> dict[str, Any]:
        """The figure in each view, beside the bar; the decision is what has to reach it."""
        found: dict[str, Any] = {view: self.measure(alerts, labelled, view) for view in VIEWS}
        return {
            "name": self.name,
            "least": self.least,
            "most": self.most,
            "before": self.before,
            **found,
            "met": self._met(found["decision"]),
        }

    def _met(self, found: Mapping[str, Any]) -> bool | None:
        value = found["share"]
        if value is None:
            return None
        return (self.least is None or value >= self.least) and (self.most is None or value <= self.most)


def _five(labelled: Sequence[RealAlert]) -> list[RealAlert]:
    return [a for a in _within(labelled, "5+") if a.meaning.exact and a.meaning.slug != ASTEROID]


def _stars(alerts: Sequence[RealAlert]) -> list[RealAlert]:
    return [a for a in alerts if a.catalogue_star and a.detections >= STAR_DETECTIONS["2+"]]


BARS: tuple[Bar, ...] = (
    Bar("exact class, 5 detections or more, no asteroids", 0.72, None, 0.60, lambda _, known, view: share(_five(known), exactly(view))),
    Bar(
        "coarse (star, AGN, SN, other), 5 detections or more, no asteroids", 0.93, None, 0.87,
        lambda _, known, view: share(_five(known), coarsely(view)),
    ),
    Bar(
        "catalogue stars called a star class, 2 detections or more", 0.88, None, 0.57,
        lambda every, _, view: share(_stars(every), lambda a: GROUP_OF.get(a.called(view)) == "star"),
    ),
    Bar(
        "catalogue stars called AGN, 2 detections or more", None, 0.08, 0.30,
        lambda every, _, view: share(_stars(every), lambda a: a.called(view) == AGN),
    ),
    Bar("AGN recall, candidates too", 0.80, None, None, lambda _, known, view: _one_class(known, AGN, view=view)["recall"]),
    Bar(
        "AGN precision, labels outside our classes against it", 0.60, None, 0.27,
        lambda _, known, view: _one_class(known, AGN, view=view)["precision"],
    ),
)  # fmt: skip
"""What the real packets are to show; the intervals say how far so few can show it."""
