"""A TensorRT engine of a model file: built, kept, and checked before it is used.

bytes of an ONNX file, TensorRT, buckets, precision → a built engine whose every tensor is what `gpu.trt` will hand it

Each bucket is an optimisation profile of one fixed shape. A built engine fits one ONNX file, TensorRT release, GPU kind, precision and set
of profiles; it is cached under exactly that key in the user's cache folder, never put into the registry, and built anew where the
cached one does not load or is not what its name says.
"""

from __future__ import annotations

import contextlib
import hashlib
import os
import sys
import tempfile
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from gpu.buffers import INPUTS, OUTPUTS, Shapes
from gpu.half import half
from gpu.session import EngineError, one_line
from operators.types import N_TOKENS

PRECISIONS = ("f32", "f16")
WORKSPACE = 1 << 30
"""Device memory the builder may try tactics with [bytes]."""


def engine_of(trt: Any, model: bytes, *, capability: str, buckets: Sequence[int], precision: str, folder: Path) -> Any:
    """Load the kept engine, or build one and keep it.

    Parameters
    ----------
    trt : module
    model : bytes
        The ONNX file, of 32 bits.
    capability : str
        Of the device, as ``90``.
    buckets : sequence of int
        Ascending.
    precision : {"f32", "f16"}
    folder : Path
        Where built engines are kept.

    Raises
    ------
    EngineError
        It cannot be built, or what was built is not an engine of these shapes.
    """
    logger = trt.Logger(trt.Logger.ERROR)
    runtime = trt.Runtime(logger)
    name = cache_key(model, str(trt.__version__), capability=capability, buckets=buckets, precision=precision)
    path = folder / f"{name}.engine"
    with contextlib.suppress(OSError, EngineError):
        engine = runtime.deserialize_cuda_engine(path.read_bytes())
        if engine is not None:
            checked(trt, engine, buckets=buckets)
            return engine
    built = build(trt, logger, model=model if precision == "f32" else half(model), buckets=buckets)
    keep(path, built)
    engine = runtime.deserialize_cuda_engine(built)
    if engine is None:
        raise EngineError("TensorRT built an engine that it cannot load")
    checked(trt, engine, buckets=buckets)
    return engine


def build(trt: Any, logger: Any, *, model: bytes, buckets: Sequence[int]) -> bytes:
    """Build an engine whose types are the file's own, with a profile a bucket.

    Raises
    ------
    EngineError
        The file cannot be read, is not an encoder, or cannot be built.
    """
    builder = trt.Builder(logger)
    network = builder.create_network(1 << int(trt.NetworkDefinitionCreationFlag.STRONGLY_TYPED))
    parser = trt.OnnxParser(network, logger)
    if not parser.parse(model):
        raise EngineError(f"TensorRT cannot read the encoder: {parser.get_error(0).desc() if parser.num_errors else 'no reason given'}")
    config = builder.create_builder_config()
    config.set_memory_pool_limit(trt.MemoryPoolType.WORKSPACE, WORKSPACE)
    config.clear_flag(trt.BuilderFlag.TF32)  # results are compared with the CPU's
    takes = {network.get_input(i).name: network.get_input(i) for i in range(network.num_inputs)}
    shapes = {name: tuple(tensor.shape)[1:] for name, tensor in takes.items()}
    if set(shapes) != set(INPUTS):
        raise EngineError(f"the model file has inputs {sorted(shapes)}: it is not an encoder of ours")
    # Light curves may be of any length in the file; here all are of the longest, a shape a bucket.
    shapes["tokens"] = (N_TOKENS, shapes["tokens"][1])
    takes["tokens"].shape = (-1, *shapes["tokens"])
    for bucket in buckets:
        profile = builder.create_optimization_profile()
        for name, shape in shapes.items():
            profile.set_shape(name, (bucket, *shape), (bucket, *shape), (bucket, *shape))
        config.add_optimization_profile(profile)
    built = builder.build_serialized_network(network, config)
    if built is None:
        raise EngineError("TensorRT could not build an engine of the encoder")
    return bytes(built)


def checked(trt: Any, engine: Any, *, buckets: Sequence[int]) -> tuple[Shapes, dict[str, int]]:
    """What an engine takes and gives, if all of it is what it is to be.

    Returns
    -------
    Shapes, dict
        Of the inputs; the widths of the outputs.

    Raises
    ------
    EngineError
        Its tensors are others, not float32, or its profiles are not the buckets.
    """
    names = [engine.get_tensor_name(i) for i in range(engine.num_io_tensors)]
    if sorted(names) != sorted((*INPUTS, *OUTPUTS)):
        raise EngineError(f"the engine's tensors are {', '.join(names)}: it is not one of an encoder of ours")
    for name in names:
        if engine.get_tensor_dtype(name) != trt.DataType.FLOAT:
            raise EngineError(f"the engine's {name} is {engine.get_tensor_dtype(name)}, float32 is handed to it")
    if engine.num_optimization_profiles != len(buckets):
        raise EngineError(f"the engine has {engine.num_optimization_profiles} profiles for {len(buckets)} batch sizes")
    shapes: dict[str, tuple[int | str | None, ...]] = {}
    for i, bucket in enumerate(buckets):
        for name in INPUTS:
            profiles = [tuple(shape) for shape in engine.get_tensor_profile_shape(name, i)]
            if len({*profiles}) != 1 or profiles[0][0] != bucket:
                raise EngineError(f"profile {i} of the engine takes {name} of {profiles[0]} to {profiles[-1]}, not {bucket} alerts")
            shapes.setdefault(name, profiles[0][1:])
            if shapes[name] != profiles[0][1:]:
                raise EngineError(f"the engine takes {name} of {shapes[name]} and of {profiles[0][1:]}")
    return shapes, {name: int(engine.get_tensor_shape(name)[1]) for name in OUTPUTS}


def cache_key(model: bytes, version: str, *, capability: str, buckets: Sequence[int], precision: str = "f32") -> str:
    """Name of a built engine: everything that it is specific to."""
    return f"{hashlib.sha256(model).hexdigest()[:32]}-trt{version}-sm{capability}-{precision}-{'_'.join(map(str, buckets))}"


def cache_folder() -> Path:
    """Where this user's caches lie, by the custom of the system."""
    if sys.platform == "darwin":
        base = Path.home() / "Library" / "Caches"
    else:
        base = Path(os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache")
    return base / "protonova" / "tensorrt"


def keep(path: Path, blob: bytes) -> str | None:
    """Keep a built engine; a folder that cannot be written costs the next start a build: what was wrong, or None."""
    try:
        path.parent.mkdir(parents=True, exist_ok=True, mode=0o700)
        with tempfile.NamedTemporaryFile(dir=path.parent, delete=False) as part:
            part.write(blob)
        os.replace(part.name, path)
    except OSError as error:
        return one_line(error)
    return None
