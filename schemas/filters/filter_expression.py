"""A SQL WHERE expression → an `Expression`, whose programs the machine of `operators.filters` runs.

sqlglot makes the tree; each of its nodes is of a kind that is listed here or ends the reading with an error that points at it. Nothing of a
text is evaluated, and what a text may cost is bounded before it is parsed: characters, parentheses, operations.
"""

from __future__ import annotations

import math
import re
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass
from typing import Any

import sqlglot
from sqlglot import exp
from sqlglot.errors import SqlglotError

from errors import UserError, nearest
from operators import filters
from operators.filters import MOST_OPERATIONS, Programs, Step
from operators.kernels import filters as machine
from schemas.filters.filter_fields import BALANCED, KIND_OF, PRIOR, STANDARD, Columns, Kind, class_field, columns_for, word_number
from schemas.taxonomy import class_name_problem

LONGEST = 2_000
"""Of an expression [characters]."""
MOST_PARENTHESES = 32
MOST_PREFIXES = 64
"""NOT and signs, each of which costs the parser a level."""
DEEPEST = 40
"""Of the tree."""
LONGEST_WORD = 128
_ARITHMETIC = {exp.Add: machine.ADD, exp.Sub: machine.SUBTRACT, exp.Mul: machine.MULTIPLY, exp.Div: machine.DIVIDE}
_COMPARISON = {
    exp.LT: machine.LESS, exp.LTE: machine.LESS_EQUAL, exp.GT: machine.GREATER, exp.GTE: machine.GREATER_EQUAL, exp.EQ: machine.EQUAL,
    exp.NEQ: machine.NOT_EQUAL,
}  # fmt: skip
_FUNCTION = {exp.Abs: machine.ABSOLUTE, exp.Sqrt: machine.ROOT, exp.Ln: machine.LN}
_MEANT: dict[Kind, str] = {"number": "a number", "word": "a word in single quotes", "truth": "true or false"}
_CONTROL = re.compile(r"[\x00-\x08\x0b\x0c\x0e-\x1f\x7f]")
_PREFIX = re.compile(r"\bnot\b|[-+~!]", re.I)


class FilterError(UserError):
    """An expression that is not a filter.

    Attributes
    ----------
    column : int
        Where, counted from 1; 0: of the whole.
    """

    def __init__(self, message: str, column: int = 0) -> None:
        super().__init__(f"column {column}: {message}" if column else message)
        self.column = column


@dataclass(frozen=True, slots=True)
class Expression:
    """A filter's expression that was read."""

    text: str
    steps: tuple[tuple[int, str | float], ...]
    """Operations with their fields or numbers."""
    fields: frozenset[str]
    """What it reads."""
    classes: frozenset[str]
    """Classes beyond those that ship, whose probabilities it reads."""


def bind(expressions: Sequence[Expression]) -> tuple[Programs, Columns]:
    """The programs of expressions, and the columns that they read."""
    columns = columns_for(name for expression in expressions for name in expression.classes)
    programs = [
        tuple(Step(op, float(columns.index[value]) if isinstance(value, str) else value) for op, value in expression.steps)
        for expression in expressions
    ]
    return filters.joined(programs), columns


def read_expression(text: str, *, taught: Iterable[str] | None = ()) -> Expression:
    """Read a filter.

    Parameters
    ----------
    text : str
        What may stand behind WHERE.
    taught : iterable of str, optional
        Classes beside those that ship whose probabilities may be named; None: any, as where it was checked before.

    Raises
    ------
    FilterError
        It is not one; the message says where and what is meant.
    """
    if len(text) > LONGEST:
        raise FilterError(f"a filter has {LONGEST:,} characters at most, this has {len(text):,}")
    if text.count("(") > MOST_PARENTHESES:
        raise FilterError(f"a filter has {MOST_PARENTHESES} parentheses at most", _place_of(text, MOST_PARENTHESES))
    if len(_PREFIX.findall(text)) > MOST_PREFIXES:
        raise FilterError(f"a filter has {MOST_PREFIXES} signs and NOTs at most")
    if not text.strip():
        raise FilterError("a filter is empty; true passes everything")
    if _CONTROL.search(text):
        raise FilterError("a filter holds a character that is not text")
    try:
        tree = sqlglot.parse_one(text, into=exp.Condition)
    except SqlglotError as error:
        raise _unreadable(text, error) from None
    except (RecursionError, ValueError):
        raise FilterError("this is not an expression of SQL, or one that is nested too deeply") from None
    if tree is None:
        raise FilterError("a filter is empty; true passes everything")
    reader = _Reader(text, taught)
    reader.expect(tree, "truth", depth=0)
    return Expression(text, tuple(reader.steps), frozenset(reader.fields), frozenset(reader.classes))


def _place_of(text: str, nth: int) -> int:
    """Column of the parenthesis after the n-th one."""
    at = -1
    for _ in range(nth + 1):
        at = text.find("(", at + 1)
    return at + 1


