"""Which engine runs the encoder, and why.

bytes of an ONNX file, the wish ("auto" or a name) → a `Session` and one line a person can read
"""

from __future__ import annotations

from gpu.ort import OrtSession
from gpu.session import EngineError, Session
from gpu.trt import TrtSession

ENGINES = ("auto", "onnxruntime", "tensorrt")


def choose(model: bytes, engine: str = "auto") -> tuple[Session, str]:
    """Make a session on the engine asked for, or on the best one that is there.

    Parameters
    ----------
    model : bytes
        The ONNX file.
    engine : str
        One of `ENGINES`.

    Returns
    -------
    (Session, str)
        The session and the reason.

    Raises
    ------
    EngineError
        The engine asked for is not there, or none is.
    """
    if engine not in ENGINES:
        raise EngineError(f"there is no engine {engine!r}: choose one of {', '.join(ENGINES)}")
    if engine == "onnxruntime":
        return OrtSession(model), "onnxruntime, as asked for"
    try:
        session = TrtSession(model)
    except EngineError as error:
        if engine == "tensorrt":
            raise EngineError(f"tensorrt was asked for and is not there: {error}") from None
        return OrtSession(model), f"onnxruntime, for tensorrt is not there: {error}"
    return session, "tensorrt, as asked for" if engine == "tensorrt" else "tensorrt, for a GPU and its libraries are there"
