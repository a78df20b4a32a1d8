"""What a model's windows are compared with: what ships with it, or was learned from the stream; it follows the season while nothing moves.

Cut, in order → `Baseline.learn` until a stratum is known; `Baseline.roll` while nothing moves; `Baseline.shift` where the sky stays changed

What ships was made of one sky, and a deployment may look at another: the first windows of a stratum say which. If they agree with what
ships, it is in force; if not, the stratum is learned from the stream, with no less spread than what ships has: one night shows little of
what a lunation does. The reference that is in force follows the stream with the time constant of a lunation, `DELAY` windows late, and
never while something moves. A change that stays is taken as the base of what comes after it, beside the reference that it left: what
moves next is seen, and so is the return.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Collection, Mapping
from dataclasses import replace
from typing import Any

import numpy as np
import numpy.typing as npt

from operators.alert_statistics import STATISTICS, Window
from operators.drift_panel import NULL_STEP, WINDOW
from operators.drift_reference import LEAST_SPREAD, WIDTH, Reference, StratumReference
from operators.types import F64
from streams.agents.drift_windows import Cut, plain_window, window_from

FIRST = 4
"""Windows of a stratum by which it is seen whether what ships is of this sky."""
AGREES = 3.5
"""Mean z of each statistic over them, at most."""
LEARN_NIGHTS = 3
"""Nights that a stratum is learned over where nothing says how far windows spread."""
LUNATION = 29.53
"""[d]"""
LEAST_STEP, MOST_STEP = 1e-4, 0.1
"""Part of the reference that a window replaces."""
FAR = 1.75
"""Mean z since a change from which a statistic that raised no alarm has moved with it."""
REFINED = 64
"""Windows by which the new base of a stratum is known as well as need be."""
DELAY = 24
"""Windows that wait before the reference follows them: a change takes about so many to be seen."""
OF_SCORES = ("entropy", "energy", "novelty", "distance", "top_probability")
"""Statistics of the model; the others are of the survey, and the same under the next model."""
_OF_SCORES = np.isin(STATISTICS, OF_SCORES)


class Baseline:
    """References of one model's strata.

    Parameters
    ----------
    shipped : Reference, optional
        What came with the bundle; None: nothing did.
    borrowed : bool
        What is given is of another model: its statistics of scores only say how far they spread.
    learn_windows : int
        Of a stratum that is learned.
    """

    def __init__(self, shipped: Reference | None, *, borrowed: bool, learn_windows: int) -> None:
        self.shipped, self.borrowed, self._learn_windows = shipped, borrowed, learn_windows
        self.usual: dict[str, StratumReference] = {}
        """In force, by stratum."""
        self.shifted: dict[str, StratumReference] = {}
        """In force in their place while a change stays."""
        self._learning: dict[str, StratumReference] = {}
        self._nights: dict[str, set[int]] = {}
        self._mjd: dict[str, float] = {}
        self._waiting: deque[tuple[str, Window, float]] = deque()
        self.revision = 0
        """Counts changes of what is in force or learned."""

    def reference(self) -> Reference:
        """What the panel compares with now."""
        strata = {**self.usual, **{name: one for name, one in self.shifted.items() if name in self.usual}}
        return Reference(strata, {} if self.shipped is None else self.shipped.thresholds)

    def learn(self, cut: Cut) -> bool:
        """Take a window of a stratum that is not fully known; returns whether what is in force changed.

        A stratum under a borrowed reference is compared by the survey's statistics while those of the scores are learned.
        """
        stratum = cut.stratum
        if stratum in self.usual and stratum not in self._learning:
            return False
        self.revision += 1
        own = self._learning[stratum] = learned(self._learning.get(stratum), cut.window)
        self._nights.setdefault(stratum, set()).add(int(cut.mjd - 0.5))
        shipped = None if self.shipped is None else self.shipped.strata.get(stratum)
        if own.windows == FIRST and shipped is not None and stratum not in self.usual:
            of_survey = agrees(own, shipped, which=~_OF_SCORES)
            if of_survey and self.borrowed:
                self.usual[stratum] = replace(shipped, mean=np.where(_OF_SCORES, np.nan, shipped.mean))
                return True
            if of_survey and agrees(own, shipped, which=_OF_SCORES):
                self.usual[stratum] = shipped
                self._forget(stratum)
                return True
        if own.windows < self._learn_windows or (shipped is None and len(self._nights[stratum]) < LEARN_NIGHTS):
            return False
        known = self.usual.get(stratum)
        spread = np.fmax(own.spread, LEAST_SPREAD * WIDTH) if shipped is None else np.fmax(own.spread, shipped.spread)
        mean = own.mean if known is None else np.where(_OF_SCORES, own.mean, known.mean)
        self.usual[stratum] = replace(own, mean=mean, spread=spread)
        self._forget(stratum)
        return True

    def _forget(self, stratum: str) -> None:
        del self._learning[stratum]
        self._nights.pop(stratum, None)

    def roll(self, cut: Cut, *, quiet: bool) -> bool:
        """Follow the stream; returns whether what is in force changed.

        Parameters
        ----------
        cut : Cut
            A window that the panel has seen.
        quiet : bool
            Whether nothing moves, nor seems to.
        """
        if not quiet:
            self._waiting.clear()
            return False
        self._waiting.append((cut.stratum, cut.window, cut.mjd))
        if len(self._waiting) <= DELAY:
            return False
        stratum, window, mjd = self._waiting.popleft()
        known = self.usual.get(stratum)
        if known is None:
            return False
        before = self._mjd.get(stratum, mjd)
        self._mjd[stratum] = max(before, mjd)
        step = min(MOST_STEP, max(LEAST_STEP, (mjd - before) / LUNATION))
        self.usual[stratum] = followed(known, window, step=step)
        self.revision += 1
        return True

    def shift(self, since: Mapping[str, Window], *, moved: Collection[str]) -> None:
        """Take what came since a change as the base of what comes next.

        Parameters
        ----------
        since : mapping
            Stratum → sum of its windows since the alarm; a stratum without any moves as far as the others did.
        moved : collection of str
            Statistics that raised an alarm; of the others those that moved far go with them, and the rest keep their reference.
        """
        offsets = [(one.mean - self.usual[name].mean) / self.usual[name].spread for name, one in since.items() if name in self.usual]
        common = np.nan_to_num(_mean(np.array(offsets))) if offsets else np.zeros(len(STATISTICS))
        far = np.isin(STATISTICS, list(moved)) | (np.abs(common) >= FAR)
        self.shifted = {}
        for name, known in self.usual.items():
            window = since.get(name)
            mean = known.mean + common * known.spread
            nulls = known.nulls
            if window is not None:
                mean = np.where(np.isfinite(window.mean), window.mean, mean)
                nulls = np.where(np.abs(window.null_share - nulls) > NULL_STEP / 2, window.null_share, nulls)
            windows = 1 if window is None else max(1, round(window.n / WINDOW))
            self.shifted[name] = replace(known, windows=windows, mean=np.where(far, mean, known.mean), nulls=nulls)
        self.revision += 1

    def refine(self, cut: Cut) -> bool:
        """Bring a shifted base nearer to what it is, with a window in which nothing else moved; returns whether it changed."""
        shifted, known = self.shifted.get(cut.stratum), self.usual.get(cut.stratum)
        if shifted is None or known is None or shifted.windows >= REFINED:
            return False
        mean, _ = _follow(shifted.mean, shifted.spread, value=cut.window.mean, step=1 / (shifted.windows + 1))
        mean = np.where(shifted.mean == known.mean, known.mean, mean)
        self.shifted[cut.stratum] = replace(shifted, windows=shifted.windows + 1, mean=mean)
        self.revision += 1
        return True

    def unshift(self) -> None:
        """Compare with the reference again: nothing that moved stays changed."""
        self.shifted = {}
        self.revision += 1

    @property
    def changed(self) -> set[str]:
        """Statistics whose base is not the reference's."""
        other = [self.shifted[name].mean != known.mean for name, known in self.usual.items() if name in self.shifted]
        there = np.isfinite(np.array([known.mean for name, known in self.usual.items() if name in self.shifted]))
        return {STATISTICS[i] for i in np.flatnonzero((np.array(other) & there).any(axis=0))} if other else set()

    def returned(self, statistic: str, since: Mapping[str, Window]) -> bool:
        """Whether a statistic that moved lies nearer to the reference than to what it had shifted to."""
        if statistic not in STATISTICS or not self.shifted:
            return False
        i = STATISTICS.index(statistic)
        to_usual = to_shifted = 0.0
        for name, window in since.items():
            if name in self.usual and name in self.shifted and np.isfinite(value := window.mean[i]):
                to_usual += abs(value - self.usual[name].mean[i]) * window.n
                to_shifted += abs(value - self.shifted[name].mean[i]) * window.n
        return to_usual < to_shifted

    def accepted(self) -> dict[str, StratumReference]:
        """Strata with what stays changed as the new usual: what a model begins with that was made for the sky as it is now."""
        return dict(self.reference().strata)

    def arrays(self) -> dict[str, npt.NDArray[Any]]:
        """All references as arrays by name."""
        parts = {"usual": self.usual, "shifted": self.shifted, "learning": self._learning}
        return {f"{part}.{key}": value for part, strata in parts.items() if strata for key, value in Reference(strata).arrays().items()}

    def notes(self) -> dict[str, Any]:
        """What `restore` takes besides, of numbers, texts, lists and dicts."""
        return {
            "nights": {name: sorted(nights) for name, nights in self._nights.items()},
            "mjd": dict(self._mjd),
            "waiting": [[stratum, plain_window(window), mjd] for stratum, window, mjd in self._waiting],
            "borrowed": self.borrowed,
        }

    def restore(self, arrays: Mapping[str, npt.NDArray[Any]], notes: Mapping[str, Any]) -> None:
        """Go on where another was.

        Raises
        ------
        ValueError
            These are not what `arrays` and `notes` gave.
        """
        parts = {}
        for part in ("usual", "shifted", "learning"):
            own = {key.partition(".")[2]: value for key, value in arrays.items() if key.startswith(f"{part}.")}
            parts[part] = dict(Reference.of_arrays(own).strata) if own else {}
        try:
            self._nights = {str(name): {int(night) for night in nights} for name, nights in notes["nights"].items()}
            self._mjd = {str(name): float(mjd) for name, mjd in notes["mjd"].items()}
            self._waiting = deque((str(stratum), window_from(window), float(mjd)) for stratum, window, mjd in notes["waiting"])
            self.borrowed = bool(notes["borrowed"])
        except (TypeError, KeyError, AttributeError) as error:
            raise ValueError(f"not a state of a baseline: {type(error).__name__}: {error}") from None
        self.usual, self.shifted, self._learning = parts["usual"], parts["shifted"], parts["learning"]


