"""Telemetry → alarms and retrain commands, model by model. Pure bookkeeping: times are handed in, Kafka is `drift.py`'s.

ScoreSummary, WorkerSummary → `Monitor.take` → [DriftAlarm | RetrainCommand | LoopEvent]; `Monitor.states` ↔ `Monitor.restore`

An episode settles so many alerts after its first alarm. Of the diagnoses only `population` commands a training, and no more often than
cool-down and budget allow; what they hold back is commanded as soon as they allow it, while the change stays.
"""

from __future__ import annotations

import json
import zlib
from collections import deque
from collections.abc import Callable, Iterator, Mapping
from dataclasses import replace
from typing import Any, NamedTuple, TypeAlias

import safetensors.numpy
import structlog
from safetensors import SafetensorError

from operators.alert_statistics import STATISTICS
from operators.drift_panel import Detector, Panel
from operators.drift_reference import Reference
from schemas.records.codec import encode
from schemas.records.drift_alarm import DriftAlarm
from schemas.records.drift_state import CHARTS, REFERENCE, DriftState
from schemas.records.loop_event import RETRAIN_COMMANDED, LoopEvent
from schemas.records.retrain_command import RetrainCommand
from schemas.records.score_summary import Extreme, ScoreSummary
from schemas.records.worker_summary import WorkerSummary
from streams.agents.drift_baseline import Baseline
from streams.agents.drift_counts import PacketCounts
from streams.agents.drift_episodes import Episode, episode_from, is_population, open_episode
from streams.agents.drift_windows import Cut, Windows, extremes_from, plain_extremes

log = structlog.get_logger(__name__)

Output: TypeAlias = DriftAlarm | RetrainCommand | LoopEvent

MOST_MODELS = 8
"""Models that are remembered; those not met for longest are forgotten first."""
MOST_EPISODES = 16
"""Of a model that stay open."""
RECENT = 16
"""Windows whose alerts may be among the examples of an alarm that is raised later."""
MOST_COMMANDS = 64
"""Times of commands that are remembered."""
REFERENCE_EVERY_MS = 60_000
"""How often a reference that follows the stream is written [ms]."""
MOST_BODY = 8_000_000
"""Of a state, inflated [bytes]."""
DAY_MS = 86_400_000


class Limits(NamedTuple):
    """What the settings say."""

    settle_alerts: int
    learn_windows: int
    cooldown_ms: float
    a_night: int
    recipe: str


