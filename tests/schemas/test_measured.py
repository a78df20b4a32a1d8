"""What ZTF's pipeline measured besides reaches the columns as the packet states it, and what is missing is missing."""

from __future__ import annotations

import io
from pathlib import Path
from typing import Any

import fastavro
import numpy as np
import pytest

from data.simulate.night import alert_at
from data.simulate.survey_packets import packet
from operators.types import MEASURED, SURVEY_SCORES
from schemas.avro.container import encode_ztf
from schemas.surveys.decode import Decoder
from schemas.surveys.ztf import MEASURED_FIELDS


def decoded(data: bytes) -> dict[str, float]:
    found = Decoder().decode([data])
    assert not found.rejected
    assert found.batch.measured is not None
    return dict(zip(MEASURED, np.asarray(found.batch.measured)[0].tolist(), strict=True))


def changed(**fields: Any) -> bytes:
    record: Any = next(fastavro.reader(io.BytesIO(packet(alert_at(3, 5)))))
    return encode_ztf({**record, "candidate": {**record["candidate"], **fields}})


def test_every_name_has_a_field() -> None:
    assert tuple(MEASURED_FIELDS) == MEASURED


@pytest.mark.parametrize("value", [None, -999.0, float("nan"), 1e30])
def test_a_mark_for_none_is_missing(value: float | None) -> None:
    found = decoded(changed(neargaia=value, maggaia=value, chinr=value, sumrat=value, nneg=None))
    for name in ("gaia_distance", "gaia_magnitude", "reference_chi", "sum_ratio", "negative_pixels"):
        assert np.isnan(found[name]), name
    assert np.isfinite(found["fit_chi"])


def test_rb_and_drb_are_two_values() -> None:
    def scores(**fields: Any) -> dict[str, float]:
        batch = Decoder().decode([changed(**fields)]).batch
        return dict(zip(SURVEY_SCORES, np.asarray(batch.survey_scores)[0].tolist(), strict=True))

    found = scores(rb=0.4, drb=0.99, drbversion="d6_m7")
    assert (found["rb"], found["drb"]) == pytest.approx((0.4, 0.99))
    early = scores(rb=0.4, drb=0.0, drbversion="")  # as some archives write packets before version 3.3
    assert early["rb"] == pytest.approx(0.4)
    assert np.isnan(early["drb"])
    assert scores(rb=0.4, drb=0.0, drbversion="d6_m7")["drb"] == 0.0


def test_real_packets_give_what_fastavro_reads(shared: Path) -> None:
    seen = 0
    for path in sorted((shared / "ztf_alerts").rglob("*.avro"))[::40]:
        data = path.read_bytes()
        record: Any = next(fastavro.reader(io.BytesIO(data)))
        if not str(record.get("objectId", "")).startswith("ZTF"):
            continue
        found, candidate = decoded(data), record["candidate"]
        seen += 1
        for name, field in MEASURED_FIELDS.items():
            stated = candidate.get(field)
            if stated is None or stated <= -999:
                assert np.isnan(found[name]), (path.name, name)
            else:
                assert found[name] == pytest.approx(float(stated), rel=1e-6), (path.name, name)
    assert seen >= 10
