"""A model file in 32 bits → the same in 16, with inputs and outputs of 32.

bytes of an ONNX file → bytes of an ONNX file

TensorRT 11 has no switch for it: a network is strongly typed, so the file says what each number is. All weights and what lies between them
are float16; casts stand behind the inputs and before the outputs. Needs `onnx` (extra gpu).
"""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np

from gpu.session import EngineError, one_line

if TYPE_CHECKING:
    import onnx

LARGEST = float(np.finfo(np.float16).max)
TINY = float(np.finfo(np.float16).tiny)


def half(model: bytes) -> bytes:
    """Make the 16-bit file of an encoder.

    Raises
    ------
    EngineError
        `onnx` is not installed, or the file cannot be read or has a number that 16 bits cannot hold.
    """
    try:
        import onnx
        from onnx import TensorProto, numpy_helper
    except ImportError:
        raise EngineError("the 16-bit model needs onnx (extra gpu)") from None
    try:
        graph_model = onnx.load_from_string(model)
    except Exception as error:  # protobuf's own hierarchy
        raise EngineError(f"the model file cannot be read: {one_line(error)}") from None
    graph = graph_model.graph

    def halved(tensor: onnx.TensorProto) -> onnx.TensorProto:
        values = numpy_helper.to_array(tensor)
        if not np.isfinite(values).all() or np.abs(values, dtype=np.float64).max(initial=0.0) > LARGEST:
            raise EngineError(f"{tensor.name or 'a constant'} of the model is beyond what 16 bits hold")
        # What is not zero stays so: such numbers stand where a division by zero is to be avoided.
        small = (values != 0) & (np.abs(values) < TINY)
        return numpy_helper.from_array(np.where(small, np.sign(values) * TINY, values).astype(np.float16), tensor.name)

    for tensor in graph.initializer:
        if tensor.data_type == TensorProto.FLOAT:
            tensor.CopyFrom(halved(tensor))
    for node in graph.node:
        for attribute in node.attribute:
            if attribute.type == onnx.AttributeProto.TENSOR and attribute.t.data_type == TensorProto.FLOAT:
                attribute.t.CopyFrom(halved(attribute.t))
            elif node.op_type == "Cast" and attribute.name == "to" and attribute.i == TensorProto.FLOAT:
                attribute.i = TensorProto.FLOAT16
            elif attribute.type == onnx.AttributeProto.GRAPH:
                raise EngineError(f"the model has a {node.op_type} with a graph of its own: it is not an encoder of ours")
    del graph.value_info[:]
    _cast_ends(graph)
    onnx.checker.check_model(graph_model)
    return bytes(graph_model.SerializeToString(deterministic=True))


def _cast_ends(graph: onnx.GraphProto) -> None:
    """Casts behind the inputs and before the outputs, which stay float32."""
    from onnx import TensorProto, helper

    for value in graph.input:
        inner = f"{value.name}_f16"
        for node in graph.node:
            node.input[:] = [inner if name == value.name else name for name in node.input]
        graph.node.insert(0, helper.make_node("Cast", [value.name], [inner], f"{value.name} to 16 bits", to=TensorProto.FLOAT16))
    for value in graph.output:
        inner = f"{value.name}_f16"
        for node in graph.node:
            node.input[:] = [inner if name == value.name else name for name in node.input]
            node.output[:] = [inner if name == value.name else name for name in node.output]
        graph.node.append(helper.make_node("Cast", [inner], [value.name], f"{value.name} to 32 bits", to=TensorProto.FLOAT))
