"""Old words that stand in the code or its documents: ``python -m tools.check_words`` prints them and ends with 1 where there is one.

docs/glossary.md (the block under "Old words") and the tracked text files → one line a hit
"""

from __future__ import annotations

import re
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

ROOT = Path(__file__).parents[1]
GLOSSARY = "docs/glossary.md"
SUFFIXES = (".py", ".md", ".toml", ".yml", ".yaml", ".avsc", ".html", ".css", ".js", ".ts", ".tsx", ".sh", "")
APART = ("docs/reports/", "benchmarks/results/", "requirements/", "registry/published/", "schemas/surveys/", "LICENSE", "tests/cases/")
"""Made by programs, written by others, or the names of other people's fields; of `schemas/surveys/` only the schemas (below)."""

FORMER = "former name"
"""A line with these words keeps an argument's old name for callers that use it."""


def old_words(page: str) -> dict[str, re.Pattern[str]]:
    """Advice → pattern, of the glossary's block.

    Parameters
    ----------
    page : str
        The glossary.

    Raises
    ------
    ValueError
        The page has no such block.
    """
    block = re.search(r"## Old words.*?```\n(.*?)```", page, re.DOTALL)
    if block is None:
        raise ValueError(f"{GLOSSARY} has no block of old words")
    found = {}
    for line in block.group(1).splitlines():
        words, _, advice = line.partition(" -> ")
        # A word is found within an identifier too.
        each = "|".join(re.escape(word.strip()).replace(r"\ ", r"[\s_]+") for word in words.split(","))
        # "There is no …" is plain English.
        found[advice] = re.compile(rf"(?<![a-zA-Z])(?<!there )(?:{each})(?![a-zA-Z])(?! longer\b| more\b| later\b)", re.IGNORECASE)
    return found


def words_of(line: str) -> str:
    """A line with the parts of CamelCase names apart, so that a word inside one is found."""
    return re.sub(r"(?<=[a-z0-9])(?=[A-Z])", "_", line)


def hits(root: Path, names: list[str]) -> Iterator[str]:
    """One line for each old word in files of a folder."""
    patterns = old_words((root / GLOSSARY).read_text(encoding="utf-8"))
    for name in names:
        path = root / name
        apart = name.startswith(APART) and not name.endswith(".py")
        if (
            name in (GLOSSARY, "tests/tools/test_check_words.py")
            or apart
            or name.startswith("tests/cases/")
            or path.suffix not in SUFFIXES
            or not path.is_file()
        ):
            continue
        try:
            text = path.read_text(encoding="utf-8")
        except UnicodeDecodeError:
            continue
        for number, line in enumerate(text.splitlines(), 1):
            if FORMER in line:
                continue
            for advice, pattern in patterns.items():
                for match in pattern.finditer(words_of(line)):
                    yield f"{name}:{number}: {match.group(0)!r}: write {advice}"


def main() -> int:
    """Check the tracked files."""
    listed = subprocess.run(["git", "ls-files", "-co", "--exclude-standard"], cwd=ROOT, capture_output=True, text=True, check=True)
    found = list(hits(ROOT, listed.stdout.splitlines()))
    for line in found:
        print(line)
    print(f"old words: {len(found)}")
    return 1 if found else 0


if __name__ == "__main__":
    sys.exit(main())
