"""Questions about the past → SQL that both engines know → rows, while one process writes. A connection a thread."""

from __future__ import annotations

import threading
import time
from abc import ABC, abstractmethod
from collections.abc import Callable, Collection, Iterable, Sequence
from typing import Any, Generic, NamedTuple, Protocol, TypeVar

import numpy as np
import numpy.typing as npt

from data.history import sql_counts
from data.history.cells import ranges, separation
from data.history.counting import TopicNight
from data.history.database import Database
from data.history.portion import HistoryError, Origin, RejectRow
from data.history.store import (
    PUBLIC,
    AlertFilter,
    AlertSummary,
    Near,
    Neighbour,
    ObjectFilter,
    ObjectRow,
    Part,
    PointRow,
    RejectedRow,
    Rights,
    StoredAlert,
)
from errors import one_line

NEIGHBOURS_AMONG = 200_000
"""The objects observed last, among which neighbours are looked for [1]."""
NEIGHBOURS_FRESH_S = 60.0
"""How long their embeddings are kept in memory [s]."""

OBJECT = "object_id, survey, ra, dec, n, first_mjd, last_mjd, class, probability, novelty"
_POINT = "survey, candid, ra, dec, mjd, band, flux, flux_err, class, probability, novelty, programid"
_SUMMARY = (
    "a.id, a.survey, a.candid, a.digest, a.object_id, a.programid, a.mjd, a.class, a.probability, a.published, a.novelty, a.arrived_ms"
)
_RECORD = f'{_SUMMARY}, t.name, a.partition, a."offset", a.schema_id, a.body'
_SCANNED = (
    "a.id, a.object_id, a.survey, a.candid, a.digest, a.programid, d.ra, d.dec, d.mjd, d.band, d.flux, d.flux_err, a.class, a.probability,"
    " a.published, a.novelty, a.arrived_ms"
)
_REJECT = """r.id, t.name, r.partition, r."offset", records, survey, error_class, reason, attempt, size, complete, arrived_ms,
    at_partition, at_offset"""

_T = TypeVar("_T")


class _Embeddings(NamedTuple):
    """Latest embeddings of objects, of unit length."""

    loaded: float
    ids: list[tuple[str, str]]
    vectors: npt.NDArray[np.float32]


class Connection(Database, Protocol):
    """A reader's, of one thread."""

    def close(self) -> None:
        """End it."""
        ...


_C = TypeVar("_C", bound=Connection)


