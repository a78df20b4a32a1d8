"""The historian's scans: a night that is over is written once, tonight is not."""

from __future__ import annotations

from pathlib import Path

from data.history import engines
from data.history.nights import DAY_MS
from settings.model import Settings
from streams.agents.history_scans import LOOK_EVERY_S, NightlyScans
from tests.data.history_rows import NIGHT_MS, portion, sky

HOUR_MS = 3_600_000


async def test_a_night_that_is_over_is_written_once(tmp_path: Path) -> None:
    settings = Settings(state=tmp_path, history_scans=True)
    rows = sky(50)
    tonight = [r._replace(candid=r.candid + 10**9, arrived_ms=r.arrived_ms + DAY_MS) for r in rows[:5]]
    with engines.writing(settings) as writer:
        writer.commit(portion([*rows, *tonight]))
    scans, now = NightlyScans(settings), (NIGHT_MS + DAY_MS + 12 * HOUR_MS) / 1000
    scans.look(now)  # at noon the night before may still get rows
    await scans.end()
    assert not (settings.scans_path() / "public").exists()
    now += 7 * 3600
    scans.look(now)
    await scans.end()
    public = settings.scans_path() / "public"
    assert sorted(path.name for path in public.iterdir()) == ["detections-2025-11-08", "objects"]
    written = (public / "detections-2025-11-08" / "properties").stat().st_mtime_ns
    scans.look(now + LOOK_EVERY_S)
    await scans.end()
    assert (public / "detections-2025-11-08" / "properties").stat().st_mtime_ns == written
    off = NightlyScans(Settings(state=tmp_path / "elsewhere"))
    off.look(now)
    await off.end()
    assert not (tmp_path / "elsewhere").exists()
