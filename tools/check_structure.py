"""How the files hang together: import circles, module names that stand twice, files too long, packages that do not say "in → out".

    python -m tools.check_structure [ROOT]

An import counts where it stands at a module's top level, also inside `if`, `try` and `with` and under `TYPE_CHECKING`; what a function
imports when it runs is not a circle. Names may be shared with a kernel (`operators/kernels/` bears its operator's names), a test or a
benchmark. Exit status 1 where something is found.
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

    @property
    def clean(self) -> bool:
        """Whether nothing was found."""
        return not (self.circles or self.names_twice or self.long_files or self.silent_packages)


def modules(root: Path) -> dict[str, Path]:
    """Find the application's modules.

    Parameters
    ----------
    root : Path
        Folder of the packages; only folders with an ``__init__.py`` count.

    Returns
    -------
    dict
        Dotted name → file; a package by its own name.
    """
    found: dict[str, Path] = {}
    for init in sorted(root.glob("*/__init__.py")):
        if init.parent.name in APART or init.parent.name.startswith("."):
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


def check(root: Path) -> Findings:
    """Check the packages under a folder."""
    known = modules(root)
    texts = {name: path.read_text(encoding="utf-8") for name, path in known.items()}
    trees = {name: ast.parse(text, str(known[name])) for name, text in texts.items()}
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
    )


def show(found: Findings) -> str:
    """The findings, and a count of each kind."""
    lines = [f"circle: {', '.join(names)}" for names in found.circles]
    lines += [f"name twice: {stem}: {', '.join(names)}" for stem, names in found.names_twice.items()]
    lines += [f"too long: {path}: {n} lines" for path, n in found.long_files.items()]
    lines += [f'package without "{FLOW[0]}" and "{FLOW[1]}": {name}' for name in found.silent_packages]
    lines.append(
        f"{found.files} files; circles: {len(found.circles)}; names twice: {len(found.names_twice)}; "
        f"files over {LONGEST} lines: {len(found.long_files)}; packages that do not say in and out: {len(found.silent_packages)}"
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
