"""What any history promises its readers and its one writer, whatever keeps it."""

from __future__ import annotations

import sqlite3
from collections.abc import Callable, Iterator
from functools import partial
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
import psycopg
import pytest

from data.history import engines
from data.history.cells import separation
from data.history.counting import Sample
from data.history.nights import begin_of, night_of, parse_night
from data.history.portion import AlertRow, HistoryConflictError, HistoryError, Moved, Place, Portion
from data.history.postgres_reader import PostgresReader
from data.history.postgres_writer import PostgresWriter
from data.history.sql_reader import SqlReader
from data.history.sql_writer import SqlWriter
from data.history.sqlite_reader import SqliteReader
from data.history.sqlite_writer import SqliteWriter
from data.history.store import AlertFilter, HistoryStore, ObjectFilter
from settings.model import Settings
from tests.data.history_rows import DETECTIONS, NIGHT_MS, embeddings, portion, reject, sky

EVERYTHING = frozenset({0, 2, 3})
NOTHING: frozenset[int] = frozenset()


class History(NamedTuple):
    writer: SqlWriter
    reader: HistoryStore
    fault: type[Exception]
    """What a row that cannot be written raises."""
    again: Callable[[], SqlWriter]
    """Another writer of the same history."""


@pytest.fixture(params=["sqlite", "postgres"])
def history(request: pytest.FixtureRequest, tmp_path: Path) -> Iterator[History]:
    reader: SqlReader[Any]
    make: Callable[[], SqlWriter]
    if request.param == "sqlite":
        make, reader = partial(SqliteWriter, tmp_path / "history"), SqliteReader(tmp_path / "history")
    else:
        url = request.getfixturevalue("postgres")
        make, reader = partial(PostgresWriter, url), PostgresReader(url)
    writer = make()
    yield History(writer, reader, sqlite3.IntegrityError if request.param == "sqlite" else psycopg.IntegrityError, make)
    reader.close()
    writer.close()


@pytest.fixture
def rows() -> list[AlertRow]:
    return sky(300)


def visible(rows: list[AlertRow], rights: frozenset[int]) -> list[AlertRow]:
    return [r for r in rows if r.programid == 1 or r.programid in rights]


def seen_alerts(reader: HistoryStore, rights: frozenset[int], wanted: AlertFilter = AlertFilter(), *, page: int = 7) -> list[int]:
    """Candids, over all pages."""
    found: list[int] = []
    before = None
    while rows := reader.alerts(wanted, private=rights, limit=page, before=before):
        found += [row.candid for row in rows]
        before = rows[-1].mjd, rows[-1].id
    return found


@pytest.mark.parametrize("rights", [NOTHING, frozenset({2}), EVERYTHING])
def test_every_alert_is_there_once_for_those_who_may_see_it(history: History, rows: list[AlertRow], rights: frozenset[int]) -> None:
    history.writer.commit(portion(rows[:100]))
    history.writer.commit(portion(rows[100:], before=100))
    wanted = sorted(visible(rows, rights), key=lambda r: -r.mjd)
    assert seen_alerts(history.reader, rights) == [r.candid for r in wanted]
    for r in rows[::17]:
        found = history.reader.alert(r.survey, r.candid, private=rights)
        if r not in wanted:
            assert found is None
            continue
        assert found is not None
        assert (found.body, found.origin, found.summary.object_id) == (r.body, r.origin, r.object_id)
        assert found.summary.packet_id == f"{r.survey}:{r.candid}:{r.digest.hex()}"


@pytest.mark.parametrize("rights", [NOTHING, EVERYTHING])
def test_an_object_is_the_sum_of_the_alerts_one_may_see(history: History, rows: list[AlertRow], rights: frozenset[int]) -> None:
    at = 0
    for size in (1, 50, 249):
        history.writer.commit(portion(rows[at : at + size], before=at or None))
        at += size
    for name in sorted({r.object_id for r in rows}):
        own = sorted((r for r in visible(rows, rights) if r.object_id == name), key=lambda r: r.mjd)
        found = history.reader.object(name, private=rights)
        points = history.reader.lightcurve(name, private=rights)
        assert [(p.candid, p.mjd, p.flux, p.flux_err, p.band) for p in points] == [
            (r.candid, r.mjd, r.flux, r.flux_err, r.band) for r in own
        ]
        if not own:
            assert found is None
            continue
        assert found is not None
        assert (found.n, found.first_mjd, found.last_mjd) == (len(own), own[0].mjd, own[-1].mjd)
        assert (found.ra, found.dec, found.class_name, found.novelty) == (own[0].ra, own[0].dec, own[-1].class_name, own[-1].novelty)
        assert [a.body for a in history.reader.records(name, private=rights, limit=3)] == [r.body for r in own[::-1][:3]]