class Watch:
    """One model.

    Parameters
    ----------
    model : str
    baseline : Baseline
    limits : Limits
    detectors : callable
        Makes what monitors some statistics in place of the sums.
    """

    def __init__(self, model: str, baseline: Baseline, *, limits: Limits, detectors: Callable[[], Mapping[str, Detector]]) -> None:
        self.model, self.baseline, self._limits, self._detectors = model, baseline, limits, detectors
        self.windows = Windows()
        self.panel = Panel(baseline.reference(), detectors=detectors())
        self.episodes: list[Episode] = []
        """Open ones; at most the last is not settled."""
        self.recent: deque[tuple[int, Mapping[str, tuple[Extreme, Extreme]]]] = deque(maxlen=RECENT)
        """When the latest windows were reported, and their lowest and highest alerts."""
        self.commanded: list[int] = []
        """When a training was commanded [ms since 1970]."""
        self.due: str | None = None
        """alarm_id of an episode whose command is held back."""
        self.changed = self.charts_revision = 0
        self.reference_ms, self.reference_revision, self.urgent = 0, -1, True

    def take(self, summary: ScoreSummary, *, at_ms: int, now_ms: int) -> Iterator[Output]:
        """Take a summary of the model's alerts."""
        self.windows.add(summary, at_ms)
        self.changed += 1
        for cut in self.windows.cut(summary.stratum, at_ms):
            yield from self._see(cut, now_ms)
        if self.due is not None:
            yield from self._command(now_ms)

    def _see(self, cut: Cut, now_ms: int) -> Iterator[Output]:
        if self.baseline.learn(cut):
            self._refer()
        open_now = self.episodes[-1] if self.episodes and not self.episodes[-1].settled else None
        alarms = self.panel.see(cut.stratum, cut.window, at_ms=cut.at_ms)
        if open_now is None and alarms:
            open_now = open_episode(alarms, cut, model=self.model, now_ms=now_ms)
            for at_ms, extremes in self.recent:
                if at_ms >= min(alarm.since_ms for alarm in alarms):
                    open_now.remember(extremes)
            self.episodes = [*self.episodes[-MOST_EPISODES + 1 :], open_now]
        elif open_now is not None:
            open_now.take(alarms)
        if open_now is not None:
            open_now.see(cut)
            yield from self._episode(open_now, now_ms)
        self.recent.append((cut.at_ms, cut.extremes))
        followed = self.baseline.roll(cut, quiet=not self.episodes and self.panel.quiet)
        if followed or (open_now is None and self.baseline.refine(cut)):
            self.panel.reference = self.baseline.reference()

    def _episode(self, episode: Episode, now_ms: int) -> Iterator[Output]:
        """What there is to say of the episode that is open."""
        settles = episode.n >= self._limits.settle_alerts
        diagnosis = episode.diagnosis
        back = {name for name in self.baseline.changed if self.baseline.returned(name, episode.since)} & set(episode.moved)
        if not back and diagnosis != episode.said and (settles or not is_population(diagnosis)):
            episode.said = diagnosis
            yield episode.record(self.model)
        if not settles:
            return
        episode.settled = True
        if len(back) * 2 > len(episode.moved):
            self._return(episode)
            return
        if is_population(diagnosis):
            self.due = episode.alarm_id
            yield from self._command(now_ms)
        self.baseline.shift(episode.since, moved={name for one in self.episodes for name in one.moved})
        self._refer(anew=True)

    def _return(self, episode: Episode) -> None:
        """What moved has moved back: the episodes of which nothing stays changed are over."""
        stays = {name for name in self.baseline.changed if not self.baseline.returned(name, episode.since)}
        over = [one for one in self.episodes if one is episode or not set(one.moved) & stays]
        self.episodes = [one for one in self.episodes if one not in over]
        log.info("what had moved is as before", model=self.model, alarms=[one.alarm_id for one in over if one is not episode])
        if any(one.alarm_id == self.due for one in over):
            self.due = None
        if self.episodes:
            self.baseline.shift(episode.since, moved=stays)
        else:
            self.baseline.unshift()
        self._refer(anew=True)

    def _command(self, now_ms: int) -> Iterator[Output]:
        """The command that an episode calls for, as soon as cool-down and budget allow it."""
        episode = next((one for one in self.episodes if one.alarm_id == self.due), None)
        if episode is None:
            self.due = None
            return
        tonight = sum(night_of(at) == night_of(now_ms) for at in self.commanded)
        if tonight >= self._limits.a_night or any(now_ms - at < self._limits.cooldown_ms for at in self.commanded):
            return
        self.due = None
        self.commanded = [*self.commanded[-MOST_COMMANDS + 1 :], now_ms]
        alarm = episode.record(self.model)
        order = RetrainCommand(
            command_id=f"{episode.scoring_id}:{alarm.alarm_id}",
            model=episode.scoring_id,
            reason=f"{alarm.diagnosis}: {alarm.statistic} of {alarm.stratum} moved from {alarm.before:.3f} to {alarm.after:.3f}",
            alarm_id=alarm.alarm_id,
            since_ms=now_ms,
            recipe=self._limits.recipe,
            from_ms=alarm.since_ms,
            until_ms=now_ms,
        )
        yield order
        yield LoopEvent(RETRAIN_COMMANDED, self.model, 0, order.author, order.reason, encode(order), now_ms)

    def resume(self, command: RetrainCommand) -> None:
        """Remember a command that another gave: cool-down and budget count it too."""
        if command.since_ms not in self.commanded:
            self.commanded = sorted([*self.commanded, command.since_ms])[-MOST_COMMANDS:]
            self.changed += 1

    def bequeathed(self) -> Reference:
        """What the next model begins with.

        A new population that has settled is what it was made for, and so its usual; an instrument that is still wrong is not, nor is what
        is not known yet: the return, or the change itself, is to be seen under the next model, too.
        """
        accepts = all(episode.settled and is_population(episode.diagnosis) for episode in self.episodes)
        strata = self.baseline.accepted() if accepts else dict(self.baseline.usual)
        return replace(self.baseline.reference(), strata=strata)

    def _refer(self, *, anew: bool = False) -> None:
        """Go on with the reference that is in force now; sums over another one mean nothing, and begin anew."""
        if anew:
            absent = self.panel.state()["absent"]
            self.panel = Panel(self.baseline.reference(), detectors=self._detectors())
            self.panel.restore({"charts": {}, "recent": [], "absent": absent})
        else:
            self.panel.reference = self.baseline.reference()
        self.urgent = True

    def states(self, now_ms: int, *, all_of_it: bool = False) -> Iterator[DriftState]:
        """The parts that changed since they were last asked for."""
        if self.changed != self.charts_revision or all_of_it:
            self.charts_revision = self.changed
            text = json.dumps(self._notes(), separators=(",", ":")).encode()
            yield DriftState(self.model, CHARTS, self.changed, "drift", now_ms, zlib.compress(text, 6))
        due = self.urgent or now_ms - self.reference_ms >= REFERENCE_EVERY_MS or all_of_it
        if due and self.baseline.revision != self.reference_revision:
            self.reference_ms, self.reference_revision, self.urgent = now_ms, self.baseline.revision, False
            yield reference_state(self.model, self.baseline, author="drift", now_ms=now_ms)

    def _notes(self) -> dict[str, Any]:
        return {
            "panel": self.panel.state(),
            "windows": self.windows.state(),
            "baseline": self.baseline.notes(),
            "episodes": [episode.plain() for episode in self.episodes],
            "recent": [[at_ms, plain_extremes(extremes)] for at_ms, extremes in self.recent],
            "commanded": self.commanded,
            "due": self.due,
        }

    def restore(self, charts: DriftState | None, reference: DriftState) -> None:
        """Go on where another was.

        Raises
        ------
        ValueError
            The states are not ours.
        """
        notes = {} if charts is None else _inflate(charts.body)
        try:
            arrays = safetensors.numpy.load(reference.body)
        except (SafetensorError, ValueError, KeyError, TypeError) as error:
            raise ValueError(f"not a reference: {error}") from None
        nothing = {"nights": {}, "mjd": {}, "waiting": [], "borrowed": self.baseline.borrowed}
        self.baseline.restore(arrays, notes.get("baseline", nothing))
        self.baseline.revision = self.reference_revision = reference.revision
        self.panel = Panel(self.baseline.reference(), detectors=self._detectors())
        if charts is None:
            return
        try:
            self.panel.restore(notes["panel"])
            self.windows.restore(notes["windows"])
            self.episodes = [episode_from(plain) for plain in notes["episodes"]]
            self.recent.extend((int(at_ms), extremes_from(extremes)) for at_ms, extremes in notes["recent"])
            self.commanded = [int(at) for at in notes["commanded"]]
            self.due = None if notes["due"] is None else str(notes["due"])
        except (KeyError, TypeError) as error:
            raise ValueError(f"not a state of the drift process: {type(error).__name__}: {error}") from None
        self.changed = self.charts_revision = charts.revision
        self.urgent = False


