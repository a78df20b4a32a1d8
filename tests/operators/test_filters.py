"""Programs of filters: the machine against arrays in every namespace, and what an unsound program is answered."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest

from operators.filters import Program, Step, joined, matches, matches_array
from operators.kernels import filters as machine
from tests.namespaces import Namespace, to_numpy

K = 5
_ONE = (machine.NEGATE, machine.ABSOLUTE, machine.ROOT, machine.LOG10, machine.LN, machine.IS_NULL)
_TWO = (machine.ADD, machine.SUBTRACT, machine.MULTIPLY, machine.DIVIDE)
_COMPARE = (machine.LESS, machine.LESS_EQUAL, machine.GREATER, machine.GREATER_EQUAL, machine.EQUAL, machine.NOT_EQUAL)


def drawn(rng: np.random.Generator) -> Program:
    """A sound program, every operation sooner or later."""

    def number(depth: int) -> list[Step]:
        if depth == 0 or rng.random() < 0.3:
            return (
                [Step(machine.COLUMN, float(rng.integers(K)))] if rng.random() < 0.7 else [Step(machine.NUMBER, float(rng.integers(-2, 3)))]
            )
        if rng.random() < 0.4:
            return [*number(depth - 1), Step(int(rng.choice(_ONE)))]
        return [*number(depth - 1), *number(depth - 1), Step(int(rng.choice(_TWO)))]

    def truth(depth: int) -> list[Step]:
        if depth == 0 or rng.random() < 0.2:
            return [*number(2), *number(2), Step(int(rng.choice(_COMPARE)))]
        chosen = rng.integers(4)
        if chosen == 0:
            return [*truth(depth - 1), Step(int(rng.choice((machine.NOT, machine.IS_UNKNOWN))))]
        if chosen == 1:
            return [Step(machine.COLUMN, float(rng.integers(K))), Step(machine.TRUTH)]
        return [*truth(depth - 1), *truth(depth - 1), Step(int(rng.choice((machine.AND, machine.OR))))]

    while True:
        program = tuple(truth(2))
        if len(program) <= 64:
            return program


def table(rng: np.random.Generator, n: int) -> np.ndarray[Any, np.dtype[np.float64]]:
    values = rng.integers(-3, 4, (K, n)).astype(float)
    values[rng.random((K, n)) < 0.2] = np.nan
    return values


def test_the_machine_is_its_arrays_in_every_namespace(xp: Namespace) -> None:
    rng = np.random.default_rng(1)
    programs = joined([drawn(rng) for _ in range(60)])
    assert set(programs.operations.tolist()) == set(range(23))
    columns = table(rng, 150)
    with np.errstate(all="ignore"):
        expected = matches(programs, columns)
        found = matches(programs, xp.asarray(columns))
        array = matches_array(programs, xp.asarray(columns))
    assert 0 < expected.sum() < expected.size
    for other in (found, array):
        np.testing.assert_array_equal(expected, to_numpy(other))


@pytest.mark.parametrize("n", [0, 1, 63, 64, 65, 200])
def test_rows_do_not_know_their_batch(n: int) -> None:
    rng = np.random.default_rng(n)
    programs = joined([drawn(rng) for _ in range(20)])
    columns = table(rng, n)
    whole = matches(programs, columns)
    assert whole.shape == (20, n)
    for r in range(n):
        np.testing.assert_array_equal(whole[:, r], matches(programs, np.ascontiguousarray(columns[:, r : r + 1]))[:, 0])


def test_null_is_unknown_and_unknown_does_not_pass() -> None:
    null, one = Step(machine.NUMBER, float("nan")), Step(machine.NUMBER, 1.0)
    unknown = (null, one, Step(machine.LESS))
    true = (one, one, Step(machine.EQUAL))
    cases = {
        unknown: False,
        (*unknown, Step(machine.NOT)): False,
        (*unknown, *true, Step(machine.OR)): True,
        (*unknown, *true, Step(machine.AND)): False,
        (one, Step(machine.NUMBER, 0.0), Step(machine.DIVIDE), Step(machine.IS_NULL)): True,
        (*unknown, Step(machine.IS_UNKNOWN)): True,
    }
    hits = matches(joined(list(cases)), np.zeros((1, 1)))
    assert hits[:, 0].tolist() == list(cases.values())


@pytest.mark.parametrize(
    "program",
    [(), (Step(machine.ADD),), (Step(99),), (Step(machine.COLUMN, 0.0), Step(machine.COLUMN, 0.0)), (Step(machine.COLUMN, -1.0),),
     (Step(machine.NUMBER, 1.0), *[Step(machine.NEGATE)] * 64)],
)  # fmt: skip
def test_an_unsound_program_is_refused(program: Program) -> None:
    with pytest.raises(ValueError, match="operation"):
        joined([program])


def test_a_column_that_is_not_there_is_refused() -> None:
    with pytest.raises(ValueError, match="column 7 of 2"):
        matches(joined([(Step(machine.COLUMN, 7.0),)]), np.zeros((2, 3)))
