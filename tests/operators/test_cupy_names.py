"""Every function that operators call of a namespace is one of the array standard, and CuPy has it, with the arguments it is called with."""

from __future__ import annotations

import ast
import inspect
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import array_api_strict
import pytest

ROOT = Path(__file__).parents[2]
FOLDERS = ("operators", "pipeline")
UNKNOWN_TO_CUPY = {
    "clip": frozenset({"min", "max"}),
    "sort": frozenset({"stable", "descending"}),
    "argsort": frozenset({"stable", "descending"}),
}
"""Keywords of the standard that CuPy 14.2 has not: what is to run on both passes them by position, or not at all."""


def calls() -> Iterator[tuple[str, frozenset[str], str]]:
    """Dotted name, keywords, place of each use of a namespace that is called `xp` or is asked for on the spot."""
    for folder in FOLDERS:
        for path in sorted((ROOT / folder).rglob("*.py")):
            if "kernels" in path.parts:
                continue
            tree = ast.parse(path.read_text(encoding="utf-8"))
            keywords = {
                id(node.func): frozenset(k.arg for k in node.keywords if k.arg) for node in ast.walk(tree) if isinstance(node, ast.Call)
            }
            for node in ast.walk(tree):
                if isinstance(node, ast.Attribute) and (name := dotted(node)):
                    yield name, keywords.get(id(node), frozenset()), f"{path.relative_to(ROOT)}:{node.lineno}"


def dotted(node: ast.Attribute) -> str | None:
    """``linalg.inv`` of ``xp.linalg.inv`` or ``array_namespace(a).linalg.inv``."""
    names: list[str] = []
    inner: ast.expr = node
    while isinstance(inner, ast.Attribute):
        names.append(inner.attr)
        inner = inner.value
    asked = isinstance(inner, ast.Call) and isinstance(inner.func, ast.Name) and inner.func.id == "array_namespace"
    if asked or (isinstance(inner, ast.Name) and inner.id == "xp"):
        return ".".join(reversed(names))
    return None


def lookup(module: Any, name: str) -> Any:
    for part in name.split("."):
        module = getattr(module, part, None)
    return module


def missing(module: Any) -> list[str]:
    """What a module does not have, or not with these keywords."""
    out = []
    for name, keywords, where in calls():
        found = lookup(module, name)
        if found is None:
            out.append(f"{name} ({where})")
            continue
        try:
            takes = inspect.signature(found).parameters
        except (TypeError, ValueError):
            continue
        if not any(p.kind is p.VAR_KEYWORD for p in takes.values()) and (unknown := keywords - set(takes)):
            out.append(f"{name}({', '.join(sorted(unknown))}=) ({where})")
    return out


def test_operators_call_many_functions_and_each_is_in_the_standard() -> None:
    assert len({name for name, _, _ in calls()}) > 40
    assert missing(array_api_strict) == []
    wrong = [f"{name} ({where})" for name, keywords, where in calls() if keywords & UNKNOWN_TO_CUPY.get(name, frozenset())]
    assert not wrong, f"CuPy does not know these keywords: {', '.join(wrong)}"


def test_cupy_has_them() -> None:
    cupy = pytest.importorskip("cupy", reason="no CuPy here")
    assert missing(cupy) == []