def test_the_same_packet_again_replaces_its_record_and_counts_once(history: History, rows: list[AlertRow]) -> None:
    first = rows[0]
    again = first._replace(class_name="kilonova", body=b"scored anew", origin=first.origin and first.origin._replace(offset=900))
    revised = first._replace(digest=b"r" * 16, mjd=first.mjd + 0.5, body=b"revised")
    assert history.writer.commit(portion([first]))["new"] == 1
    assert history.writer.commit(portion([again, again], before=1))["again"] == 2
    assert history.writer.commit(portion([revised], before=3))["new"] == 1
    found = history.reader.object(first.object_id, private=EVERYTHING)
    assert found is not None
    assert found.n == 2
    newest = history.reader.alert(first.survey, first.candid, private=EVERYTHING)
    assert newest is not None
    assert newest.body == b"revised"
    assert len(newest.revisions) == 2
    older = history.reader.alert(first.survey, first.candid, private=EVERYTHING, packet_id=newest.revisions[1])
    assert older is not None
    assert (older.body, older.summary.class_name) == (b"scored anew", "kilonova")
    assert history.reader.alert(first.survey, first.candid, private=EVERYTHING, packet_id="ztf:1:00") is None


@pytest.mark.parametrize("radius", [2 / 3600, 0.5, 8.0])
def test_a_cone_is_what_a_look_at_every_object_finds(history: History, radius: float) -> None:
    rng = np.random.default_rng(7)
    ras, decs = rng.normal(0.0, 3, 400) % 360, rng.normal(85, 3, 400).clip(-90, 90)
    rows = [r._replace(ra=float(ras[i]), dec=float(decs[i]), object_id=f"O{i:04d}") for i, r in enumerate(sky(400))]
    history.writer.commit(portion(rows))
    for _ in range(20):
        ra, dec = float(rng.uniform(0, 360)), float(rng.uniform(78, 90))
        if radius < 0.1:
            ra, dec = rows[int(rng.integers(len(rows)))][5:7]
        own = visible(rows, NOTHING)
        away = separation(ra, dec, ras=np.array([r.ra for r in own]), decs=np.array([r.dec for r in own]))
        wanted = [own[i].object_id for i in np.lexsort((np.arange(len(own)), away)) if away[i] <= 3600 * radius]
        found = history.reader.cone(ra, dec, radius=radius, private=NOTHING, limit=1000)
        assert [near.object.object_id for near in found] == wanted
        pages, after, size = [], None, 3 if radius < 1 else 60
        while page := history.reader.cone(ra, dec, radius=radius, private=NOTHING, limit=size, after=after):
            pages += page
            after = page[-1].separation, page[-1].object.object_id
        assert pages == found


def test_filters_of_alerts_and_objects(history: History, rows: list[AlertRow]) -> None:
    history.writer.commit(portion(rows))
    own = sorted(visible(rows, NOTHING), key=lambda r: -r.mjd)
    first = {}
    for r in reversed(own):
        first.setdefault(r.object_id, r.mjd)
    cases = [
        (AlertFilter(class_name="tde", published=True), lambda r: r.class_name == "tde" and r.published),
        (
            AlertFilter(since_mjd=60_001, until_mjd=60_002, least_probability=0.3),
            lambda r: 60_001 <= r.mjd < 60_002 and r.probability >= 0.3,
        ),
        (
            AlertFilter(since_mjd=60_000.2, first_detected=True, least_novelty=0.1),
            lambda r: first[r.object_id] >= 60_000.2 and r.novelty >= 0.1,
        ),
        (AlertFilter(survey="lsst"), lambda r: False),
    ]
    for wanted, test in cases:
        assert seen_alerts(history.reader, NOTHING, wanted) == [r.candid for r in own if test(r)]
    last = {}
    for r in reversed(own):
        last[r.object_id] = r
    names = [name for name in sorted(last) if last[name].class_name == "agn" and last[name].novelty >= 0.2]
    found = history.reader.objects(ObjectFilter(class_name="agn", least_novelty=0.2), private=NOTHING, limit=100)
    assert [o.object_id for o in found] == names
    assert found == [history.reader.object(name, private=NOTHING) for name in names]
    some = history.reader.objects(ObjectFilter(ids=[*names[:2], "nothing"]), private=NOTHING, limit=100, after=names[0])
    assert [o.object_id for o in some] == names[1:2]


