"""The store of light curves: all or nothing, made anew where it is another topic's or damaged."""

from __future__ import annotations

import sqlite3
from pathlib import Path

import numpy as np
import pytest

from data.joining.curve_store import CurveStore, Moved, StoreConflictError
from data.joining.whole_curve import WholeCurve, joined
from schemas.surveys.tess_increment import IncrementReader
from tests.data.curve_parts import encode, record


def curve(tic: int = 42, sector: int = 70, **changes: object) -> WholeCurve:
    return joined(None, IncrementReader().read(encode(record(tic, sector, **changes))))


def same(a: WholeCurve, b: WholeCurve) -> bool:
    return a.points.tobytes() == b.points.tobytes() and repr(a).split("points")[0] == repr(b).split("points")[0]


def test_curves_and_positions_come_back(tmp_path: Path) -> None:
    with CurveStore.open(tmp_path / "c", "one") as store:
        assert store.positions() == {}
        assert store.get(42, 70) is None
        store.commit([(curve(), 1000), (curve(43, tmag=None, baseline=None), 2000)], {0: Moved(None, 5), 2: Moved(None, 1)})
        store.commit([(curve(n=90), 500)], {0: Moved(5, 9)})
    with CurveStore.open(tmp_path / "c", "one") as store:
        assert store.positions() == {0: 9, 2: 1}
        found, other = store.get(42, 70), store.get(43, 70)
        assert found is not None
        assert other is not None
        assert same(found, curve(n=90))
        assert np.isnan([other.tmag, other.baseline]).all()
        assert store.newest_ms() == 2000
        assert store.forget(1500) == 1  # the later of its times counts: an increment read again does not make it older
        assert store.get(42, 70) is None
        assert store.count() == 1


def test_two_that_write_are_found_out(tmp_path: Path) -> None:
    with CurveStore.open(tmp_path / "c", "one") as first, CurveStore.open(tmp_path / "c", "one") as second:
        first.commit([(curve(n=90), 1)], {0: Moved(None, 9)})
        with pytest.raises(StoreConflictError):
            second.commit([(curve(n=10), 1)], {0: Moved(None, 5)})
        found = second.get(42, 70)
        assert found is not None
        assert len(found.points) == 90
        second.commit([], {0: Moved(9, 10)})
        assert first.positions() == {0: 10}


@pytest.mark.parametrize("damage", ["another topic", "no database", "cut short", "header"])
def test_another_topics_or_a_damaged_store_is_made_anew(tmp_path: Path, damage: str) -> None:
    path = tmp_path / "c"
    with CurveStore.open(path, "one") as store:
        store.commit([(curve(tic, n=2000), 1) for tic in range(1, 60)], {0: Moved(None, 5)})
    raw = path.read_bytes()
    assert len(raw) > 100_000
    if damage == "no database":
        path.write_bytes(b"hello " * 5000)
    elif damage == "cut short":
        path.write_bytes(raw[:5000])
    elif damage == "header":
        path.write_bytes(b"\x00" * 100 + raw[100:])
    with CurveStore.open(path, "two" if damage == "another topic" else "one") as store:
        assert store.positions() == {}
        assert store.count() == 0
        store.commit([(curve(), 1)], {0: Moved(None, 1)})


def test_a_store_that_is_locked_is_not_thrown_away(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    path = tmp_path / "c"
    with CurveStore.open(path, "one") as store:
        store.commit([(curve(), 1)], {0: Moved(None, 5)})
    real = sqlite3.connect
    monkeypatch.setattr(sqlite3, "connect", lambda *args, **options: real(*args, **{**options, "timeout": 0.05}))
    other = real(path, isolation_level=None)
    other.execute("BEGIN EXCLUSIVE")
    with pytest.raises(sqlite3.OperationalError), CurveStore.open(path, "two"):
        pass
    other.execute("ROLLBACK")
    other.close()
    with CurveStore.open(path, "one") as store:
        assert store.count() == 1


def test_room_is_used_again(tmp_path: Path) -> None:
    with CurveStore.open(tmp_path / "c", "one") as store:
        store.commit([(curve(tic, n=2000), 1) for tic in range(1, 30)], {0: Moved(None, 5)})
        full = store.used_bytes()
        assert full > 29 * 2000 * 24
        store.forget(2)
        assert store.used_bytes() < full / 5
