"""The history as one SQLite file: its tables, and how it is opened.

`alerts` grows at its end and holds each record whole. `detections` lies in the order of objects, so that a light curve is one read.
`objects` has a row an object, survey and programid, so that what a caller may see of an object is a sum of rows; its place is that of the
first detection and is indexed by cell.
"""

from __future__ import annotations

import os
import sqlite3
from contextlib import closing, suppress
from pathlib import Path

from settings.private import private_file

FORMAT = "2"
FILE = "history.sqlite"
PAGE_BYTES = 8192
BUSY_S = 10.0
"""How long a statement waits for a lock [s]."""
MAPPED_BYTES = 8 << 30
"""Of the file that is read through the page cache without copying, at most."""

TABLES = """
CREATE TABLE IF NOT EXISTS facts (name TEXT PRIMARY KEY, value TEXT NOT NULL) WITHOUT ROWID;
CREATE TABLE IF NOT EXISTS positions (topic TEXT, partition INTEGER, next INTEGER NOT NULL, PRIMARY KEY (topic, partition)) WITHOUT ROWID;
CREATE TABLE IF NOT EXISTS topics (id INTEGER PRIMARY KEY, name TEXT NOT NULL UNIQUE, mark TEXT NOT NULL DEFAULT '');
CREATE TABLE IF NOT EXISTS alerts (
    id INTEGER PRIMARY KEY, survey TEXT NOT NULL, candid INTEGER NOT NULL, digest BLOB NOT NULL, object_id TEXT NOT NULL,
    programid INTEGER NOT NULL, mjd REAL, class TEXT NOT NULL, probability REAL, published INTEGER NOT NULL, novelty REAL,
    night INTEGER NOT NULL, arrived_ms INTEGER NOT NULL, topic INTEGER, partition INTEGER, "offset" INTEGER,
    updates INTEGER NOT NULL DEFAULT 0, schema_id INTEGER NOT NULL, body BLOB NOT NULL);
CREATE UNIQUE INDEX IF NOT EXISTS alerts_packet ON alerts (survey, candid, digest);
CREATE INDEX IF NOT EXISTS alerts_class ON alerts (class, mjd);
CREATE INDEX IF NOT EXISTS alerts_time ON alerts (mjd);
CREATE INDEX IF NOT EXISTS alerts_night ON alerts (night);
CREATE TABLE IF NOT EXISTS detections (
    object_id TEXT NOT NULL, alert INTEGER NOT NULL, night INTEGER NOT NULL, survey TEXT NOT NULL, candid INTEGER NOT NULL,
    programid INTEGER NOT NULL, ra REAL, dec REAL, mjd REAL, band TEXT NOT NULL, flux REAL, flux_err REAL,
    class TEXT NOT NULL, probability REAL, novelty REAL, PRIMARY KEY (object_id, alert)) WITHOUT ROWID;
CREATE TABLE IF NOT EXISTS objects (
    object_id TEXT NOT NULL, survey TEXT NOT NULL, programid INTEGER NOT NULL, cell INTEGER NOT NULL, ra REAL, dec REAL,
    n INTEGER NOT NULL, first_mjd REAL, last_mjd REAL, last_alert INTEGER NOT NULL, class TEXT NOT NULL, probability REAL, novelty REAL,
    PRIMARY KEY (object_id, survey, programid)) WITHOUT ROWID;
CREATE INDEX IF NOT EXISTS objects_place ON objects (cell);
CREATE TABLE IF NOT EXISTS embeddings (
    object_id TEXT NOT NULL, survey TEXT NOT NULL, programid INTEGER NOT NULL, mjd REAL, encoder_id TEXT NOT NULL, vector BLOB NOT NULL,
    PRIMARY KEY (object_id, survey, programid)) WITHOUT ROWID;
CREATE INDEX IF NOT EXISTS embeddings_time ON embeddings (mjd);
CREATE TABLE IF NOT EXISTS rejects (
    id INTEGER PRIMARY KEY, topic INTEGER NOT NULL, partition INTEGER NOT NULL, "offset" INTEGER NOT NULL, records INTEGER NOT NULL,
    survey TEXT, error_class TEXT NOT NULL, reason TEXT NOT NULL, attempt INTEGER NOT NULL, size INTEGER NOT NULL,
    complete INTEGER NOT NULL, arrived_ms INTEGER NOT NULL, at_partition INTEGER NOT NULL, at_offset INTEGER NOT NULL);
CREATE UNIQUE INDEX IF NOT EXISTS rejects_origin ON rejects (topic, partition, "offset");
CREATE INDEX IF NOT EXISTS rejects_reason ON rejects (error_class);
CREATE TABLE IF NOT EXISTS inputs (
    topic INTEGER, partition INTEGER, "offset" INTEGER, outcome INTEGER NOT NULL, records INTEGER NOT NULL,
    PRIMARY KEY (topic, partition, "offset")) WITHOUT ROWID;
CREATE TABLE IF NOT EXISTS unplaced (night INTEGER, survey TEXT, n INTEGER NOT NULL, PRIMARY KEY (night, survey)) WITHOUT ROWID;
CREATE TABLE IF NOT EXISTS ledgers (
    topic INTEGER, partition INTEGER, base INTEGER, next INTEGER, detections INTEGER, rejected INTEGER, duplicates INTEGER,
    control INTEGER, aborted INTEGER, gone INTEGER, PRIMARY KEY (topic, partition)) WITHOUT ROWID;
CREATE TABLE IF NOT EXISTS spans (
    topic INTEGER, partition INTEGER, first INTEGER, next INTEGER, night INTEGER, detections INTEGER, rejected INTEGER, duplicates INTEGER,
    control INTEGER, aborted INTEGER, gone INTEGER, stored_detections INTEGER, stored_rejected INTEGER,
    PRIMARY KEY (topic, partition, first)) WITHOUT ROWID;
CREATE TABLE IF NOT EXISTS nights (night INTEGER, topic INTEGER, partition INTEGER, first INTEGER NOT NULL,
    PRIMARY KEY (night, topic, partition)) WITHOUT ROWID;
CREATE TABLE IF NOT EXISTS ends (topic INTEGER, partition INTEGER, next INTEGER NOT NULL, seen_ms INTEGER NOT NULL,
    PRIMARY KEY (topic, partition)) WITHOUT ROWID;
"""
NAMES = ("positions", "topics", "alerts", "detections", "objects", "embeddings", "rejects", "inputs", "unplaced", "ledgers", "spans",
         "nights", "ends")  # fmt: skip