def test_neighbours_are_of_the_same_encoder_and_visible(history: History) -> None:
    rows = sky(200, objects=20, programs=(1,))
    vectors = embeddings(rows)
    hidden = [v._replace(object_id="ZTFhidden", programid=2) for v in vectors if v.object_id == rows[0].object_id]
    other = [v._replace(object_id="ZTFother", encoder_id="another") for v in vectors if v.object_id == rows[0].object_id]
    twin = [v._replace(object_id="ZTFtwin") for v in vectors if v.object_id == rows[0].object_id]
    history.writer.commit(portion(rows, vectors=[*vectors, *hidden, *other, *twin]))
    found = history.reader.neighbours(rows[0].object_id, private=NOTHING, limit=5)
    assert found is not None
    assert len(found) == 5
    assert found[0].object_id == "ZTFtwin"
    assert found[0].cosine > 0.999 > found[1].cosine
    assert {n.object_id for n in found}.isdisjoint({"ZTFhidden", "ZTFother", rows[0].object_id})
    seen = history.reader.neighbours(rows[0].object_id, private=EVERYTHING, limit=5)
    assert seen is not None
    assert {"ZTFhidden", "ZTFtwin"} == {n.object_id for n in seen[:2]}
    assert history.reader.neighbours("ZTFnone", private=EVERYTHING, limit=5) is None


def test_a_portion_is_written_whole_or_not_at_all(history: History, rows: list[AlertRow]) -> None:
    history.writer.commit(portion(rows[:10]))
    broken = portion(rows[10:20], before=10)
    broken.alerts[5] = broken.alerts[5]._replace(body=None)  # type: ignore[arg-type]
    with pytest.raises(history.fault):
        history.writer.commit(broken)
    assert history.writer.positions() == {DETECTIONS: 10}
    with pytest.raises(HistoryConflictError, match="only one"):
        history.writer.commit(portion(rows[10:20], before=4))
    assert len(seen_alerts(history.reader, EVERYTHING)) == 10
    history.writer.commit(portion(rows[10:20], before=10))
    assert len(seen_alerts(history.reader, EVERYTHING)) == 20


def test_texts_with_zero_bytes_and_numbers_that_are_none_stop_nothing(history: History, rows: list[AlertRow]) -> None:
    odd = rows[0]._replace(object_id="ZTF\x00'; DROP", novelty=float("nan"), probability=float("inf"), candid=-(1 << 63))
    history.writer.commit(portion([odd, rows[1]]))
    assert {r.candid for r in rows[:2] if r is not rows[0]} | {odd.candid} == set(seen_alerts(history.reader, EVERYTHING))
    found = history.reader.alert(odd.survey, odd.candid, private=EVERYTHING)
    assert found is not None
    assert (found.summary.novelty, found.summary.probability) == (None, float("inf"))
    assert history.reader.object(found.summary.object_id, private=EVERYTHING) is not None


def test_one_that_writes_again_goes_on_where_it_ended(history: History, rows: list[AlertRow]) -> None:
    history.writer.commit(portion(rows[:50], rejects=[reject(900)]))
    with history.again() as writer:  # as after a kill
        assert writer.positions() == {DETECTIONS: 50}
        assert writer.commit(portion(rows[40:60], before=50)) == {"new": 10, "again": 10, "rejected": 0, "embeddings": 0}
        assert writer.used_bytes() > 0
    assert len(seen_alerts(history.reader, EVERYTHING)) == 60


def test_of_two_writers_one_is_refused(history: History, rows: list[AlertRow]) -> None:
    with history.again() as other:
        history.writer.commit(portion(rows[:10]))
        with pytest.raises(HistoryConflictError):
            other.commit(portion(rows[:10]))
        assert other.commit(portion(rows[10:20], before=10))["new"] == 10


def test_read_again_from_the_start_gives_the_same_history(history: History, rows: list[AlertRow]) -> None:
    whole = portion(rows, rejects=[reject(900)], vectors=embeddings(rows))
    history.writer.commit(whole)
    before = [history.reader.object(r.object_id, private=EVERYTHING) for r in rows]
    history.writer.clear()
    assert seen_alerts(history.reader, EVERYTHING) == []
    history.writer.commit(whole)
    assert [history.reader.object(r.object_id, private=EVERYTHING) for r in rows] == before


