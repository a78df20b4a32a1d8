"""The tables of a simulated sector: counts by bin, periods, confusion, made of detections and truth."""

from __future__ import annotations

import io
import math
from dataclasses import replace
from pathlib import Path

import pytest
from rich.console import Console

from console import night_file
from console.night_file import Made
from console.outcome_counts import Arrival, Outcome, OutcomeCounts
from console.sector_tables import DEPTHS, WITHOUT, Judged, agreement, bin_of, binned, confusion_with_binaries, judged, periods, show
from schemas.records.detection import ClassProbability, Decision, Detection, Transit
from settings.model import Settings

PLANET, ANOMALY, BINARY = "exoplanet-transit", "transit-anomaly", "eclipsing-binary"


def detection(
    candid: int, decided: str, *, published: bool = True, period: float | None = None, classes: tuple[str, ...] = (PLANET, BINARY)
) -> Detection:
    transit = None if period is None else Transit(period, 1.0, 0.01, 0.1, 12.0)
    return Detection(
        mjd=60_000.0, detection_id="d", survey="tess", candid=candid, object_id=f"TIC {candid}", programid=1, ra=1.0, dec=2.0,
        band="T", flux=1.0, flux_err=0.1, n_detections=5, decision=Decision(decided, 0.9, 0.5, 1.0, published),
        classes=tuple(ClassProbability(name, 0.5, 0.5) for name in classes), top_class=decided, top_probability=0.9, conformal_set=(),
        nearest_prototype=decided, prototype_distance=0.1, real_bogus=None, star_galaxy=None, solar_system_distance=None, transit=transit,
        novelty=0.0, features=(), model="m", engine="e", scoring_id="s", taxonomy="t",
    )  # fmt: skip


def row(label: str, decided: str, *, published: bool = True, period: float = math.nan, kind: str = "transit", **figures: float) -> Judged:
    return Judged(label, kind, figures, decided, published, period)


@pytest.mark.parametrize(
    ("value", "name"),
    [(None, WITHOUT), (math.nan, WITHOUT), (0.0, "< 0.05 %"), (0.0005, "0.05–0.1 %"), (0.0099, "0.3–1 %"), (0.3, "≥ 1 %")],
)
def test_a_figure_has_its_bin(value: float | None, name: str) -> None:
    assert bin_of(value, DEPTHS) == name


def test_completeness_and_purity_by_depth() -> None:
    rows = [
        row(PLANET, PLANET, depth=0.002),
        row(PLANET, PLANET, depth=0.002, published=False),
        row(PLANET, BINARY, depth=0.002),
        row(BINARY, PLANET, depth=0.002, kind="EA"),
        row(BINARY, BINARY, depth=0.2, kind="EA"),
        row("bogus", PLANET, kind="quiet"),
        row(PLANET, PLANET, depth=0.02),
    ]
    bins = binned(rows, PLANET, figure="depth", edges=DEPTHS)
    assert set(bins) == {"0.1–0.3 %", "≥ 1 %", WITHOUT}
    shallow, deep, quiet = bins["0.1–0.3 %"], bins["≥ 1 %"], bins[WITHOUT]
    assert (shallow.true, shallow.decided, shallow.found, shallow.published) == (3, 2, 1, 2)
    assert shallow.completeness == pytest.approx(1 / 3)
    assert shallow.purity == pytest.approx(0.5)
    assert (deep.completeness, deep.purity) == (1.0, 1.0)
    assert quiet.true == 0
    assert quiet.purity == 0.0
    assert math.isnan(quiet.completeness)


@pytest.mark.parametrize(
    ("found", "how"),
    [(3.01, "same"), (1.5, "multiple"), (6.02, "multiple"), (1.0, "multiple"), (2.0, "other"), (math.nan, "none"), (0.0, "none")],
)
def test_found_periods_agree_with_the_true_one_or_a_multiple(found: float, how: str) -> None:
    assert agreement(found, 3.0) == how


def test_periods_are_counted_by_class_where_there_is_one() -> None:
    rows = [row(PLANET, PLANET, period=2.0, **{"depth": 0.1}), replace(row(PLANET, PLANET, period=2.0), figures={"period": 2.001})]
    rows.append(replace(row(BINARY, BINARY, period=4.0), figures={"period": 2.0}))
    assert periods(rows) == {BINARY: {"multiple": 1}, PLANET: {"same": 1}}


def test_confusion_with_binaries() -> None:
    taken = confusion_with_binaries([row(PLANET, BINARY), row(PLANET, "agn"), row(BINARY, PLANET), row("bogus", PLANET)])
    assert taken[PLANET] == {PLANET: 0, ANOMALY: 0, BINARY: 1, "another": 1}
    assert taken[BINARY][PLANET] == 1
    assert "bogus" not in taken


def test_tables_and_report_come_from_detections(tmp_path: Path) -> None:
    made = [
        Made(b"", "alert", PLANET, "TIC 1", 1, 0, "transit", {"period": 3.0, "depth": 0.002, "signal_to_noise": 12.0}),
        Made(b"", "alert", BINARY, "TIC 2", 2, 0, "EA", {"period": 5.0, "depth": 0.004, "blended": 1.0}),
        Made(b"", "duplicate", PLANET, "TIC 1", 1, 0, "transit", {}),
        Made(b"", "broken", "", "", 0, 0, "text", {}),
    ]
    counts = OutcomeCounts()
    counts.arrivals = [Arrival(detection(1, PLANET, period=3.0), 5, 1), Arrival(detection(2, PLANET, period=2.5), 5, 1)]
    assert [(j.label, j.decided) for j in judged(counts.arrivals, made)] == [(PLANET, PLANET), (BINARY, PLANET)]
    text = io.StringIO()
    figures = show(Console(file=text, width=160), Outcome(Settings(state=tmp_path), counts, made))["truth"]
    assert figures[PLANET]["in_bundle"]
    assert figures[PLANET]["all"] == {"n": 1, "decided": 1, "completeness": 1.0, "published": 2, "purity": 0.5}
    assert figures[PLANET]["by_depth"]["0.3–1 %"]["purity"] == 0.0
    assert figures["periods"] == {BINARY: {"multiple": 1}, PLANET: {"same": 1}}
    assert figures["confusion"]["EA blended"] == {PLANET: 1}
    printed = text.getvalue()
    assert "the bundle has no class transit-anomaly" in printed
    assert "the bundle has no class exoplanet-transit" not in printed
    assert "completeness 100 %, purity 50 %" in printed


def test_no_detections_print_empty_tables(tmp_path: Path) -> None:
    text = io.StringIO()
    figures = show(Console(file=text, width=160), Outcome(Settings(state=tmp_path), OutcomeCounts(), []))
    assert figures["truth"][PLANET]["all"]["n"] == 0
    assert "no class" not in text.getvalue()  # nothing came, so nothing is known of the bundle


@pytest.mark.parametrize("what", ["night", "sector"])
def test_a_file_of_packets_is_read_as_it_was_made(what: night_file.What, tmp_path: Path) -> None:
    night_file.make(tmp_path / "f.parquet", 21, seed=4, what=what)
    made = list(night_file.read(tmp_path / "f.parquet"))
    assert len(made) == 21
    assert all(m.detail for m in made)
    assert any("cadence" in m.figures for m in made) == (what == "sector")
    assert len({m.candid for m in made}) > 15
