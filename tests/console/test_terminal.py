"""What a packet or a record says reaches no terminal as anything but text, and the live table fits the terminal."""

from __future__ import annotations

import io
import json
import time
from dataclasses import asdict
from typing import Any

import pytest
from rich.console import Console

from console import report as reports
from console.commands import watch
from console.commands.show_status import render
from schemas.records.detection import Detection
from schemas.records.drift_alarm import DriftAlarm
from schemas.records.parts import ClassProbability
from service.status.balance import Partition
from service.status.figures import Figures
from streams.kafka.offset_ledger import Ledger

HOSTILE = "ZTF\x1b[2J\x1b]0;owned\x07\x9b31m[red]\u202e[/red][link=http://evil.example]x"


def detection(**changed: Any) -> Detection:
    plain: dict[str, Any] = {
        "detection_id": "ztf:1:abc", "survey": "ztf", "candid": 1, "object_id": "ZTF18aaaaaaa", "programid": 1, "ra": 1.0, "dec": 2.0,
        "mjd": 59000.0, "band": "g", "flux": -123456.7, "flux_err": 1.0, "n_detections": 12,
        "classes": (ClassProbability("eclipsing-binary", 0.9, 0.8),), "top_class": "eclipsing-binary", "top_probability": 0.9,
        "conformal_set": ("eclipsing-binary", "rr-lyrae", "lpv", "cv"), "novelty": 0.1, "nearest_prototype": "cv",
        "prototype_distance": 0.2, "real_bogus": None, "star_galaxy": None, "solar_system_distance": None, "features": (), "model": "m",
        "engine": "e", "scoring_id": "s", "taxonomy": "t",
    }  # fmt: skip
    names = set(Detection.__dataclass_fields__)
    return Detection(**{k: v for k, v in (plain | changed).items() if k in names})


def hostile() -> Detection:
    return detection(object_id=HOSTILE, top_class=HOSTILE, band=HOSTILE, conformal_set=(HOSTILE,), detection_id=HOSTILE)


def printed(renderable: Any, width: int) -> list[str]:
    out = io.StringIO()
    Console(file=out, width=width, force_terminal=False).print(renderable)
    return out.getvalue().splitlines()


def harmless(text: str) -> bool:
    return all(c.isprintable() or c == "\n" for c in text)


@pytest.mark.parametrize("width", [40, 60, 80, 100, 132, 200])
@pytest.mark.parametrize(
    "one", [detection(), hostile(), detection(object_id="3161416363009222144", top_class="my-own-class-with-a-long-name")]
)
def test_the_live_table_fits_with_class_and_probability_first(width: int, one: Detection) -> None:
    lines = printed(watch.table("detections", [(time.time(), one)] * 3, total=3, since=time.monotonic(), width=width), width)
    assert max(map(len, lines)) <= width
    assert len(lines) == 5, "no row is folded"
    assert lines[0].split()[:2] == ["class", "prior"]
    assert "0.90" in lines[1]
    assert harmless("\n".join(lines))
    if one.top_class == "eclipsing-binary":
        assert lines[1].startswith("eclipsing-binary  0.90")


def test_a_wide_terminal_shows_more() -> None:
    names = [[c.name for c in watch.columns_that_fit(width)] for width in (10, 80, 200)]
    assert names[0] == ["class", "prior"]
    assert names[1][:6] == ["class", "prior", "on topic", "object", "UTC", "novelty"]
    assert names[2] == [c.name for c in watch.COLUMNS]


def test_nothing_of_a_packet_drives_the_terminal_on_any_way_out() -> None:
    one = hostile()
    line = watch._line(0.0, one)
    assert all(c.isprintable() or c == "\t" for c in line)
    encoded = watch.json_line(one)
    assert harmless(encoded.decode())
    assert json.loads(encoded)["object_id"] == HOSTILE, "the same value for a parser"


def test_status_shows_classes_and_alarms_and_nothing_drives_the_terminal() -> None:
    figures = Figures(lambda: 1000.0, f"k:9092 {HOSTILE}")
    figures.pulse.beat()
    figures.look([Partition(HOSTILE, 0, "", 0, 9, 9, Ledger(0, 7))])
    figures.model = figures.engine = figures.scoring_id = HOSTILE
    figures.classes.update({"tde": 7, HOSTILE: 2})
    figures.reasons.update({HOSTILE: 3})
    figures.alarm(990.0, asdict(DriftAlarm("1", "adwin", "novelty", HOSTILE, 0.1, 0.5, 9, HOSTILE, 990_000)))
    figures.alarm(991.0, asdict(DriftAlarm("2", HOSTILE, HOSTILE, "ztf/g", 0.2, 0.1, 9, HOSTILE, 991_000)))
    one = hostile()
    figures.detection(
        995.0, {"object_id": one.object_id, "class": one.top_class, "prior_probability": 0.5, "published": True, "novelty": 0.1}
    )
    out = io.StringIO()
    render(Console(file=out, width=80, force_terminal=False), figures.snapshot())
    text = out.getvalue()
    assert harmless(text)
    assert "[red]" in text, "markup is text"
    for words in ("Classes", "tde", "Latest alarms", "novelty", "0.100 → 0.500", "duplicates", "rose from 0.100", "2 UNACCOUNTED"):
        assert words in text
    assert "twice" not in text


def test_tables_of_counts_take_their_names_as_text() -> None:
    out = io.StringIO()
    Console(file=out, width=120, force_terminal=False).print(reports.count_table({HOSTILE: 3}))
    assert harmless(out.getvalue())
    assert "[red]" in out.getvalue()


def test_a_workers_log_is_safe_to_read() -> None:
    from streams.worker import printable

    event = printable(None, "info", {"event": HOSTILE, "reason": "a\nb", "n": 3, "packet": b"\x1b"})
    assert harmless(event["event"])
    assert event["reason"] == "a b"
    assert event["n"] == 3