def test_parts_of_a_night_hold_every_alert_once(history: History, rows: list[AlertRow]) -> None:
    history.writer.commit(portion([*rows, *(r._replace(candid=r.candid + 10**9, arrived_ms=r.arrived_ms + 86_400_000) for r in rows[:5])]))
    night = night_of(NIGHT_MS, "ztf")
    parts = history.reader.parts(night, private=NOTHING, rows=40)
    found = [body for part in parts for _, body in history.reader.bodies(night, private=NOTHING, first=part.first, last=part.last)]
    assert found == [r.body for r in visible(rows, NOTHING)]
    assert [part.rows for part in parts[:-1]] == [40] * (len(parts) - 1)
    assert sum(part.size for part in parts) == sum(map(len, found))
    seen = [r.origin for r in visible(rows, NOTHING)[:40] if r.origin]
    ends = {p: [o.offset for o in seen if o.partition == p] for p in (0, 1)}
    assert parts[0].offsets == tuple(("alerts.ztf", p, min(of), max(of)) for p, of in ends.items())
    assert sum(p.rows for p in history.reader.parts(night_of(NIGHT_MS + 86_400_000, "ztf"), private=EVERYTHING, rows=40)) == 5


def counted(history: History, samples: list[Sample], *, end: int, rights: frozenset[int] = EVERYTHING) -> dict[str, object]:
    """The counts of the night, its offsets from 0 to `end` on two partitions."""
    night = night_of(NIGHT_MS, "ztf")
    places = [Place("alerts.ztf", p) for p in (0, 1)]
    history.writer.nights([(night, place, 0) for place in places])
    history.writer.ends(dict.fromkeys(places, end), NIGHT_MS)
    for sample in samples:
        history.writer.settle([sample])
    [row] = history.reader.counts(night, private=rights)
    return row.plain()


def sample(partition: int, end: int, detections: int, rejected: int = 0, duplicates: int = 0, *, control: int = 0, base: int = 0) -> Sample:
    return Sample("alerts.ztf", partition, base, end, detections, rejected, duplicates, control, 0, 0, night_of(NIGHT_MS, "ztf"))


def test_a_night_adds_up(history: History) -> None:
    rows = sky(200, programs=(1, 2))  # offsets 0 to 99 of both partitions
    history.writer.commit(portion(rows, rejects=[reject(100), reject(101, reason="bad_avro", records=3, at=1)]))
    steps = [sample(0, 40, 40), sample(1, 100, 100), sample(0, 105, 100, 4, 1), sample(1, 110, 100, 0, 8, control=2)]
    found = counted(history, steps, end=120)
    assert found["state"] == "balanced"
    assert (found["in"], found["detections"], found["rejected"], found["duplicates"], found["in_hand"]) == (238, 200, 4, 9, 25)
    assert found["rejected_by_reason"] == {"bad_avro": 3, "truncated": 1}
    hidden = sum(r.programid == 2 for r in rows)
    public = counted(history, [], end=120, rights=NOTHING)
    assert (public["in"], public["detections"]) == (238 - hidden, 200 - hidden)
    assert public["state"] == "balanced"


def test_what_was_acknowledged_without_an_outcome_is_lost(history: History) -> None:
    rows = sky(100)
    sent = [r for r in rows if r.origin and not (r.origin.partition == 1 and 20 <= r.origin.offset < 27)]
    history.writer.commit(portion(sent))
    found = counted(history, [sample(0, 30, 30), sample(0, 50, 50), sample(1, 10, 10), sample(1, 50, 43)], end=50)
    assert (found["state"], found["lost"], found["in"], found["detections"]) == ("loss", 7, 100, 93)


def test_a_worker_that_only_says_that_it_sent_is_caught(history: History) -> None:
    rows = [r for r in sky(100) if r.origin and not (r.origin.partition == 0 and r.origin.offset == 31)]
    history.writer.commit(portion(rows))
    found = counted(history, [sample(0, 10, 10), sample(0, 50, 50), sample(1, 50, 50)], end=50)
    assert (found["state"], found["lost"], found["detections"], found["duplicates"]) == ("loss", 1, 99, 0)


