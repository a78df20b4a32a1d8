"""The glossary's old words are found in prose and in names, and nowhere else."""

from __future__ import annotations

from pathlib import Path

import pytest

from tools import check_words

PAGE = "# Glossary\n\n## Old words\n\n```\nstranger, strange -> unseen class\nis no -> is not a\n```\n"


@pytest.mark.parametrize(
    ("line", "count"),
    [
        ("a stranger among the classes", 1),
        ("def is_stranger(x): ...", 1),
        ("class StrangerClass: ...", 1),
        ("STRANGE = 1", 1),
        ("estranged", 0),
        ("it is no packet", 1),
        ("it is no longer there", 0),
        ("this nozzle", 0),
    ],
)
def test_words_are_found_in_prose_and_names(line: str, count: int, tmp_path: Path) -> None:
    (tmp_path / "docs").mkdir()
    (tmp_path / check_words.GLOSSARY).write_text(PAGE)
    (tmp_path / "a.py").write_text(line + "\n")
    assert len(list(check_words.hits(tmp_path, ["a.py", check_words.GLOSSARY]))) == count


def test_a_glossary_without_the_block_is_refused() -> None:
    with pytest.raises(ValueError, match="no block"):
        check_words.old_words("# Glossary")
