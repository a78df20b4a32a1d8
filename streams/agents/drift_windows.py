"""Summaries of scores → windows of a stratum in the order of observation.

ScoreSummary, as workers send them → `Windows.add`; `Windows.cut` → [Cut], each of `SIZE` alerts or a little more

Workers report at different times, so a stratum's sums wait until there are twice as many as make a window, or for `HOLD_MS`; those
observed first then make the next window. Bounded, whatever strata summaries name. Pure: the time is the record's.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field, replace
from typing import Any, NamedTuple

from operators.alert_statistics import Window
from operators.drift_panel import WINDOW as SIZE
from schemas.records.score_summary import Extreme, ScoreSummary

HOLD_MS = 3_000
"""How long sums that would make a window wait for earlier ones [ms]."""
MOST_STRATA = 64
"""Strata that are monitored apart; surveys, bands and regions make some twenty. What comes beyond is left out, and counted."""
MOST_PIECES = 64
"""Summaries of a stratum in hand: more are added up, so that a flood of small ones stays small."""


class Cut(NamedTuple):
    """A window, and what is known of it besides."""

    stratum: str
    window: Window
    at_ms: int
    """When the last of it was reported [ms since 1970]."""
    since_ms: int
    """The first."""
    mjd: float
    """Of its last alert [d]."""
    extremes: Mapping[str, tuple[Extreme, Extreme]]
    """Statistic → its lowest and its highest alert."""
    scoring_id: str
    """Of the last of it."""


@dataclass(slots=True)
class _Piece:
    mjd: float
    mjd_last: float
    first_ms: int
    at_ms: int
    scoring_id: str
    window: Window
    extremes: dict[str, tuple[Extreme, Extreme]] = field(default_factory=dict)

    def with_(self, other: _Piece) -> _Piece:
        return _Piece(
            min(self.mjd, other.mjd),
            max(self.mjd_last, other.mjd_last),
            min(self.first_ms, other.first_ms),
            max(self.at_ms, other.at_ms),
            other.scoring_id,
            self.window + other.window,
            _wider(self.extremes, other.extremes),
        )


class Windows:
    """What is in hand of one model's strata."""

    def __init__(self) -> None:
        self._pieces: dict[str, list[_Piece]] = {}
        self.left_out = 0
        """Alerts of strata beyond the bound."""

    def add(self, summary: ScoreSummary, at_ms: int) -> None:
        """Take a summary of alerts whose statistics were added up.

        Parameters
        ----------
        summary : ScoreSummary
        at_ms : int
            When it was appended [ms since 1970].
        """
        stratum = summary.stratum
        if stratum not in self._pieces and len(self._pieces) >= MOST_STRATA:
            self.left_out += summary.n
            return
        piece = _Piece(
            summary.mjd_first, summary.mjd_last, at_ms, at_ms, summary.scoring_id, window_of(summary), _by_statistic(summary.extremes)
        )
        pieces = self._pieces.setdefault(stratum, [])
        pieces.append(piece)
        pieces.sort(key=lambda one: one.mjd)
        if len(pieces) > MOST_PIECES:
            pieces[:2] = [pieces[0].with_(pieces[1])]

    def cut(self, stratum: str, at_ms: int) -> Iterator[Cut]:
        """The windows of a stratum that are ready now."""
        pieces = self._pieces.get(stratum, [])
        while (n := sum(piece.window.n for piece in pieces)) >= SIZE:
            if n < 2 * SIZE and at_ms - min(piece.first_ms for piece in pieces) < HOLD_MS:
                return
            whole = pieces.pop(0)
            while whole.window.n < SIZE:
                whole = whole.with_(pieces.pop(0))
            yield Cut(stratum, whole.window, whole.at_ms, whole.first_ms, whole.mjd_last, whole.extremes, whole.scoring_id)

    def state(self) -> list[Any]:
        """What `restore` takes, of numbers, texts, lists and dicts."""
        return [
            [stratum, p.mjd, p.mjd_last, p.first_ms, p.at_ms, p.scoring_id, plain_window(p.window),
             plain_extremes(p.extremes)]
            for stratum, pieces in self._pieces.items()
            for p in pieces
        ]  # fmt: skip

    def restore(self, state: Sequence[Any]) -> None:
        """Go on where another was.

        Raises
        ------
        ValueError
            The state is not one that `state` gave.
        """
        try:
            self._pieces = {}
            for stratum, mjd, mjd_last, first_ms, at_ms, scoring_id, window, extremes in state:
                ends, sums = extremes_from(extremes), window_from(window)
                piece = _Piece(float(mjd), float(mjd_last), int(first_ms), int(at_ms), str(scoring_id), sums, ends)
                self._pieces.setdefault(str(stratum), []).append(piece)
        except (TypeError, KeyError, IndexError, AttributeError) as error:
            raise ValueError(f"not a state of windows: {type(error).__name__}: {error}") from None


def plain_extremes(extremes: Mapping[str, tuple[Extreme, Extreme]]) -> dict[str, Any]:
    """Lowest and highest alerts as texts, numbers and lists."""
    return {name: [list(low), list(high)] for name, (low, high) in extremes.items()}


def extremes_from(plain: Mapping[str, Any]) -> dict[str, tuple[Extreme, Extreme]]:
    """The inverse of `plain_extremes`."""
    return {str(name): (Extreme(*low), Extreme(*high)) for name, (low, high) in plain.items()}


def window_of(summary: ScoreSummary) -> Window:
    """The sums of a summary."""
    statistics = {name: sums._asdict() for name, sums in summary.statistics.items()}
    return Window.of_record(summary.n, statistics, nulls=summary.nulls, classes=summary.classes)


def plain_window(window: Window) -> dict[str, Any]:
    """A window as numbers, texts, lists and dicts."""
    return {
        "n": window.n,
        "nulls": window.nulls.tolist(),
        "classes": dict(window.classes),
        "statistics": window.record(),
    }


def window_from(plain: Mapping[str, Any]) -> Window:
    """The inverse of `plain_window`."""
    found = Window.of_record(int(plain["n"]), plain["statistics"], nulls={}, classes=plain["classes"])
    nulls = found.nulls.copy()
    given = plain["nulls"]
    nulls[: len(given)] = given[: len(nulls)]
    return replace(found, nulls=nulls)


def _by_statistic(extremes: Sequence[Extreme]) -> dict[str, tuple[Extreme, Extreme]]:
    found: dict[str, tuple[Extreme, Extreme]] = {}
    for one in extremes:
        low, high = found.get(one.statistic, (one, one))
        found[one.statistic] = (one if one.value < low.value else low, one if one.value > high.value else high)
    return found


def _wider(one: Mapping[str, tuple[Extreme, Extreme]], other: Mapping[str, tuple[Extreme, Extreme]]) -> dict[str, tuple[Extreme, Extreme]]:
    out = dict(one)
    for name, (low, high) in other.items():
        mine = out.get(name, (low, high))
        out[name] = (low if low.value < mine[0].value else mine[0], high if high.value > mine[1].value else mine[1])
    return out
