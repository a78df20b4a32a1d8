"""The program that writes the model card: a page and its pictures, or one line."""

from pathlib import Path

import pytest

from tools import model_card

REPORTS = Path(__file__).parents[2] / "docs" / "reports"


def test_a_folder_without_reports_is_one_line(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert model_card.main(["--reports", str(tmp_path), "--out", str(tmp_path / "card.md")]) == 2
    (line,) = capsys.readouterr().err.splitlines()
    assert "holds no report of protonova evaluate" in line
    assert not (tmp_path / "card.md").exists()


def test_a_bundle_that_is_none_is_one_line(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert model_card.main(["--reports", str(REPORTS), "--bundle", str(tmp_path), "--out", str(tmp_path / "card.md")]) == 2
    (line,) = capsys.readouterr().err.splitlines()
    assert "manifest.json" in line


def test_the_card_names_pictures_that_are_there(tmp_path: Path) -> None:
    pytest.importorskip("matplotlib")
    assert model_card.main(["--reports", str(REPORTS), "--out", str(tmp_path / "card.md")]) == 0
    text = (tmp_path / "card.md").read_text(encoding="utf-8")
    pictures = sorted(path.name for path in (tmp_path / "figures").iterdir())
    assert pictures
    assert all(f"figures/{name}" in text for name in pictures)
