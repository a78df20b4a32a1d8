"""Records of taught classes and their heads: the same everywhere, solved anew beside another head, left out where they do not fit."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest

from data.simulate.described import shipped
from evaluation.class_preview import preview
from evaluation.zeroshot import seen
from gpu.ort import OrtSession
from operators.head import Views, identity
from operators.taught import TeachError
from registry.bundle import Bundle, load
from registry.taught_classes import Example, Lesson, head_with, lessons_of, name_problem, solve, views_of
from schemas.records import codec
from schemas.records.class_record import ClassRecord
from schemas.records.parts import TaughtClass

ENCODER = "e" * 16


@pytest.fixture(scope="module")
def bundle() -> Bundle:
    return load()


@pytest.fixture(scope="module")
def views(bundle: Bundle) -> Views:
    embeddings, _ = seen(shipped()["lrn"], OrtSession(bundle.encoder), n=40, seed=3)
    return Views(*(np.asarray(column, dtype=np.float32) for column in embeddings.views))


def some(views: Views, rows: slice) -> Views:
    return Views(*(np.array(column)[rows].copy() for column in views))


def lesson(views: Views, name: str = "fast-blue", *, private: int = 0) -> Lesson:
    n = len(views.embedding)
    return Lesson(
        name, tuple(Example(f"ztf:{i}:{i:032x}", f"ZTF{i}", i < private) for i in range(n)), views, false_calls=0.01, author="ada"
    )


def taught(bundle: Bundle, views: Views, name: str = "fast-blue", *, private: int = 0) -> ClassRecord:
    return solve(
        lesson(views, name, private=private),
        bundle.head,
        encoder_id=ENCODER,
        reference=bundle.reference,
        window=None,
        revision=1,
        taught_ms=1,
    )


def never() -> None:
    raise AssertionError("the known alerts were asked for, though the record holds its solution")


def test_a_record_gives_the_head_that_was_solved_and_computes_nothing(bundle: Bundle, views: Views) -> None:
    record = codec.expect(codec.encode(taught(bundle, some(views, slice(5)))), ClassRecord)  # as it comes from the topic
    other = taught(bundle, some(views, slice(5, 9)), "second")
    both, left_out = head_with(
        bundle.head,
        {"second": other, "fast-blue": record},
        encoder_id=ENCODER,
        reference=never,
        known=bundle.classes,  # type: ignore[arg-type]
    )
    assert left_out == {}
    assert both.taught == ("fast-blue", "second")
    again, _ = head_with(
        bundle.head,
        {"fast-blue": record, "second": other},
        encoder_id=ENCODER,
        reference=never,
        known=bundle.classes,  # type: ignore[arg-type]
    )
    assert identity(both) == identity(again)
    alone, _ = head_with(bundle.head, {}, encoder_id=ENCODER, reference=never, known=bundle.classes)  # type: ignore[arg-type]
    assert identity(alone) == identity(bundle.head)


def test_beside_another_head_it_is_solved_anew_from_its_views(bundle: Bundle, views: Views) -> None:
    record = taught(bundle, some(views, slice(5)))
    changed = replace(bundle.head, temperature=np.asarray(bundle.head.temperature) * np.float32(1.25))
    head, left_out = head_with(changed, {"fast-blue": record}, encoder_id=ENCODER, reference=lambda: bundle.reference, known=bundle.classes)
    assert left_out == {}
    what = replace(lesson(some(views, slice(5))), false_calls=1e-3)
    fresh = solve(what, changed, encoder_id=ENCODER, reference=bundle.reference, window=None, revision=1, taught_ms=1)
    direct, _ = head_with(changed, {"fast-blue": fresh}, encoder_id=ENCODER, reference=never, known=bundle.classes)  # type: ignore[arg-type]
    assert identity(head) == identity(direct)


def test_beside_another_encoder_its_packets_are_needed(bundle: Bundle, views: Views) -> None:
    record = taught(bundle, some(views, slice(5)))
    known = {"encoder_id": "f" * 16, "reference": lambda: bundle.reference, "known": bundle.classes}
    head, left_out = head_with(bundle.head, {"fast-blue": record}, **known)  # type: ignore[arg-type]
    assert head.taught == ()
    assert "teach it anew" in left_out["fast-blue"]
    head, left_out = head_with(bundle.head, {"fast-blue": record}, views=lambda _: some(views, slice(5)), **known)  # type: ignore[arg-type]
    assert head.taught == ("fast-blue",)
    assert left_out == {}


@pytest.mark.parametrize(
    "damage",
    [
        lambda r: replace(r, weights=r.weights[:-4]),
        lambda r: replace(r, prototype=b""),
        lambda r: replace(r, weights=np.full(len(r.weights) // 4, np.nan, "<f4").tobytes()),
        lambda r: replace(r, name="sn-ia"),
    ],
)
def test_a_record_that_does_not_fit_costs_its_class_alone(bundle: Bundle, views: Views, damage: object) -> None:
    record = damage(taught(bundle, some(views, slice(5))))  # type: ignore[operator]
    good = taught(bundle, some(views, slice(5, 9)), "second")
    head, left_out = head_with(
        bundle.head, {record.name: record, "second": good}, encoder_id=ENCODER, reference=lambda: bundle.reference, known=bundle.classes
    )
    assert head.taught == ("second",)
    assert list(left_out) == [record.name]


def test_what_is_not_public_leaves_no_view_in_the_record(bundle: Bundle, views: Views) -> None:
    whole, part = taught(bundle, some(views, slice(5))), taught(bundle, some(views, slice(5)), private=2)
    assert part.weights == whole.weights
    kept = views_of(part, bundle.head)
    assert kept is not None
    np.testing.assert_array_equal(kept.embedding, np.asarray(views.embedding)[2:5])
    assert views_of(taught(bundle, some(views, slice(5)), private=5), bundle.head) is None


def test_names_of_the_model_and_words_that_mean_something_else_are_refused(bundle: Bundle) -> None:
    for name in ("sn-ia", "other", "private", "Fast", "fast_blue", "a/b", "-a", "x" * 65):
        assert name_problem(name, bundle.classes) is not None, name
    assert name_problem("fast-blue", bundle.classes) is None


def test_an_example_that_is_not_a_number_is_refused(bundle: Bundle, views: Views) -> None:
    bad = some(views, slice(3))
    bad.embedding[1, 0] = np.nan  # type: ignore[index]
    with pytest.raises(TeachError, match="not finite"):
        taught(bundle, bad)


def test_the_preview_counts_what_the_class_takes_and_bounds_its_purity(bundle: Bundle, views: Views) -> None:
    examples, hidden = some(views, slice(5)), some(views, slice(5, 30))
    known = bundle.reference.keep(np.arange(len(bundle.reference.label)) % 7 == 0)
    window = Views(*(np.concatenate([np.asarray(a, np.float32), b]) for a, b in zip(known.views, hidden, strict=True)))
    names = [(f"p{i}", "known") for i in range(len(known.label))] + [(f"q{i}", "hidden") for i in range(25)]
    after, _ = head_with(
        bundle.head,
        {"fast-blue": taught(bundle, examples)},
        encoder_id=ENCODER,
        reference=never,
        known=bundle.classes,  # type: ignore[arg-type]
    )
    found = preview(
        "fast-blue", before=bundle.head, after=after, classes=bundle.classes, examples=examples, window=window, names=names,
        reference=bundle.reference,
    )  # fmt: skip
    right = sum(one.object_id == "hidden" for one in found.caught)
    assert right >= 5  # of 25 by five examples; 14 are expected
    assert found.false_rate[0] <= 0.02
    assert found.purity[0] <= right / len(found.caught) <= found.purity[1] + 0.1
    assert sum(found.now.values()) == 5
    assert list(found.caught) == sorted(found.caught, key=lambda one: -one.probability)


def test_a_class_that_the_bundle_holds_stays_until_it_is_taught_anew_or_forgotten(bundle: Bundle, views: Views) -> None:
    record = taught(bundle, some(views, slice(8)))
    known = {"encoder_id": ENCODER, "reference": never, "known": bundle.classes}
    held, _ = head_with(bundle.head, {"fast-blue": record}, **known)  # type: ignore[arg-type]
    moved = replace(held, taught_location=held.taught_location + np.float32(1))  # as a challenger was made
    for records, own, expected in (
        ({"fast-blue": record}, {"fast-blue": record.revision}, moved.taught_location),  # the record that it was made of
        ({"fast-blue": replace(record, revision=record.revision + 1)}, {"fast-blue": record.revision}, held.taught_location),
        ({}, {"fast-blue": 0}, moved.taught_location),  # of labels alone
    ):
        head, left_out = head_with(moved, records, own=own, **known)  # type: ignore[arg-type]
        assert not left_out
        np.testing.assert_array_equal(head.taught_location, expected)
    gone, _ = head_with(moved, {}, own={"fast-blue": record.revision}, **known)  # type: ignore[arg-type]
    assert gone.taught == ()


def test_a_detection_names_what_each_class_was_taught_from(bundle: Bundle, views: Views) -> None:
    """By the same rule as the head: the bundle's own lesson until a later record."""
    record = taught(bundle, some(views, slice(8)))
    later, described = replace(record, revision=3), replace(record, name="described", packet_ids=(), revision=2)
    own = (TaughtClass("fast-blue", 1, 12), TaughtClass("labelled", 0, 30))
    names = ("described", "fast-blue", "labelled")
    for records, expected in (
        ({"fast-blue": record, "described": described}, (TaughtClass("described", 2, 0), *own)),
        ({"fast-blue": later, "described": described}, (TaughtClass("described", 2, 0), TaughtClass("fast-blue", 3, 8), own[1])),
    ):
        assert lessons_of(names, records, own=own) == expected
    manifest = bundle.manifest.model_copy(update={"taught": {"fast-blue": 1}, "figures": {"taught": {"fast-blue": {"examples": 12}}}})
    head, _ = head_with(bundle.head, {"fast-blue": record}, encoder_id=ENCODER, reference=never, known=bundle.classes)  # type: ignore[arg-type]
    assert replace(bundle, head=head, manifest=manifest).lessons == own[:1]
    for damaged in ({}, {"taught": 5}, {"taught": {"fast-blue": {"examples": "many"}}}):
        odd = manifest.model_copy(update={"figures": damaged})
        assert replace(bundle, head=head, manifest=odd).lessons == (TaughtClass("fast-blue", 1, 0),)
