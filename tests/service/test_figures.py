"""The bookkeeping of the status page under a clock of our own, and the page drawn from it."""

from __future__ import annotations

import re
from html.parser import HTMLParser

import pytest

from schemas.records.worker_summary import Outcomes, WorkerSummary
from service.status.chart import line_chart, nice_ceiling
from service.status.exposition import exposition
from service.status.figures import DELAY, POINTS, STEP, WINDOW, Figures, Lag, percentile
from service.status.page import live, page, rate, span
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


def flowing(clock: Clock, seconds: int = 60) -> Figures:
    figures = Figures(clock, "127.0.0.1:9092")
    figures.connected = True
    for _ in range(seconds):
        clock.now += 1
        figures.summary(summary(clock.now - 1, clock.now, 90, 4, truncated=1, unknown_survey=5))
    clock.now += 1
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
    s = figures.snapshot()
    assert s["workers_alive"] == 0
    assert s["state"] == "waiting"
    assert s["rates"]["in"] == 0
    figures.connected = False
    assert figures.snapshot()["state"] == "down"


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
    figures.lag = [Lag("alerts.ztf", 0, 1, 0, 101), Lag("alerts.lsst", 0, None, 0, 0)]
    clock.now += WINDOW + DELAY
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
    figures.lag = [Lag("alerts.ztf", 2, 10, 0, 17)]
    evil = '<img src=x onerror="alert(1)">'
    shown = {
        "survey": "ztf",
        "object_id": evil,
        "top_class": "tde",
        "top_probability": 0.91,
        "novelty": 0.2,
        "conformal_set": ["tde", evil],
    }
    figures.detection(clock.now, {**shown, "band": "g", "flux": -3.0, "n_detections": 4})
    figures.reasons[evil] = 3
    figures.classes["tde"] = 1
    html = page(figures.snapshot())
    checker = Checker()
    checker.feed(html)
    assert checker.open == []
    text = " ".join(checker.text)
    for word in ("truncated", "300", "worker-0", "alerts.ztf", "tde", "0.91", "balanced", "latency p99", evil):
        assert word in text
    assert "<img" not in html
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
    figures.lag = [Lag("alerts.ztf", 2, 10, 0, 17)]
    families = {f.name: f for f in text_string_to_metric_families(exposition(figures.snapshot()).decode())}
    packets = {s.labels["outcome"]: s.value for s in families["protonova_stream_packets"].samples}
    assert packets == {"in": 6000, "detections": 5400, "rejected": 360, "duplicates": 240}
    assert families["protonova_stream_lag_packets"].samples[0].value == 7


def test_numbers_as_a_reader_wants_them() -> None:
    assert [nice_ceiling(v) for v in (0, 0.3, 7, 21, 100, 260)] == [1, 0.5, 10, 25, 100, 500]
    assert [rate(v) for v in (None, 0, 99.9, 1234.5)] == ["–", "0.0", "99.9", "1\u2009234"]
    assert [span(v) for v in (None, 5, 250, 3 * 3600 + 300, 200_000)] == ["–", "5 s", "4 min 10 s", "3 h 05 min", "2 d 7 h"]
    assert line_chart("t", "1/s", series={"in": [None, 1.0, None, 2.0]}, seconds=8).count("M") == 2