class SqlReader(ABC, Generic[_C]):
    """A history for readers; see `store.HistoryStore`. What an engine says in its own way is abstract or replaced."""

    ALERTS = "alerts a"
    """Where one alert is found by its survey and candid."""
    ALERT = "a"
    """The table of these that knows survey and candid."""
    SAME_ALERT = "a.id = d.alert"
    """A detection's alert."""
    FAULTS: tuple[type[Exception], ...] = ()
    """What the engine raises."""

    def __init__(self) -> None:
        self._own = threading.local()
        self._open: list[_C] = []
        self._embeddings: dict[tuple[str, str], _Embeddings] = {}
        self._lock = threading.Lock()

    @abstractmethod
    def where(self) -> str:
        """Name the history for a message."""

    @abstractmethod
    def _connect(self) -> _C:
        """Make a connection."""

    @abstractmethod
    def _grouped(self, condition: str, seen: Callable[[str], str]) -> str:
        """Sum the rows of objects under a condition to one an object and survey, in their order; its columns are those of `OBJECT`."""

    def _within(self, cells: Sequence[tuple[int, int]], seen: str) -> list[Any]:
        """The rows of objects whose cells are in ranges."""
        rows: list[Any] = []
        for first, end in cells:
            rows += self._ask(f"SELECT {OBJECT} FROM objects WHERE cell >= ? AND cell < ? AND {seen}", (first, end))
        return rows

    def close(self) -> None:
        """Close the connections of all threads."""
        with self._lock:
            for db in self._open:
                db.close()
            self._open.clear()
        self._own = threading.local()

    def object(self, object_id: str, *, private: Rights) -> ObjectRow | None:
        """An object by its name."""
        rows = self._ask(f"SELECT {OBJECT} FROM objects WHERE object_id = ? AND {_seen(private)}", (object_id,))
        return next(iter(_merged(rows)), None)

    def objects(self, wanted: ObjectFilter, *, private: Rights, limit: int, after: str | None = None) -> list[ObjectRow]:
        """Objects in the order of their names."""
        where, values = [_seen(private)], list[Any]()
        if after is not None:
            where.append("object_id > ?")
            values.append(after)
        if wanted.ids is not None:
            where.append(f"object_id IN ({', '.join('?' * len(wanted.ids))})")
            values += wanted.ids
        if wanted.survey is not None:
            where.append("survey = ?")
            values.append(wanted.survey)
        tests = (
            ("n >= ?", wanted.least_detections), ("last_mjd >= ?", wanted.since_mjd), ("last_mjd < ?", wanted.until_mjd),
            ("first_mjd >= ?", wanted.first_since_mjd), ("first_mjd < ?", wanted.first_until_mjd), ("class = ?", wanted.class_name),
            ("probability >= ?", wanted.least_probability), ("novelty >= ?", wanted.least_novelty),
        )  # fmt: skip
        grouped = self._grouped(" AND ".join(where), lambda prefix: _seen(private, prefix))
        outer = [test for test, value in tests if value is not None] or ["1 = 1"]
        values += [value for _, value in tests if value is not None]
        return [ObjectRow(*row) for row in self._ask(f"SELECT * FROM ({grouped}) g WHERE {' AND '.join(outer)} LIMIT ?", (*values, limit))]

    def cone(
        self, ra: float, dec: float, *, radius: float, private: Rights, limit: int, after: tuple[float, str] | None = None
    ) -> list[Near]:
        """Objects within a radius [deg] of a place, the nearest first."""
        rows = self._within(ranges(ra, dec, radius=radius), _seen(private))
        if not rows:
            return []
        found = _merged(rows)
        away = separation(ra, dec, ras=np.array([o.ra for o in found]), decs=np.array([o.dec for o in found]))
        near = sorted((float(away[i]), found[i].object_id, i) for i in np.flatnonzero(away <= 3600 * radius))
        if after is not None:
            near = [entry for entry in near if entry[:2] > after]
        return [Near(distance, found[i]) for distance, _, i in near[:limit]]

    def lightcurve(self, object_id: str, *, private: Rights) -> list[PointRow]:
        """Every detection of an object, the oldest first."""
        rows = self._ask(f"SELECT {_POINT} FROM detections WHERE object_id = ? AND {_seen(private)}", (object_id,))
        return sorted((PointRow(*row) for row in rows), key=lambda p: (p.mjd, p.candid))

    def records(self, object_id: str, *, private: Rights, limit: int, before: tuple[float, int] | None = None) -> list[StoredAlert]:
        """The alerts of an object with their records, the newest first."""
        rows = self._ask(
            f"SELECT {_RECORD} FROM detections d JOIN alerts a ON {self.SAME_ALERT} LEFT JOIN topics t ON t.id = a.topic"
            f" WHERE d.object_id = ? AND {_seen(private, 'd.')} {'AND (d.mjd, d.alert) < (?, ?)' if before else ''}"
            " ORDER BY d.mjd DESC, d.alert DESC LIMIT ?",
            (object_id, *(before or ()), limit),
        )
        return [_stored(row) for row in rows]

    def alert(self, survey: str, candid: int, *, private: Rights, packet_id: str | None = None) -> StoredAlert | None:
        """An alert, the newest revision of it unless one is named."""
        rows = self._ask(
            f"SELECT {_RECORD} FROM {self.ALERTS} LEFT JOIN topics t ON t.id = a.topic"
            f" WHERE {self.ALERT}.survey = ? AND {self.ALERT}.candid = ?"
            f" AND {_seen(private, 'a.')} ORDER BY a.id DESC",
            (survey, candid),
        )
        found = [_stored(row) for row in rows]
        names = tuple(alert.summary.packet_id for alert in found)
        chosen = next((alert for alert in found if packet_id in (None, alert.summary.packet_id)), None)
        return None if chosen is None else chosen._replace(revisions=names)

    def alerts(self, wanted: AlertFilter, *, private: Rights, limit: int, before: tuple[float, int] | None = None) -> list[AlertSummary]:
        """Alerts, the latest observed first."""
        tests = [
            ("a.survey = ?", wanted.survey), ("a.class = ?", wanted.class_name), ("a.published = ?", wanted.published),
            ("a.probability >= ?", wanted.least_probability), ("a.novelty >= ?", wanted.least_novelty),
        ]  # fmt: skip
        if wanted.first_detected:
            first = (
                f"(SELECT min(first_mjd) FROM objects o WHERE o.object_id = a.object_id AND o.survey = a.survey AND {_seen(private, 'o.')})"
            )
            tests += [(f"{first} >= ?", wanted.since_mjd), (f"{first} < ?", wanted.until_mjd)]
        else:
            tests += [("a.mjd >= ?", wanted.since_mjd), ("a.mjd < ?", wanted.until_mjd)]
        where = [_seen(private, "a."), *(test for test, value in tests if value is not None)]
        values: list[Any] = [value for _, value in tests if value is not None]
        if before is not None:
            where.append("(a.mjd, a.id) < (?, ?)")
            values += before
        rows = self._ask(
            f"SELECT {_SUMMARY} FROM alerts a WHERE {' AND '.join(where)} ORDER BY a.mjd DESC, a.id DESC LIMIT ?", (*values, limit)
        )
        return [_summary(row) for row in rows]

    def neighbours(self, object_id: str, *, private: Rights, limit: int) -> list[Neighbour] | None:
        """Objects with embeddings like this one's, of the same encoder."""
        own = self._ask(
            f"SELECT encoder_id, survey, vector FROM embeddings WHERE object_id = ? AND {_seen(private)} ORDER BY mjd DESC LIMIT 1",
            (object_id,),
        )
        if not own:
            return None
        encoder, survey, vector = own[0]
        known = self._vectors(encoder, _seen(private))
        [mine] = _unit([vector])
        cosines = known.vectors @ mine if len(known.ids) and known.vectors.shape[1] == len(mine) else np.empty(0, np.float32)
        best = np.argsort(-cosines, kind="stable")[: limit + 1].tolist()
        near = [Neighbour(float(cosines[i]), *known.ids[i]) for i in best if known.ids[i] != (object_id, survey)]
        return near[:limit]

    def rejects(self, *, limit: int, before: int | None = None, error_class: str | None = None) -> list[RejectedRow]:
        """Rejected packets, the latest first."""
        tests = [(test, value) for test, value in (("r.id < ?", before), ("error_class = ?", error_class)) if value is not None]
        where = " AND ".join(["1 = 1", *(test for test, _ in tests)])
        rows = self._ask(
            f"SELECT {_REJECT} FROM rejects r JOIN topics t ON t.id = r.topic WHERE {where} ORDER BY r.id DESC LIMIT ?",
            (*(value for _, value in tests), limit),
        )
        return [RejectedRow(row[0], RejectRow._make([Origin(*row[1:4]), *row[4:10], bool(row[10]), *row[11:]])) for row in rows]

    def counts(self, night: int, *, private: Rights) -> list[TopicNight]:
        """What became of a night's packets."""
        return self._with(lambda db: sql_counts.night_counts(db, night, programs={PUBLIC, *private}))

    def parts(self, night: int, *, private: Rights, rows: int) -> list[Part]:
        """The alerts of a night, cut into parts."""
        found = self._ask(
            'SELECT a.id, updates, length(body), t.name, a.partition, a."offset" FROM alerts a LEFT JOIN topics t ON t.id = a.topic'
            f" WHERE night = ? AND {_seen(private)} ORDER BY a.id",
            (night,),
        )
        return [_part(found[i : i + rows]) for i in range(0, len(found), rows)]

    def bodies(self, night: int, *, private: Rights, first: int, last: int) -> list[tuple[int, bytes]]:
        """Schema id and record of the alerts of a part."""
        where = f"night = ? AND id BETWEEN ? AND ? AND {_seen(private)}"
        return self._ask(f"SELECT schema_id, body FROM alerts WHERE {where} ORDER BY id", (night, first, last))

    def night_points(self, night: int, *, programs: Collection[int], after: int, limit: int) -> list[Any]:
        """The alerts of a night behind a number, with what is measured of them: rows of `nightly_scans.DETECTIONS` behind the number."""
        return self._ask(
            f"SELECT {_SCANNED} FROM alerts a JOIN detections d ON d.object_id = a.object_id AND {self.SAME_ALERT}"
            f" WHERE a.night = ? AND a.id > ? AND a.programid IN ({', '.join(map(str, sorted(programs)))}) ORDER BY a.id LIMIT ?",
            (night, after, limit),
        )

    def object_rows(self, *, programs: Collection[int], after: tuple[str, str, int], limit: int) -> list[Any]:
        """Rows of objects, by programid, behind one: those of `nightly_scans.OBJECTS`."""
        return self._ask(
            "SELECT object_id, survey, programid, ra, dec, n, first_mjd, last_mjd, class, probability, novelty FROM objects"
            f" WHERE (object_id, survey, programid) > (?, ?, ?) AND programid IN ({', '.join(map(str, sorted(programs)))})"
            " ORDER BY object_id, survey, programid LIMIT ?",
            (*after, limit),
        )

    def known_alert_nights(self) -> list[int]:
        """Nights with alerts, the first one first: each is found behind the one before, not by a look at every alert."""
        found: list[int] = []
        while True:
            [(night,)] = self._ask("SELECT min(night) FROM alerts WHERE night > ?", (found[-1] if found else 0,))
            if night is None:
                return found
            found.append(night)

    def _vectors(self, encoder: str, seen: str) -> _Embeddings:
        with self._lock:
            known = self._embeddings.get((encoder, seen))
        if known is None or time.monotonic() - known.loaded > NEIGHBOURS_FRESH_S:
            rows = self._ask(
                f"SELECT object_id, survey, vector FROM embeddings WHERE encoder_id = ? AND {seen} ORDER BY mjd DESC LIMIT ?",
                (encoder, NEIGHBOURS_AMONG),
            )
            known = _Embeddings(time.monotonic(), [row[:2] for row in rows], _unit([row[2] for row in rows]))
            with self._lock:
                self._embeddings = {(encoder, seen): known}  # one at a time: they have 100 MB
        return known

    def _ask(self, question: str, values: Sequence[Any] = ()) -> list[Any]:
        return self._with(lambda db: db.execute(question, values).fetchall())

    def _with(self, ask: Callable[[_C], _T]) -> _T:
        """Ask over this thread's connection.

        Raises
        ------
        HistoryError
            There is no history yet, or it cannot be read.
        """
        db: _C | None = getattr(self._own, "db", None)
        try:
            if db is None:
                db = self._own.db = self._connect()
                with self._lock:
                    self._open.append(db)
            return ask(db)
        except self.FAULTS as error:
            self._own.db = None
            if db is not None:
                with self._lock:
                    if db in self._open:
                        self._open.remove(db)
                db.close()
            raise HistoryError(f"the history ({self.where()}) cannot be read: {one_line(error, 200)}") from error


