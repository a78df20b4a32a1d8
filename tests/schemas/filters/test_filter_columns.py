"""Records → columns: what the made record says, whatever else is in the bytes."""

from __future__ import annotations

import math
from dataclasses import fields, replace
from typing import Any

import numpy as np
import pytest

from operators.features import FEATURES
from schemas.filters.filter_columns import columns_of, word_at
from schemas.filters.filter_fields import BALANCED, FIELDS, PRIOR, STANDARD, Columns, class_field, columns_for, word_number
from schemas.records import detection
from schemas.records.detection import Detection, Flare, Frame, Host, Transit
from schemas.records.parts import ClassProbability, Feature
from tests.schemas.test_records import DETECTION, FULL
from tests.service.past_night import alert

WHOLE = replace(
    FULL, host=Host("glade", "n", 1.5, 0.01, None, True, 40.0, 0.75), star_galaxy=0.5, solar_system_distance=3.0,
    transit=Transit(2.5, 60_000.0, 0.01, 3.0, 12.0),
    flare=Flare(60_000.0, 0.5, 1.0, 9.0), frame=Frame(exposure="e", exposure_time=30.0, seeing=2.0, depth=20.5, airmass=1.25),
    features=(Feature(FEATURES[3], 7.5), Feature("not one of ours", 1.0)),
)  # fmt: skip


def body(record: Detection) -> bytes:
    return detection.body(record, detection.coded(record))


def expected(record: Detection, columns: Columns) -> dict[str, float]:
    """The columns by way of the made record."""
    out = dict.fromkeys(columns.index, math.nan)
    for entry in FIELDS:
        value: Any = record
        for part in entry.path.split(".") if entry.path else []:
            value = None if value is None else getattr(value, part)
        if value is not None and entry.path:
            out[entry.name] = word_number(value) if entry.kind == "word" else float(value)
    if record.decision is None:
        out["class"], out["probability"] = word_number(record.top_class), record.top_probability
    for name, balanced, prior in record.classes:
        if name in columns.classes:
            out[class_field(name, BALANCED)], out[class_field(name, PRIOR)] = balanced, prior
    out |= {name: value for name, value in record.features if name in FEATURES}
    return out


@pytest.mark.parametrize("record", [DETECTION, FULL, WHOLE, alert(3), replace(alert(4), decision=None, band="", flux=None)])
def test_columns_are_the_records_fields(record: Detection) -> None:
    columns = columns_for(c.name for c in record.classes)
    found = columns_of([body(alert(7)), body(record), body(alert(8))], columns)
    assert found.fine.all()
    wanted = expected(record, columns)
    for name, i in columns.index.items():
        if not name.startswith("gal_"):
            assert found.columns[i, 1] == pytest.approx(wanted[name], rel=1e-6, nan_ok=True), name


def test_every_field_is_filled_by_some_record() -> None:
    found = columns_of([body(WHOLE), body(alert(1)), body(replace(WHOLE, decision=alert(1).decision))]).columns
    empty = [f.name for i, f in enumerate(FIELDS) if np.isnan(found[i]).all()]
    assert empty == []


def test_broken_records_cost_themselves_alone() -> None:
    whole = body(WHOLE)
    cut = [whole[:n] for n in range(0, len(whole), 7)]
    found = columns_of([whole, *cut, whole + b"\0", b"\xff" * 100, b"x" * 70_000, whole])
    assert found.fine.tolist() == [True, *[False] * (len(cut) + 3), True]
    assert np.isnan(found.columns[: len(FIELDS) - 2, 1:-1]).all()
    rng = np.random.default_rng(1)
    for _ in range(300):  # whatever the bytes, it returns
        bent = bytearray(whole)
        bent[int(rng.integers(len(bent)))] = int(rng.integers(256))
        columns_of([bytes(bent)])


def test_galactic_coordinates_of_known_places() -> None:
    centre = replace(DETECTION, ra=266.4051, dec=-28.936175)
    pole = replace(DETECTION, ra=192.859508, dec=27.128336)
    found = columns_of([body(centre), body(pole)]).columns
    lon, lat = STANDARD.index["gal_lon"], STANDARD.index["gal_lat"]
    assert (found[lon, 0] + 180) % 360 - 180 == pytest.approx(0, abs=1e-3)
    assert found[lat].tolist() == pytest.approx([0, 90], abs=1e-3)


def test_words_are_numbers_in_the_same_way_in_both_places() -> None:
    for word in ("", "g", "sn-ia", "ZTF25aaaaaaa", "größe", "x" * 500):
        data = np.frombuffer(word.encode() + b" ", np.uint8)
        assert word_at(data, 0, len(data) - 1) == pytest.approx(word_number(word), abs=0, nan_ok=True)
    assert len({word_number(name) for name in STANDARD.index}) == len(STANDARD)


def test_fields_name_what_the_record_has_and_names_are_unique() -> None:
    known = {f.name for f in fields(Detection)}
    assert {f.path.partition(".")[0] for f in FIELDS if f.path} <= known
    assert len(STANDARD.index) == len(FIELDS) + len(FEATURES) + 2 * len(STANDARD.classes)
    taught = columns_for(["new-class"])
    assert taught.index["p_new_class"] == len(STANDARD)
    record = replace(DETECTION, classes=(*DETECTION.classes, ClassProbability("new-class", 0.25, 0.125)))
    assert columns_of([body(record)], taught).columns[-2:, 0].tolist() == [0.25, 0.125]