"""Tables of rows; `facts` apart."""


def open_writer(path: Path) -> sqlite3.Connection:
    """Open a history for writing and make what is missing; one of another format is emptied."""
    os.close(private_file(path, append=True))  # its journal gets the same mode
    db = sqlite3.connect(path, isolation_level=None, timeout=BUSY_S, check_same_thread=False, cached_statements=256)
    try:
        for pragma in (f"page_size = {PAGE_BYTES}", "journal_mode = WAL", "synchronous = NORMAL", "cache_size = -65536",
                       f"mmap_size = {MAPPED_BYTES}", "wal_autocheckpoint = 0", "temp_store = MEMORY",
                       "journal_size_limit = 0"):  # fmt: skip
            db.execute(f"PRAGMA {pragma}")
        db.executescript("CREATE TABLE IF NOT EXISTS facts (name TEXT PRIMARY KEY, value TEXT NOT NULL) WITHOUT ROWID")
        found = db.execute("SELECT value FROM facts WHERE name = 'format'").fetchone()
        if found is not None and found[0] != FORMAT:
            for name in NAMES:
                db.execute(f"DROP TABLE IF EXISTS {name}")
        db.executescript(TABLES)
        db.execute("INSERT OR REPLACE INTO facts VALUES ('format', ?)", (FORMAT,))
    except BaseException:
        db.close()
        raise
    return db


def open_reader(path: Path) -> sqlite3.Connection:
    """Open a history for reading; the writer may write meanwhile."""
    db = sqlite3.connect(f"{path.absolute().as_uri()}?mode=ro", uri=True, isolation_level=None, timeout=BUSY_S, check_same_thread=False)
    try:
        for pragma in ("query_only = 1", "cache_size = -16384", f"mmap_size = {MAPPED_BYTES}"):
            db.execute(f"PRAGMA {pragma}")
    except BaseException:
        db.close()
        raise
    return db


def copy_ahead(path: Path) -> None:
    """Copy what was written ahead into the file, beside the writer; what cannot be copied now is copied later."""
    with suppress(sqlite3.Error), closing(sqlite3.connect(path, isolation_level=None, timeout=BUSY_S)) as db:
        db.execute("PRAGMA synchronous = NORMAL")
        db.execute("PRAGMA wal_checkpoint(PASSIVE)")


def is_passing(error: sqlite3.Error) -> bool:
    """Whether an error is of the machine (a full disk, a lock), not of the file."""
    return isinstance(error, sqlite3.OperationalError)
