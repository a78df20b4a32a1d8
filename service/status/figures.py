"""What the topics say, message by message → the figures of the page. Pure bookkeeping: the clock is handed in, Kafka is `feed.py`'s.

Rates and latencies are over the last `WINDOW` seconds; totals since this page began to listen.
"""

from __future__ import annotations

import math
from collections import Counter, deque
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

from schemas.records.model_announced import ModelAnnounced
from schemas.records.source_state import SourceState
from schemas.records.worker_summary import WorkerSummary
from service.status import alarms
from service.status.balance import Balance, Partition
from service.status.heartbeat import Pulse
from streams.telemetry import FIRST_MS, GROWTH

OUTCOMES = ("in", "detections", "rejected", "duplicates")
WINDOW = 10
"""Span of rates and latency percentiles [s]."""
DELAY = 2
"""How long after its end a second is reported at the latest [s]."""
STEP = 2
"""Span of a point of the charts [s]."""
POINTS = 300
"""Points of the charts: ten minutes."""
AHEAD = 60.0
"""How far a worker's clock may be ahead of ours [s]."""
LOOKED_WITHIN = 8.0
"""The broker answers, and does not say where the topics stand, where the last look is older [s]."""
MOST_PARTS = 100
"""Mirrors and stages that are shown."""
WORKER_SILENT = 15.0
"""A worker not heard for this long counts as gone [s]."""


def percentile(counts: Mapping[int, int], q: float) -> float | None:
    """The q-quantile of binned latencies [ms], within 2.5 %; None of none.

    Parameters
    ----------
    counts : mapping
        Bin → how many fell into it; see `streams.telemetry.latency_bin`.
    q : float
        0 … 1.
    """
    total = sum(counts.values())
    if not total:
        return None
    wanted = max(1, math.ceil(q * total))
    for index in sorted(counts):
        wanted -= counts[index]
        if wanted <= 0:
            return float(FIRST_MS * GROWTH ** (index - 0.5))
    return None


@dataclass(slots=True)
class Second:
    """What happened in one second."""

    at: int
    counts: Counter[str] = field(default_factory=Counter)
    latency: Counter[int] = field(default_factory=Counter)


@dataclass(slots=True)
class Worker:
    """What a worker last said of itself."""

    heard: float
    total: int = 0
    scoring_id: str = ""
    recent: deque[tuple[float, float, int]] = field(default_factory=lambda: deque(maxlen=64))
    """(from, to, packets) of its latest summaries."""


@dataclass(frozen=True, slots=True)
class Lag:
    """Where the group stands in one partition of an input topic."""

    topic: str
    partition: int
    committed: int | None
    """None: the group has not acknowledged anything here."""
    start: int
    end: int

    @property
    def lag(self) -> int:
        """Packets not yet acknowledged."""
        return max(0, self.end - max(self.committed if self.committed is not None else self.start, self.start))