def agrees(own: StratumReference, shipped: StratumReference, *, which: npt.NDArray[np.bool_]) -> bool:
    """Whether the first windows of a stratum are those of the sky that a reference was made of, by some of the statistics."""
    with np.errstate(invalid="ignore"):
        z = np.abs(own.mean - shipped.mean) / shipped.spread
    there = np.isfinite(own.mean) == np.isfinite(shipped.mean)
    nulls = np.abs(own.nulls - shipped.nulls)
    return bool(there[which].all() and (np.nan_to_num(z[which]) <= AGREES).all() and (np.nan_to_num(nulls) <= NULL_STEP).all())


def learned(known: StratumReference | None, window: Window) -> StratumReference:
    """Take one more window into what is learned: all count the same."""
    if known is None:
        nothing, none = np.zeros(len(STATISTICS)), np.zeros(len(window.nulls))
        return StratumReference(1, window.mean, nothing, window.null_share, none, _shares(window))
    return followed(known, window, step=1 / (known.windows + 1))


def followed(known: StratumReference, window: Window, *, step: float) -> StratumReference:
    """Take a window into a reference, in place of a part of it."""
    mean, spread = _follow(known.mean, known.spread, value=window.mean, step=step)
    nulls, nulls_spread = _follow(known.nulls, known.nulls_spread, value=window.null_share, step=step)
    histogram = (1 - step) * known.histogram + step * _shares(window)
    return StratumReference(known.windows + 1, mean, spread, nulls, nulls_spread, histogram)


def _follow(mean: F64, spread: F64, *, value: F64, step: float) -> tuple[F64, F64]:
    """Moments with a part of them replaced; what the window does not have stays, what was not known begins."""
    move = value - mean
    variance = (1 - step) * (spread**2 + step * move**2)
    there = np.isfinite(move)
    new_mean = np.where(there, mean + step * np.nan_to_num(move), np.where(np.isfinite(mean), mean, value))
    return new_mean, np.where(there, np.sqrt(np.nan_to_num(variance)), spread)


def _shares(window: Window) -> F64:
    return np.asarray(window.histogram / np.maximum(window.histogram.sum(axis=1, keepdims=True), 1), np.float64)


def _mean(rows: F64) -> F64:
    """Along the first axis, of what is finite; NaN where nothing is."""
    there = np.isfinite(rows)
    count = there.sum(axis=0)
    return np.where(count > 0, np.where(there, rows, 0.0).sum(axis=0) / np.maximum(count, 1), np.nan)