def _seen(private: Rights, prefix: str = "") -> str:
    """The condition for rows that a caller may see."""
    programs = sorted({PUBLIC, *map(int, private)})
    return f"{prefix}programid = {PUBLIC}" if programs == [PUBLIC] else f"{prefix}programid IN ({', '.join(map(str, programs))})"


def _merged(rows: Iterable[tuple[Any, ...]]) -> list[ObjectRow]:
    """Rows of objects by programid → one an object and survey."""
    found: dict[tuple[str, str], ObjectRow] = {}
    for values in rows:
        row = ObjectRow(*values)
        known = found.get(row[:2])
        if known is None:
            found[row[:2]] = row
            continue
        first, last = sorted((known, row), key=lambda r: r.first_mjd)[0], sorted((known, row), key=lambda r: r.last_mjd)[1]
        found[row[:2]] = last._replace(ra=first.ra, dec=first.dec, n=known.n + row.n, first_mjd=first.first_mjd)
    return list(found.values())


def _summary(row: Sequence[Any]) -> AlertSummary:
    number, survey, candid, digest, *rest = row[:12]
    values = [*rest[:5], bool(rest[5]), *rest[6:]]
    return AlertSummary(number, survey, candid, f"{survey}:{candid}:{digest.hex()}", *values)


def _stored(row: Sequence[Any]) -> StoredAlert:
    summary = _summary(row)
    origin = None if row[12] is None else Origin(*row[12:15])
    return StoredAlert(summary, origin, (summary.packet_id,), row[15], row[16])


def _part(rows: Sequence[Any]) -> Part:
    offsets: dict[tuple[str, int], list[int]] = {}
    for *_, topic, partition, offset in rows:
        if topic is not None:
            offsets.setdefault((topic, partition), []).append(offset)
    places = tuple((*place, min(found), max(found)) for place, found in sorted(offsets.items()))
    return Part(rows[0][0], rows[-1][0], len(rows), sum(row[1] for row in rows), sum(row[2] for row in rows), places)


def _unit(vectors: Sequence[bytes]) -> npt.NDArray[np.float32]:
    """Vectors of unit length (n, E); those of another length than the first are zero."""
    if not vectors:
        return np.empty((0, 0), np.float32)
    size = len(vectors[0])
    whole = b"".join(v if len(v) == size else bytes(size) for v in vectors)
    found = np.frombuffer(whole, "<f2").astype(np.float32).reshape(len(vectors), -1)
    lengths = np.linalg.norm(found, axis=1, keepdims=True)
    return np.asarray(found / np.where(lengths > 0, lengths, 1.0), np.float32)
