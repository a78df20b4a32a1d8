"""Every engine gives what the torch module gives, at every batch size, and says in one line what is wrong."""

from __future__ import annotations

import importlib.util
from typing import Any, get_args

import array_api_strict
import numpy as np
import pytest

from gpu.buffers import BUCKETS, GPU_BUCKETS, SHAPES, pad, plan
from gpu.choose import ENGINES, choose
from gpu.ort import OrtSession
from gpu.ort_cuda import CUDA, BoundSession, refuse_fallback
from gpu.session import EngineError, Session
from gpu.trt import TrtSession
from gpu.trt_engine import PRECISIONS
from settings.scoring import ScoringSettings

torch = pytest.importorskip("torch")
onnx = pytest.importorskip("onnx")

from gpu.eager import EagerSession  # noqa: E402
from learning.encoder import Encoder  # noqa: E402
from learning.export import bucket_difference, restore, to_onnx  # noqa: E402
from learning.hyperparameters import EncoderConfig  # noqa: E402
from operators.context import N_CONTEXT  # noqa: E402
from operators.tokens import N_FEATURES  # noqa: E402
from operators.types import F32, N_TOKENS, STAMP  # noqa: E402

Inputs = tuple[F32, F32, F32]


def inputs(n: int, seed: int = 0) -> Inputs:
    """Random inputs with 0 … L valid tokens."""
    rng = np.random.default_rng(seed)
    tokens = rng.normal(size=(n, N_TOKENS, N_FEATURES)).astype(np.float32)
    tokens[..., -1] = 1
    tokens *= (np.arange(N_TOKENS) < rng.integers(0, N_TOKENS + 1, n)[:, None])[..., None]
    return (
        tokens,
        rng.normal(size=(n, 4, STAMP, STAMP)).astype(np.float32),
        rng.normal(size=(n, N_CONTEXT)).astype(np.float32),
    )


@pytest.fixture(scope="module")
def model() -> bytes:
    torch.manual_seed(0)
    return to_onnx(Encoder(EncoderConfig(classes=18)))


@pytest.fixture(scope="module", params=["onnxruntime", "onnxruntime bound", "torch"])
def session(request: pytest.FixtureRequest, model: bytes) -> Session:
    """Bound: the code of the GPU engine, on the CPU's provider."""
    if request.param == "torch":
        return EagerSession(restore(model))
    return OrtSession(model) if request.param == "onnxruntime" else BoundSession(model, provider="CPUExecutionProvider")


def test_engines_agree(model: bytes) -> None:
    batch = inputs(150)
    ours, theirs = OrtSession(model).run(*batch), EagerSession(restore(model)).run(*batch)
    np.testing.assert_allclose(ours.embedding, theirs.embedding, atol=2e-5)
    np.testing.assert_allclose(ours.logits, theirs.logits, atol=5e-5)


@pytest.mark.parametrize("n", [0, 1, 7, 8, 9, 32, 33, 64, 65, 130])
def test_any_number_of_alerts(session: Session, n: int) -> None:
    answer = session.run(*inputs(n))
    assert answer.embedding.shape == (n, EncoderConfig(classes=18).embedding)
    assert answer.logits.shape == (n, 18)
    assert answer.embedding.dtype == answer.logits.dtype == np.float32
    assert np.isfinite(answer.embedding).all()


def test_neighbours_and_bucket_do_not_matter(model: bytes) -> None:
    """Bit for bit on ONNX Runtime: a replayed night gives the live one's numbers whatever the batches were."""
    session = OrtSession(model)
    batch = inputs(200, seed=3)
    assert bucket_difference(session, *batch) == 0.0
    whole = session.run(*batch)
    order = np.random.default_rng(1).permutation(200)
    shuffled = session.run(*(a[order] for a in batch))
    np.testing.assert_array_equal(whole.embedding[order], shuffled.embedding)
    np.testing.assert_array_equal(whole.logits[order], shuffled.logits)


def test_arrays_are_left_as_they_were(session: Session) -> None:
    batch = inputs(8)
    for array in batch:
        array.flags.writeable = False
    before = [a.copy() for a in batch]
    session.run(*batch)
    for a, b in zip(batch, before, strict=True):
        np.testing.assert_array_equal(a, b)


def test_strided_input(session: Session) -> None:
    tokens, stamps, context = inputs(16)
    a = session.run(tokens[::2], stamps[::2], context[::2])
    b = session.run(tokens[::2].copy(), stamps[::2].copy(), context[::2].copy())
    np.testing.assert_array_equal(a.embedding, b.embedding)


@pytest.mark.parametrize("buckets", [BUCKETS, GPU_BUCKETS])
def test_plan_covers_every_alert_once(buckets: tuple[int, ...]) -> None:
    for n in (*range(200), 255, 256, 257, 1023, 1024, 1025, 3000):
        parts = list(plan(n, buckets))
        assert [i for part, _ in parts for i in range(part.start, part.stop)] == list(range(n))
        assert all(part.stop - part.start <= rows and rows in buckets for part, rows in parts)


