"""Columns of alerts → what the encoder says of them, and their named features: the one way to embed.

AlertBatch, Session → `Embeddings` in the session's namespace

The stream, the evaluation, training and the check of a bundle call it, so that what is evaluated is what is served (law 1).
"""

from __future__ import annotations

import dataclasses
from collections.abc import Iterable
from typing import Any, NamedTuple

import numpy as np

from gpu.session import Embedded, Session
from operators.context import context
from operators.features import comparable, features
from operators.head import Views
from operators.namespace import array_namespace, to_host
from operators.stamps import stamps
from operators.tokens import tokens
from operators.types import AlertBatch, Array
from pipeline.select import Selected, select


class Inputs(NamedTuple):
    """What the encoder is shown of n alerts, in the order it takes them."""

    tokens: Array  # (n, L, F) float32: the light curve
    stamps: Array  # (n, 4, P, P) float32: the images; zeros without any
    context: Array  # (n, N_CONTEXT) float32: surroundings, folded view, dip view


class Embeddings(NamedTuple):
    """What is known of n alerts before the head."""

    embedding: Array  # (n, E) float32, not normalised
    logits: Array  # (n, K) float32: log-odds over the kinds of the simulation
    named: Array  # (n, len(FEATURES)) float32, NaN where a feature is not defined

    @property
    def views(self) -> Views:
        """The same as the head reads it."""
        return Views(self.embedding, self.logits, comparable(self.named))


def place(batch: AlertBatch, namespace: Any) -> AlertBatch:
    """Bring a decoded batch to a namespace; the batch itself where it is there already."""
    if array_namespace(batch.flux) is namespace:
        return batch
    columns = ((f.name, getattr(batch, f.name)) for f in dataclasses.fields(batch))
    return dataclasses.replace(batch, **{name: namespace.asarray(value) for name, value in columns if isinstance(value, np.ndarray)})


def inputs_of(batch: AlertBatch, selected: Selected | None = None) -> Inputs:
    """Make the encoder's inputs, in the batch's namespace."""
    found = select(batch) if selected is None else selected
    return Inputs(tokens(batch), stamps(batch), context(batch, dips=found.dips, folded=found.folded))


def run(inputs: Inputs, session: Session) -> Embedded:
    """Run the encoder on inputs of any namespace.

    Raises
    ------
    gpu.session.EngineError
        The engine failed.
    """
    return session.run(*(session.namespace.asarray(array) for array in inputs))


def embed(batch: AlertBatch, session: Session, *, inputs: Inputs | None = None, selected: Selected | None = None) -> Embeddings:
    """Embed decoded alerts.

    Parameters
    ----------
    batch : AlertBatch
        Of the host or of the session's namespace.
    session : Session
    inputs : Inputs, optional
        Where they are not to be made of the batch: training keeps its images as the encoder sees them, an ablation blanks a part.
    selected : Selected, optional
        What `pipeline.select.select` found in the batch, where it is at hand.

    Returns
    -------
    Embeddings
        In the session's namespace.

    Raises
    ------
    gpu.session.EngineError
        The engine failed.
    """
    batch = place(batch, session.namespace)
    embedded = run(inputs_of(batch, selected) if inputs is None else inputs, session)
    return Embeddings(embedded.embedding, embedded.logits, features(batch))


def gather(parts: Iterable[Embeddings]) -> Embeddings:
    """Put embeddings of parts one after the other, on the host.

    Raises
    ------
    ValueError
        There are none.
    """
    return Embeddings(*(np.concatenate([to_host(array) for array in column]) for column in zip(*parts, strict=True)))
