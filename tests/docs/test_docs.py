"""The documents say what the code does."""

from __future__ import annotations

import re
from pathlib import Path

import pytest

from tools.docs import tables_of_docs as build

ROOT = Path(__file__).parents[2]


@pytest.mark.parametrize("name", sorted(build.PAGES))
def test_the_tables_are_the_codes_own(name):
    assert (ROOT / "docs" / name).read_text(encoding="utf-8") == build.PAGES[name](), "run: python -m tools.docs.tables_of_docs"


def test_every_field_and_setting_is_explained():
    assert not re.search(r"\| *\|$", build.detection() + build.settings(), re.MULTILINE)


@pytest.mark.parametrize("document", ["README.md", "ARCHITECTURE.md", *(f"docs/{p.name}" for p in (ROOT / "docs").glob("*.md"))])
def test_paths_named_in_documents_exist(document):
    text = (ROOT / document).read_text(encoding="utf-8")
    named = set(
        re.findall(
            r"`((?:operators|schemas|data|gpu|registry|pipeline|learning|evaluation|streams|service|console|settings|tools|tests|docs|deploy|benchmarks)/[\w/.]*)`",
            text,
        )
    )
    missing = [path for path in named if not (ROOT / path.rstrip("/")).exists() and not (ROOT / f"{path}.py").exists()]
    assert not missing, f"{document} names what is not there: {missing}"


def test_commands_named_in_the_readme_exist():
    import typer

    from console.cli import app

    known = set(typer.main.get_command(app).commands)  # type: ignore[attr-defined]
    named = set(re.findall(r"protonova (\w+)", (ROOT / "README.md").read_text(encoding="utf-8")))
    assert named <= known, named - known
