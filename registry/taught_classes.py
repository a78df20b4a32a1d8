"""Records of taught classes ↔ heads: the same records beside the same bundle give the same head, bit for bit, on every machine.

examples, the bundle's head → `ClassRecord` (`solve`); the bundle's head, records → `Head` (`head_with`)

A record holds its solution, made once where the class was taught, with the window of the stream that was seen then: a worker reads it
and computes nothing. Beside another head of the same encoder it is solved anew from the views that the record holds, without the window.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass
from types import MappingProxyType
from typing import NamedTuple

import numpy as np

from operators import taught
from operators.head import Head, Views, identity
from operators.taught import Reference, TeachError
from operators.types import F32
from schemas.records.class_record import ClassRecord
from schemas.records.parts import TaughtClass
from schemas.taxonomy import OTHER, class_name_problem

_SCALARS = {
    "taught_location": "location",
    "taught_scale": "scale",
    "taught_prior": "prior",
    "taught_thresholds": "threshold",
    "taught_conformal": "conformal",
}
"""Column of a head → field of a record."""


class Example(NamedTuple):
    """One example beside its view."""

    packet_id: str
    object_id: str
    private: bool


@dataclass(frozen=True, slots=True)
class Lesson:
    """What a class is taught from."""

    name: str
    examples: tuple[Example, ...]
    """Of the first rows of the views; a description has none."""
    views: Views
    """Of the examples, or of alerts simulated from the description."""
    false_calls: float = taught.FALSE_CALLS
    window_calls: float = taught.WINDOW_CALLS
    prior: float = taught.PRIOR
    description: str = ""
    author: str = ""
    note: str = ""


def name_problem(name: str, known: Iterable[str]) -> str | None:
    """Why a class cannot be taught under a name; None: it can."""
    if (problem := class_name_problem(name)) is not None:
        return problem
    if name in known or name == OTHER:
        return f"{name!r} is a class of the model: teach under another name, such as {name}-2"
    return None


def base_id(head: Head) -> str:
    """Identity of the known classes' part of a head: what a solution stands beside."""
    return identity(taught.bare(head))


def solve(
    lesson: Lesson, head: Head, *, encoder_id: str, reference: Reference, window: Views | None, revision: int, taught_ms: int
) -> ClassRecord:
    """Solve a class beside a head.

    Parameters
    ----------
    lesson : Lesson
    head : Head
        Of NumPy arrays; taught classes in it make no difference.
    encoder_id : str
        Of the encoder that made the views.
    reference : Reference
        Known alerts of the bundle.
    window : Views, optional
        Recent alerts of the stream, unlabelled.
    revision : int
        That the record gets.
    taught_ms : int
        Now, since 1970 [ms].

    Raises
    ------
    operators.taught.TeachError
        The class cannot be taught from this.
    """
    alone = taught.teach(
        taught.bare(head),
        lesson.name,
        examples=lesson.views,
        reference=reference,
        window=window,
        false_calls=lesson.false_calls,
        window_calls=lesson.window_calls,
        prior=lesson.prior,
    )
    columns = taught.taught_columns(alone)[lesson.name]
    n = int(lesson.views.embedding.shape[0])
    shown = np.asarray([not example.private for example in lesson.examples] or [True] * n, dtype=np.bool_)
    return ClassRecord(
        name=lesson.name,
        revision=revision,
        author=lesson.author,
        note=lesson.note,
        description=lesson.description,
        packet_ids=tuple(example.packet_id for example in lesson.examples),
        object_ids=tuple(example.object_id for example in lesson.examples),
        private=tuple(example.private for example in lesson.examples),
        encoder_id=encoder_id,
        head_id=base_id(head),
        embedding=_bytes(lesson.views.embedding[shown]),
        logits=_bytes(lesson.views.logits[shown]),
        named=_bytes(lesson.views.named[shown]),
        prototype=_bytes(columns["taught_prototypes"]),
        weights=_bytes(columns["taught_weights"]),
        **{field: float(columns[column]) for column, field in _SCALARS.items()},
        false_calls=lesson.false_calls,
        window_calls=lesson.window_calls,
        window=0 if window is None else int(window.embedding.shape[0]),
        taught_ms=taught_ms,
    )