def test_padding_of_light_curves_may_be_cut(model: bytes) -> None:
    session, whole = OrtSession(model), OrtSession(model)
    whole._step = N_TOKENS
    batch = inputs(150, seed=5)
    for one, other in zip(session.run(*batch), whole.run(*batch), strict=True):
        np.testing.assert_array_equal(one, other)


def test_a_file_whose_light_curves_are_of_one_length(model: bytes) -> None:
    fixed = onnx.load_from_string(model)
    fixed.graph.input[0].type.tensor_type.shape.dim[1].dim_value = N_TOKENS
    batch = inputs(20)
    for one, other in zip(OrtSession(fixed.SerializeToString()).run(*batch), OrtSession(model).run(*batch), strict=True):
        np.testing.assert_array_equal(one, other)


def test_nothing_is_cut_where_it_would_change_a_bit() -> None:
    """A network that takes the mean over all tokens, padding too."""
    shapes = {"tokens": ["n", "length", N_FEATURES], "stamps": ["n", 4, STAMP, STAMP], "context": ["n", N_CONTEXT]}
    takes = [onnx.helper.make_tensor_value_info(name, onnx.TensorProto.FLOAT, shape) for name, shape in shapes.items()]
    gives = [onnx.helper.make_tensor_value_info(name, onnx.TensorProto.FLOAT, ["n", N_FEATURES]) for name in ("embedding", "logits")]
    axes = onnx.numpy_helper.from_array(np.array([1]), "axes")
    means = [onnx.helper.make_node("ReduceMean", ["tokens", "axes"], [name], keepdims=0) for name in ("embedding", "logits")]
    graph = onnx.helper.make_graph(means, "mean", takes, gives, [axes])
    model = onnx.helper.make_model(graph, opset_imports=[onnx.helper.make_opsetid("", 18)], ir_version=9)
    batch = inputs(20)
    np.testing.assert_allclose(OrtSession(model.SerializeToString()).run(*batch).embedding, batch[0].mean(axis=1), atol=1e-6)


def test_padding_is_zeros() -> None:
    padded = pad(np.ones((3, 2), dtype=np.float32), 8)
    assert padded.shape == (8, 2)
    assert padded[:3].all()
    assert not padded[3:].any()


WRONG = [
    (lambda t, s, c: (t[:-1], s, c), r"are of 7, 8 and 8 alerts"),
    (lambda t, s, c: (t, s, c[:-3]), r"are of 8, 8 and 5 alerts"),
    (lambda t, s, c: (t.astype(np.float64), s, c), r"tokens is float64, the encoder takes float32"),
    (lambda t, s, c: (t, s.astype(np.float16), c), r"stamps is float16"),
    (
        lambda t, s, c: (t[..., :-1], s, c),
        rf"tokens are \(8, {N_TOKENS}, {N_FEATURES - 1}\), the encoder takes \(n, {N_TOKENS}, {N_FEATURES}\)",
    ),
    (lambda t, s, c: (t[:, 1:], s, c), rf"tokens are \(8, {N_TOKENS - 1}, "),
    (lambda t, s, c: (t, s[:, :3], c), r"stamps are \(8, 3, "),
    (lambda t, s, c: (t, s[..., 1:], c), r"stamps are "),
    (lambda t, s, c: (t, s, c[:, :-1]), r"context are "),
    (lambda t, s, c: (t, s, c[0, 0]), r"context is a float32: this engine takes NumPy arrays"),
    (lambda t, s, c: (t, s, c[:, 0]), r"context are \(8,\), the encoder takes \(n, "),
    (lambda t, s, c: (t.tolist(), s, c), r"tokens is a list: this engine takes NumPy arrays"),
    (lambda t, s, c: (array_api_strict.asarray(t), s, c), r"tokens is a Array: this engine takes NumPy arrays"),
]
"""Batches that no engine may run: what is too short would be read beyond its end by one that gets addresses."""


@pytest.mark.parametrize(("change", "reason"), WRONG)
def test_a_wrong_batch_is_an_engine_error(session: Session, change: Any, reason: str) -> None:
    with pytest.raises(EngineError, match=reason) as caught:
        session.run(*change(*inputs(8)))
    assert "\n" not in str(caught.value)


@pytest.mark.parametrize(("change", "reason"), WRONG)
def test_tensorrt_refuses_a_wrong_batch_before_it_touches_the_engine(change: Any, reason: str) -> None:
    """The session's own `run`, without an engine: what gets past the check fails on what is not there, and not with this message."""
    session = object.__new__(TrtSession)
    session._cupy, session._shapes = np, SHAPES
    with pytest.raises(EngineError, match=reason):
        session.run(*change(*inputs(8)))


def test_the_engines_learn_their_shapes_from_the_model(model: bytes) -> None:
    assert {name: tuple(shape) for name, shape in OrtSession(model)._shapes.items()} == SHAPES


