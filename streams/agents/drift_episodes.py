"""Alarms of a panel → episodes: what moves together is one alarm, diagnosed once enough was seen, with what people need to judge it.

panel's `Alarm`s and the windows since → `Episode` → `DriftAlarm`

An alarm of the instrument is published at once, with what is known by then, and once more under its id if the diagnosis changes while the
episode is open; one of the population only when the episode settles: what an instrument does moves the model's numbers too, only sooner.
"""

from __future__ import annotations

import hashlib
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from typing import Any

import numpy as np

from operators.alert_statistics import BINS, HIGH, LOW, STATISTICS, Window
from operators.drift_panel import POPULATION, Alarm, diagnose
from schemas.records.drift_alarm import MOST_EXAMPLES, MOST_MOVED, DriftAlarm
from schemas.records.score_summary import Extreme
from streams.agents.drift_windows import Cut, plain_window, window_from

PANEL = "panel"


@dataclass(slots=True)
class Episode:
    """Something moves, or has moved and stays so."""

    alarm_id: str
    scoring_id: str
    raised_ms: int
    alarms: list[Alarm]
    """The first of each statistic, in order."""
    n: int = 0
    """Alerts since the first."""
    since: dict[str, Window] = field(default_factory=dict)
    """Stratum → sum of its windows since the first."""
    extremes: dict[str, tuple[list[Extreme], list[Extreme]]] = field(default_factory=dict)
    """Statistic → alerts with the lowest and with the highest values since."""
    said: str = ""
    """Diagnosis that was published; empty: nothing was."""
    settled: bool = False

    @property
    def diagnosis(self) -> str:
        """What its alarms mean together."""
        return diagnose(self.alarms)

    @property
    def moved(self) -> list[str]:
        """Statistics that moved, the first first."""
        return [alarm.statistic for alarm in self.alarms]

    def take(self, alarms: Sequence[Alarm]) -> None:
        """Add alarms; one of a statistic that has one counts only where it is more severe."""
        for alarm in alarms:
            known = next((i for i, one in enumerate(self.alarms) if one.statistic == alarm.statistic), None)
            if known is None:
                if len(self.alarms) < MOST_MOVED:
                    self.alarms.append(alarm)
            elif alarm.severity > self.alarms[known].severity:
                self.alarms[known] = replace(alarm, since_ms=self.alarms[known].since_ms)

    def see(self, cut: Cut) -> None:
        """Count a window that came since."""
        self.n += cut.window.n
        known = self.since.get(cut.stratum)
        self.since[cut.stratum] = cut.window if known is None else known + cut.window
        self.remember(cut.extremes)

    def remember(self, extremes: Mapping[str, tuple[Extreme, Extreme]]) -> None:
        """Keep the alerts at the ends of a window."""
        for name, (low, high) in extremes.items():
            lowest, highest = self.extremes.get(name, ([], []))
            self.extremes[name] = (
                sorted({*lowest, low}, key=lambda one: one.value)[:MOST_EXAMPLES],
                sorted({*highest, high}, key=lambda one: -one.value)[:MOST_EXAMPLES],
            )

    def record(self, model: str) -> DriftAlarm:
        """The alarm as it is published."""
        diagnosis = self.diagnosis
        decisive = [alarm for alarm in self.alarms if alarm.diagnosis == diagnosis] or self.alarms
        main = max(decisive, key=lambda alarm: alarm.severity)
        named = main.statistic in STATISTICS and main.histogram_before.sum() > 0
        edges = _edges(main.statistic) if named else []
        up = main.after >= main.before
        low, high = self.extremes.get(main.statistic, ([], []))
        return DriftAlarm(
            alarm_id=self.alarm_id,
            detector=PANEL,
            statistic=main.statistic,
            stratum=main.stratum,
            before=float(main.before),
            after=float(main.after),
            window=self.n,
            scoring_id=self.scoring_id,
            raised_ms=self.raised_ms,
            model=model,
            diagnosis=diagnosis,
            severity=float(main.severity),
            since_ms=min(alarm.since_ms for alarm in self.alarms),
            moved=tuple(self.moved),
            edges=tuple(edges),
            before_bins=tuple(main.histogram_before.tolist()) if named else (),
            after_bins=tuple(main.histogram_after.tolist()) if named else (),
            examples=tuple(one.packet_id for one in (high if up else low)),
        )

    def plain(self) -> dict[str, Any]:
        """The episode as numbers, texts, lists and dicts."""
        return {
            "alarm_id": self.alarm_id,
            "scoring_id": self.scoring_id,
            "raised_ms": self.raised_ms,
            "alarms": [_plain_alarm(alarm) for alarm in self.alarms],
            "n": self.n,
            "since": {name: plain_window(window) for name, window in self.since.items()},
            "extremes": {name: [[list(x) for x in side] for side in sides] for name, sides in self.extremes.items()},
            "said": self.said,
            "settled": self.settled,
        }


def open_episode(alarms: Sequence[Alarm], cut: Cut, *, model: str, now_ms: int) -> Episode:
    """Begin an episode; the same alarm has the same id."""
    first = alarms[0]
    text = f"{model}|{first.statistic}|{first.stratum}|{first.since_ms}|{cut.at_ms}"
    episode = Episode(hashlib.sha256(text.encode()).hexdigest()[:16], cut.scoring_id, now_ms, [])
    episode.take(alarms)
    return episode


def episode_from(plain: Mapping[str, Any]) -> Episode:
    """The inverse of `Episode.plain`.

    Raises
    ------
    ValueError
        It is not one.
    """
    try:
        return Episode(
            str(plain["alarm_id"]),
            str(plain["scoring_id"]),
            int(plain["raised_ms"]),
            [_alarm_from(alarm) for alarm in plain["alarms"]],
            int(plain["n"]),
            {str(name): window_from(window) for name, window in plain["since"].items()},
            {str(name): ([Extreme(*x) for x in sides[0]], [Extreme(*x) for x in sides[1]]) for name, sides in plain["extremes"].items()},
            str(plain["said"]),
            bool(plain["settled"]),
        )
    except (KeyError, TypeError, IndexError, AttributeError) as error:
        raise ValueError(f"not an episode: {type(error).__name__}: {error}") from None


def is_population(diagnosis: str) -> bool:
    """Whether the sky has changed, not the instrument: then alone training helps."""
    return diagnosis == POPULATION


def _plain_alarm(alarm: Alarm) -> dict[str, Any]:
    return {
        "statistic": alarm.statistic, "stratum": alarm.stratum, "before": alarm.before, "after": alarm.after, "since_ms": alarm.since_ms,
        "severity": alarm.severity, "diagnosis": alarm.diagnosis, "windows": alarm.windows,
        "histogram_before": alarm.histogram_before.tolist(), "histogram_after": alarm.histogram_after.tolist(),
    }  # fmt: skip


def _alarm_from(plain: Mapping[str, Any]) -> Alarm:
    arrays = {name: np.asarray(plain[name], np.float64) for name in ("histogram_before", "histogram_after")}
    if any(array.shape != (BINS,) for array in arrays.values()):
        raise TypeError("a histogram of another length")
    return Alarm(**{**plain, **arrays})


def _edges(statistic: str) -> list[float]:
    i = STATISTICS.index(statistic)
    edges: list[float] = np.linspace(LOW[i], HIGH[i], BINS + 1).tolist()
    return edges
