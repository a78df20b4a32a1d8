"""Trained encoder → one ONNX file, and back.

`Encoder` → bytes of a self-contained ONNX model with a dynamic batch; the weights keep their names and the sizes travel as metadata, so
that `restore` rebuilds the torch module from the file alone (to go on training, or as an independent engine).
"""

from __future__ import annotations

import logging
import tempfile
import warnings
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import onnx
import onnx.numpy_helper
import torch

from gpu.ort import OrtSession
from gpu.session import Session
from learning.encoder import Encoder
from learning.hyperparameters import EncoderConfig
from operators.types import N_TOKENS, STAMP, Array

OPSET = 20
CONFIG_KEY = "protonova.encoder"
INPUTS = ("tokens", "stamps", "context")
OUTPUTS = ("embedding", "logits")


def to_onnx(encoder: Encoder) -> bytes:
    """Export the encoder.

    Returns
    -------
    bytes
        A model with inputs `INPUTS`, outputs `OUTPUTS`, a dynamic first axis, light curves of up to `N_TOKENS`, and no external data.
    """
    encoder = encoder.eval().cpu()
    example = (
        torch.randn(8, N_TOKENS, encoder.config.features),
        torch.randn(8, 4, STAMP, STAMP),
        torch.randn(8, encoder.config.surroundings + encoder.config.folded + encoder.config.dips),
    )
    n = torch.export.Dim("n", min=1, max=4096)
    exporter_log = logging.getLogger("torch.onnx")
    level = exporter_log.level
    with tempfile.TemporaryDirectory() as folder, warnings.catch_warnings():
        warnings.simplefilter("ignore")  # the exporter's own deprecations and a remark on GRU batches; what counts is checked below
        exporter_log.setLevel(logging.ERROR)
        path = Path(folder) / "encoder.onnx"
        try:
            torch.onnx.export(
                encoder,
                example,
                path,
                dynamo=True,
                external_data=False,
                input_names=list(INPUTS),
                output_names=list(OUTPUTS),
                dynamic_shapes=({0: n}, {0: n}, {0: n}),
                opset_version=OPSET,
                optimize=False,  # it would fold weights away under new names; the runtimes fold them when they load
                verbose=False,
            )
        finally:
            exporter_log.setLevel(level)
        model = onnx.load(path, load_external_data=False)
    onnx.checker.check_model(model)
    model.doc_string = ""
    for node in model.graph.node:  # the exporter writes source lines and paths of this machine into every node
        node.doc_string = ""
        del node.metadata_props[:]
    del model.metadata_props[:]
    # Light curves may be shorter than the longest: no operation asks for their length, only the exporter's notes of shapes hold it.
    del model.graph.value_info[:]
    (tokens,) = (value for value in model.graph.input if value.name == INPUTS[0])
    tokens.type.tensor_type.shape.dim[1].dim_param = "length"
    for value in (*model.graph.input, *model.graph.output, *model.graph.initializer):
        del value.metadata_props[:]
    del model.graph.metadata_props[:]
    onnx.helper.set_model_props(model, {CONFIG_KEY: encoder.config.to_json()})
    missing = set(encoder.state_dict()) - {t.name for t in model.graph.initializer}
    if missing:
        raise RuntimeError(f"the exporter renamed the weights {sorted(missing)}: the file could not be read back")
    return bytes(model.SerializeToString(deterministic=True))


def restore(model: bytes) -> Encoder:
    """Rebuild the torch encoder from an exported file.

    Raises
    ------
    ValueError
        The file is not one that `to_onnx` wrote.
    """
    graph = onnx.load_from_string(model)
    config = {p.key: p.value for p in graph.metadata_props}.get(CONFIG_KEY)
    if config is None:
        raise ValueError(f"this ONNX file has no {CONFIG_KEY} metadata: it was not exported here")
    encoder = Encoder(EncoderConfig.from_json(config))
    names = set(encoder.state_dict())
    weights = {t.name: torch.from_numpy(onnx.numpy_helper.to_array(t).copy()) for t in graph.graph.initializer if t.name in names}
    encoder.load_state_dict(weights)
    return encoder.eval()


@dataclass(frozen=True, slots=True)
class Agreement:
    """How far ONNX Runtime is from torch on the same inputs."""

    cosine: float
    """Smallest cosine between the two embeddings of an alert."""
    same_label: float
    """Share of alerts whose highest logit is the same class."""
    largest_difference: float
    """Of any embedding number or logit."""
    bucket_difference: float
    """Largest difference between the batch sizes of the session, ONNX Runtime against itself."""


def compare(encoder: Encoder, model: bytes, *, tokens: Array, stamps: Array, context: Array) -> Agreement:
    """Run both and compare; see `Agreement`."""
    session = OrtSession(model)
    ours = session.run(tokens, stamps, context)
    with torch.inference_mode():
        theirs = [
            tuple(x.numpy() for x in encoder.eval()(*(torch.from_numpy(a[i : i + 256]) for a in (tokens, stamps, context))))
            for i in range(0, tokens.shape[0], 256)
        ]
    embedding, logits = (np.concatenate(x) for x in zip(*theirs, strict=True))
    lengths = np.linalg.norm(ours.embedding, axis=1) * np.linalg.norm(embedding, axis=1)
    cosine = (ours.embedding * embedding).sum(axis=1) / np.maximum(lengths, 1e-12)
    return Agreement(
        cosine=float(cosine.min()),
        same_label=float((np.argmax(ours.logits, axis=1) == logits.argmax(axis=1)).mean()),
        largest_difference=float(max(np.abs(ours.embedding - embedding).max(), np.abs(ours.logits - logits).max())),
        bucket_difference=bucket_difference(session, tokens, stamps, context),
    )


def bucket_difference(session: Session, tokens: Array, stamps: Array, context: Array) -> float:
    """Largest difference of any output when the same alerts go through in batches of another bucket."""
    whole = session.run(tokens, stamps, context)
    worst = 0.0
    for size in session.buckets:
        parts = [session.run(tokens[i : i + size], stamps[i : i + size], context[i : i + size]) for i in range(0, tokens.shape[0], size)]
        for k, reference in enumerate(whole):
            worst = max(worst, float(np.abs(np.concatenate([p[k] for p in parts]) - reference).max()))
    return worst