class Monitor:
    """All models whose alerts come.

    Parameters
    ----------
    limits : Limits
    find : callable
        Model → the reference that ships with it, or None.
    detectors : callable
        Makes what monitors some statistics in place of the sums; by statistic.
    """

    def __init__(
        self,
        limits: Limits,
        *,
        find: Callable[[str], Reference | None],
        detectors: Callable[[], Mapping[str, Detector]] = dict,
    ) -> None:
        self._limits, self._find, self._detectors = limits, find, detectors
        self.models: dict[str, Watch] = {}
        """The one met last stands last."""
        self.counts = PacketCounts()

    def take(self, record: ScoreSummary | WorkerSummary, *, at_ms: int, now_ms: int) -> list[Output]:
        """Take a record of telemetry.

        Parameters
        ----------
        record : ScoreSummary or WorkerSummary
        at_ms : int
            When it was appended [ms since 1970].
        now_ms : int
            [ms since 1970]
        """
        if isinstance(record, WorkerSummary):
            return list(self.counts.work(record, now_ms))
        if not record.statistics or not record.model:
            return []
        return [*self.counts.schemas(record, now_ms), *self._watch(record.model).take(record, at_ms=at_ms, now_ms=now_ms)]

    def _watch(self, model: str) -> Watch:
        watch = self.models.pop(model, None)
        if watch is None:
            shipped, borrowed = self._find(model), False
            if shipped is None and self.models:
                shipped, borrowed = next(reversed(self.models.values())).bequeathed(), True
                shipped = shipped if shipped.strata else None
            watch = self._new(model, shipped, borrowed=borrowed)
        self.models[model] = watch
        if len(self.models) > MOST_MODELS:
            del self.models[next(iter(self.models))]
        return watch

    def _new(self, model: str, shipped: Reference | None, *, borrowed: bool) -> Watch:
        baseline = Baseline(shipped, borrowed=borrowed, learn_windows=self._limits.learn_windows)
        return Watch(model, baseline, limits=self._limits, detectors=self._detectors)

    def resume(self, command: RetrainCommand) -> None:
        """Remember a command that was given: all models' budget is one model's, that of the state it names."""
        for watch in self.models.values():
            if any(episode.scoring_id == command.model for episode in watch.episodes):
                watch.resume(command)

    def states(self, now_ms: int, *, all_of_it: bool = False) -> list[DriftState]:
        """What changed since it was last asked for."""
        return [state for watch in self.models.values() for state in watch.states(now_ms, all_of_it=all_of_it)]

    def restore(self, states: Mapping[str, Mapping[str, DriftState]]) -> None:
        """Go on where another was; a state that is not ours is left out, and the model begins anew.

        Parameters
        ----------
        states : mapping
            Model → part → state.
        """
        latest = sorted(states.items(), key=lambda item: max(state.made_ms for state in item[1].values()))
        for model, parts in latest[-MOST_MODELS:]:
            if REFERENCE not in parts:
                continue
            watch = self._new(model, self._find(model), borrowed=False)
            try:
                watch.restore(parts.get(CHARTS), parts[REFERENCE])
            except ValueError as error:
                log.warning("a state of the drift process cannot be read; the model begins anew", model=model, why=str(error))
                continue
            self.models[model] = watch


