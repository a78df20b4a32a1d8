"""A taught class as a file: it comes back whole, and a damaged one is refused in one line."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import pytest

from console import class_file
from errors import UserError
from schemas.records.class_record import ClassRecord
from streams.class_document import document_of

RECORD = ClassRecord(
    "fast-blue", 2, "ada", "", "", ("ztf:1:ab",), ("ZTF1",), (False,), "e" * 16, "h" * 64, bytes(8), bytes(8), bytes(4),
    bytes(8), bytes(20), 0.5, 0.25, 0.5, 0.03125, 0.75, 0.5, 0.5, 100, 1000,
)  # fmt: skip


def test_it_comes_back(tmp_path: Path) -> None:
    file = tmp_path / "class.json"
    class_file.write(file, document_of(RECORD, {"ztf:1:ab": b"\x00packet\xff"}))
    assert class_file.read(file) == (RECORD, {"ztf:1:ab": b"\x00packet\xff"})
    assert sorted(p.name for p in tmp_path.iterdir()) == ["class.json"]


@pytest.mark.parametrize(
    "damage",
    [
        lambda text: text[: len(text) // 2],
        lambda text: b"[]",
        lambda text: b"\xff\xfe",
        lambda text: text.replace(b"protonova-class-1", b"protonova-class-9"),
        lambda text: text.replace(b'"record": "', b'"record": "!!'),
        lambda text: text.replace(b'"packets": {', b'"packets": {"x": 3, '),
    ],
)
def test_a_damaged_one_is_refused(tmp_path: Path, damage: Callable[[bytes], bytes]) -> None:
    file = tmp_path / "class.json"
    class_file.write(file, document_of(RECORD, {"ztf:1:ab": b"p"}))
    file.write_bytes(damage(file.read_bytes()))
    with pytest.raises(UserError, match="is not a class"):
        class_file.read(file)
