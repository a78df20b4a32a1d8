"""A class taught beside the known ones from K examples: it takes a calibrated share of their probabilities and changes nothing else.

`Head`, K examples, known alerts set aside → `Head`; pure, and `forget` gives the former head back bit for bit

    s(x) = exp((w · view(x) - location) / scale)        one vector a taught class, closed form
    p'   = [p, max(p) · s] / (1 + max(p) · s)

w by ridge, the K examples against known alerts set aside. Appending a prototype instead took 20 points from the old classes. The class
comes first exactly where its answer is above `location`, so that the location is a threshold with a budget of false calls: the largest of
what every stratum of the known alerts asks for (with images, without), and of what an unlabelled window of the stream itself asks for: the
sky is not the simulation. Each taught class is solved alone: what was taught before, and in which order, makes no difference to it.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace
from typing import Any, NamedTuple

import numpy as np
import numpy.typing as npt

from operators.budget import least_probability, night, quantile
from operators.head import Head, Views, conformal_scores, judge, prototype, see
from operators.support import RIDGE
from operators.types import F64

FALSE_CALLS = 1e-3
"""Share of the known alerts of each stratum that may be called the taught class, at balanced classes, where no window of the stream bounds
it: on real curves ten times as many are (17 % of them at a hundredth, 5 % at this; `docs/reports/heads.json`)."""
FALSE_CALLS_IN_SIGHT = 0.01
"""The same where a window of the stream itself bounds the class too: five examples then find 18 to 55 % of a class that was never
simulated, 4 to 23 % at a tenth of it. What goes to the class's topic keeps the budget of alerts a night that every class has."""
OF_LABELLED = 1.25
"""Budgets that labelled alerts of the stream may take: the gates allow two, and of one at most the quantile of so few made a half."""
LEAST_WINDOW = 200
"""Alerts of a window that bounds anything."""
WINDOW_CALLS = 0.02
"""Share of an unlabelled window that may be called so, its true ones among them."""
PRIOR = 1e-4
"""Share of the stream that a taught class is taken to have."""
CLEARANCE = 1.4
"""Log-odds to the most probable other class at which the median example stands, each answered by the others."""
LEAST_SPREAD = 0.25
"""Least scale, in standard deviations of the known alerts' answers."""

COLUMNS = (
    "taught_prototypes",
    "taught_weights",
    "taught_location",
    "taught_scale",
    "taught_prior",
    "taught_thresholds",
    "taught_conformal",
)
"""Arrays of a head whose first axis is the taught classes."""


class TeachError(ValueError):
    """The class cannot be taught from this. One line."""


class Reference(NamedTuple):
    """Known alerts set aside, to calibrate a taught class on."""

    views: Views
    """Of n alerts, float32 or less."""
    label: npt.NDArray[np.int64]  # (n,) class
    images: npt.NDArray[np.bool_]  # (n,) whether the alert had cut-outs; each value is a stratum
    copies: npt.NDArray[np.int64] | None = None
    """(n,) Of a labelled alert of the stream itself, how often it stands here, else 0; None: there are none. They are a stratum, too: the
    stream's mix is not the simulation's."""

    def keep(self, rows: npt.NDArray[np.bool_]) -> Reference:
        """Some of them."""
        copies = None if self.copies is None else self.copies[rows]
        return Reference(Views(*(column[rows] for column in self.views)), self.label[rows], self.images[rows], copies)

    @property
    def labelled(self) -> int:
        """Labelled alerts of the stream, each counted once."""
        return 0 if self.copies is None else round(float((1 / self.copies[self.copies > 0]).sum()))


def teach(
    head: Head,
    name: str,
    *,
    examples: Views,
    reference: Reference,
    window: Views | None = None,
    false_calls: float = FALSE_CALLS,
    window_calls: float = WINDOW_CALLS,
    prior: float = PRIOR,
) -> Head:
    """Add a class, or teach it anew.

    Parameters
    ----------
    head : Head
        Of NumPy arrays.
    name : str
    examples : Views
        Of K alerts of the class.
    reference : Reference
        Known alerts, none of the class.
    window : Views, optional
        Recent alerts of the stream itself, unlabelled.
    false_calls, window_calls : float
        Shares that may be called the class, of each stratum of the reference and of the window.
    prior : float
        Share of the stream that the class is taken to have.

    Raises
    ------
    TeachError
        No example, no reference, or numbers that are not finite.
    """
    if not examples.embedding.shape[0] or not len(reference.label):
        raise TeachError(f"{name}: at least one example and one known alert are needed")
    if not all(np.isfinite(column).all() for column in examples):
        raise TeachError(f"{name}: an example's view holds a number that is not finite")
    new, known = _view(examples, head), _view(reference.views, head)
    copies = reference.copies if reference.labelled >= LEAST_WINDOW else None
    weight, own, answer = _ridge(new, known, ways=head.ways, copies=copies)
    location = max(quantile(answer[reference.images == value], 1 - false_calls) for value in np.unique(reference.images))
    if copies is not None:
        location = max(location, quantile(answer[copies > 0], 1 - OF_LABELLED * false_calls))
    if window is not None and window.embedding.shape[0]:
        location = max(location, quantile(_view(window, head) @ weight, 1 - window_calls))
    scale = max((float(np.median(own)) - location) / CLEARANCE, LEAST_SPREAD * float(np.std(answer)), 1e-6)
    columns: dict[str, Any] = {
        "taught_prototypes": prototype(np.asarray(examples.embedding, dtype=np.float32), head.centre),
        "taught_weights": weight,
        "taught_location": location,
        "taught_scale": scale,
        "taught_prior": prior,
        "taught_thresholds": 1.0,
        "taught_conformal": float(head.conformal),
    }
    alone = put(bare(head), {name: columns})
    judged = judge(Views(*(np.asarray(column, dtype=np.float32) for column in reference.views)), alone)
    k = head.ways
    stands_for = night(reference.label, np.asarray(head.prior[:k], dtype=np.float64))
    columns["taught_thresholds"] = least_probability(judged.prior_probability[:, k], stands_for)
    # The known alerts' own labels, with the taught class in the running: a set must still hold the truth as often as it promises.
    truth = conformal_scores(judged.probability)[np.arange(len(reference.label)), reference.label]
    columns["taught_conformal"] = max(float(head.conformal), quantile(truth))
    return put(head, {**taught_columns(head), name: columns})


