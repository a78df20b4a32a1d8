"""The alerts' path where the arrays lie on a device: the same scores as on the host, and no transfer but those asked for.

The same bodies run on a GPU (`cupy`, with the GPU's own engines) and without one (array-api-strict, whose arrays NumPy must not take;
NumPy read-only): the encoder is then a real engine on the CPU, whose arrays are brought in and out.
"""

from __future__ import annotations

import itertools
from collections.abc import Iterator
from dataclasses import dataclass, replace
from typing import Any

import numpy as np
import pytest

from data.simulate.night import night
from gpu.choose import choose
from gpu.ort import OrtSession
from gpu.session import Embedded, EngineError, Session
from operators.head import Judged, Views, judge
from operators.types import Array
from pipeline.embed import embed
from pipeline.score import score
from pipeline.state import ScoringState, load, make_state
from pipeline.verify import TOLERANCE, verify
from pipeline.warm import warm
from registry.bundle import Bundle
from registry.bundle import load as load_bundle
from schemas.avro.schema_store import SchemaStore
from schemas.records.detection import Detection
from schemas.surveys import tess
from schemas.surveys.decode import Decoder
from tests.namespaces import Namespace, to_numpy

WITHIN = {"f32": 2e-3, "f16": 2e-2}
"""Of a probability, between engines: twice what a bundle's golden batch may be off."""


@dataclass(frozen=True)
class Elsewhere:
    """A real engine on the CPU, for arrays of another namespace."""

    inner: OrtSession
    namespace: Namespace
    precision: str = "f32"

    @property
    def engine(self) -> str:
        return f"{self.inner.engine} for {self.namespace.name}"

    @property
    def buckets(self) -> tuple[int, ...]:
        return self.inner.buckets

    def run(self, tokens: Array, stamps: Array, context: Array) -> Embedded:
        for array in (tokens, stamps, context):
            assert array.__array_namespace__() is self.namespace.module  # type: ignore[attr-defined]
        return Embedded(*(self.namespace.asarray(x) for x in self.inner.run(*map(to_numpy, (tokens, stamps, context)))))


@pytest.fixture(scope="module")
def bundle() -> Bundle:
    return load_bundle()


@pytest.fixture(scope="module")
def host() -> ScoringState:
    return load(engine="onnxruntime")


@pytest.fixture(scope="module")
def packets() -> list[bytes]:
    """Ordinary alerts, one that is broken, and a star that was watched without a break."""
    t = np.arange(2000.0, 2020.0, 0.02)
    flux = 15000.0 * (1 + 0.05 * np.sin(7 * t)) * np.where(t % 3.1 < 0.15, 0.98, 1.0)
    star = tess.encode_columns(
        {"tic": 7, "sector": 1, "cadence": 1728, "ra": 1.0, "dec": 2.0, "tmag": 10.0},
        t, flux=flux, flux_err=np.full(len(t), 9.0), quality=np.zeros(len(t), dtype=np.int64),
    )  # fmt: skip
    return [*(packet for packet, _ in itertools.islice(night(seed=5, n=70), 70)), b"Obj\x01 but no more", star]


def sessions(xp: Namespace, bundle: Bundle) -> Iterator[Session]:
    """The engines of a namespace."""
    if xp.name != "cupy":
        yield Elsewhere(OrtSession(bundle.encoder), xp)
        return
    missing = []
    for engine, precision in (("tensorrt", "f32"), ("tensorrt", "f16"), ("onnxruntime-cuda", "f32")):
        try:
            yield choose(bundle.encoder, engine, precision=precision)[0]
        except EngineError as error:
            missing.append(str(error))
    if len(missing) == 3:
        pytest.skip(f"gpu: {'; '.join(missing)}")


def state_of(bundle: Bundle, session: Session) -> ScoringState:
    return make_state(bundle, session, why="a test", decoder=Decoder(SchemaStore()))


def test_the_golden_batch_is_what_it_was(xp: Namespace, bundle: Bundle) -> None:
    for session in sessions(xp, bundle):
        assert verify(bundle, session) <= TOLERANCE[session.precision]
        wrong = replace(bundle, golden=replace(bundle.golden, probability=np.roll(bundle.golden.probability, 1, axis=0)))
        with pytest.raises(EngineError, match=r"gives the golden batch .* probabilities that are off by"):
            verify(wrong, session)


