"""Every operator has a test that runs in every namespace: a list that is found and not kept.

An operator is a public function of `operators/` (the kernels excepted) whose signature has an array of any namespace: `Array` itself, or
a class of `operators/` that holds one (`AlertBatch`, `Views`, `RawFrame`, …). It is tested where a test that takes one of the fixtures
`NAMESPACES` calls it: itself, by a helper of the same file, or by another operator. So a new one needs no entry here: it needs a test
with `xp`.
"""

from __future__ import annotations

import ast
import re
from collections.abc import Iterator, Mapping
from functools import cache
from pathlib import Path

ROOT = Path(__file__).parents[2]
NAMESPACES = frozenset({"xp", "moved", "to_xp", "move", "strict"})
"""Fixtures that bring arrays to each namespace, or that are made of one that does (`tests.namespaces`)."""
ON_THE_HOST = {
    "operators.fold.magnitudes": "one star, for the light curve tools: `fold` is the operator",
    "operators.namespace.to_host": "is how arrays leave a namespace",
    "operators.taught": "a class is taught on the host, in the head that a state then brings to its namespace",
    "operators.head.head_of": "puts arrays into a head; runs nothing",
    "operators.head.identity": "bytes of a head on the host",
    "operators.decision.novelty_threshold": "calibration of a head, on the host",
}
"""Operators by signature, or modules of such, that run on the host alone, or nothing at all, and why."""


@cache
def modules() -> dict[str, ast.Module]:
    """Dotted name → tree, of all operators but the kernels."""
    paths = (path for path in sorted((ROOT / "operators").rglob("*.py")) if "kernels" not in path.parts and path.stem != "__init__")
    return {".".join(path.relative_to(ROOT).with_suffix("").parts): ast.parse(path.read_text(encoding="utf-8")) for path in paths}


def named(node: ast.AST | None) -> set[str]:
    """Names in an annotation, also in one that is text."""
    return set() if node is None else set(re.findall(r"\w+", ast.unparse(node)))


@cache
def array_classes() -> frozenset[str]:
    """Classes whose fields hold an array of any namespace, `Array` among them."""
    fields = {
        node.name: set().union(*(named(part.annotation) for part in node.body if isinstance(part, ast.AnnAssign)), *map(named, node.bases))
        for tree in modules().values()
        for node in ast.walk(tree)
        if isinstance(node, ast.ClassDef)
    }
    found = {"Array"}
    while more := {name for name, names in fields.items() if names & found} - found:
        found |= more
    return frozenset(found)


def operators() -> Iterator[str]:
    """Dotted names."""
    for module, tree in modules().items():
        for node in tree.body:
            if isinstance(node, ast.FunctionDef) and not node.name.startswith("_"):
                of = node.args
                annotations = [a.annotation for a in (*of.posonlyargs, *of.args, *of.kwonlyargs)]
                if set().union(*map(named, annotations)) & array_classes():
                    yield f"{module}.{node.name}"


def used(node: ast.AST) -> set[str]:
    """Names of functions that a piece of code may call."""
    return {part.id if isinstance(part, ast.Name) else part.attr for part in ast.walk(node) if isinstance(part, ast.Name | ast.Attribute)}


def covered() -> frozenset[str]:
    """Names that tests in every namespace reach: by helpers of their files, and by operators that call others."""
    found: set[str] = set()
    for path in sorted((ROOT / "tests").rglob("test_*.py")):
        text = path.read_text(encoding="utf-8")
        if "operators" in text:
            functions = {node.name: node for node in ast.parse(text).body if isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef)}
            takes = {name: {a.arg for a in (*node.args.args, *node.args.kwonlyargs)} for name, node in functions.items()}
            begin = {name for name in functions if name.startswith("test_") and takes[name] & NAMESPACES}
            found |= reached(begin, {name: used(node) for name, node in functions.items()})
    calls: dict[str, set[str]] = {}
    for tree in modules().values():
        for node in tree.body:
            if isinstance(node, ast.FunctionDef | ast.ClassDef):
                calls[node.name] = calls.get(node.name, set()) | used(node)
    return frozenset(reached(found, calls))


def reached(begin: set[str], calls: Mapping[str, set[str]]) -> set[str]:
    """All that is called from there on."""
    found, left = set(begin), list(begin)
    while left:
        new = calls.get(left.pop(), set()) - found
        found |= new
        left += new
    return found


def host(name: str) -> bool:
    """Whether an exception names it or its module."""
    return name in ON_THE_HOST or name.rpartition(".")[0] in ON_THE_HOST


def test_every_operator_is_tested_in_every_namespace() -> None:
    names = covered()
    missing = sorted(name for name in operators() if not host(name) and name.rpartition(".")[2] not in names)
    assert not missing, f"without a test that takes one of {', '.join(sorted(NAMESPACES))}: {', '.join(missing)}"


def test_the_rule_finds_operators_and_not_what_runs_on_the_host() -> None:
    found = set(operators())
    for name in ("tokens.tokens", "stamps.stamps", "context.context", "features.features", "fold.fold", "head.judge", "decision.decide",
                 "support.solve", "lengths.lengths", "images.calibrate.calibrate"):  # fmt: skip
        assert f"operators.{name}" in found, name
    for name in ("detrend.detrend", "transits.figures", "dips.look", "lengths.cut", "budget.night"):
        assert f"operators.{name}" not in found, "columns of the host by their types"
    assert {"AlertBatch", "Views", "Head", "Judged", "RawFrame", "Masters"} <= array_classes()
    assert "Curves" not in array_classes()


def test_exceptions_are_operators_that_are_there() -> None:
    found = set(operators())
    assert set(ON_THE_HOST) <= found | {name.rpartition(".")[0] for name in found}
