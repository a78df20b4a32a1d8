"""How the files hang together, and what functions take by position.

Finds import circles, module names that stand twice, files too long, packages that do not say "in → out", and functions that take more than
two arguments by position.

    python -m tools.check_structure [ROOT]

An import counts where it stands at a module's top level, also inside `if`, `try` and `with` and under `TYPE_CHECKING`; what a function
imports when it runs is not a circle. Names may be shared with a kernel (`operators/kernels/` bears its operator's names), a test or a
benchmark.

A function takes two arguments by position, `self` and `cls` not counted; the others are keyword-only. This holds in the packages and in
`benchmarks/`, for private functions and for functions inside functions too. Exempt are what is compiled by numba (all of
`operators/kernels/`, and what bears a decorator of `COMPILED`): it takes no keywords, or slowly; a function with ``*args``, whose
arguments before these cannot be named; ``__exit__`` and ``__aexit__``; arguments that always go together (`TOGETHER`), which count as one;
and the functions of `BY_POSITION`, each with the reason why its callers pass by position.

Exit status 1 where something is found.
"""

from __future__ import annotations

import ast
import sys
from collections import defaultdict
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

LONGEST = 420
"""Lines of a file; about 400 is the rule."""
APART = ("tests", "benchmarks", "deploy", "artifacts", "build")
"""Top-level folders that are not packages of the application."""
SHARED_NAMES = ("__init__", "__main__")
FLOW = ("in →", "out →")
POSITIONAL = 2
"""Arguments that a function takes by position."""
COMPILED = ("compiled", "njit", "jit", "vectorize", "guvectorize")
TOGETHER = (
    ("calibrated", "quality", "raw", "masters"),  # a calibrated frame and what it was made of
    ("planes", "quality"),  # a calibrated frame
    ("tokens", "stamps", "context"),  # a network's inputs, as torch, an exported model and every session take them
    ("scope", "receive", "send"),  # ASGI
    ("logger", "method", "event"),  # structlog's processors
    ("message", "done", "total"),  # what a callback of progress is called with
)
"""Last arguments that count as one: others call them by position, or they are passed on as a row."""
_POOL = "processes hand on arguments by position"
_CASES = "the programs of tests/cases, which are not ours to change, pass three"
BY_POSITION = {
    "data.simulate.arrays._chunk": _POOL,
    "data.simulate.curves._chunk": _POOL,
    "evaluation.simulated._cut": _POOL,
    "evaluation.simulated._patterned": _POOL,
    "learning.shards._work": _POOL,
    "pipeline.state.load": _CASES,
    "schemas.avro.container.encode_rubin": _CASES,
    "settings.model.Settings.settings_customise_sources": "pydantic-settings calls it",
    "streams.kafka.consumer.SafeFetcher._proc_fetch_request": "overrides aiokafka's",
}
"""Functions that keep more arguments by position, and why."""


@dataclass(frozen=True, slots=True)
class Findings:
    """What is wrong; all empty where nothing is."""

    files: int
    circles: list[list[str]]
    """Modules that import each other, by way of others or not."""
    names_twice: dict[str, list[str]]
    """Name → modules that bear it."""
    long_files: dict[str, int]
    silent_packages: list[str]
    """Packages whose ``__init__`` lacks a line of `FLOW`."""
    positional: dict[str, int]
    """Function → arguments it takes by position, where these are more than `POSITIONAL`."""

    @property
    def clean(self) -> bool:
        """Whether nothing was found."""
        return not (self.circles or self.names_twice or self.long_files or self.silent_packages or self.positional)


def modules(root: Path, apart: Sequence[str] = APART) -> dict[str, Path]:
    """Find the application's modules.

    Parameters
    ----------
    root : Path
        Folder of the packages; only folders with an ``__init__.py`` count.
    apart : sequence of str
        Folders that are left out.

    Returns
    -------
    dict
        Dotted name → file; a package by its own name.
    """
    found: dict[str, Path] = {}
    for init in sorted(root.glob("*/__init__.py")):
        if init.parent.name in apart or init.parent.name.startswith("."):
            continue
        for path in sorted(init.parent.rglob("*.py")):
            name = ".".join(path.relative_to(root).with_suffix("").parts)
            found[name.removesuffix(".__init__")] = path
    return found


def imports(name: str, tree: ast.Module, *, known: Mapping[str, Path]) -> set[str]:
    """Modules of the application that a module imports at its top level."""
    found: set[str] = set()
    for node in _top_level(tree.body):
        if isinstance(node, ast.Import):
            targets = [alias.name for alias in node.names]
        else:
            base = _absolute(name, node, known=known)
            # `from package import module` needs the module; only a name of the package itself needs the package's own code
            targets = [f"{base}.{a.name}" if f"{base}.{a.name}" in known else base for a in node.names]
        found |= {t for t in targets if t in known}
    return found - {name}


def _top_level(body: Sequence[ast.AST]) -> Iterator[ast.Import | ast.ImportFrom]:
    """Imports that run, or are read by a type checker, when the module is imported: not those inside functions."""
    for node in body:
        if isinstance(node, ast.Import | ast.ImportFrom):
            yield node
        elif not isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef | ast.Lambda):
            yield from _top_level(list(ast.iter_child_nodes(node)))


def _absolute(name: str, node: ast.ImportFrom, *, known: Mapping[str, Path]) -> str:
    if not node.level:
        return node.module or ""
    parts = name.split(".")
    up = node.level - (known[name].name == "__init__.py")
    return ".".join([*parts[: len(parts) - up], *([node.module] if node.module else [])])