def test_an_engine_of_16_bits_is_held_to_its_own_tolerance(bundle: Bundle) -> None:
    off = (TOLERANCE["f32"] + TOLERANCE["f16"]) / 2
    golden = replace(bundle, golden=replace(bundle.golden, probability=bundle.golden.probability + np.float32(off)))
    plain = Namespace("numpy", np)
    assert verify(golden, Elsewhere(OrtSession(bundle.encoder), plain, "f16")) == pytest.approx(off, rel=0.1)
    with pytest.raises(EngineError, match=r"allowed 0\.001"):
        verify(golden, Elsewhere(OrtSession(bundle.encoder), plain))


def test_judging_is_the_same(xp: Namespace, bundle: Bundle, host: ScoringState) -> None:
    rng = np.random.default_rng(3)
    head, named = bundle.head, bundle.golden.named.shape[1]
    widths = (head.centre.shape[0], head.zero_shot.shape[0], named)
    views = Views(*(3 * rng.normal(size=(90, width)).astype(np.float32) for width in widths))
    star = rng.random(90) < 0.3
    got, want = judge(xp.tree(views), bundle.head.map(xp.asarray), star=star), judge(views, bundle.head, star=star)
    for name, a, b in zip(Judged._fields, got, want, strict=True):
        np.testing.assert_allclose(to_numpy(a), b, rtol=1e-4, atol=1e-5, err_msg=name)


def test_packets_are_scored_the_same(xp: Namespace, bundle: Bundle, host: ScoringState, packets: list[bytes]) -> None:
    expected = score(packets, host)
    for session in sessions(xp, bundle):
        got = score(packets, state_of(bundle, session))
        assert [type(r) for r in got] == [type(r) for r in expected]
        within = WITHIN[session.precision]
        other = 0
        for a, b in zip(got, expected, strict=True):
            if not isinstance(a, Detection) or not isinstance(b, Detection):
                assert a == b
                continue
            assert (a.packet_id, a.candid, a.period, a.transit, a.flare) == (b.packet_id, b.candid, b.period, b.transit, b.flare)
            named = ({c.name: c.probability for c in d.classes} for d in (a, b))
            assert next(named) == pytest.approx(next(named), abs=within)
            assert a.novelty == pytest.approx(b.novelty, abs=within)
            assert {f.name: f.value for f in a.features} == pytest.approx({f.name: f.value for f in b.features}, rel=1e-3, abs=1e-4)
            other += a.decision[0] != b.decision[0]
        assert other <= 0.02 * len(got)


def test_a_batch_is_fetched_a_stated_number_of_times(strict: Namespace, bundle: Bundle, packets: list[bytes]) -> None:
    """However many alerts it has: a transfer an alert is what a device would wait for."""
    state = state_of(bundle, Elsewhere(OrtSession(bundle.encoder), strict))
    counts = []
    for n in (8, 64):
        del strict.fetched[:]
        score(packets[:n], state)
        counts.append(len(strict.fetched))
    assert counts[0] == counts[1] <= 40


def test_a_batch_of_the_host_is_brought_in_and_stays(xp: Namespace, bundle: Bundle, packets: list[bytes]) -> None:
    batch = Decoder(SchemaStore()).decode(packets).batch
    plain = embed(batch, OrtSession(bundle.encoder))
    for session in sessions(xp, bundle):
        for columns in (batch, xp.batch(batch)):
            seen: Any = embed(columns, session)
            for name, a, b in zip(seen._fields, seen, plain, strict=True):
                assert type(a) is type(xp.asarray(np.zeros(1, np.float32)))
                np.testing.assert_allclose(to_numpy(a), b, rtol=1e-3, atol=5e-2 if session.precision == "f16" else 1e-3, err_msg=name)


def test_every_batch_size_of_the_engine_is_warmed(xp: Namespace, bundle: Bundle) -> None:
    for session in sessions(xp, bundle):
        warm(state_of(bundle, session))