def test_auto_says_why(model: bytes) -> None:
    session, why = choose(model)
    if importlib.util.find_spec("cupy") is None:
        assert session.engine.startswith("onnxruntime ")
        assert why == "onnxruntime on the CPU, for no GPU engine is there: CuPy is not installed (extra gpu)"
    assert "\n" not in why


@pytest.mark.parametrize("engine", ["tensorrt", "onnxruntime-cuda"])
def test_forced_engine_that_is_not_there(model: bytes, engine: str) -> None:
    if importlib.util.find_spec("cupy") is not None:
        pytest.skip("CuPy is installed here")
    with pytest.raises(EngineError, match=rf"^{engine} was asked for and is not there: CuPy is not installed"):
        choose(model, engine)


def test_settings_know_the_engines_there_are() -> None:
    field = ScoringSettings.model_fields
    assert get_args(field["engine"].annotation) == ENGINES
    assert get_args(field["precision"].annotation) == PRECISIONS


@pytest.mark.parametrize(("engine", "precision"), [("auto", "f16"), ("onnxruntime", "f16"), ("tensorrt", "int8")])
def test_a_precision_the_engine_has_not_is_refused(model: bytes, engine: str, precision: str) -> None:
    with pytest.raises(EngineError, match=f"precision {precision!r} of engine {engine}"):
        choose(model, engine, precision=precision)


def test_a_silent_fallback_to_the_processor_is_refused() -> None:
    refuse_fallback(CUDA, [CUDA, "CPUExecutionProvider"])
    for got in (["CPUExecutionProvider"], ["CPUExecutionProvider", CUDA], []):
        with pytest.raises(EngineError, match=f"asked for {CUDA} and fell back to {got[0] if got else 'nothing'}"):
            refuse_fallback(CUDA, got)


def test_a_build_without_the_provider_says_which_package_has_it(model: bytes) -> None:
    import onnxruntime

    if CUDA in onnxruntime.get_available_providers():
        pytest.skip("gpu: onnxruntime-gpu is installed here")
    with pytest.raises(EngineError, match=r"has no CUDAExecutionProvider: install onnxruntime-gpu\[cuda,cudnn\] in its place"):
        BoundSession(model)


def test_an_engine_that_reads_memory_where_it_lies_gives_the_same(model: bytes) -> None:
    batch = inputs(1100)
    bound, plain = BoundSession(model, provider="CPUExecutionProvider").run(*batch), OrtSession(model).run(*batch)
    np.testing.assert_allclose(bound.embedding, plain.embedding, atol=2e-5)
    np.testing.assert_allclose(bound.logits, plain.logits, atol=5e-5)


def test_unknown_engine(model: bytes) -> None:
    with pytest.raises(EngineError, match="no engine 'cuda'"):
        choose(model, "cuda")


@pytest.mark.parametrize("blob", [b"", b"no model", b"\x08\x07" * 50])
def test_damaged_model(blob: bytes) -> None:
    with pytest.raises(EngineError) as caught:
        choose(blob, "onnxruntime")
    assert "\n" not in str(caught.value)


def test_a_model_that_is_not_an_encoder() -> None:
    onnx = pytest.importorskip("onnx")
    value = onnx.helper.make_tensor_value_info("x", onnx.TensorProto.FLOAT, [1])
    out = onnx.helper.make_tensor_value_info("y", onnx.TensorProto.FLOAT, [1])
    graph = onnx.helper.make_graph([onnx.helper.make_node("Identity", ["x"], ["y"])], "g", [value], [out])
    other = onnx.helper.make_model(graph, opset_imports=[onnx.helper.make_opsetid("", 17)], ir_version=9)
    with pytest.raises(EngineError, match="not an encoder of ours"):
        OrtSession(other.SerializeToString())


@pytest.mark.gpu
@pytest.mark.parametrize(
    ("engine", "precision", "within"), [("tensorrt", "f32", 1e-3), ("tensorrt", "f16", 0.05), ("onnxruntime-cuda", "f32", 1e-3)]
)
def test_a_gpu_engine_agrees_and_refuses_wrong_batches(model: bytes, engine: str, precision: str, within: float) -> None:
    try:
        session, _ = choose(model, engine, precision=precision)
    except EngineError as error:
        pytest.skip(f"gpu: {error}")
    xp = session.namespace
    for n in (0, 1, 9, 150, 1025):
        batch = inputs(n)
        ours = session.run(*(xp.asarray(a) for a in batch))
        theirs = OrtSession(model).run(*batch)
        np.testing.assert_allclose(ours.embedding.get(), theirs.embedding, atol=within)
        np.testing.assert_allclose(ours.logits.get(), theirs.logits, atol=within)
    for change, reason in WRONG[:9]:
        with pytest.raises(EngineError, match=reason):
            session.run(*change(*(xp.asarray(a) for a in inputs(8))))
    with pytest.raises(EngineError, match="this engine takes cupy arrays"):
        session.run(*inputs(8))
