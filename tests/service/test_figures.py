"""The bookkeeping of the status page under a clock of our own, and the page drawn from it."""

from __future__ import annotations

import io
import re
from dataclasses import asdict
from html.parser import HTMLParser

import pytest
from rich.console import Console

from console.commands.show_status import render
from schemas.records.drift_alarm import DriftAlarm
from schemas.records.model_announced import ModelAnnounced
from schemas.records.source_state import SourceState
from schemas.records.worker_summary import Outcomes, WorkerSummary
from service.status.balance import Partition
from service.status.chart import line_chart, nice_ceiling
from service.status.exposition import exposition
from service.status.figures import DELAY, LOOKED_WITHIN, POINTS, STEP, WINDOW, Figures, Lag, percentile
from service.status.heartbeat import FRESH
from service.status.page import live, page
from service.status.page_text import rate, span
from streams.kafka.offset_ledger import Ledger
from streams.telemetry import latency_bin


class Clock:
    def __init__(self) -> None:
        self.now = 1_700_000_000.0

    def __call__(self) -> float:
        return self.now


@pytest.fixture
def clock() -> Clock:
    return Clock()


def summary(start: float, end: float, detections: int, duplicates: int = 0, **rejected: int) -> WorkerSummary:
    reported = WorkerSummary("worker-0", int(start * 1000), int(end * 1000), "cafe", "beef", "onnxruntime")
    reported.surveys["ztf"] = Outcomes(detections, duplicates, rejected)
    for ms in (20, 30, 200):
        reported.latency[latency_bin(ms)] = 1
    return reported


def answering(figures: Figures, *partitions: Partition) -> None:
    """The broker answers, and says where the topics stand."""
    figures.pulse.beat()
    figures.look(partitions)


def at(offset: int | None, end: int, *, topic: str = "alerts.ztf", partition: int = 0, start: int = 0) -> Partition:
    """A partition up to an offset of which all are detections."""
    ledger = None if offset is None else Ledger(start, offset - start)
    return Partition(topic, partition, "topic-id:a", start, end, offset, ledger)


def flowing(clock: Clock, seconds: int = 60) -> Figures:
    figures = Figures(clock, "127.0.0.1:9092")
    for _ in range(seconds):
        clock.now += 1
        answering(figures)
        figures.summary(summary(clock.now - 1, clock.now, 90, 4, truncated=1, unknown_survey=5))
    clock.now += 1
    answering(figures)
    return figures


def test_rates_totals_and_reasons(clock: Clock) -> None:
    s = flowing(clock).snapshot()
    assert s["totals"] == {"in": 6000, "detections": 5400, "rejected": 360, "duplicates": 240}
    assert s["rejected"] == {"truncated": 60, "unknown_survey": 300}
    assert s["rates"]["in"] == pytest.approx(100)
    assert (s["model"], s["engine"], s["scoring_id"]) == ("beef", "onnxruntime", "cafe")
    assert s["latency_ms"]["p50"] == pytest.approx(30, rel=0.03)
    assert s["latency_ms"]["p99"] == pytest.approx(200, rel=0.03)
    assert (s["state"], s["workers_alive"]) == ("live", 1)


def test_a_summary_of_five_seconds_is_spread_without_losing_a_packet(clock: Clock) -> None:
    figures = Figures(clock, "")
    clock.now += 20
    figures.summary(summary(clock.now - 5, clock.now, 103))
    clock.now += DELAY + STEP + 1
    s = figures.snapshot()
    assert s["totals"]["in"] == 103
    drawn = [v for v in s["history"]["in"] if v]
    assert sum(drawn) * STEP == 103
    assert max(drawn) <= 21


def test_a_silent_worker_is_gone_and_a_broker_down_is_said(clock: Clock) -> None:
    figures = flowing(clock)
    clock.now += 60
    answering(figures)
    s = figures.snapshot()
    assert s["workers_alive"] == 0
    assert (s["state"], s["command"]) == ("waiting", "protonova run")
    assert s["rates"]["in"] == 0
    clock.now += FRESH
    assert figures.snapshot()["state"] == "down"


