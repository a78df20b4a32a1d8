"""`protonova positions`: what a place and a table of places may be, and the line that says what is wrong with one."""

from __future__ import annotations

from pathlib import Path

import pytest

from console.commands.positions import of_file, one
from errors import UserError
from schemas.records.photometry_position import LISTED


def _table(folder: Path, text: str) -> Path:
    path = folder / "positions.csv"
    path.write_text(text)
    return path


def test_places_on_the_sky_and_on_a_detector(tmp_path: Path) -> None:
    found = of_file(_table(tmp_path, "name,ra,dec,detector,field,y,x\nM31-a,10.68,41.27,,,,\nspot,,,ccd1,m31,12.5,7\n"), public=False)
    assert [(p.name, p.ra, p.dec, p.detector, p.field, p.y, p.x, p.public, p.origin) for p in found] == [
        ("M31-a", 10.68, 41.27, "", "", None, None, False, LISTED),
        ("spot", None, None, "ccd1", "m31", 12.5, 7.0, False, LISTED),
    ]


@pytest.mark.parametrize(
    ("text", "says"),
    [
        ("ra,dec\n1,2\n", "no column name"),
        ("name,ra,dec\n", "holds no position"),
        ("name,ra,dec\na,1,2\nb,360,2\n", "line 3.*not on the sky"),
        ("name,ra,dec\na,1,2\nb,1,\n", "line 3.*has ra and dec"),
        ("name,ra,dec\na,1,2\na,1,3\n", "line 3.*stands twice"),
        ("name,ra,dec\na b,1,2\n", "not a position's name"),
        ("name,ra,dec\na,nan,2\n", "line 2"),
        ("name,ra,dec\na,one,2\n", "line 2"),
        ("name,y,x\na,1,2\n", "line 2.*has ra and dec, or detector"),
        ("name,ra,dec,detector,y,x\na,1,2,ccd1,1,2\n", "line 2.*has ra and dec, or detector"),
    ],
)
def test_nothing_of_a_table_with_a_bad_line_is_taken(tmp_path: Path, text: str, says: str) -> None:
    with pytest.raises(UserError, match=says):
        of_file(_table(tmp_path, text))


def test_a_place_that_is_none_is_refused() -> None:
    with pytest.raises(UserError, match="not on an image"):
        one("a", {"detector": "ccd1", "y": -5.0, "x": 3.0})