def test_what_was_committed_before_the_history_began_is_unknown(history: History) -> None:
    rows = [r for r in sky(100) if r.origin and r.origin.offset >= 20]
    history.writer.commit(portion(rows))
    found = counted(history, [sample(0, 50, 48, 0, 2), sample(1, 50, 50)], end=50)
    assert (found["state"], found["lost"], found["in"]) == ("unknown", 0, 100)
    assert found["uncounted"] == 100 - 60 - found["duplicates"]  # type: ignore[operator]


def test_a_group_set_back_is_counted_anew(history: History) -> None:
    history.writer.commit(portion(sky(100)))
    found = counted(history, [sample(0, 50, 48, 0, 2), sample(1, 50, 50), sample(0, 50, 30, base=20)], end=50)
    assert (found["detections"], found["lost"], found["in"]) == (100, 0, 100)


def test_a_topic_made_anew_loses_its_offsets_and_no_alert(history: History) -> None:
    rows = sky(100)
    history.writer.commit(portion(rows))
    assert history.writer.same_topics({"alerts.ztf": "a", "detections": "b"}) == []
    counted(history, [sample(0, 50, 50)], end=50)
    assert history.writer.same_topics({"alerts.ztf": "c", "detections": "b"}) == ["alerts.ztf"]
    assert history.reader.counts(night_of(NIGHT_MS, "ztf"), private=EVERYTHING) == []
    assert len(seen_alerts(history.reader, EVERYTHING)) == 100
    assert history.writer.same_topics({"detections": "d"}) == ["detections"]
    assert history.writer.positions() == {}


def test_rejected_packets_the_latest_first(history: History) -> None:
    entries = [reject(i, reason="truncated" if i % 3 else "bad_avro", at=i) for i in range(20)]
    history.writer.commit(Portion(rejects=entries, moved={DETECTIONS: Moved(None, 1)}))
    history.writer.commit(Portion(rejects=[entries[4]], moved={DETECTIONS: Moved(1, 2)}))
    found = history.reader.rejects(limit=5)
    assert len(found) == 5
    assert found[0].packet.origin == entries[4].origin
    more = history.reader.rejects(limit=100, before=found[-1].id, error_class="bad_avro")
    assert [r.packet.origin.offset for r in more] == [15, 12, 9, 6, 3, 0]


def test_a_damaged_file_is_made_anew_and_a_missing_one_is_reported(tmp_path: Path, rows: list[AlertRow]) -> None:
    reader = SqliteReader(tmp_path)
    with pytest.raises(HistoryError, match="cannot be read"):
        reader.object("ZTF1", private=NOTHING)
    (tmp_path / "history.sqlite").write_bytes(b"not a database, but long enough to be one" * 100)
    with SqliteWriter(tmp_path) as writer:
        writer.commit(portion(rows))
        assert len(seen_alerts(reader, EVERYTHING)) == len(rows)
    reader.close()
    assert (tmp_path / "history.sqlite").stat().st_mode & 0o077 == 0


def test_a_database_that_is_away_is_reported_without_its_secrets(postgres: str) -> None:
    reader = PostgresReader(postgres)
    with pytest.raises(HistoryError, match="cannot be read"):
        reader.object("ZTF1", private=NOTHING)  # no historian was here
    with PostgresWriter(postgres):
        assert reader.object("ZTF1", private=NOTHING) is None
    reader.close()
    away = Settings(history="postgresql://me:s3cret@127.0.0.1:9/sky")
    with pytest.raises(HistoryError, match=r"127\.0\.0\.1") as caught, engines.writing(away):
        pass
    assert "s3cret" not in str(caught.value)
    with pytest.raises(HistoryError, match=r"127\.0\.0\.1:9/sky") as caught:
        engines.reader(away).object("ZTF1", private=NOTHING)
    assert "s3cret" not in str(caught.value)


def test_nights_begin_where_the_survey_says() -> None:
    assert night_of(NIGHT_MS, "ztf") == 20251108
    assert night_of(NIGHT_MS + 11 * 3_600_000, "lsst") == 20251107
    assert night_of(NIGHT_MS + 12 * 3_600_000, "lsst") == 20251108
    for survey in ("ztf", "lsst"):
        assert night_of(begin_of(20260101, survey), survey) == 20260101
        assert night_of(begin_of(20260101, survey) - 1, survey) == 20251231
    assert parse_night("2026-01-31") == parse_night("20260131") == 20260131
    with pytest.raises(ValueError):
        parse_night("2026-02-30")