def test_a_broker_that_is_frozen_gone_or_silent_is_named(clock: Clock) -> None:
    figures = flowing(clock)
    assert figures.ready
    figures.pulse.miss("127.0.0.1:9092 takes connections and does not answer", frozen=True)
    assert figures.ready, "one slow answer is waited for"
    clock.now += FRESH
    s = figures.snapshot()
    assert (figures.ready, s["broker_state"], s["state"]) == (False, "frozen", "down")
    assert "takes connections and does not answer" in s["state_text"]
    figures.pulse.beat()
    assert figures.ready
    figures.pulse.miss("nothing listens at 127.0.0.1:9092", frozen=False)
    s = figures.snapshot()
    assert (figures.ready, s["broker_state"]) == (False, "gone"), "a refused connection is known at once"
    assert s["command"] == "protonova doctor"
    figures.pulse.beat()
    clock.now += LOOKED_WITHIN
    figures.pulse.beat()
    s = figures.snapshot()
    assert (figures.ready, s["broker_state"]) == (False, "answers")
    assert "does not say where the topics stand" in s["state_text"]
    figures.missing = ["alerts.ztf"]
    assert figures.snapshot()["command"] == "protonova topics --repair"


def test_what_is_not_known_any_more_is_not_balanced(clock: Clock) -> None:
    figures = flowing(clock)
    answering(figures, at(100, 103))
    assert figures.snapshot()["balance"]["state"] == "balanced"
    clock.now += FRESH
    balance = figures.snapshot()["balance"]
    assert balance["state"] == "unknown"
    assert "it was balanced when the broker last answered" in balance["why"]
    assert [row["state"] for row in balance["topics"]] == ["unknown"]
    html = live(figures.snapshot())
    assert 'class="balance warn"' in html
    assert "verdict ok" not in html
    assert 'protonova_balance{state="balanced",topic="alerts.ztf"} 0.0' in exposition(figures.snapshot()).decode()


def test_a_loss_is_red_on_the_page_in_the_metrics_and_on_the_terminal(clock: Clock) -> None:
    figures = flowing(clock)
    answering(figures, at(80, 120))
    clock.now += 1
    answering(figures, Partition("alerts.ztf", 0, "topic-id:a", 0, 120, 120, None, marked=False))
    s = figures.snapshot()
    assert (s["balance"]["state"], s["balance"]["unaccounted"]) == ("loss", 40)
    assert (s["state"], s["state_text"].partition(";")[0]) == ("loss", "loss: 40 packets unaccounted for")
    html = live(s)
    assert 'class="balance bad"' in html
    assert "40 packets of alerts.ztf passed without an outcome (partition 0: offsets 80 to 119)" in html
    assert "protonova replay kafka://alerts.ztf" in html
    metrics = exposition(s).decode()
    assert 'protonova_balance_packets{part="unaccounted",topic="alerts.ztf"} 40.0' in metrics
    assert 'protonova_balance{state="loss",topic="alerts.ztf"} 1.0' in metrics
    assert 'protonova_alarms_active{severity="bad"} 1.0' in metrics
    console = Console(width=100, record=True, file=io.StringIO())
    render(console, s)
    text = console.export_text()
    assert "40 UNACCOUNTED FOR" in text
    assert "protonova replay kafka://alerts.ztf" in text


def test_a_long_pause_and_old_messages_do_no_harm(clock: Clock) -> None:
    figures = flowing(clock)
    clock.now += 86_400 * 30
    figures.summary(summary(clock.now - 1, clock.now, 7))
    figures.summary(summary(clock.now - 1e6, clock.now - 1e6 + 1, 5))
    clock.now += DELAY + STEP + 1
    s = figures.snapshot()
    assert len(s["history"]["in"]) == POINTS
    assert sum(v for v in s["history"]["in"] if v) * STEP == 7
    assert s["totals"]["in"] == 6012


