"""`protonova label`: what a table of labels may hold, and the line that says what is wrong with it."""

from __future__ import annotations

from pathlib import Path

import pytest

from console.commands.label import Given, of_file, one
from errors import UserError


def table(folder: Path, text: str) -> Path:
    path = folder / "labels.csv"
    path.write_text(text)
    return path


def test_columns_are_known_by_the_names_that_catalogues_give_them(tmp_path: Path) -> None:
    path = table(tmp_path, "objectId,diaSourceId,Type,confidence,survey,source\nZTF18a,5,SN Ia,0.5,ztf,tns\n,-6,fast-blue,,,\n")
    assert of_file(path, survey="lsst", confidence=0.75) == [
        Given(5, "sn-ia", "ztf", "ZTF18a", 0.5, "tns"),
        Given(-6, "fast-blue", "lsst", "", 0.75, ""),
    ]


@pytest.mark.parametrize(
    ("text", "says"),
    [
        ("name,label\nx,tde\n", "no columns candid and label"),
        ("candid,label\n", "holds no label"),
        ("candid,label\n5,tde\n6.5,tde\n1e30,tde\n", "line 3"),
        ("candid,label\n5,Two Words\n", "small letters"),
        ("candid,label\n5,\n", "line 2"),
        ("candid,label,confidence\n5,tde,2\n", "not between 0 and 1"),
        ("candid,label,confidence\n5,tde,nan\n", "not between 0 and 1"),
        ("candid,label\n99999999999999999999,tde\n", "candid is"),
    ],
)
def test_nothing_of_a_table_with_a_bad_line_is_taken(tmp_path: Path, text: str, says: str) -> None:
    with pytest.raises(UserError, match=says):
        of_file(table(tmp_path, text), survey="ztf", confidence=1.0)


def test_a_word_that_no_class_can_have_is_refused() -> None:
    with pytest.raises(UserError, match="means something else"):
        one(5, "other", survey=None, object_id=None, confidence=1.0)
