"""Programs of filters over columns of detections: which detection passes which filter.

programs (a stack machine each), columns (k, n) → (programs, n) bool

A filter is what stands behind SQL's WHERE; `schemas.filters` makes a program of it. A value is a float64: a number, null (NaN), or a
truth (1, 0, or .5 for unknown). AND, OR and NOT are then min, max and 1 - x, which is SQL's three-valued logic; a comparison with null is
unknown, and x/0, the root of what is negative and the logarithm of what is not positive are null. What is unknown does not pass.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, NamedTuple

import numpy as np
import numpy.typing as npt

from operators.kernels import filters as machine
from operators.kernels.filters import fill_matches
from operators.namespace import array_namespace
from operators.types import Array

MOST_OPERATIONS = 64
"""Of a program; its stack cannot be deeper."""


class Step(NamedTuple):
    """An operation of a program."""

    operation: int
    """Of `operators.kernels.filters`."""
    argument: float = 0.0
    """A column's number, or the number itself."""


Program = tuple[Step, ...]
"""In the order of a stack machine: operands before their operation."""


@dataclass(frozen=True, slots=True)
class Programs:
    """Programs one after another."""

    operations: npt.NDArray[np.int64]
    """(o,)"""
    arguments: npt.NDArray[np.float64]
    """(o,)"""
    starts: npt.NDArray[np.int64]
    """(programs + 1,)"""

    def __len__(self) -> int:
        return len(self.starts) - 1


def joined(programs: Sequence[Program]) -> Programs:
    """Put programs together.

    Raises
    ------
    ValueError
        One is longer than `MOST_OPERATIONS`, leaves not exactly one value, or takes one that is not there.
    """
    for program in programs:
        _check(program)
    steps = [step for program in programs for step in program]
    return Programs(
        np.array([step.operation for step in steps], np.int64),
        np.array([step.argument for step in steps], np.float64),
        np.cumsum([0, *map(len, programs)]).astype(np.int64),
    )


def _check(program: Program) -> None:
    """The machine trusts programs: an unsound one would write outside its stack."""
    depth = 0
    for operation, argument in program:
        if operation in (machine.COLUMN, machine.NUMBER):
            depth += 1
        elif operation in _BINARY:
            depth -= 1
        elif operation not in _UNARY:
            raise ValueError(f"{operation} is not an operation")
        if depth < 1 or (operation == machine.COLUMN and argument < 0):
            raise ValueError("an operation of a program has no operand")
    if depth != 1 or len(program) > MOST_OPERATIONS:
        raise ValueError(f"a program has {MOST_OPERATIONS} operations at most and leaves one value")


def matches(programs: Programs, columns: Array) -> Array:
    """Which rows pass which programs.

    Parameters
    ----------
    programs : Programs
    columns : (k, n) float64
        Of n detections; NaN where a value is null. A program's columns are among the k.

    Returns
    -------
    (programs, n) bool
    """
    used = programs.arguments[programs.operations == machine.COLUMN]
    if len(used) and int(used.max()) >= columns.shape[0]:
        raise ValueError(f"a program reads column {int(used.max())} of {columns.shape[0]}")
    if array_namespace(columns) is np and columns.dtype == np.float64:
        hits = np.zeros((len(programs), columns.shape[1]), np.bool_)
        fill_matches(programs.operations, programs.arguments, programs.starts, columns, hits)
        return hits
    return matches_array(programs, columns)


def matches_array(programs: Programs, columns: Array) -> Array:
    """`matches` in any namespace, array by array: the oracle of its kernel."""
    xp: Any = array_namespace(columns)
    rows = []
    for begin, end in zip(programs.starts[:-1].tolist(), programs.starts[1:].tolist(), strict=True):
        stack: list[Any] = []
        for operation, argument in zip(programs.operations[begin:end].tolist(), programs.arguments[begin:end].tolist(), strict=True):
            if operation == machine.COLUMN:
                stack.append(columns[int(argument), :])
            elif operation == machine.NUMBER:
                stack.append(xp.full(columns.shape[1], argument, dtype=xp.float64))
            elif operation in _UNARY:
                stack.append(_unary(xp, operation, a=stack.pop()))
            else:
                b, a = stack.pop(), stack.pop()
                stack.append(_binary(xp, operation, a=a, b=b))
        rows.append(stack[0] > 0.5)
    return xp.stack(rows) if rows else xp.zeros((0, columns.shape[1]), dtype=xp.bool)


_UNARY = frozenset(
    {machine.NEGATE, machine.ABSOLUTE, machine.ROOT, machine.LOG10, machine.LN, machine.NOT, machine.IS_NULL, machine.IS_UNKNOWN,
     machine.TRUTH}
)  # fmt: skip
_BINARY = frozenset(
    {machine.ADD, machine.SUBTRACT, machine.MULTIPLY, machine.DIVIDE, machine.LESS, machine.LESS_EQUAL, machine.GREATER,
     machine.GREATER_EQUAL, machine.EQUAL, machine.NOT_EQUAL, machine.AND, machine.OR}
)  # fmt: skip


def _unary(xp: Any, operation: int, *, a: Any) -> Any:
    one, nan = xp.ones_like(a), xp.full_like(a, float("nan"))
    if operation == machine.NEGATE:
        return -a
    if operation == machine.ABSOLUTE:
        return xp.abs(a)
    if operation == machine.ROOT:
        return xp.where(a >= 0, xp.sqrt(xp.where(a >= 0, a, one)), nan)
    if operation in (machine.LOG10, machine.LN):
        taken = xp.where(a > 0, a, one)
        return xp.where(a > 0, xp.log10(taken) if operation == machine.LOG10 else xp.log(taken), nan)
    if operation == machine.NOT:
        return 1.0 - a
    if operation == machine.IS_NULL:
        return xp.astype(a != a, xp.float64)
    if operation == machine.IS_UNKNOWN:
        return xp.astype(a == 0.5, xp.float64)
    return xp.where(a != a, 0.5 * one, xp.astype(a != 0, xp.float64))


def _binary(xp: Any, operation: int, *, a: Any, b: Any) -> Any:
    if operation in (machine.AND, machine.OR):
        return xp.where((a < b) == (operation == machine.AND), a, b)
    if operation == machine.ADD:
        return a + b
    if operation == machine.SUBTRACT:
        return a - b
    if operation == machine.MULTIPLY:
        return a * b
    if operation == machine.DIVIDE:
        return xp.where(b != 0, a / xp.where(b != 0, b, xp.ones_like(b)), xp.full_like(a, float("nan")))
    compare = {
        machine.LESS: a < b, machine.LESS_EQUAL: a <= b, machine.GREATER: a > b, machine.GREATER_EQUAL: a >= b,
        machine.EQUAL: a == b, machine.NOT_EQUAL: a != b,
    }[operation]  # fmt: skip
    return xp.where((a != a) | (b != b), xp.full_like(a, 0.5), xp.astype(compare, xp.float64))
