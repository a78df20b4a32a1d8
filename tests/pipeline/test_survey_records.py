"""What a packet's own numbers become in a detection: true counts, its own errors, and nothing that is not finite."""

from __future__ import annotations

import dataclasses
import math
from typing import Any

import numpy as np
import pytest

from gpu.session import EngineError
from operators.decision import decide
from operators.features import FEATURES
from operators.head import Judged
from pipeline.assemble import assemble
from pipeline.score import score
from pipeline.state import ScoringState, load
from schemas.avro.container import encode_ztf
from schemas.records.detection import Detection
from schemas.surveys import tess
from tests.schemas.made import tess_record, ztf_record
from tests.schemas.test_survey_values import POINT, SOURCE, rubin


@pytest.fixture(scope="module")
def state() -> ScoringState:
    return load(engine="onnxruntime")


def scored(state: ScoringState, *packets: bytes) -> list[Detection]:
    results = score(list(packets), state)
    assert all(isinstance(result, Detection) for result in results)
    return [result for result in results if isinstance(result, Detection)]


def numbers(detection: Detection) -> list[float]:
    """Every floating-point number of a record."""
    row = [getattr(detection, f.name) for f in dataclasses.fields(detection)]
    row += [value for entry in (*detection.classes, *detection.features) for value in entry]
    return [value for value in row if isinstance(value, float)]


@pytest.mark.parametrize("error", [60.0, 1e-2, 1e-3, 1e-10, 1e-38])
@pytest.mark.parametrize("flux", [900.0, 1e11, -1e11])
def test_every_number_of_a_record_is_finite(state: ScoringState, error: float, flux: float) -> None:
    history = [
        POINT | {"midpointMjdTai": 60990.0 + k, "psfFlux": flux * (1 + k % 3), "psfFluxErr": error, "band": "gr"[k % 2]} for k in range(9)
    ]
    record = ztf_record()
    record["candidate"] |= {"magpsf": 1e-3, "sigmapsf": 1e-4}
    record["fp_hists"][0] |= {"forcediffimflux": 1e9, "forcediffimfluxunc": error, "magzpsci": 1e-3}
    curve = [{"btjd": 2000.0 + k / 30, "flux": flux * (1 + k % 5), "flux_err": error, "quality": 0} for k in range(50)]
    packets = (
        rubin(900, SOURCE | {"psfFlux": flux}, prvDiaSources=history),
        encode_ztf(record),
        tess.encode(tess_record() | {"light_curve": curve}),
    )
    for detection in scored(state, *packets):
        assert [x for x in numbers(detection) if not math.isfinite(x)] == []
        assert len(detection.features) >= 2


def test_a_number_beyond_32_bits_is_absent(state: ScoringState) -> None:
    batch = state.decoder.decode([encode_ztf(ztf_record())]).batch
    [detection] = scored(state, encode_ztf(ztf_record()))
    classes = len(state.classes)
    judged = Judged(**_judged(classes, Judged._fields))
    named = np.zeros((1, len(FEATURES)), np.float32)
    named[0, :3] = np.inf, -np.inf, np.nan
    context = batch.context.copy()
    context[0] = np.inf
    odd = dataclasses.replace(batch, context=context, own_err=np.array([np.inf], np.float32))
    decided = decide(judged, batch.survey_scores, rule=state.head.rule)
    [record] = assemble(odd, judged, decided=decided, named=named, state=state)
    assert (record.flux, record.flux_err, record.real_bogus, record.star_galaxy, record.solar_system_distance) == (None,) * 5
    assert [f.name for f in record.features] == list(FEATURES[3:])
    for field in ("probability", "novelty", "distance"):
        value = getattr(judged, field).copy()
        value.flat[0] = np.nan
        with pytest.raises(EngineError, match=field):
            assemble(batch, judged._replace(**{field: value}), decided=decided, named=named, state=state)
    assert detection.flux is not None


def _judged(classes: int, fields: tuple[str, ...]) -> dict[str, Any]:
    share = np.full((1, classes + 1), 1 / (classes + 1), np.float32)
    known = {"probability": share, "prior_probability": share, "conformal": np.ones((1, classes + 1), bool),
             "novelty": np.zeros(1, np.float32), "distance": np.zeros(1, np.float32), "nearest": np.zeros(1, np.int64)}  # fmt: skip
    return {name: known[name] for name in fields}


def test_flux_err_and_counts_are_the_packets(state: ScoringState) -> None:
    history = [POINT | {"midpointMjdTai": 61000.5 - 0.25 * (k + 1)} for k in range(300)]
    long, bare = scored(
        state, rubin(900, SOURCE | {"snr": 3.0}, prvDiaSources=history), rubin(900, SOURCE | {"psfFluxErr": None, "snr": 3.0})
    )
    assert (long.n_detections, bare.n_detections) == (301, 1)
    assert long.flux_err == pytest.approx(0.25)
    assert bare.flux == pytest.approx(5.0)
    assert bare.flux_err is None


def star(rng: np.random.Generator, kind: str, rows: int = 12_000) -> tuple[np.ndarray, np.ndarray]:
    """Times [BTJD] every 20 s and fluxes [e-/s] of a star of magnitude 10."""
    time = 2000.0 + np.arange(rows) * 20 / 86400
    flux = {
        "flare": 900 * np.where(time > time[-900], np.exp(-(time - time[-900]) / 0.04), 0),
        "pulsation": 600 * np.sin(2 * np.pi * time / 0.11),
        "quiet": np.zeros(rows),
    }[kind]
    return time, 15_000 + flux + rng.normal(0, 12.0, rows)


@pytest.mark.parametrize("kind", ["flare", "pulsation", "quiet"])
def test_a_star_at_twenty_seconds_has_the_score_of_two_minutes(state: ScoringState, kind: str) -> None:
    """The mission's two-minute data are the sums of its cadences; only the rounding of means and times differs."""
    time, flux = star(np.random.default_rng(4), kind)

    def packet(times: np.ndarray, fluxes: np.ndarray, error: float) -> bytes:
        rows = [{"btjd": t, "flux": f, "flux_err": error, "quality": 0} for t, f in zip(times.tolist(), fluxes.tolist(), strict=True)]
        return tess.encode(tess_record() | {"light_curve": rows})

    slow = [part.reshape(-1, 6).mean(axis=1) for part in (time, flux)]
    fast, usual = scored(state, packet(time, flux, 12.0), packet(*slow, 12.0 / math.sqrt(6)))
    assert fast.top_class == usual.top_class
    assert fast.n_detections == usual.n_detections
    assert fast.flux == pytest.approx(usual.flux, rel=1e-4, abs=1e-2)
    assert fast.flux_err == pytest.approx(usual.flux_err, rel=1e-4)
    one, two = ({c.name: c.probability for c in d.classes} for d in (fast, usual))
    assert max(abs(one[name] - two[name]) for name in one) < 0.02
