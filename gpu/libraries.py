"""NVIDIA's libraries, found and compared before anything is built with them.

nothing → TensorRT's and CuPy's modules, or one line that says what is missing or does not fit

TensorRT comes as bindings (a wheel) and libraries (from the vendor, or from Maven): two releases that meet only on this machine. What was
compiled against one and runs with another reads other layouts of the same structures, so they are compared when they are found.
"""

from __future__ import annotations

import ctypes
import importlib
from typing import Any

from gpu.session import EngineError, one_line


def import_cupy() -> Any:
    """Import CuPy, which does not call CUDA.

    Raises
    ------
    EngineError
        It is not installed.
    """
    try:
        return importlib.import_module("cupy")
    except ImportError:
        raise EngineError("CuPy is not installed (extra gpu)") from None


def find_cupy() -> Any:
    """Import CuPy and ask the device.

    Raises
    ------
    EngineError
        What is missing, in one line.
    """
    cupy = import_cupy()
    try:
        devices = cupy.cuda.runtime.getDeviceCount()
    except Exception as error:  # CuPy raises the driver's own error types, and an ImportError where its libraries are not there
        raise EngineError(f"no CUDA device answers: {one_line(error)}") from None
    if not devices:
        raise EngineError("there is no CUDA device")
    return cupy


def find_tensorrt() -> Any:
    """Import TensorRT's bindings and compare them with the libraries.

    Raises
    ------
    EngineError
        Either is missing, or they are of two releases.
    """
    for name in ("tensorrt", "tensorrt_bindings"):
        try:
            trt = importlib.import_module(name)
        except (ImportError, OSError, RuntimeError):  # the bindings raise what the missing libnvinfer makes them raise
            continue
        compare(str(trt.__version__), library_version(str(trt.__version__)))
        return trt
    raise EngineError("TensorRT is not installed, or its libraries are not on the path (tensorrt, or tensorrt_bindings with libnvinfer)")


def find() -> tuple[Any, Any]:
    """TensorRT and CuPy, with a device that answers.

    Raises
    ------
    EngineError
        What is missing or does not fit, in one line.
    """
    cupy = find_cupy()
    return find_tensorrt(), cupy


def library_version(bindings: str) -> str:
    """The release of the libnvinfer that the bindings have loaded, as ``11.2.1``.

    Raises
    ------
    EngineError
        No library of the bindings' major release answers.
    """
    name = f"libnvinfer.so.{bindings.partition('.')[0]}"
    try:
        number = int(ctypes.CDLL(name).getInferLibVersion())
    except (OSError, AttributeError) as error:
        raise EngineError(f"TensorRT's bindings are {bindings} and {name} does not answer: {one_line(error)}") from None
    return release(number)


def release(number: int) -> str:
    """The release in TensorRT's number: 10,000 x major + 100 x minor + patch."""
    return f"{number // 10_000}.{number // 100 % 100}.{number % 100}"


def compare(bindings: str, library: str) -> None:
    """Refuse bindings and libraries of two releases.

    Raises
    ------
    EngineError
        They differ in the first three numbers.
    """
    if bindings.split(".")[:3] != library.split(".")[:3]:
        raise EngineError(
            f"TensorRT's bindings are {bindings} and its libraries {library}: install the bindings of the libraries' release "
            f"(pip install 'tensorrt-cu13-bindings=={library}.*')"
        )
