"""A class taught beside the known ones: what it takes, its budget, and that forgetting leaves no trace."""

from __future__ import annotations

import numpy as np
import pytest

from operators.head import ARRAYS, Views, identity, judge
from operators.taught import Reference, TeachError, forget, teach
from registry.bundle import Bundle, load


@pytest.fixture(scope="module")
def bundle() -> Bundle:
    return load()


def rows(views: Views, index: object) -> Views:
    return Views(*(np.asarray(column[index], dtype=np.float32) for column in views))  # type: ignore[call-overload]


def split(bundle: Bundle, slug: str) -> tuple[Reference, Reference, Views, Views]:
    """Half of the reference to calibrate on and half to test with, both without a class, and that class's alerts: five, and the rest.

    The class's kinds are silenced in every view: the network cannot name it.
    """
    r, c = bundle.reference, bundle.classes.index(slug)
    logits = np.array(r.views.logits, dtype=np.float32)
    logits[:, bundle.head.zero_shot[:, c] > 0] = -30
    r = r._replace(views=r.views._replace(logits=logits))
    own = np.flatnonzero((r.label == c) & r.images)
    other, half = r.label != c, np.arange(len(r.label)) % 2 == 0
    return r.keep(other & half), r.keep(other & ~half), rows(r.views, own[:5]), rows(r.views, own[5:])


@pytest.mark.parametrize("slug", ["microlensing", "asteroid", "m-dwarf-flare"])
def test_five_examples_find_the_class_and_hold_the_budget(bundle: Bundle, slug: str) -> None:
    reference, test, examples, rest = split(bundle, slug)
    head = teach(bundle.head, "new", examples=examples, reference=reference, false_calls=0.01)
    k = len(bundle.classes)
    old = judge(rows(test.views, slice(None)), head)
    assert (old.probability.argmax(axis=1) == k).mean() <= 0.02
    before = judge(rows(test.views, slice(None)), bundle.head).probability[:, :k].argmax(axis=1)
    after = np.delete(old.probability, k, axis=1)[:, :k].argmax(axis=1)
    np.testing.assert_array_equal(before, after)
    found = (judge(rest, head).probability.argmax(axis=1) == k).mean()
    assert found > 0.3
    inside = old.conformal[np.arange(len(test.label)), test.label]
    assert inside.mean() > 0.85


def test_labelled_alerts_of_the_stream_are_a_stratum_where_there_are_enough(bundle: Bundle) -> None:
    reference, test, examples, _ = split(bundle, "tde")
    loose = teach(bundle.head, "new", examples=examples, reference=reference, false_calls=0.01)
    k = len(bundle.classes)
    alike = np.argsort(-judge(rows(test.views, slice(None)), loose).probability[:, k])

    def with_labelled(n: int, *, counted: bool) -> Reference:
        """The alerts that look most like the class, twice each, as those of a stream that is full of them."""
        chosen = rows(test.views, np.tile(alike[:n], 2))
        views = Views(*(np.concatenate([a, b]) for a, b in zip(rows(reference.views, slice(None)), chosen, strict=True)))
        label, images = (
            np.concatenate([a, np.tile(b[alike[:n]], 2)]) for a, b in ((reference.label, test.label), (reference.images, test.images))
        )
        copies = np.concatenate([np.zeros(len(reference.label), np.int64), np.full(2 * n, 2)])
        return Reference(views, label, images, copies if counted else None)

    def called(n: int, *, counted: bool) -> float:
        head = teach(bundle.head, "new", examples=examples, reference=with_labelled(n, counted=counted), false_calls=0.01)
        return float((judge(rows(test.views, alike[:n]), head).probability.argmax(axis=1) == k).mean())

    assert with_labelled(300, counted=True).labelled == 300
    assert called(300, counted=True) <= 0.0125 < called(300, counted=False)
    assert called(100, counted=True) == called(100, counted=False), "a quantile of so few is none"


def test_a_window_of_the_sky_tightens_the_budget(bundle: Bundle) -> None:
    reference, test, examples, _ = split(bundle, "tde")
    loose = teach(bundle.head, "new", examples=examples, reference=reference, false_calls=0.2)
    window = rows(test.views, slice(None))
    tight = teach(bundle.head, "new", examples=examples, reference=reference, window=window, false_calls=0.2, window_calls=0.01)
    k = len(bundle.classes)
    calls = [(judge(window, head).probability.argmax(axis=1) == k).mean() for head in (loose, tight)]
    assert calls[1] <= 0.01 < calls[0]


def test_forgetting_leaves_no_trace_and_the_order_makes_no_difference(bundle: Bundle) -> None:
    reference, _, five, _ = split(bundle, "microlensing")
    other, _, asteroids, _ = split(bundle, "asteroid")
    a = teach(bundle.head, "a", examples=five, reference=reference)
    both = teach(a, "b", examples=asteroids, reference=other)
    assert identity(forget(a, "a")) == identity(bundle.head)
    assert identity(forget(both, "b")) == identity(a)
    assert identity(both) == identity(
        teach(teach(bundle.head, "b", examples=asteroids, reference=other), "a", examples=five, reference=reference)
    )
    assert identity(teach(both, "a", examples=five, reference=reference)) == identity(both)
    for name in ARRAYS:
        np.testing.assert_array_equal(getattr(forget(forget(both, "a"), "b"), name), getattr(bundle.head, name))
    assert len({identity(h) for h in (bundle.head, a, both)}) == 3


def test_what_cannot_be_taught_is_said(bundle: Bundle) -> None:
    reference, _, five, _ = split(bundle, "tde")
    with pytest.raises(TeachError, match="never taught"):
        forget(bundle.head, "tde")
    with pytest.raises(TeachError, match="at least one example"):
        teach(bundle.head, "x", examples=rows(five, slice(0)), reference=reference)
    with pytest.raises(TeachError, match="not finite"):
        teach(bundle.head, "x", examples=five._replace(embedding=five.embedding * np.nan), reference=reference)


def test_the_ridge_is_scikit_learns(bundle: Bundle) -> None:
    """Weights up to a factor and an offset: sample weights and a penalty, by another implementation."""
    linear_model = pytest.importorskip("sklearn.linear_model")
    from operators.taught import _ridge

    rng = np.random.default_rng(0)
    new, known = rng.normal(size=(4, 7)) + 1, rng.normal(size=(90, 7))
    weight, own, answer = _ridge(new, known, ways=5)
    x, y = np.concatenate([known, new]), np.repeat([0.0, 1.0], [90, 4])
    w = np.repeat([1 / 90, 1 / 20], [90, 4])
    w /= w.sum()
    a = (x - w @ x) * np.sqrt(w)[:, None]
    penalty = 0.5 * np.trace(a.T @ a) / 7
    model = linear_model.Ridge(alpha=penalty).fit(x, y, sample_weight=w)
    np.testing.assert_allclose(weight, model.coef_, atol=1e-6)
    np.testing.assert_allclose(answer + model.intercept_, model.predict(known), atol=1e-6)
    for i in range(4):  # each example answered by the others, under the same centre
        keep = np.arange(94) != 90 + i
        left = np.linalg.solve(a[keep].T @ a[keep] + penalty * np.eye(7), a[keep].T @ (np.sqrt(w) * (y - w @ y))[keep])
        expected = (x[90 + i] - w @ x) @ left + w @ y
        np.testing.assert_allclose(own[i] + model.intercept_, expected, atol=1e-6)