def _unreadable(text: str, error: SqlglotError) -> FilterError:
    found = getattr(error, "errors", None)
    if found and isinstance(found[0].get("col"), int):
        first = found[0]
        lines = text.split("\n")[: max(0, int(first.get("line") or 1) - 1)]
        shown = str(first.get("highlight") or "")[:40]
        column = sum(len(line) + 1 for line in lines) + max(1, int(first["col"]) - len(str(first.get("highlight") or "")) + 1)
        return FilterError(f"{shown!r} is not expected here" if shown else "something is missing here", min(column, len(text) + 1))
    return FilterError("a quote or comment is not closed, or a character is none of SQL's")


class _Reader:
    """The tree → steps. Each method writes the steps of a node; `kind` is what it gives."""

    def __init__(self, text: str, taught: Iterable[str] | None) -> None:
        self._text = text
        self._taught = None if taught is None else {class_field(slug, ""): slug for slug in taught}
        self.steps: list[tuple[int, str | float]] = []
        self.fields: set[str] = set()
        self.classes: set[str] = set()

    def expect(self, node: Any, kind: Kind, *, depth: int) -> None:
        """Write a node that has to be of a kind."""
        found = self.add(node, depth)
        if found != kind:
            raise self.fault(f"{_MEANT[kind]} is meant here, not {_MEANT[found]}", node)
        if kind == "truth" and isinstance(_inner(node), exp.Column):
            self.step(machine.TRUTH, node)

    def add(self, node: Any, depth: int) -> Kind:
        """Write the steps of a node; what kind of value they leave."""
        if depth > DEEPEST:
            raise self.fault("nested too deeply", node)
        kind = type(node)
        write: Callable[[Any, int], Kind] | None = _WRITERS.get(kind)
        if write is None:
            raise self.fault(f"{_named(node)} is not part of a filter", node)
        return write(self, node, depth + 1)  # type: ignore[call-arg]

    def step(self, operation: int, node: Any, *, value: str | float = 0.0) -> None:
        """Write an operation."""
        self.steps.append((operation, value))
        if len(self.steps) > MOST_OPERATIONS:
            raise self.fault(f"a filter has {MOST_OPERATIONS} operations at most; from here on there are more", node)

    def fault(self, message: str, node: Any) -> FilterError:
        """An error that points at a node."""
        starts = [n._meta["start"] for n in node.walk() if n._meta and "start" in n._meta]
        return FilterError(message, min(starts) + 1 if starts else 0)

    def paren(self, node: Any, depth: int) -> Kind:
        return self.add(node.this, depth)

    def column(self, node: Any, depth: int) -> Kind:
        name = node.name
        if node.args.get("table") or node.args.get("db") or not isinstance(node.this, exp.Identifier):
            raise self.fault("a field has no dots in its name", node)
        if node.this.quoted:
            raise self.fault(f"words stand in single quotes: '{name[:LONGEST_WORD]}'", node)
        self.step(machine.COLUMN, node, value=name)
        self.fields.add(name)
        if (kind := KIND_OF.get(name)) is not None:
            return kind
        if name in STANDARD.index:
            return "number"
        prefix = next((p for p in (BALANCED, PRIOR) if name.startswith(p)), "")
        if prefix:
            rest = name.removeprefix(prefix)
            slug = rest.replace("_", "-") if self._taught is None else self._taught.get(rest)
            if slug is not None and class_name_problem(slug) is None:
                self.classes.add(slug)
                return "number"
        known = [*STANDARD.index, *(class_field(s, p) for s in (self._taught or {}).values() for p in (BALANCED, PRIOR))]
        raise self.fault(
            f"there is no field {name[:60]}; the nearest is {nearest(name[:60], known)} (docs/filter-fields.md lists all)", node
        )

    def literal(self, node: Any, depth: int) -> Kind:
        if node.is_string:
            if len(node.this) > LONGEST_WORD:
                raise self.fault(f"a word has {LONGEST_WORD} characters at most", node)
            self.step(machine.NUMBER, node, value=word_number(node.this))
            return "word"
        try:
            value = float(node.this)
        except ValueError:
            value = math.inf
        if not math.isfinite(value):
            raise self.fault("this is not a number that 64 bits hold", node)
        self.step(machine.NUMBER, node, value=value)
        return "number"

    def boolean(self, node: Any, depth: int) -> Kind:
        self.step(machine.NUMBER, node, value=1.0 if node.this else 0.0)
        return "truth"

    def arithmetic(self, node: Any, depth: int) -> Kind:
        self.expect(node.left, "number", depth=depth)
        self.expect(node.right, "number", depth=depth)
        self.step(_ARITHMETIC[type(node)], node)
        return "number"

    def comparison(self, node: Any, depth: int) -> Kind:
        left = self.operand(node.left, depth)
        right = self.operand(node.right, depth)
        self.comparable(left, right, node=node)
        if left != "number" and type(node) not in (exp.EQ, exp.NEQ):
            raise self.fault("words and truths are compared by = and <> alone", node)
        self.step(_COMPARISON[type(node)], node)
        return "truth"

    def operand(self, node: Any, depth: int) -> Kind:
        """One side of a comparison; a truth becomes a number that may be null."""
        if isinstance(_inner(node), exp.Null):
            raise self.fault("nothing equals null; IS NULL asks for it", node)
        kind = self.add(node, depth)
        if kind == "truth" and not isinstance(_inner(node), exp.Column | exp.Boolean):
            raise self.fault("a comparison is not compared once more", node)
        return kind

    def comparable(self, left: Kind, right: Kind, *, node: Any) -> None:
        if left != right:
            raise self.fault(f"{_MEANT[left]} is not compared with {_MEANT[right]}", node)

    def logic(self, node: Any, depth: int) -> Kind:
        # A chain of ANDs leans to the left: it is walked without a level a link.
        kind, links = type(node), list[Any]()
        first = node
        while type(first) is kind and len(links) <= MOST_OPERATIONS:
            links.append(first.right)
            first = first.left
        self.expect(first, "truth", depth=depth)
        for link in reversed(links):
            self.expect(link, "truth", depth=depth)
            self.step(machine.AND if kind is exp.And else machine.OR, link)
        return "truth"

    def negation(self, node: Any, depth: int) -> Kind:
        self.expect(node.this, "truth", depth=depth)
        self.step(machine.NOT, node)
        return "truth"

    def negative(self, node: Any, depth: int) -> Kind:
        self.expect(node.this, "number", depth=depth)
        self.step(machine.NEGATE, node)
        return "number"

    def function(self, node: Any, depth: int) -> Kind:
        self.expect(node.this, "number", depth=depth)
        self.step(_FUNCTION[type(node)], node)
        return "number"

    def logarithm(self, node: Any, depth: int) -> Kind:
        base, of = node.this, node.args.get("expression")
        if not isinstance(base, exp.Literal) or base.this != "10" or of is None:
            raise self.fault("logarithms are log10(x) and ln(x)", node)
        self.expect(of, "number", depth=depth)
        self.step(machine.LOG10, node)
        return "number"

    def between(self, node: Any, depth: int) -> Kind:
        for bound, operation in ((node.args["low"], machine.GREATER_EQUAL), (node.args["high"], machine.LESS_EQUAL)):
            self.expect(node.this, "number", depth=depth)
            self.expect(bound, "number", depth=depth)
            self.step(operation, node)
        self.step(machine.AND, node)
        return "truth"

    def one_of(self, node: Any, depth: int) -> Kind:
        if node.args.get("query") is not None or node.args.get("unnest") is not None or not node.expressions:
            raise self.fault("IN is followed by values in parentheses", node)
        for i, value in enumerate(node.expressions):
            if not isinstance(_unsigned(value), exp.Literal):
                raise self.fault("IN is followed by values", value)
            self.comparable(self.operand(node.this, depth), self.add(value, depth), node=value)
            self.step(machine.EQUAL, value)
            if i:
                self.step(machine.OR, value)
        return "truth"

    def asked(self, node: Any, depth: int) -> Kind:
        """IS NULL, IS TRUE, IS FALSE."""
        wanted = node.expression
        if isinstance(wanted, exp.Null):
            kind = self.add(node.this, depth)
            truth = kind == "truth" and not isinstance(_inner(node.this), exp.Column | exp.Boolean)
            self.step(machine.IS_UNKNOWN if truth else machine.IS_NULL, node)
            return "truth"
        if isinstance(wanted, exp.Boolean):
            self.expect(node.this, "truth", depth=depth)
            if not wanted.this:
                self.step(machine.NOT, node)
            self.step(machine.NUMBER, node, value=1.0)  # what is unknown is neither
            self.step(machine.EQUAL, node)
            return "truth"
        raise self.fault("IS is followed by NULL, NOT NULL, TRUE or FALSE", node)


def _inner(node: Any) -> Any:
    while isinstance(node, exp.Paren):
        node = node.this
    return node


def _unsigned(node: Any) -> Any:
    return node.this if isinstance(node, exp.Neg) else node


def _named(node: Any) -> str:
    """What a node is, for a message."""
    if isinstance(node, exp.Anonymous):
        return f"the function {str(node.this)[:40]}"
    if isinstance(node, exp.Subquery | exp.Select | exp.Query):
        return "a query"
    return type(node).__name__


_WRITERS: dict[type, Any] = {
    exp.Paren: _Reader.paren, exp.Column: _Reader.column, exp.Literal: _Reader.literal, exp.Boolean: _Reader.boolean,
    **dict.fromkeys(_ARITHMETIC, _Reader.arithmetic), **dict.fromkeys(_COMPARISON, _Reader.comparison),
    exp.And: _Reader.logic, exp.Or: _Reader.logic, exp.Not: _Reader.negation, exp.Neg: _Reader.negative,
    **dict.fromkeys(_FUNCTION, _Reader.function), exp.Log: _Reader.logarithm, exp.Between: _Reader.between, exp.In: _Reader.one_of,
    exp.Is: _Reader.asked,
}  # fmt: skip
"""Every kind of node that a filter may have."""