def test_lag_counts_from_the_log_start() -> None:
    assert Lag("t", 0, None, 5, 12).lag == 7
    assert Lag("t", 0, 10, 5, 12).lag == 2
    assert Lag("t", 0, 3, 5, 12).lag == 7  # what was deleted by retention is not waiting
    assert Lag("t", 0, 12, 5, 12).lag == 0


def test_lag_without_flow_is_said(clock: Clock) -> None:
    figures = flowing(clock)
    clock.now += WINDOW + DELAY
    answering(figures, at(1, 101), at(None, 0, topic="alerts.lsst"))
    s = figures.snapshot()
    assert (s["state_text"], s["lag_total"], s["lag_idle"], len(s["lag"])) == ("lag without flow", 100, 1, 1)


def test_percentiles_of_bins() -> None:
    assert percentile({}, 0.5) is None
    counts = {latency_bin(20.0): 99, latency_bin(3000.0): 1}
    assert percentile(counts, 0.99) == pytest.approx(20, rel=0.03)
    assert percentile(counts, 1.0) == pytest.approx(3000, rel=0.03)


class Checker(HTMLParser):
    """Every element that is opened is closed; collects text and tags."""

    def __init__(self) -> None:
        super().__init__()
        self.open: list[str] = []
        self.text: list[str] = []
        self.attributes: list[tuple[str, str | None]] = []

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.attributes += attrs
        if tag not in ("meta", "link"):
            self.open.append(tag)

    def handle_startendtag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.attributes += attrs

    def handle_endtag(self, tag: str) -> None:
        assert self.open.pop() == tag

    def handle_data(self, data: str) -> None:
        self.text.append(data)


def test_the_page_is_whole_without_javascript_and_escapes_what_it_shows(clock: Clock) -> None:
    figures = flowing(clock)
    answering(figures, at(10, 17, partition=2))
    evil = '<img src=x onerror="alert(1)">'
    shown = {
        "survey": "ztf",
        "object_id": evil,
        "class": "tde",
        "prior_probability": 0.91,
        "published": False,
        "real": False,
        "balanced_class": evil,
        "balanced_probability": 0.37,
        "novelty": 0.2,
        "conformal_set": ["tde", evil],
    }
    figures.detection(clock.now, {**shown, "band": "g", "flux": -3.0, "n_detections": 4})
    figures.reasons[evil] = 3
    figures.classes["tde"], figures.published["tde"] = 1, 1
    html = page(figures.snapshot())
    checker = Checker()
    checker.feed(html)
    assert checker.open == []
    text = " ".join(checker.text)
    for word in ("truncated", "300", "worker-0", "alerts.ztf", "tde", "0.91", "not real", "0.37", "balanced", "latency p99", evil):
        assert word in text
    assert "<img" not in html
    assert checker.attributes.count(("tabindex", "0")) == html.count('class="scroll"') > 3, "a table scrolls without a mouse"
    assert [c for c in ("class", "prior prob.", "on topic", "object") if c not in text] == []
    assert text.index("0.91") < text.rindex(evil), "a phone shows the first columns only"
    # The content policy allows no inline style or script.
    assert not [a for a in checker.attributes if a[0] == "style" or a[0].startswith("on")]
    assert re.findall(r"<script(?! src=)", html) == []


def test_an_empty_page(clock: Clock) -> None:
    clock.now += 0.2
    html = live(Figures(clock, "").snapshot())
    assert "no broker" in html
    assert "None heard yet" in html