def reference_state(model: str, baseline: Baseline, *, author: str, now_ms: int) -> DriftState:
    """The reference part of a state."""
    return DriftState(model, REFERENCE, baseline.revision, author, now_ms, safetensors.numpy.save(baseline.arrays()))


def night_of(at_ms: int) -> int:
    """The night a moment belongs to, counted from noon to noon UTC."""
    return (at_ms - DAY_MS // 2) // DAY_MS


def _inflate(body: bytes) -> dict[str, Any]:
    """JSON of a compressed body, bounded."""
    try:
        out = zlib.decompressobj()
        text = out.decompress(body, MOST_BODY)
        if out.unconsumed_tail:
            raise ValueError(f"it has more than {MOST_BODY:,} bytes")
        notes = json.loads(text)
    except (zlib.error, UnicodeDecodeError, RecursionError) as error:
        raise ValueError(f"not a state of the drift process: {error}") from None
    if not isinstance(notes, dict):
        raise ValueError("not a state of the drift process: not an object")
    return notes


def detectors_of(choose: Callable[[str], tuple[str, float | None]]) -> Callable[[], dict[str, Detector]]:
    """What makes the detectors that settings name; the sums are not among them.

    Parameters
    ----------
    choose : callable
        Statistic → name and parameter, as `DriftSettings.drift_detector_of`.
    """
    chosen = {name: choose(name) for name in STATISTICS}
    chosen = {name: found for name, found in chosen.items() if found[0] != "cusum"}

    def make() -> dict[str, Detector]:
        from operators.drift_detectors import make as make_one

        return {name: make_one(kind, parameter) for name, (kind, parameter) in chosen.items()}

    return make if chosen else dict