def alike(head: Head, name: str, *, examples: Views, reference: Reference) -> npt.NDArray[np.bool_]:
    """Which examples of a taught class the others, each left out in turn, would call the class; (k,).

    Parameters
    ----------
    head : Head
        With the class.
    name : str
    examples : Views
        That it was taught from; of a single one nothing can be said, and it counts as alike.
    reference : Reference
    """
    if examples.embedding.shape[0] < 2:
        return np.ones(examples.embedding.shape[0], dtype=np.bool_)
    _, own, _ = _ridge(_view(examples, head), _view(reference.views, head), ways=head.ways)
    return np.asarray(own > float(taught_columns(head)[name]["taught_location"]))


def forget(head: Head, name: str) -> Head:
    """Take a taught class away: the head that the others alone would have given, bit for bit.

    Raises
    ------
    TeachError
        No class of that name was taught.
    """
    if name not in head.taught:
        raise TeachError(f"{name} was never taught; taught are: {', '.join(head.taught) or 'none'}")
    return put(head, {other: columns for other, columns in taught_columns(head).items() if other != name})


def _view(views: Views, head: Head) -> F64:
    f32 = Views(*(np.asarray(column, dtype=np.float32) for column in views))
    return np.asarray(see(f32, head.centre, kind_scale=head.kind_scale).view, dtype=np.float64)


def _ridge(new: F64, known: F64, *, ways: int, copies: npt.NDArray[np.int64] | None = None) -> tuple[F64, F64, F64]:
    """Weights (V,), answers of the K examples from the others (K,), answers of the known (n,); the constant is left out of all.

    Those of the known that `copies` counts answer from the others, too: they are few, and what they were fitted to flatters them.
    """
    k, n = len(new), len(known)
    x = np.concatenate([known, new])
    y = np.concatenate([np.zeros(n), np.ones(k)])
    w = np.concatenate([np.full(n, 1 / n), np.full(k, 1 / (ways * k))])  # the class counts as one of as many as are known
    w /= w.sum()
    mean, base = w @ x, w @ y
    a = (x - mean) * np.sqrt(w)[:, None]
    gram = a.T @ a
    inverse = np.linalg.inv(gram + (RIDGE * np.trace(gram) / len(gram) + 1e-9) * np.eye(len(gram)))
    weight = inverse @ (a.T @ (np.sqrt(w) * (y - base)))
    constant = base - mean @ weight
    leverage = ((a[n:] @ inverse) * a[n:]).sum(axis=1)
    own = 1 - (1 - (new @ weight + constant)) / np.clip(1 - leverage, 1e-6, None)
    answer = known @ weight
    if copies is not None:
        rows = copies > 0
        leverage = copies[rows] * ((a[:n][rows] @ inverse) * a[:n][rows]).sum(axis=1)
        answer[rows] = (answer[rows] + constant) / np.clip(1 - leverage, 1e-6, None) - constant
    return weight, own - constant, answer


def bare(head: Head) -> Head:
    """The head without a taught class."""
    return put(head, {})


def taught_columns(head: Head) -> dict[str, dict[str, Any]]:
    """What each taught class has of the head's arrays: name → column → its row."""
    return {name: {column: getattr(head, column)[i] for column in COLUMNS} for i, name in enumerate(head.taught)}


def put(head: Head, taught: Mapping[str, Mapping[str, Any]]) -> Head:
    """The head with these taught classes and no others, by name: the order in which they came leaves no trace.

    Parameters
    ----------
    head : Head
    taught : mapping of str to mapping of str to array
        Class → column of `COLUMNS` → its row.

    Raises
    ------
    ValueError
        Rows of one column differ in length.
    """
    names = tuple(sorted(taught))
    arrays = {}
    for column in COLUMNS:
        rest = getattr(head, column).shape[1:]
        stacked = [np.asarray(taught[name][column], dtype=np.float32) for name in names]
        arrays[column] = np.stack(stacked) if stacked else np.zeros((0, *rest), dtype=np.float32)
    return replace(head, taught=names, **arrays)
