"""What can be known of the TensorRT engine without a GPU: versions, cache keys, the check of a built engine, the 16-bit model."""

from __future__ import annotations

import enum
import subprocess
import sys
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from gpu.buffers import GPU_BUCKETS, INPUTS, OUTPUTS, SHAPES
from gpu.libraries import compare, find, release
from gpu.session import EngineError
from gpu.trt import TrtSession
from gpu.trt_engine import cache_key, checked, keep

ROOT = Path(__file__).parents[2]


def test_a_built_engine_is_kept_under_everything_it_depends_on() -> None:
    known: dict[str, Any] = {"capability": "90", "buckets": GPU_BUCKETS, "precision": "f32"}
    key = cache_key(b"model", "11.2.1", **known)
    others = [
        cache_key(b"other", "11.2.1", **known),
        cache_key(b"model", "11.3.0", **known),
        cache_key(b"model", "11.2.1", **(known | {"capability": "100"})),
        cache_key(b"model", "11.2.1", **(known | {"buckets": (8, 64)})),
        cache_key(b"model", "11.2.1", **(known | {"precision": "f16"})),
    ]
    assert len({key, *others}) == 6
    assert "/" not in key


def test_a_folder_that_cannot_be_written_costs_nothing_more(tmp_path: Path) -> None:
    assert keep(tmp_path / "a" / "b.engine", b"built") is None
    assert (tmp_path / "a" / "b.engine").read_bytes() == b"built"
    (tmp_path / "file").write_bytes(b"")
    assert keep(tmp_path / "file" / "b.engine", b"built")
    assert [p.name for p in (tmp_path / "a").iterdir()] == ["b.engine"]


@pytest.mark.parametrize(("number", "text"), [(110201, "11.2.1"), (110400, "11.4.0"), (100009, "10.0.9")])
def test_the_librarys_number_is_a_release(number: int, text: str) -> None:
    assert release(number) == text


def test_bindings_and_libraries_of_two_releases_are_refused_by_name() -> None:
    compare("11.2.1.2", "11.2.1")
    for bindings, library in (("11.4.0.106", "11.2.1"), ("11.2.0.9", "11.2.1"), ("10.2.1.2", "11.2.1")):
        with pytest.raises(EngineError, match=rf"bindings are {bindings} and its libraries {library}: .*bindings=={library}\.\*"):
            compare(bindings, library)


@pytest.mark.gpu
def test_the_libraries_here_fit_each_other() -> None:
    try:
        trt, _ = find()
    except EngineError as error:
        pytest.skip(f"gpu: {error}")
    assert trt.__version__


class DataType(enum.Enum):
    FLOAT = 0
    HALF = 1


class Trt:
    """The names of TensorRT that the check reads."""

    DataType = DataType


@dataclass(frozen=True)
class Engine:
    """What a built engine says of itself, as TensorRT's `ICudaEngine` says it."""

    buckets: tuple[int, ...] = GPU_BUCKETS
    shapes: dict[str, Any] = field(default_factory=lambda: dict(SHAPES))
    widths: dict[str, int] = field(default_factory=lambda: {"embedding": 64, "logits": 69})
    types: dict[str, DataType] = field(default_factory=dict)

    @property
    def num_io_tensors(self) -> int:
        return len(self.shapes) + len(self.widths)

    @property
    def num_optimization_profiles(self) -> int:
        return len(self.buckets)

    def get_tensor_name(self, i: int) -> str:
        return [*self.shapes, *self.widths][i]

    def get_tensor_dtype(self, name: str) -> DataType:
        return self.types.get(name, DataType.FLOAT)

    def get_tensor_shape(self, name: str) -> tuple[int, ...]:
        return (-1, self.widths[name]) if name in self.widths else (-1, *self.shapes[name])

    def get_tensor_profile_shape(self, name: str, profile: int) -> list[tuple[int, ...]]:
        return [(self.buckets[profile], *self.shapes[name])] * 3


def test_an_engine_says_what_it_takes_and_gives() -> None:
    shapes, widths = checked(Trt, Engine(), buckets=GPU_BUCKETS)
    assert shapes == SHAPES
    assert widths == {"embedding": 64, "logits": 69}
    assert set(shapes) == set(INPUTS)
    assert set(widths) == set(OUTPUTS)