def test_prometheus_reads_the_figures(clock: Clock) -> None:
    from prometheus_client.parser import text_string_to_metric_families

    figures = flowing(clock)
    answering(figures, at(10, 17, partition=2))
    figures.classes["tde"], figures.published["tde"] = 3, 2
    figures.alarm(clock.now, asdict(DriftAlarm("1", "adwin", "novelty", "ztf/g/sky", 0.1, 0.3, 9, "cafe", int(clock.now * 1000))))
    families = {f.name: f for f in text_string_to_metric_families(exposition(figures.snapshot()).decode())}
    packets = {s.labels["outcome"]: s.value for s in families["protonova_stream_packets"].samples}
    assert packets == {"in": 6000, "detections": 5400, "rejected": 360, "duplicates": 240}
    assert families["protonova_stream_lag_packets"].samples[0].value == 7
    assert {s.labels["class"]: s.value for s in families["protonova_stream_classes"].samples} == {"tde": 3}
    assert {s.labels["class"]: s.value for s in families["protonova_stream_published"].samples} == {"tde": 2}
    assert {s.labels["severity"]: s.value for s in families["protonova_alarms_active"].samples} == {"bad": 0, "warn": 1}
    raised = families["protonova_alarm_raised_seconds"].samples[0]
    assert (raised.labels, raised.value) == ({"alarm": "novelty", "of": "ztf/g/sky"}, clock.now)


def test_numbers_as_a_reader_wants_them() -> None:
    assert [nice_ceiling(v) for v in (0, 0.3, 7, 21, 100, 260)] == [1, 0.5, 10, 25, 100, 500]
    assert [rate(v) for v in (None, 0, 99.9, 1234.5)] == ["–", "0.0", "99.9", "1\u2009234"]
    assert [span(v) for v in (None, 5, 250, 3 * 3600 + 300, 200_000)] == ["–", "5 s", "4 min 10 s", "3 h 05 min", "2 d 7 h"]
    assert line_chart("t", "1/s", series={"in": [None, 1.0, None, 2.0]}, seconds=8).count("M") == 2


def test_mirrors_and_the_work_on_frames_have_a_row(clock: Clock) -> None:
    figures = Figures(clock, "broker:9092")
    assert "Mirrors and frames" not in page(figures.snapshot())
    said = SourceState("(calibrator)", "running", "waiting: <the store>", ("frames.raw",), 1234, 5, 0, 7, 0)
    figures.part(said)
    figures.part(SourceState("ztf", "running", "", ("t",), 1, 0, 0, 0, 0))
    [first, second] = figures.snapshot()["parts"]
    assert (first["part"], first["state"], first["done"], first["rejected"], first["lag"]) == ("calibrator", "running", 1234, 5, 7)
    assert second["part"] == "ztf"
    drawn = page(figures.snapshot())
    assert "waiting: &lt;the store&gt;" in drawn
    assert "calibrator" in drawn
    console = Console(file=io.StringIO(), width=200)
    render(console, figures.snapshot())
    assert "waiting: <the store>" in console.file.getvalue()  # type: ignore[attr-defined]
    clock.now += 60
    assert {p["state"] for p in figures.snapshot()["parts"]} == {"silent"}


def test_models_have_a_row_and_a_bundle_that_is_not_used_an_alarm(clock: Clock) -> None:
    figures = Figures(clock, "broker:9092")
    assert "<h2>Models" not in page(figures.snapshot())
    for alias, digit in (("champion", "a"), ("challenger", "b")):
        made = ModelAnnounced(alias, digit * 64, digit * 16, 2, "<ada>", "finds more", "", int(1000 * (clock.now - 90)))
        figures.announced(alias, made)
    html = page(figures.snapshot())
    assert "1 min 30 s ago" in html
    assert "a" * 16 in html
    assert "&lt;ada&gt;" in html
    shown = io.StringIO()
    render(Console(file=shown, width=140), figures.snapshot())
    assert "<ada>" in shown.getvalue()
    figures.announced("challenger", None)
    assert [m["alias"] for m in figures.snapshot()["models"]] == ["champion"]
    alarm = DriftAlarm("1", "models", "bad_bundle", "c" * 16, 0.0, 0.0, 0, "cafe", int(clock.now * 1000))
    figures.alarm(clock.now, asdict(alarm))
    [active] = figures.snapshot()["active_alarms"]
    assert (active["what"], active["severity"]) == (f"bundle {'c' * 16} is not used", "bad")
