"""Increments are read with distrust; whole packets are byte for byte those of the general writer."""

from __future__ import annotations

import json
from typing import Any

import numpy as np
import pytest

from schemas.avro.container import Container
from schemas.avro.machine import MAX_ROWS
from schemas.avro.wire import PacketError
from schemas.surveys import tess
from schemas.surveys.tess_increment import MAX_REVISION, IncrementReader, encode_whole
from tests.data.curve_parts import encode, part, record

OTHER = {"type": "record", "name": "x", "fields": [{"name": "y", "type": "int"}]}


def written(packet: bytes) -> bytes:
    """A packet read and written again."""
    found = IncrementReader().read(packet)
    return encode_whole(
        found.tic, found.sector, cadence=found.cadence, ra=found.ra, dec=found.dec, tmag=found.tmag, baseline=found.baseline,
        points=found.points,
    )  # fmt: skip


@pytest.mark.parametrize(
    "whole",
    [
        record(),
        record(n=1),
        record(tmag=None, baseline=None),
        record(tic=2**34 - 1, sector=714, n=3000),
        record(light_curve=[{"btjd": 3000.5, "flux": 1.5, "flux_err": None, "quality": q} for q in (0, 63, 64, 8191, 8192, 2**31 - 1, -1)]),
    ],
)
def test_whole_packets_are_those_of_the_general_writer(whole: dict[str, Any]) -> None:
    assert written(tess.encode(whole)) == tess.encode(whole)


def test_revision_comes_before_reach() -> None:
    reader, whole = IncrementReader(), record()
    ranks = [
        reader.read(encode(part(whole, 0, end, revision=revision))).rank for revision, end in ((0, 5), (0, 60), (1, 2), (MAX_REVISION, 60))
    ]
    assert ranks == sorted(ranks)
    assert ranks[-1] < 2**31
    assert reader.read(encode(part(whole, 0, 5))).rank == ranks[0]  # without the field: revision 0


def test_times_of_other_scales_become_those_of_the_mission() -> None:
    whole = record(n=4)
    points = [{**p, "btjd": p["btjd"] + zero} for p, zero in zip(whole["light_curve"], (0.0, 2_457_000.0, 56_999.5, np.nan), strict=True)]
    found = IncrementReader().read(tess.encode({**whole, "light_curve": points}))
    assert found.dropped == 1
    np.testing.assert_allclose(found.points["time"], [p["btjd"] for p in whole["light_curve"][:3]], rtol=0, atol=1e-9)
    assert found.points["time"][0] == points[0]["btjd"]


def test_numbers_that_no_float_holds_are_null() -> None:
    schema = json.loads(tess.SCHEMA.read_text(encoding="utf-8").replace('["null", "float"]', '["null", "double"]'))
    points = [{"btjd": 3000.0 + i, "flux": flux, "flux_err": 1.0} for i, flux in enumerate((1e300, float("inf"), float("nan"), 7.0))]
    found = IncrementReader().read(Container(schema).encode(record(light_curve=[{**p, "quality": 0} for p in points])))
    assert np.isnan(found.points["flux"]).tolist() == [True, True, True, False]


@pytest.mark.parametrize(
    ("packet", "error_class", "said"),
    [
        (b"", "not_avro", "container"),
        (b"\x00\x00\x00\x00\x01abc", "not_avro", "container"),
        (tess.encode(record())[:-300], "truncated", ""),
        (tess.encode(record(sector=1024)), "bad_value", "sector 1024"),
        (tess.encode(record(tic=2**34)), "bad_value", "TIC"),
        (tess.encode(record(cadence=-1)), "bad_value", "cadence -1"),
        (tess.encode(record(dec=95.0)), "bad_value", "ra or dec"),
        (tess.encode(record(light_curve=[])), "bad_value", "btjd"),
        (tess.encode(record(light_curve=[{"btjd": 1e9, "flux": 1.0, "quality": 0}])), "bad_value", "btjd"),
        (encode(record(revision=MAX_REVISION + 1)), "bad_value", "revision"),
        (encode(record(revision=-1)), "bad_value", "revision"),
        (Container(OTHER).encode({"y": 1}), "unknown_survey", "tess.avsc"),
    ],
)  # fmt: skip
def test_broken_increments_say_why(packet: bytes, error_class: str, said: str) -> None:
    reader = IncrementReader()
    for _ in range(2):  # a schema that was refused is refused again
        with pytest.raises(PacketError) as caught:
            reader.read(packet)
        assert caught.value.error_class == error_class
        assert said in caught.value.reason
        assert caught.value.survey == "tess"


def test_an_increment_of_a_million_cadences_is_refused_before_it_is_read() -> None:
    points = np.zeros(1_000_000, [("time", "<f8"), ("flux", "<f4"), ("flux_err", "<f4"), ("quality", "<i4")])
    points["time"] = 3000 + np.arange(len(points)) * 1e-5
    points["flux"] = points["flux_err"] = np.nan
    packet = encode_whole(42, 70, cadence=1, ra=1.0, dec=1.0, tmag=9.0, baseline=1.0, points=points[: MAX_ROWS + 1])
    with pytest.raises(PacketError, match="131,072 are read at most"):
        IncrementReader().read(packet)
    with pytest.raises(PacketError, match="8,000,000 are read at most"):
        IncrementReader().read(encode_whole(42, 70, cadence=1, ra=1.0, dec=1.0, tmag=9.0, baseline=1.0, points=points))