@pytest.mark.parametrize(
    ("engine", "said"),
    [
        (Engine(types={"tokens": DataType.HALF}), "engine's tokens is .*HALF, float32 is handed to it"),
        (Engine(types={"logits": DataType.HALF}), "engine's logits is .*HALF"),
        (Engine(buckets=(8, 32)), "has 2 profiles for 5 batch sizes"),
        (Engine(buckets=(8, 32, 64, 256, 512)), "profile 4 of the engine takes tokens of .*512.* not 1024 alerts"),
        (Engine(shapes={"tokens": (48, 38), "stamps": (4, 32, 32)}), "not one of an encoder of ours"),
    ],
)
def test_an_engine_that_is_not_what_will_be_handed_to_it_is_refused(engine: Engine, said: str) -> None:
    with pytest.raises(EngineError, match=said):
        checked(Trt, engine, buckets=GPU_BUCKETS)


def test_profiles_of_different_shapes_are_refused() -> None:
    @dataclass(frozen=True)
    class Uneven(Engine):
        def get_tensor_profile_shape(self, name: str, profile: int) -> list[tuple[int, ...]]:
            (one, *_) = super().get_tensor_profile_shape(name, profile)
            return [(*one[:-1], one[-1] + profile)] * 3

    with pytest.raises(EngineError, match=r"takes tokens of \(48, \d+\) and of"):
        checked(Trt, Uneven(), buckets=GPU_BUCKETS)
    ranged = replace(Engine())
    object.__setattr__(ranged, "get_tensor_profile_shape", lambda name, i: [(1, *SHAPES[name]), (8, *SHAPES[name]), (64, *SHAPES[name])])
    with pytest.raises(EngineError, match=r"takes tokens of \(1, "):
        checked(Trt, ranged, buckets=GPU_BUCKETS)


def test_an_unknown_precision_is_refused() -> None:
    with pytest.raises(EngineError, match="no precision 'int8'"):
        TrtSession(b"", precision="int8")


def test_the_16_bit_model_is_near_the_one_of_32_bits_and_takes_the_same_arrays() -> None:
    onnx = pytest.importorskip("onnx")
    from gpu.half import half
    from gpu.ort import OrtSession
    from registry.bundle import load

    bundle = load()
    small = half(bundle.encoder)
    graph = onnx.load_from_string(small).graph
    assert len(small) < 0.55 * len(bundle.encoder)
    assert {t.data_type for t in graph.initializer} == {onnx.TensorProto.FLOAT16}
    assert {v.type.tensor_type.elem_type for v in (*graph.input, *graph.output)} == {onnx.TensorProto.FLOAT}
    golden = bundle.golden
    full, less = (OrtSession(m).run(golden.tokens, golden.stamps, golden.context) for m in (bundle.encoder, small))
    off = np.abs(full.embedding - less.embedding).max()
    assert 0 < off < 0.02
    assert (full.logits.argmax(axis=1) == less.logits.argmax(axis=1)).all()


def test_a_weight_that_16_bits_cannot_hold_is_named() -> None:
    onnx = pytest.importorskip("onnx")
    from gpu.half import half
    from registry.bundle import load

    for value in (7e4, np.nan):
        model = onnx.load_from_string(load().encoder)
        tensor = model.graph.initializer[0]
        values = onnx.numpy_helper.to_array(tensor).copy()
        values.flat[0] = value
        tensor.CopyFrom(onnx.numpy_helper.from_array(values, tensor.name))
        with pytest.raises(EngineError, match=f"{tensor.name} of the model is beyond what 16 bits hold"):
            half(model.SerializeToString())
    with pytest.raises(EngineError, match="cannot be read"):
        half(b"no model")


def test_importing_it_needs_neither_cupy_nor_tensorrt() -> None:
    heavy = ("cupy", "tensorrt", "tensorrt_bindings", "onnx")
    code = f"import sys, gpu.trt, gpu.choose; sys.exit(any(name.partition('.')[0] in {heavy} for name in sys.modules))"
    assert subprocess.run([sys.executable, "-c", code], cwd=ROOT, timeout=100).returncode == 0