def views_of(record: ClassRecord, head: Head) -> Views | None:
    """The views of a record's public examples; None: it holds none, or they do not fit the head."""
    e = head.prototypes.shape[-1]
    k = head.zero_shot.shape[0]
    f = head.ridge.shape[-1] - e - k
    sizes = [len(record.embedding) / (4 * e), len(record.logits) / (4 * k), len(record.named) / (4 * f)]
    n = int(sizes[0])
    if not n or any(size != n for size in sizes):
        return None
    return Views(_array(record.embedding, e), _array(record.logits, k), _array(record.named, f))


def head_with(
    head: Head,
    records: Mapping[str, ClassRecord],
    *,
    encoder_id: str,
    reference: Callable[[], Reference],
    known: Iterable[str],
    views: Callable[[ClassRecord], Views | None] = lambda record: None,
    own: Mapping[str, int] = MappingProxyType({}),
) -> tuple[Head, dict[str, str]]:
    """The bundle's head with the classes of these records.

    A class that the bundle holds itself (`Manifest.taught`) stays as it is until it is taught anew, and goes where its record went.

    Parameters
    ----------
    head : Head
        Of the bundle, of NumPy arrays.
    records : mapping of str to ClassRecord
    encoder_id : str
        Of the encoder that will score.
    reference : callable
        Gives the bundle's known alerts; called only where a class has to be solved anew.
    known : iterable of str
        Classes of the bundle.
    views : callable, optional
        Record of another encoder → views of its examples by this one; None: they cannot be had.
    own : mapping of str to int
        Class that the bundle holds itself → revision of the record that it was made of; 0: of labels, without a record.

    Returns
    -------
    (Head, dict)
        Classes that are left out, and why.
    """
    base, known = base_id(head), set(known)
    columns: dict[str, Mapping[str, object]] = {}
    left_out: dict[str, str] = {}
    held = taught.taught_columns(head)
    stays = {name for name, revision in own.items() if name in held and (not revision or name in records)}
    columns |= {name: held[name] for name in stays if name not in records or records[name].revision <= own[name]}
    for name, record in sorted(records.items()):
        if name in columns:
            continue
        if (problem := name_problem(name, known)) is not None:
            left_out[name] = problem
            continue
        if record.encoder_id == encoder_id and record.head_id == base:
            solution = _solution(record, head)
            if solution is None:
                left_out[name] = "its solution does not fit the head that its record names"
            else:
                columns[name] = solution
            continue
        seen = views_of(record, head) if record.encoder_id == encoder_id else views(record)
        if seen is None:
            left_out[name] = "it was taught beside another model, and its examples are not at hand: teach it anew"
            continue
        try:
            alone = taught.teach(
                taught.bare(head),
                name,
                examples=seen,
                reference=reference(),
                false_calls=min(record.false_calls, taught.FALSE_CALLS),
                prior=record.prior,
            )
        except TeachError as error:
            left_out[name] = str(error)
        else:
            columns[name] = taught.taught_columns(alone)[name]
    return taught.put(head, columns), left_out


def lessons_of(names: Iterable[str], records: Mapping[str, ClassRecord], *, own: Iterable[TaughtClass]) -> tuple[TaughtClass, ...]:
    """What each taught class of `head_with`'s head was taught from.

    Parameters
    ----------
    names : iterable of str
        The head's taught classes, in its order.
    records : mapping of str to ClassRecord
    own : iterable of TaughtClass
        Of the classes that the bundle holds itself.
    """
    held = {one.name: one for one in own}
    out = []
    for name in names:
        record, kept = records.get(name), held.get(name)
        if record is not None and (kept is None or record.revision > kept.revision):
            out.append(TaughtClass(name, record.revision, len(record.packet_ids)))
        elif kept is not None:
            out.append(kept)
    return tuple(out)


def _solution(record: ClassRecord, head: Head) -> dict[str, object] | None:
    prototype, weights = np.frombuffer(record.prototype, "<f4"), np.frombuffer(record.weights, "<f4")
    fits = prototype.shape == head.prototypes.shape[-1:] and weights.shape == head.ridge.shape[-1:]
    if not fits or not (np.isfinite(prototype).all() and np.isfinite(weights).all()):
        return None
    scalars = {column: getattr(record, field) for column, field in _SCALARS.items()}
    return {"taught_prototypes": prototype, "taught_weights": weights, **scalars}


def _bytes(values: object) -> bytes:
    return np.ascontiguousarray(values, dtype="<f4").tobytes()


def _array(data: bytes, width: int) -> F32:
    return np.frombuffer(data, "<f4").reshape(-1, width)