class Figures:
    """Folds messages and gives a snapshot.

    Parameters
    ----------
    clock : callable
        Seconds since 1970.
    broker : str
        Address shown on the page.
    """

    def __init__(self, clock: Callable[[], float], broker: str) -> None:
        self._clock = clock
        self.broker = broker
        self.started = clock()
        self.totals: Counter[str] = Counter()
        self.reasons: Counter[str] = Counter()
        self.classes: Counter[str] = Counter()
        """Detections by the class of their decision."""
        self.published: Counter[str] = Counter()
        """Those of them that reached the class's threshold: they are on its topic, unless they are not public."""
        self.workers: dict[str, Worker] = {}
        self.parts: dict[str, tuple[float, SourceState]] = {}
        """Mirrors of sources, and in brackets stages of the work on frames: when it was heard, and what it said."""
        self.models: dict[str, ModelAnnounced] = {}
        """Alias → the model that it names."""
        self.alarms: deque[dict[str, Any]] = deque(maxlen=20)
        self.detections: deque[dict[str, Any]] = deque(maxlen=25)
        self.lag: Sequence[Lag] = ()
        self.bad_records: Mapping[tuple[str, str], int] = {}
        """Messages of our topics that are not records of ours, by topic and error class."""
        self.model = self.engine = self.scoring_id = ""
        self.pulse = Pulse(clock)
        self.balance = Balance()
        self.history_lost: Mapping[str, int] = {}
        """Topic of alerts → packets that the history has as lost."""
        self.looked: float | None = None
        """When the broker last said where the topics stand [s since 1970]."""
        self.missing: Sequence[str] = ()
        """Topics that the broker does not have."""
        self._seconds: deque[Second] = deque(maxlen=STEP * POINTS + WINDOW + DELAY)

    def _second(self, at: float) -> Second | None:
        """The slot of a moment; None: longer ago than the charts reach, or to come."""
        second = int(at)
        if second > self._clock() + AHEAD:  # what a wrong clock says would push all that is shown out of the charts
            return None
        if not self._seconds or self._seconds[-1].at < second:
            last = self._seconds[-1].at if self._seconds else second - 1
            for missing in range(max(last + 1, second - (self._seconds.maxlen or 0)), second + 1):
                self._seconds.append(Second(missing))
        index = second - self._seconds[0].at
        return self._seconds[index] if 0 <= index < len(self._seconds) else None

    def summary(self, summary: WorkerSummary) -> None:
        """A worker's summary of a window."""
        counts = {"in": summary.total, "detections": 0, "rejected": 0, "duplicates": 0}
        for outcomes in summary.surveys.values():
            counts["detections"] += outcomes.detections
            counts["duplicates"] += outcomes.duplicates
            counts["rejected"] += sum(outcomes.rejected.values())
            self.reasons.update(outcomes.rejected)
        self.classes.update(summary.classes)
        self.published.update(summary.published)
        start, end = summary.start_ms / 1000, summary.end_ms / 1000
        # Spread over the window, so that summaries of several seconds do not draw a comb. No second gets a fraction of a packet.
        seconds = max(1, min(60, round(end - start)))
        for kind, whole in counts.items():
            self.totals[kind] += whole
            for i in range(seconds):
                part = whole * (i + 1) // seconds - whole * i // seconds
                slot = self._second(end - seconds + i) if part else None
                if slot is not None:
                    slot.counts[kind] += part
        slot = self._second(end - 1)
        if slot is not None:
            slot.latency.update(summary.latency)
        known = self.workers.setdefault(summary.worker, Worker(self._clock()))
        known.heard = self._clock()
        known.total += counts["in"]
        known.scoring_id = summary.scoring_id
        known.recent.append((start, end, counts["in"]))
        self.model, self.engine, self.scoring_id = summary.model, summary.engine, summary.scoring_id

    def detection(self, at: float, record: Mapping[str, Any]) -> None:
        """A detection to show, as a dictionary of its fields."""
        self.detections.appendleft({"time": at, **record})

    def alarm(self, at: float, record: Mapping[str, Any]) -> None:
        """An alarm to show; one with an id that is known is the same, as it is known now."""
        for i, known in enumerate(self.alarms):
            if known.get("alarm_id") == record.get("alarm_id"):
                self.alarms[i] = {**record, "time": known["time"]}
                return
        self.alarms.appendleft({"time": at, **record})

    def announced(self, alias: str, model: ModelAnnounced | None) -> None:
        """Take which model an alias names; None: none any more."""
        if model is None:
            self.models.pop(alias, None)
        else:
            self.models[alias] = model

    def look(self, partitions: Sequence[Partition]) -> None:
        """Where the broker and the group stand now in the input topics."""
        self.looked = self._clock()
        self.lag = [Lag(p.topic, p.partition, p.committed, p.start, p.end) for p in partitions]
        self.balance.observe(partitions, self.looked)

    @property
    def ready(self) -> bool:
        """Whether the broker answers, and says where the topics stand."""
        return self.pulse.alive and self.looked is not None and self._clock() - self.looked < LOOKED_WITHIN

    def _heard_since(self, worker: str, moment: float) -> bool:
        known = self.workers.get(worker)
        return known is not None and known.heard > moment + 1 and bool(known.recent) and known.recent[-1][0] >= moment

    def part(self, state: SourceState) -> None:
        """Take what a mirror, or a stage of the work on frames, says of itself."""
        if len(self.parts) < MOST_PARTS or state.source in self.parts:
            self.parts[state.source] = self._clock(), state

    def _workers(self, now: float) -> list[dict[str, Any]]:
        out = []
        for name, w in sorted(self.workers.items()):
            fresh = [(a, b, n) for a, b, n in w.recent if b > now - WINDOW]
            covered = max(1.0, fresh[-1][1] - fresh[0][0]) if fresh else 1.0
            age = max(0.0, now - w.heard)
            out.append(
                {
                    "worker": name,
                    "age_s": round(age, 1),
                    "alive": age < WORKER_SILENT,
                    "rate": sum(n for _, _, n in fresh) / covered,
                    "total": w.total,
                    "scoring_id": w.scoring_id,
                }
            )
        return out

    def _history(self, now: float) -> dict[str, Any]:
        """Points of `STEP` seconds, oldest first; seconds of which not everything is reported yet are left out."""
        have = {s.at: s for s in self._seconds}
        last = int(now) - DELAY - 1
        out: dict[str, Any] = {"step_s": STEP, **{k: [] for k in (*OUTCOMES, "p50", "p99")}}
        for i in range(POINTS):
            ends = last - STEP * (POINTS - 1 - i)
            slots = [have[t] for t in range(ends - STEP + 1, ends + 1) if t in have]
            listening = ends >= int(self.started)
            for kind in OUTCOMES:
                out[kind].append(sum(s.counts[kind] for s in slots) / STEP if listening else None)
            latency: Counter[int] = Counter()
            for s in slots:
                latency.update(s.latency)
            for key, q in (("p50", 0.5), ("p99", 0.99)):
                value = percentile(latency, q)
                out[key].append(None if value is None else round(value, 2))
        return out

    def _broker(self) -> tuple[str, str]:
        """State of the broker, and what to say where it does not serve; empty: it does."""
        if not self.broker:
            return "none", "no broker: none is configured, and none of ours runs"
        if not self.pulse.alive:
            silent = f"for {self.pulse.silent_s:.0f} s"
            if self.pulse.frozen:
                return "frozen", f"broker frozen: {self.pulse.fault}, {silent}"
            if self.pulse.fault:
                return "gone", f"no broker: {self.pulse.fault}, {silent}"
            return "unknown", "no broker heard yet" if self.pulse.answered is None else f"broker not heard {silent}"
        if self.missing:
            return "answers", f"the broker has no topic {self.missing[0]}"
        if not self.ready:
            return "answers", "the broker answers, and does not say where the topics stand"
        return "answers", ""

    def _state(self, fault: str, alive: int, *, lag: int, rate: float) -> tuple[str, str, str]:
        """State, what to say of it, and the command that helps."""
        if fault:
            return "down", fault, "protonova topics --repair" if self.missing else "protonova doctor" if self.broker else "protonova run"
        if not alive:
            return "waiting", "no worker heard", "protonova run"
        state, text = self._flow(lag, rate)
        return state, text, ""

    def _flow(self, lag: int, rate: float) -> tuple[str, str]:
        if rate:
            return ("behind", "catching up") if lag > 10 * max(rate, 1) else ("live", "live")
        return ("behind", "lag without flow") if lag else ("quiet", "quiet: nothing comes in")

    def snapshot(self) -> dict[str, Any]:
        """All figures, as ``/status.json`` serves them. Times [s since 1970], rates [1/s], latency [ms]."""
        now = self._clock()
        # A summary of a second comes after its end: the window ends where the reports do.
        recent = [s for s in self._seconds if int(now) - DELAY - WINDOW <= s.at < int(now) - DELAY]
        listened = min(WINDOW, max(1.0, now - self.started - DELAY))
        latency: Counter[int] = Counter()
        for s in recent:
            latency.update(s.latency)
        rates = {k: sum(s.counts[k] for s in recent) / listened for k in OUTCOMES}
        workers = self._workers(now)
        alive = sum(w["alive"] for w in workers)
        lag = sum(p.lag for p in self.lag)
        broker_state, fault = self._broker()
        state, text, command = self._state(fault, alive, lag=lag, rate=rates["in"])
        balance = self.balance.snapshot()
        if fault:
            balance |= _not_known(balance, fault, looked=self.looked is not None)
        balance["history_lost"] = sum(self.history_lost.values())
        if balance["history_lost"]:
            balance["state"] = "loss"
        if balance["state"] == "loss" and not fault:
            lost = max(balance["unaccounted"], balance["history_lost"])
            state, text = "loss", f"loss: {lost or 'some'} packets unaccounted for; {text}"
        active = alarms.active(self.alarms, balance["losses"], now=now, heard_since=self._heard_since)
        return {
            "time": now,
            "uptime_s": now - self.started,
            "state": state,
            "state_text": text,
            "command": command,
            "broker": self.broker,
            "broker_state": broker_state,
            "looked": self.looked,
            "balance": balance,
            "active_alarms": [alarm._asdict() for alarm in active],
            "model": self.model,
            "scoring_id": self.scoring_id,
            "engine": self.engine,
            "window_s": WINDOW,
            "rates": rates,
            "totals": {k: self.totals[k] for k in OUTCOMES},
            "rejected": dict(self.reasons),
            "classes": dict(self.classes),
            "published": dict(self.published),
            "bad_records": [{"topic": t, "error_class": e, "records": n} for (t, e), n in sorted(self.bad_records.items())],
            "latency_ms": {
                "p50": percentile(latency, 0.5),
                "p90": percentile(latency, 0.9),
                "p99": percentile(latency, 0.99),
                "n": sum(latency.values()),
            },
            "lag_total": lag,
            "lag_idle": sum(1 for p in self.lag if p.end == p.start),
            "lag": [
                {"topic": p.topic, "partition": p.partition, "committed": p.committed, "end": p.end, "lag": p.lag}
                for p in self.lag
                if p.end > p.start
            ],
            "workers": workers,
            "workers_alive": alive,
            "parts": [
                {
                    "part": name.strip("()"),
                    "state": said.state if now - heard < WORKER_SILENT else "silent",
                    "done": said.copied,
                    "rejected": said.rejected,
                    "lost": said.lost,
                    "lag": said.lag,
                    "why": said.error,
                    "age_s": round(max(0.0, now - heard), 1),
                }
                for name, (heard, said) in sorted(self.parts.items())
            ],
            "models": [
                {"alias": m.alias, "model": m.model, "since": m.announced_ms / 1000, "author": m.author, "note": m.note}
                for _, m in sorted(self.models.items())
            ],
            "alarms": list(self.alarms),
            "detections": list(self.detections),
            "history": self._history(now),
        }


def _not_known(balance: Mapping[str, Any], fault: str, *, looked: bool) -> dict[str, Any]:
    """What of a balance still holds while the broker says nothing: losses alone."""
    unknown = {"state": "unknown", "why": "the broker does not say"}
    rows = [row if row["state"] == "loss" else {**row, **unknown} for row in balance["topics"]]
    if balance["state"] == "loss":
        return {"topics": rows}
    seen = f"; it was {balance['state']} when the broker last answered" if looked else ""
    return {"topics": rows, "state": "unknown", "why": f"{fault}{seen}"}
