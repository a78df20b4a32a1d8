"""The golden comparison finds what changed, whatever the order and the types of the two files."""

from pathlib import Path

import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from errors import UserError
from tools import golden

CLASSES = [{"name": "sn-ia", "probability": 0.75}, {"name": "other", "probability": 0.25}]


def detection(candid: object, **changed: object) -> dict[str, object]:
    row: dict[str, object] = {
        "origin": f"{candid}.avro", "kind": "detection", "survey": "ztf", "candid": candid, "scoring_id": "a",
        "novelty": 0.25, "classes": CLASSES, "reason": None,
    }  # fmt: skip
    return row | changed


def rejected(origin: str, **changed: object) -> dict[str, object]:
    return detection(None, origin=origin, kind="rejected", novelty=None, classes=None, reason="truncated") | changed


def table(*rows: dict[str, object]) -> pa.Table:
    return pa.Table.from_pylist(list(rows))


def changed(found: golden.Comparison) -> dict[str, int]:
    return {c.name: c.changed for c in found.columns if c.changed}


def test_equal_files_are_equal_whatever_the_ids_the_type_of_candid_and_new_columns() -> None:
    old = table(detection(717261014415010100), detection(2, novelty=float("nan")), rejected("x.avro"))
    more = [c | {"prior_probability": 0.1} for c in CLASSES]
    new = table(
        detection("2", novelty=float("nan"), scoring_id="b", host="M31", classes=more),
        detection("717261014415010100", host=None, classes=more),
        rejected("x.avro", host=None),
    )
    found = golden.compare(old, new)
    assert found.equal
    assert found.matched == 3
    assert found.columns_new == ["host"]
    assert "scoring_id" in found.ignored


def test_a_change_is_found_counted_and_measured() -> None:
    old = table(detection(1), detection(2), detection(3))
    new = table(
        detection(1), detection(2, novelty=0.25000000000000006), detection(3, classes=[CLASSES[1] | {"probability": 0.5}, CLASSES[0]])
    )
    found = golden.compare(old, new)
    assert not found.equal
    assert changed(found) == {"novelty": 1, "classes": 1}
    by_name = {c.name: c for c in found.columns}
    assert by_name["novelty"].largest == pytest.approx(5.6e-17, rel=0.1)
    assert by_name["classes"].largest == 0.25  # sn-ia is compared with sn-ia although the order changed
    assert "ztf 3" in by_name["classes"].examples[0]
    assert "2 columns changed" in golden.show(found)
    assert golden.compare(old, new, ignore=["novelty", "classes"]).equal


def test_the_same_alert_twice_is_matched_in_order_and_a_missing_row_is_named() -> None:
    old = table(detection(1, novelty=0.1), detection(1, novelty=0.2), detection(5))
    new = table(detection(1, novelty=0.1), detection(1, novelty=0.2))
    found = golden.compare(old, new)
    assert changed(found) == {}
    assert found.only_old == ["ztf 5"]
    assert not found.equal


def test_a_packet_that_is_not_any_more_rejected_is_matched_by_its_origin() -> None:
    found = golden.compare(table(rejected("7.avro"), detection(1)), table(detection(7), detection(1)))
    assert found.matched == 2
    assert not found.only_old
    assert changed(found) == {"kind": 1, "candid": 1, "novelty": 1, "classes": 1, "reason": 1}


def test_a_renamed_column_is_compared_under_its_new_name() -> None:
    new = table(*({("surprise" if k == "novelty" else k): v for k, v in detection(c).items()} for c in (1, 2)))
    assert golden.compare(table(detection(1), detection(2)), new, rename={"novelty": "surprise"}).equal
    assert not golden.compare(table(detection(1), detection(2, novelty=0.5)), new, rename={"novelty": "surprise"}).equal


def test_what_cannot_be_compared_is_refused() -> None:
    with pytest.raises(UserError, match="no such column: nowelty"):
        golden.compare(table(detection(1)), table(detection(1)), ignore=["nowelty"])
    with pytest.raises(UserError, match="no column `kind`"):
        golden.compare(pa.table({"a": [1]}), table(detection(1)))
    with pytest.raises(UserError, match="no rows"):
        golden.compare(table(detection(1)), table(detection(1)).slice(0, 0))


def test_the_program_ends_with_what_it_found(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    for name, rows in (("old", [detection(1)]), ("same", [detection(1)]), ("new", [detection(1, novelty=1.0)])):
        pq.write_table(table(*rows), tmp_path / name)
    assert golden.main([str(tmp_path / "old"), str(tmp_path / "same")]) == 0
    assert golden.main([str(tmp_path / "old"), str(tmp_path / "new")]) == 1
    assert golden.main([str(tmp_path / "old"), str(tmp_path / "new"), "--ignore", "novelty"]) == 0
    (tmp_path / "text").write_text("no parquet")
    assert golden.main([str(tmp_path / "old"), str(tmp_path / "text")]) == 2
    said = capsys.readouterr()
    assert "1 columns changed" in said.out
    assert "cannot be read as parquet" in said.err