def circles(edges: Mapping[str, set[str]]) -> list[list[str]]:
    """Find the strongly connected components of two modules or more (Tarjan 1972), without recursion."""
    index: dict[str, int] = {}
    low: dict[str, int] = {}
    stack: list[str] = []
    found: list[list[str]] = []
    for start in edges:
        if start in index:
            continue
        work: list[tuple[str, Iterator[str]]] = [(start, iter(sorted(edges[start])))]
        index[start] = low[start] = len(index)
        stack.append(start)
        while work:
            node, rest = work[-1]
            after = next(rest, None)
            if after is None:
                work.pop()
                if work:
                    low[work[-1][0]] = min(low[work[-1][0]], low[node])
                if low[node] == index[node]:
                    at = stack.index(node)
                    if len(stack) - at > 1:
                        found.append(sorted(stack[at:]))
                    del stack[at:]
            elif after not in index:
                index[after] = low[after] = len(index)
                stack.append(after)
                work.append((after, iter(sorted(edges.get(after, ())))))
            elif after in stack:
                low[node] = min(low[node], index[after])
    return sorted(found)


def positional(name: str, tree: ast.Module) -> dict[str, int]:
    """Functions of a module that take more than `POSITIONAL` arguments by position, and how many; none that is exempt (see the module)."""
    if "kernels" in name.split("."):
        return {}
    return {function: count for function, count in _counts(tree, name, bound=False) if count > POSITIONAL and function not in BY_POSITION}


def _counts(parent: ast.AST, name: str, *, bound: bool) -> Iterator[tuple[str, int]]:
    """Every function below `parent` with its number of arguments by position; `bound`: the first one is the object or the class."""
    for node in ast.iter_child_nodes(parent):
        if isinstance(node, ast.ClassDef):
            yield from _counts(node, f"{name}.{node.name}", bound=True)
        elif isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef):
            inner = f"{name}.{node.name}"
            decorators = {d.attr if isinstance(d, ast.Attribute) else d.id for d in map(_called, node.decorator_list) if d is not None}
            if not (decorators & set(COMPILED) or node.args.vararg or node.name in ("__exit__", "__aexit__")):
                names = tuple(a.arg for a in node.args.posonlyargs + node.args.args)[
                    1 if bound and "staticmethod" not in decorators else 0 :
                ]
                yield inner, next((len(names) - len(row) + 1 for row in TOGETHER if names[-len(row) :] == row), len(names))
            yield from _counts(node, inner, bound=False)
        else:
            yield from _counts(node, name, bound=bound and not isinstance(node, ast.Lambda))


def _called(decorator: ast.expr) -> ast.Attribute | ast.Name | None:
    """The name of a decorator, with or without arguments."""
    found = decorator.func if isinstance(decorator, ast.Call) else decorator
    return found if isinstance(found, ast.Attribute | ast.Name) else None


def check(root: Path) -> Findings:
    """Check the packages under a folder."""
    known = modules(root)
    texts = {name: path.read_text(encoding="utf-8") for name, path in known.items()}
    trees = {name: ast.parse(text, str(known[name])) for name, text in texts.items()}
    beside = modules(root, [folder for folder in APART if folder != "benchmarks"])
    measured = {name: ast.parse(path.read_text(encoding="utf-8"), str(path)) for name, path in beside.items() if name not in known}
    bearers: dict[str, list[str]] = defaultdict(list)
    for name, path in known.items():
        if path.stem not in SHARED_NAMES and "kernels" not in path.parts:
            bearers[path.stem].append(name)
    return Findings(
        files=len(known),
        circles=circles({name: imports(name, tree, known=known) for name, tree in trees.items()}),
        names_twice={stem: names for stem, names in sorted(bearers.items()) if len(names) > 1},
        long_files={str(known[n].relative_to(root)): k for n, t in texts.items() if (k := len(t.splitlines())) > LONGEST},
        silent_packages=[
            n for n, p in known.items() if p.name == "__init__.py" and not all(w in (ast.get_docstring(trees[n]) or "") for w in FLOW)
        ],
        positional={f: count for name, tree in {**trees, **measured}.items() for f, count in positional(name, tree).items()},
    )


def show(found: Findings) -> str:
    """The findings, and a count of each kind."""
    lines = [f"circle: {', '.join(names)}" for names in found.circles]
    lines += [f"name twice: {stem}: {', '.join(names)}" for stem, names in found.names_twice.items()]
    lines += [f"too long: {path}: {n} lines" for path, n in found.long_files.items()]
    lines += [f'package without "{FLOW[0]}" and "{FLOW[1]}": {name}' for name in found.silent_packages]
    lines += [f"more than {POSITIONAL} arguments by position: {function}: {n}" for function, n in found.positional.items()]
    lines.append(
        f"{found.files} files; circles: {len(found.circles)}; names twice: {len(found.names_twice)}; "
        f"files over {LONGEST} lines: {len(found.long_files)}; packages that do not say in and out: {len(found.silent_packages)}; "
        f"functions with more than {POSITIONAL} arguments by position: {len(found.positional)}"
    )
    return "\n".join(lines)


def main(arguments: list[str] | None = None) -> int:
    """Run the program; see the module's docstring."""
    rest = sys.argv[1:] if arguments is None else arguments
    found = check(Path(rest[0]) if rest else Path(__file__).parents[1])
    if not found.files:
        print("no package there", file=sys.stderr)
        return 2
    print(show(found))
    return 0 if found.clean else 1


if __name__ == "__main__":
    sys.exit(main())
