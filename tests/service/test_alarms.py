"""What asks for a person: what, since when, which way, which command; and when it does not any more."""

from __future__ import annotations

from typing import Any

import pytest

from service.status.alarms import SHOWN_S, active
from service.status.drift_part import drift_part
from service.status.page import SHOWN_ALARMS, _active

NOW = 1_700_000_000.0


def record(detector: str, statistic: str, stratum: str, before: float, after: float, ago: float = 10.0, window: int = 9) -> dict[str, Any]:
    return {"alarm_id": f"{ago}", "detector": detector, "statistic": statistic, "stratum": stratum, "before": before, "after": after,
            "window": window, "scoring_id": "cafe", "raised_ms": int((NOW - ago) * 1000)}  # fmt: skip


def alarms(*records: dict[str, Any], heard: bool = False, losses: Any = ()) -> list[Any]:
    return active(records, losses, now=NOW, heard_since=lambda worker, moment: heard)


REJECTS = "protonova rejects ls"


@pytest.mark.parametrize(
    ("raised", "what", "direction", "command"),
    [
        (("adwin", "novelty", "ztf/g/sky", 0.1, 0.31), "novelty of ztf/g/sky", "rose from 0.100 to 0.310", "protonova watch"),
        (
            ("adwin", "top_probability", "lsst/i/plane", 0.9, 0.4),
            "top probability of lsst/i/plane",
            "fell from 0.900 to 0.400",
            "protonova watch",
        ),
        (("adwin", "rejected_ratio", "ztf", 0.0, 0.2), "rejected ratio of ztf", "rose from 0.000 to 0.200", REJECTS),
        (
            ("reader", "corrupt_batch", "alerts.ztf/3", 0, 64),
            "corrupt_batch on alerts.ztf/3: 64 unreadable records passed over",
            "",
            f"{REJECTS} --reason corrupt_batch",
        ),
        (
            ("limit", "reject_limit", "worker-0/truncated", 0.95, 0.97, 10.0, 5000),
            "worker-0 halted: 97% of the last 5,000 packets were rejected (truncated)",
            "",
            REJECTS,
        ),
        (
            ("limit", "reject_limit", "worker-0/bad_value", 2000, 2000, 10.0, 2000),
            "worker-0 halted: 2,000 packets in a row were rejected (bad_value)",
            "",
            REJECTS,
        ),
    ],
)
def test_each_kind_says_what_and_what_helps(raised: tuple[Any, ...], what: str, direction: str, command: str) -> None:
    (found,) = alarms(record(*raised))
    assert found.what.startswith(what)
    assert (found.direction, found.command) == (direction, command)
    assert found.since == pytest.approx(NOW - 10)


def test_one_that_is_raised_again_is_one_since_its_first_time() -> None:
    (found,) = alarms(
        record("reader", "corrupt_batch", "alerts.ztf/3", 0, 64, ago=10), record("reader", "corrupt_batch", "alerts.ztf/3", 0, 1, ago=900)
    )
    assert found.since == pytest.approx(NOW - 900)
    assert "64 unreadable records" in found.what, "the latest one's number"


def test_one_of_long_ago_is_over_and_so_is_a_halt_whose_worker_is_heard() -> None:
    assert alarms(record("adwin", "novelty", "ztf/g/sky", 0.1, 0.3, ago=SHOWN_S + 1)) == []
    halt = record("limit", "reject_limit", "worker-0/truncated", 2000, 2000)
    assert len(alarms(halt)) == 1
    assert alarms(halt, heard=True) == []


def test_the_worst_comes_first_and_the_header_stays_short() -> None:
    loss = {"topic": "alerts.ztf", "partition": 0, "first": 80, "next": 120, "packets": 40, "since": NOW - 3000}
    found = alarms(*(record("adwin", "novelty", f"ztf/{band}/sky", 0.1, 0.3) for band in "ugrizy"), losses=[loss])
    assert len(found) == 7
    assert found[0].command == "protonova replay kafka://alerts.ztf --out scores.parquet"
    html = _active({"active_alarms": [a._asdict() for a in found], "time": NOW})
    assert html.count("<li") == SHOWN_ALARMS + 1
    assert "and 3 more" in html


def test_losses_of_a_topic_are_one_alarm() -> None:
    losses = [
        {"topic": topic, "partition": p, "first": 5 * p, "next": 5 * p + 1, "packets": 1, "since": NOW - p}
        for topic in ("alerts.ztf", "alerts.lsst")
        for p in range(6)
    ]
    found = alarms(losses=losses)
    assert [a.what.partition(" (")[0] for a in found] == [f"6 packets of alerts.{t} passed without an outcome" for t in ("ztf", "lsst")]
    assert found[0].what.endswith("partition 3: offsets 15 to 15; 2 more)")
    assert found[0].since == NOW - 5


DRIFT = {
    **record("panel", "zp", "ztf/r/sky", -0.02, 0.08, ago=30.0), "diagnosis": "instrument: zero point", "severity": 2.5,
    "since_ms": int((NOW - 900) * 1000), "moved": ["zp", "limit"], "edges": [-1.0, 0.0, 1.0, 2.0], "before_bins": [0.75, 0.25, 0.0],
    "after_bins": [0.25, 0.75, 0.0], "examples": ["ztf:5:ab", "ztf:6:<b>"], "time": NOW - 30,
}  # fmt: skip


def test_drift_says_what_it_comes_from_since_when_and_whether_training_helps() -> None:
    (found,) = alarms(DRIFT)
    assert (found.what, found.direction) == ("instrument: zero point: zp of ztf/r/sky", "rose from -0.020 to 0.080")
    assert found.since == pytest.approx(NOW - 900), "since it moved, not since it was raised"
    assert "no training" in found.advice
    (found,) = alarms({**DRIFT, "diagnosis": "population"})
    assert "training that was commanded" in found.advice


def test_histograms_before_and_after_are_drawn() -> None:
    html = drift_part({"alarms": [DRIFT, record("limit", "reject_limit", "w/x", 1, 2)], "time": NOW})
    assert html.count("<svg") == 1
    for text in ("instrument: zero point", "2.5 spreads", "15 min 00 s ago", "with limit", "ztf:5", "ztf:6"):
        assert text in html
    assert "<b>" not in html.replace("<b>instrument: zero point</b>", ""), "what a record says of itself is text"
    area, line = (html.split(f'class="{name}" d="')[1].split('"')[0] for name in ("area", "line line-after"))
    heights = [[float(y) for y in {part.split(" ")[1].rstrip("Z") for part in path.split("L")[1:]}] for path in (area, line)]
    assert min(heights[0]) == min(heights[1]), "the highest share of both is the same"
    assert drift_part({"alarms": [{**DRIFT, "edges": []}], "time": NOW}) == ""
